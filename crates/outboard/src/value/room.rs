//! Memory for large copies, in huge pages where the system has them.

#![expect(unsafe_code, reason = "this module gives advice about a vector's own memory")]

use crate::os::memory::{self, Advice};

/// From this size on, memory is asked for in huge pages.
const HUGE_BYTES: usize = 4 << 20;

/// An empty vector with room for so many bytes, as [`advise`] has it.
pub(crate) fn room_for(bytes: usize) -> Vec<u8> {
    let mut room = Vec::<u8>::with_capacity(bytes);
    advise(&mut room);
    room
}

/// Asks for huge pages for what a vector has room for, if that is much. Allocators give so
/// much memory back to the system at once, so all of it is new to this process each time.
/// In huge pages, where the system has them, that costs a fourth.
pub(crate) fn advise(room: &mut Vec<u8>) {
    const PAGE: usize = 4096;
    let bytes = room.capacity();
    if bytes >= HUGE_BYTES {
        let start = room.as_mut_ptr();
        let skipped = start.align_offset(PAGE);
        let whole = bytes.saturating_sub(skipped) / PAGE * PAGE;
        // SAFETY: the pages lie within the vector's own memory, and the advice
        // changes nothing of what they hold.
        unsafe { memory::advise(start.add(skipped).cast(), whole, Advice::HugePages) };
    }
}

/// A copy of bytes.
pub(crate) fn copy(bytes: &[u8]) -> Vec<u8> {
    let mut copy = room_for(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

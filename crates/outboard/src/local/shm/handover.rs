//! How bytes are written that another core reads: past the caches, where that is
//! quicker.
//!
//! The other core's cache still has the lines, of the payload that it read there before. An
//! ordinary store has to wait until that core lets go of each line, one after the other.
//! That takes up to twenty times as long as the copy does where one core does both. A store
//! that bypasses the caches does not wait, but then the reader finds nothing in the cache
//! that both may share. Which of the two a process is in the system's scheduler decides,
//! and may change at any time. So ordinary stores are tried again and again, and timed.

#![expect(unsafe_code, reason = "this module copies to raw memory")]

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Less than this is not worth a thought.
const LEAST_BYTES: usize = 32 << 10;

/// As much as this fits into no core's own cache.
const MOST_BYTES: usize = 4 << 20;

/// Ordinary stores are slow from so many nanoseconds for a KiB on; between cores they
/// take some 400, on one core some 30.
const SLOW_NS_PER_KIB: u64 = 150;

/// So many writes go past the caches before ordinary stores are tried again.
const STREAMED: u32 = 100;

/// What is known of one place that is written again and again.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// How many more writes go past the caches.
    streamed: AtomicU32,
}

impl Handover {
    /// Copies bytes to a place.
    ///
    /// # Safety
    ///
    /// As for [`std::ptr::copy_nonoverlapping`].
    pub(crate) unsafe fn write(&self, bytes: &[u8], to: *mut u8) {
        // Whoever writes at the same time may miscount; both ways are right.
        let streamed = self.streamed.load(Relaxed);
        let tried = (LEAST_BYTES..MOST_BYTES).contains(&bytes.len());
        if bytes.len() >= MOST_BYTES || (tried && streamed > 0) {
            self.streamed.store(streamed.saturating_sub(1), Relaxed);
            // SAFETY: the caller's word.
            return unsafe { stream(bytes, to) };
        }
        let start = tried.then(Instant::now);
        // SAFETY: the caller's word.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        if start.is_some_and(|start| is_slow(bytes.len(), start.elapsed())) {
            self.streamed.store(STREAMED, Relaxed);
        }
    }
}

fn is_slow(bytes: usize, took: Duration) -> bool {
    took > Duration::from_nanos((bytes as u64 >> 10) * SLOW_NS_PER_KIB)
}

/// Copies past the caches.
///
/// # Safety
///
/// As for [`std::ptr::copy_nonoverlapping`].
#[cfg(target_arch = "x86_64")]
unsafe fn stream(bytes: &[u8], to: *mut u8) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};

    const LINE: usize = 64;
    let (head, rest) = bytes.split_at(to.align_offset(LINE).min(bytes.len()));
    let (lines, tail) = rest.as_chunks::<LINE>();
    // SAFETY: the caller's word that so many bytes may be written there; all places
    // are counted from the lengths of the parts. Each line begins at a multiple of its
    // size, so its quarters are aligned as they must be. The fence puts the lines
    // before all that is written later, as any other store would be.
    unsafe {
        std::ptr::copy_nonoverlapping(head.as_ptr(), to, head.len());
        let mut to = to.add(head.len());
        for line in lines {
            let (from, at) = (line.as_ptr().cast::<__m128i>(), to.cast::<__m128i>());
            for quarter in 0..LINE / size_of::<__m128i>() {
                _mm_stream_si128(at.add(quarter), _mm_loadu_si128(from.add(quarter)));
            }
            to = to.add(LINE);
        }
        _mm_sfence();
        std::ptr::copy_nonoverlapping(tail.as_ptr(), to, tail.len());
    }
}

/// An ordinary copy: Rust has no such stores for other machines.
///
/// # Safety
///
/// As for [`std::ptr::copy_nonoverlapping`].
#[cfg(not(target_arch = "x86_64"))]
unsafe fn stream(bytes: &[u8], to: *mut u8) {
    // SAFETY: the caller's word.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slow_is_by_the_size() {
        let us = Duration::from_micros;
        assert!(is_slow(1 << 20, us(400)) && !is_slow(1 << 20, us(40)));
        assert!(is_slow(64 << 10, us(25)) && !is_slow(64 << 10, us(2)));
    }

    #[test]
    fn after_slow_stores_come_others_and_then_they_are_tried_again() {
        let (bytes, mut to) = (vec![7_u8; LEAST_BYTES], vec![0_u8; LEAST_BYTES]);
        let place = Handover { streamed: AtomicU32::new(2) };
        for left in [1, 0] {
            // SAFETY: as many bytes of a vector of its own.
            unsafe { place.write(&bytes, to.as_mut_ptr()) };
            assert_eq!(place.streamed.load(Relaxed), left);
        }
        to.fill(0);
        // SAFETY: as above.
        unsafe { place.write(&bytes, to.as_mut_ptr()) };
        assert!([0, STREAMED].contains(&place.streamed.load(Relaxed)));
        assert!(to == bytes);
    }

    proptest! {
        #[test]
        fn what_is_streamed_is_whole_and_nothing_else_is_written(
            bytes in 0_usize..1000, before in 0_usize..100,
        ) {
            let from: Vec<u8> = (0..bytes).map(|index| index as u8 | 1).collect();
            let mut room = vec![0_u8; before + bytes + 100];
            // SAFETY: the vector is longer than what is written.
            unsafe { stream(&from, room.as_mut_ptr().add(before)) };
            prop_assert_eq!(&room[before..before + bytes], &from[..]);
            prop_assert!(room[..before].iter().chain(&room[before + bytes..]).all(|byte| *byte == 0));
        }
    }
}

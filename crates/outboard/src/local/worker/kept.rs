//! Arguments that were not copied, and that somebody keeps when their task has ended.

use std::alloc::{Layout, handle_alloc_error};
use std::io;
use std::process::abort;
use std::sync::Arc;

use rustix::io::Errno;

use crate::local::shm::arena::{Arena, IN_PLACE_BYTES};
use crate::local::wire::Place;

use super::{Owed, Worker, lending, say_last};

impl Worker {
    /// Where arguments lay may be written once their task is answered: what somebody
    /// keeps of them has to lie elsewhere by then.
    pub(super) fn let_go(&mut self, Owed { args }: Owed) {
        if let Place::Arena { offset, bytes } = args
            && Arc::get_mut(&mut self.arena).is_none()
        {
            let fresh = self.arena.set_apart(&self.arena_fd, offset, bytes);
            let fresh = fresh.and_then(|()| Arena::open(&self.arena_fd));
            self.arena = Arc::new(fresh.unwrap_or_else(|error| cannot_keep(bytes, &error)));
        }
    }

    /// The task has ended that these arguments were lent to. If it forked meanwhile, they
    /// were set apart, and the arena has to be mapped again before it is written to.
    pub(super) fn take_back(&mut self, args: Place) -> io::Result<()> {
        if let Place::Arena { bytes, .. } = args
            && bytes >= IN_PLACE_BYTES
            && lending::take_back()
        {
            self.arena = Arc::new(Arena::open(&self.arena_fd)?);
        }
        Ok(())
    }
}

/// Ends this process, at once: whoever keeps arguments must not look at them.
pub(super) fn cannot_keep(bytes: u64, error: &io::Error) -> ! {
    if error.raw_os_error() == Some(Errno::NOMEM.raw_os_error()) {
        // Said as the allocator says it, so that it counts as what it is.
        let _: Result<(), _> =
            Layout::array::<u8>(bytes as usize).map(|kept| handle_alloc_error(kept));
    }
    say_last(&format!("could not copy {bytes} bytes of arguments that a task keeps: {error}"));
    abort()
}

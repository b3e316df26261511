//! Who rings and who sleeps: two words that a worker and its server share.
//!
//! Pure, but for the words; `tests/model` runs it in every order.

use super::{AtomicU64, Ordering, fence};

/// How far the worker has written, and whether its server sleeps.
pub(crate) struct Bell<'a> {
    pub(crate) said: &'a AtomicU64,
    pub(crate) asleep: &'a AtomicU64,
}

impl Bell<'_> {
    /// Worker: it has written so far. Whether the server sleeps, and this is who
    /// wakes it.
    pub(crate) fn say(&self, bytes: u64) -> bool {
        // Its own word first, then the other's: `sleep` does the same, so at least one of
        // both sees what the other wrote. Without the fences both reads may come first.
        self.said.store(bytes, Ordering::Release);
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) == 1 && self.wake()
    }

    /// Server: how far was written.
    pub(crate) fn said(&self) -> u64 {
        self.said.load(Ordering::Acquire)
    }

    /// Server: it sleeps from now on, unless it sees more after this.
    pub(crate) fn sleep(&self) {
        // The other side of `say`: whoever calls this looks at `said` after it.
        self.asleep.swap(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// The server sleeps no more; whether this is who woke it.
    pub(crate) fn wake(&self) -> bool {
        self.asleep.swap(0, Ordering::AcqRel) == 1
    }
}

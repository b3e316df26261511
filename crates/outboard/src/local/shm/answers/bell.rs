//! Who rings, who sleeps and who looks: two words that a worker and its server share.
//!
//! Pure, but for the words; `tests/model` runs it in every order.

use super::{AtomicU64, Ordering, fence};

/// The server is awake, and will look at what was said.
const AWAKE: u64 = 0;
/// It sleeps until the bell rings.
const ASLEEP: u64 = 1;
/// It sleeps, but someone looks, who most likely hears before the bell is rung.
const WATCHED: u64 = 2;

/// How far the worker has written, and whether its server sleeps.
pub(crate) struct Bell<'a> {
    pub(crate) said: &'a AtomicU64,
    pub(crate) asleep: &'a AtomicU64,
}

/// Whether the worker has to wake its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is awake.
    No,
    /// It sleeps, and this is who wakes it.
    Now,
    /// Someone looks. Unless what was said is heard soon, [`Bell::wake`] says whether to ring.
    Soon,
}

impl Bell<'_> {
    /// Worker: it has written so far.
    pub(crate) fn say(&self, bytes: u64) -> Due {
        // Its own word first, then the other's: `sleep` and `unwatch` do the same, so at least
        // one of both sees what the other wrote. Without the fences both reads may come first.
        self.said.store(bytes, Ordering::Release);
        fence(Ordering::SeqCst);
        match self.asleep.load(Ordering::Relaxed) {
            ASLEEP if self.wake() => Due::Now,
            WATCHED => Due::Soon,
            _ => Due::No,
        }
    }

    /// Server: how far was written.
    pub(crate) fn said(&self) -> u64 {
        self.said.load(Ordering::Acquire)
    }

    /// Server: it sleeps from now on, unless it sees more after this.
    pub(crate) fn sleep(&self) {
        // The other side of `say`: whoever calls this looks at `said` after it.
        self.asleep.swap(ASLEEP, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// The server sleeps no more; whether this is who woke it.
    pub(crate) fn wake(&self) -> bool {
        self.asleep.swap(AWAKE, Ordering::AcqRel) != AWAKE
    }

    /// Server: someone looks from now on; `false` if it does not sleep, or someone does so
    /// already.
    pub(crate) fn watch(&self) -> bool {
        self.step(ASLEEP, WATCHED)
    }

    /// Server: nobody looks any more, unless they see more after this; `false` if it was woken
    /// meanwhile.
    pub(crate) fn unwatch(&self) -> bool {
        let sleeps = self.step(WATCHED, ASLEEP);
        fence(Ordering::SeqCst);
        sleeps
    }

    fn step(&self, from: u64, to: u64) -> bool {
        self.asleep.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

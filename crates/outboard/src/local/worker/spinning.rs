//! How a worker waits for its next task: it looks for a while, if that has paid, and then
//! sleeps at the socket.

use std::hint::spin_loop;

use rustix::time::ClockId;

use crate::local::shm::page::Page;
use crate::local::shm::spin::{Experience, KEPT_FROM_CORE_NS, OUSTED_NS};
use crate::task::system::now_ns;

/// How often the word is read before the clock is: about a microsecond.
const READS: u32 = 16;

/// After so long, whoever looks for an answer has it, or has left.
const HEARD_NS: u64 = 20_000;

/// What a worker knows of its waits.
#[derive(Debug)]
pub(super) struct Spinning {
    /// The longest look; 0 for none.
    limit_ns: u64,
    /// How much was received in all.
    received: u64,
    experience: Experience,
    /// When it was kept from its core.
    ousted_ns: u64,
    /// When it began to wait, while it sleeps.
    slept_from_ns: Option<u64>,
}

/// What a wait for the next task has come to so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is there.
    Found,
    /// It is to be slept for.
    Sleep,
    /// What was said must be heard first.
    Ring,
}

impl Spinning {
    pub(super) fn new(limit_ns: u64) -> Self {
        Self {
            limit_ns,
            received: 0,
            experience: Experience::default(),
            ousted_ns: 0,
            slept_from_ns: None,
        }
    }

    /// So many bytes were read from the socket.
    pub(super) fn received(&mut self, bytes: usize, page: &Page) {
        self.received = self.received.wrapping_add(bytes as u64);
        if let Some(from_ns) = self.slept_from_ns.take() {
            let waited_ns = page.requested_at().saturating_sub(from_ns);
            self.experience.slept(waited_ns, self.limit_ns);
        }
    }

    /// Spins for the next task, which ends what is `unheard` otherwise.
    pub(super) fn wait(&mut self, page: &Page, unheard: impl Fn() -> bool) -> Next {
        if self.limit_ns == 0 {
            return Next::Sleep;
        }
        let from_ns = now_ns(ClockId::Monotonic);
        let looks = self.experience.pays() && from_ns.saturating_sub(self.ousted_ns) >= OUSTED_NS;
        let limit_ns = if looks { self.limit_ns } else { 0 };
        let mut now = from_ns;
        let next = loop {
            if (0..READS).any(|_| self.is_requested(page)) {
                break Next::Found;
            }
            let before = std::mem::replace(&mut now, now_ns(ClockId::Monotonic));
            if now - before >= KEPT_FROM_CORE_NS {
                (self.ousted_ns, _) = (now, self.experience.ousted());
                break if unheard() { Next::Ring } else { Next::Sleep };
            }
            let waited_ns = now - from_ns;
            if waited_ns >= HEARD_NS && unheard() {
                break Next::Ring;
            }
            if waited_ns >= limit_ns && !unheard() {
                break Next::Sleep;
            }
            // Whoever is to be waited for may be in line for this very core. But what else is
            // there may keep it for long, and is not worth it for a bell.
            if looks {
                std::thread::yield_now();
            }
        };
        if looks {
            let found = next == Next::Found;
            self.experience.spun(found);
            page.add_spin(now - from_ns, found);
        } else {
            self.slept_from_ns = Some(from_ns).filter(|_| next == Next::Sleep);
        }
        next
    }

    /// Whether there is more in the socket than was read. The server says so after it has
    /// written, so more may have been read than it has said.
    fn is_requested(&self, page: &Page) -> bool {
        spin_loop();
        page.requested().wrapping_sub(self.received) as i64 > 0
    }
}

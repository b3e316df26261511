//! Who waits for room and who makes some: two words that a worker and its server share.
//!
//! Pure, but for the words; `tests/model` runs it in every order.

use super::{AtomicU32, AtomicU64, Ordering, fence};

/// Whether the worker waits, and a number that grows when it is to look again.
pub(crate) struct Room<'a> {
    pub(crate) waiting: &'a AtomicU64,
    pub(crate) turn: &'a AtomicU32,
}

impl Room<'_> {
    /// Worker: waits until there is room. `sleep` sleeps unless the number is another than
    /// the given one, and may wake too early.
    pub(crate) fn wait(&self, has_room: impl Fn() -> bool, sleep: impl Fn(&AtomicU32, u32)) {
        while !has_room() {
            // Before the last look: a number that grows after it ends the sleep.
            let turn = self.turn.load(Ordering::Acquire);
            // Its own word first, then the other's: `made` does the same, so at least one of
            // both sees what the other wrote. Without the fences both reads may come first.
            self.waiting.store(1, Ordering::Release);
            fence(Ordering::SeqCst);
            if !has_room() {
                sleep(self.turn, turn);
            }
            self.waiting.store(0, Ordering::Release);
        }
    }

    /// Server: there is more room than before; whether somebody is to be woken.
    pub(crate) fn made(&self) -> bool {
        // The other side of `wait`: whoever calls this has made room before it.
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.turn.fetch_add(1, Ordering::AcqRel);
        true
    }
}

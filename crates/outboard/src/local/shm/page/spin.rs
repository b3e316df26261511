//! The words by which worker and server look for each other: hints only, for who sleeps does
//! so at the socket, and is woken there.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use super::Page;

/// Words of the server, in a line of the cache that a worker who looks reads alone.
const REQUESTED: usize = 24;
const REQUESTED_AT: usize = 25;

/// Words of the worker.
const SPUN_NS: usize = 32;
const WINS: usize = 33;
const LOSSES: usize = 34;
const _: () = assert!(LOSSES < super::FIRST_SLOT);

impl Page {
    /// Server: it has written so many more bytes to the socket.
    pub(crate) fn request(&self, bytes: usize) {
        // Whoever writes to the socket has the turn, so nobody else does this now.
        let word = &self.words()[REQUESTED];
        word.store(word.load(Relaxed).wrapping_add(bytes as u64), Release);
    }

    /// Worker: how many bytes were written to the socket in all, and maybe more by now.
    pub(crate) fn requested(&self) -> u64 {
        self.words()[REQUESTED].load(Acquire)
    }

    /// Server: an idle worker is sent a task now, by the monotonic clock.
    pub(crate) fn set_requested_at(&self, ns: u64) {
        self.words()[REQUESTED_AT].store(ns, Relaxed);
    }

    /// When an idle worker was last sent a task.
    pub(crate) fn requested_at(&self) -> u64 {
        self.words()[REQUESTED_AT].load(Relaxed)
    }

    /// Worker: it has looked for so long, and found something or not.
    pub(crate) fn add_spin(&self, ns: u64, found: bool) {
        let words = self.words();
        // Nobody else writes these.
        let add = |word: usize, more: u64| {
            words[word].store(words[word].load(Relaxed).wrapping_add(more), Relaxed);
        };
        add(SPUN_NS, ns);
        add(if found { WINS } else { LOSSES }, 1);
    }

    /// Server: what the worker's spins have come to, by its own word: the time, how often it
    /// found something, and how often not.
    pub(crate) fn spins(&self) -> (Duration, u64, u64) {
        let word = |word: usize| self.words()[word].load(Relaxed);
        (Duration::from_nanos(word(SPUN_NS)), word(WINS), word(LOSSES))
    }
}

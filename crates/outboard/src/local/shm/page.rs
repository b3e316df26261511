//! The page that a server and one worker share: who decided what about a task
//! that was sent ahead.
//!
//! Each task sent has a number (`seq`, counting from 1 for each worker) and one
//! atomic word, found by `seq % SLOTS`; `shared/word.rs` has the steps that it
//! takes. Each is one compare-and-swap, so it is exact, even after the worker's
//! death, what had started.
//!
//! The server believes a page only about its own worker. A worker that writes nonsense here
//! can confuse the fate of its own tasks and nothing else.

#![expect(unsafe_code, reason = "this module owns the mapping of shared memory")]

mod progress;
mod word;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

pub(crate) use word::{TaskWord, Word};

use crate::local::shm::answers::bell::Bell;
use crate::local::shm::items::room::Room;
use crate::os::{Memory, memory, refused};

const BYTES: usize = 4096;
const WORDS: usize = BYTES / size_of::<AtomicU64>();
const FIRST_SLOT: usize = 64;

/// How many tasks can be outstanding at one worker.
pub(crate) const SLOTS: usize = 128;

const SINCE: usize = 0;
const MEMORY: usize = 1;
const CPU: usize = 2;
const LISTENING: usize = 3;
const READ: usize = 4;
const SAID: usize = 5;
const HEARD: usize = 6;
const ASLEEP: usize = 7;
const OWN_MEMORY: usize = 8;
const STDERR_READ: usize = 9;
const STDERR_BEFORE: usize = 10;
const ITEMS_SAID: usize = 11;
const ITEMS_READ: usize = 12;
const WAITING: usize = 13;
/// A word of its own kind: see [`Page::room`].
const TURN: usize = 14;
const FIRST_CREDIT: usize = FIRST_SLOT + SLOTS;
const FIRST_PROGRESS: usize = FIRST_CREDIT + SLOTS;
const _: () = assert!(FIRST_PROGRESS + progress::PROGRESS_WORDS <= WORDS);

/// What Python's side of a worker must know of it.
#[cfg(test)]
pub(crate) const OF_PYTHON: (usize, usize, usize, usize, usize) =
    (FIRST_SLOT, SLOTS, LISTENING, STDERR_READ, STDERR_BEFORE);

/// One mapped page.
#[derive(Debug)]
pub(crate) struct Page {
    words: NonNull<[AtomicU64; WORDS]>,
}

// SAFETY: the page is memory of this process until `drop`, and is only ever
// accessed through atomics.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// Makes a page, and the descriptor to hand to the worker. On Linux
    /// a worker cannot shrink the file under the server's mapping.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let fd = memory::create(c"outboard-page", BYTES)?;
        Ok((Self::map(&fd)?, fd))
    }

    /// Maps a page that was received.
    pub(crate) fn open(fd: &OwnedFd) -> io::Result<Self> {
        memory::check(fd, BYTES)?;
        Self::map(fd)
    }

    fn map(fd: impl AsFd) -> io::Result<Self> {
        // SAFETY: the kernel chooses where the mapping lies, so it replaces no
        // memory that Rust knows of; it is unmapped only in `drop`.
        let pointer = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            mmap(std::ptr::null_mut(), BYTES, protection, MapFlags::SHARED, fd, 0)
        };
        let pointer = pointer.map_err(|error| refused("mmap", error))?;
        let words = NonNull::new(pointer.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { words })
    }

    fn words(&self) -> &[AtomicU64; WORDS] {
        // SAFETY: the mapping is page aligned, BYTES long, and lives as long as
        // `self`; any bit pattern is a valid AtomicU64, and the other process
        // accesses it through atomics too (if it does not, it is its worker's
        // own fate that is read wrongly: the values are never trusted further).
        unsafe { self.words.as_ref() }
    }

    /// The word of a task.
    pub(crate) fn task(&self, seq: u64) -> TaskWord<'_> {
        TaskWord { at: &self.words()[FIRST_SLOT + seq as usize % SLOTS], seq }
    }

    /// Server: whether a task has ever asked whether it is to stop.
    pub(crate) fn listens(&self, seq: u64) -> bool {
        self.words()[LISTENING].load(Acquire) == seq
    }

    /// Worker: whether its task is to stop. From the first time on, the server
    /// knows that the task asks.
    pub(crate) fn is_stopping(&self, seq: u64) -> bool {
        if self.words()[LISTENING].load(Relaxed) != seq {
            self.words()[LISTENING].store(seq, Release);
        }
        self.task(seq).is_stopping()
    }

    /// Worker: its task started now, by the monotonic clock and by its own CPU
    /// time, in nanoseconds.
    pub(crate) fn set_running_since(&self, ns: u64, cpu_ns: u64) {
        self.words()[SINCE].store(ns, Relaxed);
        self.words()[CPU].store(cpu_ns, Relaxed);
    }

    /// Server: the worker's CPU time when its last task started.
    pub(crate) fn cpu_before_ns(&self) -> u64 {
        self.words()[CPU].load(Relaxed)
    }

    /// Server: the monotonic clock when the worker's last task started.
    pub(crate) fn running_since(&self) -> u64 {
        self.words()[SINCE].load(Relaxed)
    }

    /// Server: the results of tasks up to this one were read from the arena.
    pub(crate) fn set_read(&self, seq: u64) {
        self.words()[READ].store(seq, Release);
    }

    /// Worker: up to which task the server needs no result in the arena.
    pub(crate) fn read_up_to(&self) -> u64 {
        self.words()[READ].load(Acquire)
    }

    /// How far answers were written, and whether the server sleeps.
    pub(crate) fn bell(&self) -> Bell<'_> {
        Bell { said: &self.words()[SAID], asleep: &self.words()[ASLEEP] }
    }

    /// Server: it has read so many.
    pub(crate) fn set_heard(&self, bytes: u64) {
        self.words()[HEARD].store(bytes, Release);
    }

    /// Worker: how many bytes of answers were read.
    pub(crate) fn heard_bytes(&self) -> u64 {
        self.words()[HEARD].load(Acquire)
    }

    /// Worker: its memory, measured of late.
    pub(crate) fn set_memory(&self, memory: Memory) {
        self.words()[MEMORY].store(memory.resident_bytes, Relaxed);
        self.words()[OWN_MEMORY].store(memory.own_bytes, Relaxed);
    }

    /// Server: the worker's memory as it last said, 0 before that.
    pub(crate) fn memory(&self) -> Memory {
        let [resident_bytes, own_bytes] =
            [MEMORY, OWN_MEMORY].map(|word| self.words()[word].load(Relaxed));
        Memory { resident_bytes, own_bytes }
    }
}

/// What streams need; see [`crate::local::shm::items`].
impl Page {
    /// How far items were written, and whether the server sleeps: it does so for answers and
    /// items at once.
    pub(crate) fn items_bell(&self) -> Bell<'_> {
        Bell { said: &self.words()[ITEMS_SAID], asleep: &self.words()[ASLEEP] }
    }

    /// Server: it has copied so many bytes of items.
    pub(crate) fn set_items_read(&self, bytes: u64) {
        self.words()[ITEMS_READ].store(bytes, Release);
    }

    /// Worker: how many bytes of items were copied.
    pub(crate) fn items_read(&self) -> u64 {
        self.words()[ITEMS_READ].load(Acquire)
    }

    /// Server: the reader of a task's stream has taken so much of it in all.
    pub(crate) fn set_credit(&self, seq: u64, taken: u64) {
        self.words()[FIRST_CREDIT + seq as usize % SLOTS].store(taken, Release);
    }

    /// Worker: how much of its stream was taken.
    pub(crate) fn credit(&self, seq: u64) -> u64 {
        self.words()[FIRST_CREDIT + seq as usize % SLOTS].load(Acquire)
    }

    /// Who waits for room.
    pub(crate) fn room(&self) -> Room<'_> {
        let turn = std::ptr::from_ref(&self.words()[TURN]).cast::<AtomicU32>();
        // SAFETY: the pointer comes from a reference to a word of the page, which lives as
        // long as `self`, is aligned for the shorter type, and lets it be written. Nothing
        // accesses that word as a whole; both processes do so only through this, atomically.
        let turn = unsafe { &*turn };
        Room { waiting: &self.words()[WAITING], turn }
    }
}

/// How much of a worker's stderr its server has read, and whether it is reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StderrRead(u64);

impl StderrRead {
    /// So many bytes.
    pub(crate) fn bytes(self) -> u64 {
        self.0 >> 1
    }

    /// More may have been read than it says.
    pub(crate) fn is_going_on(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Page {
    /// Server: it has read so many bytes of stderr, and is about to read more or not.
    pub(crate) fn set_stderr_read(&self, bytes: u64, goes_on: bool) {
        self.words()[STDERR_READ].store(bytes << 1 | u64::from(goes_on), Release);
    }

    /// Worker: what the server has read.
    pub(crate) fn stderr_read(&self) -> StderrRead {
        StderrRead(self.words()[STDERR_READ].load(Acquire))
    }

    /// Worker: so many bytes were written before the task that it has now, or since the
    /// last one.
    pub(crate) fn set_stderr_before(&self, bytes: u64) {
        self.words()[STDERR_BEFORE].store(bytes, Release);
    }

    /// Server: how many bytes are not of the task that the worker has now.
    pub(crate) fn stderr_before(&self) -> u64 {
        self.words()[STDERR_BEFORE].load(Acquire)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped with this length in `map`, and no reference from
        // `words` outlives `self`.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    /// A server's and a worker's view of the same page.
    fn pair() -> (Page, Page) {
        let (server, fd) = Page::create().unwrap();
        (server, Page::open(&fd).unwrap())
    }

    #[test]
    fn a_revoked_task_does_not_start() {
        let (server, worker) = pair();
        server.task(1).send();
        assert!(server.task(1).revoke());
        assert!(!worker.task(1).start());
        assert_eq!(server.task(1).read(), Some(Word::Revoked));
    }

    #[test]
    fn a_started_task_cannot_be_taken_back_but_stopped() {
        let (server, worker) = pair();
        server.task(1).send();
        assert!(worker.task(1).start());
        assert!(!server.task(1).revoke());
        assert!(!server.task(1).kill(), "it is asked first");
        assert!(!worker.is_stopping(1));
        assert!(server.task(1).stop() && server.listens(1));
        assert!(worker.is_stopping(1));
        assert!(server.task(1).kill());
        assert!(!worker.task(1).finish());
        assert_eq!(server.task(1).read(), Some(Word::Killing));
    }

    #[test]
    fn a_task_that_was_asked_to_stop_may_end_by_itself() {
        let (server, worker) = pair();
        server.task(1).send();
        assert!(worker.task(1).start() && server.task(1).stop());
        assert!(!server.listens(1), "it never asked");
        assert!(worker.task(1).finish());
        assert!(!server.task(1).kill());
        assert_eq!(server.task(1).read(), Some(Word::Done));
    }

    #[test]
    fn a_finished_task_cannot_be_stopped() {
        let (server, worker) = pair();
        server.task(1).send();
        assert!(worker.task(1).start() && worker.task(1).finish());
        assert!(!server.task(1).stop());
    }

    #[test]
    fn a_late_swap_for_an_older_task_in_the_same_place_fails() {
        let (server, worker) = pair();
        server.task(1).send();
        server.task(1 + SLOTS as u64).send();
        assert!(!worker.task(1).start());
        assert!(worker.task(1 + SLOTS as u64).start());
        assert_eq!(server.task(1).read(), None);
    }

    #[test]
    fn a_page_of_another_size_is_refused() {
        let fd = memfd_create(c"short", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        assert!(Page::open(&fd).is_err());
    }

    #[test]
    fn exactly_one_side_wins_each_swap() {
        const ROUNDS: u64 = 2_000;
        let (server, worker) = pair();
        let barrier = std::sync::Barrier::new(2);
        let race = |swap: &dyn Fn(u64) -> bool| -> Vec<bool> {
            (1..=ROUNDS)
                .map(|seq| {
                    barrier.wait();
                    swap(seq)
                })
                .collect()
        };
        server.task(1).send();
        let (revoked, started) = std::thread::scope(|scope| {
            let started = scope.spawn(|| race(&|seq| worker.task(seq).start()));
            let revoked = race(&|seq| {
                // The next task's place is another one, so it disturbs no race.
                server.task(seq + 1).send();
                server.task(seq).revoke()
            });
            (revoked, started.join().unwrap())
        });
        assert!(revoked.iter().zip(&started).all(|(revoked, started)| revoked != started));
    }
}

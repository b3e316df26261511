//! Where large payloads lie: memory that a server and one worker share, one half
//! for arguments and one for results.
//!
//! Who writes a half says what of it is in use: the server for arguments, the worker for
//! results. Payloads are answered, and read, in the order in which they were written, so
//! each half is a [`Ring`]. While it holds nothing, which is nearly always, it begins at
//! its start again, and so the same few pages are used, warm.
//!
//! The writer of the server's outbox copies arguments in, just before the message that
//! names offset and length. Their room is free when the task is answered. Room for results
//! is free when the server says, in the page, up to which task it has read them. A worker
//! may write anywhere at any time, so the server checks a place against the half, copies
//! it, and decodes the copy. A worker decodes arguments in place, for its server does not
//! write there before it has the answer. [Large ones](IN_PLACE_BYTES) that are nothing but
//! bytes its tasks get in place, too, and may keep ([`Lent`]). When a worker has been idle
//! [for a while](WARM) its pages go back to the system.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::local::shm::answers::ANSWERS_BYTES;
use crate::local::shm::items::ITEMS_BYTES;
use crate::local::shm::mapping::Shared;
use crate::value::payload::Payload;

/// The size of one half. It takes memory only as far as it is used. What does not
/// fit has a file of its own, all of which is new memory each time.
pub(crate) const HALF_BYTES: usize = 64 << 20;

/// The size of it all.
const BYTES: usize = 2 * HALF_BYTES + ANSWERS_BYTES + ITEMS_BYTES;

/// Payloads begin at a cache line of their own.
const LINE: usize = 64;

/// Arguments that a task may keep have pages of their own, in units of this: no
/// system's are larger.
const PAGES: usize = 64 << 10;

/// So long an idle worker's pages stay, for whoever sends a large payload now and
/// then: new ones cost several times the copies. (jemalloc keeps its unused pages for
/// 10 s.)
pub(crate) const WARM: Duration = Duration::from_secs(5);

/// How much is given back to the system in one go: about 50 µs.
const GIVEN_BACK_AT_ONCE: usize = 1 << 20;

/// From this size on, arguments that are nothing but bytes are not copied for their
/// task. Where a task keeps them, that costs more than a copy.
pub(crate) const IN_PLACE_BYTES: u64 = 1 << 20;

/// What a half is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Arguments,
    Results,
    /// Of these it is a small part; see [`crate::local::shm::answers`].
    Answers,
    /// Nor are these; see [`crate::local::shm::items`].
    Items,
}

impl Half {
    fn start(self) -> usize {
        match self {
            Self::Arguments => 0,
            Self::Results => HALF_BYTES,
            Self::Answers => 2 * HALF_BYTES,
            Self::Items => 2 * HALF_BYTES + ANSWERS_BYTES,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Arguments | Self::Results => HALF_BYTES,
            Self::Answers => ANSWERS_BYTES,
            Self::Items => ITEMS_BYTES,
        }
    }

    /// Where a stretch of the stream in it lies, which may be in two parts.
    pub(crate) fn parts(
        self,
        position: u64,
        bytes: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>)> {
        let start = (position % self.bytes() as u64) as usize;
        let first = bytes.min(self.bytes() - start);
        [(start, 0..first), (0, first..bytes)].into_iter().filter(|(_, part)| !part.is_empty())
    }
}

/// The mapping of both halves.
#[derive(Debug)]
pub(crate) struct Arena(Shared);

impl Arena {
    /// Makes one, and the descriptor to hand to the worker.
    pub(crate) fn create() -> io::Result<(Self, OwnedFd)> {
        let (shared, fd) = Shared::create(c"outboard-arena", BYTES)?;
        Ok((Self(shared), fd))
    }

    /// Maps one that was received.
    pub(crate) fn open(fd: &OwnedFd) -> io::Result<Self> {
        Shared::open(fd, BYTES).map(Self)
    }

    /// Copies a payload to a place that a [`Ring`] of that half gave.
    pub(crate) fn write(&self, half: Half, offset: usize, bytes: &[u8]) {
        self.0.write(half.start() + offset, bytes);
    }

    /// The same of a payload, wherever that is.
    pub(crate) fn write_payload(&self, half: Half, mut offset: usize, payload: &Payload) {
        for piece in payload.pieces() {
            self.write(half, offset, piece);
            offset += piece.len();
        }
    }

    /// Copies a payload out of a half; `None` if it cannot lie there.
    pub(crate) fn read(&self, half: Half, offset: u64, bytes: u64) -> Option<Vec<u8>> {
        Some(self.0.read(place(half, offset, bytes)?))
    }

    /// Copies from a place within a half, where it was checked to be.
    pub(crate) fn copy(&self, half: Half, offset: usize, to: &mut [u8]) {
        self.0.copy(half.start() + offset, to);
    }

    /// Arguments in place, in a worker (see [`Shared::lent`]); `None` if they
    /// cannot lie there.
    pub(crate) fn arguments(&self, offset: u64, bytes: u64) -> Option<&[u8]> {
        Some(self.0.lent(place(Half::Arguments, offset, bytes)?))
    }

    /// Arguments in place, in a worker, for as long as a task likes; `None` if they
    /// cannot lie there, or share a page with others.
    ///
    /// If somebody still has them when the task is answered, they have to be
    /// [set apart](Self::set_apart) before that.
    pub(crate) fn lend(self: &Arc<Self>, offset: u64, bytes: u64) -> Option<Lent> {
        let place = place(Half::Arguments, offset, bytes)?;
        let alone = place.start.is_multiple_of(rustix::param::page_size());
        alone.then(|| Lent { arena: Arc::clone(self), place })
    }

    /// Keeps what was lent there, apart from all that the server will do. The rest of
    /// this mapping is gone after that: whoever needs it [opens](Self::open) another.
    ///
    /// # Errors
    ///
    /// See [`Shared::set_apart`].
    pub(crate) fn set_apart(&self, file: &OwnedFd, offset: u64, bytes: u64) -> io::Result<()> {
        let place = place(Half::Arguments, offset, bytes);
        let place = place.ok_or_else(|| io::Error::other("arguments cannot lie there"))?;
        let end = place.end.next_multiple_of(rustix::param::page_size());
        self.0.set_apart(file, place.start..end)
    }

    /// Gives back the last of the pages up to `used`, while nobody uses them;
    /// gives how much is left to give back.
    pub(crate) fn give_back(&self, half: Half, used: usize) -> usize {
        let kept = used.saturating_sub(1) / GIVEN_BACK_AT_ONCE * GIVEN_BACK_AT_ONCE;
        let until = (kept + GIVEN_BACK_AT_ONCE).min(HALF_BYTES);
        self.0.forget(half.start() + kept..half.start() + until);
        kept
    }
}

/// Arguments that were not copied.
#[derive(Debug)]
pub(crate) struct Lent {
    arena: Arc<Arena>,
    place: Range<usize>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.arena.0.lent(self.place.clone())
    }
}

/// A place in the mapping, if it lies within its half.
fn place(half: Half, offset: u64, bytes: u64) -> Option<Range<usize>> {
    let end = offset.checked_add(bytes).filter(|end| *end <= half.bytes() as u64)?;
    Some(half.start() + offset as usize..half.start() + end as usize)
}

/// What of a half is in use: first come, first released.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: usize,
    /// By the number of the task, oldest first.
    live: VecDeque<(u64, Range<usize>)>,
    /// How far it was ever used, since that was given back.
    used: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self::new(HALF_BYTES)
    }
}

impl Ring {
    fn new(bytes: usize) -> Self {
        Self { bytes, live: VecDeque::new(), used: 0 }
    }

    /// Where the payload of a task can lie; `None` if it does not fit now.
    pub(crate) fn place(&mut self, seq: u64, bytes: usize) -> Option<usize> {
        let unit = if bytes as u64 >= IN_PLACE_BYTES { PAGES } else { 1 };
        let bytes = bytes.next_multiple_of(unit);
        let start = self.gap(bytes, unit.max(LINE))?;
        self.live.push_back((seq, start..start + bytes));
        self.used = self.used.max(start + bytes);
        Some(start)
    }

    fn gap(&self, bytes: usize, unit: usize) -> Option<usize> {
        let fits = |gap: Range<usize>| (gap.len() >= bytes).then_some(gap.start);
        let (Some((_, first)), Some((_, last))) = (self.live.front(), self.live.back()) else {
            return fits(0..self.bytes);
        };
        let after = last.end.next_multiple_of(unit);
        if last.start < first.start {
            return fits(after..first.start.max(after));
        }
        fits(after..self.bytes.max(after)).or_else(|| fits(0..first.start))
    }

    /// Tasks up to this one need theirs no more.
    pub(crate) fn release(&mut self, seq: u64) {
        while self.live.front().is_some_and(|(first, _)| *first <= seq) {
            self.live.pop_front();
        }
    }

    /// How far it was used, if nothing is in use now.
    pub(crate) fn idle_used(&self) -> usize {
        if self.live.is_empty() { self.used } else { 0 }
    }

    /// What is beyond was given back.
    pub(crate) fn gave_back(&mut self, used: usize) {
        self.used = used;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_lie_there_is_not_read() {
        let (server, fd) = Arena::create().unwrap();
        let worker = Arena::open(&fd).unwrap();
        worker.write(Half::Results, HALF_BYTES - 3, b"end");
        let half = HALF_BYTES as u64;
        assert_eq!(server.read(Half::Results, half - 3, 3).unwrap(), b"end");
        assert_eq!(server.read(Half::Results, half, 0).unwrap(), b"");
        for (offset, bytes) in [(half - 3, 4), (half + 1, 0), (0, half + 1), (u64::MAX, 2)] {
            assert_eq!(server.read(Half::Results, offset, bytes), None);
            assert_eq!(worker.arguments(offset, bytes), None);
        }
    }

    #[test]
    fn what_is_kept_stays_where_the_server_writes_again() {
        let (server, fd) = Arena::create().unwrap();
        let worker = Arc::new(Arena::open(&fd).unwrap());
        for (offset, bytes) in [(0, 2 << 20), (5 << 20, 100), (HALF_BYTES - PAGES, PAGES - 1)] {
            server.write(Half::Arguments, offset, &vec![7; bytes]);
            let worker = Arc::new(Arena::open(&fd).unwrap());
            let kept = worker.lend(offset as u64, bytes as u64).unwrap();
            assert!(*kept.as_ref() == vec![7; bytes]);
            worker.set_apart(&fd, offset as u64, bytes as u64).unwrap();
            drop(worker);
            let next = Arena::open(&fd).unwrap();
            server.write(Half::Arguments, offset, &vec![8; bytes]);
            assert!(*kept.as_ref() == vec![7; bytes]);
            assert!(next.arguments(offset as u64, bytes as u64).unwrap() == vec![8; bytes]);
        }
        assert!(worker.lend(HALF_BYTES as u64, 1).is_none());
        assert_eq!(worker.arguments(5 << 20, 2).unwrap(), [8, 8], "the file is not changed");
    }

    #[test]
    fn what_is_read_while_it_is_set_apart_is_the_same() {
        let (server, fd) = Arena::create().unwrap();
        let bytes = 1 << 20;
        for _ in 0..50 {
            server.write(Half::Arguments, 0, &vec![7; bytes]);
            let worker = Arc::new(Arena::open(&fd).unwrap());
            let kept = worker.lend(0, bytes as u64).unwrap();
            let begun = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    begun.wait();
                    assert!((0..5).all(|_| kept.as_ref().iter().all(|byte| *byte == 7)));
                });
                begun.wait();
                worker.set_apart(&fd, 0, bytes as u64).unwrap();
            });
        }
    }

    #[test]
    fn pages_are_given_back_from_the_end() {
        let (arena, _fd) = Arena::create().unwrap();
        arena.write(Half::Arguments, 0, &[1; 100]);
        arena.write(Half::Arguments, GIVEN_BACK_AT_ONCE, &[1; 100]);
        let left = arena.give_back(Half::Arguments, GIVEN_BACK_AT_ONCE + 100);
        assert_eq!(left, GIVEN_BACK_AT_ONCE);
        assert_eq!(arena.read(Half::Arguments, GIVEN_BACK_AT_ONCE as u64, 1).unwrap(), [0]);
        assert_eq!(arena.read(Half::Arguments, 99, 1).unwrap(), [1]);
        assert_eq!(arena.give_back(Half::Arguments, left), 0);
        assert_eq!(arena.read(Half::Arguments, 99, 1).unwrap(), [0]);
    }

    #[test]
    fn an_empty_ring_begins_at_its_start() {
        let mut ring = Ring::new(1000);
        assert_eq!(ring.place(1, 1001), None);
        assert_eq!(ring.place(1, 1000), Some(0));
        assert_eq!(ring.place(2, 1), None);
        ring.release(1);
        assert_eq!(ring.place(2, 10), Some(0));
        assert_eq!(ring.place(3, 10), Some(64));
        assert_eq!(ring.idle_used(), 0);
        ring.release(3);
        assert_eq!(ring.idle_used(), 1000);
    }

    #[test]
    fn what_may_be_kept_shares_no_page() {
        let mut ring = Ring::default();
        assert_eq!(ring.place(1, 10), Some(0));
        assert_eq!(ring.place(2, (1 << 20) + 1), Some(PAGES));
        assert_eq!(ring.place(3, 10), Some((1 << 20) + 2 * PAGES));
        ring.release(3);
        assert_eq!(ring.place(4, HALF_BYTES), Some(0));
    }

    proptest! {
        #[test]
        fn no_two_payloads_share_a_byte(
            steps in prop::collection::vec((1_usize..400, 0_u64..4), 1..200),
        ) {
            let mut ring = Ring::new(1000);
            let mut live: VecDeque<(u64, Range<usize>)> = VecDeque::new();
            for (seq, (bytes, behind)) in (1..).zip(steps) {
                if let Some(start) = ring.place(seq, bytes) {
                    let place = start..start + bytes;
                    prop_assert!(place.end <= 1000 && start % LINE == 0);
                    for (_, other) in &live {
                        prop_assert!(place.end <= other.start || other.end <= place.start);
                    }
                    live.push_back((seq, place));
                } else {
                    prop_assert!(!live.is_empty(), "an empty ring has room for 400 bytes");
                }
                let until = seq.saturating_sub(behind);
                ring.release(until);
                live.retain(|(one, _)| *one > until);
                prop_assert_eq!(ring.live.len(), live.len());
            }
        }
    }
}

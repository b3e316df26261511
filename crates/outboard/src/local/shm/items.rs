//! The items of streams, from a worker to its server: pieces in memory that both share.
//!
//! As with [answers](super::answers), writing a piece costs no system call while the server
//! is awake. What was written is safe there after the worker's death. The bell is that of
//! the answers. An item that is too long for one piece comes in several, one after the other.
//!
//! There are two bounds. Of this memory, the server gives back what it has copied, which it
//! does at once. Of one stream's items no more than the window are out that their reader has
//! not taken. The page has a word of credit for each task. A worker that finds
//! either bound met sleeps on a word of the page (a futex on Linux), and whoever makes room wakes it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::local::shm::answers::{Due, Nonsense};
use crate::local::shm::arena::{Arena, Half};
use crate::local::shm::page::Page;
use crate::os::memory;

/// The two words of waiting.
pub(crate) mod room;

/// The size of the memory.
pub(crate) const ITEMS_BYTES: usize = 512 << 10;

/// The longest piece of an item.
pub(crate) const PIECE_BYTES: usize = 128 << 10;

/// From this size of a piece on, its room is given back before the next is copied.
const PUBLISHED_BYTES: usize = 16 << 10;

/// Three numbers of eight bytes.
const HEAD_BYTES: usize = 24;

/// What stands before each piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the task.
    pub(crate) seq: u64,
    /// How many bytes this piece has.
    pub(crate) bytes: usize,
    /// How many bytes of the item are in the pieces after it.
    pub(crate) rest: u64,
}

/// What a piece takes of the memory: the next one begins at a multiple of eight.
fn taken(bytes: usize) -> u64 {
    (HEAD_BYTES + bytes.next_multiple_of(8)) as u64
}

/// The worker's side.
#[derive(Debug, Default)]
pub(crate) struct Speaker {
    written: u64,
}

impl Speaker {
    /// Whether there is room for a piece of so many bytes.
    pub(crate) fn has_room(&self, page: &Page, bytes: usize) -> bool {
        let unread = self.written.wrapping_sub(page.items_read());
        unread.saturating_add(taken(bytes)) <= ITEMS_BYTES as u64
    }

    /// Writes a piece that there is room for; whether the bell is to be rung.
    pub(crate) fn say(&mut self, arena: &Arena, page: &Page, head: Head, piece: &[u8]) -> bool {
        let mut bytes = [0; HEAD_BYTES];
        let numbers = [head.seq, head.bytes as u64, head.rest];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let after = self.written.wrapping_add(HEAD_BYTES as u64);
        for (from, bytes) in [(self.written, &bytes[..]), (after, piece)] {
            for (offset, part) in Half::Items.parts(from, bytes.len()) {
                arena.write(Half::Items, offset, &bytes[part]);
            }
        }
        self.written = self.written.wrapping_add(taken(head.bytes));
        let bell = page.items_bell();
        match bell.say(self.written) {
            Due::No => false,
            Due::Now => true,
            // A caller looks for answers only.
            Due::Soon => bell.wake(),
        }
    }
}

/// The server's side.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    heard: u64,
}

/// A piece that was written, and where its bytes lie.
pub(crate) struct Piece<'a> {
    pub(crate) head: Head,
    arena: &'a Arena,
    from: u64,
}

impl Piece<'_> {
    /// Copies its bytes.
    ///
    /// # Panics
    ///
    /// If there is room for another number of bytes.
    pub(crate) fn copy(&self, to: &mut [u8]) {
        assert_eq!(to.len(), self.head.bytes, "room for the piece");
        for (offset, part) in Half::Items.parts(self.from, to.len()) {
            self.arena.copy(Half::Items, offset, &mut to[part]);
        }
    }

    /// A copy of its bytes.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        let offset = self.from % ITEMS_BYTES as u64;
        self.arena.read(Half::Items, offset, self.head.bytes as u64).unwrap_or_else(|| {
            // It goes on at the start of the memory.
            let mut bytes = vec![0; self.head.bytes];
            self.copy(&mut bytes);
            bytes
        })
    }
}

impl Listener {
    /// Whether something was written that was not read.
    pub(crate) fn has_more(&self, page: &Page) -> bool {
        page.items_bell().said() != self.heard
    }

    /// Takes all pieces that are there, and gives their room back.
    pub(crate) fn hear(
        &mut self,
        arena: &Arena,
        page: &Page,
        mut take: impl FnMut(Piece<'_>) -> Result<(), Nonsense>,
    ) -> Result<(), Nonsense> {
        let said = page.items_bell().said();
        let mut unread = said.wrapping_sub(self.heard);
        if unread > ITEMS_BYTES as u64 {
            return Err(Nonsense);
        }
        if unread == 0 {
            return Ok(());
        }
        while unread > 0 {
            let head = self.head(arena, unread)?;
            let from = self.heard.wrapping_add(HEAD_BYTES as u64);
            take(Piece { head, arena, from })?;
            unread -= taken(head.bytes);
            self.heard = self.heard.wrapping_add(taken(head.bytes));
            if head.bytes >= PUBLISHED_BYTES {
                self.publish(page);
            }
        }
        self.publish(page);
        Ok(())
    }

    fn head(&self, arena: &Arena, unread: u64) -> Result<Head, Nonsense> {
        let mut numbers = [0; 3];
        let mut bytes = [0; HEAD_BYTES];
        for (offset, part) in Half::Items.parts(self.heard, HEAD_BYTES) {
            arena.copy(Half::Items, offset, &mut bytes[part]);
        }
        for (number, place) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(place.try_into().map_err(|_| Nonsense)?);
        }
        let [seq, bytes, rest] = numbers;
        let fits = bytes <= PIECE_BYTES as u64 && taken(bytes as usize) <= unread;
        if fits { Ok(Head { seq, bytes: bytes as usize, rest }) } else { Err(Nonsense) }
    }

    fn publish(&self, page: &Page) {
        page.set_items_read(self.heard);
        wake(page);
    }
}

/// Worker: sleeps until there is room.
pub(crate) fn wait(page: &Page, has_room: impl Fn() -> bool) {
    // What the system does not do is looked at again: it wakes too early at worst.
    page.room().wait(has_room, memory::sleep_while);
}

/// There is more room, or the worker has another reason to look: wakes it, if it waits.
pub(crate) fn wake(page: &Page) {
    let room = page.room();
    if room.made() {
        memory::wake(room.turn);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> [(Arena, Page); 2] {
        let (arena, arena_fd) = Arena::create().unwrap();
        let (page, page_fd) = Page::create().unwrap();
        let worker = (Arena::open(&arena_fd).unwrap(), Page::open(&page_fd).unwrap());
        [(arena, page), worker]
    }

    fn head(seq: u64, bytes: usize) -> Head {
        Head { seq, bytes, rest: 0 }
    }

    #[test]
    fn every_piece_is_heard_and_no_worker_is_left_waiting() {
        const PIECES: u64 = 20_000;
        let [(server_arena, server_page), (worker_arena, worker_page)] = pair();
        let length = |n: u64| (n as usize * 7919) % 3000;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut speaker = Speaker::default();
                for n in 0..PIECES {
                    let piece = vec![n as u8; length(n)];
                    wait(&worker_page, || speaker.has_room(&worker_page, piece.len()));
                    speaker.say(&worker_arena, &worker_page, head(n, piece.len()), &piece);
                }
            });
            let (mut listener, mut next) = (Listener::default(), 0);
            while next < PIECES {
                listener
                    .hear(&server_arena, &server_page, |piece| {
                        assert_eq!(piece.head, head(next, length(next)));
                        assert_eq!(piece.to_vec(), vec![next as u8; length(next)]);
                        next += 1;
                        Ok(())
                    })
                    .unwrap();
                std::thread::yield_now();
            }
        });
    }

    #[test]
    fn what_no_worker_writes_is_nonsense() {
        for said in [u64::MAX, ITEMS_BYTES as u64 + 8, 8] {
            let [(arena, page), (_, worker_page)] = pair();
            worker_page.items_bell().say(said);
            let heard = Listener::default().hear(&arena, &page, |_| Ok(()));
            assert_eq!(heard, Err(Nonsense), "{said}");
        }
        let [(arena, page), (worker_arena, worker_page)] = pair();
        let forged = Head { seq: 1, bytes: PIECE_BYTES + 1, rest: 0 };
        Speaker::default().say(&worker_arena, &worker_page, forged, b"abc");
        assert_eq!(Listener::default().hear(&arena, &page, |_| Ok(())), Err(Nonsense));
    }

    proptest! {
        #[test]
        fn any_bytes_are_pieces_or_nonsense(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            said in 0..400_u64,
        ) {
            let [(arena, page), (worker_arena, worker_page)] = pair();
            worker_arena.write(Half::Items, 0, &bytes);
            worker_page.items_bell().say(said);
            let mut heard = 0;
            let result = Listener::default().hear(&arena, &page, |piece| {
                heard += taken(piece.to_vec().len());
                Ok(())
            });
            prop_assert!(heard <= said && (result.is_err() || heard == said));
        }
    }
}

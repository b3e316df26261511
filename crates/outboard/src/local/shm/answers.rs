//! A worker's answers to its server: a stream of small frames in memory that both
//! share, and a bell for a server that sleeps.
//!
//! Writing a frame costs a worker no system call while the server is awake, and it
//! is safe there before the next task starts: the memory is the server's, which
//! reads to the end of it after the worker's death. Who sleeps and who rings is
//! decided as Dekker has it: each side first writes its own word (the server that
//! it sleeps, the worker how far it has written), and then reads the other's, with
//! a fence between. So a frame is seen, or the bell rings, or both.
//!
//! A server that sleeps may be watched for: a caller looks for its answer, and takes it. Then
//! the worker rings only if what it wrote is not heard soon, for that caller may have left.
//!
//! The bell is a counter of the kernel, or an empty frame in the socket where the system has
//! none. What is too large for a frame here, or
//! has a descriptor beside it, goes through the socket too, after a frame here that
//! says so ([`FromWorker::Beside`](crate::local::wire::FromWorker)); so there is one order.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::local::shm::arena::{Arena, Half};
use crate::local::shm::items;
use crate::local::shm::page::{Page, SLOTS};
use crate::local::wire::Inbox;

/// The two words of it.
pub(crate) mod bell;

pub(crate) use bell::Due;

/// The longest frame: a worker owes an answer to fewer tasks than there are slots,
/// so there is always room.
pub(crate) const LONGEST_BYTES: usize = ANSWERS_BYTES / SLOTS;

/// The size of the memory.
pub(crate) const ANSWERS_BYTES: usize = 64 << 10;

/// The bell in the socket: a frame of length 0.
pub(crate) const BELL: [u8; 4] = [0; 4];

/// The worker's side.
#[derive(Debug, Default)]
pub(crate) struct Speaker {
    written: u64,
}

impl Speaker {
    /// Writes a frame of at most [`LONGEST_BYTES`]; whether the bell is to be
    /// rung. `None` if there is no room, which no server of ours lets happen.
    pub(crate) fn say(&mut self, arena: &Arena, page: &Page, frame: &[u8]) -> Option<Due> {
        let unread = self.written.wrapping_sub(page.heard_bytes());
        if unread.saturating_add(frame.len() as u64) > ANSWERS_BYTES as u64 {
            return None;
        }
        for (offset, piece) in Half::Answers.parts(self.written, frame.len()) {
            arena.write(Half::Answers, offset, &frame[piece]);
        }
        self.written = self.written.wrapping_add(frame.len() as u64);
        Some(page.bell().say(self.written))
    }

    /// Whether the server has read all that was written.
    pub(crate) fn is_heard(&self, page: &Page) -> bool {
        page.heard_bytes() == self.written
    }
}

/// The server's side.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    heard: u64,
    /// How many bells may be on their way.
    owed: u32,
    /// What the same bell is rung for.
    pub(crate) items: items::Listener,
}

/// What no worker of ours does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Nonsense;

impl Listener {
    /// How far it has read.
    pub(crate) fn heard_bytes(&self) -> u64 {
        self.heard
    }

    /// Whether something was written that was not read.
    pub(crate) fn has_more(&self, page: &Page) -> bool {
        page.bell().said() != self.heard || self.items.has_more(page)
    }

    /// Copies what was written to the inbox.
    pub(crate) fn hear(
        &mut self,
        arena: &Arena,
        page: &Page,
        inbox: &mut Inbox,
    ) -> Result<(), Nonsense> {
        let unread = page.bell().said().wrapping_sub(self.heard);
        if unread > ANSWERS_BYTES as u64 {
            return Err(Nonsense);
        }
        let bytes = unread as usize;
        let room = inbox.room();
        for (offset, piece) in Half::Answers.parts(self.heard, bytes) {
            arena.copy(Half::Answers, offset, &mut room[piece]);
        }
        inbox.arrived(bytes);
        self.heard = self.heard.wrapping_add(unread);
        page.set_heard(self.heard);
        Ok(())
    }

    /// Has the worker ring from now on; `false` if it wrote something before, and
    /// no bell is on its way.
    pub(crate) fn sleep(&mut self, page: &Page) -> bool {
        page.bell().sleep();
        self.owed += 1;
        if self.has_more(page) {
            self.wake(page);
            return self.owed > 0;
        }
        true
    }

    /// Needs no bell any more, though one may be on its way.
    pub(crate) fn wake(&mut self, page: &Page) {
        if page.bell().wake() {
            self.owed = self.owed.saturating_sub(1);
        }
    }

    /// The bell was heard, so many times.
    ///
    /// # Errors
    ///
    /// It was rung for nothing: a worker must not keep the server from its work.
    pub(crate) fn bell(&mut self, times: u64) -> Result<(), Nonsense> {
        let times = u32::try_from(times).map_err(|_| Nonsense)?;
        self.owed = self.owed.checked_sub(times).ok_or(Nonsense)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pair() -> [(Arena, Page); 2] {
        let (arena, arena_fd) = Arena::create().unwrap();
        let (page, page_fd) = Page::create().unwrap();
        let worker = (Arena::open(&arena_fd).unwrap(), Page::open(&page_fd).unwrap());
        [(arena, page), worker]
    }

    fn frame(n: u32) -> Vec<u8> {
        let bytes = n as usize % (LONGEST_BYTES - 8) + 4;
        let mut frame = (bytes as u32).to_le_bytes().to_vec();
        frame.extend(n.to_le_bytes());
        frame.resize(4 + bytes, n as u8);
        frame
    }

    #[test]
    fn every_frame_is_heard_and_no_sleeper_is_left_asleep() {
        const FRAMES: u32 = 60_000;
        let [(server_arena, server_page), (worker_arena, worker_page)] = pair();
        let (bell, bells) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut speaker = Speaker::default();
                for n in 0..FRAMES {
                    let rings = loop {
                        match speaker.say(&worker_arena, &worker_page, &frame(n)) {
                            Some(ring) => break ring == Due::Now,
                            None => std::thread::yield_now(),
                        }
                    };
                    if rings {
                        bell.send(()).unwrap();
                    }
                }
            });
            let (mut listener, mut inbox, mut next) = (Listener::default(), Inbox::default(), 0);
            while next < FRAMES {
                listener.hear(&server_arena, &server_page, &mut inbox).unwrap();
                while let Some(heard) = inbox.next_frame(LONGEST_BYTES).unwrap() {
                    assert_eq!(heard, &frame(next)[4..]);
                    next += 1;
                }
                if next < FRAMES && listener.sleep(&server_page) {
                    bells.recv_timeout(std::time::Duration::from_secs(60)).expect("the bell");
                    listener.wake(&server_page);
                    listener.bell(1).unwrap();
                }
            }
        });
    }

    #[test]
    fn a_bell_for_nothing_is_nonsense() {
        let [(arena, page), (worker_arena, worker_page)] = pair();
        let (mut listener, mut speaker) = (Listener::default(), Speaker::default());
        assert_eq!(listener.bell(1), Err(Nonsense));
        assert!(listener.sleep(&page));
        assert_eq!(speaker.say(&worker_arena, &worker_page, b"abc"), Some(Due::Now));
        assert_eq!(speaker.say(&worker_arena, &worker_page, b"abc"), Some(Due::No));
        assert_eq!(listener.bell(1), Ok(()));
        assert_eq!(listener.bell(1), Err(Nonsense));
        assert!(!listener.sleep(&page), "there is more");
        assert_eq!(listener.bell(1), Err(Nonsense), "nobody rings for that");
        listener.hear(&arena, &page, &mut Inbox::default()).unwrap();
        assert!(listener.sleep(&page));
        listener.wake(&page);
        assert_eq!(speaker.say(&worker_arena, &worker_page, b"abc"), Some(Due::No));
    }

    #[test]
    fn more_than_there_is_room_for_is_nonsense() {
        let [(arena, page), (_, worker_page)] = pair();
        let mut listener = Listener::default();
        worker_page.bell().say(ANSWERS_BYTES as u64 + 1);
        assert_eq!(listener.hear(&arena, &page, &mut Inbox::default()), Err(Nonsense));
        worker_page.bell().say(u64::MAX);
        assert_eq!(listener.hear(&arena, &page, &mut Inbox::default()), Err(Nonsense));
    }
}

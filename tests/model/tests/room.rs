//! A worker that waits for room and a server that makes some, in every order of their steps.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::thread;

#[path = "../../../crates/outboard/src/local/shm/items/room.rs"]
mod room;

use room::Room;

/// The words, and the room that the server makes.
#[derive(Default)]
struct Page {
    waiting: AtomicU64,
    turn: AtomicU32,
    room: AtomicU64,
}

impl Page {
    fn words(&self) -> Room<'_> {
        Room { waiting: &self.waiting, turn: &self.turn }
    }

    /// A worker that needs so much room.
    fn wait_for(&self, room: u64) {
        let has_room = || self.room.load(Ordering::Acquire) >= room;
        self.words().wait(has_room, |turn, before| {
            // As the system's: if nobody made the number grow, this would never end, and the
            // model would say so.
            while turn.load(Ordering::Acquire) == before {
                thread::yield_now();
            }
        });
    }

    /// A server that makes it, step by step.
    fn make(&self, room: u64) {
        for n in 1..=room {
            self.room.store(n, Ordering::Release);
            self.words().made();
        }
    }
}

#[test]
fn whoever_waits_is_woken_when_there_is_room() {
    for room in [1, 2] {
        loom::model(move || {
            let page = Arc::new(Page::default());
            let server = {
                let page = page.clone();
                thread::spawn(move || page.make(room))
            };
            page.wait_for(room);
            server.join().unwrap();
            assert_eq!(page.waiting.load(Ordering::Relaxed), 0);
        });
    }
}

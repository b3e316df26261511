//! The bell between a worker and a server that sleeps, in every order of their
//! steps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::mpsc::{Receiver, Sender, channel};
use loom::thread;

#[path = "../../../crates/outboard/src/local/shm/answers/bell.rs"]
mod bell;

use bell::Bell;

/// The words, and what the worker writes beside them.
#[derive(Default)]
struct Page {
    said: AtomicU64,
    asleep: AtomicU64,
    answers: [AtomicU64; 2],
}

impl Page {
    fn bell(&self) -> Bell<'_> {
        Bell { said: &self.said, asleep: &self.asleep }
    }

    /// A worker that gives so many answers.
    fn answer(&self, answers: u64, bell: &Sender<()>) {
        for n in 1..=answers {
            self.answers[n as usize - 1].store(n, Ordering::Relaxed);
            if self.bell().say(n) {
                bell.send(()).unwrap();
            }
        }
    }

    /// A server that reads so many, and sleeps when there are none; how many
    /// bells it did not hear.
    fn listen(&self, answers: u64, bells: &Receiver<()>) -> u64 {
        let (mut heard, mut owed) = (0, 0);
        while heard < answers {
            let said = self.bell().said();
            for n in heard + 1..=said {
                assert_eq!(self.answers[n as usize - 1].load(Ordering::Relaxed), n);
            }
            heard = said;
            if heard == answers {
                break;
            }
            self.bell().sleep();
            owed += 1;
            if self.bell().said() != heard {
                owed -= u64::from(self.bell().wake());
                if owed == 0 {
                    continue;
                }
            }
            // If nobody rang, this would never end, and the model would say so.
            bells.recv().unwrap();
            owed -= u64::from(self.bell().wake());
            owed -= 1;
        }
        owed
    }
}

#[test]
fn whoever_sleeps_is_woken_and_sees_what_was_written() {
    for answers in [1, 2] {
        loom::model(move || {
            let page = Arc::new(Page::default());
            let (bell, bells) = channel();
            let worker = {
                let page = page.clone();
                thread::spawn(move || page.answer(answers, &bell))
            };
            assert_eq!(page.listen(answers, &bells), 0, "each bell was for a sleep");
            worker.join().unwrap();
        });
    }
}

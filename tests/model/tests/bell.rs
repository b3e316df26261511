//! The bell between a worker and a server that sleeps, in every order of their
//! steps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::mpsc::{Receiver, Sender, channel};
use loom::thread;

#[path = "../../../crates/outboard/src/local/shm/answers/bell.rs"]
mod bell;

use bell::{Bell, Due};

/// The words, and what the worker writes beside them.
#[derive(Default)]
struct Page {
    said: AtomicU64,
    asleep: AtomicU64,
    heard: AtomicU64,
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
            if self.bell().say(n) == Due::Now {
                bell.send(()).unwrap();
            }
        }
    }

    /// A worker that gives one answer, and rings late where someone looks.
    fn answer_once(&self, bell: &Sender<()>) {
        self.answers[0].store(1, Ordering::Relaxed);
        let rings = match self.bell().say(1) {
            Due::No => false,
            Due::Now => true,
            Due::Soon => self.heard.load(Ordering::Acquire) != 1 && self.bell().wake(),
        };
        if rings {
            bell.send(()).unwrap();
        }
    }

    /// A caller that looks for the one answer, once or twice, and takes it if it is there.
    fn look(&self) {
        if !self.bell().watch() {
            return;
        }
        self.take();
        if self.bell().unwatch() {
            self.take();
        }
    }

    /// Takes the answer, if it is there and nobody has.
    fn take(&self) {
        if self.bell().said() == 1 {
            assert_eq!(self.answers[0].load(Ordering::Relaxed), 1);
            self.heard.store(1, Ordering::Release);
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

/// Whoever looks and leaves may have missed the answer by a hair: then the bell rings.
#[test]
fn an_answer_that_nobody_saw_rings_the_bell() {
    loom::model(|| {
        let page = Arc::new(Page::default());
        page.bell().sleep();
        let (bell, bells) = channel();
        let worker = {
            let page = page.clone();
            thread::spawn(move || page.answer_once(&bell))
        };
        page.look();
        worker.join().unwrap();
        let rang = bells.try_recv().is_ok();
        let heard = page.heard.load(Ordering::Relaxed) == 1;
        assert!(heard || rang, "nobody would ever hear it");
        // Not more often than the server slept.
        assert!(bells.try_recv().is_err());
        assert_eq!(rang, !page.bell().wake(), "the bell is for one who sleeps");
    });
}

/// The reader may be woken by something else while a caller looks. Every order of steps in which
/// no thread is interrupted more often than three times: all orders take over 7 minutes.
#[test]
fn a_reader_that_wakes_while_a_caller_looks_hears_or_is_rung() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let page = Arc::new(Page::default());
        page.bell().sleep();
        let (bell, bells) = channel();
        let worker = {
            let page = page.clone();
            thread::spawn(move || page.answer_once(&bell))
        };
        let caller = {
            let page = page.clone();
            thread::spawn(move || page.look())
        };
        // It wakes, finds what is there, and sleeps again.
        page.bell().wake();
        page.take();
        page.bell().sleep();
        if page.bell().said() == 1 {
            page.take();
        }
        worker.join().unwrap();
        caller.join().unwrap();
        let heard = page.heard.load(Ordering::Relaxed) == 1;
        assert!(heard || bells.try_recv().is_ok(), "nobody would ever hear it");
    });
}

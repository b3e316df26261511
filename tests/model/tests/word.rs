//! The word that a server and a worker share, in every order in which their
//! steps can follow one another.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::{Arc, Mutex};
use loom::thread;

#[path = "../../../crates/outboard/src/local/shm/page/word.rs"]
mod word;

use word::{TaskWord, Word};

/// Words on one page; the tasks of these tests lie in different ones.
const PLACES: u64 = 2;

/// The page, and what happened to the tasks of one worker.
#[derive(Default)]
struct Page {
    words: [AtomicU64; PLACES as usize],
    /// How often the worker has executed each.
    executed: [AtomicU64; PLACES as usize],
    /// What a worker writes beside the word before it says that it is done.
    memory: AtomicU64,
    /// The lock under which the server decides.
    gate: Mutex<()>,
}

impl Page {
    /// With these tasks sent.
    fn with(tasks: impl IntoIterator<Item = u64>) -> Arc<Self> {
        let page = Arc::new(Self::default());
        tasks.into_iter().for_each(|seq| page.task(seq).send());
        page
    }

    fn task(&self, seq: u64) -> TaskWord<'_> {
        TaskWord { at: &self.words[(seq % PLACES) as usize], seq }
    }

    fn executions(&self, seq: u64) -> u64 {
        self.executed[(seq % PLACES) as usize].load(Relaxed)
    }

    /// A worker, as it treats one task; dies after so many steps.
    fn attempt(&self, seq: u64, steps: usize) -> Answer {
        if steps == 0 {
            return Answer::None;
        }
        if !self.task(seq).start() {
            return Answer::Skipped;
        }
        self.executed[(seq % PLACES) as usize].fetch_add(1, Relaxed);
        self.memory.store(seq, Relaxed);
        if steps == 1 {
            return Answer::None;
        }
        if self.task(seq).finish() { Answer::Done } else { Answer::Parked }
    }

    /// The server's stop of one task, as its link does it: take it back, or ask.
    fn stop(&self, seq: u64) -> Stop {
        let _decides = self.gate.lock().unwrap();
        if self.task(seq).revoke() {
            return Stop::TakenBack;
        }
        if self.task(seq).stop() {
            return Stop::Asked;
        }
        assert_eq!(self.task(seq).read(), Some(Word::Done), "an honest worker is blamed");
        assert_eq!(self.memory.load(Relaxed), seq, "what it wrote before can be read");
        Stop::TooLate
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Done,
    Skipped,
    Parked,
    /// It died.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    TakenBack,
    Asked,
    TooLate,
}

const ALL: usize = usize::MAX;

#[test]
fn a_task_is_executed_here_or_taken_back_never_both() {
    loom::model(|| {
        let page = Page::with([1, 2]);
        let worker = {
            let page = page.clone();
            thread::spawn(move || [1, 2].map(|seq| page.attempt(seq, ALL)))
        };
        // One thread takes back all it can, another one a single task.
        let withdrawn = {
            let page = page.clone();
            thread::spawn(move || {
                let _decides = page.gate.lock().unwrap();
                [2, 1].map(|seq| page.task(seq).revoke())
            })
        };
        let stolen = {
            let _decides = page.gate.lock().unwrap();
            page.task(2).revoke()
        };
        let ([second, first], answers) = (withdrawn.join().unwrap(), worker.join().unwrap());
        assert!(!(second && stolen), "one side wins a swap");
        for (seq, taken) in [(1, first), (2, second || stolen)] {
            let executions = page.executions(seq) + u64::from(taken);
            assert_eq!(executions, 1, "task {seq} is executed here or elsewhere");
            let expected = if taken { Answer::Skipped } else { Answer::Done };
            assert_eq!(answers[seq as usize - 1], expected);
        }
    });
}

#[test]
fn a_stop_and_then_a_kill_meet_a_task_at_any_moment() {
    loom::model(|| {
        let page = Page::with([1]);
        let worker = {
            let page = page.clone();
            thread::spawn(move || page.attempt(1, ALL))
        };
        // The clock may come with its kill before there was a stop.
        let early = {
            let page = page.clone();
            thread::spawn(move || page.task(1).kill())
        };
        let stopped = page.stop(1);
        let killed = page.task(1).kill();
        let (early, answer) = (early.join().unwrap(), worker.join().unwrap());
        assert!(!(early && killed), "one side wins a swap");
        let killed = early || killed;
        assert!(!killed || stopped == Stop::Asked, "it is asked before it is killed");
        let expected = match (stopped, killed) {
            (Stop::TakenBack, _) => Answer::Skipped,
            (Stop::Asked, true) => Answer::Parked,
            (Stop::Asked, false) | (Stop::TooLate, _) => Answer::Done,
        };
        assert_eq!(answer, expected);
        assert_eq!(page.executions(1), u64::from(stopped != Stop::TakenBack));
    });
}

#[test]
fn a_task_that_is_only_asked_to_stop_ends_by_itself() {
    loom::model(|| {
        let page = Page::with([1]);
        let worker = {
            let page = page.clone();
            thread::spawn(move || page.attempt(1, ALL))
        };
        let watching = {
            let page = page.clone();
            thread::spawn(move || {
                let done = page.task(1).read() == Some(Word::Done);
                assert!(!done || page.memory.load(Relaxed) == 1, "what it wrote before is there");
            })
        };
        let taken_back = page.stop(1) == Stop::TakenBack;
        watching.join().unwrap();
        let expected = if taken_back { Answer::Skipped } else { Answer::Done };
        assert_eq!(worker.join().unwrap(), expected);
    });
}

#[test]
fn after_a_death_at_any_step_it_is_exact_what_had_started() {
    for steps in 0..=2 {
        loom::model(move || {
            let page = Page::with([1]);
            let worker = {
                let page = page.clone();
                thread::spawn(move || page.attempt(1, steps))
            };
            let taken = page.task(1).revoke();
            let answer = worker.join().unwrap();
            let word = page.task(1).read().expect("the worker is honest");
            let started = page.executions(1) == 1;
            assert_eq!(taken, word == Word::Revoked);
            assert_eq!(started, matches!(word, Word::Running | Word::Done), "{word:?}");
            assert!(!started || answer != Answer::Skipped);
            assert_eq!(word == Word::Sent, !taken && steps == 0, "it moves on unharmed");
        });
    }
}

#[test]
fn what_is_decided_about_a_task_is_not_about_another_one_in_its_place() {
    loom::model(|| {
        let page = Page::with([1]);
        assert!(page.task(1).start() && page.task(1).finish());
        let later = 1 + PLACES;
        let left_behind = {
            let page = page.clone();
            // A thread that the first task started and did not wait for.
            thread::spawn(move || page.task(1).is_stopping() || page.task(1).finish())
        };
        page.task(later).send();
        assert!(page.task(later).start());
        assert!(!page.task(1).stop() && !page.task(1).revoke(), "late swaps fail");
        assert!(page.task(later).stop());
        assert!(!left_behind.join().unwrap(), "it is about another task");
        assert_eq!(page.task(later).read(), Some(Word::Stopping));
    });
}

#[test]
fn a_stop_that_was_made_is_seen() {
    loom::model(|| {
        let page = Page::with([1]);
        assert!(page.task(1).start());
        let asked = Arc::new(AtomicU64::new(0));
        let server = {
            let (page, asked) = (page.clone(), asked.clone());
            thread::spawn(move || {
                assert!(page.task(1).stop());
                asked.store(1, SeqCst);
            })
        };
        if asked.load(SeqCst) == 1 {
            assert!(page.task(1).is_stopping());
        }
        server.join().unwrap();
        assert!(page.task(1).is_stopping());
    });
}

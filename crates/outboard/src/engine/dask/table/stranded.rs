//! Tasks on which a scheduler sits. Dask keeps a task for ever that no worker can execute.
//! It does not look at it again when a worker that is there says that it can. So the
//! scheduler is asked what has become of tasks that do not end. Each is sent again, lost
//! after a while, or still waited for:
//!
//! | what is known of a task of Rust | then |
//! |---|---|
//! | it has no worker, and one that takes tasks offers its function | it is sent again |
//! | the scheduler has not known it for [`FORGOTTEN`] | it is sent again |
//! | all that offer its function are paused or leave, and execute nothing | it is lost after [`PAUSED`] |
//! | no worker offers its function in its pool | it is lost after [`PATIENCE`] |
//! | there is no worker at all, and the next one is given the program | it is lost after [`EMPTY`] |
//!
//! One that was sent again [three times](super::LOSSES) is lost, for it may be what ends
//! its workers. Tasks of Python are sent again likewise, and are never lost for want of a
//! worker: Dask's own wait as well.

use std::time::{Duration, Instant};

use super::{Held, LOSSES, Missed, Outgoing, Scheduler, State, Table};
use crate::engine::dask::wanted::Wanted;
use crate::task::registry::Function;

/// How long a worker is waited for that knows a function, where there was one: after it
/// has left, and when a scheduler is back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The same where those that know it are paused.
const PAUSED: Duration = Duration::from_secs(60);

/// The same where there is no worker, and each that comes is given the program: a cluster
/// that adapts may have to start a machine.
const EMPTY: Duration = Duration::from_secs(300);

/// How long a scheduler may take to hear of a task that was sent.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// So old are tasks that are asked about.
const OLD: Duration = Duration::from_secs(2);

/// Who offers what a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// A worker that takes tasks.
    Here,
    /// A worker that takes none now, and executes some.
    Busy,
    /// Workers that take none now, and execute none.
    Paused,
    /// No worker.
    Nobody,
    /// No worker, and there is none.
    Empty,
}

/// What a scheduler says of a task that was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Its result is there.
    InMemory,
    /// It waits for a worker that can execute it.
    NoWorker,
    /// It has never heard of it, or not any more.
    Unknown,
    /// Something else.
    Other,
}

impl Said {
    /// Of the state that a scheduler names.
    pub(crate) fn of(state: Option<&str>) -> Self {
        match state {
            Some("memory") => Self::InMemory,
            Some("no-worker") => Self::NoWorker,
            None | Some("forgotten") => Self::Unknown,
            Some(_) => Self::Other,
        }
    }
}

impl Table {
    /// A task goes to native workers, or to those with a program of this build
    /// beside them.
    pub(crate) fn placed(&mut self, at: usize, key: &str, build: Option<&'static str>) {
        if let Some(held) = self.held_mut(at, key) {
            (held.wanted.build, held.stranded) = (build, None);
        }
    }

    /// The keys of tasks at a scheduler that nobody can execute, and that were waited for as
    /// long as is allowed.
    pub(crate) fn stranded(
        &mut self,
        now: Instant,
        at: usize,
        mut offered: impl FnMut(&Wanted) -> Offered,
    ) -> Vec<String> {
        let mut stranded = Vec::new();
        for held in self.there(at).filter(|held| !held.wanted.function.python) {
            let offered = offered(&held.wanted);
            let patience = match (offered, held.wanted.build) {
                (Offered::Here | Offered::Busy, _) => {
                    held.stranded = None;
                    continue;
                }
                (Offered::Paused, _) => PAUSED,
                (Offered::Empty, Some(_)) => EMPTY,
                (Offered::Nobody | Offered::Empty, _) => PATIENCE,
            };
            let since = match held.stranded {
                Some((before, since)) if before == offered => since,
                _ => now,
            };
            held.stranded = Some((offered, since));
            if since + patience <= now {
                stranded.push(held.key.clone());
            }
        }
        stranded
    }

    /// The keys of tasks that a scheduler was given a while ago, and that have not ended.
    pub(crate) fn old(&mut self, now: Instant, at: usize) -> Vec<String> {
        let old = self.there(at).filter(|held| held.since + OLD <= now);
        old.map(|held| held.key.clone()).collect()
    }

    /// What a scheduler says of a task, and what follows. It leaves again under the key
    /// that this gives it: others may want the old one, where the call is pure.
    pub(crate) fn said(
        &mut self,
        now: Instant,
        (at, key): (usize, &str),
        said: Said,
        offered: impl FnOnce(&Wanted) -> Offered,
        new_key: impl FnOnce(&Function) -> String,
    ) -> Missed {
        let Some(held) = self.held_mut(at, key).filter(|held| !held.fetching) else {
            return Missed::Other;
        };
        let is_stuck = match said {
            Said::NoWorker => offered(&held.wanted) == Offered::Here,
            Said::Unknown => *held.unknown.get_or_insert(now) + FORGOTTEN <= now,
            Said::InMemory | Said::Other => {
                held.unknown = None;
                false
            }
        };
        if !is_stuck {
            return Missed::Other;
        }
        if held.losses == LOSSES || held.delivered {
            return Missed::TooOften;
        }
        held.losses += 1;
        let key_again = new_key(held.wanted.function);
        self.send_again(at, key, key_again);
        Missed::Again
    }

    /// A scheduler has forgotten all tasks and values, for someone restarted its workers:
    /// what was sent leaves again. Gives the keys of streams of which items have arrived:
    /// they are lost.
    pub(crate) fn restarted(
        &mut self,
        at: usize,
        new_key: impl Fn(&Function) -> String,
    ) -> Vec<String> {
        let sent =
            self.there(at).map(|held| (held.key.clone(), held.wanted.function, held.delivered));
        let (mut sent, mut lost): (Vec<_>, Vec<_>) = (sent.collect(), Vec::new());
        for (key, function, delivered) in sent.drain(..) {
            match delivered {
                true => lost.push(key),
                false => self.send_again(at, &key, new_key(function)),
            }
        }
        self.schedulers[at].shelf.clear();
        lost
    }

    /// Releases a task, and has it leave under another key.
    fn send_again(&mut self, at: usize, key: &str, key_again: String) {
        let Some(held) = self.held_mut(at, key) else { return };
        let Some(mut start) = held.again.take() else { return };
        held.requeue();
        held.key.clone_from(&key_again);
        let at_slot = self.schedulers[at].keys.remove(key);
        let Scheduler { outbox, shelf, keys, .. } = &mut self.schedulers[at];
        keys.extend(at_slot.map(|place| (key_again.clone(), place)));
        shelf.left(&start.values);
        (start.key, start.again) = (key_again, true);
        outbox.push(Outgoing::Release(key.to_owned(), None));
        outbox.push(Outgoing::Start(start));
    }

    /// Tasks that are at a scheduler, and of which nothing else is known.
    fn there(&mut self, at: usize) -> impl Iterator<Item = &mut Held> {
        let held = self.slots.values_mut().flatten();
        held.filter(move |held| held.scheduler == at && held.state == State::Sent && !held.fetching)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::start;
    use super::super::{Batch, Window};
    use super::*;
    use crate::sched::placement::{Placement, Rules};

    /// A table with one task, which was sent.
    fn table(now: Instant) -> Table {
        let mut table = Table::new(1, Window::default());
        table.up(0, 1);
        let slot = Placement::new(Rules::default()).slot_up(now);
        table.add_slot(slot);
        table.start(now, slot, start(1, "key".to_owned()));
        table
    }

    fn later(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn a_task_is_stranded_when_nobody_could_execute_it_for_long_enough() {
        let now = Instant::now();
        let mut table = table(now);
        assert!(table.stranded(later(now, 60), 0, |_| Offered::Nobody).is_empty(), "not sent");
        table.take(0);
        let mut asked =
            |seconds, offered| !table.stranded(later(now, seconds), 0, |_| offered).is_empty();
        assert!(!asked(60, Offered::Nobody));
        assert!(!asked(69, Offered::Here));
        assert!(!asked(75, Offered::Nobody), "somebody could meanwhile");
        assert!(asked(85, Offered::Nobody));
        assert!(!asked(90, Offered::Paused), "another reason has its own patience");
        assert!(!asked(149, Offered::Paused) && asked(150, Offered::Paused));
        assert!(!asked(160, Offered::Busy) && !asked(999, Offered::Busy));
        assert!(!asked(1000, Offered::Empty) && asked(1010, Offered::Empty), "natives are few");
        table.placed(0, "key", Some("build"));
        let mut asked = |seconds| {
            let empty = table.stranded(later(now, seconds), 0, |wanted| {
                assert_eq!(wanted.build, Some("build"));
                Offered::Empty
            });
            !empty.is_empty()
        };
        assert!(!asked(2000) && !asked(2299) && asked(2300), "a machine may be on its way");
        assert!(table.claim(0, "key"));
        assert!(table.stranded(later(now, 9999), 0, |_| Offered::Nobody).is_empty());
    }

    /// What left.
    fn left(batch: &Batch) -> (Vec<&str>, Vec<&str>) {
        let released = batch.released.iter().map(String::as_str).collect();
        (released, batch.started.iter().map(|start| start.key.as_str()).collect())
    }

    #[test]
    fn a_task_without_a_worker_that_one_could_execute_is_sent_again_three_times() {
        let now = Instant::now();
        let mut table = table(now);
        let mut key = "key".to_owned();
        table.take(0);
        assert!(table.old(later(now, 1), 0).is_empty());
        for turn in 0..3 {
            assert_eq!(table.old(later(now, 2), 0), [key.as_str()]);
            let mut said = |said, offered| {
                table.said(now, (0, &key), said, |_| offered, |_| format!("again-{turn}"))
            };
            assert_eq!(said(Said::Other, Offered::Here), Missed::Other);
            assert_eq!(said(Said::NoWorker, Offered::Paused), Missed::Other);
            assert_eq!(said(Said::NoWorker, Offered::Here), Missed::Again);
            let again = format!("again-{turn}");
            assert_eq!(left(&table.take(0)), (vec![key.as_str()], vec![again.as_str()]));
            assert_eq!(table.by_key(0, &key), None);
            key = again;
        }
        let said = table.said(now, (0, &key), Said::NoWorker, |_| Offered::Here, |_| "no".into());
        assert_eq!(said, Missed::TooOften);
    }

    #[test]
    fn what_a_scheduler_does_not_know_for_a_while_is_sent_again() {
        let now = Instant::now();
        let mut table = table(now);
        table.take(0);
        let mut said = |seconds, said| {
            let at = later(now, seconds);
            table.said(at, (0, "key"), said, |_| Offered::Here, |_| "again".into())
        };
        assert_eq!(said(3, Said::Unknown), Missed::Other, "it may be on its way");
        assert_eq!(said(9, Said::Other), Missed::Other);
        assert_eq!(said(14, Said::Unknown), Missed::Other);
        assert_eq!(said(24, Said::Unknown), Missed::Again);
    }

    #[test]
    fn a_restart_costs_nothing_that_was_sent() {
        let now = Instant::now();
        let mut table = table(now);
        table.take(0);
        for turn in 0..9 {
            table.restarted(0, |_| format!("again-{turn}"));
            let batch = table.take(0);
            assert_eq!(left(&batch).1, [format!("again-{turn}")]);
            assert!(batch.started[0].again);
        }
    }
}

//! How often workers were replaced and why, and the last reports of crashes and panics.
//!
//! Pure. What is kept does not grow: one row for each worker's number, and the
//! last [`REPORTS`] reports of each kind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Panic, WorkerLoss};
use crate::ids::TaskId;
use crate::observe::event::{ExitReason, RecycleReason};

/// How many reports of each kind are kept.
const REPORTS: usize = 16;

/// The highest number of a worker that has a row.
const ROWS: usize = 1_024;

/// How often a worker's process was replaced, or went without a replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restarts {
    /// It was killed, because its task was cancelled or timed out.
    pub killed: u64,
    /// It crashed, or was killed for a fault of its own.
    pub lost: u64,
    /// It was recycled: after so many tasks, at an age, for its memory, or when asked.
    pub recycled: u64,
    /// It was not needed any more.
    pub dismissed: u64,
}

/// The end of a worker that crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrashReport {
    /// Time since the engine was started.
    pub at: Duration,
    /// How it ended and what it was doing: the signal or exit code, the last lines of
    /// stderr, memory, and its task.
    pub loss: Arc<WorkerLoss>,
}

/// A panic of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanicReport {
    /// Time since the engine was started.
    pub at: Duration,
    /// The task.
    pub task: TaskId,
    /// The task function's name.
    pub function: &'static str,
    /// The worker's number.
    pub worker: usize,
    /// Its message, place and backtrace.
    pub panic: Panic,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    rows: Vec<Row>,
    pub(crate) total: Restarts,
    pub(crate) crashes: VecDeque<CrashReport>,
    pub(crate) panics: VecDeque<PanicReport>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    restarts: Restarts,
    /// Why the process that it has now is to be replaced.
    worn: Option<RecycleReason>,
    /// It was killed for a task.
    killed: bool,
}

impl Restarts {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.killed + self.lost + self.recycled + self.dismissed
    }

    fn count(&mut self, why: Option<ExitReason>) {
        *match why {
            None => &mut self.lost,
            Some(ExitReason::Killed) => &mut self.killed,
            Some(ExitReason::Recycled) => &mut self.recycled,
            Some(ExitReason::Dismissed) => &mut self.dismissed,
        } += 1;
    }
}

impl Roster {
    fn row(&mut self, worker: usize) -> Option<&mut Row> {
        if worker >= ROWS {
            return None;
        }
        if self.rows.len() <= worker {
            self.rows.resize(worker + 1, Row::default());
        }
        self.rows.get_mut(worker)
    }

    /// How often a worker was replaced, and whether it is to be.
    pub(crate) fn of(&self, worker: usize) -> (Restarts, Option<RecycleReason>) {
        let row = self.rows.get(worker).copied().unwrap_or_default();
        (row.restarts, row.worn)
    }

    /// A worker is to be replaced.
    pub(crate) fn worn(&mut self, worker: usize, why: RecycleReason) {
        if let Some(row) = self.row(worker) {
            row.worn = Some(why);
        }
    }

    /// A worker is killed for a task.
    pub(crate) fn killed(&mut self, worker: usize) {
        if let Some(row) = self.row(worker) {
            row.killed = true;
        }
    }

    /// A process has ended that had no business to.
    pub(crate) fn lost(&mut self, at: Duration, lost: Arc<WorkerLoss>) {
        self.count(lost.worker, None);
        self.crashes.push_back(CrashReport { at, loss: lost });
        if self.crashes.len() > REPORTS {
            self.crashes.pop_front();
        }
    }

    /// A process has ended as it should; gives why.
    pub(crate) fn left(&mut self, worker: usize) -> ExitReason {
        let row = self.row(worker).copied().unwrap_or_default();
        let why = match row {
            Row { killed: true, .. } => ExitReason::Killed,
            Row { worn: Some(_), .. } => ExitReason::Recycled,
            _ => ExitReason::Dismissed,
        };
        self.count(worker, Some(why));
        why
    }

    fn count(&mut self, worker: usize, why: Option<ExitReason>) {
        self.total.count(why);
        if let Some(row) = self.row(worker) {
            row.restarts.count(why);
            (row.worn, row.killed) = (None, false);
        }
    }

    /// A task panicked.
    pub(crate) fn panicked(&mut self, report: PanicReport) {
        self.panics.push_back(report);
        if self.panics.len() > REPORTS {
            self.panics.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_reason_and_the_next_process_starts_afresh() {
        let mut roster = Roster::default();
        roster.worn(1, RecycleReason::Age);
        assert_eq!(roster.of(1).1, Some(RecycleReason::Age));
        assert_eq!(roster.left(1), ExitReason::Recycled);
        assert_eq!(roster.left(1), ExitReason::Dismissed);
        roster.killed(1);
        assert_eq!(roster.left(1), ExitReason::Killed);
        roster.lost(Duration::ZERO, Arc::new(WorkerLoss { worker: 1, ..WorkerLoss::default() }));
        let once = Restarts { killed: 1, lost: 1, recycled: 1, dismissed: 1 };
        assert_eq!((roster.of(1), roster.total), ((once, None), once));
        assert_eq!(once.all(), 4);
    }

    #[test]
    fn what_is_kept_does_not_grow() {
        let mut roster = Roster::default();
        for worker in 0..10 * ROWS {
            roster.lost(Duration::ZERO, Arc::new(WorkerLoss { worker, ..WorkerLoss::default() }));
        }
        assert!(roster.rows.len() <= ROWS);
        assert_eq!(roster.crashes.len(), REPORTS);
        assert_eq!(roster.crashes.back().map(|crash| crash.loss.worker), Some(10 * ROWS - 1));
        assert_eq!(roster.total.lost, 10 * ROWS as u64);
    }
}

//! What this worker says to its scheduler.

use std::time::{SystemTime, UNIX_EPOCH};

use dask_protocol::Serialized;
use dask_protocol::key::Key;
use dask_protocol::message::{Run, WorkerToScheduler};

use super::super::outcome::Raised;
use crate::engine::dask::stream;

/// When a task was executed, and by which process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    start: f64,
}

/// Seconds since 1970, as Python has them.
pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// What says in the scheduler's log why something was said.
pub(super) fn stimulus(why: &str) -> String {
    format!("{why}-{}", unix_now())
}

impl Timing {
    /// Of what starts now, or was not executed now.
    pub(super) fn start() -> Self {
        Self { start: unix_now() }
    }

    fn end(self, worker: usize) -> Run {
        Run { thread: worker as u64, start: self.start, stop: unix_now() }
    }
}

/// A task has ended, by a process with that number.
pub(super) fn finished(
    key: &Key,
    run_id: i64,
    value: &Serialized,
    worker: usize,
    timing: Timing,
) -> WorkerToScheduler {
    WorkerToScheduler::TaskFinished {
        key: key.clone(),
        run_id,
        nbytes: value.size() as u64,
        type_name: value.type_name().map(str::to_owned),
        run: timing.end(worker),
        stimulus_id: stimulus("task-finished"),
    }
}

pub(super) fn erred(key: &Key, run_id: i64, raised: Raised, timing: Timing) -> WorkerToScheduler {
    let Raised { pickle, text } = raised;
    WorkerToScheduler::TaskErred {
        key: key.clone(),
        run_id,
        exception: pickle,
        text,
        run: timing.end(0),
        stimulus_id: stimulus("task-erred"),
    }
}

/// A task goes back to the scheduler.
pub(super) fn reschedule(key: &Key) -> WorkerToScheduler {
    WorkerToScheduler::Reschedule { key: key.clone(), stimulus_id: stimulus("reschedule") }
}

/// A task has started that is a stream of that name, for the client that listens for it.
pub(super) fn streams(topic: &str, key: &Key, name: &str) -> WorkerToScheduler {
    let said = stream::said(&key.to_string(), name);
    WorkerToScheduler::LogEvent { topic: topic.to_owned(), said }
}

pub(super) fn status(status: &str) -> WorkerToScheduler {
    let stimulus_id = stimulus("worker-status-change");
    WorkerToScheduler::StatusChange { status: status.to_owned(), stimulus_id }
}

/// A value is here. If nobody wants it, the scheduler has it removed again.
pub(super) fn copied(key: &Key) -> WorkerToScheduler {
    WorkerToScheduler::AddKeys { keys: vec![key.clone()], stimulus_id: stimulus("outboard-copied") }
}

/// Whether the scheduler has copies removed of its own accord, to save memory.
pub(super) fn saves_memory(stimulus: &str) -> bool {
    stimulus.starts_with("active_memory_manager")
}

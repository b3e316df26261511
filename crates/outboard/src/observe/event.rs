//! Events of tasks and workers: for pages, terminals and stories.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, WorkerLoss};
use crate::ids::TaskId;

/// Something that happened, and when. It never holds arguments or results.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Time since the engine was started: the clock of
    /// [`Snapshot::uptime`](crate::admin::Snapshot::uptime).
    pub at: Duration,
    /// The pool in which it happened; `default` unless the client has others.
    pub pool: Arc<str>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a task or to a worker.
///
/// The life of a task is `Taken`, `Started`, `Ended`; between them there may be `Ahead`,
/// `TakenBack`, `Retried`, `Joined` and `Left`. A task that is stopped while it runs is
/// `Ended` at once; `Freed` or `WorkerKilled` follows when its worker is free of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A submit was accepted as a new task.
    #[non_exhaustive]
    Taken {
        /// The task.
        task: TaskId,
        /// The task function's name.
        function: &'static str,
        /// The tenant it is charged to; `None` if it names none.
        tenant: Option<Arc<str>>,
        /// Its priority.
        priority: i32,
        /// How many bytes its encoded arguments have.
        argument_bytes: usize,
        /// How many tasks were in the queue before, of all tenants and priorities.
        waiting: usize,
    },
    /// A submit shares the task of an earlier one, with the same key.
    #[non_exhaustive]
    Joined {
        /// The task.
        task: TaskId,
    },
    /// A submit was refused: the queue is full, or its arguments are quarantined.
    #[non_exhaustive]
    Refused {
        /// The task function's name.
        function: &'static str,
        /// The tenant; `None` if it names none.
        tenant: Option<Arc<str>>,
        /// What its caller was told, of kind `Overloaded` or `Quarantined`.
        error: Error,
    },
    /// A task was sent to a worker that has others to execute before it.
    #[non_exhaustive]
    Ahead {
        /// The task.
        task: TaskId,
        /// The worker's number.
        worker: usize,
        /// How many the worker has to execute before it.
        behind: usize,
    },
    /// A task that was sent ahead returned to the queue before it started.
    #[non_exhaustive]
    TakenBack {
        /// The task.
        task: TaskId,
    },
    /// A worker started a task, as the server saw it: some microseconds off.
    ///
    /// The run time in `Ended` is by the worker's clock. A task that was sent ahead and
    /// ended within microseconds may have no such event.
    #[non_exhaustive]
    Started {
        /// The task.
        task: TaskId,
        /// Which execution of the task it is, counting from 1.
        attempt: u32,
        /// The task function's name.
        function: &'static str,
        /// The worker's number.
        worker: usize,
    },
    /// One of the callers that share a task left it; it goes on for the others.
    #[non_exhaustive]
    Left {
        /// The task.
        task: TaskId,
        /// What that caller was told: it cancelled, or its time ran out.
        error: Error,
    },
    /// An attempt failed, and the task waits for another one.
    #[non_exhaustive]
    Retried {
        /// The task.
        task: TaskId,
        /// The number of the attempt that failed.
        attempt: u32,
        /// Why it failed.
        error: Error,
        /// What it used, unless its worker was lost.
        run: Option<RunUsage>,
    },
    /// A task ended, and its callers were told how.
    #[non_exhaustive]
    Ended {
        /// The task.
        task: TaskId,
        /// Its last attempt, which may not have started.
        attempt: u32,
        /// The task function's name.
        function: &'static str,
        /// Why there is no result; `None` if there is one. A cancel and a timeout are
        /// errors too: see [`Error::kind`].
        error: Option<Error>,
        /// The time from submit to the end without the run time below: in the queue, in
        /// earlier attempts, to the worker and back.
        queue_time: Duration,
        /// What its last attempt used, if it ran to its end.
        run: Option<RunUsage>,
    },
    /// A worker finished an attempt that was cancelled, or whose time had run out.
    #[non_exhaustive]
    Freed {
        /// The task.
        task: TaskId,
        /// What the attempt used.
        run: RunUsage,
    },
    /// A worker is ready. It stands by until it serves.
    #[non_exhaustive]
    WorkerUp {
        /// The worker's number.
        worker: usize,
        /// The process.
        pid: u32,
        /// How long it took from its start.
        took: Duration,
    },
    /// A worker serves: it gets tasks from now on.
    #[non_exhaustive]
    WorkerServes {
        /// The worker's number.
        worker: usize,
    },
    /// A worker that served stands by, because there are too many.
    #[non_exhaustive]
    WorkerStandsBy {
        /// The worker's number.
        worker: usize,
    },
    /// A worker is to be replaced, as soon as another one is ready.
    #[non_exhaustive]
    WorkerWorn {
        /// The worker's number.
        worker: usize,
        /// Why.
        why: RecycleReason,
    },
    /// A worker is killed, because its task was cancelled or timed out.
    #[non_exhaustive]
    WorkerKilled {
        /// The worker's number.
        worker: usize,
        /// The task, which was `Ended` before.
        task: TaskId,
    },
    /// A worker's process crashed, or was killed for a fault of its own.
    #[non_exhaustive]
    WorkerLost {
        /// The worker's number.
        worker: usize,
        /// How it ended, and what it was doing.
        report: Arc<WorkerLoss>,
    },
    /// A worker's process has ended without a fault: it was killed for its task, recycled,
    /// or not needed any more.
    #[non_exhaustive]
    WorkerLeft {
        /// The worker's number.
        worker: usize,
        /// The process that it was.
        pid: u32,
        /// Why.
        why: ExitReason,
    },
}

/// The resources that one attempt used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunUsage {
    /// The number of the worker that executed it.
    pub worker: usize,
    /// From its start to its end, by the worker's clock.
    pub run_time: Duration,
    /// CPU time of the worker's whole process meanwhile; measured for tasks that
    /// ran for a millisecond or more.
    pub cpu_time: Option<Duration>,
    /// Resident memory of the worker at the end, in bytes; measured likewise.
    pub memory_bytes: Option<u64>,
    /// How many tasks ran in the same call of a function that takes batches; otherwise 1.
    pub batch: usize,
}

/// Why a worker is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecycleReason {
    /// It has executed as many tasks as it may.
    Tasks,
    /// It is too old.
    Age,
    /// It has more resident memory than it may.
    Memory,
    /// [`Admin::recycle`](crate::admin::Admin::recycle) asked for it.
    Asked,
    /// A task changed its process, as
    /// [`recycle_changed`](crate::LocalBuilder::recycle_changed) says.
    Changed,
    /// It went on using the CPU between tasks, in a thread that a task left.
    Computing,
}

/// Why a worker's process ended without a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was killed, because its task was cancelled or timed out.
    Killed,
    /// It was to be replaced, and another one has taken its place.
    Recycled,
    /// It is not needed any more: there are enough, or the engine ends.
    Dismissed,
}

impl EventKind {
    /// The task that it happened to, if it was one.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::Taken { task, .. }
            | Self::Joined { task }
            | Self::Ahead { task, .. }
            | Self::TakenBack { task }
            | Self::Started { task, .. }
            | Self::Left { task, .. }
            | Self::Retried { task, .. }
            | Self::Ended { task, .. }
            | Self::Freed { task, .. }
            | Self::WorkerKilled { task, .. } => Some(*task),
            _ => None,
        }
    }

    /// The number of the worker that had to do with it, if one had.
    pub fn worker(&self) -> Option<usize> {
        match self {
            Self::Ended { run, .. } | Self::Retried { run, .. } => run.map(|run| run.worker),
            Self::Freed { run, .. } => Some(run.worker),
            Self::Ahead { worker, .. }
            | Self::Started { worker, .. }
            | Self::WorkerUp { worker, .. }
            | Self::WorkerServes { worker }
            | Self::WorkerStandsBy { worker }
            | Self::WorkerWorn { worker, .. }
            | Self::WorkerKilled { worker, .. }
            | Self::WorkerLost { worker, .. }
            | Self::WorkerLeft { worker, .. } => Some(*worker),
            _ => None,
        }
    }

    /// One lower-case word or two for what happened: `taken`, `worker lost`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Taken { .. } => "taken",
            Self::Joined { .. } => "joined",
            Self::Refused { .. } => "refused",
            Self::Ahead { .. } => "sent ahead",
            Self::TakenBack { .. } => "taken back",
            Self::Started { .. } => "started",
            Self::Left { .. } => "left",
            Self::Retried { .. } => "retried",
            Self::Ended { .. } => "ended",
            Self::Freed { .. } => "freed",
            Self::WorkerUp { .. } => "worker up",
            Self::WorkerServes { .. } => "worker serves",
            Self::WorkerStandsBy { .. } => "worker stands by",
            Self::WorkerWorn { .. } => "worker worn",
            Self::WorkerKilled { .. } => "worker killed",
            Self::WorkerLost { .. } => "worker lost",
            Self::WorkerLeft { .. } => "worker left",
        }
    }
}

/// One line, in words.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Taken { task, function, priority, waiting, .. } => {
                write!(f, ": {task}, `{function}`, priority {priority}, behind {waiting}")
            }
            Self::Joined { task } | Self::TakenBack { task } => write!(f, ": {task}"),
            Self::Refused { function, error, .. } => write!(f, ": `{function}`: {error}"),
            Self::Ahead { task, worker, behind } => {
                write!(f, ": {task}, to worker {worker} behind {behind}")
            }
            Self::Started { task, attempt, worker, .. } => {
                write!(f, ": {task}, attempt {attempt} on worker {worker}")
            }
            Self::Left { task, error } => write!(f, ": {task}: {error}"),
            Self::Retried { task, attempt, error, .. } => {
                write!(f, ": {task}, after attempt {attempt}: {error}")
            }
            Self::Ended { task, error, queue_time, run, .. } => {
                ended(f, *task, error, *queue_time, run)
            }
            Self::Freed { task, run } => {
                write!(f, ": worker {} of {task}, after {:?}", run.worker, run.run_time)
            }
            Self::WorkerUp { worker, pid, took } => write!(f, ": {worker} (pid {pid}), {took:?}"),
            Self::WorkerServes { worker } | Self::WorkerStandsBy { worker } => {
                write!(f, ": {worker}")
            }
            Self::WorkerWorn { worker, why } => write!(f, ": {worker}, {why:?}"),
            Self::WorkerKilled { worker, task } => write!(f, ": {worker}, for {task}"),
            Self::WorkerLost { report, .. } => write!(f, ": {report}"),
            Self::WorkerLeft { worker, pid, why } => write!(f, ": {worker} (pid {pid}), {why:?}"),
        }
    }
}

fn ended(
    f: &mut fmt::Formatter<'_>,
    task: TaskId,
    error: &Option<Error>,
    queue_time: Duration,
    run: &Option<RunUsage>,
) -> fmt::Result {
    write!(f, ": {task}")?;
    if let Some(error) = error {
        write!(f, ": {error}")?;
    }
    match run {
        Some(run) => {
            write!(f, "; ran {:?} on worker {}, waited {queue_time:?}", run.run_time, run.worker)?;
            if run.batch > 1 { write!(f, "; one of a batch of {}", run.batch) } else { Ok(()) }
        }
        None => write!(f, "; {queue_time:?} after its submit"),
    }
}

//! The state of an engine at one moment, for pages and the command line.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::TaskId;
use crate::observe::event::RecycleReason;
use crate::observe::figures::{FunctionSnapshot, TenantSnapshot};
use crate::observe::roster::{CrashReport, PanicReport, Restarts};
use crate::task::cgroup::OwnGroups;
use crate::task::progress::Progress;

/// The state of an engine at one moment: tasks, workers, the queue, counters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The engine's name: `local`, `inline` or `dask`.
    pub engine: &'static str,
    /// Time since the engine was started: the clock of
    /// [`Event::at`](crate::admin::Event::at).
    pub uptime: Duration,
    /// Whether tasks are taken: it was not drained or shut down, and workers can
    /// be started.
    pub open: bool,
    /// How many workers the engine keeps.
    pub workers: usize,
    /// How many it keeps at least; fewer than `workers` only in an elastic pool.
    pub least_workers: usize,
    /// How many it keeps at most; more than `workers` only in an elastic pool.
    pub most_workers: usize,
    /// How many cores this process may use; of a cluster, how many tasks its
    /// workers run at once.
    pub cores: usize,
    /// The memory, in bytes, that this process may use, or the workers of a
    /// cluster; 0 where not known.
    pub memory_bytes: u64,
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// How many tasks may wait.
    pub queue_limit: usize,
    /// How long the queue needs until its last task starts, at the speed measured of late.
    pub predicted_wait: Duration,
    /// Tasks that a worker has, running or next in line there.
    pub running: usize,
    /// Tasks taken since the start.
    pub submitted: u64,
    /// Submits that shared the task of an earlier one.
    pub coalesced: u64,
    /// Tasks that gave a result.
    pub done: u64,
    /// Tasks that ended with an error of their own: panicked, lost, closed.
    pub failed: u64,
    /// Callers that left before the result.
    pub cancelled: u64,
    /// Callers whose time ran out.
    pub timed_out: u64,
    /// Submits that were refused: the queue was full, or their arguments are
    /// quarantined.
    pub refused: u64,
    /// Items of streams that have arrived.
    pub stream_items: u64,
    /// How many bytes they had, as they were encoded.
    pub stream_bytes: u64,
    /// How often workers' processes came to an end, and why.
    pub restarts: Restarts,
    /// Who waits, by priority (the highest first) and tenant: at most a thousand
    /// lines.
    pub queue: Vec<LineSnapshot>,
    /// What each task function cost since the start; those that had a submit.
    pub per_function: Vec<FunctionSnapshot>,
    /// What each tenant cost: the thousand that submitted last, of those that
    /// have tasks or were seen of late.
    pub per_tenant: Vec<TenantSnapshot>,
    /// Each worker that is up, and those that stand by.
    pub per_worker: Vec<WorkerSnapshot>,
    /// The last sixteen workers that crashed, in full, the oldest first.
    pub crashes: Vec<CrashReport>,
    /// The last sixteen panics, in full, the oldest first.
    pub panics: Vec<PanicReport>,
    /// Each pool, the default one first; empty if the client has no other.
    ///
    /// All of the above is of all pools together. `predicted_wait` is the longest of
    /// theirs, and `open` says whether each is.
    pub per_pool: Vec<PoolSnapshot>,
}

/// The state of one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// Its name.
    pub pool: Arc<str>,
    /// What is there and happened in it.
    pub snapshot: Snapshot,
}

/// The tasks of one tenant and priority that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LineSnapshot {
    /// Their priority.
    pub priority: i32,
    /// Their tenant; `None` stands for all submits that name none.
    pub tenant: Option<String>,
    /// How many they are.
    pub queued: usize,
    /// How long ago the oldest of them was submitted.
    pub oldest: Duration,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// It waits for a task.
    Idle,
    /// It executes a task.
    Busy,
    /// It executes a task that was cancelled or timed out; it was asked to stop, or is
    /// about to be killed.
    Stopping,
    /// It is ready to take the place of another one.
    Standby,
}

/// What a worker executes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CurrentTask {
    /// The task.
    pub task: TaskId,
    /// The task function's name.
    pub function: &'static str,
    /// Which execution of the task it is, counting from 1.
    pub attempt: u32,
    /// The tenant that the task is charged to; `None` if it names none.
    pub tenant: Option<String>,
    /// When it started, in time since the engine was started.
    pub since: Duration,
    /// For how long it has been running.
    pub run_time: Duration,
    /// How many items of its stream have arrived; 0 if it does not stream.
    pub stream_items: u64,
    /// How many bytes these have, as they were encoded.
    pub stream_bytes: u64,
    /// How far it says that it is; `None` if it did not. On a cluster, as at the last look.
    pub progress: Option<Progress>,
}

/// What waiting without sleep has come to; see [`spin`](crate::LocalBuilder::spin).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spins {
    /// The time that was spent.
    pub time: Duration,
    /// How often what was waited for came meanwhile.
    pub found: u64,
    /// How often it did not.
    pub in_vain: u64,
}

impl Spins {
    pub(crate) fn new(time: Duration, found: u64, in_vain: u64) -> Self {
        Self { time, found, in_vain }
    }
}

/// What one worker was doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSnapshot {
    /// The worker's number, as in its log lines; a replacement keeps it. No two workers of
    /// a client have the same, in whatever pool.
    pub number: usize,
    /// Its pool; `default` unless the client has others.
    pub pool: Arc<str>,
    /// Its slot: the number in `0..workers` of its pool that [`slot`](crate::slot) gives its
    /// tasks. `None` if it stands by, or is a cluster's.
    pub slot: Option<usize>,
    /// The process.
    pub pid: u32,
    /// Where it listens, if it is a cluster's.
    pub address: Option<String>,
    /// Tasks that this process has executed; of a cluster's worker, those of this client
    /// whose results came straight from it, or that failed there.
    pub done: u64,
    /// Whether it has a task.
    pub busy: bool,
    /// Whether it stands by, to take the place of another.
    pub standby: bool,
    /// What it does.
    pub state: WorkerState,
    /// The task that it executes, unless that was cancelled or timed out. Of a cluster's
    /// worker, it is the oldest of this client that it has, some seconds late.
    pub task: Option<CurrentTask>,
    /// Tasks that were sent ahead to it; of a cluster's worker, the others that it has.
    pub next_in_line: usize,
    /// Resident memory, in bytes, now or as last measured; `None` for a thread.
    pub memory_bytes: Option<u64>,
    /// The same, with each page divided by how many processes have it (PSS), so that those of
    /// several workers can be added up. It is measured beside snapshots, at most once in a
    /// second; `None` before that, and where the system does not tell. Linux does.
    pub proportional_bytes: Option<u64>,
    /// CPU time that this process has used; `None` where it is not known, and for
    /// a thread.
    pub cpu_time: Option<Duration>,
    /// How it has waited for its tasks.
    pub spins: Spins,
    /// How callers have waited for its answers.
    pub caller_spins: Spins,
    /// Why it is to be replaced, if it is.
    pub worn: Option<RecycleReason>,
    /// How often this worker's process came to an end, and why.
    pub restarts: Restarts,
}

impl WorkerSnapshot {
    /// A worker of which nothing is known but this.
    pub(crate) fn new(number: usize, pid: u32, done: u64, busy: bool) -> Self {
        Self {
            number,
            pool: Arc::default(),
            slot: None,
            pid,
            address: None,
            done,
            busy,
            standby: false,
            state: if busy { WorkerState::Busy } else { WorkerState::Idle },
            task: None,
            next_in_line: 0,
            memory_bytes: None,
            proportional_bytes: None,
            cpu_time: None,
            spins: Spins::default(),
            caller_spins: Spins::default(),
            worn: None,
            restarts: Restarts::default(),
        }
    }

    /// Asks the system for the [`proportional_bytes`](Self::proportional_bytes) of a process, which
    /// takes long for a large one.
    #[cfg_attr(
        not(all(feature = "local", unix)),
        expect(unused_variables, reason = "no processes")
    )]
    pub(crate) fn proportional_bytes_of(pid: u32) -> Option<u64> {
        #[cfg(all(feature = "local", unix))]
        return crate::os::usage::proportional_bytes(pid);
        #[cfg(not(all(feature = "local", unix)))]
        None
    }

    /// Asks the system what the process uses. Not for a thread of this process.
    pub(crate) fn measure(&mut self) {
        #[cfg(all(feature = "local", unix))]
        if self.pid != std::process::id() {
            let memory = crate::os::usage::memory(self.pid);
            self.memory_bytes = memory.map(|now| now.resident_bytes).or(self.memory_bytes);
            self.cpu_time = crate::os::usage::cpu_time(self.pid);
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Client")?;
        writeln!(f, "  Engine:  {}", self.engine)?;
        writeln!(f, "  Workers: {}", self.workers)?;
        writeln!(f, "  Cores:   {}", self.cores)?;
        write!(f, "  Memory:  {:.2} GB", self.memory_bytes as f64 / 1e9)
    }
}

/// What this process may use of the machine.
pub(crate) struct Host;

impl Host {
    /// Cores, as affinity and the quotas of control groups, version 1 and 2, allow,
    /// which std looks at; at least one.
    pub(crate) fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Memory of the machine, or what the control groups of this process leave of it;
    /// 0 where not known.
    pub(crate) fn memory_bytes() -> u64 {
        let limit = OwnGroups::find().memory_limit(|file| std::fs::read_to_string(file).ok());
        limit.into_iter().chain(machine_memory_bytes()).min().unwrap_or(0)
    }
}

fn machine_memory_bytes() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

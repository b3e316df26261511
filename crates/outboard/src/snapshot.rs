//! Counters at one moment, for pages and the command line.

use std::fmt;
use std::time::Duration;

use crate::figures::{FunctionSnapshot, TenantSnapshot};

/// What a client and its engine were doing at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The engine's name: `local`, `inline` or `dask`.
    pub engine: &'static str,
    /// Whether tasks are taken: it was not drained or shut down, and workers can
    /// be started.
    pub open: bool,
    /// How many workers the engine keeps.
    pub workers: usize,
    /// How many cores this process may use.
    pub cores: usize,
    /// The memory, in bytes, that this process may use; 0 where not known.
    pub memory_bytes: u64,
    /// Tasks that wait for a worker.
    pub queued: usize,
    /// How many tasks may wait.
    pub queue_limit: usize,
    /// How long all tasks that wait need to start, at the speed measured of late
    /// and with what runs now.
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
    /// Waiters that left before the result.
    pub cancelled: u64,
    /// Waiters whose time ran out.
    pub timed_out: u64,
    /// Submits that were refused because a bound was met.
    pub refused: u64,
    /// What each task function cost since the start; those that had a submit.
    pub per_function: Vec<FunctionSnapshot>,
    /// What each tenant cost: the thousand that submitted last, of those that
    /// have tasks or were seen of late.
    pub per_tenant: Vec<TenantSnapshot>,
    /// Each worker that is up, and those that stand by.
    pub per_worker: Vec<WorkerSnapshot>,
}

/// What one worker was doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerSnapshot {
    /// The worker's number, as in its log lines; a replacement keeps it.
    pub number: usize,
    /// The process.
    pub pid: u32,
    /// Tasks that this process has executed.
    pub done: u64,
    /// Whether it has a task.
    pub busy: bool,
    /// Whether it stands by, to take the place of another.
    pub standby: bool,
    /// Resident memory, in bytes, as last measured.
    pub memory_bytes: Option<u64>,
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
    /// Cores, as affinity and cgroup quotas allow; at least one.
    pub(crate) fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// Memory of the machine or of the cgroup, whichever is less.
    pub(crate) fn memory_bytes() -> u64 {
        let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let limit = limits
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
        limit.chain(machine_memory_bytes()).min().unwrap_or(0)
    }
}

fn machine_memory_bytes() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

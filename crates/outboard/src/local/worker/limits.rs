//! The limits that this worker sets itself at its start.
//!
//! In the process itself, and not between fork and exec: a hook there would make
//! every start as slow as a fork of the server. What a limit cannot be raised to
//! again is set as the hard limit too, so that no task raises it by accident.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::ClockId;

use crate::task::limits::WorkerLimits;
use crate::task::system::now_ns;

/// What limits memory that a process makes for itself. Linux counts all of it as data.
#[cfg(not(target_os = "freebsd"))]
const MEMORY: Resource = Resource::Data;
#[cfg(target_os = "freebsd")]
const MEMORY: Resource = Resource::As;

/// Sets what holds from now on, and gives what has to be set for each task.
///
/// # Errors
///
/// The system's: what was asked for and cannot be had is no start.
pub(super) fn set(limits: WorkerLimits) -> io::Result<CpuLimit> {
    if let Some(bytes) = limits.memory_bytes {
        // Tasks' own stack is memory of that kind, and not what was meant.
        let stack_bytes = limits.stack_bytes.unwrap_or(0);
        lower(MEMORY, bytes.saturating_add(stack_bytes))?;
    }
    if let Some(files) = limits.open_files {
        lower(Resource::Nofile, files)?;
    }
    Ok(CpuLimit { task_s: limits.cpu_s })
}

/// Sets both the soft limit and the hard one, unless that is lower already.
fn lower(resource: Resource, limit: u64) -> io::Result<()> {
    let hard = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Some(limit.min(hard));
    Ok(setrlimit(resource, Rlimit { current: limit, maximum: limit })?)
}

/// The CPU time of one task: the system limits that of a process's whole life,
/// so the limit goes along with what was used before.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuLimit {
    /// Seconds for one task, if they are limited.
    task_s: Option<u64>,
}

impl CpuLimit {
    /// A task starts.
    pub(super) fn arm(self) -> io::Result<()> {
        let Some(task_s) = self.task_s else { return Ok(()) };
        let used_s = now_ns(ClockId::ProcessCPUTime).div_ceil(1_000_000_000);
        set_soft_cpu(Some(used_s.saturating_add(task_s)))
    }

    /// It has ended: threads that it left behind cannot reach its limit.
    pub(super) fn disarm(self) -> io::Result<()> {
        if self.task_s.is_some() { set_soft_cpu(None) } else { Ok(()) }
    }
}

/// The hard limit stays: it is the user's own, and could not be raised again.
fn set_soft_cpu(seconds: Option<u64>) -> io::Result<()> {
    let maximum = getrlimit(Resource::Cpu).maximum;
    let current = match (seconds, maximum) {
        (Some(seconds), Some(hard)) => Some(seconds.min(hard)),
        (seconds, hard) => seconds.or(hard),
    };
    Ok(setrlimit(Resource::Cpu, Rlimit { current, maximum })?)
}

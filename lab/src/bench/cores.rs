//! Which cores threads and processes run on.
//!
//! Where two processes answer each other, most depends on whether they share a
//! core: one that is woken up on the same core only waits for the other to go to
//! sleep, and one on another core that has halted waits for an interrupt, which on
//! a virtual machine takes longer than all else together. The system chooses, and
//! not alike for two pairs that take turns; so here they are told.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the two processes run that answer each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    OneCore,
    TwoCores,
}

/// Keeps the calling thread, and what it starts, on the first core that it may use,
/// until dropped.
#[derive(Debug)]
pub(super) struct Bound {
    before: CpuSet,
    other: usize,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneCore => "one core",
            Self::TwoCores => "two cores",
        }
    }
}

impl Bound {
    /// `None` if there are not so many cores.
    pub(super) fn new(place: Place) -> anyhow::Result<Option<Self>> {
        let before = sched_getaffinity(None)?;
        let cores = cores()?;
        let other = match place {
            Place::OneCore => cores.first(),
            Place::TwoCores => cores.get(1),
        };
        let Some(&other) = other else { return Ok(None) };
        bind(None, cores[0])?;
        Ok(Some(Self { before, other }))
    }

    /// Moves the main thread of a process to where the second of the two is to run.
    pub(super) fn send(&self, process: u32) -> anyhow::Result<()> {
        bind(
            Some(Pid::from_raw(process.cast_signed()).expect("no process has this id")),
            self.other,
        )
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// The cores that the calling thread may use.
pub(super) fn cores() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect())
}

/// Binds a process's main thread to one core; the calling thread, if `None`.
pub(super) fn bind(process: Option<Pid>, core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(process, &set)?)
}

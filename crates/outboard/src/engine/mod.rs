//! What an engine is: it carries attempts to workers and results back. `gate`
//! decides everything else, the same for every engine.

#[cfg(feature = "dask")]
pub(crate) mod dask;
pub(crate) mod gate;
pub(crate) mod inline;
pub(crate) mod option;
pub(crate) mod owner;
pub(crate) mod pools;
mod quantity;
pub(crate) mod registry;
pub(crate) mod restart;
pub(crate) mod scripted;
pub(crate) mod settings;
pub(crate) mod spin;
pub(crate) mod url;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::error::Error;
use crate::ids::{SlotId, TaskId};
use crate::observe::snapshot::WorkerSnapshot;
use crate::sched::ledger::Key;
use crate::task::progress::Progress;
use crate::task::registry::Function;
use crate::trace::Origin;
use crate::value::args::Args;
use crate::value::scatter::home::Workers;

pub(crate) use gate::{Gate, Limits};
use spin::Spin;

/// What every engine does; everything else is the gate's.
///
/// All methods are called under the gate's mutex, so none may block. An engine
/// reports back through [`Gate::report`].
pub(crate) trait Engine: Debug + Send {
    /// The engine's name, as in its URL.
    fn name(&self) -> &'static str;

    /// Whether workers of this engine can find the function.
    fn check(&self, function: &'static Function) -> Result<(), Error>;

    /// Whether it writes a payload from several places, without making it one before.
    fn takes_pieces(&self) -> bool {
        true
    }

    /// Whether a task can receive a stream while it runs.
    fn takes_feeds(&self) -> bool {
        false
    }

    /// Whether a slot can execute several tasks in one call.
    fn takes_batches(&self) -> bool {
        false
    }

    /// The runtime whose clock it goes by, where that is not the system's. A test may pause that
    /// clock, which then runs ahead of all that happens on threads of ours.
    fn runtime(&self) -> Option<&Handle> {
        None
    }

    /// Gives an attempt to a slot. What is returned is flushed after the mutex
    /// is released.
    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>>;

    /// Nobody wants this task any more: takes it back, or asks it to stop.
    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped;

    /// Takes back all that has not started at a slot.
    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId>;

    /// Whether a task has started.
    fn started(&self, slot: SlotId, task: TaskId) -> bool;

    /// How far a task says that it is, where that is known.
    fn progress(&self, _: SlotId, _: TaskId) -> Option<Progress> {
        None
    }

    /// Whether a caller may look for its answer while so many tasks are owed in all.
    fn spins(&self, _owed: usize) -> bool {
        false
    }

    /// A look for the answer of the only task that a slot has; `None` if it does not pay.
    fn spin(&self, _: SlotId) -> Option<Spin> {
        None
    }

    /// Forgets a slot that is down.
    fn forget(&mut self, slot: SlotId);

    /// Ends the engine; what it runs is not wanted. Reports `ended` later.
    fn shutdown(&mut self);

    /// The workers, for a snapshot, each with its slot.
    fn workers(&self) -> Vec<(Option<SlotId>, WorkerSnapshot)>;

    /// The workers, where they are this client's own.
    fn pool(&mut self) -> Option<&mut dyn Pool> {
        None
    }

    /// Those who wait for a slot, where they do not get one as soon as they are ready.
    fn reserve(&mut self) -> Option<&mut dyn Reserve> {
        None
    }

    /// What there is elsewhere, where the workers are not this client's own.
    fn cluster(&self) -> Option<ClusterSize> {
        None
    }

    /// Who holds scattered values beside this process, and is told to forget them.
    fn holders(&self) -> Result<Option<Arc<dyn Workers>>, Error> {
        Ok(None)
    }

    /// The number of a slot's worker, for events.
    fn worker(&self, slot: SlotId) -> usize {
        slot.index() + 1
    }

    /// How long a slot has had a task, in nanoseconds, where it is a place in
    /// someone else's queue and not a worker.
    fn held_ns(&self, _: SlotId, _: TaskId, _: Instant) -> Option<u64> {
        None
    }
}

/// Workers that this client starts and ends. Each has a queue of tasks that were sent
/// ahead to it.
pub(crate) trait Pool {
    /// Whether there can be so many.
    ///
    /// # Errors
    ///
    /// `Unavailable`, with the number that there can be.
    fn fit(&self, _workers: usize) -> Result<(), Error> {
        Ok(())
    }

    /// How many workers there are to be from now on, slot or not. Where a worker has its slot
    /// from its start, there is none for the slots that are `absent`.
    fn keep(&mut self, workers: usize, absent: &BTreeSet<usize>);

    /// Lets the worker of a slot go, which has nothing to do.
    fn dismiss(&mut self, slot: SlotId);

    /// Takes back a task, unless it has started.
    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool;

    /// Kills a slot for a task that was asked to stop, unless that has ended.
    fn kill(&mut self, _: SlotId, _: TaskId) -> bool {
        false
    }

    /// The slot of a worker that can be replaced by another one.
    fn replaceable(&self, _worker: usize) -> Option<SlotId> {
        None
    }
}

/// Those who **stand by**: ready, and without a slot.
pub(crate) trait Reserve {
    /// How many there are.
    fn standby(&self) -> usize;

    /// The number that the next one has from its start, where it has one.
    fn number(&self) -> Option<usize> {
        None
    }

    /// Gives a slot with that number to one of them.
    fn promote(&mut self, slot: SlotId, number: usize);

    /// Takes the slot from a worker that has nothing to do: it stands by.
    fn demote(&mut self, slot: SlotId);

    /// Lets one of them go.
    fn release(&mut self);
}

/// What a cluster has, whoever uses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClusterSize {
    pub(crate) workers: usize,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
}

/// Bytes to be written after the mutex is released.
pub(crate) trait Flush: Send + Sync {
    /// Writes, unless someone else is writing.
    fn flush(&self);
}

/// One attempt to be started.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    /// How many more come next that are for the same call.
    pub(crate) rest: u32,
    pub(crate) function: &'static Function,
    pub(crate) args: &'a Args,
    pub(crate) deadline: Option<Instant>,
    #[cfg_attr(not(feature = "dask"), expect(dead_code, reason = "clusters have a queue"))]
    pub(crate) priority: i32,
    /// How long it may go on when it was asked to stop, if that was said.
    #[cfg_attr(not(feature = "dask"), expect(dead_code, reason = "clusters are told before"))]
    pub(crate) grace: Option<Duration>,
    /// The pool of workers that it is for, where one gate has workers of several.
    #[cfg_attr(not(feature = "dask"), expect(dead_code, reason = "clusters' workers have pools"))]
    pub(crate) pool: Option<&'a Arc<str>>,
    /// What it shares with other submits of the same.
    #[cfg_attr(not(feature = "dask"), expect(dead_code, reason = "clusters have other clients"))]
    pub(crate) key: Option<&'a Key>,
    /// The span in which it was submitted.
    pub(crate) origin: Option<&'a Arc<Origin>>,
}

/// What became of a task that was to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It had not started, and will not.
    Unstarted,
    /// It runs, and was asked to stop; `listens` says that it asks for that.
    Asked { listens: bool },
    /// It ran, and its slot is being killed.
    Killed,
    /// It goes on, or had just finished; the slot reports when it is free.
    Continues,
}

//! What an engine is: it carries attempts to workers and results back. `gate`
//! decides everything else, the same for every engine.

mod clock;
mod gate;
pub(crate) mod inline;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) mod local;
#[cfg(test)]
mod model;
#[cfg(test)]
mod overload;

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::Error;
use crate::ledger::TaskId;
use crate::placement::SlotId;
use crate::snapshot::WorkerSnapshot;
use crate::task::Function;
use crate::wire::Payload;

pub(crate) use gate::{Gate, Limits, Ticket};

/// What an engine does; everything else is the gate's.
///
/// All methods are called under the gate's mutex, so none may block. An engine
/// reports back through [`Gate::report`].
pub(crate) trait Engine: Debug + Send {
    /// The engine's name, as in its URL.
    fn name(&self) -> &'static str;

    /// Whether workers of this engine can find the function.
    fn check(&self, function: &'static Function) -> Result<(), Error>;

    /// Gives an attempt to a slot. What is returned is flushed after the mutex
    /// is released.
    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>>;

    /// Nobody wants this task any more.
    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped;

    /// Takes back a task, unless it has started.
    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool;

    /// Takes back all that has not started at a slot.
    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId>;

    /// Whether a task has started.
    fn started(&self, slot: SlotId, task: TaskId) -> bool;

    /// Forgets a slot that is down.
    fn forget(&mut self, slot: SlotId);

    /// Ends the engine; what it runs is not wanted. Reports `ended` later.
    fn shutdown(&mut self);

    /// The workers, for a snapshot.
    fn workers(&self) -> Vec<WorkerSnapshot>;
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
    pub(crate) function: &'static Function,
    pub(crate) args: &'a Payload,
}

/// What became of a task that was to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It had not started, and will not.
    Unstarted,
    /// It ran, and its slot is being killed.
    Killed,
    /// It goes on, or had just finished; the slot reports when it is free.
    Continues,
}

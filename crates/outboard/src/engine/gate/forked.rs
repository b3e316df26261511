//! What there is of a gate in a process that was forked from its own: nothing but the
//! error that it is closed.
//!
//! That process does not have the threads of the engine, or the right to speak to its
//! workers. It does not have the mutex either, which another thread may have held. So it
//! has a core of its own, which has ended.

use std::sync::{Arc, Mutex};

use super::{Core, Gate, Phase};
use crate::engine::pools::Member;
use crate::engine::{Engine, Flush, Stopped, Work};
use crate::error::Error;
use crate::ids::{SlotId, TaskId};
use crate::observe::snapshot::WorkerSnapshot;
use crate::sched::strength::Strength;
use crate::task::registry::Function;

impl Gate {
    /// Whether this process may use the client.
    ///
    /// # Errors
    ///
    /// `Closed` in one that was forked.
    pub(crate) fn refuse_if_forked(&self) -> Result<(), Error> {
        if self.home.is_here() { Ok(()) } else { Err(closed()) }
    }

    /// The core of a process that was forked.
    pub(super) fn forked(&self) -> &Mutex<Core> {
        self.forked.get_or_init(|| {
            let mut core =
                Core::new(self.limits, Strength::default(), Box::new(Forked), &Member::alone());
            core.phase = Phase::Ended(closed());
            Mutex::new(core)
        })
    }
}

fn closed() -> Error {
    Error::closed("this process was forked from the one that made it: make another client here")
}

/// An engine without slots.
#[derive(Debug)]
struct Forked;

impl Engine for Forked {
    fn name(&self) -> &'static str {
        "forked"
    }

    fn check(&self, _: &'static Function) -> Result<(), Error> {
        Err(closed())
    }

    fn start(&mut self, _: SlotId, _: Work<'_>) -> Option<Arc<dyn Flush>> {
        None
    }

    fn stop(&mut self, _: SlotId, _: TaskId) -> Stopped {
        Stopped::Continues
    }

    fn withdraw(&mut self, _: SlotId) -> Vec<TaskId> {
        Vec::new()
    }

    fn started(&self, _: SlotId, _: TaskId) -> bool {
        false
    }

    fn forget(&mut self, _: SlotId) {}

    fn shutdown(&mut self) {}

    fn workers(&self) -> Vec<(Option<SlotId>, WorkerSnapshot)> {
        Vec::new()
    }
}

//! What the ledger knows of batches: a task of one that failed runs once more, alone.

use super::{Ledger, Next, Task};
use crate::error::Error;
use crate::ids::TaskId;
use crate::observe::event::{EventKind, RunUsage};
use crate::observe::record::tell;
use crate::sched::shares::Queued;
use crate::task::outcome::Usage;

impl<W> Ledger<W> {
    /// A batch panicked, or took its worker down, with this task in it. It waits again at its
    /// place, for an attempt without others, which is none of its retries.
    pub(crate) fn apart(
        &mut self,
        (id, attempt): (TaskId, u32),
        error: Error,
        used: Option<(Usage, usize)>,
    ) -> Next {
        if self.current(id, attempt).is_none() {
            return Next::Nothing;
        }
        let task = &mut self.tasks[id.0.key()];
        task.attempt += 1;
        task.seldom.get_or_insert_default().alone = true;
        let next = self.waits_again(id);
        let run = used.map(RunUsage::from);
        tell(&mut self.record, || EventKind::Retried { task: id, attempt, error, run });
        next
    }
}

impl Task {
    /// What the queue knows of it.
    pub(super) fn queued(&self, id: TaskId) -> Queued {
        let alone = self.seldom.as_ref().is_some_and(|seldom| seldom.alone);
        Queued {
            task: id,
            bytes: u32::try_from(self.args.len()).unwrap_or(u32::MAX),
            submitted: self.submitted,
            hurried: self.hurried,
            steady_ns: self.steady_ns,
            batch: if alone { None } else { self.function.batch_number() },
        }
    }
}

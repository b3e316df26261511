//! Tasks that a slot executes in one call: how they start, how one leaves, and what follows
//! when the call fails.

use std::time::Instant;

use super::{Core, Effects};
use crate::engine::Stopped;
use crate::error::{Error, Stage, WorkerLoss};
use crate::ids::{SlotId, TaskId};
use crate::observe::batches::BatchFigures;
use crate::observe::record::Fact;
use crate::task::outcome::{Failure, Usage};
use crate::task::registry::Function;
use crate::value::payload::Payload;

impl Core {
    /// A task of that function comes.
    pub(super) fn meets(&mut self, function: &Function) {
        if function.batching.is_some() && self.engine.takes_batches() {
            self.placement.meets(function);
        }
    }

    /// Starts what a slot was given last, with all that may join it.
    pub(super) fn start_batch(
        &mut self,
        now: Instant,
        first: (TaskId, Option<Instant>),
        slot: SlotId,
        effects: &mut Effects,
    ) {
        let mut tasks = vec![first];
        while let Some(task) = self.placement.join(now, slot) {
            if let Some((_, deadline)) = self.may_start(now, task, slot, effects) {
                tasks.push((task, deadline));
            }
        }
        self.placement.started(slot);
        for (at, task) in tasks.iter().enumerate() {
            self.send(*task, slot, (tasks.len() - at - 1) as u32, effects);
        }
        match tasks[..] {
            [(alone, _)] => self.sent(alone, slot),
            _ => self.sent_together(&tasks, slot),
        }
    }

    /// Tells that a slot has started several tasks.
    fn sent_together(&mut self, tasks: &[(TaskId, Option<Instant>)], slot: SlotId) {
        let worker = self.number(slot) as u32;
        for (id, _) in tasks {
            let task = self.ledger.task(*id).map(|task| (task.function, task.attempt));
            if let (Some(record), Some((function, attempt))) = (&mut self.ledger.record, task) {
                record.push_often(|| Fact::Started { task: *id, function, attempt, worker });
            }
        }
    }

    /// Nobody waits for a task of a batch any more. It is not executed if the batch has not
    /// started. The batch ends with the last of them.
    pub(super) fn stop_member(&mut self, slot: SlotId, task: TaskId, now: Instant) -> Stage {
        let stopped = self.engine.stop(slot, task);
        if stopped == Stopped::Unstarted {
            self.placement.revoked(slot, task);
            return Stage::Queued;
        }
        let wanted = self.placement.leave(slot, task);
        match stopped {
            Stopped::Asked { listens } if !wanted => self.ask_to_stop(slot, task, listens, now),
            Stopped::Killed => self.abandon(slot),
            _ => {}
        }
        Stage::Running
    }

    /// Whether a call ended so that its tasks run once more, one by one: several were in it, and
    /// it panicked, or Python raised.
    pub(super) fn runs_apart(
        &self,
        slot: SlotId,
        task: TaskId,
        outcome: &Result<Payload, Failure>,
        usage: Usage,
    ) -> bool {
        let broke_off = matches!(outcome, Err(Failure::Panicked(_) | Failure::Raised(_)));
        broke_off && usage.batch > 1 && self.placement.is_grouped(slot, task)
    }

    /// A worker died of a call with several tasks. One of them is to blame, or none: nobody is
    /// accused before it has taken a worker down alone.
    pub(super) fn crashed_together(
        &mut self,
        attempts: &[(TaskId, u32)],
        lost: &WorkerLoss,
        effects: &mut Effects,
    ) {
        for (at, attempt) in attempts.iter().enumerate() {
            let error = Error::lost_worker(self.crash_report(attempt.0, lost));
            if at == 0 {
                effects.echoes.extend(self.echo(*attempt, &error, lost.worker));
            }
            let next = self.ledger.apart(*attempt, error, None);
            self.apply(next);
        }
    }

    /// How the batches of a function were, if it takes any.
    pub(super) fn batch_figures(&self, function: &Function) -> Option<BatchFigures> {
        self.placement.batch_figures(function.batch_number()?)
    }
}

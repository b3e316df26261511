//! What follows from a worker's death: the report, another attempt, and whether
//! the arguments are refused from now on.

use std::hash::{DefaultHasher, Hasher};
use std::time::Instant;

use super::{Core, Effects};
use crate::error::{Cause, Error, WorkerLoss};
use crate::ids::TaskId;
use crate::sched::ledger::Next;
use crate::task::registry::Function;
use crate::value::payload::Payload;

impl Core {
    /// A worker died of an attempt.
    pub(super) fn crashed(
        &mut self,
        now: Instant,
        attempt: (TaskId, u32),
        lost: &WorkerLoss,
        effects: &mut Effects,
    ) {
        let report = self.crash_report(attempt.0, lost);
        let again = !self.accuse(now, attempt, &report);
        let error = Error::lost_worker(report);
        effects.echoes.extend(self.echo(attempt, &error, lost.worker));
        let next = self.ledger.lost(now, attempt, (error, again), &mut effects.settled);
        self.apply(next);
    }

    /// How a worker ended, with what is known of the task that it had.
    pub(super) fn crash_report(&self, task: TaskId, lost: &WorkerLoss) -> WorkerLoss {
        let mut lost = lost.clone();
        if let Some(task) = self.ledger.task(task) {
            let mut hasher = DefaultHasher::new();
            task.args.feed(&mut hasher);
            lost.task = task.function.name;
            lost.attempt = task.attempt;
            lost.argument_bytes = task.args.len();
            lost.argument_digest = hasher.finish();
        }
        lost
    }

    /// A worker died with a task in front of it that it had not started.
    pub(super) fn suspected(
        &mut self,
        now: Instant,
        id: TaskId,
        lost: &WorkerLoss,
        effects: &mut Effects,
    ) {
        let report = self.crash_report(id, lost);
        let error = Error::lost_worker(report.clone());
        let task = self.ledger.task(id).filter(|_| self.quarantine.is_some());
        let task = task.map(|task| (task.function, task.args.payload.clone()));
        let next = self.ledger.suspected(id, error, &mut effects.settled);
        if let (Next::Ended(_), Some((function, args))) = (&next, task)
            && let Some(quarantine) = &mut self.quarantine
        {
            quarantine.crashed(now, function, &args, &report);
        }
        self.apply(next);
    }

    /// A worker died of an attempt; whether its arguments are refused now.
    fn accuse(&mut self, now: Instant, (id, attempt): (TaskId, u32), lost: &WorkerLoss) -> bool {
        let Some(quarantine) = &mut self.quarantine else { return false };
        match self.ledger.current(id, attempt) {
            // Whoever sent that signal, it was not the task.
            Some(_) if lost.cause == Some(Cause::Stopped) => false,
            Some(task) => quarantine.crashed(now, task.function, &task.args.payload, lost),
            None => false,
        }
    }

    /// Why arguments are refused, if they are.
    pub(super) fn quarantined(
        &mut self,
        now: Instant,
        function: &Function,
        args: &Payload,
    ) -> Option<Error> {
        self.quarantine.as_mut()?.refuses(now, function, args)
    }
}

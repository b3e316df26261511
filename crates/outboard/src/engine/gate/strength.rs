//! How many workers have a slot: the part of the gate that starts what can
//! start, stops what nobody wants, and puts workers in the place of others.
//!
//! A worker that is ready **stands by** until it is given a slot. There are as
//! many slots as workers were asked for, and a few workers more (spares), so
//! that the slot of one that is killed is filled at once. A spare may also be lent
//! to a tenant that waits and has no slot, while others hold all of them with long
//! tasks; the first slot that is free after that is one too many. A worker that is worn
//! (it has executed so many tasks, is so old or so large) goes on until another
//! one is ready for its slot, and then ends what it has.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Core, Effects};
use crate::engine::{Stopped, Work};
use crate::error::Stage;
use crate::ids::{SlotId, TaskId};
use crate::observe::event::EventKind;
use crate::sched::ledger::Next;
use crate::sched::stopping::Asked;

/// How long a task that asks whether it is to stop has to do so.
const SOFT: Duration = Duration::from_millis(2);

/// How many workers there are to be, and which are on their way out.
#[derive(Debug, Default)]
pub(crate) struct Strength {
    /// How many are to have a slot.
    pub(super) workers: usize,
    /// How many are to stand by.
    pub(super) spares: usize,
    /// Slots whose workers wait to be replaced.
    worn: VecDeque<SlotId>,
    /// Slots whose workers leave when they have ended what they have.
    leaving: Vec<SlotId>,
    /// Whether there may be one slot more than workers were asked for.
    lent: bool,
    /// Whether there may be another worker, or another slot, than before.
    changed: bool,
}

impl Strength {
    pub(super) fn new(workers: usize, spares: usize) -> Self {
        Self { workers, spares, ..Self::default() }
    }

    /// Workers that stand by: one more while another is to be replaced.
    fn spares(&self) -> usize {
        self.spares + self.worn.len().min(1)
    }
}

impl Core {
    /// Starts what can start, and takes back what an idle slot could start.
    pub(super) fn pump(&mut self, now: Instant, effects: &mut Effects) {
        self.kill_due(now);
        self.fill_slots(now);
        loop {
            while let Some((task, slot)) = self.placement.assign(now) {
                self.start(now, task, slot, effects);
            }
            match self.placement.steal(now) {
                Some((task, slot)) if self.engine.revoke(slot, task) => {
                    self.placement.revoked(slot, task);
                    let next = self.ledger.moved(task);
                    self.apply(next);
                }
                _ => return,
            }
        }
    }

    fn start(&mut self, now: Instant, id: TaskId, slot: SlotId, effects: &mut Effects) {
        if self.ledger.next_deadline().is_some() {
            let needs = self.needs(now, id);
            if let Some(next) = self.ledger.end_if_late(now, id, needs, &mut effects.settled) {
                self.placement.unassign(slot);
                return self.apply(next);
            }
        }
        if let Some(error) = self.quarantined_task(now, id) {
            self.placement.unassign(slot);
            let next = self.ledger.failed(id, error, None, &mut effects.settled);
            return self.apply(next);
        }
        self.ledger.placed(id, slot);
        let task = self.ledger.task(id).expect("the queue holds living tasks only");
        let work = Work {
            task: id,
            attempt: task.attempt,
            function: task.function,
            args: &task.args,
            deadline: self.ledger.deadline(task),
            priority: task.place().priority(),
            grace: task.grace(),
            key: task.key(),
            origin: task.origin.as_ref(),
        };
        if let Some(link) = self.engine.start(slot, work) {
            effects.flush(link);
        }
        self.sent(id, slot);
    }

    /// Stops a placed task; gives how far it had come.
    pub(super) fn stop(&mut self, slot: SlotId, task: TaskId, now: Instant) -> Stage {
        match self.engine.stop(slot, task) {
            Stopped::Unstarted => {
                self.placement.revoked(slot, task);
                return Stage::Queued;
            }
            Stopped::Asked { listens } => {
                self.asked(slot, task, listens, now);
                self.kill_due(now);
            }
            Stopped::Killed => self.abandon(slot),
            Stopped::Continues => {}
        }
        Stage::Running
    }

    fn asked(&mut self, slot: SlotId, task: TaskId, listens: bool, now: Instant) {
        self.placement.halt(slot, task);
        self.take_back(slot);
        let Some(owed) = self.ledger.task(task) else { return };
        let soft = if listens { SOFT } else { Duration::ZERO };
        let patience = owed.grace().unwrap_or(soft).max(self.sooner_than_a_kill(slot, now));
        let tenant = owed.place().tenant;
        // Too long for the clock is for ever, which is not what was asked for.
        let until = now.checked_add(patience).filter(|_| self.timed).unwrap_or(now);
        self.stopping.ask(Asked { slot, task, tenant, until });
    }

    /// How long a task is expected to go on, if that is less than a replacement
    /// of its worker takes to be ready.
    fn sooner_than_a_kill(&self, slot: SlotId, now: Instant) -> Duration {
        if self.engine.standby() > 0 {
            return Duration::ZERO;
        }
        let left = self.placement.expected_left(slot, now);
        left.filter(|left| *left < self.stopping.warm_up()).unwrap_or_default()
    }

    /// Kills what was asked to stop and had its time for that.
    fn kill_due(&mut self, now: Instant) {
        while let Some((slot, task)) = self.stopping.due(now, self.strength.workers) {
            if self.engine.kill(slot, task) {
                self.killed(slot, task);
                self.abandon(slot);
            }
        }
    }

    /// A slot is dying: what it had not started moves on.
    pub(super) fn abandon(&mut self, slot: SlotId) {
        self.placement.slot_closing(slot);
        self.strength.changed = true;
        self.take_back(slot);
    }

    /// What a slot has not started moves on.
    fn take_back(&mut self, slot: SlotId) {
        for task in self.engine.withdraw(slot) {
            self.placement.revoked(slot, task);
            let next = self.ledger.moved(task);
            self.apply(next);
        }
    }

    pub(super) fn apply(&mut self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Ended(place) => self.placement.ended(place),
            Next::Requeue(task) => self.enqueue(task),
        }
    }

    /// Gives slots to workers that stand by, where there are too few slots or
    /// their workers are worn; and takes them away where there are too many.
    fn fill_slots(&mut self, now: Instant) {
        let lend = self.placement.wants_spare();
        if !lend && !self.strength.lent && !self.strength.changed {
            return;
        }
        self.strength.changed = false;
        while self.placement.slots() < self.strength.workers && self.engine.standby() > 0 {
            self.give_slot(now);
        }
        while self.engine.standby() > 0
            && let Some(worn) = self.strength.worn.pop_front()
        {
            if self.placement.is_up(worn) {
                self.leave(worn);
                self.give_slot(now);
            }
        }
        while self.placement.slots() > self.strength.workers
            && let Some(slot) = self.placement.idle()
        {
            self.placement.slot_down(slot, now);
            let worker = self.number(slot);
            self.announce(|| EventKind::WorkerStandsBy { worker });
            self.engine.demote(slot);
        }
        self.strength.lent = self.placement.slots() > self.strength.workers;
        if lend && !self.strength.lent && self.engine.standby() > 0 {
            self.give_slot(now);
            self.strength.lent = true;
        }
        while self.engine.standby() > self.strength.spares()
            && self.placement.slots() >= self.strength.workers
        {
            self.engine.dismiss(None);
        }
        self.keep();
    }

    /// A worker is ready, and stands by; it took so long from its start.
    pub(super) fn ready(&mut self, took: Duration) {
        self.strength.changed = true;
        self.stopping.warmed_up(took);
    }

    fn give_slot(&mut self, now: Instant) {
        let slot = self.placement.slot_up(now);
        self.engine.promote(slot);
        self.serves(slot);
    }

    /// There are to be so many slots; those that are too many go when they are
    /// idle.
    #[cfg(feature = "dask")]
    pub(super) fn resize(&mut self, slots: usize) {
        self.strength.workers = slots;
        self.strength.changed = true;
    }

    /// How many workers there are to be from now on.
    pub(super) fn scale(&mut self, workers: usize) {
        self.strength.workers = workers;
        self.strength.changed = true;
        while self.placement.slots() > workers
            && let Some(slot) = self.placement.least_busy()
        {
            self.leave(slot);
        }
        self.keep();
    }

    /// A worker is to be replaced as soon as another one is ready.
    pub(super) fn worn(&mut self, slot: SlotId) {
        if self.placement.is_up(slot) && !self.strength.worn.contains(&slot) {
            self.strength.worn.push_back(slot);
            self.strength.changed = true;
            self.keep();
        }
    }

    /// A slot gets no more tasks, and its worker leaves when it has ended what
    /// it has.
    fn leave(&mut self, slot: SlotId) {
        self.abandon(slot);
        self.strength.worn.retain(|worn| *worn != slot);
        self.strength.leaving.push(slot);
        self.freed(slot);
    }

    /// A slot is through with a task: if that was its last, its worker may go.
    pub(super) fn freed(&mut self, slot: SlotId) {
        if self.strength.leaving.contains(&slot) && self.placement.is_empty(slot) {
            self.engine.dismiss(Some(slot));
        }
    }

    /// A slot is gone.
    pub(super) fn slot_down(&mut self, slot: SlotId, now: Instant) {
        self.stopping.over(slot, None);
        self.strength.changed = true;
        self.strength.worn.retain(|worn| *worn != slot);
        self.strength.leaving.retain(|leaving| *leaving != slot);
        self.placement.slot_down(slot, now);
        self.engine.forget(slot);
        self.keep();
    }

    /// Those that leave are still there, and count beside those that stay.
    fn keep(&mut self) {
        let strength = &self.strength;
        self.engine.keep(strength.workers + strength.spares() + strength.leaving.len());
    }
}

//! How many workers have a slot. This part of the gate starts what can start, stops what
//! nobody wants, and puts workers in the place of others.
//!
//! A worker that is ready **stands by** until it is given a slot. There are as many slots
//! as workers were asked for, and a few workers more (spares), so that the slot of one that
//! is killed is filled at once. A spare may also be lent to a tenant that waits and has no
//! slot, while others hold all of them with long tasks. The first slot that is free after
//! that is one too many. A worn worker has executed so many tasks, is so old or so
//! large. It goes on until another one is ready for its slot, and then ends what it has.

use std::time::{Duration, Instant};

use super::{Core, Effects};
use crate::engine::{Reserve, Stopped, Work};
use crate::error::Stage;
use crate::ids::{SlotId, TaskId};
use crate::observe::event::EventKind;
use crate::sched::ledger::Next;
use crate::sched::strength::count::WorkerCount;
use crate::sched::strength::{Present, Step};
use crate::task::registry::Function;

/// How long a task that asks whether it is to stop has to do so.
const SOFT: Duration = Duration::from_millis(2);

impl Core {
    /// Starts what can start, and takes back what an idle slot could start. Orders workers for
    /// what waits then, where the pool is elastic.
    pub(super) fn pump(&mut self, now: Instant, effects: &mut Effects) {
        // Kills free slots for those who stand by, and slots come before tasks for them.
        self.kill_due(now);
        loop {
            self.fill_slots(now);
            self.distribute(now, effects);
            // Someone may stand by for a slot that is new, or for none any more.
            if !self.follow_load(now, 0) {
                return;
            }
        }
    }

    fn distribute(&mut self, now: Instant, effects: &mut Effects) {
        loop {
            while let Some((task, slot)) = self.placement.assign(now) {
                self.start(now, task, slot, effects);
            }
            // One by one: what was taken back may start at once, and change who is next.
            match self.placement.steal(now) {
                Some((task, slot)) if self.revoke(slot, task) => self.moved(slot, task),
                _ => return,
            }
        }
    }

    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.engine.pool().is_some_and(|pool| pool.revoke(slot, task))
    }

    /// What was sent to a slot was taken back, and waits again.
    fn moved(&mut self, slot: SlotId, task: TaskId) {
        self.placement.revoked(slot, task);
        let next = self.ledger.moved(task);
        self.apply(next);
    }

    fn start(&mut self, now: Instant, id: TaskId, slot: SlotId, effects: &mut Effects) {
        let Some((function, deadline)) = self.may_start(now, id, slot, effects) else { return };
        if function.batching.is_some() {
            return self.start_batch(now, (id, deadline), slot, effects);
        }
        self.send((id, deadline), slot, 0, effects);
        self.sent(id, slot);
    }

    /// What a slot was given last, if it is to start: its function and its deadline. Else it has
    /// ended, and the slot is as before.
    pub(super) fn may_start(
        &mut self,
        now: Instant,
        id: TaskId,
        slot: SlotId,
        effects: &mut Effects,
    ) -> Option<(&'static Function, Option<Instant>)> {
        let task = self.ledger.task(id).expect("the queue holds living tasks only");
        let (function, args) = (task.function, &task.args.payload);
        let deadline = self.ledger.deadline(task);
        if deadline.is_some_and(|deadline| deadline <= now + self.needs(now, function)) {
            self.placement.unassign(slot);
            let next = self.ledger.end_late(id, &mut effects.settled);
            self.apply(next);
            return None;
        }
        let refused = self.quarantine.as_mut().and_then(|it| it.refuses(now, function, args));
        if let Some(error) = refused {
            self.placement.unassign(slot);
            let next = self.ledger.failed(id, error, None, &mut effects.settled);
            self.apply(next);
            return None;
        }
        Some((function, deadline))
    }

    /// Sends a task to a slot; so many more follow that are for the same call.
    pub(super) fn send(
        &mut self,
        (id, deadline): (TaskId, Option<Instant>),
        slot: SlotId,
        rest: u32,
        effects: &mut Effects,
    ) {
        let task = self.ledger.placed(id, slot);
        let work = Work {
            task: id,
            attempt: task.attempt,
            rest,
            function: task.function,
            args: &task.args,
            deadline,
            priority: task.place().priority(),
            grace: task.grace(),
            pool: task.pool(),
            key: task.key(),
            origin: task.origin.as_ref(),
        };
        if let Some(link) = self.engine.start(slot, work) {
            effects.flush(link);
        }
    }

    /// Stops a placed task; gives how far it had come.
    pub(super) fn stop(&mut self, slot: SlotId, task: TaskId, now: Instant) -> Stage {
        if self.placement.is_grouped(slot, task) {
            return self.stop_member(slot, task, now);
        }
        match self.engine.stop(slot, task) {
            Stopped::Unstarted => {
                self.placement.revoked(slot, task);
                return Stage::Queued;
            }
            Stopped::Asked { listens } => self.ask_to_stop(slot, task, listens, now),
            Stopped::Killed => self.abandon(slot),
            Stopped::Continues => {}
        }
        Stage::Running
    }

    /// What a slot runs was asked to stop.
    pub(super) fn ask_to_stop(&mut self, slot: SlotId, task: TaskId, listens: bool, now: Instant) {
        self.asked(slot, task, listens, now);
        self.kill_due(now);
    }

    fn asked(&mut self, slot: SlotId, task: TaskId, listens: bool, now: Instant) {
        self.placement.halt(slot, task);
        self.take_back(slot);
        let sooner = self.sooner_than_a_kill(slot, now);
        let Some(owed) = self.ledger.task(task) else { return };
        let soft = if listens { SOFT } else { Duration::ZERO };
        let patience = owed.grace().unwrap_or(soft).max(sooner);
        let tenant = owed.place().tenant;
        // Too long for the clock is for ever, which is not what was asked for.
        let until = now.checked_add(patience).filter(|_| self.timed).unwrap_or(now);
        self.stopping.ask((slot, task), tenant, until);
    }

    /// How long a task is expected to go on, if that is less than a replacement
    /// of its worker takes to be ready.
    fn sooner_than_a_kill(&mut self, slot: SlotId, now: Instant) -> Duration {
        if self.standby() > 0 {
            return Duration::ZERO;
        }
        let left = self.placement.expected_left(slot, now);
        left.filter(|left| *left < self.stopping.warm_up()).unwrap_or_default()
    }

    /// Kills what was asked to stop and had its time for that.
    fn kill_due(&mut self, now: Instant) {
        while let Some((slot, task)) = self.stopping.due(now, self.strength.workers()) {
            if self.engine.pool().is_some_and(|pool| pool.kill(slot, task)) {
                self.killed(slot, task);
                self.abandon(slot);
            }
        }
    }

    /// A slot is dying: what it had not started moves on.
    pub(super) fn abandon(&mut self, slot: SlotId) {
        self.placement.slot_closing(slot);
        self.strength.closing(slot);
        self.take_back(slot);
    }

    /// What a slot has not started moves on.
    fn take_back(&mut self, slot: SlotId) {
        for task in self.engine.withdraw(slot) {
            self.moved(slot, task);
        }
    }

    pub(super) fn apply(&mut self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Ended(place) => self.placement.ended(place),
            Next::Rest(place) => self.placement.prepare(place),
            Next::Requeue(place, queued) => self.placement.enqueue(place, queued),
        }
    }

    /// Gives slots to workers that stand by, where there are too few slots or their workers
    /// are worn. Takes them away where there are too many.
    fn fill_slots(&mut self, now: Instant) {
        let wants_spare = self.placement.wants_spare();
        if !self.strength.is_due(wants_spare) {
            return;
        }
        let (slots, standby) = (self.placement.slots(), self.standby());
        let idle = self.placement.idle().collect();
        let present = Present { slots, idle, standby, wants_spare };
        for step in self.strength.plan(&present) {
            match step {
                Step::Give => self.give_slot(now),
                Step::Leave(slot) => self.leave(slot),
                Step::Take(slot) => self.take_slot(slot, now),
                Step::Dismiss => self.reserve(|reserve| reserve.release()),
            }
        }
        self.expect(now);
        self.keep();
    }

    /// The forecast is to know who starts.
    pub(super) fn expect(&mut self, now: Instant) {
        self.placement.expects(self.strength.missing(), self.stopping.start(), now);
    }

    fn standby(&mut self) -> usize {
        self.engine.reserve().map_or(0, |reserve| reserve.standby())
    }

    /// Does something with those who stand by, of whom there are none without a reserve.
    fn reserve(&mut self, act: impl FnOnce(&mut dyn Reserve)) {
        if let Some(reserve) = self.engine.reserve() {
            act(reserve);
        }
    }

    /// A worker is ready, and stands by; it took so long from its start.
    pub(super) fn ready(&mut self, took: Duration) {
        self.strength.changed();
        self.stopping.warmed_up(took);
    }

    fn give_slot(&mut self, now: Instant) {
        let slot = self.placement.slot_up(now);
        let own = self.engine.reserve().and_then(|reserve| reserve.number());
        let number = self.strength.give(slot, own);
        self.reserve(|reserve| reserve.promote(slot, number));
        self.serves(slot);
    }

    /// The worker of an idle slot stands by, or leaves where none do.
    fn take_slot(&mut self, slot: SlotId, now: Instant) {
        let worker = self.number(slot);
        let Some(reserve) = self.engine.reserve() else { return self.leave(slot) };
        reserve.demote(slot);
        self.strength.taken(slot);
        self.placement.slot_down(slot, now);
        self.announce(|| EventKind::WorkerStandsBy { worker });
    }

    /// There are to be so many slots; those that are too many go when they are
    /// idle.
    #[cfg(feature = "dask")]
    pub(super) fn resize(&mut self, slots: usize) {
        self.strength.bound(slots.into());
    }

    /// How many workers there are to be from now on.
    pub(super) fn scale(&mut self, workers: WorkerCount) {
        self.strength.bound(workers);
        for slot in self.strength.beyond() {
            self.leave(slot);
        }
        self.keep();
    }

    /// A worker is to be replaced as soon as another one is ready.
    pub(super) fn worn(&mut self, slot: SlotId) {
        if self.placement.is_up(slot) {
            self.strength.worn(slot);
            self.keep();
        }
    }

    /// A slot gets no more tasks, and its worker leaves when it has ended what
    /// it has.
    pub(super) fn leave(&mut self, slot: SlotId) {
        self.abandon(slot);
        self.strength.leaves(slot);
        self.freed(slot);
    }

    /// A slot is through with a task: if that was its last, its worker may go.
    pub(super) fn freed(&mut self, slot: SlotId) {
        if self.strength.is_leaving(slot)
            && self.placement.is_empty(slot)
            && let Some(pool) = self.engine.pool()
        {
            pool.dismiss(slot);
        }
    }

    /// A slot is gone.
    pub(super) fn slot_down(&mut self, slot: SlotId, now: Instant) {
        self.stopping.over(slot, None);
        self.strength.gone(slot);
        self.placement.slot_down(slot, now);
        self.engine.forget(slot);
        self.keep();
    }

    pub(super) fn keep(&mut self) {
        let (workers, absent) = (self.strength.kept(), self.strength.absent());
        if let Some(pool) = self.engine.pool() {
            pool.keep(workers, absent);
        }
    }
}

//! Who waits for room in the queue, and is called when there is some.

#[cfg(test)]
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Call, Core, Effects, Gate};
use crate::error::Error;
use crate::sched::ledger::Options;
use crate::sched::waitlist::{Turn, Wish};

/// A caller that waits for room. One that is dropped leaves the waitlist, and passes the
/// call on that it may have had.
struct Waiting<'a> {
    gate: &'a Gate,
    wish: Wish,
    turn: Option<Turn>,
}

/// What a caller finds when it looks.
enum Look {
    /// There is room, or there will be none.
    Done(Result<(), Error>),
    /// It is called when it should look again.
    Wait(oneshot::Receiver<()>),
}

impl Wish {
    fn of(options: &Options) -> Self {
        Self { tenant: options.tenant.clone(), priority: options.priority }
    }
}

impl Gate {
    /// Waits until there is room for one more task with these options.
    pub(crate) async fn ready(&self, options: &Options) -> Result<(), Error> {
        let mut waiting = Waiting { gate: self, wish: Wish::of(options), turn: None };
        loop {
            match waiting.look(self.clock.now()) {
                Look::Done(result) => return result,
                // The other end lives in the gate, or has called.
                Look::Wait(called) => drop(called.await),
            }
        }
    }
}

impl Waiting<'_> {
    fn look(&mut self, now: Instant) -> Look {
        #[cfg(test)]
        self.gate.looks.fetch_add(1, Relaxed);
        let mut core = self.gate.lock();
        let turn = self.turn.take();
        if let Some(turn) = turn {
            core.waitlist.leave(&self.wish, turn);
        }
        if core.open().is_ok() && !core.has_room(&self.wish, now) {
            let (call, called) = oneshot::channel();
            self.turn = Some(core.waitlist.enter(&self.wish, turn, call));
            let mut effects = Effects::default();
            if core.strength.is_elastic() {
                core.pump(now, &mut effects);
            }
            // There may be a place that is not for it: who was not called for its sake looks.
            if turn.is_some() || core.strength.is_elastic() {
                self.gate.release_lock(core, now, effects, None);
            }
            return Look::Wait(called);
        }
        let result = core.open();
        // It may not use its place: the next caller looks, too.
        if turn.is_some() {
            self.gate.release_lock(core, now, Effects::default(), None);
        }
        Look::Done(result)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(turn) = self.turn else { return };
        let mut core = self.gate.lock();
        if core.waitlist.leave(&self.wish, turn) {
            self.gate.release_lock(core, self.gate.clock.now(), Effects::default(), None);
        }
    }
}

impl Core {
    /// Whether a submit of that kind, that comes now, would be taken.
    fn has_room(&self, wish: &Wish, now: Instant) -> bool {
        self.placement.has_room() || self.places() > 0 && self.places_for(wish, now) > 0
    }

    #[cfg(test)]
    pub(super) fn has_room_for(&self, options: &Options, now: Instant) -> bool {
        self.has_room(&Wish::of(options), now)
    }

    /// How many more tasks of anyone the queue takes.
    fn places(&self) -> usize {
        self.ledger.places(self.admission.part_for_all())
    }

    /// How many more tasks of that kind it takes, if it takes as many of anyone.
    fn places_for(&self, wish: &Wish, now: Instant) -> usize {
        let tenant = self.placement.known(wish.tenant.as_ref());
        tenant.map_or(usize::MAX, |tenant| {
            let part = self.admission.part_for_all();
            self.placement.places((tenant, wish.priority), part, now)
        })
    }

    /// Calls those for whom there may be room, but where others wait for a worker no
    /// more of them than can be taken.
    pub(super) fn call_for_room(&mut self, now: Instant, calls: &mut Vec<Call>) {
        if self.waitlist.is_empty() {
            return;
        }
        // An idle worker takes anyone. Everyone is called then, because those who were
        // called before may be slow to look, and nothing else might ever happen.
        if self.placement.has_room() || self.open().is_err() {
            return self.waitlist.call_all(calls);
        }
        let mut waitlist = std::mem::take(&mut self.waitlist);
        waitlist.call(self.places(), |wish| self.places_for(wish, now), calls);
        self.waitlist = waitlist;
    }
}

//! Has the number of workers of an elastic pool follow its load.

use std::time::Instant;

use super::{Core, Phase};
use crate::error::Bound;
use crate::sched::ledger::Options;
use crate::sched::strength::Load;

impl Core {
    /// Orders workers for what waits, and lets those go that had nothing to do for long; whether
    /// there are more or fewer to be now. `refused` submits would have waited.
    pub(super) fn follow_load(&mut self, now: Instant, refused: usize) -> bool {
        if !self.strength.is_elastic()
            || !matches!(self.phase, Phase::Open | Phase::Draining { .. })
        {
            return false;
        }
        let callers = usize::from(!self.waitlist.is_empty());
        let waiting = (self.placement.short() + refused).max(callers);
        let (start, broken) = (self.stopping.start(), self.broken.is_some());
        let load = Load { now, waiting, start, broken };
        let (placement, after) = (&self.placement, start.unwrap_or_default());
        let more = self.strength.grow(&load, |more| placement.drain_with(more, after, now));
        let before = self.strength.workers();
        let leaving = self.strength.shrink(&load, || placement.idle_since());
        leaving.into_iter().for_each(|slot| self.leave(slot));
        let changed = more || self.strength.workers() < before;
        if changed {
            self.expect(now);
            self.keep();
        }
        if self.strength.workers() == 0 {
            // The next task tries anew.
            self.broken = None;
        }
        changed
    }

    /// Whether a worker for a task would come up too late, where none is up.
    pub(super) fn starts_too_late(&self, options: &Options, now: Instant) -> Option<Bound> {
        let timeout = options.timeout.filter(|_| self.strength.is_elastic())?;
        let takes = self.placement.until_the_first(now)?;
        (timeout < takes).then_some(Bound::Start { takes, timeout })
    }
}

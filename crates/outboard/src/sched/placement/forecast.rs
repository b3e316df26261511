//! How long a new task would wait, from what runs and what waits.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use super::{Placement, Slot};
use crate::error::Bound;
use crate::ids::TenantId;
use crate::sched::admission::{Ahead, Estimate, GUESS};

/// From how long on a run is worth a worker that stood by.
const LONG: Duration = Duration::from_millis(5);

impl Placement {
    /// Whether a task waits whose tenant holds no slot, while others hold all.
    ///
    /// The engine asks this: where it has a worker in reserve, it may bring it
    /// up as one more slot (`slot_up`), which such a tenant's task then takes,
    /// for its virtual time is the least. One at a time: it is asked again after.
    /// Only where tasks run for a while.
    pub(crate) fn wants_spare(&self) -> bool {
        let long = self.mean_run_ns.is_some_and(|mean| mean >= LONG.as_nanos() as f64);
        let wanted = long && self.up > 0 && self.shares.any_waits_without_a_slot();
        wanted && (self.slots.iter()).all(|(_, slot)| slot.closing || slot.live().next().is_some())
    }

    /// A task ran for so long; `steady` is the number of its function, if that
    /// always runs about as long.
    pub(crate) fn observed(&mut self, now: Instant, run_ns: u64, steady: Option<usize>) {
        let sample = run_ns as f64;
        self.mean_run_ns = Some(match self.mean_run_ns {
            None => sample,
            // A long run says at once that nothing should wait behind it.
            Some(mean) if sample > mean => (mean + sample) / 2.0,
            Some(mean) => mean + (sample - mean) / 16.0,
        });
        let Some(number) = steady else { return self.plain.observe(now, run_ns) };
        if self.steady.len() <= number {
            self.steady.resize(number + 1, Estimate::default());
        }
        self.steady[number].observe(now, run_ns);
    }

    /// How long a steady function runs, in nanoseconds, once that is known.
    pub(crate) fn steady_ns(&self, number: usize, now: Instant) -> Option<NonZeroU64> {
        NonZeroU64::new(self.steady.get(number)?.mean_ns(now)? as u64)
    }

    /// How long a new task of that tenant and priority would wait for a worker.
    ///
    /// It is the least `t` by which the slots, each free after `r`, have done
    /// the work `w` ahead: the sum of `max(0, t - r)` is `w`. `w` is what
    /// [`Shares::ahead`] says. `r` is what is left of what the slot has; see
    /// [`Slot::left_ns`]. A worker that starts is a slot too, and what is left of its start is
    /// its `r`.
    pub(super) fn predicted_wait(
        &self,
        (tenant, priority): (TenantId, i32),
        now: Instant,
    ) -> Duration {
        let plain_ns = self.plain.mean_ns(now).unwrap_or_default();
        let work = self.shares.ahead(tenant, priority, plain_ns);
        Duration::from_nanos(level(self.left(now, plain_ns), work) as u64)
    }

    /// How long all that waits needs to start.
    pub(crate) fn predicted_drain(&self, now: Instant) -> Duration {
        self.drain_with(0, Duration::ZERO, now)
    }

    /// The same, if so many more workers were up after so long.
    pub(crate) fn drain_with(&self, more: usize, after: Duration, now: Instant) -> Duration {
        let plain_ns = self.plain.mean_ns(now).unwrap_or_default();
        let work = self.shares.work_ns(plain_ns);
        let mut left = self.left(now, plain_ns);
        left.extend(std::iter::repeat_n(after.as_nanos() as f64, more));
        Duration::from_nanos(level(left, work) as u64)
    }

    /// Until the first slot is expected to be free.
    fn soonest(&self, now: Instant) -> Duration {
        let left = self.left(now, self.plain.mean_ns(now).unwrap_or_default());
        Duration::from_nanos(left.into_iter().reduce(f64::min).unwrap_or_default() as u64)
    }

    /// What is ahead of a submit that met a bound; `queued` is how many tasks wait.
    pub(crate) fn ahead(
        &self,
        (tenant, priority): (TenantId, i32),
        bound: Bound,
        queued: usize,
        now: Instant,
    ) -> Ahead {
        let interval = self.interval();
        let over = |waiting: usize, limit: usize| waiting as f64 - (limit / 2) as f64;
        let excess = match bound {
            Bound::Tasks(limit) => over(queued, limit),
            Bound::Tenant(limit) => over(self.shares.waiting_of(tenant), limit),
            Bound::Bytes(_) => queued as f64 / 2.0,
            Bound::Wait(limit) => {
                let wait = self.predicted_wait((tenant, priority), now);
                let over = wait.saturating_sub(limit / 2).as_secs_f64();
                over / interval.as_secs_f64().max(1e-6)
            }
            // No place in the queue would help: the task has to end.
            Bound::Sharers(_) => 0.0,
            // Nor here: a worker has to start.
            Bound::Start { .. } => 0.0,
        };
        Ahead { soonest: self.soonest(now), excess, interval }
    }

    /// The time between two ends of tasks, with all slots busy.
    fn interval(&self) -> Duration {
        let ns = self.mean_run_ns.unwrap_or(GUESS.as_nanos() as f64);
        Duration::from_nanos((ns / self.slots().max(1) as f64) as u64)
    }

    fn left(&self, now: Instant, plain_ns: f64) -> Vec<f64> {
        let up = self.slots.iter().filter(|(_, slot)| !slot.closing);
        let left = up.map(|(_, slot)| slot.left_ns(now, plain_ns));
        left.chain(self.coming.left(self.up == 0, now)).collect()
    }
}

impl Slot {
    /// What is left of what it has, in nanoseconds. Of a steady task that runs:
    /// how far it is from its estimate. Of another: what its estimate leaves,
    /// but no less than it has run already, for what runs long mostly runs on.
    pub(super) fn left_ns(&self, now: Instant, plain_ns: f64) -> f64 {
        let running = self.outstanding.front().filter(|one| !one.revoked);
        let left = running.map_or(0.0, |one| {
            let since = one.sent.max(self.progress);
            let run_ns = now.saturating_duration_since(since).as_nanos() as f64;
            match one.steady_ns {
                Some(ns) => (ns.get() as f64 - run_ns).abs(),
                None => (plain_ns - run_ns).max(run_ns),
            }
        });
        let ahead = self.outstanding.iter().skip(1).filter(|one| !one.revoked);
        left + ahead.map(|one| one.steady_ns.map_or(plain_ns, |ns| ns.get() as f64)).sum::<f64>()
    }
}

/// When work that is spread over slots is done, if each is free after so long;
/// for ever counts as a day.
fn level(mut free: Vec<f64>, work: f64) -> f64 {
    const FOR_EVER_NS: f64 = 86_400e9;
    if free.is_empty() {
        return work.min(FOR_EVER_NS);
    }
    free.sort_unstable_by(f64::total_cmp);
    let (mut level, mut sum) = (FOR_EVER_NS, work);
    for (before, at) in free.iter().enumerate() {
        if before > 0 && *at >= level {
            break;
        }
        sum += at;
        level = sum / (before + 1) as f64;
    }
    level.min(FOR_EVER_NS)
}

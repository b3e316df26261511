//! When a refused submit may come back: smoothed run times, and promises.
//!
//! Pure. **Estimates.** An [`Estimate`] is the mean of the last samples, about
//! [`WINDOW`] of them; each loses half its weight in [`HALF_LIFE`]. Without new
//! samples the estimate itself halves in that time, so that one call of ten
//! seconds cannot keep others out for ever.
//!
//! **Promises.** A refused submit is told when to come back, and that instant is noted: a
//! *promise*. For as long as there are promises, whoever has none due may fill only half of each
//! bound (but that in bytes). A submit whose tenant has one due uses it up, and may fill all of
//! it. A promise that nobody comes for costs that half of the queue and no more (an idle worker
//! accepts anyone), and is forgotten [`GRACE`] after it was due.
//!
//! Promises go by turns between tenants, and those of one tenant are spaced by
//! `interval * tenants * stretch`: `interval` is the time between two ends of tasks as measured while tasks
//! waited, `tenants` is how many have promises, and `stretch` grows by
//! 1 / [`STEP`] with each promise that could not be kept and shrinks by a
//! [`KEPT_FOR_ONE_BROKEN`]th of that with each that was kept: so about one in so
//! many is broken, however the run times are distributed. The first is due when
//! the queue is expected to be half empty.
//!
//! Promises are told apart by tenant only. Callers that name no tenant are one:
//! a newcomer among them may use up what was promised to one that is late.
//! [`MAX_PROMISES`] are noted, up to [`HORIZON`] ahead; beyond that, `retry_after`
//! is an estimate.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// In what time a sample loses half its weight.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// How many samples count.
const WINDOW: f64 = 32.0;

/// How long after it was due a promise is kept for those who are late: HTTP's
/// `Retry-After` has whole seconds.
const GRACE: Duration = Duration::from_secs(2);

/// The most promises that are noted, of all tenants.
const MAX_PROMISES: usize = 1 << 14;

/// How far ahead promises are noted; further if a hundred tasks take longer. So
/// callers that come back at once and again do not push it out for all others.
const HORIZON: Duration = Duration::from_secs(60);

/// By what part a broken promise spaces out those that follow.
const STEP: f64 = 50.0;

/// How many promises are kept for each one broken, in the long run.
const KEPT_FOR_ONE_BROKEN: f64 = 19.0;

/// The most that promises are spaced out.
const MAX_STRETCH: f64 = 4.0;

/// How long a task runs, as long as none has ended.
pub(crate) const GUESS: Duration = Duration::from_millis(10);

/// How many tenants are looked at for one promise; the rest count as they do.
const LOOKED_AT: usize = 256;

/// A smoothed duration; see the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Estimate {
    sum_ns: f64,
    weight: f64,
    last: Option<Instant>,
}

impl Estimate {
    pub(crate) fn observe(&mut self, now: Instant, sample_ns: u64) {
        let keep = self.decay(now) * ((WINDOW - 1.0) / self.weight.max(WINDOW - 1.0));
        self.sum_ns = self.sum_ns * keep + sample_ns as f64;
        self.weight = self.weight * keep + 1.0;
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
    }

    /// The mean, in nanoseconds; `None` before the first sample.
    pub(crate) fn mean_ns(&self, now: Instant) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum_ns / self.weight * self.decay(now))
    }

    fn decay(&self, now: Instant) -> f64 {
        let Some(last) = self.last else { return 1.0 };
        let age = now.saturating_duration_since(last);
        if age < Duration::from_millis(10) {
            return 1.0; // nothing to speak of: the usual case has to be cheap
        }
        (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

/// How much of the bounds a submit may fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Half of the bounds of the whole queue.
    half_of_all: bool,
    /// Half of the bound of its tenant.
    half_of_own: bool,
}

impl Part {
    pub(crate) const WHOLE: Self = Self { half_of_all: false, half_of_own: false };

    /// Its part of a bound of the whole queue.
    pub(crate) fn of_all(self, limit: usize) -> usize {
        part(limit, self.half_of_all)
    }

    /// Its part of a bound of its tenant.
    pub(crate) fn of_own(self, limit: usize) -> usize {
        part(limit, self.half_of_own)
    }

    /// Its part of the longest wait.
    pub(crate) fn of_wait(self, limit: Duration) -> Duration {
        if self.half_of_all { limit / 2 } else { limit }
    }
}

/// Half of a bound, rounded up, or all of it.
fn part(limit: usize, half: bool) -> usize {
    if half { limit.div_ceil(2) } else { limit }
}

/// What a submit may fill, and whether it was promised that.
#[derive(Debug)]
#[must_use = "a promise is kept or broken"]
pub(crate) struct Claim {
    pub(crate) part: Part,
    promised: bool,
}

/// What is known of the way ahead when a submit is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead {
    /// Until the first of what runs is expected to end.
    pub(crate) soonest: Duration,
    /// How many tasks have to leave the queue until it is half empty.
    pub(crate) excess: f64,
    /// Time between two ends of tasks, where that was not measured.
    pub(crate) interval: Duration,
}

/// Who was promised what, and how fast tasks end.
#[derive(Debug)]
pub(crate) struct Admission {
    promises: HashMap<u64, Promises>,
    noted: usize,
    stretch: f64,
    interval: Estimate,
    /// When the last task ended, if others waited then.
    busy_since: Option<Instant>,
    /// When promises that nobody came for were last looked for.
    looked: Option<Instant>,
}

/// The promises of one tenant, the earliest first.
#[derive(Debug, Default)]
struct Promises {
    due: VecDeque<Instant>,
    last: Option<Instant>,
}

impl Promises {
    /// Takes the first promise, if it was due by then.
    fn pop(&mut self, by: Instant) -> Option<Instant> {
        self.due.front().is_some_and(|due| *due <= by).then(|| self.due.pop_front()).flatten()
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            promises: HashMap::new(),
            noted: 0,
            stretch: 1.1,
            interval: Estimate::default(),
            busy_since: None,
            looked: None,
        }
    }
}

impl Admission {
    /// A task ended; `waiting` says whether others wait for a worker.
    pub(crate) fn ended(&mut self, now: Instant, waiting: bool) {
        if let Some(last) = self.busy_since {
            let gap = now.saturating_duration_since(last);
            self.interval.observe(now, u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX));
        }
        self.busy_since = waiting.then_some(now);
    }

    /// How much of the bounds a submit may fill that comes now. It uses up a promise if
    /// its tenant has one due; then `settle` is to be told what came of that.
    pub(crate) fn claim(&mut self, now: Instant, tenant: Option<&Arc<str>>) -> Claim {
        if self.noted == 0 {
            return Claim { part: Part::WHOLE, promised: false };
        }
        self.forget(now);
        let tenant = digest(tenant);
        let half_of_own = self.promises.contains_key(&tenant);
        match self.take_promise(now, tenant) {
            true => Claim { part: Part::WHOLE, promised: true },
            false => {
                Claim { part: Part { half_of_all: self.noted > 0, half_of_own }, promised: false }
            }
        }
    }

    /// Whether a submit was taken: if that was promised, the next promises are due a
    /// little earlier, or later.
    pub(crate) fn settle(&mut self, claim: &Claim, taken: bool) {
        match taken {
            _ if !claim.promised => {}
            true => {
                self.stretch /= 1.0 + 1.0 / STEP / KEPT_FOR_ONE_BROKEN;
                self.stretch = self.stretch.max(1.0);
            }
            false => self.stretch = (self.stretch * (1.0 + 1.0 / STEP)).min(MAX_STRETCH),
        }
    }

    /// How much of the bounds is for anyone.
    pub(crate) fn part_for_all(&self) -> Part {
        Part { half_of_all: self.noted > 0, half_of_own: self.noted > 0 }
    }

    /// When a submit that was refused should come back.
    pub(crate) fn promise(
        &mut self,
        now: Instant,
        tenant: Option<&Arc<str>>,
        ahead: Ahead,
    ) -> Duration {
        let tenant = digest(tenant);
        let interval_ns = self.interval.mean_ns(now).unwrap_or(ahead.interval.as_nanos() as f64);
        let interval_ns = interval_ns * self.stretch;
        let before = self.before(tenant);
        let tenants = self.promises.len();
        let own = self.promises.entry(tenant).or_default();
        let spacing = nanoseconds(interval_ns * tenants.max(1) as f64);
        let next = own.last.map_or(now, |last| last + spacing);
        let wait = ahead.soonest + nanoseconds(interval_ns * (ahead.excess.max(0.0) + before));
        let due = next.max(now + wait).max(now + Duration::from_millis(1));
        let latest = now + HORIZON.max(nanoseconds(interval_ns * 100.0));
        if due <= latest && self.noted < MAX_PROMISES {
            own.last = Some(due);
            own.due.push_back(due);
            self.noted += 1;
        } else if own.due.is_empty() {
            self.promises.remove(&tenant);
        }
        due.min(latest) - now
    }

    /// How many promises go before one more of that tenant. They are all of its own, and of
    /// each other tenant as many as it would have itself.
    fn before(&self, tenant: u64) -> f64 {
        let own = self.promises.get(&tenant).map_or(0, |own| own.due.len());
        let looked_at = self.promises.iter().take(LOOKED_AT);
        let others = looked_at.filter(|(other, _)| **other != tenant);
        let others: usize = others.map(|(_, other)| other.due.len().min(own + 1)).sum();
        let scale = self.promises.len() as f64 / self.promises.len().clamp(1, LOOKED_AT) as f64;
        own as f64 + others as f64 * scale
    }

    /// Uses up a promise that is due.
    fn take_promise(&mut self, now: Instant, tenant: u64) -> bool {
        let Some(own) = self.promises.get_mut(&tenant) else { return false };
        let Some(_) = own.pop(now) else { return false };
        self.noted -= 1;
        if own.due.is_empty() {
            self.promises.remove(&tenant);
        }
        true
    }

    /// Forgets promises that nobody came for.
    fn forget(&mut self, now: Instant) {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < GRACE / 8) {
            return;
        }
        self.looked = Some(now);
        let mut forgotten = 0;
        self.promises.retain(|_, own| {
            while now.checked_sub(GRACE).is_some_and(|then| own.pop(then).is_some()) {
                forgotten += 1;
            }
            !own.due.is_empty()
        });
        self.noted -= forgotten;
    }
}

/// What promises know a tenant by: its number may be another's by then.
fn digest(name: Option<&Arc<str>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn nanoseconds(ns: f64) -> Duration {
    // At most a day, for what is added to an instant.
    Duration::from_nanos(ns.clamp(0.0, 86_400e9) as u64)
}

#[cfg(test)]
mod tests;

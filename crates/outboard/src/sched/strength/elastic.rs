//! When an elastic pool has another worker, and when it has one fewer.
//!
//! Pure. A worker costs its start, so it is ordered only where that is worth it:
//!
//! 1. From none, one is ordered as soon as a task waits.
//! 2. Otherwise, as many as it takes for what waits to start within the time of a start. That
//!    is what tasks would wait for another worker anyway.
//! 3. Where tasks have waited without a pause for the time of a start, and no worker came up
//!    meanwhile, one for each task that waits. The forecast does not know better then.
//!
//! The time of a start is measured; it counts as [`BLIP`] at least. Before the first was
//! measured, only one worker is on its way. One that has had nothing to do for `idle` ends, the
//! one that has idled longest first, down to the lower bound. Where starts fail, those that are
//! missing are given up when nothing has waited for that time.

use std::time::{Duration, Instant};

use super::count::WorkerCount;
use crate::ids::SlotId;

/// For less than this nobody is started, however quick starts are.
const BLIP: Duration = Duration::from_millis(10);

/// What an elastic pool remembers of its load.
#[derive(Debug)]
pub(super) struct Elastic {
    pub(super) count: WorkerCount,
    idle: Duration,
    /// Since when tasks have waited without a pause, and no worker was ordered or came up.
    short_since: Option<Instant>,
    /// Since when nothing has waited.
    calm_since: Option<Instant>,
    /// When what waits may have waited for too long.
    short_at: Option<Instant>,
    /// When a worker may have idled for too long.
    idle_at: Option<Instant>,
}

/// What a pool has to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) now: Instant,
    /// Tasks, and callers, that wait for a worker.
    pub(crate) waiting: usize,
    /// How long a worker's start takes, once that is known.
    pub(crate) start: Option<Duration>,
    /// Starts fail.
    pub(crate) broken: bool,
}

/// Workers that a pool is to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    pub(super) wanted: usize,
    /// Those of them that have no slot yet.
    pub(super) coming: usize,
}

/// What a pool can do without.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Excess {
    /// Whose workers leave.
    pub(super) slots: Vec<SlotId>,
    /// How many of those that are missing are not waited for.
    pub(super) missing: usize,
}

impl Elastic {
    pub(super) fn new(count: WorkerCount, idle: Duration) -> Self {
        Self { count, idle, short_since: None, calm_since: None, short_at: None, idle_at: None }
    }

    /// A worker came up: it is given time to show what it does.
    pub(super) fn came_up(&mut self) {
        self.short_since = None;
    }

    /// When it is to be asked again, if nothing happens before.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.short_at.into_iter().chain(self.idle_at).min()
    }

    /// How many more workers there are to be. `wait` says how long what waits would need to
    /// start if so many more were ordered now.
    pub(super) fn grow(
        &mut self,
        load: &Load,
        Crew { wanted, coming }: Crew,
        wait: impl Fn(usize) -> Duration,
    ) -> usize {
        let Load { now, waiting, .. } = *load;
        self.short_at = None;
        let room = self.count.most().saturating_sub(wanted);
        if waiting == 0 {
            self.short_since = None;
            self.calm_since.get_or_insert(now);
            return 0;
        }
        self.calm_since = None;
        if wanted == 0 {
            self.short_since = Some(now);
            return room.min(1);
        }
        // Of a start that fails there is nothing to be expected.
        let Some(start) = load.start.filter(|_| room > 0 && !load.broken) else { return 0 };
        let start = start.max(BLIP);
        let since = *self.short_since.get_or_insert(now);
        let lasts = now.saturating_duration_since(since) >= start;
        let more = match lasts {
            true => waiting.saturating_sub(coming).min(room),
            false => (0..room).take_while(|more| wait(*more) > start).count(),
        };
        if lasts || more > 0 {
            self.short_since = Some(now);
        }
        self.short_at = self.short_since.and_then(|since| since.checked_add(start));
        more
    }

    /// What the pool can do without. `idle` gives the slots that have nothing to do, each with
    /// the time since when. It is asked only when one of them may be due.
    pub(super) fn shrink<I: Iterator<Item = (SlotId, Instant)>>(
        &mut self,
        load: &Load,
        Crew { wanted, coming }: Crew,
        idle: impl FnOnce() -> I,
    ) -> Excess {
        let (now, spare) = (load.now, wanted.saturating_sub(self.count.least()));
        if spare == 0 {
            self.idle_at = None;
            return Excess::default();
        }
        let later = now.checked_add(self.idle);
        if self.idle_at.is_none() {
            self.idle_at = later;
        }
        if self.idle_at.is_none_or(|at| at > now) {
            return Excess::default();
        }
        let is_due = |since: Instant| now.saturating_duration_since(since) >= self.idle;
        let mut idle: Vec<_> = idle().collect();
        idle.sort_by_key(|(_, since)| *since);
        let due = idle.iter().take_while(|(_, since)| is_due(*since)).take(spare);
        let slots: Vec<_> = due.map(|(slot, _)| *slot).collect();
        let calm = self.calm_since.is_some_and(is_due);
        let missing = match load.broken && calm {
            true => coming.min(spare - slots.len()),
            false => 0,
        };
        let next = idle.get(slots.len()).and_then(|(_, since)| since.checked_add(self.idle));
        self.idle_at = match slots.len() + missing == spare {
            true => None,
            false => next.filter(|next| *next > now).or(later),
        };
        Excess { slots, missing }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::ZERO;
    const MS: Duration = Duration::from_millis(1);
    const IDLE: Duration = Duration::from_secs(60);
    const START: Duration = Duration::from_secs(2);

    /// A pool of up to eight workers, at a time, with so much to do.
    struct Fixture {
        elastic: Elastic,
        load: Load,
        crew: Crew,
        /// What the forecast says without another worker.
        wait: Duration,
    }

    impl Fixture {
        fn new(wanted: usize, waiting: usize, wait: Duration) -> Self {
            let (now, start) = (Instant::now(), Some(START));
            Self {
                elastic: Elastic::new((0..=8).into(), IDLE),
                load: Load { now, waiting, start, broken: false },
                crew: Crew { wanted, coming: 0 },
                wait,
            }
        }

        /// How many workers are ordered after that time.
        fn after(&mut self, time: Duration) -> usize {
            self.load.now += time;
            let shared = |more: usize| self.wait / (more as u32 + 1);
            let more = self.elastic.grow(&self.load, self.crew, shared);
            self.crew.wanted += more;
            self.crew.coming += more;
            more
        }
    }

    #[test]
    fn from_none_one_starts_at_once_and_others_when_its_start_is_known() {
        let mut pool = Fixture::new(0, 5, Duration::ZERO);
        pool.load.start = None;
        assert_eq!([NOW, MS, 100 * START].map(|time| pool.after(time)), [1, 0, 0]);
        pool.crew.coming = 0;
        pool.elastic.came_up();
        (pool.load.start, pool.load.waiting) = (Some(START), 4);
        assert_eq!([NOW, START - MS].map(|time| pool.after(time)), [0, 0], "it may be quick");
        assert_eq!(pool.after(MS), 4, "one for each that waits");
        assert_eq!(pool.after(START), 0, "they are on their way");
    }

    #[test]
    fn as_many_start_as_what_waits_needs_to_begin_in_the_time_of_a_start() {
        assert_eq!(Fixture::new(2, 9, START).after(NOW), 0);
        assert_eq!(Fixture::new(2, 9, 3 * START).after(NOW), 2);
        assert_eq!(Fixture::new(2, 9, 99 * START).after(NOW), 6, "up to the upper bound");
        let mut quick = Fixture::new(1, 9, BLIP);
        quick.load.start = Some(MS);
        assert_eq!(quick.after(NOW), 0, "a blip");
        assert_eq!(quick.after(BLIP), 7, "it is none");
    }

    #[test]
    fn what_comes_and_goes_starts_nobody() {
        let mut pool = Fixture::new(1, 3, START);
        for _ in 0..100 {
            pool.load.waiting = 3;
            assert_eq!(pool.after(NOW), 0);
            assert_eq!(pool.after(START - MS), 0);
            pool.load.waiting = 0;
            assert_eq!(pool.after(MS), 0);
        }
    }

    #[test]
    fn where_starts_fail_none_is_added_and_the_missing_are_given_up() {
        let mut pool = Fixture::new(0, 1, Duration::ZERO);
        assert_eq!(pool.after(NOW), 1);
        pool.load.broken = true;
        assert_eq!(pool.after(9 * START), 0);
        let missing = |pool: &mut Fixture| {
            let idle = std::iter::empty::<(SlotId, Instant)>;
            pool.elastic.shrink(&pool.load, pool.crew, idle).missing
        };
        assert_eq!(missing(&mut pool), 0, "a task waits");
        pool.load.waiting = 0;
        assert_eq!((pool.after(MS), missing(&mut pool)), (0, 0));
        assert_eq!((pool.after(IDLE), missing(&mut pool)), (0, 1));
        assert_eq!(pool.elastic.alarm(), None);
    }

    /// What happens to a pool: how many tasks wait then, how long that lasts, and which of its
    /// workers have something to do.
    fn change() -> impl Strategy<Value = (usize, u64, u8, bool)> {
        (0..4_usize, 0..90_000_u64, any::<u8>(), prop::bool::weighted(0.1))
    }

    proptest! {
        #[test]
        fn bounds_are_kept_and_only_idle_workers_go(
            (least, more, start_ms) in (0..3_usize, 1..5_usize, 0..20_000_u64),
            changes in prop::collection::vec(change(), 0..100),
        ) {
            let most = least + more;
            let mut elastic = Elastic::new((least..=most).into(), IDLE);
            let mut now = Instant::now();
            // Since when each has had nothing to do; `None` while it has a task.
            let mut up: Vec<(SlotId, Option<Instant>)> = Vec::new();
            let (mut next, mut coming) = (0, least);
            for (waiting, ms, busy, broken) in changes {
                now += Duration::from_millis(ms);
                for _ in 0..if broken { 0 } else { coming } {
                    up.push((SlotId::at(next), Some(now)));
                    next += 1;
                    elastic.came_up();
                }
                coming = if broken { coming } else { 0 };
                for (at, (_, idle)) in up.iter_mut().enumerate() {
                    let has_task = waiting > 0 || busy & 1 << at != 0;
                    *idle = if has_task { None } else { idle.or(Some(now)) };
                }
                let load = Load { now, waiting, start: Some(Duration::from_millis(start_ms)), broken };
                let crew = Crew { wanted: up.len() + coming, coming };
                let ordered = elastic.grow(&load, crew, |more| 9 * START / (more as u32 + 1));
                prop_assert!(waiting > 0 || ordered == 0, "for nothing");
                coming += ordered;
                prop_assert!(waiting == 0 || up.len() + coming > 0, "a task waits, and nobody starts");
                let crew = Crew { wanted: up.len() + coming, coming };
                let idle: Vec<_> =
                    up.iter().filter_map(|(slot, since)| Some((*slot, (*since)?))).collect();
                let excess = elastic.shrink(&load, crew, || idle.iter().copied());
                for slot in &excess.slots {
                    let since = idle.iter().find(|(one, _)| one == slot).expect("it idles").1;
                    prop_assert!(now - since >= IDLE, "it had a task of late");
                }
                prop_assert!(excess.missing == 0 || broken && waiting == 0);
                up.retain(|(slot, _)| !excess.slots.contains(slot));
                coming -= excess.missing;
                let wanted = up.len() + coming;
                prop_assert!((least..=most).contains(&wanted));
                prop_assert!(elastic.alarm().is_none_or(|at| at > now), "it wakes for nothing");
                prop_assert!(elastic.alarm().is_some() || wanted == least || waiting > 0);
            }
        }
    }
}

//! When a task that runs and that nobody wants any more is killed.
//!
//! Pure: the time is an argument. The task was asked first (its word says so,
//! and [`cancelled`](crate::cancelled) tells it). It is killed when its patience
//! is over: at once, or after the grace that the caller gave it.
//!
//! **A kill costs a worker**, and its replacement costs start-up and warm-up before it is
//! of use. So the kills of each tenant are bounded. It earns one in every `interval`, and
//! may save up a second's worth (the generic cell rate algorithm, ITU-T I.371). A task
//! whose kill is not earned yet runs on, its result is thrown away, and it is killed when
//! it is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ids::{SlotId, TaskId, TenantId};

/// What a tenant may save up.
const SAVED: Duration = Duration::from_secs(1);

/// Which part of all workers' time one tenant may cost by kills: 1 / `PART`.
const PART: u32 = 4;

/// The tasks that were asked to stop, and have not.
#[derive(Debug)]
pub(crate) struct Stopping {
    asked: Vec<Asked>,
    /// By when each tenant has earned all its kills so far; of tenants that
    /// have some to save up again.
    earned: HashMap<TenantId, Instant>,
    /// Kills of one tenant in a second, where that was set.
    per_second: Option<u32>,
    /// Smoothed time from a worker's start until it is ready.
    warm_up: Option<Duration>,
}

/// A task that was asked to stop.
#[derive(Debug)]
struct Asked {
    slot: SlotId,
    task: TaskId,
    tenant: TenantId,
    /// When its patience is over.
    until: Instant,
}

impl Stopping {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self { asked: Vec::new(), earned: HashMap::new(), per_second, warm_up: None }
    }

    /// A worker took so long to become ready.
    pub(crate) fn warmed_up(&mut self, took: Duration) {
        self.warm_up = Some(self.warm_up.map_or(took, |mean| (mean * 3 + took) / 4));
    }

    /// How long a replacement needs to be ready; zero before the first was.
    pub(crate) fn warm_up(&self) -> Duration {
        self.start().unwrap_or_default()
    }

    /// How long a worker needs to be ready, once one was.
    pub(crate) fn start(&self) -> Option<Duration> {
        self.warm_up
    }

    /// A tenant's task was asked to stop, and has until then.
    pub(crate) fn ask(&mut self, (slot, task): (SlotId, TaskId), tenant: TenantId, until: Instant) {
        self.asked.push(Asked { slot, task, tenant, until });
    }

    /// Takes a task that is to be killed now, and charges its tenant for that.
    /// To be called until it gives `None`.
    pub(crate) fn due(&mut self, now: Instant, workers: usize) -> Option<(SlotId, TaskId)> {
        let interval = self.interval(workers);
        for at in 0..self.asked.len() {
            let Asked { slot, task, tenant, until } = self.asked[at];
            if until > now {
                continue;
            }
            match self.earn(tenant, now, interval) {
                Ok(()) => {
                    self.asked.swap_remove(at);
                    return Some((slot, task));
                }
                Err(earned) => self.asked[at].until = earned,
            }
        }
        None
    }

    /// When `due` has something to give, at the earliest.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.asked.iter().map(|one| one.until).min()
    }

    /// A slot is through with a task, or gone with all that it had.
    pub(crate) fn over(&mut self, slot: SlotId, task: Option<TaskId>) {
        self.asked.retain(|one| one.slot != slot || task.is_some_and(|task| one.task != task));
    }

    /// In what time a tenant earns a kill.
    fn interval(&self, workers: usize) -> Duration {
        let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        match self.per_second {
            Some(kills) => SAVED / kills.max(1),
            None => self.warm_up() * PART / workers,
        }
    }

    /// Spends a kill of a tenant, or says when it has earned one.
    fn earn(&mut self, tenant: TenantId, now: Instant, interval: Duration) -> Result<(), Instant> {
        let before = self.earned.get(&tenant).copied().unwrap_or(now).max(now);
        let earned = before + interval;
        let allowed = now + SAVED.max(interval);
        if earned > allowed {
            return Err(now + (earned - allowed));
        }
        self.earned.retain(|_, earned| *earned > now);
        self.earned.insert(tenant, earned);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sched::placement::{Placement, Rules};

    const MS: Duration = Duration::from_millis(1);

    struct Fixture {
        stopping: Stopping,
        placement: Placement,
        start: Instant,
        tasks: u32,
    }

    impl Fixture {
        fn new(per_second: Option<u32>) -> Self {
            Self {
                stopping: Stopping::new(per_second),
                placement: Placement::new(Rules::default()),
                start: Instant::now(),
                tasks: 0,
            }
        }

        fn ask(&mut self, tenant: &str, at: Instant, patience: Duration) -> TaskId {
            let tenant = self.placement.seen(Some(&Arc::from(tenant)), 1, at);
            let slot = self.placement.slot_up(at);
            self.tasks += 1;
            let task = TaskId::for_test(self.tasks);
            self.stopping.ask((slot, task), tenant, at + patience);
            task
        }

        fn killed(&mut self, at: Instant) -> Vec<TaskId> {
            std::iter::from_fn(|| self.stopping.due(at, 4)).map(|(_, task)| task).collect()
        }
    }

    #[test]
    fn a_task_is_killed_when_its_patience_is_over() {
        let mut fixture = Fixture::new(None);
        let start = fixture.start;
        let (soon, later) = (fixture.ask("a", start, MS), fixture.ask("a", start, 3 * MS));
        assert_eq!(fixture.killed(start), []);
        assert_eq!(fixture.stopping.next_due(), Some(start + MS));
        assert_eq!(fixture.killed(start + MS), [soon]);
        assert_eq!(fixture.killed(start + 3 * MS), [later]);
        assert_eq!(fixture.stopping.next_due(), None);
    }

    #[test]
    fn a_task_that_ended_by_itself_is_not_killed() {
        let mut fixture = Fixture::new(None);
        let task = fixture.ask("a", fixture.start, MS);
        let slot = fixture.stopping.asked[0].slot;
        fixture.stopping.over(slot, Some(TaskId::for_test(99)));
        assert_eq!(fixture.stopping.asked.len(), 1, "another task of the slot ended");
        fixture.stopping.over(slot, Some(task));
        assert_eq!(fixture.killed(fixture.start + MS), []);
    }

    #[test]
    fn a_tenants_kills_are_bounded_and_another_tenants_are_its_own() {
        let mut fixture = Fixture::new(Some(5));
        let start = fixture.start;
        let tasks: Vec<_> =
            (0..20).map(|_| fixture.ask("reloads", start, Duration::ZERO)).collect();
        let other = fixture.ask("other", start, Duration::ZERO);
        let killed = fixture.killed(start);
        assert_eq!(killed.len(), 6);
        assert!(killed.contains(&other));
        let mut all = killed;
        for second in 1..=3 {
            let at = start + Duration::from_secs(second);
            let killed = fixture.killed(at);
            assert_eq!(killed.len(), 5, "in second {second}");
            all.extend(killed);
        }
        assert!(tasks.iter().all(|task| all.contains(task)), "each is killed in the end");
        assert!(fixture.stopping.earned.len() <= 2);
    }

    #[test]
    fn what_replacements_cost_decides_how_many_kills_are_earned() {
        let kills_in_a_second = |warm_up| {
            let mut fixture = Fixture::new(None);
            fixture.stopping.warmed_up(warm_up);
            let start = fixture.start;
            let asked = (0..2_000).map(|_| fixture.ask("a", start, Duration::ZERO));
            assert_eq!(asked.count(), 2_000);
            fixture.killed(start).len()
        };
        // A quarter of four workers' time is one worker's.
        assert_eq!(kills_in_a_second(2 * MS), 500);
        assert_eq!(kills_in_a_second(100 * MS), 10);
        assert_eq!(kills_in_a_second(5_000 * MS), 1, "one is always allowed");
    }
}

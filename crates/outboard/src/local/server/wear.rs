//! When a worker has done enough and is to be replaced: pure.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use crate::engine::settings::Recycling;
use crate::observe::event::RecycleReason;

/// By how much of it a limit is lowered at most, so that workers which started
/// together are not replaced together.
const JITTER: f64 = 0.2;

/// The limits of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wear {
    tasks: u64,
    /// When it is too old.
    pub(super) until: Option<Instant>,
    memory_bytes: Option<u64>,
    /// The most memory that it may have, if that is limited.
    memory_limit: Option<u64>,
    /// Whether it is replaced after a task that changed its process, though that was set
    /// back.
    pub(super) if_changed: bool,
}

impl Wear {
    /// The limits of a worker that starts now.
    pub(super) fn of(recycling: Recycling, memory_limit: Option<u64>, now: Instant) -> Self {
        // As random as its keys: two of these differ.
        let random = RandomState::new().hash_one(0) as f64 / u64::MAX as f64;
        Self { memory_limit, ..Self::with_jitter(recycling, now, random) }
    }

    /// `random` is from 0 to 1.
    fn with_jitter(recycling: Recycling, now: Instant, random: f64) -> Self {
        let part = 1.0 - JITTER * random;
        let Recycling { tasks, age, memory_bytes, changed } = recycling;
        Self {
            tasks: tasks.map_or(u64::MAX, |tasks| ((tasks as f64 * part) as u64).max(1)),
            until: age.and_then(|age| now.checked_add(age.mul_f64(part))),
            // The memory that a worker may have is not a matter of when.
            memory_bytes,
            memory_limit: None,
            if_changed: changed,
        }
    }

    /// The most memory between tasks, of a worker that had so much at its start.
    fn most_memory(&self, at_start: u64) -> u64 {
        let left = self.memory_limit.map(|limit| limit.saturating_sub(at_start));
        let half = left.map(|left| at_start.saturating_add(left / 2));
        self.memory_bytes.or(half).unwrap_or(u64::MAX)
    }

    /// Why a worker that has executed so many tasks, and has so much
    /// memory of its own between them, is to be replaced, if it is; it had so much
    /// at its start.
    pub(super) fn out(
        &self,
        now: Instant,
        tasks: u64,
        (memory_bytes, at_start): (u64, u64),
    ) -> Option<RecycleReason> {
        if memory_bytes > self.most_memory(at_start) {
            Some(RecycleReason::Memory)
        } else if tasks >= self.tasks {
            Some(RecycleReason::Tasks)
        } else {
            self.until.is_some_and(|until| until <= now).then_some(RecycleReason::Age)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_limit_alone_is_enough() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let all = Recycling {
            tasks: Some(100),
            age: Some(second),
            memory_bytes: Some(1000),
            ..Recycling::default()
        };
        let wear = Wear::with_jitter(all, now, 0.0);
        assert_eq!(wear.out(now, 99, (1000, 0)), None);
        assert_eq!(wear.out(now, 100, (0, 0)), Some(RecycleReason::Tasks));
        assert_eq!(wear.out(now, 0, (1001, 0)), Some(RecycleReason::Memory));
        assert_eq!(wear.out(now + second, 0, (0, 0)), Some(RecycleReason::Age));
    }

    #[test]
    fn by_default_nothing_wears_out() {
        let wear = Wear::of(Recycling::default(), None, Instant::now());
        let later = Instant::now() + Duration::from_secs(1 << 30);
        assert_eq!(wear.out(later, u64::MAX - 1, (u64::MAX - 1, 0)), None);
    }

    #[test]
    fn half_of_what_was_left_at_the_start_may_go() {
        let now = Instant::now();
        let wear = Wear::of(Recycling::default(), Some(1000), now);
        let out = |wear: &Wear, memory| wear.out(now, 0, memory) == Some(RecycleReason::Memory);
        assert!(!out(&wear, (500, 0)) && out(&wear, (501, 0)));
        // Whoever loads a large model is not replaced without end.
        assert!(!out(&wear, (900, 800)) && out(&wear, (901, 800)));
        assert!(!out(&wear, (1200, 1200)), "more than it may have, and no more");
        let told = Recycling { memory_bytes: Some(100), ..Recycling::default() };
        assert!(out(&Wear::of(told, Some(1000), now), (101, 90)));
    }

    #[test]
    fn workers_that_start_together_do_not_end_together() {
        let recycling = Recycling { tasks: Some(1_000_000), ..Recycling::default() };
        let limits = (0..20).map(|_| Wear::of(recycling, None, Instant::now()).tasks);
        let limits: std::collections::HashSet<_> = limits.collect();
        assert!(limits.len() > 10, "{limits:?}");
        assert!(limits.iter().all(|tasks| (800_000..=1_000_000).contains(tasks)));
    }

    #[test]
    fn a_limit_of_one_task_is_one() {
        let one = Recycling { tasks: Some(1), ..Recycling::default() };
        let wear = Wear::with_jitter(one, Instant::now(), 1.0);
        assert_eq!(wear.out(Instant::now(), 1, (0, 0)), Some(RecycleReason::Tasks));
    }
}

//! Tasks that rest between two attempts: they are owed, count in the bounds, and cannot start.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::{Ledger, Next, Position};
use crate::error::Error;
use crate::ids::TaskId;
use crate::observe::event::{EventKind, RunUsage};
use crate::observe::record::tell;
use crate::sched::stamp::Stamp;
use crate::task::outcome::Usage;

/// How long a task rests before each further attempt: at random between `least` and a
/// length that doubles with each attempt, up to `most`. So what failed together is not
/// tried again together (Brooker, "Exponential Backoff And Jitter", AWS 2015: full jitter).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Backoff {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// The rest before an attempt, which is the second or a later one.
    fn before(self, attempt: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let most = self.least.saturating_mul(doubled).min(self.most).max(self.least);
        self.least + (most - self.least).mul_f64(random as f64 / u64::MAX as f64)
    }
}

impl<W> Ledger<W> {
    /// An attempt failed, and another one follows: at once, or after a rest. It ends
    /// instead if its time would be over by then.
    pub(super) fn again(
        &mut self,
        now: Instant,
        id: TaskId,
        error: Error,
        used: Option<(Usage, usize)>,
    ) -> Result<Next, Error> {
        let Some(task) = self.task(id) else { return Ok(Next::Nothing) };
        let (failed, place) = (task.attempt, task.place());
        let until = task.backoff().map(|backoff| {
            // The nanoseconds of the clock are random enough, and tests can repeat them.
            let mut random = DefaultHasher::new();
            (now, id.0.key(), failed).hash(&mut random);
            now + backoff.before(failed + 1, random.finish())
        });
        if until.is_some_and(|until| self.deadline(task).is_some_and(|end| end <= until)) {
            return Err(error);
        }
        let task = &mut self.tasks[id.0.key()];
        task.retries -= 1;
        task.attempt += 1;
        let next = match until {
            None => self.waits_again(id),
            Some(until) => {
                let until = Stamp::from(until);
                task.position = Position::Resting(place);
                task.seldom.get_or_insert_default().until = Some(until);
                self.queued += 1;
                self.resting.insert((until, id));
                Next::Rest(place)
            }
        };
        let run = used.map(RunUsage::from);
        tell(&mut self.record, || EventKind::Retried { task: id, attempt: failed, error, run });
        Ok(next)
    }

    /// When the first of those that rest may go on.
    pub(crate) fn next_rested(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| until.at())
    }

    /// A task whose rest is over waits from now on; `None` if there is none.
    pub(crate) fn rested(&mut self, now: Instant) -> Option<Next> {
        let (until, id) = *self.resting.first()?;
        if until.at() > now {
            return None;
        }
        self.resting.remove(&(until, id));
        let task = &mut self.tasks[id.0.key()];
        let place = task.place();
        task.position = Position::Queued(place);
        task.seldom.get_or_insert_default().until = None;
        Some(Next::Requeue(place, task.queued(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        let backoff = Backoff { least: ms(100), most: ms(1000) };
        let longest = |attempt| backoff.before(attempt, u64::MAX).as_millis();
        assert_eq!(
            [2, 3, 4, 5, 6, 40, u32::MAX].map(longest),
            [200, 400, 800, 1000, 1000, 1000, 1000]
        );
        for attempt in 2..10 {
            assert_eq!(backoff.before(attempt, 0), ms(100));
        }
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_its_start() {
        let backoff = Backoff { least: Duration::from_secs(5), most: Duration::from_secs(1) };
        assert_eq!(backoff.before(7, u64::MAX), Duration::from_secs(5));
    }
}

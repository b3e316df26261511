//! How large batches were, and how long they were held open: counts that are added up.

use std::time::Duration;

use crate::observe::histogram::{Counts, Histogram};

/// Sizes are counted by powers of two up to this one.
const BOUNDS: usize = 7;

/// The batches of one task function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchFigures {
    /// Calls that were started, each for one task or more.
    pub calls: u64,
    /// Tasks of these calls.
    pub tasks: u64,
    sizes: [u64; BOUNDS],
    /// How long batches were held open for more tasks, where the function's `wait` asks for that.
    pub held: Histogram,
    /// The sum of these times.
    pub held_time: Duration,
}

impl BatchFigures {
    /// How many calls had how many tasks, the smallest first: a bound, and how many calls had no
    /// more tasks than it and more than the bound before. Bounds are 1, 2, 4 and so on up to 64.
    pub fn sizes(&self) -> impl Iterator<Item = (usize, u64)> {
        self.sizes.iter().enumerate().map(|(index, count)| (1 << index, *count))
    }

    /// The mean number of tasks in a call, if there was one.
    pub fn mean_size(&self) -> Option<f64> {
        (self.calls > 0).then(|| self.tasks as f64 / self.calls as f64)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.tasks += other.tasks;
        self.sizes.iter_mut().zip(other.sizes).for_each(|(one, other)| *one += other);
        self.held.add(&other.held);
        self.held_time = self.held_time.saturating_add(other.held_time);
    }
}

/// The same, as it is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct BatchCounts {
    calls: u64,
    tasks: u64,
    sizes: [u64; BOUNDS],
    held: Counts,
    held_ns: u64,
}

impl BatchCounts {
    /// A call of so many tasks was started.
    pub(crate) fn started(&mut self, tasks: usize) {
        let size = tasks.max(1).next_power_of_two().ilog2() as usize;
        self.calls += 1;
        self.tasks += tasks as u64;
        self.sizes[size.min(BOUNDS - 1)] += 1;
    }

    /// A batch was held open for so long.
    pub(crate) fn held(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.held.add(ns);
        self.held_ns = self.held_ns.saturating_add(ns);
    }

    pub(crate) fn figures(&self) -> BatchFigures {
        let Self { calls, tasks, sizes, held, held_ns } = *self;
        let held_time = Duration::from_nanos(held_ns);
        BatchFigures { calls, tasks, sizes, held: held.into(), held_time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_size() {
        let mut counts = BatchCounts::default();
        [1, 2, 3, 4, 5, 32, 33, 64].into_iter().for_each(|tasks| counts.started(tasks));
        counts.held(Duration::from_millis(2));
        let mut figures = counts.figures();
        let expected = [(1, 1), (2, 1), (4, 2), (8, 1), (16, 0), (32, 1), (64, 2)];
        assert_eq!(figures.sizes().collect::<Vec<_>>(), expected);
        assert_eq!((figures.calls, figures.tasks, figures.mean_size()), (8, 144, Some(18.0)));
        figures.add(&counts.figures());
        assert_eq!(figures.sizes().map(|(_, calls)| calls).sum::<u64>(), 16);
        assert_eq!((figures.held.count(), figures.held_time), (2, Duration::from_millis(4)));
        assert_eq!(BatchFigures::default().mean_size(), None);
    }
}

//! The tasks of one tenant in one class, the oldest first.
//!
//! Tasks come at the end and leave at the front, nearly always. So they lie in one piece of
//! memory, which takes a third of what a tree does. One that leaves from between leaves a
//! gap, which closes when there are more gaps than tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU16;

use super::{Backlog, Queued};

/// How many gaps there may be beside as many as there are tasks.
const GAPS: usize = 64;

/// Tasks by their order.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Orders ascend. Neither end is a gap.
    entries: VecDeque<(u64, Option<Queued>)>,
    gaps: usize,
    /// Those that came to a place between others, where there is no gap.
    between: BTreeMap<u64, Queued>,
    /// Those of functions that take batches.
    members: BTreeSet<(NonZeroU16, u64)>,
    pub(super) work: Backlog,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.gaps + self.between.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn first(&self) -> Option<(u64, Queued)> {
        let first = self.entries.front().and_then(|(order, task)| Some((*order, (*task)?)));
        let between = self.between.first_key_value().map(|(order, task)| (*order, *task));
        first.into_iter().chain(between).min_by_key(|(order, _)| *order)
    }

    pub(super) fn last(&self) -> Option<(u64, Queued)> {
        let last = self.entries.back().and_then(|(order, task)| Some((*order, (*task)?)));
        let between = self.between.last_key_value().map(|(order, task)| (*order, *task));
        last.into_iter().chain(between).max_by_key(|(order, _)| *order)
    }

    /// The oldest task of a function that takes batches.
    pub(super) fn member(&self, batch: NonZeroU16) -> Option<(u64, Queued)> {
        let (_, order) = *self.members.range((batch, 0)..=(batch, u64::MAX)).next()?;
        Some((order, self.get(order)?))
    }

    fn get(&self, order: u64) -> Option<Queued> {
        let at = self.entries.binary_search_by_key(&order, |(order, _)| *order);
        let entry = at.ok().and_then(|at| self.entries[at].1);
        entry.or_else(|| self.between.get(&order).copied())
    }

    /// Adds a task; `false` if its place is taken.
    pub(super) fn insert(&mut self, order: u64, queued: Queued) -> bool {
        if self.between.contains_key(&order) {
            return false;
        }
        if self.entries.back().is_none_or(|(last, _)| *last < order) {
            self.entries.push_back((order, Some(queued)));
        } else if self.entries.front().is_some_and(|(first, _)| order < *first) {
            self.entries.push_front((order, Some(queued)));
        } else {
            match self.entries.binary_search_by_key(&order, |(order, _)| *order) {
                Ok(at) if self.entries[at].1.is_some() => return false,
                Ok(at) => {
                    self.entries[at].1 = Some(queued);
                    self.gaps -= 1;
                }
                Err(_) => drop(self.between.insert(order, queued)),
            }
        }
        if let Some(batch) = queued.batch {
            self.members.insert((batch, order));
        }
        self.work.add(queued);
        true
    }

    /// Takes a task out.
    pub(super) fn remove(&mut self, order: u64) -> Option<Queued> {
        let queued = self.between.remove(&order).or_else(|| self.leave(order))?;
        if let Some(batch) = queued.batch {
            self.members.remove(&(batch, order));
        }
        self.work.remove(queued);
        Some(queued)
    }

    fn leave(&mut self, order: u64) -> Option<Queued> {
        let at = match self.entries.front() {
            Some((first, _)) if *first == order => 0,
            _ => self.entries.binary_search_by_key(&order, |(order, _)| *order).ok()?,
        };
        let queued = self.entries[at].1.take()?;
        self.gaps += 1;
        while self.entries.front().is_some_and(|(_, task)| task.is_none()) {
            self.entries.pop_front();
            self.gaps -= 1;
        }
        while self.entries.back().is_some_and(|(_, task)| task.is_none()) {
            self.entries.pop_back();
            self.gaps -= 1;
        }
        if self.gaps > GAPS + self.entries.len() / 2 {
            self.entries.retain(|(_, task)| task.is_some());
            self.gaps = 0;
        }
        Some(queued)
    }
}

#[cfg(test)]
impl Line {
    pub(super) fn tasks(&self) -> impl Iterator<Item = (u64, Queued)> {
        let entries = self.entries.iter().filter_map(|(order, task)| Some((*order, (*task)?)));
        entries.chain(self.between.iter().map(|(order, task)| (*order, *task)))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::TaskId;

    fn queued(n: u64, submitted: Instant) -> Queued {
        let task: TaskId = format!("{:x}.0", n + 1).parse().unwrap();
        Queued {
            task,
            bytes: n as u32,
            submitted: submitted.into(),
            hurried: false,
            steady_ns: NonZeroU64::new(n),
            batch: NonZeroU16::new((n % 3) as u16),
        }
    }

    proptest! {
        /// Whatever comes and goes, it is as a tree would have it.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0..200_u64), 1..600)) {
            let (mut line, mut map, now) = (Line::default(), BTreeMap::new(), Instant::now());
            for (comes, order) in steps {
                if comes {
                    prop_assert_eq!(line.insert(order, queued(order, now)), !map.contains_key(&order));
                    map.insert(order, order as u32);
                } else {
                    let left = line.remove(order).map(|task| task.bytes);
                    prop_assert_eq!(left, map.remove(&order));
                }
                let ends = [line.first(), line.last()].map(|end| end.map(|(order, _)| order));
                let expected = [map.keys().next().copied(), map.keys().next_back().copied()];
                prop_assert_eq!(ends, expected);
                prop_assert_eq!((line.len(), line.is_empty()), (map.len(), map.is_empty()));
                for batch in [1, 2] {
                    let member = line.member(NonZeroU16::new(batch).unwrap());
                    let oldest = map.keys().find(|order| **order % 3 == u64::from(batch));
                    prop_assert_eq!(member.map(|(order, _)| order), oldest.copied());
                }
                prop_assert_eq!(line.work.steady_ns, map.keys().sum::<u64>());
            }
        }
    }

    #[test]
    fn tasks_that_leave_from_between_take_no_memory_for_long() {
        let (mut line, now) = (Line::default(), Instant::now());
        line.insert(0, queued(0, now));
        for order in 1..100_000 {
            line.insert(order, queued(order, now));
            if order > 1 {
                line.remove(order - 1);
            }
        }
        assert_eq!(line.len(), 2);
        assert!(line.entries.len() < 10 * GAPS, "{} entries", line.entries.len());
    }
}

//! Which numbers are to have a worker.

use std::collections::BTreeSet;

/// The numbers that are to have a worker: those below a bound, but for some where a pool is
/// elastic.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    below: usize,
    absent: BTreeSet<usize>,
}

impl Wanted {
    pub(super) fn all_below(below: usize) -> Self {
        Self { below, absent: BTreeSet::new() }
    }

    /// As many of them as before that are below another bound, and no fewer than that.
    pub(super) fn within(&self, below: usize, least: usize) -> Self {
        let absent = (0..below).filter(|number| !self.has(*number)).collect();
        let mut wanted = Self { below, absent };
        while wanted.count() < least && wanted.raise() {}
        wanted
    }

    pub(super) fn below(&self) -> usize {
        self.below
    }

    /// Those below the bound that are to have none.
    pub(super) fn absent(&self) -> &BTreeSet<usize> {
        &self.absent
    }

    pub(super) fn count(&self) -> usize {
        self.below - self.absent.len()
    }

    pub(super) fn has(&self, number: usize) -> bool {
        number < self.below && !self.absent.contains(&number)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.below).filter(|number| !self.absent.contains(number))
    }

    /// The lowest that has none is to have one; whether there is such.
    pub(super) fn raise(&mut self) -> bool {
        self.absent.pop_first().is_some()
    }

    /// One is to have none any more.
    pub(super) fn give_up(&mut self, number: usize) {
        if number < self.below {
            self.absent.insert(number);
        }
    }
}

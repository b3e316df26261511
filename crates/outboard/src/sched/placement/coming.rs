//! Workers that were ordered and have no slot yet, for the forecast.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Placement;

/// When they were ordered, and how long that takes.
#[derive(Debug, Default)]
pub(super) struct Coming {
    ordered: VecDeque<Instant>,
    takes: Option<Duration>,
}

impl Coming {
    /// Until each is expected to be up, in nanoseconds; nothing while that is not known. Where
    /// `none_up`, and none was ordered, one is now.
    pub(super) fn left(&self, none_up: bool, now: Instant) -> impl Iterator<Item = f64> {
        let ordered = self.takes.map(|takes| (takes, self.ordered.iter()));
        let left = ordered.into_iter().flat_map(move |(takes, ordered)| {
            // As for a steady function: what is overdue takes as long again.
            ordered.map(move |at| takes.abs_diff(now.saturating_duration_since(*at)))
        });
        let first = self.takes.filter(|_| none_up && self.ordered.is_empty());
        left.chain(first).map(|left| left.as_nanos() as f64)
    }
}

impl Placement {
    /// So many workers are on their way, and each takes so long, where that is known.
    pub(crate) fn expects(&mut self, coming: usize, takes: Option<Duration>, now: Instant) {
        let Coming { ordered, .. } = &mut self.coming;
        // The first that was ordered came first.
        ordered.drain(..ordered.len().saturating_sub(coming));
        ordered.resize(coming, now);
        self.coming.takes = takes;
    }

    /// Until the first worker is expected to be up, where none is and that is known.
    pub(crate) fn until_the_first(&self, now: Instant) -> Option<Duration> {
        let left = self.coming.left(true, now).filter(|_| self.up == 0);
        left.reduce(f64::min).map(|ns| Duration::from_nanos(ns as u64))
    }
}

//! How many durations were how long: fixed buckets, each twice as wide as the
//! one before.
//!
//! Chosen over a high-dynamic-range histogram because one is kept for each task
//! function and written to under the gate's mutex: 264 bytes that never grow, an
//! increment at an index that two instructions give, and bounds that are the
//! same in every process, so that a monitoring system can add them up. The price
//! is that a quantile is only known to a factor of two, or 1.41 around the middle.

use std::time::Duration;

/// Buckets with a bound: 2^0 to 2^31 µs, which is 36 minutes.
const BOUNDED: usize = 32;

/// How many durations were how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Counts,
}

/// The counts, the last one of what is longer than all bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts([u64; BOUNDED + 1]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; BOUNDED + 1])
    }
}

impl Counts {
    pub(crate) fn add(&mut self, ns: u64) {
        self.0[bucket(ns)] += 1;
    }
}

impl From<Counts> for Histogram {
    fn from(counts: Counts) -> Self {
        Self { counts }
    }
}

/// The first bucket whose bound, 2^index µs, is not less.
fn bucket(ns: u64) -> usize {
    let whole_us = ns.saturating_sub(1) / 1_000;
    let index = (u64::BITS - whole_us.leading_zeros()) as usize;
    index.min(BOUNDED)
}

fn bound(index: usize) -> Duration {
    Duration::from_micros(1 << index)
}

impl Histogram {
    /// The buckets, shortest first: a bound, and how many durations were no
    /// longer than it and longer than the bound before. Bounds are 1 µs, 2 µs, 4 µs
    /// and so on up to 36 minutes.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.counts.0[..BOUNDED].iter().enumerate().map(|(index, count)| (bound(index), *count))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.0.iter_mut().zip(other.counts.0).for_each(|(one, other)| *one += other);
    }

    /// How many durations were longer than all bounds.
    pub fn above(&self) -> u64 {
        self.counts.0[BOUNDED]
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.0.iter().sum()
    }

    /// The bound that a part of all durations, from 0 to 1, did not exceed: for
    /// 0.99 the 99th percentile, at most twice too long. `None` if there are no
    /// durations; the longest bound also stands for what is longer.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((part.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut sum = 0;
        let at = self.counts.0.iter().position(|bucket| {
            sum += bucket;
            sum >= rank
        });
        at.map(|index| bound(index.min(BOUNDED - 1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: impl IntoIterator<Item = Duration>) -> Histogram {
        let mut counts = Counts::default();
        times.into_iter().for_each(|time| counts.add(time.as_nanos() as u64));
        counts.into()
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let us = Duration::from_micros;
        let ns = Duration::from_nanos;
        let times = [ns(0), us(1), ns(1_001), us(2), ns(2_001), us(1 << 31), us((1 << 31) + 1)];
        let histogram = of(times);
        let counts: Vec<_> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts[..4], [2, 2, 1, 0]);
        assert_eq!((counts[31], histogram.above(), histogram.count()), (1, 1, 7));
        assert_eq!(histogram.buckets().last().map(|(bound, _)| bound), Some(us(1 << 31)));
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_twice_too_long(
            mut ns in prop::collection::vec(1_000..1_000_000_000_u64, 1..200),
            part in 0.0..=1.0_f64,
        ) {
            let histogram = of(ns.iter().copied().map(Duration::from_nanos));
            ns.sort_unstable();
            let rank = ((part * ns.len() as f64).ceil() as usize).max(1);
            let exact = Duration::from_nanos(ns[rank - 1]);
            let said = histogram.quantile(part).expect("there are some");
            prop_assert!(said >= exact && said <= 2 * exact, "{said:?} for {exact:?}");
        }
    }
}

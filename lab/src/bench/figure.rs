//! One figure: the median of several, and how far they lie apart.

use serde::{Serialize, Serializer};

/// A median and the quartiles on both sides of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) spread: Spread,
}

/// The quartiles: half of all figures lie between them. In JSON `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Figure {
    /// A figure that does not vary: a limit, a size.
    pub(super) fn exactly(value: f64) -> Self {
        Self { median: value, spread: Spread { low: value, high: value } }
    }

    /// # Panics
    ///
    /// If there are none.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |share| percentile_of_sorted(&values, share);
        Self { median: at(0.5), spread: Spread { low: at(0.25), high: at(0.75) } }
    }
}

impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.low, self.high).serialize(serializer)
    }
}

/// The value that so large a share of all values does not exceed, by nearest rank.
///
/// # Panics
///
/// If there are no values.
pub(super) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    percentile_of_sorted(&sorted, share)
}

fn percentile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.saturating_sub(1)]
}

#[cfg(test)]
mod tests {
    use super::{Figure, Spread, percentile};

    #[test]
    fn a_figure_is_the_median_between_its_quartiles() {
        let figure = Figure::of(vec![8.0, 1.0, 7.0, 2.0, 6.0, 3.0, 5.0, 4.0]);
        assert_eq!(figure.median, 4.0);
        assert_eq!(figure.spread, Spread { low: 2.0, high: 6.0 });
        assert_eq!(Figure::of(vec![3.0]), Figure::exactly(3.0));
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let two_hundred: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&two_hundred, 0.99), 198.0);
        assert_eq!(percentile(&two_hundred, 0.5), 100.0);
        assert_eq!(percentile(&[4.0], 0.99), 4.0);
    }
}

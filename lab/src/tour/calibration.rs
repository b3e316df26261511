//! The n that keeps this machine busy for as long as the notebook's n kept Python.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::notebook;
use crate::{figure, tasks};

/// fib(n + 1) takes this many times as long as fib(n): the golden ratio, as
/// the number of calls grows as the result does.
const STEP: f64 = 1.618_033_988_749_895;

/// A run of this length is measured well enough to tell longer ones from it.
const LONG_ENOUGH: Duration = Duration::from_millis(30);

/// The quickest of so many runs is the one that nothing disturbed.
const TRIES: usize = 3;

/// What equal work is on this machine.
#[derive(Debug, Serialize)]
pub(crate) struct Calibration {
    /// The share of the notebook's work that equal work is: 1 unless `--quick`.
    pub(crate) share: f64,
    /// For the notebook's fib(28).
    pub(crate) short: Equal,
    /// For the notebook's fib(35).
    pub(crate) long: Equal,
}

/// The n that stands in for one of the notebook's.
#[derive(Debug, Serialize)]
pub(crate) struct Equal {
    pub(crate) notebook_n: u64,
    notebook_seconds: f64,
    pub(crate) n: u64,
    /// How long fib(n) takes this machine, told from a shorter run.
    pub(crate) seconds: f64,
}

impl Calibration {
    /// Times fib here and finds both n.
    pub(crate) fn find(share: f64) -> Self {
        let (n, seconds) = measured();
        let equal = |notebook_n, notebook_seconds| {
            let (n, seconds) = nearest(n, seconds, share * notebook_seconds);
            Equal { notebook_n, notebook_seconds, n, seconds }
        };
        Self {
            share,
            short: equal(notebook::SHORT_N, notebook::SHORT_SECONDS),
            long: equal(notebook::LONG_N, notebook::LONG_SECONDS),
        }
    }
}

impl Calibration {
    /// About how many seconds fib(n) takes here.
    pub(crate) fn seconds(&self, n: u64) -> f64 {
        self.long.seconds * STEP.powf(n as f64 - self.long.n as f64)
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Calibration")?;
        writeln!(f, "  {}", self.short)?;
        write!(f, "  {}", self.long)?;
        if self.share < 1.0 {
            let percent = self.share * 100.0;
            write!(f, "\n  --quick: equal work is {percent:.0} % of what the notebook did")?;
        }
        Ok(())
    }
}

impl fmt::Display for Equal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (here, there) = (figure::time(self.seconds), figure::time(self.notebook_seconds));
        write!(
            f,
            "fib({}) takes {here} here; fib({}) took the notebook's Python {there}",
            self.n, self.notebook_n
        )
    }
}

/// The n whose fib takes about so long here.
pub(crate) fn n_that_takes(time: Duration) -> u64 {
    let (n, seconds) = measured();
    nearest(n, seconds, time.as_secs_f64()).0
}

/// An n whose fib takes long enough to be timed, and the time.
fn measured() -> (u64, f64) {
    let mut n = 20;
    loop {
        let quickest = (0..TRIES).map(|_| timed(n)).min().unwrap_or_default();
        if quickest >= LONG_ENOUGH || n == tasks::LARGEST_N {
            return (n, quickest.as_secs_f64());
        }
        n += 1;
    }
}

fn timed(n: u64) -> Duration {
    let start = Instant::now();
    black_box(tasks::fib(black_box(n)));
    start.elapsed()
}

/// The n whose time is nearest to the target, in proportion, when fib(`n`)
/// takes `seconds`; and its time.
fn nearest(n: u64, seconds: f64, target: f64) -> (u64, f64) {
    let steps = (target / seconds).log(STEP).round();
    let equal = (n as f64 + steps).clamp(1.0, tasks::LARGEST_N as f64);
    (equal as u64, seconds * STEP.powf(equal - n as f64))
}

#[cfg(test)]
mod tests {
    use super::{STEP, nearest};

    #[test]
    fn the_nearest_n_is_at_most_half_a_step_away() {
        for (n, seconds, target) in [(33, 0.03, 0.111), (33, 0.03, 3.21), (38, 0.05, 0.022)] {
            let (equal, predicted) = nearest(n, seconds, target);
            let off = (predicted / target).log(STEP).abs();
            assert!(off <= 0.5 + 1e-9, "fib({equal}) is {off} steps off {target} s");
        }
        assert_eq!(nearest(30, 0.111, 0.111), (30, 0.111));
    }

    #[test]
    fn no_machine_is_too_slow_or_too_fast_for_an_answer() {
        assert_eq!(nearest(20, 1e9, 0.1).0, 1);
        assert_eq!(nearest(93, 1e-9, 3.0).0, 93);
    }
}

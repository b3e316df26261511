//! What a visitor may ask for: nothing that keeps the others waiting long.

use std::ops::RangeInclusive;

use serde::Serialize;

use crate::figure;
use crate::tour::{Calibration, Choice};

/// How long the computations of one experiment may take one core, in seconds.
const MOST_SECONDS: f64 = 12.0;

/// How many steps of n beyond the long computation may be asked for.
const STEPS_BEYOND: u64 = 1;

/// What the page has to know of this machine's speed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Known {
    /// The n that takes this machine as long as fib(28) took the notebook's.
    pub(super) short_n: u64,
    /// The n that takes this machine as long as fib(35) took the notebook's.
    pub(super) long_n: u64,
    /// How long that takes here.
    long_seconds: f64,
    /// The largest n that may be asked for.
    most_n: u64,
    /// How many seconds a core may compute for one experiment.
    most_seconds: f64,
}

impl Known {
    pub(super) fn new(calibration: &Calibration) -> Self {
        Self {
            short_n: calibration.short.n,
            long_n: calibration.long.n,
            long_seconds: calibration.long.seconds,
            most_n: calibration.long.n + STEPS_BEYOND,
            most_seconds: MOST_SECONDS,
        }
    }
}

/// How many requests an experiment may have.
pub(super) fn requests(experiment: Choice) -> RangeInclusive<usize> {
    match experiment {
        Choice::Fast | Choice::Fib => 1..=100,
        Choice::Parallel => 2..=40,
        Choice::Behind => 1..=1,
        Choice::Roundtrip => 100..=3000,
    }
}

/// Says in a sentence what is too much, if anything is.
pub(super) fn check(
    calibration: &Calibration,
    experiment: Choice,
    n: u64,
    asked: usize,
) -> Result<(), String> {
    let allowed = requests(experiment);
    if !allowed.contains(&asked) {
        let (least, most) = (allowed.start(), allowed.end());
        return Err(format!("this experiment has {least} to {most} requests, not {asked}"));
    }
    if matches!(experiment, Choice::Fast | Choice::Roundtrip) {
        return Ok(());
    }
    let most = calibration.long.n + STEPS_BEYOND;
    if n > most {
        return Err(format!("the largest n here is {most}: fib({n}) would take too long"));
    }
    let seconds = calibration.seconds(n) * asked as f64;
    if seconds > MOST_SECONDS {
        let (time, most) = (figure::time(seconds), figure::time(MOST_SECONDS));
        return Err(format!(
            "{asked} × fib({n}) would keep a core busy for {time}: {most} is the most here"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tour::{Calibration, Choice};

    #[test]
    fn what_would_keep_others_waiting_is_refused_with_a_sentence() {
        let calibration = Calibration::find(0.1);
        let (short, long) = (calibration.short.n, calibration.long.n);
        let check = |experiment, n, requests| check(&calibration, experiment, n, requests);
        assert_eq!(check(Choice::Fib, short, 100), Ok(()));
        assert_eq!(check(Choice::Behind, long, 1), Ok(()));
        assert_eq!(check(Choice::Fast, 93, 100), Ok(()), "n is not looked at");
        let sentence = |result: Result<(), String>| result.expect_err("it is too much");
        assert!(sentence(check(Choice::Fib, long + 2, 1)).contains("largest n"));
        assert!(sentence(check(Choice::Fib, long, 100)).contains("keep a core busy"));
        for requests in [0, 101, usize::MAX] {
            assert!(sentence(check(Choice::Fast, 0, requests)).contains("1 to 100 requests"));
        }
        assert!(sentence(check(Choice::Behind, 0, 2)).contains("1 to 1"));
    }
}

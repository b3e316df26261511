//! Which number keeps this machine busy for so long.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tasks::fib;

/// fib(n + 1) takes this many times as long as fib(n): the golden ratio.
const STEP: f64 = 1.618_033_988_749_895;

/// A run of this length tells how long others are.
const LONG_ENOUGH: Duration = Duration::from_millis(30);

/// The n whose fib takes about so long here.
pub fn n_that_takes(time: Duration) -> u64 {
    let (mut n, mut took) = (25, Duration::ZERO);
    while took < LONG_ENOUGH {
        n += 1;
        // The quickest is the one that nothing disturbed.
        took = (0..3).map(|_| timed(n)).min().unwrap_or_default();
    }
    let steps = (time.as_secs_f64() / took.as_secs_f64()).log(STEP).round();
    (n as f64 + steps) as u64
}

fn timed(n: u64) -> Duration {
    let start = Instant::now();
    black_box(fib(black_box(n)));
    start.elapsed()
}

//! Work of a known length.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How much work the length is found by.
const SAMPLE_ROUNDS: u64 = 1 << 22;

/// Keeps a core busy for so many rounds, whatever else the machine does.
#[outboard::task]
pub(super) fn work(rounds: u64) -> u64 {
    (0..rounds).fold(rounds, |sum, _| black_box(sum.wrapping_mul(6364136223846793005) + 1))
}

/// Computes until nobody wants it any more, and asks every millisecond.
#[outboard::task]
pub(super) fn wait_until_cancelled() {
    while !outboard::cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many rounds take so long on a core that is free.
pub(super) fn rounds_of(time: Duration) -> u64 {
    let sample = || {
        let start = Instant::now();
        black_box(work(SAMPLE_ROUNDS));
        start.elapsed().as_secs_f64()
    };
    let quickest = (0..5).map(|_| sample()).fold(f64::INFINITY, f64::min);
    (SAMPLE_ROUNDS as f64 * time.as_secs_f64() / quickest) as u64
}

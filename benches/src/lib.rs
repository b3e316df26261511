//! What the micro-benchmarks share.

use std::time::Duration;

/// A task that does nothing, so that only what surrounds a task is measured.
#[outboard::task]
pub fn nothing(n: u64) -> u64 {
    n
}

/// The CPU time of this process so far.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

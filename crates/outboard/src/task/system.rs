//! What the system says of time and memory.

use rustix::time::{ClockId, clock_gettime};

/// What a worker has of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident_bytes: u64,
    /// Of that, what is neither of a file nor shared.
    pub(crate) own_bytes: u64,
}

/// A clock, in nanoseconds.
pub(crate) fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The `statm` file of this process.
pub(crate) const OWN: &str = "/proc/self/statm";

/// What a `statm` file says (proc_pid_statm(5), fields 2 and 3).
pub(crate) fn memory(statm: &str) -> Option<Memory> {
    let text = std::fs::read_to_string(statm).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = rustix::param::page_size() as u64;
    let own_bytes = resident.saturating_sub(shared) * page;
    Some(Memory { resident_bytes: resident * page, own_bytes })
}

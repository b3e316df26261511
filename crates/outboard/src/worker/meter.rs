//! What a task took: time, CPU time, memory.

use rustix::time::{ClockId, clock_gettime};

use crate::current::InWorker;
use crate::shared::Page;
use crate::wire::Usage;

/// How long a task has to run for its memory to be measured: that reads a file.
const MEASURED_NS: u64 = 1_000_000;

/// Which tasks' memory is measured however short they are: tasks may leak.
const MEASURED_EVERY: u64 = 1024;

/// Measures one task.
pub(super) struct Meter {
    start_ns: u64,
    cpu_ns: u64,
}

impl Meter {
    pub(super) fn start(current: &InWorker) -> Self {
        let start_ns = now_ns(ClockId::Monotonic);
        let cpu_ns = current.cpu_ns(start_ns);
        current.page.set_running_since(start_ns, cpu_ns);
        Self { start_ns, cpu_ns }
    }

    pub(super) fn stop(self, page: &Page, seq: u64) -> Usage {
        let run_ns = now_ns(ClockId::Monotonic) - self.start_ns;
        if run_ns < MEASURED_NS && !seq.is_multiple_of(MEASURED_EVERY) {
            return Usage { run_ns, ..Usage::default() };
        }
        let memory_bytes = memory_bytes();
        page.set_memory_bytes(memory_bytes.unwrap_or(0));
        let cpu_ns = Some(now_ns(ClockId::ProcessCPUTime) - self.cpu_ns);
        Usage { run_ns, cpu_ns, memory_bytes, ..Usage::default() }
    }
}

/// A clock, in nanoseconds.
pub(crate) fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// This process's resident memory.
pub(super) fn memory_bytes() -> Option<u64> {
    resident_bytes("/proc/self/statm")
}

/// The second number of a `statm` file, in bytes.
pub(crate) fn resident_bytes(statm: &str) -> Option<u64> {
    let text = std::fs::read_to_string(statm).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

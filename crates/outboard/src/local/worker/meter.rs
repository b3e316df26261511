//! What a task took: time, CPU time, memory.

use rustix::time::ClockId;

use super::current::InWorker;
use crate::local::shm::page::Page;
use crate::os::usage;
use crate::task::outcome::Usage;
use crate::task::system::now_ns;

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
        let memory = usage::own_memory();
        page.set_memory(memory.unwrap_or_default());
        let memory_bytes = memory.map(|memory| memory.resident_bytes);
        let cpu_ns = Some(now_ns(ClockId::ProcessCPUTime) - self.cpu_ns);
        // No less than there is now: the system counts in two ways.
        let peak_bytes = usage::take_peak_bytes().map(|peak| peak.max(memory_bytes.unwrap_or(0)));
        Usage { run_ns, cpu_ns, memory_bytes, peak_bytes, ..Usage::default() }
    }
}

//! What a task took: time, CPU time, memory.

use rustix::time::{ClockId, clock_gettime};

use crate::current::InWorker;
use crate::shared::{Memory, Page};
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
        let memory = memory(OWN);
        page.set_memory(memory.unwrap_or_default());
        let memory_bytes = memory.map(|memory| memory.resident_bytes);
        let cpu_ns = Some(now_ns(ClockId::ProcessCPUTime) - self.cpu_ns);
        Usage { run_ns, cpu_ns, memory_bytes, ..Usage::default() }
    }
}

/// A clock, in nanoseconds.
pub(crate) fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The `statm` file of this process.
pub(super) const OWN: &str = "/proc/self/statm";

/// What a `statm` file says (proc_pid_statm(5), fields 2 and 3).
pub(crate) fn memory(statm: &str) -> Option<Memory> {
    let text = std::fs::read_to_string(statm).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = rustix::param::page_size() as u64;
    let own_bytes = resident.saturating_sub(shared) * page;
    Some(Memory { resident_bytes: resident * page, own_bytes })
}

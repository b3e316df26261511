//! What the system says of time and memory, and what it refuses.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

/// What a worker has of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident_bytes: u64,
    /// Of that, what is neither of a file nor shared.
    pub(crate) own_bytes: u64,
}

/// An error that names the call which the system refused, and what to do about it.
pub(crate) fn refused(call: &str, error: impl Into<io::Error>) -> io::Error {
    let error: io::Error = error.into();
    let advice = match Errno::from_io_error(&error) {
        Some(Errno::PERM | Errno::NOSYS | Errno::ACCESS) => {
            "; a seccomp profile, the container or an old kernel refuses it: allow it there"
        }
        Some(Errno::MFILE) => "; raise the limit of open files (`ulimit -n`, `LimitNOFILE=`)",
        Some(Errno::NFILE) => "; the machine has too many files open (`fs.file-max`)",
        Some(Errno::AGAIN) => {
            "; raise the limit of processes (`ulimit -u`, `TasksMax=`, `pids.max`)"
        }
        Some(Errno::NOMEM) => {
            "; there is no memory, or a limit of address space: raise it (`ulimit -v`, `LimitAS=`)"
        }
        Some(Errno::NOENT) => "; it has to be mounted or made there",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{call}: {error}{advice}"))
}

/// A clock, in nanoseconds.
pub(crate) fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The `statm` file of this process.
pub(crate) const OWN: &str = "/proc/self/statm";

/// The most resident memory of this process since this was asked last, in bytes; `None` if
/// the system does not tell.
pub(crate) fn take_peak_bytes() -> Option<u64> {
    /// The last one, where the system could not begin to count anew.
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    let peak = kib * 1024;
    // proc_pid_clear_refs(5)
    let anew = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = BEFORE.swap(if anew { 0 } else { peak }, Relaxed);
    (peak > before).then_some(peak)
}

/// What a `statm` file says (proc_pid_statm(5), fields 2 and 3).
pub(crate) fn memory(statm: &str) -> Option<Memory> {
    let text = std::fs::read_to_string(statm).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = rustix::param::page_size() as u64;
    let own_bytes = resident.saturating_sub(shared) * page;
    Some(Memory { resident_bytes: resident * page, own_bytes })
}

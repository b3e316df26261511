//! What the system says of time and memory, and what it refuses.

use std::io;

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

/// What a `statm` file says (proc_pid_statm(5), fields 2 and 3).
pub(crate) fn memory(statm: &str) -> Option<Memory> {
    let text = std::fs::read_to_string(statm).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = rustix::param::page_size() as u64;
    let own_bytes = resident.saturating_sub(shared) * page;
    Some(Memory { resident_bytes: resident * page, own_bytes })
}

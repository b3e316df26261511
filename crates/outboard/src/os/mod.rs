//! What the library asks of the system in a way that differs between systems: worker
//! processes, the memory that they share, and what they use.
//!
//! `linux` has what only Linux offers: descriptors of processes, sealed memory, signals at a
//! parent's end, `/proc`. `portable` has the same functions by what every Unix has. It serves
//! macOS and FreeBSD, and Linux where a build has `--cfg outboard_portable`, so that the
//! tests run it.

#[cfg(all(target_os = "linux", not(outboard_portable)))]
mod linux;
#[cfg(all(target_os = "linux", not(outboard_portable)))]
pub(crate) use linux::{adopted, memory, process, usage};

#[cfg(not(all(target_os = "linux", not(outboard_portable))))]
mod portable;
#[cfg(not(all(target_os = "linux", not(outboard_portable))))]
pub(crate) use portable::{adopted, memory, process, usage};

/// Bells, where the system has them.
pub(crate) mod bell;
/// Sockets: the same calls everywhere, with other flags.
pub(crate) mod socket;

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

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

/// Refuses a file in memory that a limit of this process forbids, which it would be killed
/// for (SIGXFSZ) otherwise.
pub(crate) fn within_limit(bytes: usize) -> io::Result<()> {
    within(getrlimit(Resource::Fsize).current, bytes)
}

fn within(limit: Option<u64>, bytes: usize) -> io::Result<()> {
    match limit {
        Some(limit) if bytes as u64 > limit => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "a file in memory of {bytes} bytes exceeds the limit of file sizes, which is \
                 {limit}: raise it (`ulimit -f`, `LimitFSIZE=`)"
            ),
        )),
        _ => Ok(()),
    }
}

/// The most resident memory, which systems count in KiB, and Apple's in bytes.
pub(crate) fn peak_of(usage: &libc::rusage) -> u64 {
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit
}

/// What a process has of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident_bytes: u64,
    /// Of that, what is neither of a file nor shared.
    pub(crate) own_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_file_sizes_is_named() {
        assert!(within(None, usize::MAX).is_ok() && within(Some(9), 9).is_ok());
        let error = within(Some(9), 10).unwrap_err().to_string();
        assert!(error.contains("of 10 bytes") && error.contains("LimitFSIZE"), "{error}");
    }
}

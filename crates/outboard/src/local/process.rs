//! System calls about processes that no safe crate offers. They are what a worker does to
//! itself at its start, how the server reaps it, and what it watches a worker's socket for.
//!
//! `end` has how a worker ends with its server. `signals` and `environment` have what else
//! of a process can be set back, and `reaping` what the server adopts. `every_thread` has
//! what the system does for one thread only.

#![expect(unsafe_code, reason = "this module owns the raw system calls about processes")]

pub(crate) mod end;
pub(crate) mod environment;
#[cfg(feature = "sandbox")]
pub(crate) mod every_thread;
pub(super) mod reaping;
pub(crate) mod signals;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use libc::c_int;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Closes everything that was inherited beyond stdin, stdout and stderr.
///
/// A descriptor that is not marked close-on-exec leaks into every child, and a
/// worker must not hold the server's listening socket open. What Rust opened in
/// this process is marked, and stays: it did not come through the exec.
pub(crate) fn close_inherited() {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<c_int> =
        listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: F_GETFD takes no pointer; on a descriptor that is not open,
        // such as that of the listing itself, it only fails.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: an unmarked descriptor was inherited through the exec of
            // this process, whose code so far opened only marked ones; so no
            // owner of it exists here.
            unsafe { libc::close(fd) };
        }
    }
}

/// A descriptor that is watched for something.
pub(super) type Watched<T> = AsyncFd<Arc<T>>;

/// What owns the one descriptor that it has, for as long as it lives.
pub(super) trait Owning: AsRawFd {}

impl Owning for OwnedFd {}
impl Owning for UnixStream {}

/// CPU time that the threads of a process have used, or have waited for. On a machine that
/// is busy, one that computes has little of it. `None` if the process is not there.
pub(super) fn wanted_cpu_ns(pid: u32) -> Option<u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let wanted = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        // How long it ran, and how long it waited to run.
        let mut ns = text.split_ascii_whitespace().map(str::parse::<u64>);
        Some(ns.next()?.ok()? + ns.next()?.ok()?)
    });
    // Not every kernel says it.
    Some(wanted.sum()).filter(|ns| *ns > 0).or_else(|| cpu_ns(pid))
}

/// CPU time that a process has used; `None` if it is not there.
fn cpu_ns(pid: u32) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the pointer is to a live value of the right type.
    if unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above. The process may have ended meanwhile: then the call fails.
    let known = unsafe { libc::clock_gettime(clock, &mut time) } == 0;
    known.then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Has the current runtime watch a descriptor, for one interest only. tokio's own socket
/// always has both, and then each task that a worker reads wakes this process, for there is
/// room again.
pub(super) fn watch<T: Owning>(owner: Arc<T>, interest: Interest) -> io::Result<Watched<T>> {
    // SAFETY: both types of [`Owning`] own their descriptor, which stays open, and the same
    // one, for as long as they live; the value keeps it alive, and never gives up or
    // replaces it.
    Ok(unsafe { AsyncFd::register_with_interest(owner, interest)? })
}

/// Whether a thread of a process waits for something; `false` if it is not there.
pub(super) fn is_asleep(pid: u32, thread: u32) -> bool {
    let fields = stat(&format!("/proc/{pid}/task/{thread}/stat"));
    fields.is_some_and(|fields| fields.starts_with('S'))
}

/// Whether a thread has ended without its process. The first one stays as a zombie.
pub(super) fn is_over(pid: u32, thread: u32) -> bool {
    match stat(&format!("/proc/{pid}/task/{thread}/stat")) {
        Some(fields) => fields.starts_with(['Z', 'X']),
        // Of a process that is not to be seen, its threads are not either.
        None => state(pid).is_some(),
    }
}

/// What the first thread of a process does, as a letter (proc_pid_stat(5)).
pub(super) fn state(pid: u32) -> Option<char> {
    stat(&format!("/proc/{pid}/stat"))?.chars().next()
}

/// Whether a process is on its way out, by whatever; `None` if that is not known.
pub(super) fn is_exiting(pid: u32) -> Option<bool> {
    /// `PF_EXITING` of the kernel's flags, which are the 7th field from the state on.
    const EXITING: u64 = 0x4;
    let fields = stat(&format!("/proc/{pid}/stat"))?;
    let flags = fields.split_ascii_whitespace().nth(6)?.parse::<u64>().ok()?;
    Some(flags & EXITING != 0)
}

/// The fields of a `stat` file from the state on.
fn stat(file: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    // The name before it is in brackets, and may hold anything.
    text.rsplit_once(')').map(|(_, fields)| fields.trim_start().to_owned())
}

/// Has something called on each thread of this process that is about to fork, before it
/// does. This goes through the C library, for which `posix_spawn` and `vfork` are no forks.
pub(crate) fn before_forks(call: extern "C" fn()) {
    // SAFETY: the function is code of this program, which stays. Without memory for that
    // the library does without, and so do we: a child then has nothing of what is shared.
    unsafe { libc::pthread_atfork(Some(call as unsafe extern "C" fn()), None, None) };
}

/// How a process ended, and what it used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    pub(super) status: Option<ExitStatus>,
    /// The most memory that it had resident, as the system counts.
    resident_bytes: u64,
    /// CPU time of its whole life.
    pub(super) cpu_ns: Option<u64>,
}

impl Reaped {
    /// The most memory that it had resident, if that is its own. The kernel starts a
    /// child's count with the peak of the process that started it, so one that is no higher
    /// says nothing. Reads a file.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let own: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        (self.resident_bytes > own * 1024).then_some(self.resident_bytes)
    }
}

/// Reaps a child that has ended; `None` if it has not.
///
/// `pid` must be a child that was not reaped before. A child that someone else
/// has reaped (a program that ignores SIGCHLD) counts as ended, without status.
pub(super) fn reap(pid: u32) -> Option<Reaped> {
    let mut status: c_int = 0;
    // SAFETY: an all-zero rusage is a valid value: it consists of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types.
    let result = unsafe { libc::wait4(pid as c_int, &mut status, libc::WNOHANG, &mut usage) };
    match result {
        0 => None,
        -1 => Some(Reaped { status: None, resident_bytes: 0, cpu_ns: None }),
        _ => {
            let status = Some(ExitStatus::from_raw(status));
            let cpu_ns = Some(ns(usage.ru_utime) + ns(usage.ru_stime));
            Some(Reaped { status, resident_bytes: kib(&usage), cpu_ns })
        }
    }
}

fn ns(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000
}

fn kib(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

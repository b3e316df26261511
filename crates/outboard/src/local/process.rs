//! System calls about processes that no safe crate offers. They are what a worker does to
//! itself at its start, how the server reaps it, and what it watches a worker's socket for.
//!
//! `end` has how a worker ends with its server. `signals` and `environment` have what else
//! of a process can be set back, and `reaping` what the server adopts. `every_thread` has
//! what the system does for one thread only.

#![expect(unsafe_code, reason = "this module owns the raw system calls about processes")]

pub(crate) mod end;
pub(crate) mod environment;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
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

use crate::os::{peak_of, process as system, usage};

/// Closes everything that was inherited beyond stdin, stdout and stderr.
///
/// A descriptor that is not marked close-on-exec leaks into every child, and a
/// worker must not hold the server's listening socket open. What Rust opened in
/// this process is marked, and stays: it did not come through the exec.
pub(crate) fn close_inherited() {
    for fd in system::descriptors().into_iter().filter(|fd| *fd > 2) {
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
impl Owning for system::Handle {}
impl Owning for UnixStream {}

/// Has the current runtime watch a descriptor, for one interest only. tokio's own socket
/// always has both, and then each task that a worker reads wakes this process, for there is
/// room again.
pub(super) fn watch<T: Owning>(owner: Arc<T>, interest: Interest) -> io::Result<Watched<T>> {
    // SAFETY: all types of [`Owning`] own their descriptor, which stays open, and the same
    // one, for as long as they live; the value keeps it alive, and never gives up or
    // replaces it.
    Ok(unsafe { AsyncFd::register_with_interest(owner, interest)? })
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
    /// The most memory that it had resident, if that is its own. Linux starts a
    /// child's count with the peak of the process that started it, so one that is no higher
    /// says nothing. Reads a file.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        (self.resident_bytes > usage::peak_bytes()?).then_some(self.resident_bytes)
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
            Some(Reaped { status, resident_bytes: peak_of(&usage), cpu_ns })
        }
    }
}

fn ns(time: libc::timeval) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

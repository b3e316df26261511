//! System calls about processes that no safe crate offers: what a worker does
//! to itself at its start, and how the server reaps it.

#![expect(unsafe_code, reason = "this module owns the raw system calls about processes")]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use libc::{c_int, c_uint};

/// Closes everything that was inherited beyond stdin, stdout and stderr.
///
/// Must run before this process opened anything of its own; a descriptor that
/// is not marked close-on-exec leaks into every child otherwise, and a worker
/// must not hold the server's listening socket open.
pub(crate) fn close_inherited() {
    let (first, last): (c_uint, c_uint) = (3, c_uint::MAX);
    // SAFETY: called at the very start of `init`, before any descriptor that
    // Rust code of this process owns was opened; what is closed was inherited
    // and is known to nobody here.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0 as c_uint) };
    if closed != 0 {
        close_each();
    }
}

/// As `close_inherited`, for kernels before 5.9.
fn close_each() {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<c_int> =
        listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // SAFETY: as above; the descriptor of the listing itself was closed
        // when the iterator was dropped, and closing it again is an error
        // without effect, as nothing was opened in between.
        unsafe { libc::close(fd) };
    }
}

/// Has the whole process group of this worker killed when its parent ends.
///
/// The signal is handled, not SIGKILL itself, so that processes which a task
/// started die too. If this worker is stopped when its parent dies, the kernel
/// hangs up and continues its group, which then is orphaned, and that ends it.
///
/// # Errors
///
/// The system's; the signal is then not armed.
pub(crate) fn die_with_parent() -> io::Result<()> {
    let signal = libc::SIGRTMIN() + 11;
    // SAFETY: an all-zero sigaction is a valid value: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = kill_own_group as extern "C" fn(c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: the handler only calls `kill`, which is async-signal-safe, and
    // `action` outlives the call.
    check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) })?;
    // SAFETY: PR_SET_PDEATHSIG takes one integer and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) })
}

extern "C" fn kill_own_group(_: c_int) {
    // SAFETY: `kill` takes integers only, and 0 is the caller's own group.
    unsafe { libc::kill(0, libc::SIGKILL) };
}

/// How a process ended, and the most memory that it had resident.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    pub(super) status: Option<ExitStatus>,
    pub(super) peak_bytes: Option<u64>,
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
        -1 => Some(Reaped { status: None, peak_bytes: None }),
        _ => {
            let status = Some(ExitStatus::from_raw(status));
            Some(Reaped { status, peak_bytes: peak(kib(&usage)) })
        }
    }
}

/// A child's peak, if it is its own: the kernel starts a child's count with the
/// memory of the process that started it, so a lower one says nothing.
fn peak(child_bytes: u64) -> Option<u64> {
    // SAFETY: as in `reap`.
    let mut own: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut own) };
    (child_bytes > kib(&own)).then_some(child_bytes)
}

fn kib(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}

fn check(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! The end of a worker with its server, and of its process group with it.

#![expect(unsafe_code, reason = "signal actions are raw system calls")]

use std::io;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;

use libc::{c_int, pid_t};

use super::check;
use crate::os::process::{parents_end, signal_parents_end};

/// This process, which leads its group, and its parent. Both are 0 until
/// [`die_with_parent`]; a signal handler reads them.
static OWN: AtomicI32 = AtomicI32::new(0);
static PARENT: AtomicI32 = AtomicI32::new(0);

/// What asks a process to end, or to read its settings or open its logs anew. It comes to a
/// whole control group, session or terminal, so to workers as well.
const REQUESTS: [c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// Has the whole process group of this worker killed when its parent ends, where the
/// system sends a signal then.
///
/// The signal is handled, not SIGKILL itself, so that processes which a task started die
/// too. The system forgets it when the process changes its user, and a task may block it. A
/// thread that [looks for the end itself](parent_has_ended) is the second way. If this
/// worker is stopped when its parent dies, its group is orphaned, and the kernel hangs up
/// and continues it, which ends it. Where a subreaper adopts it that keeps the group from
/// being orphaned, it stays until it is continued.
///
/// # Errors
///
/// The system's; the signal is then not armed.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: neither call takes an argument, or fails.
    let (own, parent) = unsafe { (libc::getpid(), libc::getppid()) };
    OWN.store(own, Relaxed);
    PARENT.store(parent, Relaxed);
    match parents_end() {
        Some(signal) => handle(signal, on_parents_end).and_then(|()| signal_parents_end()),
        None => Ok(()),
    }
}

/// From now on requests do not end this process while its parent lives. Who asks the
/// whole group has asked the parent, which ends its workers when it is done.
///
/// They are handled, not ignored or blocked, which programs that a task starts would
/// inherit.
///
/// # Errors
///
/// The system's.
pub(crate) fn outlive_requests() -> io::Result<()> {
    REQUESTS.into_iter().try_for_each(|signal| handle(signal, on_request))
}

/// From now on this process does not heed requests, and nor does the program that it executes
/// next, until that does something about them.
///
/// # Errors
///
/// The system's.
pub(crate) fn ignore_requests() -> io::Result<()> {
    REQUESTS.into_iter().try_for_each(|signal| {
        // SAFETY: an ignored signal runs no code of this process.
        let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
        if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
    })
}

/// Whether the parent has ended: the system has given this process another one.
pub(crate) fn parent_has_ended() -> bool {
    // SAFETY: the call takes no argument, and cannot fail.
    PARENT.load(Relaxed) != unsafe { libc::getppid() }
}

/// Kills this process with its group; does nothing in a process that was forked from it.
pub(crate) fn kill_own_group() {
    let own = OWN.load(Relaxed);
    // SAFETY: these calls take integers only, and may be made in a signal handler. The
    // number of a process that lives is not another group's. The second kill is for a
    // process that has left its group.
    unsafe {
        if own == libc::getpid() {
            libc::kill(-own, libc::SIGKILL);
            libc::kill(own, libc::SIGKILL);
        }
    }
}

/// Kills what else is in this process's group: what tasks left behind, and the server
/// may not be there to kill. This process goes on, to exit as it likes, in its parent's
/// group; where that is not possible, it is killed too.
pub(crate) fn leave_group() {
    let own = OWN.load(Relaxed);
    // SAFETY: these calls take integers only.
    unsafe {
        if own == 0 || own != libc::getpid() {
            return;
        }
        let parents: pid_t = libc::getpgid(PARENT.load(Relaxed));
        if parents > 0 && libc::setpgid(0, parents) == 0 && parents != own {
            libc::kill(-own, libc::SIGKILL);
        } else {
            kill_own_group();
        }
    }
}

/// Ends this process, and runs nothing of what its program has for its end: it was forked,
/// and that is its parent's.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: the call takes an integer, and does not return.
    unsafe { libc::_exit(code) }
}

pub(super) fn handle(signal: c_int, handler: extern "C" fn(c_int)) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // One at a time: where registers are many, the frames of several do not fit the stack for
    // signals, and the system ends the process by SIGSEGV. A service manager sends two at once.
    // SAFETY: the mask is a live value.
    unsafe { libc::sigfillset(&mut action.sa_mask) };
    // SAFETY: the handlers of this module and of `every_thread` only use atomics and make
    // calls that are async-signal-safe, and `action` outlives the call.
    check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) })
}

extern "C" fn on_parents_end(_: c_int) {
    kill_own_group();
}

extern "C" fn on_request(signal: c_int) {
    // SAFETY: these calls take integers only, and are async-signal-safe.
    unsafe {
        if OWN.load(Relaxed) != libc::getpid() {
            // Forked by a task, without exec: nobody keeps it for a request that runs.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        } else if parent_has_ended() {
            kill_own_group();
        }
    }
}

//! Processes, by their descriptors and by what `/proc` says of them.

#![expect(unsafe_code, reason = "this module makes raw system calls about processes")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use libc::c_int;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getppid, pidfd_open, pidfd_send_signal, waitid,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::os::refused;

/// A child that was started, to be watched for its end.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// Of a child that is not reaped.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn of(child: u32) -> io::Result<Self> {
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        let pidfd = pidfd_open(pid.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty());
        Ok(Self(pidfd.map_err(|error| refused("pidfd_open", error))?))
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::PidFd(self.0.as_fd()), options), Ok(None))
    }

    /// Whether it is there to be reaped, once it has ended: someone else may have done that.
    pub(crate) fn is_left(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::PidFd(self.0.as_fd()), options).is_ok()
    }

    /// Waits for its end, on this thread.
    pub(crate) fn wait(&self) {
        let end = WaitId::PidFd(self.0.as_fd());
        let _ = waitid(end, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }

    /// Whether a signal holds it; a debugger does not count.
    pub(crate) fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::PidFd(self.0.as_fd()), options), Ok(Some(_)))
    }

    /// Kills it once more, whatever it was sent before.
    ///
    /// # Errors
    ///
    /// The system's: it may not be signalled.
    pub(crate) fn kill(&self) -> rustix::io::Result<()> {
        pidfd_send_signal(&self.0, Signal::KILL)
    }
}

impl AsRawFd for Handle {
    /// Readable from its end on.
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A descriptor that is readable from the end of this process's parent on, where there is
/// one: not if the parent is in another namespace.
pub(crate) fn parent() -> Option<OwnedFd> {
    getppid().and_then(|parent| pidfd_open(parent, PidfdFlags::empty()).ok())
}

/// The signal that the system sends at the end of the parent.
pub(crate) fn parents_end() -> Option<c_int> {
    Some(libc::SIGRTMIN() + 11)
}

/// Has that signal sent.
///
/// # Errors
///
/// The system's.
pub(crate) fn signal_parents_end() -> io::Result<()> {
    let Some(signal) = parents_end() else { return Ok(()) };
    // SAFETY: PR_SET_PDEATHSIG takes one integer and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The highest signal.
pub(crate) fn last_signal() -> c_int {
    libc::SIGRTMAX()
}

/// Whether processes whose parent ends become this one's children.
pub(crate) fn adopts() -> bool {
    let mut subreaper: c_int = 0;
    // SAFETY: the call writes one integer to where the pointer leads.
    let asked = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper) };
    std::process::id() == 1 || (asked == 0 && subreaper != 0)
}

/// Executes this very program: a deploy may have replaced the file at its path.
///
/// # Errors
///
/// None here.
pub(crate) fn program() -> io::Result<&'static OsStr> {
    Ok(OsStr::new("/proc/self/exe"))
}

/// The CPUs that this thread may use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cpus(CpuSet);

impl Cpus {
    /// Those that it may use now; `None` if that is not known.
    pub(crate) fn current() -> Option<Self> {
        sched_getaffinity(None).ok().map(Self)
    }

    /// Has it use these.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn set(&self) -> rustix::io::Result<()> {
        sched_setaffinity(None, &self.0)
    }
}

/// The descriptors that are open.
pub(crate) fn descriptors() -> Vec<c_int> {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
    listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The number of this thread.
pub(crate) fn thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// Whether only who can read a pipe is told how much is in it; here both ends are.
pub(crate) const PIPES_TELL_READERS: bool = false;

/// Names this process, as tools list it.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    let _ = rustix::thread::set_name(name);
}

/// Has the system end this process first, when it is short of memory.
pub(crate) fn be_killed_first() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// CPU time that the threads of a process have used, or have waited for. On a machine that
/// is busy, one that computes has little of it. `None` if the process is not there.
pub(crate) fn wanted_cpu_ns(pid: u32) -> Option<u64> {
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

/// Whether a thread of a process waits for something; `false` if it is not there.
pub(crate) fn is_asleep(pid: u32, thread: u32) -> bool {
    let fields = stat(&format!("/proc/{pid}/task/{thread}/stat"));
    fields.is_some_and(|fields| fields.starts_with('S'))
}

/// Whether a thread has ended without its process. The first one stays as a zombie.
pub(crate) fn is_over(pid: u32, thread: u32) -> bool {
    match stat(&format!("/proc/{pid}/task/{thread}/stat")) {
        Some(fields) => fields.starts_with(['Z', 'X']),
        // Of a process that is not to be seen, its threads are not either.
        None => state(pid).is_some(),
    }
}

/// What the first thread of a process does, as a letter (proc_pid_stat(5)).
pub(crate) fn state(pid: u32) -> Option<char> {
    stat(&format!("/proc/{pid}/stat"))?.chars().next()
}

/// Whether a process is on its way out, by whatever; `None` if that is not known.
pub(crate) fn is_exiting(pid: u32) -> Option<bool> {
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

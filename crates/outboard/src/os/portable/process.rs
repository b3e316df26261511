//! Processes, without descriptors of them: a thread waits for the end of each.

#![expect(unsafe_code, reason = "this module makes raw system calls about processes")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use libc::c_int;
use rustix::io::Errno;
use rustix::process::{Pid, Resource, WaitId, WaitIdOptions, getrlimit, test_kill_process, waitid};

/// A thread that waits calls nothing deep.
const STACK_BYTES: usize = 64 << 10;

/// More descriptors than that are not looked at.
const MOST_DESCRIPTORS: u64 = 1 << 16;

/// A child that was started, to be watched for its end. Its number is its own until it is
/// reaped; after that nothing is asked of it here.
#[derive(Debug)]
pub(crate) struct Handle {
    pid: Pid,
    /// The thread that waits has the other end.
    ended: OwnedFd,
}

impl Handle {
    /// Of a child that is not reaped.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn of(child: u32) -> io::Result<Self> {
        let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
        let (ended, lives) = io::pipe()?;
        let thread = std::thread::Builder::new().name("outboard-wait".into());
        thread.stack_size(STACK_BYTES).spawn(move || {
            wait(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            drop(lives);
        })?;
        Ok(Self { pid, ended: ended.into() })
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.look(WaitIdOptions::EXITED), Ok(None))
    }

    /// Whether it is there to be reaped, once it has ended: someone else may have done that.
    pub(crate) fn is_left(&self) -> bool {
        self.look(WaitIdOptions::EXITED).is_ok()
    }

    /// Waits for its end, on this thread.
    pub(crate) fn wait(&self) {
        wait(self.pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }

    /// Whether a signal holds it; a debugger does not count.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.look(WaitIdOptions::STOPPED), Ok(Some(_)))
    }

    fn look(
        &self,
        what: WaitIdOptions,
    ) -> rustix::io::Result<Option<rustix::process::WaitIdStatus>> {
        waitid(WaitId::Pid(self.pid), what | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
    }

    /// Whether it may be signalled. It is not signalled: its number may be another's by now.
    ///
    /// # Errors
    ///
    /// The system's: it may not.
    pub(crate) fn kill(&self) -> rustix::io::Result<()> {
        test_kill_process(self.pid)
    }
}

fn wait(pid: Pid, options: WaitIdOptions) {
    while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
}

impl AsRawFd for Handle {
    /// Readable from its end on.
    fn as_raw_fd(&self) -> RawFd {
        self.ended.as_raw_fd()
    }
}

/// Nothing tells the end of the parent but its end of the socket.
pub(crate) fn parent() -> Option<OwnedFd> {
    None
}

/// No signal is sent at the end of the parent.
pub(crate) fn parents_end() -> Option<c_int> {
    None
}

/// Does nothing.
///
/// # Errors
///
/// None here.
pub(crate) fn signal_parents_end() -> io::Result<()> {
    Ok(())
}

/// The highest signal that any system has.
pub(crate) fn last_signal() -> c_int {
    128
}

/// Whether processes whose parent ends become this one's children.
pub(crate) fn adopts() -> bool {
    std::process::id() == 1
}

/// The file of this program, as its path was when this was first asked: before that a
/// deploy may have replaced it.
///
/// # Errors
///
/// The system's.
pub(crate) fn program() -> io::Result<&'static OsStr> {
    static PROGRAM: OnceLock<OsString> = OnceLock::new();
    if let Some(known) = PROGRAM.get() {
        return Ok(known);
    }
    let path = std::env::current_exe()?.into_os_string();
    Ok(PROGRAM.get_or_init(|| path))
}

/// The CPUs that a thread may use: not every system tells them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cpus {}

impl Cpus {
    /// Not known.
    pub(crate) fn current() -> Option<Self> {
        None
    }

    /// There are none to set.
    ///
    /// # Errors
    ///
    /// None here.
    pub(crate) fn set(&self) -> rustix::io::Result<()> {
        match *self {}
    }
}

/// The descriptors that are open.
pub(crate) fn descriptors() -> Vec<c_int> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(MOST_DESCRIPTORS);
    let all = 0..limit.min(MOST_DESCRIPTORS) as c_int;
    // SAFETY: F_GETFD takes no pointer, and fails on what is not open.
    all.filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0).collect()
}

/// Threads have no number that another process could ask about.
pub(crate) fn thread() -> u32 {
    0
}

/// Whether only who can read a pipe is told how much is in it: so BSD and Apple have it.
pub(crate) const PIPES_TELL_READERS: bool = true;

/// Does nothing.
pub(crate) fn set_name(_: &std::ffi::CStr) {}

/// Does nothing.
pub(crate) fn be_killed_first() {}

/// CPU time that a process has used; `None` if it is not there.
pub(crate) fn wanted_cpu_ns(pid: u32) -> Option<u64> {
    super::usage::cpu_time(pid).map(|time| time.as_nanos() as u64)
}

/// Not known.
pub(crate) fn is_asleep(_: u32, _: u32) -> bool {
    false
}

/// Not known.
pub(crate) fn is_over(_: u32, _: u32) -> bool {
    false
}

/// Not known.
pub(crate) fn state(_: u32) -> Option<char> {
    None
}

/// Not known.
pub(crate) fn is_exiting(_: u32) -> Option<bool> {
    None
}

//! Processes that this one adopts: whatever the tasks of a worker started, and outlived
//! their parent. They are this one's children where it is process 1, or a subreaper, and
//! nobody else reaps them.
//!
//! They are told from the application's own children by two signs. Most are in the process
//! group of a worker. Those that have left it, as daemons do, still have a limit that each
//! worker gives itself: RLIMIT_LOCKS, which Linux has not used since 2.4.25.
//! Children inherit it, an exec keeps it, and it can be read of a process that has ended.

#![expect(unsafe_code, reason = "waiting for a process of a group is a raw system call")]

use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libc::{c_int, id_t, pid_t};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, pidfd_open, setrlimit,
    waitid,
};

/// How long a worker's supervisor waits for the rest of its group, which was killed.
const PATIENCE: Duration = Duration::from_millis(20);

/// The workers of this process that were not reaped, of all its clients: whoever reaps one
/// asks how it ended. A worker has its mark only when it is in this list.
static WORKERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// How many servers may be below one another, each in a worker of the one above.
const DEEPEST: u64 = 255;

/// Starts a worker.
///
/// # Errors
///
/// The system's.
pub(crate) fn start_worker(command: &mut Command) -> io::Result<Child> {
    let mut workers = workers();
    let child = command.spawn()?;
    workers.push(child.id());
    Ok(child)
}

/// That worker was reaped.
pub(crate) fn worker_is_reaped(pid: u32) {
    workers().retain(|worker| *worker != pid);
}

fn workers() -> MutexGuard<'static, Vec<u32>> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Marks this process, which is a worker, and all that it will start. Where the limit is
/// lower already, nothing is marked, and nothing outside of its group is reaped.
pub(crate) fn mark_worker() {
    let before = getrlimit(Resource::Locks);
    let current = Some(of_depth(depth(before.current) + 1));
    let _ = setrlimit(Resource::Locks, Rlimit { current, ..before });
}

/// Reaps what has ended of the children that this process has adopted, in whatever group
/// they are. Gives whether it adopts any at all.
pub(crate) fn reap_adopted() -> bool {
    if !adopts() {
        return false;
    }
    let own = depth(getrlimit(Resource::Locks).current);
    // Whoever starts a worker waits for this: no process is taken for an adopted one before
    // it is in the list.
    let workers = workers();
    for child in children().filter(|child| !workers.contains(child)) {
        reap_marked(child, own);
    }
    true
}

/// Reaps that child if it has ended, and comes from a worker of a server at this depth. The
/// number may be another process's by now; the descriptor is of one.
fn reap_marked(child: u32, own: u64) -> Option<()> {
    const ENDED: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);
    let process = pidfd_open(Pid::from_raw(child as pid_t)?, PidfdFlags::empty()).ok()?;
    let by_descriptor = || WaitId::PidFd(process.as_fd());
    waitid(by_descriptor(), ENDED | WaitIdOptions::NOWAIT).ok()??;
    if depth(limit_of(child)) > own {
        let _ = waitid(by_descriptor(), ENDED);
    }
    Some(())
}

/// This process's children, of all its threads.
fn children() -> impl Iterator<Item = u32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.flat_map(|thread| {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
    })
}

/// The limit that is the mark, of a process that may have ended.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    limit.split_whitespace().next()?.parse().ok()
}

/// How many workers a process is below, by its limit.
fn depth(limit: Option<u64>) -> u64 {
    let below = limit.and_then(|limit| of_depth(0).checked_sub(limit));
    below.filter(|depth| *depth <= DEEPEST).unwrap_or(0)
}

/// The limit at that depth. Each version of this library has its own, and its own list of
/// workers.
fn of_depth(depth: u64) -> u64 {
    let version = env!("CARGO_PKG_VERSION").bytes();
    let version = version.fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
    (1 << 48 | u64::from(version) << 8 | DEEPEST) - depth.min(DEEPEST)
}

/// A thread that reaps what is left of one worker's group.
#[derive(Debug)]
pub(crate) struct Reaper {
    /// Says that the worker itself is reaped.
    reaped: SyncSender<()>,
    /// Disconnected when nothing of the group is left.
    done: Receiver<()>,
}

impl Reaper {
    /// Starts one, if this process adopts others. `worker` is its child, which leads its
    /// group and is not reaped.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn start(worker: u32) -> io::Result<Option<Self>> {
        if !adopts() {
            return Ok(None);
        }
        let (reaped, is_reaped) = sync_channel(1);
        let (done, is_done) = sync_channel::<()>(0);
        std::thread::Builder::new().name("outboard-reaper".into()).spawn(move || {
            reap_others(worker as pid_t);
            // From here on the number may be another process's, unless it is a group's.
            let _ = is_reaped.recv();
            reap_others(worker as pid_t);
            drop(done);
        })?;
        Ok(Some(Self { reaped, done: is_done }))
    }

    /// The worker was killed with its group, and reaped: waits a little until all of that
    /// is gone. What takes longer is reaped later.
    pub(crate) fn finish(self) {
        let _ = self.reaped.send(());
        let _ = self.done.recv_timeout(PATIENCE);
    }
}

/// Whether processes whose parent ends become this one's children.
fn adopts() -> bool {
    let mut subreaper: c_int = 0;
    // SAFETY: the call writes one integer to where the pointer leads.
    let asked = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut subreaper) };
    std::process::id() == 1 || (asked == 0 && subreaper != 0)
}

/// Reaps children of that group as they end, but not its leader: returns when that has
/// ended, or when none is left.
fn reap_others(group: pid_t) {
    while let Some(ended) = wait(libc::P_PGID, group, libc::WNOWAIT) {
        if ended == group {
            return;
        }
        wait(libc::P_PID, ended, libc::WNOHANG);
    }
}

/// Waits for the end of a child; gives its number, or `None` if there is no such child.
fn wait(what: libc::idtype_t, id: pid_t, options: c_int) -> Option<pid_t> {
    loop {
        // SAFETY: all-zero is a valid value of this structure; the call fills it in.
        let mut ended: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live value of the right type.
        let result = unsafe { libc::waitid(what, id as id_t, &mut ended, options | libc::WEXITED) };
        if result == 0 {
            // SAFETY: the call has filled in what is said of a child, or left zeros.
            return Some(unsafe { ended.si_pid() });
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_a_worker_is_deep() {
        for limit in [None, Some(0), Some(64), Some(u64::MAX), Some(of_depth(0) + 1)] {
            assert_eq!(depth(limit), 0, "{limit:?}");
        }
        for deep in 0..=DEEPEST {
            assert_eq!(depth(Some(of_depth(deep))), deep);
        }
        assert_eq!(depth(Some(of_depth(DEEPEST) - 1)), 0);
        assert_eq!(of_depth(DEEPEST + 1), of_depth(DEEPEST), "no deeper than that");
    }

    #[test]
    fn the_limit_of_a_process_is_read() {
        assert_eq!(limit_of(std::process::id()), getrlimit(Resource::Locks).current);
    }
}

//! Processes that this one adopts: whatever the tasks of a worker started, and outlived
//! their parent. They are this one's children where it is process 1, or a subreaper, and
//! nobody else reaps them.
//!
//! They are told from the application's own children by two signs. Most are in the process
//! group of a worker. Those that have left it, as daemons do, still have the mark of a worker,
//! where the system has one ([`adopted`]).

#![expect(unsafe_code, reason = "waiting for a process of a group is a raw system call")]

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libc::{c_int, id_t, pid_t};

use crate::os::adopted;
use crate::os::process::adopts;

/// How long a worker's supervisor waits for the rest of its group, which was killed.
const PATIENCE: Duration = Duration::from_millis(20);

/// The workers of this process that were not reaped, of all its clients: whoever reaps one
/// asks how it ended. A worker has its mark only when it is in this list.
static WORKERS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

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

/// Reaps what has ended of the children that this process has adopted, in whatever group
/// they are. Gives whether it adopts any at all.
pub(crate) fn reap_adopted() -> bool {
    if !adopts() {
        return false;
    }
    // Whoever starts a worker waits for this: no process is taken for an adopted one before
    // it is in the list.
    adopted::reap(&workers());
    true
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

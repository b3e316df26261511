//! Processes, held by descriptors, so that a number that was reused is never
//! taken for them.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::eventually;

/// One process, for as long as it is looked at.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// The process with that number, unless it is gone.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        Some(Self { pid, fd: pidfd_open(raw, PidfdFlags::empty()).ok()? })
    }

    /// The process with that number, which lives.
    pub(crate) fn open(pid: u32) -> Self {
        Self::find(pid).unwrap_or_else(|| panic!("process {pid} lives"))
    }

    /// Sends a signal; one that has ended ignores it.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.fd, signal);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Whether it has ended, reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).unwrap() > 0
    }

    /// Blocks this thread until it has ended.
    pub(crate) fn wait(&self) {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        while poll(&mut fds, None) != Ok(1) {}
    }

    pub(crate) async fn ends(&self) {
        eventually(format_args!("process {} ends", self.pid), || self.has_ended()).await;
    }

    /// Whether its parent has been told of its end.
    pub(crate) fn is_reaped(&self) -> bool {
        stat(self.pid).is_none()
    }

    /// Whether a signal holds all its threads: only then is it stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().flatten();
        let mut states = threads.map(|thread| fields(&thread.path().join("stat")));
        states.all(|fields| fields.is_some_and(|fields| fields[0] == "T"))
    }
}

/// The fields of `/proc/PID/stat` from the state on.
pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    fields(Path::new(&format!("/proc/{pid}/stat")))
}

fn fields(stat: &Path) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(stat).ok()?;
    let (_, after_name) = text.rsplit_once(')')?;
    Some(after_name.split_ascii_whitespace().map(str::to_owned).collect())
}

/// The processes whose parent has that number, with those that wait to be
/// reaped.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == parent.to_string())).collect()
}

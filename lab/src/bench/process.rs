//! What /proc knows of a process, and when one has ended.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long anything may take that is waited for here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process whose end can be waited for.
#[derive(Debug)]
pub(super) struct Watched {
    pidfd: OwnedFd,
}

impl Watched {
    pub(super) fn open(pid: u32) -> anyhow::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no such process")?;
        Ok(Self { pidfd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Returns when the process has ended: its memory is freed, and it will
    /// never have the CPU again.
    pub(super) fn wait(&self) -> anyhow::Result<()> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        match poll(&mut fds, Some(&patience))? {
            0 => bail!("a process that was killed goes on"),
            _ => Ok(()),
        }
    }
}

/// Polls until `condition` holds.
pub(super) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            bail!("{what}: not in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A field of `/proc/PID/status` or `smaps_rollup` that is in kB, in bytes.
pub(super) fn bytes(pid: u32, file: &str, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let kilobytes = number(&text, field).with_context(|| format!("{path} has no {field}"))?;
    Ok(kilobytes * 1024)
}

/// How often the threads of a process went to sleep, which they have to before
/// each time that they wake up; of those that `counts` says by name.
pub(super) fn wake_ups(pid: u32, counts: impl Fn(&str) -> bool) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = entry?.path();
        // A thread may end meanwhile.
        let Ok(name) = read(&task, "comm") else { continue };
        let Ok(status) = read(&task, "status") else { continue };
        if counts(&name) {
            let sleeps = number(&status, "voluntary_ctxt_switches");
            sum += sleeps.context("the kernel does not count context switches")?;
        }
    }
    Ok(sum)
}

fn read(task: &Path, file: &str) -> anyhow::Result<String> {
    Ok(fs::read_to_string(task.join(file))?.trim_end().to_owned())
}

fn number(text: &str, field: &str) -> Option<u64> {
    let of = |line: &str| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned);
    let value = text.lines().find_map(of)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::mpsc::RecvTimeoutError::Timeout;
    use std::time::Duration;

    use super::{bytes, number, wait_until, wake_ups};

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t12\nVmRSS:\t  8 kB\n";
        assert_eq!(number(text, "voluntary_ctxt_switches"), Some(12));
        assert_eq!(number(text, "VmRSS"), Some(8));
        assert_eq!(number(text, "Vm"), None);
    }

    #[test]
    fn this_process_has_memory_and_sleeps() {
        let own = std::process::id();
        assert!(bytes(own, "status", "VmRSS").expect("there is a /proc") > 0);
        let (stop, stopped) = mpsc::channel::<()>();
        let sleeper = std::thread::Builder::new().name("sleeper".to_owned());
        let sleeps =
            move || while stopped.recv_timeout(Duration::from_millis(1)) == Err(Timeout) {};
        let sleeper = sleeper.spawn(sleeps).expect("a thread can be had");
        let counted = || wake_ups(own, |name| name == "sleeper").expect("there is a /proc");
        let before = counted();
        wait_until("it wakes up", || counted() > before).expect("it does");
        drop(stop);
        sleeper.join().expect("it does not panic");
    }
}

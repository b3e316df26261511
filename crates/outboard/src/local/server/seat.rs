//! One worker's number, and the processes that have it one after the other.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join4, select};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::time::ClockId;
use tokio::time::{sleep, sleep_until, timeout_at};

use super::cgroup::Group;
use super::life::{Life, Reason, Stage};
use super::link::Link;
use super::output::{LastWords, Output};
use super::shortage::shortage;
use super::supervisor::{GRACE, Supervisor};
use super::vigil::Vigil;
use crate::error::{Cause, Lost};
use crate::local::process::{Reaped, Watched};
use crate::task::system::now_ns;

/// A worker that ends unasked, idle and younger than this failed at its start.
const START: Duration = Duration::from_secs(1);

/// A process that was started and not reaped.
pub(super) struct Process {
    link: Arc<Link>,
    ended: Watched<OwnedFd>,
    group: Option<Group>,
    stdout: Option<Output>,
    stderr: Output,
    vigil: Rc<Vigil>,
}

impl Supervisor {
    /// Has a process serve under this number, and another one after its end, until the
    /// engine ends.
    pub(super) async fn seat(&self, number: usize) {
        let mut pause = Duration::ZERO;
        while self.may_start(pause).await {
            pause = match self.spawn(number) {
                Ok(process) => self.serve(process).await,
                Err(error) => self.failed(&format!("no worker process can be started: {error}")),
            };
        }
    }

    /// Looks after a process to its end, and gives the pause before the next start.
    async fn serve(&self, process: Process) -> Duration {
        self.vigils.borrow_mut().push(process.vigil.clone());
        let mut served = Served { supervisor: self, process: Some(process) };
        if let Some(process) = &mut served.process {
            process.ends(self).await;
        }
        let Some(process) = served.process.take() else { return Duration::ZERO };
        let (failed, came_up) = (process.failed_at_start(), process.link.is_ready());
        if !failed && process.link.started.elapsed() >= START {
            self.control.succeeded();
        }
        let lost = self.bury(process);
        tracing::debug!(worker = lost.worker, pid = lost.pid, "worker was reaped");
        match (failed && !self.control.orders().ending, came_up) {
            (false, _) => Duration::ZERO,
            (true, true) => self.pause(),
            (true, false) => self.failed(&lost.to_string()),
        }
    }

    /// Kills a worker that never comes to `init`, or is never ready after that; later has
    /// it replaced when it is too old.
    async fn age(&self, link: &Arc<Link>) {
        let mut stages = link.stages();
        loop {
            let stage = *stages.borrow_and_update();
            let (since, time, cause) = match stage {
                Stage::Starting => (link.started, self.settings.start_timeout, Cause::Silent),
                Stage::WarmingUp { since } => {
                    (since, self.settings.warm_up_timeout, Cause::Unready)
                }
                Stage::Serving { .. } => break,
            };
            match since.checked_add(time) {
                // A time too long for the clock is for ever.
                None => drop(stages.changed().await),
                Some(at) => {
                    if timeout_at(at.into(), stages.changed()).await.is_err() {
                        // It may be killed already, and its end be on its way.
                        if !matches!(link.life(), Life::Killed(_)) {
                            link.kill(Reason::Blame(cause));
                        }
                        return;
                    }
                }
            }
        }
        let Some(at) = link.old_at() else { return };
        sleep_until(at.into()).await;
        if let Some(why) = link.grew_old(Instant::now()) {
            self.gate.report(|reports| self.links.replace(link, why, reports));
        }
    }

    /// When the engine ends: an idle worker exits by itself, another one is killed, and
    /// so is what is left after a grace.
    async fn end_with_engine(&self, link: &Link) {
        self.control.ending().await;
        link.dismiss();
        if link.is_busy() || !link.is_ready() {
            link.kill(Reason::Unwanted);
        }
        sleep(GRACE).await;
        link.kill(Reason::Unwanted);
        std::future::pending().await
    }

    /// Reaps a process that has ended, with its group.
    fn bury(&self, process: Process) -> Lost {
        self.vigils.borrow_mut().retain(|vigil| !Rc::ptr_eq(vigil, &process.vigil));
        let system = || {
            let count = self.groups.borrow().kills();
            self.kills.borrow_mut().claim(Instant::now(), count)
        };
        let (lost, group) = process.bury(system);
        self.groups.borrow_mut().remove(group);
        self.left.notify_waiters();
        lost
    }
}

/// A process that is looked after: whoever stops looking, be it for a panic of ours, kills
/// it, for nobody may wait for what will not come.
struct Served<'a> {
    supervisor: &'a Supervisor,
    process: Option<Process>,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.link.kill(Reason::Unwanted);
            let end = WaitId::PidFd(process.link.pidfd());
            let _ = waitid(end, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            self.supervisor.bury(process);
        }
    }
}

impl Process {
    pub(super) fn new(
        link: Arc<Link>,
        ended: Watched<OwnedFd>,
        group: Option<Group>,
        stdout: Option<Output>,
        stderr: Output,
    ) -> Self {
        let vigil = Rc::new(Vigil::new(link.clone()));
        Self { link, ended, group, stdout, stderr, vigil }
    }

    /// Does all that is due for the process until it has ended.
    async fn ends(&mut self, supervisor: &Supervisor) {
        let Self { link, ended, stdout, stderr, .. } = self;
        let stdout = async {
            if let Some(stdout) = stdout {
                stdout.pass().await;
            }
        };
        let due =
            join4(stdout, stderr.pass(), supervisor.age(link), supervisor.end_with_engine(link));
        let ended = async {
            while !has_ended(link) {
                match ended.readable().await {
                    Ok(mut woken) => woken.clear_ready(),
                    // No runtime, no supervisor.
                    Err(_) => return,
                }
            }
        };
        select(pin!(ended), pin!(due)).await;
    }

    /// Whether its end says that the next one may fare no better.
    fn failed_at_start(&self) -> bool {
        let idle = self.link.done() == 0 && self.link.unanswered().is_empty();
        let unasked = idle && !self.link.life().is_unwanted();
        !self.link.is_ready() || (unasked && self.link.started.elapsed() < START)
    }

    /// Reaps it, with the rest of its process group, and says how it ended.
    /// `system` asks whether the system killed it for want of memory.
    fn bury(self, system: impl FnOnce() -> bool) -> (Lost, Option<Group>) {
        let Self { link, group, stdout, stderr, vigil, .. } = self;
        // The group's number is taken until its leader is reaped, which someone
        // else may have done where SIGCHLD is ignored.
        let pidfd = WaitId::PidFd(link.pidfd());
        if waitid(pidfd, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT)
            .is_ok()
        {
            link.kill_group();
        }
        if let Some(stdout) = stdout {
            stdout.finish(0);
        }
        let since_ns = link.running_since();
        let LastWords { lines, shortage: said } = stderr.finish(since_ns);
        let limit = group.as_ref().is_some_and(Group::was_killed);
        let (reaped, life) = link.reap();
        // All that reads files comes after that: the gate waits for the link's mutex.
        let cause = life.blame().or_else(|| cause(reaped));
        let shortage = match life.is_unwanted() {
            true => None,
            false => shortage(cause, said, limit, system),
        };
        let lost = Lost {
            worker: link.number,
            pid: link.pid,
            cause,
            shortage,
            stderr: lines,
            memory_bytes: memory(reaped, vigil.most_bytes(), link.memory_bytes()),
            memory_at_start_bytes: link.memory_before(),
            run_time: (since_ns > 0).then(|| since(since_ns, now_ns(ClockId::Monotonic))),
            cpu_time: (reaped.and_then(|reaped| reaped.cpu_ns))
                .filter(|_| since_ns > 0)
                .map(|cpu_ns| since(link.page.cpu_before_ns(), cpu_ns)),
            ..Lost::default()
        };
        link.set_lost(lost.clone());
        (lost, group)
    }
}

fn has_ended(link: &Link) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::PidFd(link.pidfd()), options), Ok(None))
}

fn since(before_ns: u64, after_ns: u64) -> Duration {
    Duration::from_nanos(after_ns.saturating_sub(before_ns))
}

fn cause(reaped: Option<Reaped>) -> Option<Cause> {
    let status: ExitStatus = reaped?.status?;
    status.signal().map(Cause::Signal).or(status.code().map(Cause::Exited))
}

/// The most that any source has seen.
fn memory(reaped: Option<Reaped>, sampled: u64, said: Option<u64>) -> Option<u64> {
    let peak = reaped.and_then(|reaped| reaped.peak_bytes());
    peak.into_iter().chain(said).chain(Some(sampled)).filter(|bytes| *bytes > 0).max()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    use tokio::io::Interest;
    use tokio::runtime::Handle;

    use super::super::output::{Printer, Stream};
    use super::super::wear::Wear;
    use super::*;
    use crate::error::Shortage;
    use crate::local::process::watch;
    use crate::local::shm::arena::Arena;
    use crate::local::shm::page::Page;

    /// A worker that was killed and not reaped.
    #[expect(clippy::zombie_processes, reason = "`bury` reaps it")]
    fn killed() -> Process {
        let (printer, _) = Printer::start().unwrap();
        let mut command = Command::new("sleep");
        let command = command.arg("1000").stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let pidfd = Arc::new(pidfd);
        let (stream, _) = UnixStream::pair().unwrap();
        let memory = (Page::create().unwrap().0, Arena::create().unwrap().0);
        let wear = Wear::of(Default::default(), None, Instant::now());
        let (pid, stream) = (child.id(), Arc::new(stream));
        let link = Link::new(1, pid, pidfd.clone(), memory, stream, Handle::current(), wear);
        let ended = watch(pidfd, Interest::READABLE).unwrap();
        let stderr = child.stderr.take().unwrap().into();
        let stderr = Output::new(stderr, Stream::Stderr, 1, printer).unwrap();
        link.kill(Reason::Broken);
        waitid(WaitId::PidFd(link.pidfd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        Process::new(link, ended, None, None, stderr)
    }

    #[tokio::test]
    async fn files_are_read_while_others_have_the_link() {
        let process = killed();
        let link = process.link.clone();
        let mut free = false;
        let (lost, _) = process.bury(|| {
            free = link.is_free();
            true
        });
        assert!(free, "the gate waits for the link while counters are read");
        assert_eq!(lost.shortage, Some(Shortage::System));
    }
}

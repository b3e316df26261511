//! The end of a worker: the kill, the reaping, and what is said of it.

use std::future::pending;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join3, select};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::time::ClockId;

use super::life::{Life, Reason};
use super::{Link, Vigil};
use crate::error::{Cause, WorkerLoss};
use crate::local::process::reaping::{Reaper, worker_is_reaped};
use crate::local::process::{self, Reaped, Watched};
use crate::local::server::cgroup::Group;
use crate::local::server::output::{LastWords, Output};
use crate::local::server::shortage::shortage;
use crate::os::process::{Handle, is_exiting, state};
use crate::task::system::now_ns;

/// A process that was started and not reaped.
pub(crate) struct Process {
    link: Arc<Link>,
    ended: Watched<Handle>,
    group: Option<Group>,
    reaper: Option<Reaper>,
    stdout: Option<Output>,
    stderr: Output,
    vigil: Rc<Vigil>,
}

impl Process {
    pub(crate) fn new(
        link: Arc<Link>,
        ended: Watched<Handle>,
        (group, reaper): (Option<Group>, Option<Reaper>),
        stdout: Option<Output>,
        stderr: Output,
    ) -> Self {
        let vigil = Rc::new(Vigil::new(link.clone()));
        Self { link, ended, group, reaper, stdout, stderr, vigil }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn vigil(&self) -> &Rc<Vigil> {
        &self.vigil
    }

    /// Completes when the process has ended; passes its output on until then, and sees to
    /// what is due.
    pub(crate) async fn lives(&mut self, due: impl Future<Output = ()>) {
        let Self { link, ended, stdout, stderr, .. } = self;
        let stdout = async {
            if let Some(stdout) = stdout {
                stdout.pass(&link.page).await;
            }
        };
        // A worker that closed both streams, and of which nothing is due, is not dead yet.
        let meanwhile = async {
            join3(stdout, stderr.pass(&link.page), due).await;
            pending::<()>().await;
        };
        let ended = async {
            while !link.has_ended() {
                match ended.readable().await {
                    Ok(mut woken) => woken.clear_ready(),
                    // No runtime, no supervisor.
                    Err(_) => return,
                }
            }
        };
        select(pin!(ended), pin!(meanwhile)).await;
    }

    /// Kills it, and waits for its end on this thread.
    pub(crate) fn kill(&self) {
        self.link.kill();
        self.link.handle.wait();
    }

    /// Reaps the process, which has ended, with the rest of its group, and says how it
    /// ended. `system` asks whether the system killed it for want of memory.
    pub(crate) fn bury(self, system: impl FnOnce() -> bool) -> (WorkerLoss, Option<Group>) {
        let Self { link, group, reaper, stdout, stderr, vigil, .. } = self;
        // In this order: the rest of the group is killed while its number is taken, which
        // it is until the leader is reaped; what it wrote last is read; then it is reaped.
        // Someone else may have reaped it, where SIGCHLD is ignored.
        if link.handle.is_left() {
            link.kill_group();
        }
        if let Some(stdout) = stdout {
            stdout.finish(&link.page, 0);
        }
        let since_ns = link.running_since();
        // What it wrote before that was another task, and maybe another tenant.
        let before = if link.is_ready() { link.page.stderr_before() } else { 0 };
        let LastWords { lines, shortage: said } = stderr.finish(&link.page, before);
        let limit = group.as_ref().is_some_and(Group::was_killed);
        let (reaped, life) = link.reap();
        if let Some(reaper) = reaper {
            reaper.finish();
        }
        // What reads files comes after that: the gate waits for the mutex.
        let cause = life.blame().or_else(|| cause(reaped));
        let shortage = match life.is_unwanted() {
            true => None,
            false => shortage(cause, said, limit, system),
        };
        let lost = WorkerLoss {
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
            ..WorkerLoss::default()
        };
        link.set_lost(lost.clone());
        (lost, group)
    }
}

impl Link {
    /// Kills it, because nobody wants it any more.
    pub(crate) fn kill(&self) {
        self.end(Reason::Unwanted);
    }

    /// Kills the worker's whole process group, unless that was done.
    ///
    /// It is reaped under the same mutex ([`reap`](Self::reap)), so the number cannot be
    /// another process's yet.
    ///
    /// A server that gave up privileges after the worker's start may not signal it. The end
    /// of the socket then has the worker kill its own group, as it does when the server is
    /// gone.
    pub(super) fn end(&self, reason: Reason) {
        let mut locked = self.locked();
        if locked.life.kill(reason) {
            self.kill_group();
            if self.handle.kill() == Err(Errno::PERM) {
                self.shutdown();
            }
        }
    }

    /// Says that the worker does not end although it was killed.
    pub(super) fn say_it_is_left(&self) {
        let state = state(self.pid).unwrap_or('?');
        let refused = self.handle.kill().err();
        let why = match (state, refused) {
            (_, Some(error)) => format!("kill: {error}; end it as the user that it runs as"),
            ('D', None) => "it is in an uninterruptible system call".into(),
            (_, None) => "the system has not ended it yet".into(),
        };
        tracing::error!(
            worker = self.number, pid = self.pid, state = %state, why,
            "worker did not end although it was killed"
        );
    }

    /// Kills what is left of the worker's process group.
    fn kill_group(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// What was done to it.
    pub(super) fn life(&self) -> Life {
        self.locked().life
    }

    /// Whether nothing is left of it in the system.
    pub(crate) fn is_reaped(&self) -> bool {
        matches!(self.life(), Life::Reaped(_))
    }

    /// Whether its end was wanted.
    pub(crate) fn was_unwanted(&self) -> bool {
        self.life().is_unwanted()
    }

    /// Whether its end says that the next one may fare no better: it was not ready, or
    /// ended unasked, idle and younger than that.
    pub(crate) fn failed_at_start(&self, young: Duration) -> bool {
        let idle = self.done() == 0 && self.unanswered().is_empty();
        let unasked = idle && !self.was_unwanted();
        !self.is_ready() || (unasked && self.started.elapsed() < young)
    }

    /// Its stream ended: kills it, unless it is on its way out. A process that ends by
    /// itself closes its socket while it does; one that lives on has closed it.
    pub(super) fn hung_up(&self) {
        let reason = match self.life() {
            Life::Leaving => return,
            Life::Up if !self.has_ended() && is_exiting(self.pid) == Some(false) => {
                Reason::Blame(Cause::HungUp)
            }
            _ => Reason::Broken,
        };
        self.end(reason);
    }

    /// Whether the process has ended.
    fn has_ended(&self) -> bool {
        self.handle.has_ended()
    }

    /// Reaps the process, which has ended; nobody signals its number from now on.
    fn reap(&self) -> (Option<Reaped>, Life) {
        let (reaped, life) = {
            let mut locked = self.locked();
            let reaped = process::reap(self.pid);
            locked.life.reap();
            (reaped, locked.life)
        };
        worker_is_reaped(self.pid);
        (reaped, life)
    }

    /// The supervisor's word on how the process ended, once it is reaped.
    fn set_lost(&self, lost: WorkerLoss) {
        let _ = self.lost.set(lost);
        // A child that the worker forked may hold the other end open: what was
        // written is still read, and then the stream ends.
        self.shutdown();
    }

    /// How the process ended, once it has.
    pub(super) async fn lost(&self) -> &WorkerLoss {
        self.lost.wait().await
    }

    /// Its reader is through with it.
    pub(super) fn set_reported(&self) {
        let _ = self.reported.set(());
    }

    /// Completes when its reader is through with it.
    pub(crate) async fn reported(&self) {
        self.reported.wait().await;
    }

    /// Sends an idle worker away: it exits by itself.
    pub(crate) fn dismiss(&self) {
        self.locked().life.dismiss();
        self.shutdown();
    }

    fn shutdown(&self) {
        let _ = shutdown(&*self.stream, Shutdown::Both);
    }

    /// The monotonic clock, in nanoseconds, when it started the task that it is
    /// executing; 0 if it is executing none.
    fn running_since(&self) -> u64 {
        match self.unanswered()[..] {
            [] => 0,
            _ => self.page.running_since(),
        }
    }

    /// Resident memory before the task that it has, where that is known.
    fn memory_before(&self) -> Option<u64> {
        self.locked().history.measured_bytes
    }
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
    use std::time::Instant;

    use tokio::io::Interest;
    use tokio::runtime::Handle;

    use super::*;
    use crate::error::Shortage;
    use crate::local::process::watch;
    use crate::local::server::output::{Printer, Stream};
    use crate::local::server::wear::Wear;
    use crate::local::shm::arena::Arena;
    use crate::local::shm::page::Page;
    use crate::trace::WorkerOutput;

    /// A worker that was killed and not reaped.
    fn killed() -> Process {
        let process = started();
        process.link.end(Reason::Broken);
        wait_for(&process);
        process
    }

    /// Waits until it has ended.
    fn wait_for(process: &Process) {
        process.link.handle.wait();
    }

    #[expect(clippy::zombie_processes, reason = "`bury` reaps it")]
    fn started() -> Process {
        let (printer, _) = Printer::start(WorkerOutput::default()).unwrap();
        let mut command = Command::new("sleep");
        let command = command.arg("1000").stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let handle = Arc::new(crate::os::process::Handle::of(child.id()).unwrap());
        let (stream, _) = UnixStream::pair().unwrap();
        let memory = (Page::create().unwrap().0, Arena::create().unwrap().0);
        let wear = Wear::of(Default::default(), None, Instant::now());
        let (pid, stream) = (child.id(), Arc::new(stream));
        let stream = [stream.clone(), stream];
        let ended = watch(handle.clone(), Interest::READABLE).unwrap();
        let link =
            Link::new(1, pid, handle, memory, stream, Handle::current(), (wear, None, false));
        let stderr = child.stderr.take().unwrap().into();
        let stderr = Output::new(stderr, Stream::Stderr, 1, printer).unwrap();
        Process::new(link, ended, (None, None), None, stderr)
    }

    #[tokio::test]
    async fn a_worker_that_hung_up_is_blamed_only_if_it_lives() {
        let lives = started();
        lives.link.hung_up();
        assert_eq!(lives.link.life().blame(), Some(Cause::HungUp));
        wait_for(&lives);
        assert_eq!(lives.bury(|| false).0.cause, Some(Cause::HungUp));
        let dead = started();
        let pid = Pid::from_raw(dead.link.pid as i32).unwrap();
        rustix::process::kill_process(pid, Signal::SEGV).unwrap();
        wait_for(&dead);
        dead.link.hung_up();
        assert_eq!(dead.bury(|| false).0.cause, Some(Cause::Signal(11)));
    }

    #[tokio::test]
    async fn files_are_read_while_others_have_the_link() {
        let process = killed();
        let link = process.link.clone();
        let mut free = false;
        let (lost, _) = process.bury(|| {
            free = link.locked.try_lock().is_ok();
            true
        });
        assert!(free, "the gate waits for the link while counters are read");
        assert_eq!((lost.shortage, lost.cause), (Some(Shortage::System), Some(Cause::Signal(9))));
        assert_eq!(link.lost().await, &lost);
    }
}

//! The one thread that starts workers, notices their end and reaps them.
//!
//! It lives as long as the engine: a worker's parent-death signal fires when
//! the *thread* that started it ends. It sleeps in `poll` and wakes for a
//! worker's end (its pidfd), for output, for an order, or for a timer; while
//! workers are busy it also looks four times a second whether one was stopped
//! by a signal. When nothing is done it does not wake at all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use rustix::time::ClockId;
use tokio::io::Interest;
use tokio::runtime::Handle;

use super::Links;
use super::cgroup::{Group, Groups};
use super::link::Link;
use super::output::{LastWords, Pipe, Printer, Stream};
use super::reader::Reader;
use super::shortage::{Kills, shortage};
use super::wear::Wear;
use crate::engine::Gate;
use crate::engine::restart::Restart;
use crate::engine::settings::Settings;
use crate::error::{Cause, Error, WorkerLoss};
use crate::local::process::{Reaped, Watched, reap, watch};
use crate::local::program::{VARIABLE, VERSION_VARIABLE};
use crate::local::shm::arena::Arena;
use crate::local::shm::page::Page;
use crate::local::shm::passing;
use crate::local::wire::{self, ToWorker};
use crate::task::system::{self, now_ns};

/// How often busy workers are looked at.
const BEAT: Duration = Duration::from_millis(250);

/// How long a signal may hold a worker, or unwanted work keep it, before it is
/// lost.
const STOPPED: Duration = Duration::from_secs(1);

/// How long output gathers after some was passed on: a worker that writes many
/// short lines must not keep this thread awake.
const GATHER: Duration = Duration::from_millis(4);

/// How long an idle worker may take to exit by itself when the engine ends, and
/// its last lines to be written.
const GRACE: Duration = Duration::from_millis(500);

/// After how many failed starts in a row nothing more is expected of the next.
const BROKEN_AFTER: u32 = 3;

/// The pause after the first failed start; it doubles up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A worker that ends unasked, idle and younger than this failed at its start.
const START: Duration = Duration::from_secs(1);

/// Where libraries look for how many threads they may start.
const THREADS: [&str; 9] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "TOKIO_WORKER_THREADS",
];

/// What others tell the supervisor.
#[derive(Debug)]
pub(super) struct Control {
    wake: OwnedFd,
    ending: AtomicBool,
    beating: AtomicBool,
    failures: AtomicU32,
    /// How many workers there are to be.
    wanted: AtomicUsize,
}

impl Control {
    pub(super) fn new(wanted: usize) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            ending: AtomicBool::new(false),
            beating: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            wanted: AtomicUsize::new(wanted),
        }))
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Workers are busy: look after them. Costs one load while that goes on.
    pub(super) fn beat(&self) {
        if !self.beating.load(Relaxed) && !self.beating.swap(true, AcqRel) {
            self.wake();
        }
    }

    /// There are to be so many workers from now on.
    pub(super) fn keep(&self, workers: usize) {
        if self.wanted.swap(workers, AcqRel) < workers {
            self.wake();
        }
    }

    /// End all workers, and then yourself.
    pub(super) fn shutdown(&self) {
        self.ending.store(true, std::sync::atomic::Ordering::Release);
        self.wake();
    }

    /// A worker came to `init`, or is ready: something else is due of it now, the
    /// end of its warm-up or its replacement when it is old.
    pub(super) fn came_up(&self) {
        self.wake();
    }

    /// A worker does its work.
    pub(super) fn succeeded(&self) {
        self.failures.store(0, Relaxed);
    }
}

/// Starts the supervisor's thread.
pub(super) fn start(
    gate: Arc<Gate>,
    links: Links,
    control: Arc<Control>,
    runtime: Handle,
    settings: Settings,
    restart: Restart,
) -> io::Result<()> {
    let (printer, printed) = Printer::start()?;
    let groups = Groups::find(settings.worker.memory_bytes);
    let mut kills = Kills::default();
    kills.look(Instant::now(), groups.kills());
    let supervisor = Supervisor {
        gate,
        links,
        control,
        runtime,
        printer: Some(printer),
        printed,
        seats: Vec::new(),
        groups,
        kills,
        settings,
        restart,
        next_beat: None,
        next_output: None,
        cut_at: None,
    };
    std::thread::Builder::new()
        .name("outboard-supervisor".into())
        .spawn(move || supervisor.run())?;
    Ok(())
}

/// Keeps the gate until all is over: detached tasks go on when nobody else has
/// it any more.
struct Supervisor {
    gate: Arc<Gate>,
    links: Links,
    control: Arc<Control>,
    runtime: Handle,
    printer: Option<Printer>,
    /// Disconnected when all lines are written.
    printed: Receiver<()>,
    seats: Vec<Seat>,
    groups: Groups,
    kills: Kills,
    settings: Settings,
    restart: Restart,
    next_beat: Option<Instant>,
    /// When output is looked at again.
    next_output: Option<Instant>,
    /// When, while ending, what is left is killed.
    cut_at: Option<Instant>,
}

/// A worker's number, and the process that has it now.
struct Seat {
    number: usize,
    state: State,
}

enum State {
    /// Nobody; the next process starts then.
    Empty(Instant),
    Taken(Box<Worker>),
}

/// A process that was started and not reaped.
struct Worker {
    link: Arc<Link>,
    group: Option<Group>,
    stdout: Option<Pipe<ChildStdout>>,
    stderr: Pipe<ChildStderr>,
    started: Instant,
    stopped_since: Option<Instant>,
    /// Which task it has owed the answer to since when, that nobody wants.
    stuck: Option<(u64, Instant)>,
    /// Which task it has owed a step to since when, while it sleeps.
    mute: Option<(u64, Instant)>,
    sampled_bytes: u64,
}

impl Supervisor {
    fn run(mut self) {
        loop {
            let now = Instant::now();
            if self.control.ending.load(Acquire) {
                self.end_all(now);
                if self.workers().next().is_none() {
                    break;
                }
            } else {
                self.fill_seats(now);
            }
            self.beat(now);
            self.check_starts(now);
            self.retire_old(now);
            self.sleep(Instant::now());
            self.pass_output(Instant::now());
            self.bury_dead();
        }
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        self.seats.iter().filter_map(|seat| match &seat.state {
            State::Taken(worker) => Some(&**worker),
            State::Empty(_) => None,
        })
    }

    fn workers_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.seats.iter_mut().filter_map(|seat| match &mut seat.state {
            State::Taken(worker) => Some(&mut **worker),
            State::Empty(_) => None,
        })
    }

    /// How many workers are missing.
    fn missing(&self) -> usize {
        self.control.wanted.load(Acquire).saturating_sub(self.workers().count())
    }

    /// Starts what is due.
    fn fill_seats(&mut self, now: Instant) {
        for number in self.seats.len() + 1..=self.control.wanted.load(Acquire) {
            self.seats.push(Seat { number, state: State::Empty(now) });
        }
        for index in 0..self.seats.len() {
            let State::Empty(due) = self.seats[index].state else { continue };
            if due > now || self.missing() == 0 {
                continue;
            }
            match self.spawn(self.seats[index].number) {
                Ok(worker) => self.seats[index].state = State::Taken(Box::new(worker)),
                Err(error) => {
                    let reason = format!("no worker process can be started: {error}");
                    self.seats[index].state = State::Empty(now + self.failed(&reason));
                }
            }
        }
    }

    fn spawn(&mut self, number: usize) -> io::Result<Worker> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let (page, page_fd) = Page::create()?;
        let (arena, arena_fd) = Arena::create()?;
        self.welcome(&ours, number, [page_fd.as_fd(), arena_fd.as_fd()])?;
        let mut child = self.command(number).stdin(OwnedFd::from(theirs)).spawn()?;
        let adopted = self.adopt(number, &mut child, ours, (page, arena));
        if adopted.is_err() {
            child.kill()?;
            child.wait()?;
        }
        adopted
    }

    /// Makes a process that was started one that is looked after.
    fn adopt(
        &mut self,
        number: usize,
        child: &mut Child,
        stream: StdUnixStream,
        memory: (Page, Arena),
    ) -> io::Result<Worker> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pidfd_open(pid.ok_or(io::ErrorKind::InvalidData)?, PidfdFlags::empty())?;
        let stdout = child.stdout.take().map(|out| self.pipe(out, Stream::Stdout, number));
        let stdout = stdout.transpose()?;
        let stderr = child.stderr.take().ok_or(io::ErrorKind::InvalidData)?;
        let stderr = self.pipe(stderr, Stream::Stderr, number)?;
        let stream = Arc::new(stream);
        let read = self.register(stream.clone())?;
        let started = Instant::now();
        let Settings { recycling, worker, .. } = self.settings;
        let wear = Wear::of(recycling, worker.memory_bytes, started);
        let link = Link::new(number, child.id(), pidfd, memory, stream, self.runtime.clone(), wear);
        self.read(&link, read);
        Ok(Worker {
            link,
            group: self.groups.add(number, child.id()),
            stdout,
            stderr,
            started,
            stopped_since: None,
            stuck: None,
            mute: None,
            sampled_bytes: 0,
        })
    }

    fn register(&self, stream: Arc<StdUnixStream>) -> io::Result<Watched> {
        stream.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        watch(stream, Interest::READABLE)
    }

    fn read(&self, link: &Arc<Link>, read: Watched) {
        let (gate, links) = (self.gate.clone(), self.links.clone());
        let hears = self.level() > 0;
        let reader = Reader::new(gate, links, self.control.clone(), link.clone(), hears);
        self.runtime.spawn(reader.serve(read));
    }

    /// The level of what tasks may say.
    fn level(&self) -> u8 {
        crate::trace::level().max(self.settings.said)
    }

    fn pipe<R: io::Read + AsFd>(
        &self,
        reader: R,
        stream: Stream,
        number: usize,
    ) -> io::Result<Pipe<R>> {
        rustix::io::ioctl_fionbio(&reader, true)?;
        let printer = self.printer.clone().expect("there until the supervisor ends");
        Ok(Pipe::new(reader, stream, number, printer))
    }

    /// Puts the first message into the socket before its reader exists.
    fn welcome(
        &self,
        socket: &StdUnixStream,
        number: usize,
        memory: [BorrowedFd<'_>; 2],
    ) -> io::Result<()> {
        let mut frame = Vec::new();
        let message = ToWorker::Welcome {
            number: number as u32,
            max_payload: self.settings.limits.payload as u64,
            niceness: self.settings.niceness.into(),
            level: self.level(),
            limits: self.settings.worker,
        };
        wire::append(&mut frame, &message, &[]);
        passing::send(socket, &frame, &memory, SendFlags::empty())?;
        Ok(())
    }

    /// This very binary: a deploy may have replaced the file at its path.
    fn command(&self, number: usize) -> Command {
        let mut command = Command::new("/proc/self/exe");
        let mut name = std::env::args_os().next().unwrap_or_default();
        name.push(format!(" (outboard worker {number})"));
        command
            .arg0(name)
            .env(VARIABLE, std::process::id().to_string())
            .env(VERSION_VARIABLE, env!("CARGO_PKG_VERSION"))
            // Programs that a task starts are no workers of the cluster.
            .env_remove("OUTBOARD_WORKER")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let threads = self.settings.threads_of_a_library().map(|threads| threads.to_string());
        let unset = |name: &&str| std::env::var_os(name).is_none();
        if let Some(threads) = threads {
            command.envs(THREADS.into_iter().filter(unset).map(|name| (name, &threads)));
        }
        if let Restart::Test(name) = self.restart {
            let args = [name, "--exact", "--nocapture", "--test-threads=1"];
            command.args(args).stdout(Stdio::null());
        }
        command
    }

    /// The pause before the next start, after one that led to nothing.
    fn pause(&self) -> Duration {
        let failures = self.control.failures.fetch_add(1, Relaxed);
        FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE)
    }

    /// A worker did not come up; gives the pause before the next start.
    fn failed(&self, reason: &str) -> Duration {
        let pause = self.pause();
        let failures = self.control.failures.load(Relaxed);
        if failures >= BROKEN_AFTER {
            tracing::error!(failures, reason, "workers failed at their start");
            let error = Error::unavailable(format!(
                "{failures} workers in a row failed at their start; the last: {reason}"
            ));
            self.gate.report(|reports| reports.broken(error));
        }
        pause
    }

    /// Looks after busy workers, if it is time to.
    fn beat(&mut self, now: Instant) {
        if self.control.beating.load(Acquire) && self.next_beat.is_none() {
            self.next_beat = Some(now + BEAT);
        }
        if self.next_beat.is_none_or(|due| due > now) {
            return;
        }
        self.next_beat = Some(now + BEAT);
        self.kills.look(now, self.groups.kills());
        for worker in self.workers_mut().filter(|worker| worker.link.is_busy()) {
            worker.look(now);
        }
        // In this order: who submits after the store wakes us again.
        self.control.beating.store(false, std::sync::atomic::Ordering::SeqCst);
        // All are asked, and those that were busy until now once more.
        let used = self.workers().filter(|worker| worker.link.give_back(now)).count();
        if used > 0 || self.workers().any(|worker| worker.link.is_busy()) {
            self.control.beating.store(true, std::sync::atomic::Ordering::SeqCst);
        } else {
            self.next_beat = None;
        }
    }

    /// Kills workers that never came to `init`, or are never ready after that.
    fn check_starts(&mut self, now: Instant) {
        for worker in self.workers() {
            if let Some((_, cause)) = worker.start_ends(&self.settings).filter(|(at, _)| *at <= now)
            {
                worker.link.blame(cause);
            }
        }
    }

    /// Has workers replaced that are too old.
    fn retire_old(&self, now: Instant) {
        for worker in self.workers().filter(|worker| worker.link.is_ready()) {
            if worker.link.old_at().is_some_and(|at| at <= now)
                && let Some(why) = worker.link.wore_out(false)
            {
                self.gate.report(|reports| self.links.replace(&worker.link, why, reports));
            }
        }
    }

    /// When to wake without being woken.
    fn due(&self) -> Option<Instant> {
        let full = self.control.ending.load(Acquire) || self.missing() == 0;
        let starts = self.seats.iter().filter_map(|seat| match &seat.state {
            State::Empty(due) => (!full).then_some(*due),
            State::Taken(worker) => worker.start_ends(&self.settings).map(|(at, _)| at),
        });
        let old = self.workers().filter(|worker| worker.link.is_ready());
        let old = old.filter_map(|worker| worker.link.old_at());
        starts.chain(old).chain(self.next_beat).chain(self.next_output).chain(self.cut_at).min()
    }

    fn sleep(&self, now: Instant) {
        let timeout = self.due().map(|due| {
            let left = due.saturating_duration_since(now) + Duration::from_micros(100);
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 })
        });
        let pidfds: Vec<_> = self.workers().map(|worker| worker.link.pidfd()).collect();
        let gathering = self.next_output.is_some();
        let pipes = self.workers().filter(|_| !gathering).flat_map(Worker::pipes);
        let mut fds = vec![PollFd::new(&self.control.wake, PollFlags::IN)];
        fds.extend(pidfds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        fds.extend(pipes.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // An interrupted or failed wait is a short one: everything is looked at.
        let _ = poll(&mut fds, timeout.as_ref());
        let _ = rustix::io::read(&self.control.wake, &mut [0; 8]);
    }

    fn pass_output(&mut self, now: Instant) {
        if self.next_output.is_some_and(|due| now < due) {
            return;
        }
        let mut any = false;
        for worker in self.workers_mut() {
            any |= worker.stderr.drain();
            any |= worker.stdout.as_mut().is_some_and(Pipe::drain);
        }
        self.next_output = any.then(|| now + GATHER);
    }

    /// Reaps what has ended.
    fn bury_dead(&mut self) {
        for index in 0..self.seats.len() {
            let seat = &mut self.seats[index];
            let ended = matches!(&seat.state, State::Taken(worker) if worker.has_ended());
            if !ended {
                continue;
            }
            let now = Instant::now();
            let State::Taken(worker) = std::mem::replace(&mut seat.state, State::Empty(now)) else {
                continue;
            };
            let (failed, came_up) = (worker.failed_at_start(), !worker.is_starting());
            if !failed && worker.started.elapsed() >= START {
                self.control.succeeded();
            }
            let lost = self.bury(*worker);
            tracing::debug!(worker = lost.worker, pid = lost.pid, "worker was reaped");
            if failed && !self.control.ending.load(Acquire) {
                let pause = match came_up {
                    true => self.pause(),
                    false => self.failed(&lost.to_string()),
                };
                self.seats[index].state = State::Empty(now + pause);
            }
        }
    }

    /// Reaps one of them.
    fn bury(&mut self, worker: Worker) -> WorkerLoss {
        let Self { groups, kills, .. } = self;
        let (lost, group) = worker.bury(|| kills.claim(Instant::now(), groups.kills()));
        groups.remove(group);
        lost
    }

    /// Ends all workers: the idle ones exit by themselves, the others are
    /// killed, and so is what is left after a grace.
    fn end_all(&mut self, now: Instant) {
        let first = self.cut_at.is_none();
        let cut_at = *self.cut_at.get_or_insert(now + GRACE);
        for worker in self.workers() {
            if first {
                worker.link.dismiss();
            }
            if now >= cut_at || (first && (worker.link.is_busy() || worker.is_starting())) {
                worker.link.kill();
            }
        }
        if now >= cut_at {
            self.cut_at = Some(now + GRACE);
        }
    }
}

/// Also where a panic of ours ends: nobody may wait for what will not come.
impl Drop for Supervisor {
    fn drop(&mut self) {
        for seat in std::mem::take(&mut self.seats) {
            if let State::Taken(worker) = seat.state {
                worker.link.kill();
                let end = WaitId::PidFd(worker.link.pidfd());
                let _ = waitid(end, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
                self.bury(*worker);
            }
        }
        // A program that ends now would take the last lines along.
        self.printer = None;
        let _ = self.printed.recv_timeout(GRACE);
        self.gate.report(|reports| reports.ended());
    }
}

impl Worker {
    fn is_starting(&self) -> bool {
        !self.link.is_ready()
    }

    /// Until when it may be starting, and what it is lost to then.
    fn start_ends(&self, settings: &Settings) -> Option<(Instant, Cause)> {
        if !self.is_starting() || self.link.was_killed() {
            return None;
        }
        let (since, time, cause) = match self.link.greeted.get() {
            None => (self.started, settings.start_timeout, Cause::Silent),
            Some(greeted) => (*greeted, settings.warm_up_timeout, Cause::Unready),
        };
        // A time too long for the clock is for ever.
        Some((since.checked_add(time)?, cause))
    }

    fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let stdout = self.stdout.as_ref().and_then(|pipe| pipe.open()).map(AsFd::as_fd);
        stdout.into_iter().chain(self.stderr.open().map(AsFd::as_fd))
    }

    /// Notices a stop by a signal, work that nobody wants and that does not end,
    /// a worker that sleeps instead, and how much memory there is.
    fn look(&mut self, now: Instant) {
        if lasts(&mut self.stuck, self.link.stuck_at(), now) {
            self.link.blame(Cause::Stuck);
        }
        if lasts(&mut self.mute, self.link.mute_at(), now) {
            self.link.blame(Cause::Protocol);
        }
        if let Some(now) = system::memory(&format!("/proc/{}/statm", self.link.pid)) {
            self.sampled_bytes = self.sampled_bytes.max(now.resident_bytes);
        }
        if !self.is_stopped() {
            self.stopped_since = None;
            return;
        }
        let since = *self.stopped_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= STOPPED {
            self.link.blame(Cause::Stopped);
        }
    }

    /// Whether a signal holds it; a debugger does not count.
    fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::PidFd(self.link.pidfd()), options), Ok(Some(_)))
    }

    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::PidFd(self.link.pidfd()), options), Ok(None))
    }

    /// Whether its end says that the next one may fare no better.
    fn failed_at_start(&self) -> bool {
        let idle = self.link.done.load(Relaxed) == 0 && self.link.unanswered().is_empty();
        let unasked = idle && !self.link.was_unwanted();
        self.is_starting() || (unasked && self.started.elapsed() < START)
    }

    /// Reaps it, with the rest of its process group, and says how it ended.
    /// `system` asks whether the system killed it for want of memory.
    fn bury(self, system: impl FnOnce() -> bool) -> (WorkerLoss, Option<Group>) {
        let Self { link, group, stdout, stderr, sampled_bytes, .. } = self;
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
        let explained = link.was_unwanted();
        let mut report = None;
        link.set_lost(|blame| {
            let reaped = reap(link.pid);
            let cause = blame.or_else(|| cause(reaped));
            let shortage = match explained {
                true => None,
                false => shortage(cause, said, limit, system),
            };
            let lost = WorkerLoss {
                worker: link.number,
                pid: link.pid,
                cause,
                shortage,
                stderr: lines,
                memory_bytes: memory(reaped, sampled_bytes, link.memory_bytes()),
                memory_at_start_bytes: link.memory_before(),
                run_time: (since_ns > 0).then(|| since(since_ns, now_ns(ClockId::Monotonic))),
                cpu_time: (reaped.and_then(|reaped| reaped.cpu_ns))
                    .filter(|_| since_ns > 0)
                    .map(|cpu_ns| since(link.page.cpu_before_ns(), cpu_ns)),
                ..WorkerLoss::default()
            };
            report = Some(lost.clone());
            lost
        });
        (report.expect("set_lost calls its argument"), group)
    }
}

/// Whether the same task has been seen at each look for as long as a stopped
/// worker is waited for.
fn lasts(seen: &mut Option<(u64, Instant)>, seq: Option<u64>, now: Instant) -> bool {
    *seen = seq.map(|seq| match *seen {
        Some((before, since)) if before == seq => (seq, since),
        _ => (seq, now),
    });
    seen.is_some_and(|(_, since)| now.saturating_duration_since(since) >= STOPPED)
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
    let peak = reaped.and_then(|reaped| reaped.peak_bytes);
    peak.into_iter().chain(said).chain(Some(sampled)).filter(|bytes| *bytes > 0).max()
}

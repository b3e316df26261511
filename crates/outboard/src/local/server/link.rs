//! The server's end of one worker: what was sent and not answered, the bytes on
//! their way, and the kill.

use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use rustix::time::ClockId;
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::engine::{Flush, Stopped, Work};
use crate::error::{Cause, WorkerLoss};
use crate::ids::{SlotId, TaskId};
use crate::local::shm::arena::{Arena, Half, Ring, WARM};
use crate::local::shm::page::{Page, Word};
use crate::local::wire::{FunctionRef, Place, Run};
use crate::observe::event::RecycleReason;
use crate::task::system::now_ns;
use crate::value::payload::Payload;

use super::chunk::Chunk;
use super::outbox::{self, Outbox, Socket, Unsent};
use super::wear::Wear;
use crate::local::process::{self, watch};

/// One worker process, as the server sees it.
#[derive(Debug)]
pub(super) struct Link {
    weak: Weak<Self>,
    pub(super) number: usize,
    pub(super) pid: u32,
    pidfd: OwnedFd,
    pub(super) page: Page,
    pub(super) arena: Arena,
    /// How many bytes of its answers were read.
    pub(super) heard_bytes: AtomicU64,
    /// Its answers are to be looked at, bell or no bell.
    pub(super) poked: Notify,
    stream: Arc<UnixStream>,
    runtime: Handle,
    outgoing: Mutex<Outgoing>,
    /// It executes tasks from now on.
    ready: AtomicBool,
    /// Where placement knows it, unless it stands by.
    slot: Mutex<Option<SlotId>>,
    pub(super) done: AtomicU64,
    pub(super) started: Instant,
    wear: Wear,
    worn: AtomicBool,
    /// When it said hello: it came as far as `init`.
    pub(super) greeted: OnceLock<Instant>,
    /// Memory of its own when it was ready.
    own_at_start: AtomicU64,
    /// Resident memory when it was last measured.
    memory_measured: AtomicU64,
    killed: AtomicBool,
    /// It was killed or sent away on purpose.
    unwanted: AtomicBool,
    /// It may exit by itself.
    leaving: AtomicBool,
    blame: OnceLock<Cause>,
    lost: OnceLock<WorkerLoss>,
    exited: Notify,
}

/// Frames, in the order in which the gate decided them.
#[derive(Debug, Default)]
struct Outgoing {
    outbox: Outbox<Chunk>,
    /// Every task sent and not answered, in order.
    sent: VecDeque<Sent>,
    last_seq: u64,
    /// The scattered values that it was sent.
    shared: HashSet<u64>,
    /// What of the arena is in use for arguments.
    arguments: Ring,
    /// How far the arena was used for results, since that was given back.
    results_used: usize,
    /// The last task when it was last asked whether it gives pages back, and when
    /// that was first so.
    quiet: Option<(u64, Instant)>,
}

/// A task that was sent; its answer is still to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    /// Taken back, so the answer will be that it was skipped.
    revoked: bool,
    /// Nobody waits for its answer any more.
    unwanted: bool,
}

impl Link {
    pub(super) fn new(
        number: usize,
        pid: u32,
        pidfd: OwnedFd,
        (page, arena): (Page, Arena),
        stream: Arc<UnixStream>,
        runtime: Handle,
        wear: Wear,
    ) -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            weak: weak.clone(),
            number,
            pid,
            pidfd,
            page,
            arena,
            heard_bytes: AtomicU64::new(0),
            poked: Notify::new(),
            stream,
            runtime,
            outgoing: Mutex::default(),
            ready: AtomicBool::new(false),
            slot: Mutex::default(),
            done: AtomicU64::new(0),
            started: Instant::now(),
            wear,
            worn: AtomicBool::new(false),
            greeted: OnceLock::new(),
            own_at_start: AtomicU64::new(0),
            memory_measured: AtomicU64::new(0),
            killed: AtomicBool::new(false),
            unwanted: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            blame: OnceLock::new(),
            lost: OnceLock::new(),
            exited: Notify::new(),
        })
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a task to what is to be written.
    pub(super) fn start(&self, work: &Work<'_>, function: FunctionRef) {
        let mut outgoing = self.outgoing();
        outgoing.last_seq += 1;
        let seq = outgoing.last_seq;
        self.page.send(seq);
        let Work { task, attempt, deadline, origin, .. } = *work;
        let deadline_ns = deadline.map_or(0, monotonic_ns);
        outgoing.sent.push_back(Sent { seq, task, attempt, revoked: false, unwanted: false });
        for value in &work.args.scattered {
            if let Some(file) = value.file.as_ref().filter(|_| outgoing.shared.insert(value.id)) {
                outgoing.outbox.push(seq, Chunk::share(value.id, file.clone()));
            }
        }
        let context = origin.and_then(|origin| origin.context.clone());
        let run = Run { seq, function, attempt, deadline_ns, context };
        outgoing.outbox.append(run, &work.args.payload);
    }

    /// Has the worker forget a scattered value, if it was sent it.
    pub(super) fn forget(&self, id: u64) {
        let mut outgoing = self.outgoing();
        if !outgoing.shared.remove(&id) {
            return;
        }
        let next = outgoing.last_seq + 1;
        outgoing.outbox.push(next, Chunk::forget(id));
        drop(outgoing);
        // Others may wait for what the caller holds.
        if let Some(link) = self.weak.upgrade() {
            self.runtime.spawn(async move { link.flush() });
        }
    }

    /// Takes the oldest task that was sent, which is the one that `seq`, read
    /// from the worker, must be. `skipped` is whether it said that it did not
    /// run, which it must of those that were taken back and of no other; what it
    /// ran, its page says to be done. It cannot have answered what is not written
    /// yet.
    pub(super) fn answered(&self, seq: u64, skipped: bool) -> Option<Sent> {
        let mut outgoing = self.outgoing();
        let written = outgoing.outbox.has_begun(seq);
        let word = if skipped { Word::Revoked } else { Word::Done };
        let written = written && self.page.word(seq) == Some(word);
        let honest = |sent: &&Sent| sent.seq == seq && sent.revoked == skipped && written;
        let first = *outgoing.sent.front().filter(honest)?;
        outgoing.sent.pop_front();
        outgoing.arguments.release(seq);
        Some(first)
    }

    /// What was sent with that number and has started. Its answer, or one before,
    /// may be there already and not be looked at yet.
    pub(super) fn sent(&self, seq: u64) -> Option<Sent> {
        let outgoing = self.outgoing();
        let sent = outgoing.sent.iter().find(|sent| sent.seq == seq && !sent.revoked).copied()?;
        (self.page.word(seq) != Some(Word::Sent)).then_some(sent)
    }

    /// Copies a result out of the arena; `None` if it cannot lie there.
    pub(super) fn read_result(&self, seq: u64, offset: u64, bytes: u64) -> Option<Payload> {
        let result = self.arena.read(Half::Results, offset, bytes)?;
        self.page.set_read(seq);
        let mut outgoing = self.outgoing();
        outgoing.results_used = outgoing.results_used.max((offset + bytes) as usize);
        Some(result.into())
    }

    /// Gives the pages of its arena back to the system, if it has had nothing to
    /// do [for a while](WARM); whether it is to be asked again.
    pub(super) fn give_back(&self, now: Instant) -> bool {
        loop {
            // The mutex is held for one step at a time: others wait for it.
            let mut outgoing = self.outgoing();
            let used = (outgoing.arguments.idle_used(), outgoing.results_used);
            let (idle, last) = (outgoing.sent.is_empty(), outgoing.last_seq);
            let quiet = outgoing.quiet.filter(|(since, _)| idle && *since == last);
            let (_, since) = *outgoing.quiet.insert(quiet.unwrap_or((last, now)));
            if !idle || (used != (0, 0) && now < since + WARM) {
                return true;
            }
            match used {
                (0, 0) => return false,
                (0, used) => outgoing.results_used = self.arena.give_back(Half::Results, used),
                (used, _) => {
                    let left = self.arena.give_back(Half::Arguments, used);
                    outgoing.arguments.gave_back(left);
                }
            }
        }
    }

    /// Takes back a task, unless it has started.
    pub(super) fn revoke(&self, task: TaskId) -> bool {
        let mut outgoing = self.outgoing();
        match outgoing.find(task) {
            Some(sent) if self.page.revoke(sent.seq) => {
                (sent.revoked, sent.unwanted) = (true, true);
                true
            }
            _ => false,
        }
    }

    /// Takes back all that has not started.
    pub(super) fn withdraw(&self) -> Vec<TaskId> {
        let mut outgoing = self.outgoing();
        let mut withdrawn = Vec::new();
        for sent in outgoing.sent.iter_mut().filter(|sent| !sent.revoked) {
            if self.page.revoke(sent.seq) {
                (sent.revoked, sent.unwanted) = (true, true);
                withdrawn.push(sent.task);
            }
        }
        withdrawn
    }

    /// Where placement knows it.
    pub(super) fn slot(&self) -> Option<SlotId> {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Placement knows it there from now on, or no longer.
    pub(super) fn set_slot(&self, slot: Option<SlotId>) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = slot;
    }

    /// It said that it executes tasks; whether that was the first time.
    pub(super) fn set_ready(&self) -> bool {
        let memory = self.page.memory();
        self.own_at_start.store(memory.own_bytes, Relaxed);
        self.memory_measured.store(memory.resident_bytes, Relaxed);
        !self.ready.swap(true, AcqRel)
    }

    /// A task was measured that ended with so much resident memory; gives how
    /// much there was before it.
    pub(super) fn measured(&self, memory_bytes: u64) -> Option<u64> {
        let before = self.memory_measured.swap(memory_bytes, Relaxed);
        (before > 0).then_some(before)
    }

    /// Resident memory before the task that it has, where that is known.
    pub(super) fn memory_before(&self) -> Option<u64> {
        Some(self.memory_measured.load(Relaxed)).filter(|bytes| *bytes > 0)
    }

    /// Whether it executes tasks.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Acquire)
    }

    /// Takes a task back, or asks it to stop.
    pub(super) fn stop(&self, task: TaskId) -> Stopped {
        if self.revoke(task) {
            return Stopped::Unstarted;
        }
        let seq = self.outgoing().find(task).map(|sent| {
            sent.unwanted = true;
            sent.seq
        });
        let Some(seq) = seq else { return Stopped::Continues };
        if self.page.stop(seq) {
            return Stopped::Asked { listens: self.page.listens(seq) };
        }
        match self.page.word(seq) {
            Some(Word::Done) => Stopped::Continues,
            _ => {
                self.blame(Cause::Protocol);
                Stopped::Killed
            }
        }
    }

    /// Kills the worker for a task that was asked to stop, unless that has
    /// ended.
    pub(super) fn kill_for(&self, task: TaskId) -> bool {
        let seq = self.outgoing().find(task).map(|sent| sent.seq);
        let Some(seq) = seq else { return false };
        if self.page.kill(seq) {
            self.unwanted.store(true, Release);
            self.kill();
            return true;
        }
        let nonsense = self.page.word(seq) != Some(Word::Done);
        if nonsense {
            self.blame(Cause::Protocol);
        }
        nonsense
    }

    /// Whether a task has started.
    pub(super) fn started(&self, task: TaskId) -> bool {
        let seq = self.outgoing().find(task).map(|sent| sent.seq);
        seq.is_some_and(|seq| self.page.word(seq) != Some(Word::Sent))
    }

    /// What the worker took and did not answer, after its death: one task, or
    /// more if it forged its page.
    pub(super) fn unanswered(&self) -> Vec<(TaskId, u32)> {
        let outgoing = self.outgoing();
        let taken = |sent: &&Sent| !sent.revoked && self.page.word(sent.seq) != Some(Word::Sent);
        outgoing.sent.iter().filter(taken).map(|sent| (sent.task, sent.attempt)).collect()
    }

    /// What the worker would have started next, if it died unasked with nothing
    /// started, or for what it wrote.
    pub(super) fn suspect(&self) -> Option<TaskId> {
        let asked = self.was_unwanted() && self.blame.get() != Some(&Cause::Protocol);
        if asked || !self.unanswered().is_empty() {
            return None;
        }
        self.outgoing().sent.front().filter(|sent| !sent.revoked).map(|sent| sent.task)
    }

    /// Whether it has something to do.
    pub(super) fn is_busy(&self) -> bool {
        !self.outgoing().sent.is_empty()
    }

    /// The number of the task that it owes the next answer to, if nobody wants
    /// that or any other of its answers, and it is not one that goes on because
    /// it was only asked to stop.
    pub(super) fn stuck_at(&self) -> Option<u64> {
        let outgoing = self.outgoing();
        let unwanted = outgoing.sent.iter().all(|sent| sent.unwanted);
        let first = outgoing.sent.front().filter(|_| unwanted)?.seq;
        (self.page.word(first) != Some(Word::Stopping)).then_some(first)
    }

    /// The number of the task that it owes the next step to, if it sleeps all
    /// the same, with nothing to be read on either side and no task running: it
    /// takes no further task, or a task wrote to its page. Has the reader look for
    /// an answer whose bell was lost in that.
    pub(super) fn mute_at(&self) -> Option<u64> {
        let outgoing = self.outgoing();
        let first = outgoing.sent.front().filter(|_| outgoing.outbox.is_idle())?.seq;
        let runs = matches!(self.page.word(first), Some(Word::Running | Word::Stopping));
        drop(outgoing);
        let mute = !runs && !self.was_killed() && process::is_asleep(self.pid);
        if mute {
            self.poked.notify_one();
        }
        let read = self.page.bell().said() == self.heard_bytes.load(Relaxed);
        (mute && read && rustix::io::ioctl_fionread(&*self.stream) == Ok(0)).then_some(first)
    }

    /// Kills the worker, for a reason that its loss will be put down to.
    pub(super) fn blame(&self, cause: Cause) {
        let _ = self.blame.set(cause);
        self.unwanted.store(true, Release);
        self.kill();
    }

    /// Kills the worker's whole process group.
    ///
    /// The supervisor reaps it only after it has set `lost`, and takes the
    /// outgoing mutex for that, so the number cannot be another process's yet.
    pub(super) fn kill(&self) {
        let _unreaped = self.outgoing();
        if self.lost.get().is_none() && !self.killed.swap(true, AcqRel) {
            self.kill_group();
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
    }

    /// Kills what is left of the worker's process group.
    pub(super) fn kill_group(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Whether it was killed, for whatever reason.
    pub(super) fn was_killed(&self) -> bool {
        self.killed.load(Acquire)
    }

    /// Whether its end was wanted.
    pub(super) fn was_unwanted(&self) -> bool {
        self.unwanted.load(Acquire)
    }

    /// Its stream ended: kills it, unless it is on its way out.
    pub(super) fn hung_up(&self) {
        if !self.leaving.load(Acquire) {
            self.kill();
        }
    }

    /// Becomes readable when the process has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The supervisor's word on how the process ended; `reap` makes it.
    pub(super) fn set_lost(&self, reap: impl FnOnce(Option<Cause>) -> WorkerLoss) {
        let unreaped = self.outgoing();
        let _ = self.lost.set(reap(self.blame.get().copied()));
        drop(unreaped);
        // A child that the worker forked may hold the other end open: what was
        // written is still read, and then the stream ends.
        self.shutdown();
        self.exited.notify_one();
    }

    /// How the process ended, once it has.
    pub(super) async fn lost(&self) -> &WorkerLoss {
        loop {
            if let Some(lost) = self.lost.get() {
                return lost;
            }
            self.exited.notified().await;
        }
    }

    /// Sends an idle worker away: it exits by itself.
    pub(super) fn dismiss(&self) {
        self.unwanted.store(true, Release);
        self.leaving.store(true, Release);
        self.shutdown();
    }

    fn shutdown(&self) {
        let _ = shutdown(&*self.stream, Shutdown::Both);
    }

    /// The monotonic clock, in nanoseconds, when it started the task that it is
    /// executing; 0 if it is executing none.
    pub(super) fn running_since(&self) -> u64 {
        match self.unanswered()[..] {
            [] => 0,
            _ => self.page.running_since(),
        }
    }

    /// The most memory it was seen to have, in bytes.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        Some(self.page.memory().resident_bytes).filter(|bytes| *bytes > 0)
    }

    /// Why it is to be replaced, said once. It was just measured between tasks, or not.
    pub(super) fn wore_out(&self, measured: bool) -> Option<RecycleReason> {
        let age = self.wear.until.map(|_| Instant::now());
        let own_bytes = if measured { self.page.memory().own_bytes } else { 0 };
        let memory = (own_bytes, self.own_at_start.load(Relaxed));
        let out = self.wear.out(age.unwrap_or(self.started), self.done.load(Relaxed), memory);
        out.filter(|_| !self.worn.swap(true, AcqRel))
    }

    /// When it is too old, unless it is to be replaced already.
    pub(super) fn old_at(&self) -> Option<Instant> {
        self.wear.until.filter(|_| !self.worn.load(Acquire))
    }

    /// One more task was executed; whether it was the first.
    pub(super) fn count_done(&self) -> bool {
        self.done.fetch_add(1, Relaxed) == 0
    }

    /// What became of writing, or what has to.
    fn wrote(&self, result: Result<(), Unsent>) {
        match result {
            Ok(()) => {}
            Err(Unsent::Full) => self.write_later(),
            Err(Unsent::Much) => self.write_elsewhere(),
            // The worker is dead, or the system is short of memory: frames that
            // cannot be sent would never be answered.
            Err(Unsent::Broken) => self.kill(),
        }
    }

    /// The socket is full: a task of the runtime goes on as it drains.
    fn write_later(&self) {
        let Some(link) = self.weak.upgrade() else { return };
        self.runtime.spawn(async move {
            // Only while it is full: a socket that is watched for room wakes this
            // process each time that the worker reads a task.
            let watched = link.stream.try_clone();
            let watched = watched.and_then(|stream| watch(Arc::new(stream), Interest::WRITABLE));
            let Ok(watched) = watched else { return link.wrote(Err(Unsent::Broken)) };
            while let Ok(mut room) = watched.writable().await {
                match outbox::resume(&*link) {
                    Err(Unsent::Full) => room.clear_ready(),
                    result => return link.wrote(result),
                }
            }
        });
    }

    /// Copying that much would keep an event loop from its other work.
    fn write_elsewhere(&self) {
        let Some(link) = self.weak.upgrade() else { return };
        self.runtime.spawn_blocking(move || {
            outbox::change_rest(&*link, |chunk| link.lay(chunk));
            link.wrote(outbox::resume(&*link));
        });
    }

    /// Puts a large payload where the worker finds it, just before the message
    /// that says so: what waits in the queue holds no memory twice, and no
    /// descriptor.
    fn lay(&self, chunk: Chunk) -> Chunk {
        let Chunk::Large(run, payload) = chunk else { return chunk };
        let bytes = payload.len();
        let place = {
            let mut outgoing = self.outgoing();
            if outgoing.is_revoked(run.seq) {
                // The worker will skip it, whatever its arguments are.
                return run.framed(&[]);
            }
            outgoing.arguments.place(run.seq, bytes)
        };
        let Some(offset) = place else { return run.with_file(&payload) };
        self.arena.write(Half::Arguments, offset, &payload);
        run.placed(Place::Arena { offset: offset as u64, bytes: bytes as u64 })
    }
}

impl Socket for Link {
    type Chunk = Chunk;

    fn with<R>(&self, change: impl FnOnce(&mut Outbox<Chunk>) -> R) -> R {
        change(&mut self.outgoing().outbox)
    }

    fn prepare(&self, chunk: Chunk) -> Result<Chunk, (Chunk, Unsent)> {
        if chunk.is_huge() { Err((chunk, Unsent::Much)) } else { Ok(self.lay(chunk)) }
    }

    fn send(&self, chunk: &Chunk, from: usize) -> Result<usize, Unsent> {
        loop {
            match chunk.send(&*self.stream, from) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(Unsent::Full),
                Err(_) => return Err(Unsent::Broken),
            }
        }
    }
}

/// An instant by the monotonic clock, which processes share.
fn monotonic_ns(at: Instant) -> u64 {
    let left = at.saturating_duration_since(Instant::now());
    now_ns(ClockId::Monotonic).saturating_add(left.as_nanos() as u64)
}

impl Flush for Link {
    fn flush(&self) {
        self.wrote(outbox::write(self));
    }
}

impl Outgoing {
    /// The latest sending of a task that was not taken back.
    fn find(&mut self, task: TaskId) -> Option<&mut Sent> {
        self.sent.iter_mut().rev().find(|sent| sent.task == task && !sent.revoked)
    }

    /// Whether a task was taken back.
    fn is_revoked(&self, seq: u64) -> bool {
        self.sent.iter().any(|sent| sent.seq == seq && sent.revoked)
    }
}

//! The server's end of one worker: what was sent and not answered, the bytes on
//! their way, and the kill.

use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};
use rustix::time::ClockId;
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::{Notify, SetOnce, watch};

use crate::engine::{Flush, Stopped, Work};
use crate::error::{Cause, Lost};
use crate::ids::{SlotId, TaskId};
use crate::local::process::{self, Reaped};
use crate::local::shm::arena::{Arena, Half, Ring, WARM};
use crate::local::shm::page::{Page, Word};
use crate::local::wire::{FunctionRef, Place, Run};
use crate::observe::event::Worn;
use crate::task::system::now_ns;
use crate::value::payload::Payload;

use super::chunk::Chunk;
use super::life::{Life, Reason, Stage};
use super::outbox::{self, Outbox, Socket, Unsent};
use super::wear::Wear;

/// One worker process, as the server sees it.
#[derive(Debug)]
pub(super) struct Link {
    weak: Weak<Self>,
    pub(super) number: usize,
    pub(super) pid: u32,
    pidfd: Arc<OwnedFd>,
    pub(super) started: Instant,
    wear: Wear,
    pub(super) page: Page,
    pub(super) arena: Arena,
    stream: Arc<UnixStream>,
    runtime: Handle,
    pub(super) heard: Heard,
    stage: watch::Sender<Stage>,
    /// Taken last of all: after the gate's mutex, and that of all links.
    locked: Mutex<Locked>,
    lost: SetOnce<Lost>,
}

/// What the reader of a worker's answers and those who look after it tell each other.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// How many bytes of its answers were read.
    bytes: AtomicU64,
    /// Its answers are to be looked at, bell or no bell.
    poked: Notify,
}

/// What is decided about a worker, step by step.
#[derive(Debug, Default)]
struct Locked {
    life: Life,
    /// Where placement knows it, unless it stands by.
    slot: Option<SlotId>,
    outgoing: Outgoing,
    history: History,
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

/// What a worker has done, and what it had of memory.
#[derive(Debug, Default)]
struct History {
    /// Tasks that it has executed.
    done: u64,
    /// Memory of its own when it was ready.
    own_bytes_at_start: u64,
    /// Resident memory when it was last measured.
    measured_bytes: Option<u64>,
    /// It was said that it is to be replaced.
    worn: bool,
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

/// An answer to a task, with what it says of its worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) slot: SlotId,
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    /// It is the first that the worker has executed.
    pub(super) first: bool,
    /// Resident memory before it, where that is known.
    pub(super) memory_before_bytes: Option<u64>,
    /// Why the worker is to be replaced now.
    pub(super) worn: Option<Worn>,
}

impl Heard {
    /// So many bytes of answers were read.
    pub(super) fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Relaxed);
    }

    /// Completes when somebody wants the answers looked at.
    pub(super) async fn poked(&self) {
        self.poked.notified().await;
    }
}

impl Link {
    pub(super) fn new(
        number: usize,
        pid: u32,
        pidfd: Arc<OwnedFd>,
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
            started: Instant::now(),
            wear,
            page,
            arena,
            stream,
            runtime,
            heard: Heard::default(),
            stage: watch::Sender::default(),
            locked: Mutex::default(),
            lost: SetOnce::new(),
        })
    }

    fn locked(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has the mutex.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.locked.try_lock().is_ok()
    }

    /// Appends a task to what is to be written.
    pub(super) fn start(&self, work: &Work<'_>, function: FunctionRef) {
        let mut locked = self.locked();
        let outgoing = &mut locked.outgoing;
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
        let mut locked = self.locked();
        let outgoing = &mut locked.outgoing;
        if !outgoing.shared.remove(&id) {
            return;
        }
        let next = outgoing.last_seq + 1;
        outgoing.outbox.push(next, Chunk::forget(id));
        drop(locked);
        // Others may wait for what the caller holds.
        if let Some(link) = self.weak.upgrade() {
            self.runtime.spawn(async move { link.flush() });
        }
    }

    /// The worker has answered that it did not execute a task; `None` if it cannot have.
    pub(super) fn skipped(&self, seq: u64) -> Option<(SlotId, TaskId)> {
        let mut locked = self.locked();
        let slot = locked.slot?;
        let sent = locked.outgoing.answered(&self.page, seq, true)?;
        Some((slot, sent.task))
    }

    /// The worker has answered a task that it executed, and perhaps measured how much
    /// resident memory it had then; `None` if it cannot have.
    pub(super) fn answered(&self, seq: u64, memory_bytes: Option<u64>) -> Option<Answered> {
        let mut locked = self.locked();
        let slot = locked.slot?;
        let Sent { task, attempt, .. } = locked.outgoing.answered(&self.page, seq, false)?;
        let history = &mut locked.history;
        history.done += 1;
        let memory_before_bytes = match memory_bytes {
            Some(now) => history.measured_bytes.replace(now),
            None => None,
        };
        let own_bytes = memory_bytes.map_or(0, |_| self.page.memory().own_bytes);
        let (first, worn) = (history.done == 1, self.wore_out(history, own_bytes));
        Some(Answered { slot, task, attempt, first, memory_before_bytes, worn })
    }

    /// What was sent with that number and has started. Its answer, or one before,
    /// may be there already and not be looked at yet.
    pub(super) fn sent(&self, seq: u64) -> Option<Sent> {
        let locked = self.locked();
        let mut sent = locked.outgoing.sent.iter();
        let sent = sent.find(|sent| sent.seq == seq && !sent.revoked).copied()?;
        (self.page.word(seq) != Some(Word::Sent)).then_some(sent)
    }

    /// Copies a result out of the arena; `None` if it cannot lie there.
    pub(super) fn read_result(&self, seq: u64, offset: u64, bytes: u64) -> Option<Payload> {
        let result = self.arena.read(Half::Results, offset, bytes)?;
        self.page.set_read(seq);
        let outgoing = &mut self.locked().outgoing;
        outgoing.results_used = outgoing.results_used.max((offset + bytes) as usize);
        Some(result.into())
    }

    /// Gives the pages of its arena back to the system, if it has had nothing to
    /// do [for a while](WARM); whether it is to be asked again.
    pub(super) fn give_back(&self, now: Instant) -> bool {
        loop {
            // The mutex is held for one step at a time: others wait for it.
            let mut locked = self.locked();
            let outgoing = &mut locked.outgoing;
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
        match self.locked().outgoing.find(task) {
            Some(sent) if self.page.revoke(sent.seq) => {
                (sent.revoked, sent.unwanted) = (true, true);
                true
            }
            _ => false,
        }
    }

    /// Takes back all that has not started.
    pub(super) fn withdraw(&self) -> Vec<TaskId> {
        let mut withdrawn = Vec::new();
        for sent in self.locked().outgoing.sent.iter_mut().filter(|sent| !sent.revoked) {
            if self.page.revoke(sent.seq) {
                (sent.revoked, sent.unwanted) = (true, true);
                withdrawn.push(sent.task);
            }
        }
        withdrawn
    }

    /// Where placement knows it.
    pub(super) fn slot(&self) -> Option<SlotId> {
        self.locked().slot
    }

    /// Placement knows it there from now on, or no longer.
    pub(super) fn set_slot(&self, slot: Option<SlotId>) {
        self.locked().slot = slot;
    }

    /// How far it came up.
    pub(super) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// How far it came up, step by step.
    pub(super) fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// It said hello; whether that was due.
    pub(super) fn greet(&self) -> bool {
        self.stage.send_if_modified(|stage| stage.greet(Instant::now()))
    }

    /// It said that it executes tasks, on that thread; whether that was due.
    pub(super) fn set_ready(&self, thread: u32) -> bool {
        let memory = self.page.memory();
        let mut locked = self.locked();
        locked.history.own_bytes_at_start = memory.own_bytes;
        locked.history.measured_bytes = Some(memory.resident_bytes).filter(|bytes| *bytes > 0);
        drop(locked);
        self.stage.send_if_modified(|stage| stage.serve(thread))
    }

    /// Whether it executes tasks.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage(), Stage::Serving { .. })
    }

    /// How many tasks it has executed.
    pub(super) fn done(&self) -> u64 {
        self.locked().history.done
    }

    /// Resident memory before the task that it has, where that is known.
    pub(super) fn memory_before(&self) -> Option<u64> {
        self.locked().history.measured_bytes
    }

    /// Takes a task back, or asks it to stop.
    pub(super) fn stop(&self, task: TaskId) -> Stopped {
        if self.revoke(task) {
            return Stopped::Unstarted;
        }
        let seq = self.locked().outgoing.find(task).map(|sent| {
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
                self.kill(Reason::Blame(Cause::Protocol));
                Stopped::Killed
            }
        }
    }

    /// Kills the worker for a task that was asked to stop, unless that has
    /// ended.
    pub(super) fn kill_for(&self, task: TaskId) -> bool {
        let seq = self.locked().outgoing.find(task).map(|sent| sent.seq);
        let Some(seq) = seq else { return false };
        if self.page.kill(seq) {
            self.kill(Reason::Unwanted);
            return true;
        }
        let nonsense = self.page.word(seq) != Some(Word::Done);
        if nonsense {
            self.kill(Reason::Blame(Cause::Protocol));
        }
        nonsense
    }

    /// Whether a task has started.
    pub(super) fn started(&self, task: TaskId) -> bool {
        let seq = self.locked().outgoing.find(task).map(|sent| sent.seq);
        seq.is_some_and(|seq| self.page.word(seq) != Some(Word::Sent))
    }

    /// What the worker took and did not answer, after its death: one task, or
    /// more if it forged its page.
    pub(super) fn unanswered(&self) -> Vec<(TaskId, u32)> {
        self.locked()
            .outgoing
            .unanswered(&self.page)
            .map(|sent| (sent.task, sent.attempt))
            .collect()
    }

    /// What the worker would have started next, if it died unasked with nothing
    /// started, or for what it wrote.
    pub(super) fn suspect(&self) -> Option<TaskId> {
        let locked = self.locked();
        let asked = locked.life.is_unwanted() && locked.life.blame() != Some(Cause::Protocol);
        if asked || locked.outgoing.unanswered(&self.page).next().is_some() {
            return None;
        }
        locked.outgoing.sent.front().filter(|sent| !sent.revoked).map(|sent| sent.task)
    }

    /// Whether it has something to do.
    pub(super) fn is_busy(&self) -> bool {
        !self.locked().outgoing.sent.is_empty()
    }

    /// The number of the task that it owes the next answer to, if nobody wants
    /// that or any other of its answers, and it is not one that goes on because
    /// it was only asked to stop.
    pub(super) fn stuck_at(&self) -> Option<u64> {
        let locked = self.locked();
        let outgoing = &locked.outgoing;
        let unwanted = outgoing.sent.iter().all(|sent| sent.unwanted);
        let first = outgoing.sent.front().filter(|_| unwanted)?.seq;
        (self.page.word(first) != Some(Word::Stopping)).then_some(first)
    }

    /// The number of the task that it owes the next step to, if it sleeps all
    /// the same, with nothing to be read on either side and no task running: it
    /// takes no further task, or a task wrote to its page. Has the reader look for
    /// an answer whose bell was lost in that.
    pub(super) fn mute_at(&self) -> Option<u64> {
        let (first, thread) = {
            let locked = self.locked();
            let outgoing = &locked.outgoing;
            let first = outgoing.sent.front().filter(|_| outgoing.outbox.is_idle())?.seq;
            let Stage::Serving { thread } = self.stage() else { return None };
            (locked.life == Life::Up || locked.life == Life::Leaving).then_some((first, thread))?
        };
        // Files are read without the mutex: the gate waits for that.
        let runs = matches!(self.page.word(first), Some(Word::Running | Word::Stopping));
        let mute = !runs && process::is_asleep(self.pid, thread);
        if mute {
            self.heard.poked.notify_one();
        }
        let read = self.page.bell().said() == self.heard.bytes.load(Relaxed);
        (mute && read && rustix::io::ioctl_fionread(&*self.stream) == Ok(0)).then_some(first)
    }

    /// Kills the worker's whole process group, unless that was done.
    ///
    /// It is reaped under the same mutex ([`reap`](Self::reap)), so the number cannot be
    /// another process's yet.
    pub(super) fn kill(&self, reason: Reason) {
        let mut locked = self.locked();
        if locked.life.kill(reason) {
            self.kill_group();
            let _ = pidfd_send_signal(&*self.pidfd, Signal::KILL);
        }
    }

    /// Kills what is left of the worker's process group.
    pub(super) fn kill_group(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// What was done to it.
    pub(super) fn life(&self) -> Life {
        self.locked().life
    }

    /// Its stream ended: kills it, unless it is on its way out.
    pub(super) fn hung_up(&self) {
        if self.life() != Life::Leaving {
            self.kill(Reason::Broken);
        }
    }

    /// Becomes readable when the process has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        (*self.pidfd).as_fd()
    }

    /// Reaps the process, which has ended; nobody signals its number from now on.
    pub(super) fn reap(&self) -> (Option<Reaped>, Life) {
        let mut locked = self.locked();
        let reaped = process::reap(self.pid);
        locked.life.reap();
        (reaped, locked.life)
    }

    /// The supervisor's word on how the process ended, once it is reaped.
    pub(super) fn set_lost(&self, lost: Lost) {
        let _ = self.lost.set(lost);
        // A child that the worker forked may hold the other end open: what was
        // written is still read, and then the stream ends.
        self.shutdown();
    }

    /// How the process ended, once it has.
    pub(super) async fn lost(&self) -> &Lost {
        self.lost.wait().await
    }

    /// Sends an idle worker away: it exits by itself.
    pub(super) fn dismiss(&self) {
        self.locked().life.dismiss();
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

    /// Why it is to be replaced, said once.
    fn wore_out(&self, history: &mut History, own_bytes: u64) -> Option<Worn> {
        let now = self.wear.until.map_or(self.started, |_| Instant::now());
        let memory = (own_bytes, history.own_bytes_at_start);
        let out = self.wear.out(now, history.done, memory);
        out.filter(|_| !std::mem::replace(&mut history.worn, true))
    }

    /// When it is too old, unless it is to be replaced already.
    pub(super) fn old_at(&self) -> Option<Instant> {
        let until = self.wear.until?;
        (self.is_ready() && !self.locked().history.worn).then_some(until)
    }

    /// Why it is to be replaced now that it is too old, said once.
    pub(super) fn grew_old(&self, now: Instant) -> Option<Worn> {
        self.old_at().filter(|at| *at <= now)?;
        self.wore_out(&mut self.locked().history, 0)
    }

    /// What became of writing, or what has to.
    fn wrote(&self, result: Result<(), Unsent>) {
        match result {
            Ok(()) => {}
            Err(Unsent::Full) => self.write_later(),
            Err(Unsent::Much) => self.write_elsewhere(),
            // The worker is dead, or the system is short of memory: frames that
            // cannot be sent would never be answered.
            Err(Unsent::Broken) => self.kill(Reason::Broken),
        }
    }

    /// The socket is full: a task of the runtime goes on as it drains.
    fn write_later(&self) {
        let Some(link) = self.weak.upgrade() else { return };
        self.runtime.spawn(async move {
            // Only while it is full: a socket that is watched for room wakes this
            // process each time that the worker reads a task.
            let watched = link.stream.try_clone();
            let watched =
                watched.and_then(|stream| process::watch(Arc::new(stream), Interest::WRITABLE));
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
            let outgoing = &mut self.locked().outgoing;
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
        change(&mut self.locked().outgoing.outbox)
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

    /// Takes the oldest task that was sent, which is the one that `seq`, read
    /// from the worker, must be. `skipped` is whether it said that it did not
    /// run, which it must of those that were taken back and of no other; what it
    /// ran, its page says to be done. It cannot have answered what is not written
    /// yet.
    fn answered(&mut self, page: &Page, seq: u64, skipped: bool) -> Option<Sent> {
        let word = if skipped { Word::Revoked } else { Word::Done };
        let written = self.outbox.has_begun(seq) && page.word(seq) == Some(word);
        let honest = |sent: &&Sent| sent.seq == seq && sent.revoked == skipped && written;
        let first = *self.sent.front().filter(honest)?;
        self.sent.pop_front();
        self.arguments.release(seq);
        Some(first)
    }

    /// What the worker took and did not answer.
    fn unanswered(&self, page: &Page) -> impl Iterator<Item = &Sent> {
        let taken = |sent: &&Sent| !sent.revoked && page.word(sent.seq) != Some(Word::Sent);
        self.sent.iter().filter(taken)
    }

    /// Whether a task was taken back.
    fn is_revoked(&self, seq: u64) -> bool {
        self.sent.iter().any(|sent| sent.seq == seq && sent.revoked)
    }
}

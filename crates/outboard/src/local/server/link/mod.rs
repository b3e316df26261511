//! The server's end of one worker: what was sent and not answered, the bytes on
//! their way, and the kill.

mod ears;
mod end;
mod items;
mod life;
mod python;
mod reader;
mod spinning;
mod vigil;

pub(super) use ears::Ears;
pub(super) use end::Process;
pub(super) use reader::Reader;
pub(super) use vigil::{Rest, Vigil};

use std::collections::{HashSet, VecDeque};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::time::ClockId;
use tokio::io::Interest;
use tokio::runtime::Handle;
use tokio::sync::{Notify, SetOnce, watch};
use tokio::time::timeout_at;

use crate::engine::{Flush, Stopped, Work};
use crate::error::{Cause, WorkerLoss};
use crate::ids::{SlotId, TaskId};
use crate::local::process;
use crate::local::shm::arena::{Arena, Half, Ring};
use crate::local::shm::items as shared_items;
use crate::local::shm::page::{Page, Word};
use crate::local::wire::{Call, FunctionRef, Place};
use crate::observe::event::RecycleReason;
use crate::offload;
use crate::os::process as system;
use crate::task::system::now_ns;

use items::{Credit, Streams};
use life::{Life, Reason, Stage};
use python::OfPython;
use spinning::Waits;

use super::chunk::Chunk;
use super::outbox::{self, Outbox, Socket, Unsent};
use super::program::Functions;
use super::wear::Wear;

/// One worker process, as the server sees it.
#[derive(Debug)]
pub(super) struct Link {
    weak: Weak<Self>,
    pub(super) number: usize,
    pub(super) pid: u32,
    handle: Arc<system::Handle>,
    pub(super) started: Instant,
    wear: Wear,
    page: Page,
    arena: Arena,
    stream: Arc<UnixStream>,
    /// The same, to be watched for room while the other is watched for answers. Made at the
    /// start, for later there may be no descriptor left.
    writes: Arc<UnixStream>,
    runtime: Handle,
    heard: Heard,
    stage: watch::Sender<Stage>,
    /// Taken last of all: after the gate's mutex, and that of all links.
    locked: Mutex<Locked>,
    /// Its functions, where its program is another one.
    functions: OnceLock<Arc<Functions>>,
    /// It is Python.
    python: Option<OfPython>,
    lost: SetOnce<WorkerLoss>,
    /// Who hears its answers.
    ears: OnceLock<Weak<Ears>>,
    waits: Waits,
    /// Its reader has said so to the gate.
    reported: SetOnce<()>,
}

/// What the reader of a worker's answers and those who look after it tell each other.
#[derive(Debug, Default)]
struct Heard {
    /// How many bytes of its answers were read.
    bytes: AtomicU64,
    /// How often the reader looked; it may be on a runtime that is blocked.
    looks: AtomicU64,
    /// Its answers are to be looked at, bell or no bell.
    poked: Notify,
}

/// What is decided about a worker, step by step.
#[derive(Debug, Default)]
struct Locked {
    life: Life,
    /// Where placement knows it, unless it stands by.
    slot: Option<SlotId>,
    /// The number of its slot in the pool that it was told last.
    in_pool: Option<u32>,
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
    /// The first task of the batch whose others come now.
    batch: Option<u64>,
    /// The scattered values that it was sent.
    shared: HashSet<u64>,
    /// The streams of tasks that were sent and not answered.
    streams: Streams,
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
struct Sent {
    seq: u64,
    /// The number of the first that is executed in the same call.
    batch: u64,
    task: TaskId,
    attempt: u32,
    /// Taken back, so the answer will be that it was skipped.
    revoked: bool,
    /// Nobody waits for its answer any more.
    unwanted: bool,
}

impl Link {
    pub(super) fn new(
        number: usize,
        pid: u32,
        handle: Arc<system::Handle>,
        (page, arena): (Page, Arena),
        [stream, writes]: [Arc<UnixStream>; 2],
        runtime: Handle,
        (wear, in_pool, is_python, spin): (Wear, Option<u32>, bool, Duration),
    ) -> Arc<Self> {
        let locked = Locked { in_pool, ..Locked::default() };
        Arc::new_cyclic(|weak| Self {
            weak: weak.clone(),
            number,
            pid,
            handle,
            started: Instant::now(),
            wear,
            page,
            arena,
            stream,
            writes,
            runtime,
            heard: Heard::default(),
            stage: watch::Sender::default(),
            locked: Mutex::new(locked),
            functions: OnceLock::new(),
            python: is_python.then(OfPython::default),
            lost: SetOnce::new(),
            ears: OnceLock::new(),
            waits: Waits::new(spin),
            reported: SetOnce::new(),
        })
    }

    fn locked(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a task to what is to be written; a worker that is Python knows functions by
    /// their names.
    pub(super) fn start(&self, work: &Work<'_>, function: Option<FunctionRef>) {
        let mut locked = self.locked();
        let Locked { in_pool, ref mut outgoing, .. } = *locked;
        outgoing.last_seq += 1;
        let seq = outgoing.last_seq;
        // Before its frame: the worker that reads that looks for the word.
        self.page.task(seq).send();
        let Work { task, attempt, rest, deadline, origin, .. } = *work;
        let batch = outgoing.batch.take().unwrap_or(seq);
        outgoing.batch = (rest > 0).then_some(batch);
        let deadline_ns = deadline.map_or(0, monotonic_ns);
        let (revoked, unwanted) = (false, false);
        outgoing.sent.push_back(Sent { seq, batch, task, attempt, revoked, unwanted });
        if let Some(channel) = work.args.channel() {
            self.page.set_credit(seq, 0);
            let credit = Credit::of(self.weak.clone(), seq);
            outgoing.streams.open(seq, (task, attempt), channel.source(Some(credit)));
        }
        for value in work.args.scattered() {
            if let Some(file) = value.file.as_ref().filter(|_| outgoing.shared.insert(value.id)) {
                outgoing.outbox.push(seq, Chunk::share(value.id, file.clone()));
            }
        }
        for feed in work.args.feeds() {
            if let Some(end) = feed.descriptor() {
                outgoing.outbox.push(seq, Chunk::feed(feed.id, end));
            }
        }
        let Some(function) = function else {
            return self.start_python(outgoing, seq, work, in_pool);
        };
        let context = origin.and_then(|origin| origin.context.clone());
        let call = Call { seq, function, attempt, rest, deadline_ns, context };
        outgoing.outbox.append(call, &work.args.payload);
        if outgoing.sent.len() == 1 {
            self.page.set_requested_at(now_ns(ClockId::Monotonic));
        }
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

    /// Takes back a task, unless it has started.
    pub(super) fn revoke(&self, task: TaskId) -> bool {
        match self.locked().outgoing.find(task) {
            Some(sent) if self.page.task(sent.seq).revoke() => {
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
            if self.page.task(sent.seq).revoke() {
                (sent.revoked, sent.unwanted) = (true, true);
                withdrawn.push(sent.task);
            }
        }
        withdrawn
    }

    /// Its functions, where its program is another one.
    pub(super) fn functions(&self) -> Option<&Functions> {
        self.functions.get().map(|functions| &**functions)
    }

    /// It has said which functions it has; whether it had not before.
    fn set_functions(&self, functions: Arc<Functions>) -> bool {
        self.functions.set(functions).is_ok()
    }

    /// Whether it has said hello.
    fn came_to_hello(&self) -> bool {
        self.stage() != Stage::Starting
    }

    /// Where placement knows it.
    pub(super) fn slot(&self) -> Option<SlotId> {
        self.locked().slot
    }

    /// Placement knows it there from now on. It is told the number of its slot before its next
    /// task, or with it if it is Python.
    pub(super) fn serve(&self, slot: SlotId, in_pool: u32) {
        let mut locked = self.locked();
        locked.slot = Some(slot);
        if locked.in_pool.replace(in_pool) != Some(in_pool) {
            let next = locked.outgoing.last_seq + 1;
            if self.python.is_none() {
                locked.outgoing.outbox.push(next, Chunk::serve(in_pool));
            }
        }
    }

    /// Placement knows it no longer: it stands by.
    pub(super) fn stand_by(&self) {
        self.locked().slot = None;
    }

    /// The number of its slot in the pool that it has, or has had last.
    pub(super) fn in_pool(&self) -> Option<usize> {
        self.locked().in_pool.map(|slot| slot as usize)
    }

    /// How far it came up.
    fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Completes when it executes tasks, or was killed because it did not in time. It has
    /// so long to come to `init`, and then so long until it is ready.
    pub(super) async fn comes_up(&self, start: Duration, warm_up: Duration) {
        let mut stages = self.stage.subscribe();
        loop {
            let (since, time, cause) = match *stages.borrow_and_update() {
                Stage::Starting => (self.started, start, Cause::Silent),
                Stage::WarmingUp { since } => (since, warm_up, Cause::Unready),
                Stage::Serving { .. } => return,
            };
            // A time too long for the clock is for ever.
            let Some(at) = since.checked_add(time) else {
                let _ = stages.changed().await;
                continue;
            };
            if timeout_at(at.into(), stages.changed()).await.is_err() {
                // What it said in time counts, whenever the client's runtime comes to it.
                if self.has_unread() {
                    let _ = stages.changed().await;
                    continue;
                }
                // It may be killed already, and its end be on its way.
                if !matches!(self.life(), Life::Killed(_)) {
                    self.end(Reason::Blame(cause));
                }
                return;
            }
        }
    }

    /// Whether it has written what was not read yet.
    fn has_unread(&self) -> bool {
        let heard = self.page.bell().said() == self.heard.bytes.load(Relaxed);
        !heard || rustix::io::ioctl_fionread(&*self.stream) != Ok(0)
    }

    /// Whether it has come as far as `init`.
    pub(super) fn came_to_init(&self) -> bool {
        self.stage() != Stage::Starting || self.has_unread()
    }

    /// Whether it was sent away, younger than that, without ever having had a task: another
    /// one now would hardly fare better.
    pub(super) fn started_in_vain(&self, young: Duration) -> bool {
        let idle = self.locked().outgoing.last_seq == 0;
        idle && self.was_unwanted() && self.started.elapsed() < young
    }

    /// Whether it executes tasks.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage(), Stage::Serving { .. })
    }

    /// How many tasks it has executed.
    pub(super) fn done(&self) -> u64 {
        self.locked().history.done
    }

    /// Takes a task back, or asks it to stop.
    pub(super) fn stop(&self, task: TaskId) -> Stopped {
        if self.revoke(task) {
            return Stopped::Unstarted;
        }
        let (seq, voice) = {
            let outgoing = &mut self.locked().outgoing;
            let Some(sent) = outgoing.find(task) else { return Stopped::Continues };
            sent.unwanted = true;
            let (seq, batch) = (sent.seq, sent.batch);
            (seq, outgoing.voice(batch).unwrap_or(seq))
        };
        if self.page.task(seq).stop() {
            // It may wait for a reader, who has left.
            shared_items::wake(&self.page);
            return Stopped::Asked { listens: self.page.listens(voice) };
        }
        match self.page.task(seq).read() {
            Some(Word::Done) => Stopped::Continues,
            _ => {
                self.end(Reason::Blame(Cause::Protocol));
                Stopped::Killed
            }
        }
    }

    /// Kills the worker for a task that was asked to stop, unless that has
    /// ended.
    pub(super) fn kill_for(&self, task: TaskId) -> bool {
        let seq = self.locked().outgoing.find(task).map(|sent| sent.seq);
        let Some(seq) = seq else { return false };
        if self.page.task(seq).kill() {
            self.end(Reason::Unwanted);
            return true;
        }
        let nonsense = self.page.task(seq).read() != Some(Word::Done);
        if nonsense {
            self.end(Reason::Blame(Cause::Protocol));
        }
        nonsense
    }

    /// Whether a task has started.
    pub(super) fn started(&self, task: TaskId) -> bool {
        let seq = self.locked().outgoing.find(task).map(|sent| sent.seq);
        seq.is_some_and(|seq| self.page.task(seq).read() != Some(Word::Sent))
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

    /// Whether it has something to do.
    pub(super) fn is_busy(&self) -> bool {
        !self.locked().outgoing.sent.is_empty()
    }

    /// The most memory it was seen to have, in bytes.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        Some(self.page.memory().resident_bytes).filter(|bytes| *bytes > 0)
    }

    /// Why it is to be replaced, said once.
    fn wore_out(&self, history: &mut History, own_bytes: u64) -> Option<RecycleReason> {
        let now = self.wear.until.map_or(self.started, |_| Instant::now());
        let memory = (own_bytes, history.own_bytes_at_start);
        let out = self.wear.out(now, history.done, memory);
        out.filter(|_| !std::mem::replace(&mut history.worn, true))
    }

    /// Why it is to be replaced after a task that changed its process, said once.
    fn was_changed(&self, lasting: bool) -> Option<RecycleReason> {
        let out = (lasting || self.wear.if_changed).then_some(RecycleReason::Changed);
        out.filter(|_| !std::mem::replace(&mut self.locked().history.worn, true))
    }

    /// Why it is to be replaced that computes between tasks, said once.
    pub(super) fn computes(&self) -> Option<RecycleReason> {
        let first = !std::mem::replace(&mut self.locked().history.worn, true);
        first.then_some(RecycleReason::Computing)
    }

    /// When it is too old, unless it is to be replaced already.
    pub(super) fn old_at(&self) -> Option<Instant> {
        let until = self.wear.until?;
        (self.is_ready() && !self.locked().history.worn).then_some(until)
    }

    /// Why it is to be replaced now that it is too old, said once.
    pub(super) fn grew_old(&self, now: Instant) -> Option<RecycleReason> {
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
            Err(Unsent::Broken) => self.end(Reason::Broken),
        }
    }

    /// The socket is full: a task of the runtime goes on as it drains.
    fn write_later(&self) {
        let Some(link) = self.weak.upgrade() else { return };
        self.runtime.spawn(async move {
            // Only while it is full: a socket that is watched for room wakes this
            // process each time that the worker reads a task.
            let watched = process::watch(link.writes.clone(), Interest::WRITABLE);
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
        offload::spawn(move || {
            outbox::change_rest(&*link, |chunk| link.lay(chunk));
            link.wrote(outbox::resume(&*link));
        });
    }

    /// Puts a large payload where the worker finds it, just before the message that says
    /// so. What waits in the queue holds no memory twice, and no descriptor.
    fn lay(&self, chunk: Chunk) -> Chunk {
        let Chunk::Large(call, payload) = chunk else { return chunk };
        let bytes = payload.len();
        let place = {
            let outgoing = &mut self.locked().outgoing;
            if outgoing.is_revoked(call.seq) {
                // The worker will skip it, whatever its arguments are.
                return call.framed(&[]);
            }
            outgoing.arguments.place(call.seq, bytes)
        };
        let Some(offset) = place else { return call.with_file(&payload) };
        self.arena.write_payload(Half::Arguments, offset, &payload);
        call.placed(Place::Arena { offset: offset as u64, bytes: bytes as u64 })
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
                Ok(sent) => {
                    self.page.request(sent);
                    return Ok(sent);
                }
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

    /// The number of the task in whose place a batch asks and says things: of those that were
    /// not taken back, the first.
    fn voice(&self, batch: u64) -> Option<u64> {
        let sent = self.sent.iter().find(|sent| sent.batch == batch && !sent.revoked)?;
        Some(sent.seq)
    }

    /// Whether something is executed, which may have been asked to stop.
    fn is_running(&self, page: &Page, words: &[Word]) -> bool {
        let word = |sent: &Sent| page.task(sent.seq).read();
        self.sent.iter().any(|sent| word(sent).is_some_and(|word| words.contains(&word)))
    }

    /// Takes the oldest task that was sent, which is the one that `seq`, read from the
    /// worker, must be. `skipped` is whether it said that it did not run, which it must of
    /// those that were taken back and of no other. What it ran, its page says to be done.
    /// It cannot have answered what is not written yet.
    fn answered(&mut self, page: &Page, seq: u64, skipped: bool) -> Option<Sent> {
        let word = if skipped { Word::Revoked } else { Word::Done };
        let written = self.outbox.has_begun(seq) && page.task(seq).read() == Some(word);
        let honest = |sent: &&Sent| sent.seq == seq && sent.revoked == skipped && written;
        let first = *self.sent.front().filter(honest)?;
        self.sent.pop_front();
        self.streams.close(seq);
        self.arguments.release(seq);
        Some(first)
    }

    /// What the worker took and did not answer.
    fn unanswered(&self, page: &Page) -> impl Iterator<Item = &Sent> {
        let taken = |sent: &&Sent| !sent.revoked && page.task(sent.seq).read() != Some(Word::Sent);
        self.sent.iter().filter(taken)
    }

    /// Whether a task was taken back.
    fn is_revoked(&self, seq: u64) -> bool {
        self.sent.iter().any(|sent| sent.seq == seq && sent.revoked)
    }
}

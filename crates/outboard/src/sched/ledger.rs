//! What is owed to whom: tasks, those who wait for them, and how each ends.
//!
//! Pure: events and the time come in, replies and requests to placement come
//! out. No clock, no I/O, no runtime; the same for every engine.
//!
//! A **task** is one execution that is owed; a **waiter** is one submit that
//! wants its result. Most tasks have one waiter; submits with equal keys share
//! a task. States of a task:
//!
//! | state | event | next |
//! |---|---|---|
//! | `Preparing` (its arguments are still being encoded) | `prepared` | `Queued`, at the place that it has had since its submit; or gone, if its key leads to another task by now |
//! | `Preparing` | `failed` (it cannot be encoded, or is refused) | gone |
//! | `Queued` | `placed` | `Placed`, with a provisional attempt number |
//! | `Placed` | `moved` (taken back before it started) | `Queued`; the attempt does not count |
//! | `Placed` | `finished` with a result | gone; all waiters get it |
//! | `Placed` | `finished` with a panic, or `lost` | `Queued` or `Resting` if retries are left, else gone |
//! | `Resting` (between two attempts) | `rested` | `Queued`, at its old place |
//! | `Placed` | `delivered` (an item of its stream) | unchanged, without retries from now on |
//! | `Queued` | `failed` (its arguments are refused by now) | gone |
//! | `Placed` | `suspected` too often | gone, or one retry fewer |
//! | any | `leave` of the last waiter | gone; the engine is told to stop it |
//! | any | `leave` of another waiter | unchanged; that waiter alone gets its error |
//!
//! Invariants, checked by `check_invariants` after every step of the tests:
//! every task has a waiter, every waiter's task exists and lists it; every
//! deadline is that of a living waiter; the sum of argument bytes is right;
//! every key leads to a task that holds it.

use std::collections::{BTreeSet, HashMap};
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::error::{Bound, Error, Repr, Stage};
use crate::ids::{SlotId, Tagged, Tags, TaskId, TenantId, WaiterId};
use crate::observe::event::EventKind;
use crate::observe::figures::{Book, Sums};
use crate::observe::record::{Record, tell};
use crate::sched::admission::Part;
use crate::sched::shares::{QueuePlace, Queued};
use crate::sched::stamp::Stamp;
use crate::task::outcome::Usage;
use crate::task::registry::Function;
use crate::trace::Origin;
use crate::value::args::Args;
use crate::value::payload::Payload;

pub(crate) use key::Key;
pub(crate) use options::{Options, Request};
pub(crate) use resting::Backoff;

/// Tasks of functions that take batches.
mod batch;

/// What makes two submits the same.
mod key;

/// What a submit is.
mod options;

/// Tasks whose arguments are still being encoded.
mod preparing;

/// What one execution gave.
mod report;

/// Tasks that rest between two attempts.
mod resting;

/// What few tasks have.
mod seldom;

/// What is told of a task.
mod story;

/// Who waits for one task.
mod waiters;

pub use report::Report;
pub(crate) use report::{Ran, Reply};
use seldom::Seldom;
use waiters::Waiters;

/// What a submit asks of a task that it shares.
#[derive(Clone, Copy, Debug)]
struct Asked {
    priority: i32,
    retries: u32,
    grace: Option<Duration>,
    backoff: Option<Backoff>,
}

/// The bounds of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) tasks: usize,
    pub(crate) bytes: usize,
}

/// The most submits, of all tasks together, that wait for the task of another.
const MAX_SHARERS: usize = 1 << 16;

/// How many workers may die with the same task in front of them, not started. Fewer if its
/// arguments are large, and may be what they died of.
const DOUBTS: u8 = 10;
const DOUBTS_OF_LARGE: u8 = 3;

/// Why a waiter leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Cancelled,
    TimedOut,
    /// Its stream sent nothing for so long.
    Idle(Duration),
}

/// What a waiter is given, with the handle to give it through.
pub(crate) type Settled<W> = (W, Result<Reply, Error>);

/// What placement has to do after a task changed.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: the event was late, or others still wait.
    Nothing,
    /// The task is gone; this was its place.
    Ended(QueuePlace),
    /// The task is to wait again at its old place, after a rest.
    Rest(QueuePlace),
    /// The task waits again, at its old place.
    Requeue(QueuePlace, Queued),
}

/// Numbers of tasks since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    pub(crate) coalesced: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) timed_out: u64,
    pub(crate) refused: u64,
}

/// The ledger; `W` is the handle through which a waiter gets its result.
#[derive(Debug)]
pub(crate) struct Ledger<W> {
    bounds: Bounds,
    tasks: Slab<Task>,
    waiters: Slab<Waiter<W>>,
    keys: HashMap<Arc<Key>, TaskId>,
    deadlines: BTreeSet<(Instant, WaiterId)>,
    /// Those between two attempts, by when the next one may start.
    resting: BTreeSet<(Stamp, TaskId)>,
    queued: usize,
    bytes: usize,
    tags: Tags,
    counts: Counts,
    pub(crate) book: Book,
    /// What happens to tasks, while someone wants to know.
    pub(crate) record: Option<Box<Record>>,
}

/// One execution that is owed; small, for a million of them may wait.
#[derive(Debug)]
pub(crate) struct Task {
    tag: NonZeroU32,
    pub(crate) function: &'static Function,
    pub(crate) args: Args,
    /// The execution that runs now, or else the one that would be next.
    pub(crate) attempt: u32,
    retries: u32,
    /// How many workers died with this task in front of them, not started.
    doubts: u8,
    submitted: Stamp,
    position: Position,
    /// Whether its first waiter has a timeout.
    hurried: bool,
    /// Of the name of its tenant: no more than [`options::NAME_BYTES`].
    tenant_bytes: u16,
    /// How long its function ran of late, where that is steady.
    steady_ns: Option<NonZeroU64>,
    /// The span of its first submit.
    pub(crate) origin: Option<Arc<Origin>>,
    waiters: Waiters,
    /// What few tasks have.
    seldom: Option<Box<Seldom>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Its arguments are being encoded; it counts as waiting, and cannot start.
    Preparing(QueuePlace),
    Queued(QueuePlace),
    Placed(QueuePlace, SlotId),
    /// An attempt has failed, and the next one may not start yet; it counts as waiting.
    Resting(QueuePlace),
}

#[derive(Debug)]
struct Waiter<W> {
    tag: NonZeroU32,
    task: TaskId,
    handle: W,
    timeout: Option<Box<Timeout>>,
}

/// How long a waiter waits, and until when.
#[derive(Clone, Copy, Debug)]
struct Timeout {
    length: Duration,
    deadline: Instant,
}

impl<W> Ledger<W> {
    /// An empty one; its tasks are numbered so.
    pub(crate) fn new(bounds: Bounds, tags: Tags) -> Self {
        Self {
            bounds,
            tasks: Slab::new(),
            waiters: Slab::new(),
            keys: HashMap::new(),
            deadlines: BTreeSet::new(),
            resting: BTreeSet::new(),
            queued: 0,
            bytes: 0,
            tags,
            counts: Counts::default(),
            book: Book::default(),
            record: None,
        }
    }

    /// A submit was refused.
    pub(crate) fn refused(&mut self, function: &'static Function, tenant: TenantId) {
        self.counts.refused += 1;
        self.book.note(function, tenant, |figures| figures.refused += 1);
    }

    /// The task of an earlier submit that a submit with this key shares, if it is in
    /// flight and not the submit's `own`.
    ///
    /// # Errors
    ///
    /// The bound on those who share, if it is met.
    pub(crate) fn shared(&self, key: &Key, own: Option<TaskId>) -> Result<Option<TaskId>, Bound> {
        match self.keys.get(key).copied().filter(|task| Some(*task) != own) {
            Some(_) if self.waiters.len() - self.tasks.len() >= MAX_SHARERS => {
                Err(Bound::Sharers(MAX_SHARERS))
            }
            task => Ok(task),
        }
    }

    /// Takes a submit as a new task, which is to wait at that place: at once, or once it
    /// is `prepared`.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        request: Request<'_>,
        key: Option<Arc<Key>>,
        place: QueuePlace,
        handle: W,
    ) -> (WaiterId, TaskId, Option<Queued>) {
        let tag = self.tag();
        let id = TaskId(Tagged::new(self.tasks.vacant_key(), tag));
        let waiter = self.enter(now, id, handle, request.options.timeout);
        if let Some(record) = &mut self.record {
            record.push_often(|| story::taken(id, &request, self.queued));
        }
        let prepared = request.args.is_some();
        let args = request.args.unwrap_or_else(|| Vec::new().into());
        self.queued += 1;
        self.counts.submitted += 1;
        self.book.note(request.function, place.tenant, |figures| figures.submitted += 1);
        if let Some(key) = &key {
            self.keys.insert(key.clone(), id);
        }
        let task = Task {
            tag,
            function: request.function,
            args,
            attempt: 1,
            retries: request.options.retries,
            doubts: 0,
            submitted: now.into(),
            position: if prepared { Position::Queued(place) } else { Position::Preparing(place) },
            hurried: request.options.timeout.is_some(),
            steady_ns: request.steady_ns,
            tenant_bytes: request.options.tenant_bytes() as u16,
            origin: request.origin,
            waiters: Waiters::One(waiter),
            seldom: Seldom::of(key, request.options, now),
        };
        self.bytes += task.held_bytes();
        let queued = prepared.then(|| task.queued(id));
        self.tasks.insert(task);
        (waiter, id, queued)
    }

    /// Takes a submit that shares the task of an earlier one; gives the task's place, if
    /// the submit has a better priority.
    pub(crate) fn join(
        &mut self,
        now: Instant,
        id: TaskId,
        options: &Options,
        handle: W,
    ) -> (WaiterId, Option<QueuePlace>) {
        let waiter = self.enter(now, id, handle, options.timeout);
        let Options { priority, retries, grace, backoff, .. } = *options;
        (waiter, self.share(id, waiter, Asked { priority, retries, grace, backoff }))
    }

    /// A waiter shares a task from now on, and what it asks for holds for the task.
    /// Gives the task's place, if that is to have a better priority.
    fn share(&mut self, id: TaskId, waiter: WaiterId, asked: Asked) -> Option<QueuePlace> {
        let task = self.tasks.get_mut(id.0.key()).expect("keys lead to living tasks");
        task.waiters.push(waiter);
        task.retries = task.retries.max(asked.retries);
        task.share_terms(asked.grace, asked.backoff);
        let place = Some(task.place()).filter(|place| place.priority() < asked.priority);
        self.counts.coalesced += 1;
        tell(&mut self.record, || EventKind::Joined { task: id });
        place
    }

    fn enter(
        &mut self,
        now: Instant,
        task: TaskId,
        handle: W,
        timeout: Option<Duration>,
    ) -> WaiterId {
        let tag = self.tag();
        let id = WaiterId(Tagged::new(self.waiters.vacant_key(), tag));
        // A timeout too long for the clock is none.
        let timeout = timeout.and_then(|length| {
            let deadline = now.checked_add(length)?;
            self.deadlines.insert((deadline, id));
            Some(Box::new(Timeout { length, deadline }))
        });
        self.waiters.insert(Waiter { tag, task, handle, timeout });
        id
    }

    fn tag(&mut self) -> NonZeroU32 {
        self.tags.next()
    }

    /// The bound that one more task of that size would break, if it may fill so much.
    pub(crate) fn full(&self, bytes: usize, part: Part) -> Option<Bound> {
        let Bounds { tasks, .. } = self.bounds;
        if self.queued >= part.of_all(tasks) { Some(Bound::Tasks(tasks)) } else { self.over(bytes) }
    }

    /// The bound that so many more bytes would break.
    pub(crate) fn over(&self, bytes: usize) -> Option<Bound> {
        let most = self.bounds.bytes;
        (self.bytes.saturating_add(bytes) > most).then_some(Bound::Bytes(most))
    }

    /// How many more small tasks the queue takes, if they may fill so much.
    pub(crate) fn places(&self, part: Part) -> usize {
        match self.full(0, part) {
            Some(_) => 0,
            None => part.of_all(self.bounds.tasks) - self.queued,
        }
    }

    /// A living task.
    pub(crate) fn task(&self, id: TaskId) -> Option<&Task> {
        #[cfg(test)]
        tests::LOOKUPS.set(tests::LOOKUPS.get() + 1);
        self.tasks.get(id.0.key()).filter(|task| task.tag == id.0.tag())
    }

    fn task_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        #[cfg(test)]
        tests::LOOKUPS.set(tests::LOOKUPS.get() + 1);
        self.tasks.get_mut(id.0.key()).filter(|task| task.tag == id.0.tag())
    }

    /// The task that a waiter waits for, and whether it is the only one.
    pub(crate) fn waits_for(&self, id: WaiterId) -> Option<(TaskId, bool)> {
        let waiter = self.waiter(id)?;
        let task = self.task(waiter.task)?;
        Some((waiter.task, matches!(task.waiters, Waiters::One(_))))
    }

    /// All who wait for a task; none if it has ended.
    pub(crate) fn waiters(&self, id: TaskId) -> Vec<WaiterId> {
        match self.task(id).map(|task| &task.waiters) {
            None => Vec::new(),
            Some(Waiters::One(waiter)) => vec![*waiter],
            Some(Waiters::Many(all)) => all.iter().copied().collect(),
        }
    }

    fn waiter(&self, id: WaiterId) -> Option<&Waiter<W>> {
        self.waiters.get(id.0.key()).filter(|waiter| waiter.tag == id.0.tag())
    }

    /// When the time of the last of a task's waiters runs out, if each has one.
    pub(crate) fn deadline(&self, task: &Task) -> Option<Instant> {
        let deadline = |id: WaiterId| self.waiter(id)?.deadline();
        match &task.waiters {
            Waiters::One(id) => deadline(*id),
            Waiters::Many(ids) => {
                let (first, rest) = (deadline(*ids.first()?)?, ids.iter().skip(1));
                rest.copied().try_fold(first, |last, id| Some(last.max(deadline(id)?)))
            }
        }
    }

    /// A queued task was given to a slot: gives the task.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub(crate) fn placed(&mut self, id: TaskId, slot: SlotId) -> &Task {
        let task = self.task(id).expect("the queue holds living tasks only");
        if let Position::Queued(place) = task.position {
            self.tasks[id.0.key()].position = Position::Placed(place, slot);
            self.queued -= 1;
        }
        &self.tasks[id.0.key()]
    }

    /// A placed task was taken back before it started; it did not count as an
    /// attempt.
    pub(crate) fn moved(&mut self, id: TaskId) -> Next {
        tell(&mut self.record, || EventKind::TakenBack { task: id });
        self.waits_again(id)
    }

    fn waits_again(&mut self, id: TaskId) -> Next {
        let Some(task) = self.task_mut(id) else { return Next::Nothing };
        let Position::Placed(place, _) = task.position else { return Next::Nothing };
        task.position = Position::Queued(place);
        let queued = task.queued(id);
        self.queued += 1;
        Next::Requeue(place, queued)
    }

    /// A queued task got a better place.
    pub(crate) fn replaced(&mut self, id: TaskId, place: QueuePlace) {
        if let Some(task) = self.task_mut(id) {
            match &mut task.position {
                Position::Preparing(old)
                | Position::Queued(old)
                | Position::Placed(old, _)
                | Position::Resting(old) => *old = place,
            }
        }
    }

    /// A worker ended an attempt that ran to its end.
    pub(crate) fn finished(
        &mut self,
        now: Instant,
        (id, attempt): (TaskId, u32),
        outcome: Result<Payload, Error>,
        (usage, worker): (Usage, usize),
        settled: &mut Vec<Settled<W>>,
    ) -> Next {
        let Some(task) = self.current(id, attempt) else { return Next::Nothing };
        match outcome {
            Err(error) => {
                let (again, used) = (is_crash(&error), Some((usage, worker)));
                self.broke_off(now, id, (error, again), used, settled)
            }
            Ok(payload) => {
                let all = now.saturating_duration_since(task.submitted.at());
                let ran = Ran::new(task.attempt, worker, all, usage);
                let (function, tenant) = (task.function, task.place().tenant);
                self.counts.done += 1;
                self.book.done(function, tenant, ran.queue_ns, usage.part());
                self.settle(id, Ok(Reply { payload, ran }), Some((usage, worker)), settled)
            }
        }
    }

    /// The worker died during an attempt; `again` is whether another one may
    /// follow.
    pub(crate) fn lost(
        &mut self,
        now: Instant,
        (id, attempt): (TaskId, u32),
        (error, again): (Error, bool),
        settled: &mut Vec<Settled<W>>,
    ) -> Next {
        match self.current(id, attempt) {
            None => Next::Nothing,
            Some(_) => self.broke_off(now, id, (error, again), None, settled),
        }
    }

    /// An attempt failed; `again` is whether another one may follow.
    fn broke_off(
        &mut self,
        now: Instant,
        id: TaskId,
        (error, again): (Error, bool),
        used: Option<(Usage, usize)>,
        settled: &mut Vec<Settled<W>>,
    ) -> Next {
        // What it received cannot be received again.
        let has_left = |task: &Task| task.retries > 0 && task.args.feeds().is_empty();
        let left = again && self.task(id).is_some_and(has_left);
        let next = if left { self.again(now, id, error, used) } else { Err(error) };
        next.unwrap_or_else(|error| self.failed(id, error, used, settled))
    }

    /// A task ends with an error of its own.
    pub(crate) fn failed(
        &mut self,
        id: TaskId,
        error: Error,
        used: Option<(Usage, usize)>,
        settled: &mut Vec<Settled<W>>,
    ) -> Next {
        self.counts.failed += 1;
        self.note(id, |figures| figures.failed(&error));
        self.settle(id, Err(error), used, settled)
    }

    /// A worker died unasked while this task was the next that it would have
    /// started. Perhaps someone killed it, and the task moves on unharmed;
    /// perhaps it could not even take in the arguments, and the next will not
    /// either. After [`DOUBTS`] of them it is put down to the task.
    pub(crate) fn suspected(
        &mut self,
        id: TaskId,
        error: Error,
        settled: &mut Vec<Settled<W>>,
    ) -> Next {
        let Some(task) = self.task_mut(id) else { return Next::Nothing };
        task.doubts += 1;
        let large = matches!(task.args.payload, Payload::Shared(_) | Payload::Pieces(_));
        let limit = if large { DOUBTS_OF_LARGE } else { DOUBTS };
        if task.doubts < limit {
            return Next::Nothing;
        }
        task.doubts = 0;
        if task.retries > 0 {
            task.retries -= 1;
            return Next::Nothing;
        }
        self.failed(id, error, None, settled)
    }

    /// An item of an attempt has arrived: there will be no other attempt, which would send
    /// it again.
    pub(crate) fn delivered(&mut self, (id, attempt): (TaskId, u32)) {
        if self.current(id, attempt).is_some()
            && let Some(task) = self.task_mut(id)
        {
            task.retries = 0;
        }
    }

    /// The task, if that attempt of it is the one that is placed now.
    pub(crate) fn current(&self, id: TaskId, attempt: u32) -> Option<&Task> {
        self.task(id)
            .filter(|task| task.attempt == attempt && matches!(task.position, Position::Placed(..)))
    }

    /// A waiter leaves, and gets its error; the last one takes the task along.
    /// `stage` is how far the task has come.
    pub(crate) fn leave(
        &mut self,
        id: WaiterId,
        why: Leave,
        stage: Stage,
        settled: &mut Vec<Settled<W>>,
    ) -> Next {
        let Some((task_id, last)) = self.waits_for(id) else { return Next::Nothing };
        let timeout = self.waiter(id).and_then(|waiter| waiter.timeout.as_deref());
        let timeout = timeout.map(|timeout| timeout.length).unwrap_or_default();
        let error = Error::new(match why {
            Leave::Cancelled => Repr::Cancelled,
            Leave::TimedOut => Repr::TimedOut { stage, timeout },
            Leave::Idle(timeout) => Repr::Idle { timeout },
        });
        match why {
            Leave::Cancelled => self.counts.cancelled += 1,
            Leave::TimedOut | Leave::Idle(_) => self.counts.timed_out += 1,
        }
        self.note(task_id, |figures| match why {
            Leave::Cancelled => figures.cancelled += 1,
            Leave::TimedOut | Leave::Idle(_) => figures.timed_out += 1,
        });
        if last {
            return self.settle(task_id, Err(error), None, settled);
        }
        if let Some(task) = self.task_mut(task_id) {
            task.waiters.remove(id);
        }
        tell(&mut self.record, || EventKind::Left { task: task_id, error: error.clone() });
        settled.extend(self.exit(id).map(|handle| (handle, Err(error))));
        Next::Nothing
    }

    /// The waiter whose deadline is the first that has passed.
    pub(crate) fn expired(&self, now: Instant) -> Option<WaiterId> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    /// The earliest deadline of all.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Ends every task with the same error.
    pub(crate) fn clear(&mut self, error: &Error, settled: &mut Vec<Settled<W>>) -> Vec<Next> {
        let ids: Vec<TaskId> =
            (self.tasks.iter()).map(|(key, task)| TaskId(Tagged::new(key, task.tag))).collect();
        ids.into_iter().map(|id| self.failed(id, error.clone(), None, settled)).collect()
    }

    fn note(&mut self, id: TaskId, change: impl Fn(&mut Sums)) {
        let task = &self.tasks[id.0.key()];
        self.book.note(task.function, task.place().tenant, change);
    }

    /// Ends a task that waits and has no use any more, for all who wait for it.
    pub(crate) fn end_late(&mut self, id: TaskId, settled: &mut Vec<Settled<W>>) -> Next {
        let mut next = Next::Nothing;
        for waiter in self.waiters(id) {
            next = self.leave(waiter, Leave::TimedOut, Stage::Queued, settled);
        }
        next
    }

    /// Removes a task and gives its waiters what it ended with.
    fn settle(
        &mut self,
        id: TaskId,
        result: Result<Reply, Error>,
        used: Option<(Usage, usize)>,
        settled: &mut Vec<Settled<W>>,
    ) -> Next {
        let task = self.tasks.remove(id.0.key());
        if let Some(record) = &mut self.record {
            let all_ns = record.ns_since(task.submitted.at());
            story::streamed(record, id, &task);
            record.push_often(|| story::ended(id, &task, &result, used, all_ns));
        }
        self.bytes -= task.held_bytes();
        if let Some(channel) = task.args.channel() {
            channel.end();
        }
        if let Some(key) = task.key() {
            self.keys.remove(key);
        }
        if let Some(until) = task.until() {
            self.resting.remove(&(until, id));
        }
        match task.waiters {
            Waiters::One(waiter) => {
                settled.extend(self.exit(waiter).map(|handle| (handle, result)));
            }
            Waiters::Many(waiters) => {
                let result = result.map(|reply| Reply { payload: reply.payload.share(), ..reply });
                for waiter in *waiters {
                    settled.extend(self.exit(waiter).map(|handle| (handle, result.clone())));
                }
            }
        }
        match task.position {
            Position::Preparing(place) | Position::Queued(place) | Position::Resting(place) => {
                self.queued -= 1;
                Next::Ended(place)
            }
            Position::Placed(place, _) => Next::Ended(place),
        }
    }

    fn exit(&mut self, id: WaiterId) -> Option<W> {
        self.waiter(id)?;
        let waiter = self.waiters.remove(id.0.key());
        if let Some(deadline) = waiter.deadline() {
            self.deadlines.remove(&(deadline, id));
        }
        Some(waiter.handle)
    }

    /// How many tasks wait for a slot.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// How many tasks are owed, waiting or placed.
    pub(crate) fn owed(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Task {
    /// What it takes of the queue's bound in bytes.
    fn held_bytes(&self) -> usize {
        let key = self.key().map_or(0, Key::held_bytes);
        self.args.len() + key + usize::from(self.tenant_bytes)
    }

    /// What it shares with other submits of the same.
    pub(crate) fn key(&self) -> Option<&Key> {
        self.seldom.as_ref()?.key.as_deref()
    }

    /// The pool of workers that it is for, where its gate has workers of several.
    pub(crate) fn pool(&self) -> Option<&Arc<str>> {
        self.seldom.as_ref()?.pool.as_ref()
    }

    /// How long it may go on after it was asked to stop, if that was said.
    pub(crate) fn grace(&self) -> Option<Duration> {
        self.seldom.as_ref()?.grace
    }

    fn backoff(&self) -> Option<Backoff> {
        self.seldom.as_ref()?.backoff
    }

    fn until(&self) -> Option<Stamp> {
        self.seldom.as_ref()?.until
    }

    /// Another submit of it has these terms: the longer grace holds, and the first backoff.
    fn share_terms(&mut self, grace: Option<Duration>, backoff: Option<Backoff>) {
        if grace > self.grace() {
            self.seldom.get_or_insert_default().grace = grace;
        }
        if backoff.is_some() && self.backoff().is_none() {
            self.seldom.get_or_insert_default().backoff = backoff;
        }
    }

    /// The slot that has it, if it is placed.
    pub(crate) fn slot(&self) -> Option<SlotId> {
        match self.position {
            Position::Placed(_, slot) => Some(slot),
            _ => None,
        }
    }

    /// Its place in the queue, or the one that it would return to.
    pub(crate) fn place(&self) -> QueuePlace {
        match self.position {
            Position::Preparing(place)
            | Position::Queued(place)
            | Position::Placed(place, _)
            | Position::Resting(place) => place,
        }
    }
}

impl<W> Waiter<W> {
    fn deadline(&self) -> Option<Instant> {
        Some(self.timeout.as_ref()?.deadline)
    }
}

/// Whether the function itself failed, and might not the next time.
fn is_crash(error: &Error) -> bool {
    error.is_panicked() || error.is_raised()
}

#[cfg(test)]
pub(crate) mod tests;

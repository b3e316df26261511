//! The gate between callers and an engine: one mutex around ledger, placement
//! and engine, with everything that leaves it done after it is released.
//!
//! Whoever submits, cancels or receives calls [`Gate`] directly; no message
//! passes through another task on the way. Under the mutex, the pure parts
//! decide and the engine appends frames to outboxes (which fixes their order).
//! After it, results are handed to their futures and outboxes are written.

use std::mem::{Discriminant, discriminant};
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use super::gate::clock::Clock;
use super::pools::Member;
use super::spin::Spin;
use super::{Engine, Flush};
use crate::error::{Error, Repr, Stage, WorkerLoss, one_line};
use crate::ids::{SlotId, TaskId, WaiterId};
use crate::observe::event::EventKind;
use crate::sched::admission::Admission;
use crate::sched::ledger::{Bounds, Leave, Ledger, Reply, Settled};
use crate::sched::placement::{Placement, Rules};
use crate::sched::quarantine::{Quarantine, Terms};
use crate::sched::stopping::Stopping;
use crate::sched::strength::Strength;
use crate::sched::strength::count::WorkerCount;
use crate::sched::waitlist::Waitlist;
use crate::task::fork::Identity;
use crate::task::outcome::{Failure, Usage};
use crate::task::progress::Progress;
use crate::task::registry::Function;
use crate::trace::Echo;
use crate::value::channel::Flow;
use crate::value::payload::Payload;
use crate::value::scatter::home::Workers;

use observe::Watchers;
use proportional::Proportional;

/// Tasks that are executed in one call.
mod batch;
/// Wakes the gate at the earliest deadline.
mod clock;
/// What follows from a worker's death.
mod crash;
/// How many workers the load asks for.
mod elastic;
/// Panics and lost workers, for the log.
mod failure;
/// What there is of it in a process that was forked.
mod forked;
/// What a submit goes through.
mod intake;
#[cfg(test)]
mod model;
/// What is shown of it all, and told of what happens.
mod observe;
/// What of memory is each worker's own part.
mod proportional;
/// Who waits for room.
mod room;
/// Start, stop, and whose slot it is.
mod strength;

/// The end of a future that the ledger holds.
pub(crate) type Handle = oneshot::Sender<Result<Reply, Error>>;

/// What a submit leaves with its caller.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) waiter: WaiterId,
    pub(crate) task: TaskId,
    pub(crate) receiver: oneshot::Receiver<Result<Reply, Error>>,
    /// What is worth a look before it sleeps for its answer.
    pub(crate) spin: Option<Spin>,
}

/// How far callers may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) queue: Bounds,
    pub(crate) payload: usize,
    pub(crate) tenants: Rules,
    /// Kills of one tenant in a second; `None`: as many as cost no more than a
    /// quarter of the workers' time.
    pub(crate) tenant_kills: Option<u32>,
    /// When arguments that take workers down are refused, if ever.
    pub(crate) quarantine: Option<Terms>,
}

/// How many waiters run out of time under one lock of the mutex.
const EXPIRED_AT_ONCE: usize = 256;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Gate {
    core: Mutex<Core>,
    /// The name of its pool.
    pool: Arc<str>,
    /// Its client is there before its first worker.
    lazy: bool,
    /// The process that has it.
    home: Identity,
    /// In its place in a process that was forked from that one.
    forked: OnceLock<Mutex<Core>>,
    clock: Clock,
    limits: Limits,
    pieces: bool,
    /// Tasks of its engine can receive a stream.
    feeds: bool,
    flow: Arc<Flow>,
    proportional: Arc<Proportional>,
    /// A [`Milestone`] was reached.
    changed: Notify,
    /// Something happened, and someone waits for that.
    told: Notify,
    /// How often callers who wait have taken the mutex.
    #[cfg(test)]
    looks: AtomicUsize,
}

/// What the mutex guards.
#[derive(Debug)]
pub(crate) struct Core {
    ledger: Ledger<Handle>,
    placement: Placement,
    engine: Box<dyn Engine>,
    stopping: Stopping,
    strength: Strength,
    /// Whether the clock wakes the gate for kills that are due later.
    timed: bool,
    admission: Admission,
    watchers: Watchers,
    quarantine: Option<Quarantine>,
    /// Callers that wait for room in the queue.
    waitlist: Waitlist<Call>,
    phase: Phase,
    /// Why no worker can be started, while that lasts.
    broken: Option<Error>,
    /// How far it had come when the mutex was released last.
    milestone: Milestone,
}

/// Calls one who waits for room.
type Call = oneshot::Sender<()>;

/// What others than those who submit wait for: a client that starts, drains or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Milestone {
    phase: Discriminant<Phase>,
    any_slot: bool,
    broken: bool,
    /// It takes nothing new, and nothing is owed.
    drained: bool,
}

/// A client's life.
#[derive(Clone, Debug)]
enum Phase {
    Open,
    /// Finishes what it has; ends the engine after that if so.
    Draining {
        then_end: bool,
    },
    Ending(Error),
    Ended(Error),
}

/// What has to be done after the mutex is released.
#[derive(Default)]
pub(crate) struct Effects {
    settled: Vec<Settled<Handle>>,
    flush: Vec<Arc<dyn Flush>>,
    /// What tasks have said.
    echoes: Vec<Echo>,
    /// Who may have room.
    calls: Vec<Call>,
}

/// A core under its mutex, for an engine's reports.
pub(crate) struct Reports<'a> {
    core: MutexGuard<'a, Core>,
    effects: Effects,
    now: Instant,
}

impl Gate {
    /// A gate in front of an engine.
    pub(crate) fn new(
        limits: Limits,
        strength: Strength,
        engine: Box<dyn Engine>,
        member: &Member,
    ) -> Arc<Self> {
        let (pieces, runtime) = (engine.takes_pieces(), engine.runtime().cloned());
        let feeds = engine.takes_feeds();
        Arc::new_cyclic(|weak| Self {
            core: Mutex::new(Core::new(limits, strength, engine, member)),
            pool: member.name.clone(),
            lazy: member.lazy,
            home: Identity::here(),
            forked: OnceLock::new(),
            clock: Clock::new(weak.clone(), runtime),
            limits,
            pieces,
            feeds,
            flow: Arc::default(),
            proportional: Arc::default(),
            changed: Notify::new(),
            told: Notify::new(),
            #[cfg(test)]
            looks: AtomicUsize::new(0),
        })
    }

    /// Whether its engine takes a payload in several places.
    pub(crate) fn takes_pieces(&self) -> bool {
        self.pieces
    }

    /// Whether values of any size are encoded and decoded by whoever submits and awaits: its
    /// clock would run ahead of another thread.
    pub(crate) fn encodes_at_once(&self) -> bool {
        self.clock.is_a_runtimes()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether its client does not wait for its first worker.
    pub(crate) fn is_lazy(&self) -> bool {
        self.lazy
    }

    /// The name of its pool.
    pub(crate) fn pool(&self) -> &str {
        &self.pool
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        let core = if self.home.is_here() { &self.core } else { self.forked() };
        // A panic under the mutex is a bug of ours; the state is as the last
        // whole step left it or worse, but futures must still end.
        core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the clock, so that a kill can wait. Without it, where the system
    /// has no thread to give, none does.
    pub(crate) fn start_clock(&self) {
        self.lock().timed = self.clock.ready().is_ok();
    }

    /// A waiter no longer waits.
    pub(crate) fn cancel(&self, waiter: WaiterId) {
        self.cancel_at(self.clock.now(), waiter);
    }

    /// A waiter leaves because its stream sent nothing for so long.
    pub(crate) fn leave_idle(&self, waiter: WaiterId, pause: Duration) {
        self.report(|reports| reports.leave(waiter, Leave::Idle(pause)));
    }

    /// What the streams of this client have carried.
    pub(crate) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    fn cancel_at(&self, now: Instant, waiter: WaiterId) {
        self.report_at(now, |reports| reports.leave(waiter, Leave::Cancelled));
    }

    /// Where a waiter's task is; `None` once it has ended.
    pub(crate) fn stage(&self, waiter: WaiterId) -> Option<Stage> {
        let core = self.lock();
        let (task, _) = core.ledger.waits_for(waiter)?;
        Some(core.stage(task))
    }

    /// How far a waiter's task says that it is; `None` once the task has ended.
    pub(crate) fn progress(&self, waiter: WaiterId) -> Option<Option<Progress>> {
        let core = self.lock();
        let (task, _) = core.ledger.waits_for(waiter)?;
        let slot = core.ledger.task(task)?.slot();
        Some(slot.and_then(|slot| core.engine.progress(slot, task)))
    }

    /// Ends waiters whose time has run out, and tasks' rests, but not so many that others wait
    /// long for the mutex. Gives when the next is due, which may have passed.
    fn expire(&self) -> Option<Instant> {
        self.expire_at(self.clock.now())
    }

    fn expire_at(&self, now: Instant) -> Option<Instant> {
        self.report_at(now, |reports| {
            for _ in 0..EXPIRED_AT_ONCE {
                if let Some(waiter) = reports.core.ledger.expired(reports.now) {
                    reports.leave(waiter, Leave::TimedOut);
                } else if let Some(next) = reports.core.ledger.rested(reports.now) {
                    reports.core.apply(next);
                } else {
                    break;
                }
            }
            let Core { ledger, .. } = &*reports.core;
            [ledger.next_deadline(), ledger.next_rested()].into_iter().flatten().min()
        })
    }

    /// Lets an engine, or a caller, say what happened: all under one lock, and
    /// what follows from it after the lock.
    pub(crate) fn report<R>(&self, say: impl FnOnce(&mut Reports<'_>) -> R) -> R {
        self.report_at(self.clock.now(), say)
    }

    fn report_at<R>(&self, now: Instant, say: impl FnOnce(&mut Reports<'_>) -> R) -> R {
        let mut reports = Reports { core: self.lock(), effects: Effects::default(), now };
        reports.core.record_from(now);
        let result = say(&mut reports);
        let Reports { mut core, mut effects, now } = reports;
        core.pump(now, &mut effects);
        core.finish_drain();
        let due = [core.stopping.next_due(), core.ledger.next_rested()];
        self.release_lock(core, now, effects, due.into_iter().flatten().min());
        result
    }

    /// Releases the mutex after a change. Who waits for what came of it is told so
    /// after that: it takes the mutex itself.
    fn release_lock(
        &self,
        mut core: MutexGuard<'_, Core>,
        now: Instant,
        mut effects: Effects,
        alarm: Option<Instant>,
    ) {
        core.call_for_room(now, &mut effects.calls);
        let (told, passed) = (core.has_told(), core.passed_milestone());
        let later = [
            alarm,
            core.strength.alarm(),
            core.placement.next_held(now),
            core.placement.next_due(),
        ];
        drop(core);
        if let Some(at) = later.into_iter().flatten().min() {
            self.clock.arm(at);
        }
        effects.apply();
        if told {
            self.told.notify_waiters();
        }
        if passed {
            self.changed.notify_waiters();
        }
    }

    /// Waits until a slot is up, or none will come, or none is wanted yet.
    pub(crate) async fn up(&self) -> Result<(), Error> {
        self.until(|core| match core.open() {
            Err(error) => Some(Err(error)),
            Ok(()) => {
                let up = core.placement.slots() > 0 || core.strength.rests();
                up.then_some(Ok(()))
            }
        })
        .await
    }

    /// Takes nothing new, and waits until everything is done.
    pub(crate) async fn drain(&self) {
        self.report(|reports| reports.core.drain(false));
        self.until(|core| (core.ledger.owed() == 0).then_some(())).await;
    }

    /// Takes nothing new, and ends the engine when everything is done.
    pub(crate) fn release(&self) {
        self.report(|reports| reports.core.drain(true));
    }

    /// Ends the engine and all tasks at once.
    pub(crate) fn end(&self, error: &Error) {
        self.report(|reports| reports.end(error));
    }

    /// Waits until the engine has ended.
    pub(crate) async fn ended(&self) {
        self.until(|core| matches!(core.phase, Phase::Ended(_)).then_some(())).await;
    }

    /// Waits for something that only changes with a [`Milestone`].
    async fn until<R>(&self, done: impl Fn(&Core) -> Option<R>) -> R {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(result) = done(&self.lock()) {
                return result;
            }
            changed.await;
        }
    }

    /// The name of the engine.
    pub(crate) fn engine(&self) -> &'static str {
        self.lock().engine.name()
    }

    /// Who has to be told of scattered values, if anyone.
    pub(crate) fn workers(&self) -> Result<Option<Arc<dyn Workers>>, Error> {
        let core = self.lock();
        core.open()?;
        core.engine.holders()
    }

    /// From now on there are to be so many workers.
    ///
    /// # Errors
    ///
    /// `Unavailable` if its workers are not for this client to start, or there cannot be so
    /// many; `Closed` if it has none any more.
    pub(crate) fn scale(&self, workers: WorkerCount) -> Result<(), Error> {
        if workers.is_elastic() {
            self.start_clock();
        }
        self.report(|reports| {
            if let Phase::Ending(error) | Phase::Ended(error) = &reports.core.phase {
                return Err(error.clone());
            }
            let Some(pool) = reports.core.engine.pool() else {
                return Err(Error::unavailable(
                    "a cluster cannot be scaled from here: add or remove workers there",
                ));
            };
            pool.fit(workers.most())?;
            reports.scale(workers);
            Ok(())
        })
    }
}

impl Core {
    fn new(limits: Limits, strength: Strength, engine: Box<dyn Engine>, member: &Member) -> Self {
        Self {
            ledger: Ledger::new(limits.queue, member.tags()),
            placement: Placement::new(limits.tenants),
            admission: Admission::default(),
            watchers: Watchers::new(member.start),
            quarantine: limits.quarantine.map(Quarantine::new),
            engine,
            stopping: Stopping::new(limits.tenant_kills),
            strength,
            timed: false,
            waitlist: Waitlist::default(),
            phase: Phase::Open,
            broken: None,
            milestone: Milestone {
                phase: discriminant(&Phase::Open),
                any_slot: false,
                broken: false,
                drained: false,
            },
        }
    }

    /// Whether tasks are taken.
    fn open(&self) -> Result<(), Error> {
        match (&self.phase, &self.broken) {
            (Phase::Open, Some(error)) if self.placement.slots() == 0 => Err(error.clone()),
            (Phase::Open, _) => Ok(()),
            (Phase::Draining { .. }, _) => {
                Err(Error::closed("it is draining, and takes no new tasks"))
            }
            (Phase::Ending(error) | Phase::Ended(error), _) => Err(error.clone()),
        }
    }

    /// Whether a milestone was passed since the mutex was released last.
    fn passed_milestone(&mut self) -> bool {
        let milestone = Milestone {
            phase: discriminant(&self.phase),
            any_slot: self.placement.slots() > 0,
            broken: self.broken.is_some(),
            // Only counts where nothing new comes, so submits need not look.
            drained: !matches!(self.phase, Phase::Open) && self.ledger.owed() == 0,
        };
        std::mem::replace(&mut self.milestone, milestone) != milestone
    }

    fn admits(&self, function: &'static Function) -> Result<(), Error> {
        self.open()?;
        self.engine.check(function)
    }

    fn stage(&self, id: TaskId) -> Stage {
        match self.ledger.task(id).and_then(|task| task.slot()) {
            Some(slot) if self.engine.started(slot, id) => Stage::Running,
            _ => Stage::Queued,
        }
    }

    fn drain(&mut self, then_end: bool) {
        match self.phase {
            Phase::Open | Phase::Draining { then_end: false } => {
                self.phase = Phase::Draining { then_end };
            }
            _ => {}
        }
    }

    fn finish_drain(&mut self) {
        if matches!(self.phase, Phase::Draining { then_end: true }) && self.ledger.owed() == 0 {
            self.phase = Phase::Ending(Error::closed("all its handles were dropped"));
            self.engine.shutdown();
        }
    }
}

impl Reports<'_> {
    /// A worker is ready, and stands by; it took so long from its start.
    pub(crate) fn ready(&mut self, took: Duration) {
        self.core.broken = None;
        self.core.ready(took);
    }

    /// A slot can be given tasks, once the lock is released.
    /// Gives it and its number; `None` if the engine is ending.
    pub(crate) fn slot_up(&mut self) -> Option<(SlotId, usize)> {
        let ending = matches!(self.core.phase, Phase::Ending(_) | Phase::Ended(_));
        if ending {
            return None;
        }
        let slot = self.core.placement.slot_up(self.now);
        Some((slot, self.core.strength.give(slot, None)))
    }

    /// A slot has ended an attempt.
    pub(crate) fn finished(
        &mut self,
        slot: SlotId,
        (task, attempt): (TaskId, u32),
        outcome: Result<Payload, Failure>,
        (usage, worker): (Usage, usize),
    ) {
        let apart = self.core.runs_apart(slot, task, &outcome, usage);
        // Of a call that several tasks were in, it is told once.
        let told = !apart || self.core.placement.current(slot).is_some_and(|(one, _)| one == task);
        let echo = if told { self.core.panicked(self.now, task, worker, &outcome) } else { None };
        self.effects.echoes.extend(echo);
        let core = &mut *self.core;
        let outcome = outcome.map_err(|failure| core.error(task, failure));
        let held_ns = core.engine.held_ns(slot, task, self.now).unwrap_or(usage.run_ns);
        core.placement.freed(slot, task, self.now);
        core.stopping.over(slot, Some(task));
        core.observed(self.now, task, held_ns / u64::from(usage.tasks()));
        let unwanted = core.ledger.task(task).is_none();
        let (run, settled) = ((usage, worker), &mut self.effects.settled);
        let next = match outcome {
            Err(error) if apart => core.ledger.apart((task, attempt), error, Some(run)),
            outcome => core.ledger.finished(self.now, (task, attempt), outcome, run, settled),
        };
        core.apply(next);
        if unwanted {
            core.tell(|| EventKind::Freed { task, run: (usage, worker).into() });
        }
        core.turned(slot);
        core.freed(slot);
    }

    /// The first item of an attempt has arrived.
    pub(crate) fn delivered(&mut self, attempt: (TaskId, u32)) {
        self.core.ledger.delivered(attempt);
        self.core.streams(attempt.0);
    }

    /// Slots can be had, or fewer of them: there are to be so many from now on.
    #[cfg(feature = "dask")]
    pub(crate) fn capacity(&mut self, slots: usize) {
        if slots > 0 {
            self.core.broken = None;
        }
        self.core.resize(slots);
    }

    /// From now on there are to be so many workers.
    fn scale(&mut self, workers: WorkerCount) {
        self.core.scale(workers);
    }

    /// A slot has skipped a task that was taken back.
    pub(crate) fn skipped(&mut self, slot: SlotId, task: TaskId) {
        self.core.placement.freed(slot, task, self.now);
        self.core.turned(slot);
        self.core.freed(slot);
    }

    /// The worker of a slot is dead, or about to be; `lost` comes when all that it wrote is
    /// read. Until then another one may have a slot in its place.
    pub(crate) fn closing(&mut self, slot: SlotId) {
        self.core.placement.slot_closing(slot);
        self.core.strength.closing(slot);
    }

    /// A slot died. `running` is what it had started and not ended; `suspect`,
    /// if it had started nothing and died unasked, what it would have started.
    pub(crate) fn lost(
        &mut self,
        slot: SlotId,
        running: Vec<(TaskId, u32)>,
        suspect: Option<TaskId>,
        lost: &WorkerLoss,
    ) {
        let core = &mut *self.core;
        if let Some(task) = suspect {
            core.suspected(self.now, task, lost, &mut self.effects);
        }
        core.abandon(slot);
        let together = |(task, _): &(TaskId, u32)| core.placement.is_grouped(slot, *task);
        match running.len() > 1 && running.iter().all(together) {
            true => core.crashed_together(&running, lost, &mut self.effects),
            false => {
                for attempt in running {
                    core.crashed(self.now, attempt, lost, &mut self.effects);
                }
            }
        }
        core.slot_down(slot, self.now);
        core.give_up_if_broken(&mut self.effects);
    }

    /// No worker can be started: nothing that waits would ever run.
    pub(crate) fn broken(&mut self, error: Error) {
        self.core.broken = Some(error);
        self.core.give_up_if_broken(&mut self.effects);
    }

    /// The engine can no longer do its work, or is not wanted any more.
    pub(crate) fn end(&mut self, error: &Error) {
        let core = &mut *self.core;
        if matches!(core.phase, Phase::Open | Phase::Draining { .. }) {
            core.phase = Phase::Ending(error.clone());
            core.clear(error, &mut self.effects);
            core.engine.shutdown();
        }
    }

    /// The engine has ended, and holds nothing any more.
    pub(crate) fn ended(&mut self) {
        let core = &mut *self.core;
        let error = core.open().err().unwrap_or_else(|| Error::closed("its engine ended"));
        core.clear(&error, &mut self.effects);
        core.phase = Phase::Ended(error);
    }

    fn leave(&mut self, waiter: WaiterId, why: Leave) {
        let core = &mut *self.core;
        let Some((task, last)) = core.ledger.waits_for(waiter) else { return };
        let slot = core.ledger.task(task).and_then(|task| task.slot());
        let stage = match slot.filter(|_| last) {
            Some(slot) => core.stop(slot, task, self.now),
            None => core.stage(task),
        };
        let next = core.ledger.leave(waiter, why, stage, &mut self.effects.settled);
        core.apply(next);
    }
}

impl Core {
    /// Without a slot, and without hope of one, what waits is told so.
    fn give_up_if_broken(&mut self, effects: &mut Effects) {
        if self.placement.slots() == 0
            && let Some(error) = self.broken.clone()
        {
            self.clear(&error, effects);
        }
    }

    fn clear(&mut self, error: &Error, effects: &mut Effects) {
        for next in self.ledger.clear(error, &mut effects.settled) {
            self.apply(next);
        }
    }

    /// Re-checks the invariants of the pure parts, and those between them.
    #[cfg(test)]
    fn check_invariants(&self, now: Instant) {
        self.ledger.check_invariants();
        self.placement.check_invariants(now);
        self.ledger.check_agrees_with(&self.placement);
    }

    /// What callers get: the one place where a failure becomes the public error.
    fn error(&self, task: TaskId, failure: Failure) -> Error {
        Error::new(match failure {
            Failure::Panicked(panic) => Repr::Panicked(panic),
            Failure::Raised(exception) => Repr::Raised(exception),
            Failure::Codec { step, subject, source } => {
                return Error::codec(step, &subject, source);
            }
            Failure::TooLarge { what, bytes, limit } => Repr::TooLarge { what, bytes, limit },
            Failure::UnknownTask { advice } => {
                let name = self.ledger.task(task).map_or("", |task| task.function.name);
                Repr::UnknownTask { name: name.into(), advice }
            }
            Failure::Lost(lost) => return Error::lost_worker(self.crash_report(task, &lost)),
            Failure::Quarantined { crashes, left, lost } => {
                Repr::Quarantined { crashes, left, lost: *lost }
            }
            Failure::TimedOut { stage, timeout } => Repr::TimedOut { stage, timeout },
            Failure::Cancelled => Repr::Cancelled,
            Failure::Unavailable(reason) => Repr::Unavailable { reason },
            Failure::InputFailed(reason) => Repr::InputFailed { reason: one_line(&reason) },
        })
    }
}

impl Effects {
    /// Has bytes written, once however many tasks were started.
    fn flush(&mut self, link: Arc<dyn Flush>) {
        let place = |link: &Arc<dyn Flush>| Arc::as_ptr(link).cast::<()>();
        if self.flush.iter().all(|one| place(one) != place(&link)) {
            self.flush.push(link);
        }
    }

    fn apply(self) {
        for link in self.flush {
            link.flush();
        }
        self.echoes.iter().for_each(Echo::show);
        for call in self.calls {
            // Whoever is gone passes the call on.
            let _ = call.send(());
        }
        for (handle, result) in self.settled {
            // The future may be gone: it was dropped or detached.
            let _ = handle.send(result);
        }
    }
}

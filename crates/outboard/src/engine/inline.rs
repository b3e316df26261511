//! The `inline` engine: threads of this very process, for tests and for
//! platforms without worker processes.
//!
//! It encodes and decodes as the others do and keeps their order, bounds and errors. What
//! it cannot do is what threads cannot do. A task that runs is not stopped: its caller is
//! released, its thread goes on. A crash takes the process along.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant};

use linkme::distributed_slice;
use tracing::Span;

use super::owner::Owner;
use super::pools::{Member, Numbers, Pools};
use super::registry::{self, OUTBOARD_0_1_0_ENGINES};
use super::settings::Settings;
use super::url::Url;
use super::{Engine, Flush, Gate, Pool, Stopped, Work};
use crate::error::{Error, WorkerLoss};
use crate::ids::{SlotId, TaskId};
use crate::observe::snapshot::WorkerSnapshot;
use crate::task;
use crate::task::current::{self, STOPPING};
use crate::task::execute::{execute, execute_all, record_panics};
use crate::task::outcome::{Failure, Usage};
use crate::task::progress::{Board, Progress};
use crate::task::receive;
use crate::task::registry::{Function, refuse_python};
use crate::task::stream;
use crate::trace::{Origin, child};
use crate::value::channel::{Refused, Source};
use crate::value::codec::Input;
use crate::value::feed::Feed;
use crate::value::payload::Payload;

/// Threads that execute tasks.
#[derive(Debug)]
struct Inline {
    threads: Threads,
    crew: Arc<Mutex<Crew>>,
}

/// What it takes to start another thread.
#[derive(Debug)]
struct Crew {
    ended: Weak<Ended>,
    /// Those of the next threads.
    numbers: Numbers,
    /// How many threads have not ended.
    alive: usize,
    /// While there is to be no thread, one waits for the other end of this, so that the engine
    /// does not end.
    stays: Option<mpsc::Sender<()>>,
}

/// The threads by slot; the gate's mutex is always taken before this one.
#[derive(Clone, Debug, Default)]
struct Threads(Arc<Mutex<Vec<Option<Thread>>>>);

#[derive(Debug)]
struct Thread {
    number: usize,
    /// The number of its slot in the pool.
    in_pool: usize,
    slot: SlotId,
    attempts: mpsc::Sender<Attempt>,
    sent: VecDeque<(TaskId, Arc<AtomicU8>, Arc<Board>)>,
    done: u64,
    /// How far the batch says that it is whose tasks come now.
    batch: Option<Arc<Board>>,
}

/// One attempt on its way to a thread.
#[derive(Debug)]
struct Attempt {
    task: TaskId,
    attempt: u32,
    function: &'static Function,
    origin: Option<Arc<Origin>>,
    args: Payload,
    deadline: Option<Instant>,
    state: Arc<AtomicU8>,
    /// What it sends its items through, if it streams.
    source: Option<Source>,
    /// What it receives items through. They end with the task, which this thread may go on with
    /// when nobody wants it any more.
    feeds: Vec<Weak<Feed>>,
    board: Arc<Board>,
    /// How many more come next that are for the same call.
    rest: u32,
}

/// Where the items of a task on a thread of this process go.
#[derive(Debug)]
struct Outlet {
    source: Source,
    gate: Arc<Gate>,
    attempt: (TaskId, u32),
}

impl stream::Outlet for Outlet {
    fn send(&self, item: &mut Option<Payload>, wait: bool) -> Result<(), Refused> {
        if self.source.send(item, wait)? {
            self.gate.report(|reports| reports.delivered(self.attempt));
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        self.gate.limits().payload
    }
}

const SENT: u8 = 0;
const RUNNING: u8 = 1;
const REVOKED: u8 = 2;

#[expect(unsafe_code, reason = "linkme puts it into a linker section")]
#[distributed_slice(OUTBOARD_0_1_0_ENGINES)]
static INLINE: registry::Entry = registry::Entry {
    schemes: &["inline"],
    order: u8::MAX,
    connect: |url, settings| Box::pin(async move { connect(url, settings) }),
    become_worker: |_| {},
    is_worker: || false,
};

fn connect(mut url: Url, settings: Option<Settings>) -> Result<Arc<Owner>, Error> {
    url.refuse_hosts()?;
    let settings = settings.map_or_else(|| url.settings("inline"), Ok)?;
    task::registry::registry().map_err(Error::unavailable)?;
    Pools::start(settings, start).map(Owner::new)
}

/// Starts the threads of a pool.
fn start(settings: Settings, member: Member) -> Result<Arc<Gate>, Error> {
    task::start::run_all_apart(&member.name).map_err(Error::unavailable)?;
    record_panics();
    let (strength, limits) = (settings.without_reserve(), settings.limits);
    let (workers, elastic) = (strength.workers(), strength.is_elastic());
    let threads = Threads::default();
    let crew = Crew { numbers: member.numbers(workers), ended: Weak::new(), alive: 0, stays: None };
    let crew = Arc::new(Mutex::new(crew));
    let engine = Inline { threads: threads.clone(), crew: crew.clone() };
    let gate = Gate::new(limits, strength, Box::new(engine), &member);
    if elastic {
        gate.start_clock();
    }
    // Each thread holds one clone: when the last one ends, so does the engine.
    let ended = Arc::new(Ended { gate: gate.clone(), threads, crew: crew.clone() });
    lock(&crew).ended = Arc::downgrade(&ended);
    if workers == 0 {
        ended.stay();
    }
    for _ in 0..workers {
        let seat = ended.enter();
        hire(&ended, seat).map_err(|error| {
            let error = Error::unavailable(format!("could not start a worker thread: {error}"));
            gate.end(&error);
            error
        })?;
    }
    Ok(gate)
}

fn lock(crew: &Mutex<Crew>) -> MutexGuard<'_, Crew> {
    crew.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a thread for a seat; one that has none yet takes one by itself.
fn hire(ended: &Arc<Ended>, seat: Option<Seat>) -> io::Result<()> {
    lock(&ended.crew).alive += 1;
    let hired = ended.clone();
    let name = "outboard-inline".to_owned();
    let spawned = std::thread::Builder::new().name(name).spawn(move || hired.work(seat));
    if spawned.is_err() {
        lock(&ended.crew).alive -= 1;
    }
    spawned.map(drop)
}

/// Tells the gate that the engine has ended. Keeps the gate until then: detached
/// tasks go on when nobody else has it any more.
#[derive(Debug)]
struct Ended {
    gate: Arc<Gate>,
    threads: Threads,
    crew: Arc<Mutex<Crew>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.gate.report(|reports| reports.ended());
    }
}

/// A slot, and what is sent to it.
struct Seat {
    number: usize,
    in_pool: usize,
    slot: SlotId,
    received: mpsc::Receiver<Attempt>,
}

impl Ended {
    /// Makes a slot; `None` if the engine is ending.
    fn enter(&self) -> Option<Seat> {
        let (attempts, received) = mpsc::channel();
        self.gate.report(|reports| {
            let (slot, in_pool) = reports.slot_up()?;
            let number = lock(&self.crew).numbers.next()?;
            let (sent, done, batch) = (VecDeque::new(), 0, None);
            let thread = Thread { number, in_pool, slot, attempts, sent, done, batch };
            self.threads.attach(slot, thread);
            reports.ready(Duration::ZERO);
            reports.up(number, std::process::id(), Duration::ZERO);
            reports.serves(slot);
            Some(Seat { number, in_pool, slot, received })
        })
    }

    /// The engine goes on without a thread of its own. Where the system has none for that, it
    /// ends.
    fn stay(self: &Arc<Self>) {
        let (stays, ends) = mpsc::channel();
        let mut crew = lock(&self.crew);
        if crew.stays.is_some() {
            return;
        }
        crew.stays = Some(stays);
        drop(crew);
        let stayer = self.clone();
        let name = "outboard-inline".to_owned();
        let _ = std::thread::Builder::new().name(name).spawn(move || {
            let _ = ends.recv();
            drop(stayer);
        });
    }

    /// What one thread does until its channel closes.
    fn work(&self, seat: Option<Seat>) {
        if let Some(Seat { number, in_pool, slot, received }) = seat.or_else(|| self.enter()) {
            let mut batch = Vec::new();
            for one in received {
                let whole = one.rest == 0;
                batch.push(one);
                if whole {
                    self.execute(slot, (number, in_pool), &batch);
                    batch.clear();
                }
            }
            let lost =
                WorkerLoss { worker: number, pid: std::process::id(), ..WorkerLoss::default() };
            self.gate.report(|reports| {
                reports.gone(&lost, None, true);
                reports.lost(slot, Vec::new(), None, &lost);
            });
        }
        lock(&self.crew).alive -= 1;
    }

    /// Executes attempts in one call, but for those that were taken back.
    fn execute(&self, slot: SlotId, (number, in_pool): (usize, usize), batch: &[Attempt]) {
        let start =
            |one: &Attempt| one.state.compare_exchange(SENT, RUNNING, AcqRel, Acquire).is_ok();
        let taken: Vec<bool> = batch.iter().map(start).collect();
        let running: Vec<&Attempt> =
            batch.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(one, _)| one).collect();
        let (results, usage) = match running[..] {
            [] => (Vec::new(), Usage::default()),
            [first, ..] => run(first, &running, (number, in_pool), &self.gate),
        };
        let mut results = results.into_iter();
        self.gate.report(|reports| {
            for (one, taken) in batch.iter().zip(taken) {
                self.threads.done(slot, taken);
                match if taken { results.next() } else { None } {
                    None => reports.skipped(slot, one.task),
                    Some(result) => {
                        let attempt = (one.task, one.attempt);
                        reports.finished(slot, attempt, result, (usage, number));
                    }
                }
            }
        });
    }
}

/// Runs attempts in one call, all in the place of the first.
fn run(
    one: &Attempt,
    all: &[&Attempt],
    (worker, slot): (usize, usize),
    gate: &Arc<Gate>,
) -> (Vec<Result<Payload, Failure>>, Usage) {
    let start = Instant::now();
    let inputs = all.iter().map(|one| Input::Owned(one.args.clone()));
    let outlet = one.source.as_ref().map(|source| {
        let (source, attempt) = (source.clone(), (one.task, one.attempt));
        Arc::new(Outlet { source, gate: gate.clone(), attempt }) as Arc<dyn stream::Outlet>
    });
    let (state, board) = (one.state.clone(), one.board.clone());
    let others = all[1..].iter().map(|one| one.state.clone()).collect();
    let deadline = all.iter().map(|one| one.deadline).reduce(latest).flatten();
    let inline = current::Inline { state, others, deadline, outlet, board, slot };
    let span = one.origin.as_ref().map_or_else(Span::none, |origin| {
        child(&origin.span, one.function.name, one.attempt, worker)
    });
    let (limit, batch) = (gate.limits().payload, all.len() as u32);
    let execute = || match one.function.run_all.filter(|_| batch > 1) {
        Some(run_all) => execute_all(run_all, inputs.collect(), limit),
        None => inputs.map(|args| execute(one.function.run, args, limit)).collect(),
    };
    let line = |feed: &Weak<Feed>| feed.upgrade().and_then(|feed| Some((feed.id, feed.here()?)));
    let lines = one.feeds.iter().filter_map(line).collect();
    let (mut results, broken) = receive::scope(lines, || span.in_scope(|| inline.scope(execute)));
    if let (Some(broken), [result]) = (broken, &mut results[..]) {
        *result = Err(broken);
    }
    // Made one here, where nobody else waits for it.
    let whole = |output: Payload| match output {
        Payload::Pieces(_) => output.into_bytes().into(),
        output => output,
    };
    let results = results.into_iter().map(|result| result.map(whole)).collect();
    let run_ns = start.elapsed().as_nanos() as u64;
    let batch = if batch > 1 { batch } else { 0 };
    (results, Usage { run_ns, batch, ..Usage::default() })
}

/// The later of two deadlines; none is the latest.
fn latest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    Some(one?.max(other?))
}

impl Threads {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Thread>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, slot: SlotId, act: impl FnOnce(&mut Thread) -> R) -> Option<R> {
        self.lock().get_mut(slot.index())?.as_mut().map(act)
    }

    fn attach(&self, slot: SlotId, thread: Thread) {
        let mut threads = self.lock();
        if threads.len() <= slot.index() {
            threads.resize_with(slot.index() + 1, || None);
        }
        threads[slot.index()] = Some(thread);
    }

    fn done(&self, slot: SlotId, ran: bool) {
        self.with(slot, |thread| {
            thread.sent.pop_front();
            thread.done += u64::from(ran);
        });
    }
}

impl Thread {
    /// The state of a task; the latest one, if it was here before.
    fn state(&self, task: TaskId) -> Option<&AtomicU8> {
        self.sent.iter().rev().find(|(id, ..)| *id == task).map(|(_, state, _)| &**state)
    }

    fn revoke(&self, task: TaskId) -> bool {
        self.state(task)
            .is_some_and(|state| state.compare_exchange(SENT, REVOKED, AcqRel, Acquire).is_ok())
    }
}

impl Engine for Inline {
    fn name(&self) -> &'static str {
        "inline"
    }

    fn check(&self, function: &'static Function) -> Result<(), Error> {
        refuse_python(function)
    }

    fn takes_feeds(&self) -> bool {
        true
    }

    fn takes_batches(&self) -> bool {
        true
    }

    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>> {
        self.threads.with(slot, |thread| {
            let state = Arc::new(AtomicU8::new(SENT));
            // A batch says how far it is in the place of its first task.
            let board = thread.batch.take().unwrap_or_default();
            thread.batch = (work.rest > 0).then(|| board.clone());
            thread.sent.push_back((work.task, state.clone(), board.clone()));
            let Work { task, attempt, rest, function, args, deadline, origin, .. } = work;
            let source = args.channel().map(|channel| channel.source(None));
            let feeds = args.feeds().iter().map(Arc::downgrade).collect();
            let (origin, args) = (origin.cloned(), args.payload.clone());
            let one = Attempt {
                task,
                attempt,
                function,
                origin,
                args,
                deadline,
                state,
                source,
                feeds,
                board,
                rest,
            };
            // A thread leaves its channel only after this sender is dropped.
            let _ = thread.attempts.send(one);
        });
        None
    }

    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped {
        let asked = self.threads.with(slot, |thread| {
            let unstarted = thread.revoke(task);
            let running = thread.state(task).filter(|_| !unstarted);
            running.inspect(|state| {
                let _ = state.compare_exchange(RUNNING, STOPPING, AcqRel, Acquire);
            });
            unstarted
        });
        match asked {
            Some(true) => Stopped::Unstarted,
            _ => Stopped::Continues,
        }
    }

    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId> {
        let revoke_all = |thread: &mut Thread| {
            let sent = thread.sent.iter().map(|(task, ..)| *task);
            sent.filter(|task| thread.revoke(*task)).collect()
        };
        self.threads.with(slot, revoke_all).unwrap_or_default()
    }

    fn started(&self, slot: SlotId, task: TaskId) -> bool {
        let state = |thread: &mut Thread| thread.state(task).map(|state| state.load(Acquire));
        matches!(self.threads.with(slot, state).flatten(), Some(RUNNING | STOPPING))
    }

    fn progress(&self, slot: SlotId, task: TaskId) -> Option<Progress> {
        let board =
            |thread: &mut Thread| thread.sent.iter().rev().find(|(id, ..)| *id == task)?.2.read();
        self.threads.with(slot, board).flatten()
    }

    fn forget(&mut self, slot: SlotId) {
        if let Some(thread) = self.threads.lock().get_mut(slot.index()) {
            *thread = None;
        }
    }

    fn shutdown(&mut self) {
        let mut crew = lock(&self.crew);
        (crew.ended, crew.stays) = (Weak::new(), None);
        drop(crew);
        // What is in the channels already is skipped.
        for thread in self.threads.lock().drain(..).flatten() {
            for (_, state, _) in &thread.sent {
                let _ = state.compare_exchange(SENT, REVOKED, AcqRel, Acquire);
            }
        }
    }

    fn workers(&self) -> Vec<(Option<SlotId>, WorkerSnapshot)> {
        let row = |thread: &Thread| {
            let busy = !thread.sent.is_empty();
            let mut row = WorkerSnapshot::new(thread.number, std::process::id(), thread.done, busy);
            row.slot = Some(thread.in_pool);
            (Some(thread.slot), row)
        };
        self.threads.lock().iter().flatten().map(row).collect()
    }

    fn worker(&self, slot: SlotId) -> usize {
        self.threads.with(slot, |thread| thread.number).unwrap_or(0)
    }

    fn pool(&mut self) -> Option<&mut dyn Pool> {
        Some(self)
    }
}

impl Pool for Inline {
    fn keep(&mut self, workers: usize, _: &BTreeSet<usize>) {
        let (ended, missing) = {
            let crew = lock(&self.crew);
            (crew.ended.upgrade(), workers.saturating_sub(crew.alive))
        };
        let Some(ended) = ended else { return };
        if workers == 0 {
            return ended.stay();
        }
        // Without another thread, those that there are go on.
        if (0..missing).try_for_each(|_| hire(&ended, None)).is_ok() {
            lock(&self.crew).stays = None;
        }
    }

    fn dismiss(&mut self, slot: SlotId) {
        // Its thread ends with its channel, and reports that.
        self.forget(slot);
    }

    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.threads.with(slot, |thread| thread.revoke(task)).unwrap_or(false)
    }
}

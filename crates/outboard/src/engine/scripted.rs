//! The engine `scripted`: gives the answers that a test has written, by tokio's clock.
//!
//! It is behind a gate as each engine is, so keys, timeouts, retries, counts and events are
//! those of production. One task of the test's runtime gives all answers, in the order of the
//! calls. So on a runtime of one thread a test runs the same each time.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::gate::Reports;
use super::owner::Owner;
use super::pools::{Member, Pools};
use super::settings::Settings;
use super::{ClusterSize, Engine, Flush, Gate, Limits, Stopped, Work};
use crate::error::{Bound, Error, Repr, WorkerLoss};
use crate::ids::{SlotId, TaskId};
use crate::observe::snapshot::WorkerSnapshot;
use crate::sched::ledger::Leave;
use crate::sched::placement::Rules;
use crate::sched::strength::Strength;
use crate::task::execute::{execute, record_panics};
use crate::task::outcome::{Failure, Usage};
use crate::task::registry::Function;
use crate::value::channel::{Credit, Refused, Source};
use crate::value::codec::Input;
use crate::value::payload::Payload;
use crate::value::scatter::Entry;

/// How many calls are answered at once; more of them wait in the queue.
const SLOTS: usize = 256;

/// The number of the one worker that is shown.
const WORKER: usize = 1;

/// What a test has written, and what was called.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    functions: Mutex<HashMap<usize, Script>>,
    /// A function was called.
    called: Notify,
}

/// The answers of one function, and its calls.
#[derive(Debug, Default)]
struct Script {
    /// For the next calls, one each.
    next: VecDeque<Line>,
    /// For the calls after those.
    always: Option<Line>,
    calls: Vec<Call>,
    /// How many holds calls may pass.
    released: watch::Sender<u64>,
}

/// What becomes of a submit.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// It is refused, until then.
    Overloaded(Duration),
    Answer(Answer),
}

/// What a task does.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

/// What precedes the end of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Wait(Duration),
    Hold,
    Item(Payload),
}

/// How an answer ends.
#[derive(Clone)]
pub(crate) enum End {
    Outcome(Outcome),
    TimesOut,
}

/// Makes a result of the encoded arguments.
pub(crate) type Outcome = Arc<dyn Fn(Payload) -> Result<Payload, Failure> + Send + Sync>;

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outcome(_) => "Outcome",
            Self::TimesOut => "TimesOut",
        })
    }
}

/// The arguments of a call, with the values that they name.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) args: Payload,
    _scattered: Vec<Arc<Entry>>,
}

impl Scripts {
    fn with<R>(&self, function: &Function, act: impl FnOnce(&mut Script) -> R) -> R {
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        act(functions.entry(function.number).or_default())
    }

    /// Answers the next call that has no answer, or all of them.
    pub(crate) fn write(&self, function: &Function, line: Line, once: bool) {
        self.with(function, |script| match once {
            true => script.next.push_back(line),
            false => script.always = Some(line),
        });
    }

    /// The calls so far.
    pub(crate) fn calls(&self, function: &Function) -> Vec<Call> {
        self.with(function, |script| script.calls.clone())
    }

    /// Waits until there were so many calls.
    pub(crate) async fn called(&self, function: &Function, times: usize) {
        loop {
            let mut called = pin!(self.called.notified());
            called.as_mut().enable();
            if self.with(function, |script| script.calls.len()) >= times {
                return;
            }
            called.await;
        }
    }

    /// Lets each call that has begun pass one more hold.
    pub(crate) fn release(&self, function: &Function) {
        self.with(function, |script| script.released.send_modify(|holds| *holds += 1));
    }

    /// Why a submit is refused, if it is.
    fn refuses(&self, function: &Function) -> Option<Error> {
        let retry_after = self.with(function, |script| {
            let after = script.next.front().or(script.always.as_ref())?.refuses()?;
            script.next.pop_front();
            Some(after)
        })?;
        let bound = Bound::Tasks(Settings::default().limits.queue.tasks);
        Some(Error::new(Repr::Overloaded { retry_after, bound }))
    }

    /// Notes a call; gives its answer, and what releases it.
    fn call(&self, function: &Function, call: Call) -> (Option<Answer>, watch::Receiver<u64>) {
        self.with(function, |script| {
            script.calls.push(call);
            // Another attempt of a task is not refused.
            let next = script.next.iter().position(|line| line.refuses().is_none());
            let line = next.and_then(|at| script.next.remove(at)).or_else(|| script.always.clone());
            let answer = line.and_then(|line| match line {
                Line::Answer(answer) => Some(answer),
                Line::Overloaded(_) => None,
            });
            (answer, script.released.subscribe())
        })
    }
}

impl Line {
    fn refuses(&self) -> Option<Duration> {
        match self {
            Self::Overloaded(after) => Some(*after),
            Self::Answer(_) => None,
        }
    }
}

/// Starts the engine on the runtime that this is called in.
///
/// # Errors
///
/// `Unavailable` outside of one.
pub(crate) fn start(scripts: &Arc<Scripts>) -> Result<Arc<Owner>, Error> {
    crate::task::registry::registry().map_err(Error::unavailable)?;
    let runtime = Handle::try_current().map_err(|_| {
        Error::unavailable("a scripted client goes by tokio's clock: make it inside a runtime")
    })?;
    record_panics();
    let (attempts, received) = mpsc::unbounded_channel();
    let running = Running::default();
    let engine = Scripted {
        scripts: scripts.clone(),
        runtime: runtime.clone(),
        attempts: Some(attempts),
        running: running.clone(),
    };
    let mut member = Member::alone();
    member.start = Instant::now().into_std();
    let limits = Settings::default().limits;
    // Each call has a slot of its own, and is answered as soon as it comes.
    let limits = Limits { tenants: Rules { ahead: false, ..limits.tenants }, ..limits };
    let gate = Gate::new(limits, Strength::new(SLOTS, 0), Box::new(engine), &member);
    gate.report(|reports| {
        reports.up(WORKER, std::process::id(), Duration::ZERO);
        (0..SLOTS).for_each(|_| open_slot(reports));
    });
    let desk = Desk { ended: Ended(gate.clone()), scripts: scripts.clone(), running };
    runtime.spawn(desk.answer_all(received));
    Ok(Owner::new(Pools::of_any_name(gate)))
}

fn open_slot(reports: &mut Reports<'_>) {
    if let Some((slot, _)) = reports.slot_up() {
        reports.serves(slot);
    }
}

/// The engine, as the gate calls it.
#[derive(Debug)]
struct Scripted {
    scripts: Arc<Scripts>,
    runtime: Handle,
    /// To the task that answers; `None` once the engine is to end.
    attempts: Option<mpsc::UnboundedSender<Attempt>>,
    running: Running,
}

/// What slots have; the gate's mutex is always taken before this one.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<Slots>>);

#[derive(Debug, Default)]
struct Slots {
    tasks: HashMap<SlotId, (TaskId, Option<oneshot::Sender<()>>)>,
    /// How many have ended.
    done: u64,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt on its way to its answer.
#[derive(Debug)]
struct Attempt {
    slot: SlotId,
    task: TaskId,
    number: u32,
    args: Payload,
    answer: Option<Answer>,
    released: watch::Receiver<u64>,
    /// The holds that calls had passed before.
    passed: u64,
    source: Option<Source>,
    credit: Arc<Taken>,
    stopped: oneshot::Receiver<()>,
}

/// Tells that the reader of a stream has taken something.
#[derive(Debug, Default)]
struct Taken(Notify);

impl Credit for Taken {
    fn taken(&self, _: u64) {
        self.0.notify_one();
    }
}

impl Engine for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn check(&self, function: &'static Function) -> Result<(), Error> {
        self.scripts.refuses(function).map_or(Ok(()), Err)
    }

    fn runtime(&self) -> Option<&Handle> {
        Some(&self.runtime)
    }

    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>> {
        let args = work.args.payload.clone();
        let call = Call { args: args.clone(), _scattered: work.args.scattered().to_vec() };
        let (answer, released) = self.scripts.call(work.function, call);
        let passed = *released.borrow();
        let credit = Arc::<Taken>::default();
        let source = work.args.channel().map(|channel| channel.source(Some(credit.clone())));
        let (stop, stopped) = oneshot::channel();
        self.running.lock().tasks.insert(slot, (work.task, Some(stop)));
        let (task, number) = (work.task, work.attempt);
        let attempt =
            Attempt { slot, task, number, args, answer, released, passed, source, credit, stopped };
        if let Some(attempts) = &self.attempts {
            // Without the one who answers, the engine has ended.
            let _ = attempts.send(attempt);
        }
        None
    }

    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped {
        if let Some((of, stop)) = self.running.lock().tasks.get_mut(&slot)
            && *of == task
            && let Some(stop) = stop.take()
        {
            let _ = stop.send(());
        }
        // The slot is free as soon as the one who answers has seen it.
        Stopped::Continues
    }

    fn withdraw(&mut self, _: SlotId) -> Vec<TaskId> {
        Vec::new()
    }

    fn started(&self, slot: SlotId, task: TaskId) -> bool {
        self.running.lock().tasks.get(&slot).is_some_and(|(of, _)| *of == task)
    }

    fn forget(&mut self, slot: SlotId) {
        self.running.lock().tasks.remove(&slot);
    }

    fn shutdown(&mut self) {
        self.attempts = None;
    }

    fn workers(&self) -> Vec<(Option<SlotId>, WorkerSnapshot)> {
        let slots = self.running.lock();
        let busy = !slots.tasks.is_empty();
        vec![(None, WorkerSnapshot::new(WORKER, std::process::id(), slots.done, busy))]
    }

    fn cluster(&self) -> Option<ClusterSize> {
        Some(ClusterSize { workers: 1, cores: 1, memory_bytes: 0 })
    }

    fn worker(&self, _: SlotId) -> usize {
        WORKER
    }
}

/// Ends what is left when the engine has, or its runtime.
struct Ended(Arc<Gate>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.report(|reports| {
            reports.end(&Error::closed("the runtime of its client ended"));
            reports.ended();
        });
    }
}

/// Who answers.
struct Desk {
    ended: Ended,
    scripts: Arc<Scripts>,
    running: Running,
}

impl Desk {
    /// Answers calls until the engine ends.
    async fn answer_all(self, mut attempts: mpsc::UnboundedReceiver<Attempt>) {
        let mut answers = FuturesUnordered::new();
        poll_fn(|context| {
            loop {
                match attempts.poll_recv(context) {
                    Poll::Ready(Some(attempt)) => {
                        self.scripts.called.notify_waiters();
                        answers.push(self.answer(attempt));
                    }
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            while let Poll::Ready(Some(())) = answers.poll_next_unpin(context) {}
            Poll::Pending
        })
        .await;
    }

    /// Answers one call, unless it is stopped before.
    async fn answer(&self, mut one: Attempt) {
        let (start, gate) = (Instant::now(), &self.ended.0);
        let (slot, attempt) = (one.slot, (one.task, one.number));
        let stopped = std::mem::replace(&mut one.stopped, oneshot::channel().1);
        let outcome = match select(pin!(one.outcome(gate)), stopped).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(Failure::Cancelled),
        };
        let run_ns = start.elapsed().as_nanos() as u64;
        let usage = Usage { run_ns, ..Usage::default() };
        gate.report(|reports| {
            let mut slots = self.running.lock();
            slots.tasks.remove(&slot);
            slots.done += 1;
            drop(slots);
            match outcome {
                Err(Failure::Lost(lost)) => {
                    let lost = WorkerLoss { worker: WORKER, ..*lost };
                    reports.gone(&lost, Some(attempt.0), false);
                    reports.lost(slot, vec![attempt], None, &lost);
                    open_slot(reports);
                }
                outcome => reports.finished(slot, attempt, outcome, (usage, WORKER)),
            }
        });
    }
}

impl Attempt {
    async fn outcome(&mut self, gate: &Gate) -> Result<Payload, Failure> {
        let Some(answer) = self.answer.take() else {
            let advice = "the test has no answer for this call: write one with `scripted.on(f)`";
            return Err(Failure::UnknownTask { advice: advice.into() });
        };
        for step in answer.steps {
            match step {
                Step::Wait(time) => sleep(time).await,
                Step::Hold => self.hold().await,
                Step::Item(item) => self.send(item, gate).await,
            }
        }
        match answer.end {
            End::Outcome(outcome) => {
                let args = self.args.clone();
                execute(|_| outcome(args), Input::Lent(&[]), gate.limits().payload)
            }
            End::TimesOut => {
                // It is stopped by that.
                gate.leave_all(self.task, Leave::TimedOut);
                pending().await
            }
        }
    }

    async fn hold(&mut self) {
        let passed = self.passed;
        self.passed += 1;
        // An error cannot be: the sender is never dropped.
        let _ = self.released.wait_for(|holds| *holds > passed).await;
    }

    /// Sends an item when there is room for it; to nobody if nobody reads.
    async fn send(&self, item: Payload, gate: &Gate) {
        let (Some(source), mut item) = (&self.source, Some(item)) else { return };
        loop {
            match source.send(&mut item, false) {
                Ok(true) => {
                    return gate.report(|reports| reports.delivered((self.task, self.number)));
                }
                Ok(false) | Err(Refused::Closed) => return,
                Err(Refused::Full) => self.credit.0.notified().await,
            }
        }
    }
}

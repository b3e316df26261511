//! Drives the gate with random events against a model of workers, without
//! clock, socket or process, and checks all invariants after each event.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::sync::oneshot::error::TryRecvError;

/// Clients that come faster than workers can serve them.
mod overload;
/// What a submit does, and how often it looks.
mod submitting;
/// Who is woken when there is room.
mod waking;

use super::*;
use crate::TaskFunction;
use crate::engine::pools::Member;
use crate::engine::{Pool, Reserve, Stopped, Work};
use crate::error::{ErrorKind, Panic, Step};
use crate::observe::snapshot::WorkerSnapshot;
use crate::sched::ledger::{Backoff, Bounds, Options};
use crate::sched::placement::Rules;
use crate::sched::strength::Strength;
use crate::task::outcome::{Failure, Usage};
use crate::task::registry::function;

/// Workers as the page of words sees them.
#[derive(Clone, Debug, Default)]
struct Model(Arc<Mutex<Workers>>);

#[derive(Debug, Default)]
struct Workers {
    by_slot: HashMap<SlotId, Worker>,
    standby: usize,
    kept: usize,
}

#[derive(Debug, Default)]
struct Worker {
    sent: VecDeque<Sent>,
    doomed: bool,
    dismissed: bool,
}

#[derive(Debug)]
struct Sent {
    task: TaskId,
    attempt: u32,
    args: Vec<u8>,
    function: &'static Function,
    rest: u32,
    state: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    Sent,
    Running,
    Stopping,
    Revoked,
}

impl Model {
    /// One more worker, which has a slot at once.
    fn up(&self, gate: &Gate, now: Instant) -> SlotId {
        let before: Vec<_> = self.0.lock().unwrap().by_slot.keys().copied().collect();
        self.0.lock().unwrap().standby += 1;
        gate.report_at(now, |reports| reports.ready(Duration::from_millis(2)));
        let workers = self.0.lock().unwrap();
        let new = workers.by_slot.keys().find(|slot| !before.contains(slot));
        *new.expect("fewer have slots than are wanted")
    }

    fn with<R>(&self, slot: SlotId, act: impl FnOnce(&mut Worker) -> R) -> R {
        act(self.0.lock().unwrap().by_slot.get_mut(&slot).expect("the gate names living slots"))
    }
}

impl Worker {
    fn find(&mut self, task: TaskId) -> Option<&mut Sent> {
        self.sent.iter_mut().rev().find(|sent| sent.task == task && sent.state != Progress::Revoked)
    }

    /// The places of those that are executed in one call, and are next.
    fn first_call(&self) -> Vec<usize> {
        let whole = self.sent.iter().position(|sent| sent.rest == 0);
        whole.map_or(Vec::new(), |last| (0..=last).collect())
    }

    fn revoke(&mut self, task: TaskId) -> bool {
        match self.find(task) {
            Some(sent) if sent.state == Progress::Sent => {
                sent.state = Progress::Revoked;
                true
            }
            _ => false,
        }
    }
}

impl Engine for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn check(&self, _: &'static Function) -> Result<(), Error> {
        Ok(())
    }

    fn takes_batches(&self) -> bool {
        true
    }

    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>> {
        let Work { task, attempt, rest, function, args, .. } = work;
        let (args, state) = (args.to_vec(), Progress::Sent);
        let sent = Sent { task, attempt, args, function, rest, state };
        self.with(slot, |worker| {
            assert!(!worker.doomed && !worker.dismissed, "a worker that leaves was given a task");
            let stopping = worker.sent.iter().any(|sent| sent.state == Progress::Stopping);
            assert!(!stopping, "a task was sent behind one that is stopped");
            match worker.sent.back() {
                Some(last) if last.rest > 0 => {
                    assert_eq!(last.rest, sent.rest + 1, "a batch comes in one piece");
                    assert!(std::ptr::eq(last.function, sent.function), "of one function");
                }
                // One that runs alone after its batch failed is like any other task.
                Some(last) if last.attempt == 1 => {
                    assert!(last.function.batching.is_none(), "nothing comes behind a batch");
                }
                Some(_) => {}
                None => {}
            }
            let most = sent.function.batching.map_or(1, |batching| u32::from(batching.most));
            assert!(sent.rest < most, "a batch has at most {most} tasks");
            worker.sent.push_back(sent);
        });
        None
    }

    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped {
        self.with(slot, |worker| {
            if worker.revoke(task) {
                return Stopped::Unstarted;
            }
            let Some(sent) = worker.find(task) else { return Stopped::Continues };
            sent.state = Progress::Stopping;
            Stopped::Asked { listens: sent.args.len() % 2 == 0 }
        })
    }

    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId> {
        self.with(slot, |worker| {
            let tasks: Vec<_> = worker.sent.iter().map(|sent| sent.task).collect();
            tasks.into_iter().filter(|task| worker.revoke(*task)).collect()
        })
    }

    fn started(&self, slot: SlotId, task: TaskId) -> bool {
        self.with(slot, |w| w.find(task).is_some_and(|sent| sent.state != Progress::Sent))
    }

    fn forget(&mut self, slot: SlotId) {
        self.0.lock().unwrap().by_slot.remove(&slot);
    }

    fn shutdown(&mut self) {}

    fn workers(&self) -> Vec<(Option<SlotId>, WorkerSnapshot)> {
        Vec::new()
    }

    fn pool(&mut self) -> Option<&mut dyn Pool> {
        Some(self)
    }

    fn reserve(&mut self) -> Option<&mut dyn Reserve> {
        Some(self)
    }
}

impl Pool for Model {
    fn keep(&mut self, workers: usize) {
        self.0.lock().unwrap().kept = workers;
    }

    fn dismiss(&mut self, slot: SlotId) {
        self.with(slot, |worker| {
            assert!(worker.sent.is_empty(), "a worker with tasks cannot leave");
            worker.dismissed = true;
        });
    }

    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.with(slot, |worker| worker.revoke(task))
    }

    fn kill(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.with(slot, |worker| {
            let stopping = worker.find(task).is_some_and(|sent| sent.state == Progress::Stopping);
            let others =
                worker.first_call().iter().any(|at| worker.sent[*at].state == Progress::Running);
            assert!(!stopping || !others, "a batch is killed that is wanted");
            worker.doomed |= stopping;
            stopping
        })
    }
}

impl Reserve for Model {
    fn standby(&self) -> usize {
        self.0.lock().unwrap().standby
    }

    fn promote(&mut self, slot: SlotId, _: usize) {
        let mut workers = self.0.lock().unwrap();
        workers.standby -= 1;
        workers.by_slot.insert(slot, Worker::default());
    }

    fn demote(&mut self, slot: SlotId) {
        let mut workers = self.0.lock().unwrap();
        let worker = workers.by_slot.remove(&slot).expect("the gate names living slots");
        assert!(worker.sent.is_empty(), "a worker with tasks cannot stand by");
        workers.standby += 1;
    }

    fn release(&mut self) {
        self.0.lock().unwrap().standby -= 1;
    }
}

/// One thing that can happen.
#[derive(Clone, Debug)]
enum Event {
    Submit {
        priority: i32,
        timeout_ms: Option<u64>,
        retries: u32,
        backoff_ms: Option<u64>,
        key: Option<u8>,
        tenant: u8,
        /// Whether its arguments come later.
        later: bool,
        /// Which function: without batches, with, or with batches that are held open.
        function: usize,
    },
    /// The arguments of a task are encoded, or cannot be.
    Prepare {
        task: usize,
        fails: bool,
    },
    Cancel(usize),
    Pass {
        ms: u64,
    },
    /// A worker takes its next step: skips, starts, or ends a task.
    Step {
        worker: usize,
        panics: bool,
    },
    Die(usize),
    /// Another worker is ready.
    Up,
    Worn(usize),
    Scale(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let timeout = prop::option::weighted(0.3, 0..50_u64);
    let key = prop::option::weighted(0.3, 0..3_u8);
    let retries = (0..2_u32, prop::option::weighted(0.3, 0..30_u64));
    prop_oneof![
        6 => (-1..2, timeout, retries, key, 0..3_u8, prop::bool::weighted(0.3), 0..3_usize)
            .prop_map(|(priority, timeout_ms, retries, key, tenant, later, function)| {
                let (retries, backoff_ms) = retries;
                Event::Submit { priority, timeout_ms, retries, backoff_ms, key, tenant, later, function }
            }),
        2 => (any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(task, fails)| Event::Prepare { task, fails }),
        2 => any::<usize>().prop_map(Event::Cancel),
        1 => (0..20_u64).prop_map(|ms| Event::Pass { ms }),
        10 => (any::<usize>(), prop::bool::weighted(0.1))
            .prop_map(|(worker, panics)| Event::Step { worker, panics }),
        1 => any::<usize>().prop_map(Event::Die),
        1 => Just(Event::Up),
        1 => any::<usize>().prop_map(Event::Worn),
        1 => (1..4_usize).prop_map(Event::Scale),
    ]
}

/// What all tasks call.
fn successor() -> &'static Function {
    test_function(|x: u64| x + 1)
}

struct Play {
    model: Model,
    gate: Arc<Gate>,
    now: Instant,
    waiting: Vec<(u64, Ticket)>,
    /// Tasks whose arguments are still to come.
    announced: Vec<(TaskId, u64, usize, Options)>,
    /// What tasks call.
    functions: [&'static Function; 3],
    submitted: u64,
    ended: u64,
}

impl Play {
    fn new() -> Self {
        let model = Model::default();
        let limits = Limits {
            queue: Bounds { tasks: 20, bytes: 200 },
            payload: 100,
            tenants: Rules { lifo_above: 2, ..Rules::default() },
            tenant_kills: Some(2),
            quarantine: None,
        };
        let engine = model.clone();
        let gate = Gate::new(limits, Strength::new(2, 1), Box::new(engine), &Member::alone());
        gate.lock().timed = true;
        let now = Instant::now();
        let (waiting, announced) = (vec![], vec![]);
        let batch = test_function(|x: u64| x + 1).in_batches(3, Duration::ZERO);
        let held = test_function(|x: u64| x + 1).in_batches(3, Duration::from_millis(5));
        let functions = [successor(), batch, held];
        Self { model, gate, now, waiting, announced, functions, submitted: 0, ended: 0 }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Submit {
                priority,
                timeout_ms,
                retries,
                backoff_ms,
                key,
                tenant,
                later,
                function,
            } => {
                let backoff = backoff_ms.map(Duration::from_millis);
                let options = Options {
                    priority,
                    timeout: timeout_ms.map(Duration::from_millis),
                    retries,
                    backoff: backoff.map(|least| Backoff { least, most: 2 * least }),
                    key: key.map(|key| key.to_string().into()),
                    tenant: (tenant > 0).then(|| tenant.to_string().into()),
                    ..Options::default()
                };
                self.submit(function, &options, key, later);
            }
            Event::Prepare { task, fails } if !self.announced.is_empty() => {
                let at = task % self.announced.len();
                self.prepare(at, fails);
            }
            Event::Cancel(at) if !self.waiting.is_empty() => {
                let at = at % self.waiting.len();
                let (_, (waiter, ..)) = &self.waiting[at];
                self.gate.cancel_at(self.now, *waiter);
            }
            Event::Pass { ms } => {
                self.now += Duration::from_millis(ms);
                let next = self.gate.expire_at(self.now);
                assert!(next.is_none_or(|next| next > self.now), "fewer than 256 waiters");
            }
            Event::Step { worker, panics } => {
                self.slot(worker).into_iter().for_each(|slot| self.step(slot, panics));
            }
            Event::Die(worker) => self.slot(worker).into_iter().for_each(|slot| self.die(slot)),
            Event::Up => self.up(),
            Event::Worn(worker) => {
                let slot = self.slot(worker);
                let worn = |slot| self.gate.report_at(self.now, |reports| reports.worn(slot));
                slot.into_iter().for_each(worn);
            }
            Event::Scale(workers) => {
                self.gate.report_at(self.now, |reports| reports.scale(workers));
            }
            Event::Cancel(_) | Event::Prepare { .. } => {}
        }
        self.settle();
        self.collect();
    }

    /// Workers that were killed or sent away end; all invariants hold.
    fn settle(&mut self) {
        self.bury_gone();
        let core = self.gate.lock();
        core.check_invariants(self.now);
        let workers = self.model.0.lock().unwrap();
        let (wanted, slots) = (core.strength.workers(), core.placement.slots());
        assert!(slots >= wanted || workers.standby == 0, "a slot is empty although one stands by");
        assert!(slots <= wanted + 1, "one may be lent, and no more");
        assert!(workers.standby <= 2, "one spare, and one while a worker is worn");
        assert!(workers.by_slot.len() + workers.standby <= workers.kept.max(wanted + 1));
    }

    /// The slots that are not down, in an order that does not change.
    fn slots(&self) -> Vec<SlotId> {
        let mut slots: Vec<_> = self.model.0.lock().unwrap().by_slot.keys().copied().collect();
        slots.sort_unstable();
        slots
    }

    fn slot(&self, number: usize) -> Option<SlotId> {
        let slots = self.slots();
        (!slots.is_empty()).then(|| slots[number % slots.len()])
    }

    fn submit(&mut self, function: usize, options: &Options, key: Option<u8>, later: bool) {
        // Submits with one key share a result, so they have one argument.
        let x = key.map_or(self.submitted + 10, u64::from);
        let args = (!later).then(|| postcard::to_stdvec(&x).unwrap().into());
        match self.gate.submit_at(self.now, self.functions[function], args, options) {
            Ok(ticket) => {
                self.submitted += 1;
                if later {
                    self.announced.push((ticket.1, x, function, options.clone()));
                }
                self.waiting.push((x, ticket));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Overloaded),
        }
    }

    fn prepare(&mut self, at: usize, fails: bool) {
        let (task, x, function, options) = self.announced.swap_remove(at);
        let args = match fails {
            true => Err(Error::codec(Step::EncodeArguments, "u64", "no")),
            false => Ok(postcard::to_stdvec(&x).unwrap().into()),
        };
        self.gate.prepared_at(self.now, task, self.functions[function], args, &options);
    }

    fn up(&mut self) {
        {
            let mut workers = self.model.0.lock().unwrap();
            if workers.by_slot.len() + workers.standby >= workers.kept.max(1) {
                return;
            }
            workers.standby += 1;
        }
        self.gate.report_at(self.now, |reports| reports.ready(Duration::from_millis(2)));
    }

    /// A worker starts its next call, or ends it.
    fn step(&mut self, slot: SlotId, panics: bool) {
        let ended: Vec<Sent> = self.model.with(slot, |worker| {
            let call = worker.first_call();
            let first = call.iter().find(|at| worker.sent[**at].state != Progress::Revoked);
            if first.is_some_and(|at| worker.sent[*at].state == Progress::Sent) {
                for sent in worker.sent.iter_mut().take(call.len()) {
                    if sent.state == Progress::Sent {
                        sent.state = Progress::Running;
                    }
                }
                return Vec::new();
            }
            worker.sent.drain(..call.len()).collect()
        });
        let ran = ended.iter().filter(|sent| sent.state != Progress::Revoked).count();
        let batch = if ran > 1 { ran as u32 } else { 0 };
        self.gate.report_at(self.now, |reports| {
            for sent in &ended {
                if sent.state == Progress::Revoked {
                    reports.skipped(slot, sent.task);
                    continue;
                }
                let outcome = if panics {
                    Err(Failure::Panicked(Panic {
                        message: String::new(),
                        location: String::new(),
                        backtrace: String::new(),
                    }))
                } else {
                    let x: u64 = postcard::from_bytes(&sent.args).unwrap();
                    Ok(postcard::to_stdvec(&(x + 1)).unwrap().into())
                };
                let usage = Usage { run_ns: 1_000, batch, ..Usage::default() };
                reports.finished(slot, (sent.task, sent.attempt), outcome, (usage, 1));
            }
        });
    }

    fn die(&mut self, slot: SlotId) {
        let running = self.model.with(slot, |worker| {
            let started =
                |sent: &&Sent| matches!(sent.state, Progress::Running | Progress::Stopping);
            let running = worker.sent.iter().filter(started);
            running.map(|sent| (sent.task, sent.attempt)).collect()
        });
        let lost = crate::error::WorkerLoss::default();
        self.gate.report_at(self.now, |reports| reports.lost(slot, running, None, &lost));
    }

    fn bury_gone(&mut self) {
        let gone = |slot: &SlotId| self.model.with(*slot, |one| one.doomed || one.dismissed);
        let gone: Vec<_> = self.slots().into_iter().filter(gone).collect();
        gone.into_iter().for_each(|slot| self.die(slot));
    }

    /// Takes what has ended; a result must be the right one.
    fn collect(&mut self) {
        let mut ended = 0;
        self.waiting.retain_mut(|(x, (_, _, receiver))| {
            match receiver.try_recv() {
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Closed) => panic!("a future was forgotten"),
                Ok(Ok(reply)) => {
                    let result: u64 = postcard::from_bytes(&reply.payload).unwrap();
                    assert_eq!(result, *x + 1);
                }
                Ok(Err(error)) => {
                    let known = error.is_cancelled() || error.is_timed_out() || error.is_panicked();
                    // What came late and found the queue full, or was not encoded.
                    let late = matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Codec);
                    assert!(known || late || error.is_worker_lost(), "{error}");
                }
            }
            ended += 1;
            false
        });
        self.ended += ended;
    }

    /// With a worker that never fails, everything ends.
    fn finish(mut self) {
        for _ in 0..10_000 {
            if self.waiting.is_empty() {
                break;
            }
            // Rests end; who waited with a timeout may not.
            self.apply(Event::Pass { ms: 1 });
            self.up();
            if !self.announced.is_empty() {
                self.prepare(0, false);
            }
            for slot in self.slots() {
                self.step(slot, false);
            }
            self.settle();
            self.collect();
        }
        assert_eq!(self.ended, self.submitted, "every future ends");
        assert_eq!(self.gate.lock().ledger.owed(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_future_ends_and_every_invariant_holds(
        events in prop::collection::vec(event(), 0..200),
    ) {
        let mut run = Play::new();
        run.up();
        events.into_iter().for_each(|event| run.apply(event));
        run.finish();
    }
}

fn test_function<F: TaskFunction<M>, M>(_: F) -> &'static Function {
    function::<F, M>().unwrap()
}

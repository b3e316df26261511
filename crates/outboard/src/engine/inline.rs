//! The `inline` engine: threads of this very process, for tests and for
//! platforms without worker processes.
//!
//! It encodes and decodes as the others do and keeps their order, bounds and
//! errors. What it cannot do is what threads cannot do: a task that runs is not
//! stopped (its caller is released, its thread goes on), and a crash takes the
//! process along.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use super::{Engine, Flush, Gate, Limits, Stopped, Work};
use crate::error::Error;
use crate::execute::{execute, record_panics};
use crate::ledger::TaskId;
use crate::placement::SlotId;
use crate::snapshot::WorkerSnapshot;
use crate::task::{Function, Run};
use crate::wire::{Failure, Payload, Usage};

/// Threads that execute tasks.
#[derive(Debug)]
struct Inline {
    threads: Table,
}

/// The threads by slot; the gate's mutex is always taken before this one.
#[derive(Clone, Debug, Default)]
struct Table(Arc<Mutex<Vec<Option<Thread>>>>);

#[derive(Debug)]
struct Thread {
    number: usize,
    attempts: mpsc::Sender<Attempt>,
    sent: VecDeque<(TaskId, Arc<AtomicU8>)>,
    done: u64,
}

/// One attempt on its way to a thread.
#[derive(Debug)]
struct Attempt {
    task: TaskId,
    attempt: u32,
    run: Run,
    args: Payload,
    state: Arc<AtomicU8>,
}

const SENT: u8 = 0;
const RUNNING: u8 = 1;
const REVOKED: u8 = 2;

/// Starts the engine with that many threads.
pub(crate) fn start(workers: usize, limits: Limits) -> Result<Arc<Gate>, Error> {
    record_panics();
    let threads = Table::default();
    let gate = Gate::new(limits, workers, Box::new(Inline { threads: threads.clone() }));
    // Each thread holds one clone: when the last one ends, so does the engine.
    let ended = Arc::new(Ended(gate.clone()));
    for number in 1..=workers {
        let (attempts, received) = mpsc::channel();
        let slot = gate.report(|reports| {
            let slot = reports.slot_up();
            threads.attach(slot, Thread { number, attempts, sent: VecDeque::new(), done: 0 });
            slot
        });
        let (ended, threads) = (ended.clone(), threads.clone());
        std::thread::Builder::new()
            .name(format!("outboard-inline-{number}"))
            .spawn(move || serve(&ended, &threads, slot, number, received, limits.payload))
            .map_err(|error| {
                let error = Error::unavailable(format!("no thread can be started: {error}"));
                gate.end(&error);
                error
            })?;
    }
    Ok(gate)
}

/// Tells the gate that the engine has ended. Keeps the gate until then: detached
/// tasks go on when nobody else has it any more.
struct Ended(Arc<Gate>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.report(|reports| reports.ended());
    }
}

/// What one thread does until its channel closes.
fn serve(
    ended: &Arc<Ended>,
    threads: &Table,
    slot: SlotId,
    number: usize,
    attempts: mpsc::Receiver<Attempt>,
    max_payload: usize,
) {
    for one in attempts {
        let taken = one.state.compare_exchange(SENT, RUNNING, AcqRel, Acquire).is_ok();
        let outcome = taken.then(|| run(&one, max_payload));
        ended.0.report(|reports| {
            threads.done(slot, taken);
            match outcome {
                None => reports.skipped(slot, one.task),
                Some((result, usage)) => {
                    let attempt = (one.task, one.attempt);
                    reports.finished(slot, attempt, result, (usage, number));
                }
            }
        });
    }
}

fn run(one: &Attempt, max_payload: usize) -> (Result<Payload, Failure>, Usage) {
    let start = Instant::now();
    let mut out = Vec::new();
    let result = execute(one.run, &one.args, &mut out, max_payload);
    let run_ns = start.elapsed().as_nanos() as u64;
    (result.map(|()| out.into()), Usage { run_ns, ..Usage::default() })
}

impl Table {
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
        self.sent.iter().rev().find(|(id, _)| *id == task).map(|(_, state)| &**state)
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

    fn check(&self, _: &'static Function) -> Result<(), Error> {
        Ok(())
    }

    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>> {
        self.threads.with(slot, |thread| {
            let state = Arc::new(AtomicU8::new(SENT));
            thread.sent.push_back((work.task, state.clone()));
            let Work { task, attempt, function, args } = work;
            let one = Attempt { task, attempt, run: function.run, args: args.clone(), state };
            // A thread leaves its channel only after this sender is dropped.
            let _ = thread.attempts.send(one);
        });
        None
    }

    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped {
        match self.revoke(slot, task) {
            true => Stopped::Unstarted,
            false => Stopped::Continues,
        }
    }

    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.threads.with(slot, |thread| thread.revoke(task)).unwrap_or(false)
    }

    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId> {
        let revoke_all = |thread: &mut Thread| {
            let sent = thread.sent.iter().map(|(task, _)| *task);
            sent.filter(|task| thread.revoke(*task)).collect()
        };
        self.threads.with(slot, revoke_all).unwrap_or_default()
    }

    fn started(&self, slot: SlotId, task: TaskId) -> bool {
        let state = |thread: &mut Thread| thread.state(task).map(|state| state.load(Acquire));
        self.threads.with(slot, state).flatten() == Some(RUNNING)
    }

    fn forget(&mut self, slot: SlotId) {
        self.threads.lock()[slot.index()] = None;
    }

    fn shutdown(&mut self) {
        // What is in the channels already is skipped.
        for thread in self.threads.lock().drain(..).flatten() {
            for (_, state) in &thread.sent {
                let _ = state.compare_exchange(SENT, REVOKED, AcqRel, Acquire);
            }
        }
    }

    fn workers(&self) -> Vec<WorkerSnapshot> {
        let pid = std::process::id();
        let threads = self.threads.lock();
        let row = |thread: &Thread| WorkerSnapshot {
            number: thread.number,
            pid,
            done: thread.done,
            busy: !thread.sent.is_empty(),
            memory_bytes: None,
        };
        threads.iter().flatten().map(row).collect()
    }
}

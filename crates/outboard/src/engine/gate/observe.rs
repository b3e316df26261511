//! What is shown of the gate, and told of what happens there.
//!
//! While nobody watches there is no record, and each place that would tell
//! something is one branch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::futures::Notified;

use super::{Core, Gate, Phase, Reports, failure};
use crate::engine::ClusterSize;
use crate::error::{Cause, Error, WorkerLoss};
use crate::ids::{SlotId, TaskId, TenantId};
use crate::observe::event::{EventKind, RecycleReason};
use crate::observe::figures::TenantSnapshot;
use crate::observe::record::{Excerpt, Fact, KEPT, Record, tell};
use crate::observe::roster::{PanicReport, Roster};
use crate::observe::snapshot::{
    CurrentTask, Host, PoolSnapshot, Snapshot, WorkerSnapshot, WorkerState,
};
use crate::sched::ledger::Leave;
use crate::task::outcome::{Failure, Said};
use crate::trace::Echo;
use crate::value::payload::Payload;

/// The most tenants in a snapshot, and the most lines of the queue.
const SHOWN: usize = 1_000;

/// Who wants to know what happens, and what is always remembered.
#[derive(Debug)]
pub(super) struct Watchers {
    start: Instant,
    /// How many watches there are.
    count: usize,
    /// How many events are kept without any.
    kept: usize,
    /// The numbers of the workers that have slots, by slot.
    numbers: Vec<usize>,
    /// Slots that have turned to another task under this lock.
    turned: Vec<SlotId>,
    roster: Roster,
}

impl Watchers {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            start,
            count: 0,
            kept: 0,
            numbers: Vec::new(),
            turned: Vec::new(),
            roster: Roster::default(),
        }
    }
}

impl Gate {
    /// One more watch; gives the number of the next event.
    pub(crate) fn start_watch(&self) -> u64 {
        let mut core = self.lock();
        core.watchers.count += 1;
        core.set_record();
        core.ledger.record.as_ref().map_or(0, |record| record.end())
    }

    /// One watch fewer.
    pub(crate) fn end_watch(&self) {
        let mut core = self.lock();
        core.watchers.count -= 1;
        let record = core.set_record();
        drop(core);
        drop(record);
    }

    /// Keeps so many events from now on, whether anyone watches or not.
    pub(crate) fn record(&self, events: usize) {
        let mut core = self.lock();
        core.watchers.kept = events;
        let record = core.set_record();
        drop(core);
        drop(record);
    }

    /// The events from a number on, and whether the engine has ended. If there
    /// are none, and they are waited for, `told` tells of the next.
    pub(crate) fn events_since(&self, number: u64, wait: bool) -> (Excerpt, bool) {
        let mut core = self.lock();
        let ended = matches!(core.phase, Phase::Ended(_));
        let pool = self.pool.clone();
        let Some(record) = &mut core.ledger.record else { return (Excerpt::default(), ended) };
        if wait {
            record.wait(number);
        }
        (record.since(number, pool), ended)
    }

    /// The next time that something happens which is waited for.
    pub(crate) fn told(&self) -> Notified<'_> {
        self.told.notified()
    }

    /// Cancels a task for all who wait for it; whether it was there.
    pub(crate) fn cancel_task(&self, task: TaskId) -> bool {
        self.report(|reports| {
            let waiters = reports.core.ledger.waiters(task);
            waiters.iter().for_each(|waiter| reports.leave(*waiter, Leave::Cancelled));
            !waiters.is_empty()
        })
    }

    /// Has a worker replaced; whether there is one of that number that can be.
    pub(crate) fn recycle(&self, worker: usize) -> bool {
        self.report(|reports| {
            let pool = reports.core.engine.pool();
            let Some(slot) = pool.and_then(|pool| pool.replaceable(worker)) else { return false };
            if !reports.core.placement.is_up(slot) {
                return false;
            }
            reports.wears(worker, RecycleReason::Asked);
            reports.worn(slot);
            true
        })
    }

    /// Counters of this pool at this moment.
    pub(crate) fn pool_snapshot(&self) -> PoolSnapshot {
        PoolSnapshot { pool: self.pool.clone(), snapshot: self.snapshot() }
    }

    /// Counters at this moment.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (cores, memory_bytes) = (Host::cores(), Host::memory_bytes());
        let now = Instant::now();
        let mut snapshot = self.lock().snapshot(now, (cores, memory_bytes));
        snapshot.queue_limit = self.limits.queue.tasks;
        (snapshot.stream_items, snapshot.stream_bytes) = self.flow.totals();
        snapshot.per_worker.iter_mut().for_each(|worker| worker.pool = self.pool.clone());
        // It reads files, so it is done without the mutex.
        // Processes of a cluster are other machines' ones.
        if snapshot.engine == "local" {
            snapshot.per_worker.iter_mut().for_each(WorkerSnapshot::measure);
        }
        snapshot
    }
}

impl Core {
    /// Makes the record that is wanted; gives one that is not wanted any more.
    fn set_record(&mut self) -> Option<Box<Record>> {
        let Watchers { start, count, kept, .. } = self.watchers;
        let keep = kept.max(if count > 0 { KEPT } else { 0 });
        if keep == 0 {
            return self.ledger.record.take();
        }
        let record = self.ledger.record.get_or_insert_with(|| Box::new(Record::new(start)));
        record.set_now(Instant::now());
        record.keep(keep, kept > 0);
        None
    }

    /// What is told from here on happens now.
    pub(super) fn record_from(&mut self, now: Instant) {
        if let Some(record) = &mut self.ledger.record {
            record.set_now(now);
        }
    }

    /// Tells the rest, at the end of a lock; whether someone waits for that.
    pub(super) fn has_told(&mut self) -> bool {
        self.tell_turned();
        let ended = matches!(self.phase, Phase::Ended(_));
        self.ledger.record.as_mut().is_some_and(|record| ended || record.is_due())
    }

    /// Tells an event of a task.
    pub(super) fn tell(&mut self, kind: impl FnOnce() -> EventKind) {
        tell(&mut self.ledger.record, kind);
    }

    /// Tells an event of a worker, which are few.
    pub(super) fn announce(&mut self, kind: impl FnOnce() -> EventKind) {
        if let Some(record) = &mut self.ledger.record {
            record.push(Fact::Other(Box::new(kind())));
        }
    }

    /// A task was sent to a slot, and starts at once or later.
    pub(super) fn sent(&mut self, task: TaskId, slot: SlotId) {
        let worker = self.number(slot) as u32;
        let Some(record) = &mut self.ledger.record else { return };
        if record.skips() {
            return;
        }
        match self.placement.outstanding(slot).saturating_sub(1) {
            0 => self.turned(slot),
            behind => {
                let behind = behind as u32;
                record.push_often(|| Fact::Ahead { task, worker, behind });
            }
        }
    }

    /// A slot has turned to the next task that it has, if it has one.
    pub(super) fn turned(&mut self, slot: SlotId) {
        let Some(record) = &mut self.ledger.record else { return };
        if !record.skips() && !self.watchers.turned.contains(&slot) {
            self.watchers.turned.push(slot);
        }
    }

    /// Tells what slots have turned to. Once for each lock: what began and ended
    /// under one has its end told, which says all.
    fn tell_turned(&mut self) {
        while let Some(slot) = self.watchers.turned.pop() {
            let worker = self.number(slot) as u32;
            let Some((id, _)) = self.placement.current(slot) else { continue };
            // Of a batch it was told when that was sent.
            if self.placement.is_grouped(slot, id) {
                continue;
            }
            let Some(task) = self.ledger.task(id) else { continue };
            let (attempt, function) = (task.attempt, task.function);
            if let Some(record) = &mut self.ledger.record {
                record.push_often(|| Fact::Started { task: id, function, attempt, worker });
            }
        }
    }

    /// A worker has a slot.
    pub(super) fn serves(&mut self, slot: SlotId) {
        let worker = self.engine.worker(slot);
        let numbers = &mut self.watchers.numbers;
        numbers.resize(numbers.len().max(slot.index() + 1), 0);
        numbers[slot.index()] = worker;
        self.announce(|| EventKind::WorkerServes { worker });
    }

    /// The number of a slot's worker.
    pub(super) fn number(&self, slot: SlotId) -> usize {
        self.watchers.numbers.get(slot.index()).copied().unwrap_or(0)
    }

    /// A slot is killed for a task.
    pub(super) fn killed(&mut self, slot: SlotId, task: TaskId) {
        let worker = self.number(slot);
        self.watchers.roster.killed(worker);
        self.announce(|| EventKind::WorkerKilled { worker, task });
    }

    /// Remembers an attempt's panic, and gives it for the span of the task.
    pub(super) fn panicked(
        &mut self,
        id: TaskId,
        worker: usize,
        outcome: &Result<Payload, Failure>,
    ) -> Option<Echo> {
        let Err(Failure::Panicked(panic)) = outcome else { return None };
        let task = self.ledger.task(id)?;
        let echo = Echo {
            origin: task.origin.clone(),
            attempt: Some((id, task.attempt)),
            worker,
            said: failure::panicked(task.function.name, panic),
        };
        let report = PanicReport {
            at: self.watchers.start.elapsed(),
            task: id,
            function: task.function.name,
            worker,
            panic: panic.clone(),
        };
        self.watchers.roster.panicked(report);
        Some(echo)
    }

    /// The loss of a worker, for the span of the task that it had.
    pub(super) fn echo(
        &self,
        (id, attempt): (TaskId, u32),
        error: &Error,
        worker: usize,
    ) -> Option<Echo> {
        let task = self.ledger.task(id)?;
        let origin = task.origin.clone();
        let said = failure::lost(task.function.name, error);
        Some(Echo { origin, attempt: Some((id, attempt)), worker, said })
    }

    fn snapshot(&self, now: Instant, here: (usize, u64)) -> Snapshot {
        let (cores, memory_bytes) = here;
        let own = ClusterSize { workers: self.strength.workers(), cores, memory_bytes };
        let size = self.engine.cluster().unwrap_or(own);
        let counts = self.ledger.counts();
        let queued = self.ledger.queued();
        let roster = &self.watchers.roster;
        Snapshot {
            engine: self.engine.name(),
            uptime: now.saturating_duration_since(self.watchers.start),
            open: self.open().is_ok(),
            workers: size.workers,
            cores: size.cores,
            memory_bytes: size.memory_bytes,
            queued,
            queue_limit: 0,
            predicted_wait: self.placement.predicted_drain(now),
            running: self.ledger.owed() - queued,
            submitted: counts.submitted,
            coalesced: counts.coalesced,
            done: counts.done,
            failed: counts.failed,
            cancelled: counts.cancelled,
            timed_out: counts.timed_out,
            refused: counts.refused,
            stream_items: 0,
            stream_bytes: 0,
            restarts: roster.total,
            queue: self.placement.lines(now, SHOWN),
            per_function: self.ledger.book.functions(|function| self.batch_figures(function)),
            per_tenant: self.tenants(),
            per_worker: self.workers(now),
            crashes: roster.crashes.iter().cloned().collect(),
            panics: roster.panics.iter().cloned().collect(),
            per_pool: Vec::new(),
        }
    }

    fn workers(&self, now: Instant) -> Vec<WorkerSnapshot> {
        let rows = self.engine.workers().into_iter();
        rows.map(|(slot, row)| self.with_task(slot, row, now)).collect()
    }

    /// Adds what the gate knows of a worker.
    fn with_task(
        &self,
        slot: Option<SlotId>,
        mut row: WorkerSnapshot,
        now: Instant,
    ) -> WorkerSnapshot {
        (row.restarts, row.worn) = self.watchers.roster.of(row.number);
        let Some(slot) = slot else { return row };
        let Some((id, since)) = self.placement.current(slot) else { return row };
        row.next_in_line += self.placement.outstanding(slot).saturating_sub(1);
        row.state = WorkerState::Stopping;
        let Some(task) = self.ledger.task(id) else { return row };
        row.state = WorkerState::Busy;
        row.task = Some(CurrentTask {
            task: id,
            function: task.function.name,
            attempt: task.attempt,
            tenant: self.placement.name(task.place().tenant).map(ToString::to_string),
            since: since.saturating_duration_since(self.watchers.start),
            run_time: now.saturating_duration_since(since),
            progress: self.engine.progress(slot, id),
        });
        row
    }

    /// The tenants that submitted last.
    fn tenants(&self) -> Vec<TenantSnapshot> {
        let mut tenants: Vec<_> = self.placement.tenants().collect();
        tenants.sort_unstable_by_key(|(_, _, seen, _)| std::cmp::Reverse(*seen));
        tenants.truncate(SHOWN);
        let row = |(id, name, _, queued): (TenantId, Option<&Arc<str>>, Instant, usize)| {
            let (tenant, figures) =
                (name.map(|name| name.to_string()), self.ledger.book.tenant(id));
            TenantSnapshot { tenant, queued, figures }
        };
        tenants.into_iter().map(row).collect()
    }
}

impl Reports<'_> {
    /// A task has said something.
    pub(crate) fn said(&mut self, (task, attempt): (TaskId, u32), worker: usize, said: Said) {
        let origin = self.core.ledger.task(task).and_then(|task| task.origin.clone());
        #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
        if let Some(origin) = &origin {
            origin.keep(&said);
        }
        let attempt = Some((task, attempt));
        self.effects.echoes.push(Echo { origin, attempt, worker, said });
    }

    /// A worker is ready; it took so long from its start.
    pub(crate) fn up(&mut self, worker: usize, pid: u32, took: Duration) {
        self.core.announce(|| EventKind::WorkerUp { worker, pid, took });
    }

    /// A worker has a slot.
    pub(crate) fn serves(&mut self, slot: SlotId) {
        self.core.serves(slot);
    }

    /// The worker of a slot is to be replaced by a new one.
    pub(crate) fn worn(&mut self, slot: SlotId) {
        self.core.worn(slot);
    }

    /// Why a worker is to be replaced.
    pub(crate) fn wears(&mut self, worker: usize, why: RecycleReason) {
        self.core.watchers.roster.worn(worker, why);
        self.core.announce(|| EventKind::WorkerWorn { worker, why });
    }

    /// A worker's process has ended, with a task that it had started or without;
    /// whether that was wanted.
    pub(crate) fn gone(&mut self, lost: &WorkerLoss, task: Option<TaskId>, wanted: bool) {
        let core = &mut *self.core;
        let blamed = !matches!(lost.cause, None | Some(Cause::Signal(_) | Cause::Exited(_)));
        if wanted && !blamed {
            let (worker, pid) = (lost.worker, lost.pid);
            let why = core.watchers.roster.left(worker);
            return core.announce(|| EventKind::WorkerLeft { worker, pid, why });
        }
        let at = self.now.saturating_duration_since(core.watchers.start);
        let report = task.map_or_else(|| lost.clone(), |task| core.crash_report(task, lost));
        let report = Arc::new(report);
        if task.is_none() {
            let said = failure::lost("", &Error::lost_worker((*report).clone()));
            let echo = Echo { origin: None, attempt: None, worker: report.worker, said };
            self.effects.echoes.push(echo);
        }
        core.watchers.roster.lost(at, report.clone());
        core.announce(|| EventKind::WorkerLost { worker: report.worker, report });
    }
}

//! Makes a view of what the library knows.

use std::cmp::Reverse;
use std::time::Duration;

use outboard::admin::{
    BatchFigures, CrashReport, CurrentTask, Figures, FunctionSnapshot, Histogram, LineSnapshot,
    PanicReport, PoolSnapshot, RecycleReason, Restarts, Snapshot, TenantSnapshot, WorkerSnapshot,
    WorkerState,
};

use super::{
    Admission, Batches, Crash, Current, Ends, Function, LINES, Line, Outcomes, Panic, Pool, Tasks,
    Tenant, Times, View, WORKERS, Worker,
};
use crate::status::alert;

impl View {
    /// What is shown of a snapshot.
    pub fn of(now: &Snapshot) -> Self {
        Self {
            crashes: now.crashes.iter().map(Crash::from).collect(),
            panics: now.panics.iter().map(Panic::from).collect(),
            ..Self::brief(now)
        }
    }

    /// The same without panics, and without what crashed workers wrote to stderr,
    /// which may be long.
    pub(in crate::status) fn brief(now: &Snapshot) -> Self {
        let mut workers: Vec<_> = now.per_worker.iter().map(Worker::from).collect();
        workers.sort_by_key(|worker| worker.number);
        let mut queue: Vec<_> = now.queue.iter().map(Line::from).collect();
        queue.sort_by_key(|line| Reverse(line.queued));
        let mut tenants: Vec<_> = now.per_tenant.iter().map(Tenant::from).collect();
        tenants.sort_by(|a, b| b.run_ms.total_cmp(&a.run_ms));
        let mut view = Self {
            product: "outboard".to_owned(),
            engine: now.engine.to_owned(),
            uptime_ms: ms(now.uptime),
            open: now.open,
            controls: false,
            wanted_workers: now.workers,
            least_workers: now.least_workers,
            most_workers: now.most_workers,
            cores: now.cores,
            memory_bytes: now.memory_bytes,
            alerts: Vec::new(),
            tasks: Tasks::from(now),
            admission: Admission::from(now),
            restarts: now.restarts.into(),
            pools: now.per_pool.iter().map(Pool::from).collect(),
            more_workers: cut(&mut workers, WORKERS),
            workers,
            more_lines: cut(&mut queue, LINES),
            queue,
            more_tenants: cut(&mut tenants, LINES),
            tenants,
            functions: now.per_function.iter().map(Function::from).collect(),
            crashes: now.crashes.iter().map(brief).collect(),
            panics: Vec::new(),
        };
        view.queue.sort_by_key(|line| Reverse(line.priority));
        view.alerts = alert::all(&view);
        view
    }
}

/// Keeps the first of them; gives how many there were more.
fn cut<T>(rows: &mut Vec<T>, most: usize) -> usize {
    let more = rows.len().saturating_sub(most);
    rows.truncate(most);
    more
}

impl From<&Snapshot> for Tasks {
    fn from(now: &Snapshot) -> Self {
        Self {
            running: now.running,
            queued: now.queued,
            submitted: now.submitted,
            coalesced: now.coalesced,
            done: now.done,
            failed: now.failed,
            cancelled: now.cancelled,
            timed_out: now.timed_out,
        }
    }
}

impl From<&Snapshot> for Admission {
    fn from(now: &Snapshot) -> Self {
        Self {
            queue_limit: now.queue_limit,
            predicted_wait_ms: ms(now.predicted_wait),
            refused: now.refused,
        }
    }
}

impl From<Restarts> for Ends {
    fn from(ends: Restarts) -> Self {
        let Restarts { killed, lost, recycled, dismissed, .. } = ends;
        Self { killed, lost, recycled, dismissed }
    }
}

impl From<&PoolSnapshot> for Pool {
    fn from(row: &PoolSnapshot) -> Self {
        let now = &row.snapshot;
        let (standby, up): (Vec<_>, Vec<_>) =
            now.per_worker.iter().partition(|worker| worker.standby);
        let all = now.per_worker.iter();
        let bytes = all.filter_map(|worker| worker.proportional_bytes.or(worker.memory_bytes));
        Self {
            pool: row.pool.to_string(),
            open: now.open,
            wanted_workers: now.workers,
            least_workers: now.least_workers,
            most_workers: now.most_workers,
            up: up.len(),
            busy: up.iter().filter(|worker| worker.busy).count(),
            standby: standby.len(),
            memory_bytes: bytes.sum(),
            tasks: Tasks::from(now),
            admission: Admission::from(now),
            restarts: now.restarts.into(),
        }
    }
}

impl From<&WorkerSnapshot> for Worker {
    fn from(row: &WorkerSnapshot) -> Self {
        Self {
            number: row.number,
            pool: row.pool.to_string(),
            slot: row.slot,
            pid: row.pid,
            address: row.address.clone(),
            state: state(row.state).to_owned(),
            task: row.task.as_ref().map(Current::from),
            next_in_line: row.next_in_line,
            done: row.done,
            memory_bytes: row.memory_bytes,
            proportional_bytes: row.proportional_bytes,
            cpu_ms: row.cpu_time.map(ms),
            worn: row.worn.map(|why| worn(why).to_owned()),
            restarts: row.restarts.into(),
        }
    }
}

fn state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Idle => "idle",
        WorkerState::Busy => "busy",
        WorkerState::Stopping => "stopping",
        WorkerState::Standby => "standby",
        _ => "unknown",
    }
}

fn worn(why: RecycleReason) -> &'static str {
    match why {
        RecycleReason::Tasks => "tasks",
        RecycleReason::Age => "age",
        RecycleReason::Memory => "memory",
        RecycleReason::Asked => "asked",
        RecycleReason::Changed => "changed",
        RecycleReason::Computing => "computing",
        _ => "unknown",
    }
}

impl From<&CurrentTask> for Current {
    fn from(task: &CurrentTask) -> Self {
        Self {
            task: task.task.to_string(),
            function: task.function.to_owned(),
            attempt: task.attempt,
            tenant: task.tenant.clone(),
            since_ms: ms(task.since),
            run_ms: ms(task.run_time),
            items: task.stream_items,
            bytes: task.stream_bytes,
            progress: task.progress.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&LineSnapshot> for Line {
    fn from(line: &LineSnapshot) -> Self {
        Self {
            priority: line.priority,
            tenant: line.tenant.clone(),
            queued: line.queued,
            oldest_ms: ms(line.oldest),
        }
    }
}

impl From<&TenantSnapshot> for Tenant {
    fn from(row: &TenantSnapshot) -> Self {
        Self {
            tenant: row.tenant.clone(),
            queued: row.queued,
            outcomes: Outcomes::from(&row.figures),
            run_ms: ms(row.figures.run_time),
        }
    }
}

impl From<&Figures> for Outcomes {
    fn from(figures: &Figures) -> Self {
        Self {
            submitted: figures.submitted,
            done: figures.done,
            failed: figures.failed,
            panicked: figures.panicked,
            lost: figures.lost,
            cancelled: figures.cancelled,
            timed_out: figures.timed_out,
            refused: figures.refused,
        }
    }
}

impl From<&FunctionSnapshot> for Function {
    fn from(row: &FunctionSnapshot) -> Self {
        let figures = &row.figures;
        Self {
            function: row.function.to_owned(),
            outcomes: Outcomes::from(figures),
            run: times(&row.run_times, figures.max_run_time, figures.run_time),
            wait: times(&row.queue_times, figures.max_queue_time, figures.queue_time),
            cpu_ms: ms(figures.cpu_time),
            peak_memory_bytes: figures.peak_memory_bytes,
            batches: row.batches.as_ref().map(Batches::from),
        }
    }
}

impl From<&BatchFigures> for Batches {
    fn from(figures: &BatchFigures) -> Self {
        let longest = figures.held.quantile(1.0).unwrap_or_default();
        Self {
            calls: figures.calls,
            tasks: figures.tasks,
            sizes: figures.sizes().map(|(_, calls)| calls).collect(),
            held: times(&figures.held, longest, figures.held_time),
        }
    }
}

fn times(histogram: &Histogram, max: Duration, sum: Duration) -> Times {
    let mut counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
    counts.push(histogram.above());
    while counts.last() == Some(&0) {
        counts.pop();
    }
    let quantile = |part| histogram.quantile(part).map(|bound| ms(bound.min(max)));
    Times {
        counts,
        p50_ms: quantile(0.5),
        p90_ms: quantile(0.9),
        p99_ms: quantile(0.99),
        max_ms: ms(max),
        sum_ms: ms(sum),
    }
}

impl From<&CrashReport> for Crash {
    fn from(report: &CrashReport) -> Self {
        Self { stderr: report.loss.stderr.clone(), ..brief(report) }
    }
}

/// All of a report but stderr.
fn brief(report: &CrashReport) -> Crash {
    let lost = &report.loss;
    Crash {
        at_ms: ms(report.at),
        summary: lost.to_string(),
        worker: lost.worker,
        pid: lost.pid,
        cause: lost.cause.map(|cause| cause.to_string()),
        shortage: lost.shortage.map(|shortage| shortage.to_string()),
        function: lost.task.to_owned(),
        attempt: lost.attempt,
        run_ms: lost.run_time.map(ms),
        cpu_ms: lost.cpu_time.map(ms),
        memory_bytes: lost.memory_bytes,
        memory_at_start_bytes: lost.memory_at_start_bytes,
        argument_bytes: lost.argument_bytes,
        argument_digest: format!("{:016x}", lost.argument_digest),
        stderr: Vec::new(),
    }
}

impl From<&PanicReport> for Panic {
    fn from(report: &PanicReport) -> Self {
        Self {
            at_ms: ms(report.at),
            task: report.task.to_string(),
            function: report.function.to_owned(),
            worker: report.worker,
            message: report.panic.message.clone(),
            location: report.panic.location.clone(),
            backtrace: report.panic.backtrace.clone(),
        }
    }
}

/// Milliseconds, to a microsecond.
pub(in crate::status) fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1_000.0
}

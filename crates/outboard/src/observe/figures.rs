//! What tasks cost so far, added up for each task function and each tenant.
//!
//! Pure. It is written to at each submit and each end of a task, under the gate's mutex.
//! That goes by index, without hashing, and without allocation but for a function's or
//! tenant's first task.

use std::time::Duration;

use crate::error::Error;
use crate::ids::TenantId;
use crate::observe::batches::BatchFigures;
use crate::observe::histogram::{Counts, Histogram};
use crate::task::outcome::Usage;
use crate::task::registry::Function;

/// The counts and costs of the tasks of one function, or of one tenant.
///
/// Sums are over all tasks that gave a result; failed ones have none. Of a batch, each task has
/// its part of the times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Tasks taken.
    pub submitted: u64,
    /// Tasks that gave a result.
    pub done: u64,
    /// Tasks that ended with an error of their own: panicked, lost, closed.
    pub failed: u64,
    /// Those of them that panicked.
    pub panicked: u64,
    /// Those of them whose worker was lost.
    pub lost: u64,
    /// Callers that left before the result.
    pub cancelled: u64,
    /// Callers whose time ran out.
    pub timed_out: u64,
    /// Submits that were refused: the queue was full, or their arguments are
    /// quarantined.
    pub refused: u64,
    /// The sum of the times that were not run time, as in
    /// [`Report::queue_time`](crate::Report::queue_time).
    pub queue_time: Duration,
    /// The longest of these.
    pub max_queue_time: Duration,
    /// The sum of the run times, by the worker's clock.
    pub run_time: Duration,
    /// The longest run time.
    pub max_run_time: Duration,
    /// How many tasks' CPU time was measured: those that ran for a millisecond
    /// or more, where the engine can tell.
    pub measured: u64,
    /// The sum of the measured CPU times.
    pub cpu_time: Duration,
    /// The longest measured CPU time.
    pub max_cpu_time: Duration,
    /// The most resident memory, in bytes, that a worker had while it ran a measured
    /// task.
    pub peak_memory_bytes: Option<u64>,
}

impl Figures {
    /// The mean of the queue times, if a task gave a result.
    pub fn mean_queue_time(&self) -> Option<Duration> {
        mean(self.queue_time, self.done)
    }

    /// The mean of the run times, if a task gave a result.
    pub fn mean_run_time(&self) -> Option<Duration> {
        mean(self.run_time, self.done)
    }

    /// The mean of the measured CPU times, if one was measured.
    pub fn mean_cpu_time(&self) -> Option<Duration> {
        mean(self.cpu_time, self.measured)
    }
}

/// The figures of one task function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionSnapshot {
    /// Its stable name, or the type's name of a function without one.
    pub function: &'static str,
    /// What its tasks cost since the start.
    pub figures: Figures,
    /// The queue times that `figures` has the sum of.
    pub queue_times: Histogram,
    /// The run times that `figures` has the sum of.
    pub run_times: Histogram,
    /// Its batches, if it takes any.
    pub batches: Option<BatchFigures>,
}

/// The figures of one tenant.
///
/// A tenant without tasks is forgotten ten seconds or more after its last
/// submit, and its figures with it. If it comes back, it starts from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantSnapshot {
    /// Its name; `None` stands for all submits that name no tenant.
    pub tenant: Option<String>,
    /// Its tasks that wait.
    pub queued: usize,
    /// What its tasks cost since it was first seen, or forgotten last.
    pub figures: Figures,
}

/// [`Figures`] as they are added up: in nanoseconds, which is quicker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) submitted: u64,
    done: u64,
    failed: u64,
    panicked: u64,
    lost: u64,
    pub(crate) cancelled: u64,
    pub(crate) timed_out: u64,
    pub(crate) refused: u64,
    queue_ns: u64,
    max_queue_ns: u64,
    run_ns: u64,
    max_run_ns: u64,
    measured: u64,
    cpu_ns: u64,
    max_cpu_ns: u64,
    peak_memory_bytes: Option<u64>,
}

impl Sums {
    /// A task gave a result, `queue_ns` of whose time was not run time.
    fn done(&mut self, queue_ns: u64, usage: Usage) {
        self.done += 1;
        self.queue_ns = self.queue_ns.saturating_add(queue_ns);
        self.max_queue_ns = self.max_queue_ns.max(queue_ns);
        self.run_ns = self.run_ns.saturating_add(usage.run_ns);
        self.max_run_ns = self.max_run_ns.max(usage.run_ns);
        if let Some(cpu_ns) = usage.cpu_ns {
            self.measured += 1;
            self.cpu_ns = self.cpu_ns.saturating_add(cpu_ns);
            self.max_cpu_ns = self.max_cpu_ns.max(cpu_ns);
            self.peak_memory_bytes = self.peak_memory_bytes.max(usage.peak_bytes);
        }
    }

    /// A task ended with an error of its own.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.failed += 1;
        self.panicked += u64::from(error.is_panicked());
        self.lost += u64::from(error.is_worker_lost());
    }

    fn figures(&self) -> Figures {
        Figures {
            submitted: self.submitted,
            done: self.done,
            failed: self.failed,
            panicked: self.panicked,
            lost: self.lost,
            cancelled: self.cancelled,
            timed_out: self.timed_out,
            refused: self.refused,
            queue_time: Duration::from_nanos(self.queue_ns),
            max_queue_time: Duration::from_nanos(self.max_queue_ns),
            run_time: Duration::from_nanos(self.run_ns),
            max_run_time: Duration::from_nanos(self.max_run_ns),
            measured: self.measured,
            cpu_time: Duration::from_nanos(self.cpu_ns),
            max_cpu_time: Duration::from_nanos(self.max_cpu_ns),
            peak_memory_bytes: self.peak_memory_bytes,
        }
    }
}

/// The figures of all.
#[derive(Debug, Default)]
pub(crate) struct Book {
    functions: Vec<Option<Entry>>,
    tenants: Vec<Sums>,
}

#[derive(Debug)]
struct Entry {
    function: &'static Function,
    sums: Sums,
    queue_times: Counts,
    run_times: Counts,
}

impl Book {
    /// A task gave a result, `queue_ns` of whose time was not run time.
    pub(crate) fn done(
        &mut self,
        function: &'static Function,
        tenant: TenantId,
        queue_ns: u64,
        usage: Usage,
    ) {
        self.note(function, tenant, |figures| figures.done(queue_ns, usage));
        if let Some(Some(entry)) = self.functions.get_mut(function.number) {
            entry.queue_times.add(queue_ns);
            entry.run_times.add(usage.run_ns);
        }
    }

    /// Notes something of a task, for its function and for its tenant.
    pub(crate) fn note(
        &mut self,
        function: &'static Function,
        tenant: TenantId,
        change: impl Fn(&mut Sums),
    ) {
        if self.functions.len() <= function.number {
            self.functions.resize_with(function.number + 1, || None);
        }
        let entry = self.functions[function.number].get_or_insert_with(|| Entry::new(function));
        change(&mut entry.sums);
        if self.tenants.len() <= tenant.index() {
            self.tenants.resize_with(tenant.index() + 1, Sums::default);
        }
        change(&mut self.tenants[tenant.index()]);
    }

    /// A tenant was forgotten; its number may be another's soon.
    pub(crate) fn forget(&mut self, tenant: TenantId) {
        if let Some(figures) = self.tenants.get_mut(tenant.index()) {
            *figures = Sums::default();
        }
        // What a crowd of tenants took is given back when it has left.
        while self.tenants.last().is_some_and(|figures| *figures == Sums::default()) {
            self.tenants.pop();
        }
        if self.tenants.capacity() > 64 + 4 * self.tenants.len() {
            self.tenants.shrink_to_fit();
        }
    }

    /// All functions that had a submit; their batches are known elsewhere.
    pub(crate) fn functions(
        &self,
        batches: impl Fn(&Function) -> Option<BatchFigures>,
    ) -> Vec<FunctionSnapshot> {
        let row = |entry: &Entry| FunctionSnapshot {
            batches: batches(entry.function),
            ..entry.snapshot()
        };
        self.functions.iter().flatten().map(row).collect()
    }

    /// What is known of a tenant.
    pub(crate) fn tenant(&self, tenant: TenantId) -> Figures {
        self.tenants.get(tenant.index()).map(Sums::figures).unwrap_or_default()
    }
}

impl Entry {
    fn new(function: &'static Function) -> Self {
        let (queue_times, run_times) = (Counts::default(), Counts::default());
        Self { function, sums: Sums::default(), queue_times, run_times }
    }

    fn snapshot(&self) -> FunctionSnapshot {
        FunctionSnapshot {
            function: self.function.name,
            figures: self.sums.figures(),
            queue_times: self.queue_times.into(),
            run_times: self.run_times.into(),
            batches: None,
        }
    }
}

fn mean(sum: Duration, count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs_f64(sum.as_secs_f64() / count as f64))
}

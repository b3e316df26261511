//! What tasks cost so far, added up for each task function and each tenant.
//!
//! Pure. It is written to at each submit and each end of a task, under the
//! gate's mutex: by index, without hashing, and without allocation but for a
//! function's or tenant's first task.

use std::time::Duration;

use crate::ledger::Report;
use crate::placement::TenantId;
use crate::task::Function;

/// What the tasks of one task function, or of one tenant, cost so far.
///
/// Sums are over all tasks that gave a result; failed ones have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Tasks taken.
    pub submitted: u64,
    /// Tasks that gave a result.
    pub done: u64,
    /// Tasks that ended with an error of their own: panicked, lost, closed.
    pub failed: u64,
    /// Waiters that left before the result.
    pub cancelled: u64,
    /// Waiters whose time ran out.
    pub timed_out: u64,
    /// Submits that were refused because a bound was met.
    pub refused: u64,
    /// The sum of the time that was not run time, as in
    /// [`Report::queue_time`].
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
    /// The most resident memory, in bytes, that a worker had at the end of a
    /// measured task.
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

    pub(crate) fn done(&mut self, report: &Report) {
        self.done += 1;
        self.queue_time += report.queue_time;
        self.max_queue_time = self.max_queue_time.max(report.queue_time);
        self.run_time += report.run_time;
        self.max_run_time = self.max_run_time.max(report.run_time);
        if let Some(cpu_time) = report.cpu_time {
            self.measured += 1;
            self.cpu_time += cpu_time;
            self.max_cpu_time = self.max_cpu_time.max(cpu_time);
        }
        self.peak_memory_bytes = self.peak_memory_bytes.max(report.memory_bytes);
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
}

/// The figures of one tenant.
///
/// A tenant without tasks is forgotten ten seconds or more after its last
/// submit, and its figures with it; if it comes back, it starts from zero.
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

/// The figures of all.
#[derive(Debug, Default)]
pub(crate) struct Book {
    functions: Vec<Option<(&'static Function, Figures)>>,
    tenants: Vec<Figures>,
}

impl Book {
    /// Notes something of a task, for its function and for its tenant.
    pub(crate) fn note(
        &mut self,
        function: &'static Function,
        tenant: TenantId,
        change: impl Fn(&mut Figures),
    ) {
        if self.functions.len() <= function.number {
            self.functions.resize_with(function.number + 1, || None);
        }
        let entry =
            self.functions[function.number].get_or_insert_with(|| (function, Figures::default()));
        change(&mut entry.1);
        if self.tenants.len() <= tenant.index() {
            self.tenants.resize_with(tenant.index() + 1, Figures::default);
        }
        change(&mut self.tenants[tenant.index()]);
    }

    /// A tenant was forgotten; its number may be another's soon.
    pub(crate) fn forget(&mut self, tenant: TenantId) {
        if let Some(figures) = self.tenants.get_mut(tenant.index()) {
            *figures = Figures::default();
        }
        // What a crowd of tenants took is given back when it has left.
        while self.tenants.last().is_some_and(|figures| *figures == Figures::default()) {
            self.tenants.pop();
        }
        if self.tenants.capacity() > 64 + 4 * self.tenants.len() {
            self.tenants.shrink_to_fit();
        }
    }

    /// All functions that had a submit.
    pub(crate) fn functions(&self) -> Vec<FunctionSnapshot> {
        let known = self.functions.iter().flatten();
        known
            .map(|(f, figures)| FunctionSnapshot { function: f.name, figures: figures.clone() })
            .collect()
    }

    /// What is known of a tenant.
    pub(crate) fn tenant(&self, tenant: TenantId) -> Figures {
        self.tenants.get(tenant.index()).cloned().unwrap_or_default()
    }
}

fn mean(sum: Duration, count: u64) -> Option<Duration> {
    (count > 0).then(|| Duration::from_secs_f64(sum.as_secs_f64() / count as f64))
}

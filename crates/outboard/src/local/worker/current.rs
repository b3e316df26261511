//! The task of this worker process, which has one at a time: whether it is still
//! wanted, and until when.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::time::{Duration, Instant};

use rustix::time::ClockId;

use super::items;
use crate::local::process::end::exit_at_once;
use crate::local::shm::page::Page;
use crate::task::current::{self, Asks};
use crate::task::fork::Identity;
use crate::task::system::now_ns;

static WORKER: OnceLock<InWorker> = OnceLock::new();

/// Whether this worker has come to executing tasks.
static SERVES: AtomicBool = AtomicBool::new(false);

/// The number of its slot in the pool; negative before it has one.
static SLOT: AtomicI64 = AtomicI64::new(-1);

/// From now on it has that slot.
pub(super) fn set_slot(slot: u32) {
    SLOT.store(slot.into(), Relaxed);
}

/// From now on this process is a worker: what its tasks ask is answered here.
pub(super) fn become_worker() {
    current::become_worker(Asks {
        cancelled: || WORKER.get().is_some_and(InWorker::is_asked),
        deadline: || WORKER.get().and_then(InWorker::deadline),
        outlet: items::outlet,
        note: |noted| {
            if let Some((worker, seq)) = running().filter(|(worker, _)| worker.home.is_here()) {
                worker.page.set_progress(seq, noted);
            }
        },
        slot: || usize::try_from(SLOT.load(Relaxed)).ok(),
    });
}

/// From now on this worker executes tasks.
pub(super) fn serves() {
    SERVES.store(true, Relaxed);
}

/// Whether this worker ends by itself when its server hangs up: it is between tasks.
pub(super) fn leaves_by_itself() -> bool {
    let between = |worker: &InWorker| worker.seq.load(Acquire) == 0;
    SERVES.load(Relaxed) && WORKER.get().is_some_and(between)
}

/// This worker.
pub(super) fn this_worker() -> Option<&'static InWorker> {
    WORKER.get()
}

/// This worker, and the number of the task that runs, if one does.
pub(super) fn running() -> Option<(&'static InWorker, u64)> {
    let worker = WORKER.get()?;
    Some((worker, worker.seq.load(Acquire))).filter(|(_, seq)| *seq > 0)
}

/// Whether this process was forked by a task.
pub(super) fn is_forked() -> bool {
    WORKER.get().is_some_and(|worker| !worker.home.is_here())
}

/// The task of a worker process, which has one at a time.
#[derive(Debug)]
pub(super) struct InWorker {
    home: Identity,
    pub(super) page: Page,
    /// The number of the task that runs; 0 between tasks.
    seq: AtomicU64,
    /// That of the last one that runs in the same call.
    last: AtomicU64,
    /// By the monotonic clock; 0 for none.
    deadline_ns: AtomicU64,
    /// The CPU time of this process when it was last read, and that moment by
    /// the monotonic clock.
    cpu: [AtomicU64; 2],
}

/// How old a reading of the CPU time may be. The clock costs a system call, and what runs
/// for less than a millisecond is not measured.
const CPU_AGE_NS: u64 = 50_000;

impl InWorker {
    /// Makes the page the one that all threads of this worker ask.
    pub(super) fn install(page: Page) -> &'static Self {
        let [seq, last, deadline_ns] = [const { AtomicU64::new(0) }; 3];
        let cpu = [AtomicU64::new(0), AtomicU64::new(0)];
        WORKER.get_or_init(|| Self { home: Identity::here(), page, seq, last, deadline_ns, cpu })
    }

    /// Ends a process that a task has forked, and that has come back from it. Only the
    /// worker itself answers, and goes on to the next task.
    pub(super) fn exit_if_forked(&self, outcome: Result<(), ()>) {
        if !self.home.is_here() {
            // As a program ends that panics in its `main`, or does not.
            exit_at_once(if outcome.is_ok() { 0 } else { 101 });
        }
    }

    /// The CPU time of this process now, or a moment ago.
    pub(super) fn cpu_ns(&self, now: u64) -> u64 {
        let [cpu_ns, read_at] = &self.cpu;
        if now.saturating_sub(read_at.load(Relaxed)) >= CPU_AGE_NS {
            cpu_ns.store(now_ns(ClockId::ProcessCPUTime), Relaxed);
            read_at.store(now, Relaxed);
        }
        cpu_ns.load(Relaxed)
    }

    /// A task starts, or several in one call, which goes by the first.
    pub(super) fn enter(&self, seqs: RangeInclusive<u64>, deadline_ns: u64) {
        self.deadline_ns.store(deadline_ns, Relaxed);
        self.last.store(*seqs.end(), Relaxed);
        self.seq.store(*seqs.start(), Release);
    }

    /// The task has ended.
    pub(super) fn leave(&self) {
        self.seq.store(0, Release);
    }

    fn is_asked(&self) -> bool {
        match self.seq.load(Acquire) {
            0 => false,
            // The page has the worker's word, not that of a process forked from it.
            seq => self.home.is_here() && self.page.is_stopping(seq) && self.others_are(seq),
        }
    }

    /// Whether nobody wants the others either that run in the same call.
    fn others_are(&self, seq: u64) -> bool {
        let last = self.last.load(Relaxed);
        (seq + 1..=last).all(|other| self.page.task(other).is_unwanted())
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline_ns = self.deadline_ns.load(Relaxed);
        if deadline_ns == 0 || self.seq.load(Acquire) == 0 {
            return None;
        }
        let left_ns = deadline_ns.saturating_sub(now_ns(ClockId::Monotonic));
        Some(Instant::now() + Duration::from_nanos(left_ns))
    }
}

//! What a task can ask about itself while it runs: whether anybody still wants
//! it, and until when.

use std::cell::RefCell;
use std::sync::Arc;
#[cfg(all(feature = "local", target_os = "linux"))]
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Acquire;
use std::time::Instant;

/// The state of a task of `inline` that nobody wants any more.
pub(crate) const STOPPING: u8 = 3;

/// Whether nobody wants the task that runs here any more: its future was
/// dropped or cancelled, or its time has run out.
///
/// A task that asks now and then can tidy up and return; what it returns is
/// thrown away. It has 2 ms for that after it was cancelled, or the
/// [`grace`](crate::Client::grace) that its client gave it; then its worker is
/// killed. A task that never asks is killed at once, unless it was given a
/// grace.
///
/// In a worker any thread may ask, on `inline` the task's own. It costs a few
/// nanoseconds. Outside a task it is `false`.
///
/// # Examples
///
/// ```
/// #[outboard::task]
/// fn search(until: u64) -> Option<u64> {
///     for n in 0..until {
///         if n % 1024 == 0 && outboard::cancelled() {
///             return None;
///         }
///         // ...
///     }
///     Some(until)
/// }
/// ```
pub fn cancelled() -> bool {
    let asked = INLINE.with_borrow(|one| one.as_ref().is_some_and(Inline::is_asked));
    #[cfg(all(feature = "local", target_os = "linux"))]
    let asked = asked || WORKER.get().is_some_and(InWorker::is_asked);
    asked
}

/// When the time of the task that runs here runs out: that of the most patient
/// of those who waited for it when it started. `None` where there is no timeout,
/// and outside a task.
pub fn deadline() -> Option<Instant> {
    let inline = INLINE.with_borrow(|one| one.as_ref().map(|one| one.deadline));
    #[cfg(all(feature = "local", target_os = "linux"))]
    let inline = inline.or_else(|| WORKER.get().map(InWorker::deadline));
    inline.flatten()
}

thread_local! {
    static INLINE: RefCell<Option<Inline>> = const { RefCell::new(None) };
}

/// A task of the `inline` engine, on its thread.
#[derive(Debug)]
pub(crate) struct Inline {
    /// [`STOPPING`] when nobody wants the task any more.
    pub(crate) state: Arc<AtomicU8>,
    pub(crate) deadline: Option<Instant>,
}

impl Inline {
    fn is_asked(&self) -> bool {
        self.state.load(Acquire) == STOPPING
    }

    /// Runs something as this task.
    pub(crate) fn scope<R>(self, run: impl FnOnce() -> R) -> R {
        let before = INLINE.replace(Some(self));
        let result = run();
        INLINE.set(before);
        result
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use in_worker::InWorker;
#[cfg(all(feature = "local", target_os = "linux"))]
static WORKER: OnceLock<InWorker> = OnceLock::new();

#[cfg(all(feature = "local", target_os = "linux"))]
mod in_worker {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
    use std::time::{Duration, Instant};

    use rustix::time::ClockId;

    use super::WORKER;
    use crate::shared::Page;
    use crate::worker::now_ns;

    /// The task of a worker process, which has one at a time.
    #[derive(Debug)]
    pub(crate) struct InWorker {
        pub(crate) page: Page,
        /// The number of the task that runs; 0 between tasks.
        seq: AtomicU64,
        /// By the monotonic clock; 0 for none.
        deadline_ns: AtomicU64,
        /// The CPU time of this process when it was last read, and that moment by
        /// the monotonic clock.
        cpu: [AtomicU64; 2],
    }

    /// How old a reading of the CPU time may be: the clock costs a system call,
    /// and what runs for less than a millisecond is not measured.
    const CPU_AGE_NS: u64 = 50_000;

    impl InWorker {
        /// Makes the page the one that all threads of this worker ask.
        pub(crate) fn install(page: Page) -> &'static Self {
            let (seq, deadline_ns) = (AtomicU64::new(0), AtomicU64::new(0));
            let cpu = [AtomicU64::new(0), AtomicU64::new(0)];
            WORKER.get_or_init(|| Self { page, seq, deadline_ns, cpu })
        }

        /// The CPU time of this process now, or a moment ago.
        pub(crate) fn cpu_ns(&self, now: u64) -> u64 {
            let [cpu_ns, read_at] = &self.cpu;
            if now.saturating_sub(read_at.load(Relaxed)) >= CPU_AGE_NS {
                cpu_ns.store(now_ns(ClockId::ProcessCPUTime), Relaxed);
                read_at.store(now, Relaxed);
            }
            cpu_ns.load(Relaxed)
        }

        /// A task starts.
        pub(crate) fn enter(&self, seq: u64, deadline_ns: u64) {
            self.deadline_ns.store(deadline_ns, Relaxed);
            self.seq.store(seq, Release);
        }

        /// The task has ended.
        pub(crate) fn leave(&self) {
            self.seq.store(0, Release);
        }

        pub(super) fn is_asked(&self) -> bool {
            match self.seq.load(Acquire) {
                0 => false,
                seq => self.page.is_stopping(seq),
            }
        }

        pub(super) fn deadline(&self) -> Option<Instant> {
            let deadline_ns = self.deadline_ns.load(Relaxed);
            if deadline_ns == 0 || self.seq.load(Acquire) == 0 {
                return None;
            }
            let left_ns = deadline_ns.saturating_sub(now_ns(ClockId::Monotonic));
            Some(Instant::now() + Duration::from_nanos(left_ns))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_a_task_nothing_is_known() {
        assert!(!cancelled());
        assert_eq!(deadline(), None);
    }

    #[test]
    fn a_task_inside_a_task_is_asked_about_first() {
        let state = Arc::new(AtomicU8::new(0));
        let deadline = Some(Instant::now());
        Inline { state: state.clone(), deadline }.scope(|| {
            assert!(!cancelled());
            state.store(STOPPING, std::sync::atomic::Ordering::Release);
            assert!(cancelled());
            assert_eq!(super::deadline(), deadline);
            let inner = Inline { state: Arc::default(), deadline: None };
            inner.scope(|| assert!(!cancelled()));
            assert!(cancelled());
        });
        assert!(!cancelled());
    }
}

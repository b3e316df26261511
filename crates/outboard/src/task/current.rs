//! What a task can ask about itself while it runs: whether anybody still wants
//! it, and until when.

use std::cell::RefCell;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Acquire;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::progress::{Board, Noted};
use super::stream::Outlet;

/// The state of a task of `inline` that nobody wants any more.
pub(crate) const STOPPING: u8 = 3;

/// Says whether the running task was cancelled: its future was dropped or cancelled, or its
/// time is over.
///
/// A task that asks now and then can tidy up and return; what it returns is thrown away. It
/// has 2 ms for that, or the [`grace`](crate::Client::grace) that its client gave it. Then
/// its worker is killed. A task that never asks is killed at once, unless it was given a
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
    INLINE.with_borrow(|one| one.as_ref().is_some_and(Inline::is_asked))
        || WORKER.get().is_some_and(|asks| (asks.cancelled)())
}

/// Returns the instant at which the running task's time is over.
///
/// If several callers share the task, it is the latest of theirs when it started. `None`
/// where there is no timeout, and outside a task.
pub fn deadline() -> Option<Instant> {
    let inline = INLINE.with_borrow(|one| one.as_ref().map(|one| one.deadline));
    inline.or_else(|| WORKER.get().map(|asks| (asks.deadline)())).flatten()
}

/// Returns the slot of this worker: a number in `0..workers` that is stable in its pool.
///
/// A worker that replaces another has its slot. So a slot stands for what there is one of for
/// each worker: a device, a port, a directory. No slot is empty while workers can be started.
///
/// Two workers can have the same slot for a while. One leaves, and finishes its last task while
/// its replacement serves; or a [spare](crate::LocalBuilder::spares) is lent to a tenant that
/// waits. That one stands by again after it, and its next slot may be another. Where that must not be, make the pool
/// [`exclusive`](crate::LocalBuilder::exclusive).
///
/// `None` outside a worker. It is `None` in `#[on_start]` functions as well, unless the pool is
/// exclusive: a spare has no slot before it serves.
///
/// # Examples
///
/// ```
/// #[outboard::task]
/// fn device() -> String {
///     format!("cuda:{}", outboard::slot().unwrap_or(0))
/// }
/// ```
pub fn slot() -> Option<usize> {
    let worker = WORKER.get().and_then(|asks| (asks.slot)());
    worker.or_else(|| INLINE.with_borrow(|one| one.as_ref().map(|one| one.slot)))
}

thread_local! {
    static INLINE: RefCell<Option<Inline>> = const { RefCell::new(None) };
}

/// A task of the `inline` engine, on its thread.
#[derive(Debug)]
pub(crate) struct Inline {
    /// [`STOPPING`] when nobody wants the task any more.
    pub(crate) state: Arc<AtomicU8>,
    /// The same of others that run in the same call.
    pub(crate) others: Vec<Arc<AtomicU8>>,
    pub(crate) deadline: Option<Instant>,
    /// Where its items go, if it streams.
    pub(crate) outlet: Option<Arc<dyn Outlet>>,
    pub(crate) board: Arc<Board>,
    /// The number of its thread's slot.
    pub(crate) slot: usize,
}

/// The running task says how far it is.
pub(crate) fn note(noted: &Noted) {
    let inline = INLINE.with_borrow(|one| one.as_ref().map(|one| one.board.note(noted)));
    if inline.is_none()
        && let Some(asks) = WORKER.get()
    {
        (asks.note)(noted);
    }
}

/// Where the items of the running task go.
pub(crate) fn outlet() -> Option<Arc<dyn Outlet>> {
    let inline = INLINE.with_borrow(|one| one.as_ref().map(|one| one.outlet.clone()));
    inline.unwrap_or_else(|| WORKER.get().and_then(|asks| (asks.outlet)()))
}

impl Inline {
    fn is_asked(&self) -> bool {
        let mut all = self.others.iter().chain([&self.state]);
        all.all(|state| state.load(Acquire) == STOPPING)
    }

    /// Runs something as this task.
    pub(crate) fn scope<R>(self, run: impl FnOnce() -> R) -> R {
        let before = INLINE.replace(Some(self));
        let result = run();
        INLINE.set(before);
        result
    }
}

/// What a worker process knows of the task that it runs. All its threads ask.
#[derive(Debug)]
pub(crate) struct Asks {
    pub(crate) cancelled: fn() -> bool,
    pub(crate) deadline: fn() -> Option<Instant>,
    pub(crate) outlet: fn() -> Option<Arc<dyn Outlet>>,
    pub(crate) note: fn(&Noted),
    pub(crate) slot: fn() -> Option<usize>,
}

/// Set where this process is a worker.
static WORKER: OnceLock<Asks> = OnceLock::new();

/// From now on the code of this process is that of tasks, and of threads that they
/// start.
pub(crate) fn become_worker(asks: Asks) {
    let _ = WORKER.set(asks);
}

/// Whether this process is a worker.
pub(crate) fn in_worker() -> bool {
    WORKER.get().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_a_task_nothing_is_known() {
        assert!(!cancelled());
        assert_eq!((deadline(), slot()), (None, None));
    }

    #[test]
    fn a_task_inside_a_task_is_asked_about_first() {
        let state = Arc::new(AtomicU8::new(0));
        let deadline = Some(Instant::now());
        let board = Arc::<Board>::default();
        let other = Arc::new(AtomicU8::new(STOPPING));
        let one = Inline {
            state: state.clone(),
            others: vec![other.clone()],
            deadline,
            outlet: None,
            board: board.clone(),
            slot: 3,
        };
        one.scope(|| {
            assert!(!cancelled());
            state.store(STOPPING, std::sync::atomic::Ordering::Release);
            assert!(cancelled());
            other.store(0, std::sync::atomic::Ordering::Release);
            assert!(!cancelled(), "another one of the batch is wanted");
            other.store(STOPPING, std::sync::atomic::Ordering::Release);
            assert_eq!((super::deadline(), slot()), (deadline, Some(3)));
            let inner = Inline {
                state: Arc::default(),
                others: Vec::new(),
                deadline: None,
                outlet: None,
                board: Arc::default(),
                slot: 0,
            };
            inner.scope(|| assert!(!cancelled()));
            assert!(cancelled());
        });
        assert!(!cancelled());
    }
}

//! A few threads of the library's own, for what would hold up an event loop: copies of
//! large payloads, encoding, decoding.
//!
//! Not the runtime's blocking threads. An application may have all of those in use for as
//! long as it likes, and results would wait for it. A thread starts when work waits and
//! none is idle, and ends when there was none for a while.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How many threads there are at most: memory is no quicker for more copies at once.
const MOST: usize = 4;

/// How long a thread without work stays.
const KEPT: Duration = Duration::from_secs(5);

/// Work that panicked, with what it panicked with.
pub(crate) struct Panicked(pub(crate) Box<dyn Any + Send>);

/// Does work on one of the threads, from now on; the future gives what came of it.
///
/// Whoever calls it bounds how much waits: each work is one that somebody waits for, or
/// the writing of one worker's outbox. Without any thread, because the system has none
/// to give, the caller does the work.
///
/// # Cancel safety
///
/// Dropping the future drops the work, unless that has begun, which then goes on.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, Panicked>> + Send {
    let (sender, done) = oneshot::channel();
    spawn(move || {
        if !sender.is_closed() {
            let result = catch_unwind(AssertUnwindSafe(work)).map_err(Panicked);
            // Whoever waited may have left meanwhile.
            let _ = sender.send(result);
        }
    });
    async { done.await.expect("each work is done, for its future is there") }
}

/// As [`run`], for work that nobody waits for. What it panics with is lost.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) {
    match own_pool() {
        Some(pool) => pool.spawn(Box::new(work)),
        None => perform(Box::new(work)),
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// The threads of this process, and those of the ones that it was forked from, which it
/// does not have. One of them may have held a mutex.
static POOLS: [OnceLock<(u32, Pool)>; 4] = [const { OnceLock::new() }; 4];

/// The pool of this process; `None` if it was forked too often.
fn own_pool() -> Option<&'static Pool> {
    let own = std::process::id();
    let pools = POOLS.iter().map(|pool| pool.get_or_init(|| (own, Pool::default())));
    pools.into_iter().find(|(process, _)| *process == own).map(|(_, pool)| pool)
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    /// Work was added.
    added: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&'static self, work: Work) {
        let mut state = self.lock();
        state.waiting.push_back(work);
        // An idle thread that was woken counts as idle until it runs.
        if state.waiting.len() <= state.idle {
            self.added.notify_one();
        } else if state.threads < MOST {
            state.threads += 1;
            drop(state);
            let thread = std::thread::Builder::new().name("outboard-copy".into());
            if thread.spawn(|| self.work(KEPT)).is_err() {
                self.do_without();
            }
        }
    }

    /// The system has no thread to give: those that there are do the work, or else this
    /// one does.
    fn do_without(&self) {
        let alone = {
            let mut state = self.lock();
            state.threads -= 1;
            state.threads == 0
        };
        while alone && let Some(work) = self.next() {
            perform(work);
        }
    }

    fn next(&self) -> Option<Work> {
        self.lock().waiting.pop_front()
    }

    /// What a thread does, until there was no work for so long.
    fn work(&self, kept: Duration) {
        loop {
            let mut state = self.lock();
            if state.waiting.is_empty() {
                state.idle += 1;
                let none = |state: &mut State| state.waiting.is_empty();
                let waited = self.added.wait_timeout_while(state, kept, none);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                state.idle -= 1;
            }
            let Some(work) = state.waiting.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            perform(work);
        }
    }
}

fn perform(work: Work) {
    // What dropping a value panics with, which nobody waits for.
    let _ = catch_unwind(AssertUnwindSafe(work));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{Arc, Barrier, mpsc};

    use super::*;

    fn pool() -> &'static Pool {
        Box::leak(Box::default())
    }

    #[tokio::test]
    async fn what_comes_of_it_is_given_back() {
        assert_eq!(run(|| 6 * 7).await.ok(), Some(42));
        let panicked = run(|| panic!("no")).await.err().unwrap();
        assert_eq!(panicked.0.downcast_ref(), Some(&"no"));
        assert_eq!(run(|| 1).await.ok(), Some(1), "a panic costs no thread");
    }

    #[test]
    fn there_are_no_more_threads_than_a_few_and_all_work_is_done() {
        let (pool, gate) = (pool(), Arc::new(Barrier::new(MOST + 1)));
        let (done, all) = mpsc::channel();
        for _ in 0..MOST {
            let gate = gate.clone();
            pool.spawn(Box::new(move || {
                gate.wait();
            }));
        }
        for n in 0..100 {
            let done = done.clone();
            pool.spawn(Box::new(move || done.send(n).unwrap()));
        }
        assert_eq!(pool.lock().threads, MOST);
        assert!(all.try_recv().is_err(), "all threads are held");
        gate.wait();
        drop(done);
        let mut numbers: Vec<i32> = all.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_thread_without_work_ends() {
        let pool = pool();
        pool.lock().threads = 1;
        pool.work(Duration::ZERO);
        assert_eq!(pool.lock().threads, 0);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_done() {
        let (begun, done) = (Arc::new(Barrier::new(MOST + 1)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..MOST {
            let begun = begun.clone();
            spawn(move || {
                begun.wait();
            });
        }
        let count = || {
            let done = done.clone();
            run(move || done.fetch_add(1, Relaxed))
        };
        let (dropped, kept) = (count(), count());
        drop(dropped);
        begun.wait();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(kept).ok().unwrap();
        assert_eq!(done.load(Relaxed), 1);
    }
}

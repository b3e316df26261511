//! Runs what takes long off the caller's thread: encoding, decoding and copying of large
//! values, on a few threads of Outboard's own.
//!
//! Not on the runtime's threads, which have handlers to run, nor on its blocking pool,
//! which the application may have filled.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// How many threads there are at most: copying is bounded by memory, not by cores.
const MOST_THREADS: usize = 4;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Pool {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { jobs: VecDeque::new(), threads: 0, idle: 0 });
static WORK: Condvar = Condvar::new();

/// Runs `work` on another thread; dropping the receiver does not stop it.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    spawn(move || {
        // Nobody may wait for it any more.
        let _ = sender.send(work());
    });
    receiver
}

/// Runs `work` on another thread.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    pool.jobs.push_back(Box::new(work));
    if pool.idle >= pool.jobs.len() {
        drop(pool);
        WORK.notify_one();
        return;
    }
    if pool.threads < MOST_THREADS {
        pool.threads += 1;
        drop(pool);
        let thread = std::thread::Builder::new().name("outboard-values".into());
        if thread.spawn(serve).is_err() {
            POOL.lock().unwrap_or_else(PoisonError::into_inner).threads -= 1;
            // Without a thread to have, the caller's has to do.
            help();
        }
    }
}
fn help() {}
fn serve() {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(job) = pool.jobs.pop_front() {
            drop(pool);
            // Its panic is an error of whoever waits: the sender is dropped.
            let _ = catch_unwind(AssertUnwindSafe(job));
            pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        }
        pool.idle += 1;
        let (back, waited) =
            WORK.wait_timeout(pool, IDLE).unwrap_or_else(PoisonError::into_inner);
        pool = back;
        pool.idle -= 1;
        if waited.timed_out() && pool.jobs.is_empty() {
            pool.threads -= 1;
            return;
        }
    }
}

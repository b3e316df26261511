//! tokio's `spawn_blocking`: threads of this process.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::Sizes;
use crate::peer::{Means, Outcome, Peer, Submitted, first_line};
use crate::tasks;

#[derive(Clone)]
pub(crate) struct SpawnBlocking;

impl Peer for SpawnBlocking {
    const TIMEOUT: Means = ("tokio::time::timeout", false);
    const CANCEL: Means = ("JoinHandle::abort()", true);

    /// The threads are the runtime's, as many as it likes (512 by default), as users have them.
    async fn start(_: &Sizes) -> Outcome<Self> {
        Ok(Self)
    }

    async fn stop(self) {}

    fn add_one(&self, x: u64) -> impl Future<Output = Outcome<u64>> + Send + 'static {
        result(spawn_blocking(move || tasks::add_one(x)))
    }

    fn add_many(
        &self,
        numbers: Range<u64>,
    ) -> impl Future<Output = Outcome<Vec<u64>>> + Send + 'static {
        let handles: Vec<_> = numbers.map(|x| spawn_blocking(move || tasks::add_one(x))).collect();
        async {
            let mut results = Vec::with_capacity(handles.len());
            for handle in handles {
                results.push(handle.await.map_err(first_line)?);
            }
            Ok(results)
        }
    }

    fn echo(&self, data: Bytes) -> impl Future<Output = Outcome<Bytes>> + Send + 'static {
        result(spawn_blocking(move || tasks::echo(data)))
    }

    fn burn(&self, index: u64, seconds: f64) -> Submitted<u64> {
        Box::pin(result(spawn_blocking(move || tasks::burn(index, seconds))))
    }

    fn sibling(&self, scratch: String, seconds: f64) -> Submitted<u64> {
        Box::pin(result(spawn_blocking(move || tasks::sibling(scratch, seconds))))
    }

    fn crash(&self, scratch: String) -> Submitted<u64> {
        Box::pin(result(spawn_blocking(move || tasks::crash(scratch))))
    }

    fn beat(&self, path: String, seconds: f64) -> Submitted<u64> {
        Box::pin(result(spawn_blocking(move || tasks::beat(path, seconds))))
    }

    fn beat_within(&self, timeout: Duration, path: String, seconds: f64) -> Submitted<u64> {
        let within = tokio::time::timeout(timeout, self.beat(path, seconds));
        Box::pin(async { within.await.map_err(first_line)? })
    }

    fn beat_cancellable(
        &self,
        path: String,
        seconds: f64,
    ) -> (Submitted<u64>, Box<dyn FnOnce() + Send>) {
        let handle = spawn_blocking(move || tasks::beat(path, seconds));
        let abort = handle.abort_handle();
        (Box::pin(result(handle)), Box::new(move || abort.abort()))
    }
}

async fn result<T>(handle: JoinHandle<T>) -> Outcome<T> {
    handle.await.map_err(first_line)
}

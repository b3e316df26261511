//! procspawn: a pool of processes of this program, whose calls block.
//!
//! An async server has to wait for each on a thread of `spawn_blocking`; that
//! is what is measured.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use procspawn::{JoinHandle, Pool, SpawnError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;

use crate::Sizes;
use crate::peer::{Means, Outcome, Peer, Submitted, first_line};
use crate::tasks;

#[derive(Clone)]
pub(crate) struct Procspawn(Arc<Pool>);

impl Peer for Procspawn {
    const TIMEOUT: Means = ("JoinHandle::join_timeout(..)", true);
    const CANCEL: Means = ("JoinHandle::kill()", true);

    async fn start(sizes: &Sizes) -> Outcome<Self> {
        Pool::new(sizes.workers).map(|pool| Self(Arc::new(pool))).map_err(first_line)
    }

    async fn stop(self) {
        self.0.kill();
    }

    fn add_one(&self, x: u64) -> impl Future<Output = Outcome<u64>> + Send + 'static {
        self.submit(x, tasks::add_one, JoinHandle::join)
    }

    fn add_many(
        &self,
        numbers: Range<u64>,
    ) -> impl Future<Output = Outcome<Vec<u64>>> + Send + 'static {
        let pool = self.0.clone();
        on_a_thread(move || {
            let handles: Vec<_> = numbers.map(|x| pool.spawn(x, tasks::add_one)).collect();
            handles.into_iter().map(JoinHandle::join).collect()
        })
    }

    fn echo(&self, data: Bytes) -> impl Future<Output = Outcome<Bytes>> + Send + 'static {
        self.submit(data, tasks::echo, JoinHandle::join)
    }

    fn burn(&self, index: u64, seconds: f64) -> Submitted<u64> {
        let burn = |(index, seconds)| tasks::burn(index, seconds);
        Box::pin(self.submit((index, seconds), burn, JoinHandle::join))
    }

    fn sibling(&self, scratch: String, seconds: f64) -> Submitted<u64> {
        let sibling = |(scratch, seconds)| tasks::sibling(scratch, seconds);
        Box::pin(self.submit((scratch, seconds), sibling, JoinHandle::join))
    }

    fn crash(&self, scratch: String) -> Submitted<u64> {
        Box::pin(self.submit(scratch, tasks::crash, JoinHandle::join))
    }

    fn beat(&self, path: String, seconds: f64) -> Submitted<u64> {
        Box::pin(self.submit((path, seconds), beat, JoinHandle::join))
    }

    fn beat_within(&self, timeout: Duration, path: String, seconds: f64) -> Submitted<u64> {
        let join = move |mut handle: JoinHandle<u64>| handle.join_timeout(timeout);
        Box::pin(self.submit((path, seconds), beat, join))
    }

    fn beat_cancellable(
        &self,
        path: String,
        seconds: f64,
    ) -> (Submitted<u64>, Box<dyn FnOnce() + Send>) {
        // `join` takes the handle, so whoever wants to kill has to keep it: nobody waits here.
        let handle = Arc::new(Mutex::new(Some(self.0.spawn((path, seconds), beat))));
        let (ask, asked) = tokio::sync::oneshot::channel::<()>();
        let kept = handle.clone();
        let join = move || kept.lock().expect("nobody panicked").take().expect("once").join();
        let awaiting = async move {
            let _ = asked.await;
            on_a_thread(join).await
        };
        let kill = move || {
            let _ = handle.lock().expect("nobody panicked").as_mut().map(JoinHandle::kill);
            drop(ask);
        };
        (Box::pin(awaiting), Box::new(kill))
    }
}

impl Procspawn {
    fn submit<A, T>(
        &self,
        args: A,
        function: fn(A) -> T,
        join: impl FnOnce(JoinHandle<T>) -> Result<T, SpawnError> + Send + 'static,
    ) -> impl Future<Output = Outcome<T>> + Send + 'static
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let pool = self.0.clone();
        on_a_thread(move || join(pool.spawn(args, function)))
    }
}

fn beat((path, seconds): (String, f64)) -> u64 {
    tasks::beat(path, seconds)
}

/// Started at once, as every submit is.
fn on_a_thread<T: Send + 'static>(
    wait: impl FnOnce() -> Result<T, SpawnError> + Send + 'static,
) -> impl Future<Output = Outcome<T>> + Send + 'static {
    let thread = spawn_blocking(wait);
    async { thread.await.map_err(first_line)?.map_err(first_line) }
}

//! Outboard: worker processes of this program.

use std::future::IntoFuture;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use outboard::{Client, TaskFuture};
use serde::de::DeserializeOwned;

use crate::Sizes;
use crate::peer::{Means, Outcome, Peer, Submitted, first_line};
use crate::tasks;

#[derive(Clone)]
pub(crate) struct Outboard(Client);

impl Peer for Outboard {
    const TIMEOUT: Means = ("client.timeout(..)", true);
    const CANCEL: Means = ("TaskFuture::cancel()", true);

    async fn start(sizes: &Sizes) -> Outcome<Self> {
        Client::local().workers(sizes.workers).into_future().await.map(Self).map_err(first_line)
    }

    async fn stop(self) {
        self.0.shutdown().await;
    }

    fn add_one(&self, x: u64) -> impl Future<Output = Outcome<u64>> + Send + 'static {
        result(self.0.submit(tasks::add_one, x))
    }

    fn add_many(
        &self,
        numbers: Range<u64>,
    ) -> impl Future<Output = Outcome<Vec<u64>>> + Send + 'static {
        let futures: Vec<_> = numbers.map(|x| self.0.submit(tasks::add_one, x)).collect();
        async { outboard::gather(futures).await.map_err(first_line) }
    }

    fn echo(&self, data: Bytes) -> impl Future<Output = Outcome<Bytes>> + Send + 'static {
        result(self.0.submit(tasks::echo, data))
    }

    fn burn(&self, index: u64, seconds: f64) -> Submitted<u64> {
        Box::pin(result(self.0.submit(tasks::burn, (index, seconds))))
    }

    fn sibling(&self, scratch: String, seconds: f64) -> Submitted<u64> {
        Box::pin(result(self.0.submit(tasks::sibling, (scratch, seconds))))
    }

    fn crash(&self, scratch: String) -> Submitted<u64> {
        Box::pin(result(self.0.submit(tasks::crash, scratch)))
    }

    fn beat(&self, path: String, seconds: f64) -> Submitted<u64> {
        Box::pin(result(self.0.submit(tasks::beat, (path, seconds))))
    }

    fn beat_within(&self, timeout: Duration, path: String, seconds: f64) -> Submitted<u64> {
        Self(self.0.timeout(timeout)).beat(path, seconds)
    }

    fn beat_cancellable(
        &self,
        path: String,
        seconds: f64,
    ) -> (Submitted<u64>, Box<dyn FnOnce() + Send>) {
        cancellable(self.0.submit(tasks::beat, (path, seconds)))
    }
}

/// With what cancels it.
pub(super) fn cancellable(
    mut future: TaskFuture<u64>,
) -> (Submitted<u64>, Box<dyn FnOnce() + Send>) {
    let (ask, asked) = tokio::sync::oneshot::channel::<()>();
    let awaiting = async move {
        tokio::select! {
            ended = &mut future => return ended.map_err(first_line),
            _ = asked => future.cancel(),
        }
        future.await.map_err(first_line)
    };
    (Box::pin(awaiting), Box::new(|| drop(ask)))
}

pub(super) async fn result<T: DeserializeOwned>(future: TaskFuture<T>) -> Outcome<T> {
    future.await.map_err(first_line)
}

//! Outboard: worker processes that are Python, called from Rust.

use std::future::IntoFuture;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use outboard::{Client, Python, PythonFunction, python};

use super::outboard::{cancellable, result};
use crate::Sizes;
use crate::peer::{Means, Outcome, Peer, Submitted, first_line};

#[derive(Clone)]
pub(crate) struct OutboardPython(Client);

/// What Python's other peers compute as well.
const ADD_ONE: fn() -> PythonFunction<(u64,), u64> = || python("peers.tasks:add_one");
const BEAT: fn() -> PythonFunction<(String, f64), u64> = || python("peers.tasks:beat");

impl Peer for OutboardPython {
    const TIMEOUT: Means = ("client.timeout(..)", true);
    const CANCEL: Means = ("TaskFuture::cancel()", true);

    async fn start(sizes: &Sizes) -> Outcome<Self> {
        let python = Python::new(&sizes.python).path(".").preload("peers.tasks");
        // No worker of Rust is needed.
        let client = Client::local().workers(0..=1).python(python.workers(sizes.workers));
        client.into_future().await.map(Self).map_err(first_line)
    }

    async fn stop(self) {
        self.0.shutdown().await;
    }

    fn add_one(&self, x: u64) -> impl Future<Output = Outcome<u64>> + Send + 'static {
        result(self.0.submit(ADD_ONE(), x))
    }

    fn add_many(
        &self,
        numbers: Range<u64>,
    ) -> impl Future<Output = Outcome<Vec<u64>>> + Send + 'static {
        let futures: Vec<_> = numbers.map(|x| self.0.submit(ADD_ONE(), x)).collect();
        async { outboard::gather(futures).await.map_err(first_line) }
    }

    fn echo(&self, data: Bytes) -> impl Future<Output = Outcome<Bytes>> + Send + 'static {
        result(self.0.submit(python::<(Bytes,), Bytes>("peers.tasks:echo"), data))
    }

    fn burn(&self, index: u64, seconds: f64) -> Submitted<u64> {
        let burn = python::<(u64, f64), u64>("peers.tasks:burn");
        Box::pin(result(self.0.submit(burn, (index, seconds))))
    }

    fn sibling(&self, scratch: String, seconds: f64) -> Submitted<u64> {
        let sibling = python::<(String, f64), u64>("peers.tasks:sibling");
        Box::pin(result(self.0.submit(sibling, (scratch, seconds))))
    }

    fn crash(&self, scratch: String) -> Submitted<u64> {
        let crash = python::<(String,), u64>("peers.tasks:crash");
        Box::pin(result(self.0.submit(crash, scratch)))
    }

    fn beat(&self, path: String, seconds: f64) -> Submitted<u64> {
        Box::pin(result(self.0.submit(BEAT(), (path, seconds))))
    }

    fn beat_within(&self, timeout: Duration, path: String, seconds: f64) -> Submitted<u64> {
        Self(self.0.timeout(timeout)).beat(path, seconds)
    }

    fn beat_cancellable(
        &self,
        path: String,
        seconds: f64,
    ) -> (Submitted<u64>, Box<dyn FnOnce() + Send>) {
        cancellable(self.0.submit(BEAT(), (path, seconds)))
    }
}

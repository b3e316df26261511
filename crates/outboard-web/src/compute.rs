//! What a handler submits through: the client with the request's tenant and
//! timeout, and the times of its tasks.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode};
use outboard::{BatchFunction, Client, Error, Report, TaskFunction};
use serde_json::json;

use crate::problem::document;

/// The client of a request, with the tenant and timeout that the layer
/// [`Offload`](crate::Offload) found for it.
///
/// It can do everything that a [`Client`] can. Only tasks that are submitted by
/// its own [`submit`](Self::submit) and [`batched`](Self::batched) appear in `Server-Timing`, and
/// streams that are the response: see [`LateTiming`].
///
/// It is in the extensions of the request (`request.extensions().get::<Compute>()`). In axum it
/// is an extractor; without the layer that gives [`NoOffload`]: 500, and a line in the log that
/// says what is missing.
#[derive(Clone, Debug)]
pub struct Compute {
    client: Client,
    timings: Timings,
}

impl Compute {
    /// For a request of which nothing else is known; [`Offload`](crate::Offload) makes those
    /// that have a tenant and a timeout.
    pub fn new(client: Client) -> Self {
        Self { client, timings: Timings::default() }
    }

    /// Submits a task as [`Client::submit`] does, and records its times.
    ///
    /// The task starts at once. Its queue time, run time and worker go into the response's
    /// `Server-Timing`.
    ///
    /// # Errors
    ///
    /// As [`Client::submit`]; `?` turns them into a [`Problem`](crate::Problem).
    ///
    /// # Cancel safety
    ///
    /// The future that is returned owns the task: dropping it cancels.
    pub fn submit<F: TaskFunction<M>, M>(
        &self,
        f: F,
        args: F::Args,
    ) -> impl Future<Output = Result<F::Output, Error>> + Send + use<F, M> {
        self.timed(self.client.submit(f, args).with_report())
    }

    /// Submits one item to a function that takes batches, as [`Client::batched`] does, and
    /// records its times.
    ///
    /// `Server-Timing` has the size of the batch too: `batch;desc="8"`.
    ///
    /// # Errors
    ///
    /// As [`Client::batched`].
    ///
    /// # Cancel safety
    ///
    /// The future that is returned owns the task: dropping it cancels.
    pub fn batched<F: BatchFunction<M>, M>(
        &self,
        f: F,
        item: F::Item,
    ) -> impl Future<Output = Result<F::Output, Error>> + Send + use<F, M> {
        self.timed(self.client.batched(f, item).with_report())
    }

    /// Awaits a task, and records its times.
    fn timed<T: Send, F: Future<Output = Result<(T, Report), Error>> + Send>(
        &self,
        reported: F,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, F> {
        let timings = self.timings.clone();
        async move {
            let (value, report) = reported.await?;
            timings.record(&report);
            Ok(value)
        }
    }

    /// Returns the same with other options: `compute.with(|client| client.priority(5))`.
    pub fn with(&self, options: impl FnOnce(&Client) -> Client) -> Self {
        Self { client: options(&self.client), timings: self.timings.clone() }
    }

    /// The value of `Server-Timing`, if anything was executed. The layer adds it to the response.
    pub fn server_timing(&self) -> Option<HeaderValue> {
        self.timings.header()
    }
}

impl Deref for Compute {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The times of a task whose items are the response: they are known after the last item.
///
/// It is for adapters of a framework. Put it into the extensions of the response: the layer
/// [`Offload`](crate::Offload) finds it there, and allows it unless
/// [`server_timing`](crate::Offload::server_timing) says no. In axum `sse`, `ndjson` and `body` do so.
#[derive(Clone, Debug)]
pub struct LateTiming {
    allowed: Arc<AtomicBool>,
    trailer: bool,
}

impl LateTiming {
    /// For a response that has the times as its trailer `Server-Timing`, which the layer announces.
    ///
    /// HTTP/1 servers send trailers only to clients that ask for them, by `TE: trailers`.
    pub fn as_trailer() -> Self {
        Self { allowed: Arc::default(), trailer: true }
    }

    /// For a response that has them in its body.
    pub fn in_body() -> Self {
        Self { allowed: Arc::default(), trailer: false }
    }

    /// The value of `Server-Timing`, if the response may have one.
    pub fn of(&self, report: &Report) -> Option<HeaderValue> {
        let timings = Timings::default();
        timings.record(report);
        timings.header().filter(|_| self.allowed.load(Relaxed))
    }

    /// Allows it; whether it is to be announced.
    pub(crate) fn allow(&self) -> bool {
        self.allowed.store(true, Relaxed);
        self.trailer
    }
}

/// The rejection of a handler that takes [`Compute`] on a route without the layer
/// [`Offload`](crate::Offload).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoOffload;

impl NoOffload {
    /// The response: 500, which says nothing of the cause.
    pub fn response<B: From<String>>() -> Response<B> {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let body = json!({
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": "The request could not be processed.",
        });
        document(status, &body)
    }
}

/// The times of the tasks of one request.
#[derive(Clone, Debug, Default)]
struct Timings(Arc<Mutex<Sums>>);

#[derive(Debug, Default)]
struct Sums {
    tasks: usize,
    queue: Duration,
    run: Duration,
    workers: BTreeSet<usize>,
    /// The size of the largest batch.
    batch: usize,
}

/// The most workers that the header names.
const NAMED_WORKERS: usize = 8;

impl Timings {
    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, report: &Report) {
        let mut sums = self.lock();
        sums.tasks += 1;
        sums.queue += report.queue_time;
        sums.run += report.run_time;
        sums.batch = sums.batch.max(report.batch);
        if sums.workers.len() < NAMED_WORKERS {
            sums.workers.insert(report.worker);
        }
    }

    /// Milliseconds, as the specification says (W3C, Server Timing); several
    /// tasks are summed up.
    fn header(&self) -> Option<HeaderValue> {
        let sums = self.lock();
        if sums.tasks == 0 {
            return None;
        }
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let workers: Vec<_> = sums.workers.iter().map(ToString::to_string).collect();
        let mut text = format!(
            "queue;dur={:.3}, run;dur={:.3}, worker;desc=\"{}\"",
            ms(sums.queue),
            ms(sums.run),
            workers.join(" ")
        );
        if sums.tasks > 1 {
            let _ = write!(text, ", tasks;desc=\"{}\"", sums.tasks);
        }
        if sums.batch > 1 {
            let _ = write!(text, ", batch;desc=\"{}\"", sums.batch);
        }
        HeaderValue::try_from(text).ok()
    }
}

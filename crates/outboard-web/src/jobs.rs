//! Jobs: tasks that go on when their browser has left, and that it asks about later.

mod events;
mod id;
mod table;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use outboard::{
    Client, Error, Report, Status, StreamFunction, TaskFunction, TaskProgress, TaskStream,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tower_service::Service;

use crate::answer::{Body, answer, not_here};
use crate::compute::Compute;
use crate::problem::{Exposure, Problem};
use id::{Id, Names};
use table::{Job, Limits, Moment, NoPlace, NoRoom, Outcome, Table};

const JSON: &str = "application/json";

/// When to come back if there is no place for a job, in seconds.
const RETRY_AFTER: u64 = 5;

/// Tasks that go on when their browser has left: it starts one, asks about it, and stops it.
///
/// [`submit`](Self::submit) and [`stream`](Self::stream) answer `202 Accepted`, and `Location` says
/// where the job is. Jobs are a service of tower's for the paths below, under the one that
/// [`at`](Self::at) is given. In axum `router` makes routes of it, to nest there.
///
/// | request | answer |
/// |---|---|
/// | `GET /{id}` | the job as JSON, see below |
/// | `GET /{id}/events` | its items, progress and end as server-sent events, see below |
/// | `DELETE /{id}` | 204; the job is cancelled, and a worker process that runs it is killed |
///
/// A job that was dropped is 410, and one that never was, or is another tenant's, 404. An id has
/// 128 random bits.
///
/// # A job as JSON
///
/// `state` is `queued`, `running`, `done`, `failed` or `cancelled`. There are `items`, which counts
/// them, and `progress`, where the task [says it](outboard::progress). Times are
/// `submitted_at_ms` and `ended_at_ms`, in milliseconds since 1970; a job that is done has
/// `queue_ms` and `run_ms` too. `output` is what the task function returned. `problem` has the
/// problem details of one that failed or was cancelled.
///
/// # Events
///
/// An item is an event without a name, whose data is JSON and whose id counts from 0. A browser
/// that connects again says the last id that it has seen, and goes on after it. There are these
/// events besides:
///
/// - `progress`: the progress, whenever it changes.
/// - `dropped`: so many `items` are not kept any more.
/// - `output` or `problem`: the end. Whoever connects after it gets 204, so `EventSource` stops
///   by itself.
///
/// # Tenants
///
/// A job belongs to the [tenant](Client::tenant) of the client that it was submitted with. A
/// request has the tenant that the layer [`Offload`](crate::Offload) finds, so the same layer goes
/// around the handlers that submit and around this service.
///
/// # Bounds
///
/// By default 1,000 jobs and 64 MiB are kept, 1 MiB of items of each, and a job for an hour after
/// its end. When there are more, jobs are dropped that have ended: the oldest of the tenant that
/// holds most. If none has ended, a submit is refused with 503. A slow reader delays no job.
///
/// # The end of the server
///
/// Jobs end with their client. `outboard_axum::serve` lets them finish within its grace, then cuts
/// them. The next process knows nothing of them, and answers 404. What must survive a restart
/// belongs into a queue on disk, whose handler submits a task.
///
/// # Panics
///
/// `submit` and `stream` panic outside a tokio runtime, and if the system has no random numbers.
///
/// # Examples
///
/// ```
/// use http::Response;
/// use outboard_web::{Body, Compute, Jobs};
///
/// #[outboard::task]
/// fn report(pages: u64) -> u64 {
///     (1..=pages).inspect(|page| outboard::progress(*page, pages, "rendering")).sum()
/// }
///
/// fn start(jobs: &Jobs, compute: &Compute) -> Response<Body> {
///     jobs.submit(compute, report, 100)
/// }
///
/// let jobs = Jobs::at("/jobs");
/// ```
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    /// Without a slash at its end.
    path: String,
    names: Names,
    exposure: Exposure,
    table: Mutex<Table<Handle>>,
}

/// What holds the task of a job.
#[derive(Debug)]
struct Handle {
    progress: TaskProgress,
    /// Dropping what it aborts cancels the task.
    driver: OnceLock<AbortHandle>,
    /// Says that something has changed.
    news: watch::Sender<()>,
}

impl Jobs {
    /// Jobs that browsers find below a path, such as `/jobs`.
    pub fn at(path: &str) -> Self {
        Self(Arc::new(Shared {
            path: path.trim_end_matches('/').to_owned(),
            names: Names::default(),
            exposure: Exposure::default(),
            table: Mutex::new(Table::new(Limits {
                jobs: 1000,
                tenant_jobs: usize::MAX,
                bytes: 64 << 20,
                replay_bytes: 1 << 20,
                age: Duration::from_secs(3600),
            })),
        }))
    }

    /// Sets how many jobs are kept; by default 1,000.
    pub fn max_jobs(self, jobs: usize) -> Self {
        self.limit(|limits| limits.jobs = jobs)
    }

    /// Sets how many jobs of one tenant may not have ended; by default as many as are kept. A
    /// further one is refused with 429.
    pub fn tenant_jobs(self, jobs: usize) -> Self {
        self.limit(|limits| limits.tenant_jobs = jobs)
    }

    /// Sets how many bytes of outputs and items, as JSON, are kept; by default 64 MiB. Each job
    /// counts at least 1 KiB. A job whose output alone is more has failed.
    pub fn max_bytes(self, bytes: usize) -> Self {
        self.limit(|limits| limits.bytes = bytes)
    }

    /// Sets how many bytes of its last items are kept of each job; by default 1 MiB.
    pub fn replay_bytes(self, bytes: usize) -> Self {
        self.limit(|limits| limits.replay_bytes = bytes)
    }

    /// Sets how long a job is kept after its end; by default an hour.
    pub fn keep(self, age: Duration) -> Self {
        self.limit(|limits| limits.age = age)
    }

    /// Sets how much of an error browsers are told; by default only its kind.
    ///
    /// # Panics
    ///
    /// If there are clones of these jobs.
    pub fn exposure(mut self, exposure: Exposure) -> Self {
        Arc::get_mut(&mut self.0).expect("jobs are set up before they are cloned").exposure =
            exposure;
        self
    }

    fn limit(self, set: impl FnOnce(&mut Limits)) -> Self {
        set(self.0.table().limits());
        self
    }

    /// Submits a task as [`Client::submit`] does, and answers 202 with the job as JSON.
    ///
    /// A task that is refused at once is a [`Problem`], such as 503 with `Retry-After`.
    pub fn submit<F: TaskFunction<M>, M>(
        &self,
        client: &Client,
        f: F,
        args: F::Args,
    ) -> Response<Body>
    where
        F::Output: Serialize,
    {
        self.accept(client, || {
            let mut future = client.submit(f, args);
            if future.id().is_none()
                && let Some(Err(error)) = (&mut future).now_or_never()
            {
                return Err(error);
            }
            let progress = future.progress();
            let drive =
                |driver: Driver| async move { driver.end(future.with_report().await).await };
            Ok((progress, drive))
        })
    }

    /// Submits a task as [`Client::stream`] does, and answers 202 with the job as JSON.
    ///
    /// Its items are taken as they come, whether somebody reads them or not.
    ///
    /// A task that is refused at once is a [`Problem`], such as 503 with `Retry-After`.
    pub fn stream<F: StreamFunction<M>, M>(
        &self,
        client: &Client,
        f: F,
        args: F::Args,
    ) -> Response<Body>
    where
        F::Item: Serialize,
        F::Output: Serialize,
    {
        self.accept(client, || {
            let mut stream = client.stream(f, args);
            if stream.id().is_none()
                && let Some(Some(Err(error))) = stream.next().now_or_never()
            {
                return Err(error);
            }
            Ok((stream.progress(), |driver: Driver| driver.carry(stream)))
        })
    }

    /// Keeps the job of a task that is submitted under the lock, so that its place is not lost.
    fn accept<D, Driving>(
        &self,
        client: &Client,
        submit: impl FnOnce() -> Result<(TaskProgress, D), Error>,
    ) -> Response<Body>
    where
        D: FnOnce(Driver) -> Driving,
        Driving: Future<Output = ()> + Send + 'static,
    {
        let (tenant, now) = (client.tenant_name(), Moment::now());
        let mut table = self.0.table();
        if let Err(full) = table.admit(tenant, now.instant) {
            return refusal(full);
        }
        let (progress, drive) = match submit() {
            Ok(submitted) => submitted,
            Err(error) => return Problem::from(error).into_http::<String>().map(whole),
        };
        let id = Id::random();
        let handle = Handle { progress, driver: OnceLock::new(), news: watch::Sender::new(()) };
        table.insert(id, tenant.map(Arc::from), now, handle);
        drop(table);
        // Without the lock: a runtime that ends drops the driver at once, which takes it. It is
        // not aborted when its handle is dropped: it ends with its task.
        let driver = tokio::spawn(drive(Driver { shared: self.0.clone(), id })).abort_handle();
        if let Some(job) = self.0.table().get(id, now.instant) {
            // Nobody else sets it.
            let _ = job.handle.driver.set(driver);
        }
        self.0.accepted(id, tenant)
    }

    /// Answers a request for a job.
    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let path = request.uri().path();
        let path = path.strip_prefix(&self.0.path).unwrap_or(path).trim_start_matches('/');
        let (name, events) = match path.split_once('/') {
            None => (path, false),
            Some((name, "events")) => (name, true),
            Some(_) => return not_here(),
        };
        let compute = request.extensions().get::<Compute>();
        let tenant = compute.and_then(|compute| compute.tenant_name());
        let Some(id) = self.0.names.read(name, tenant) else {
            tracing::debug!(?tenant, layer = compute.is_some(), "no such job of this tenant");
            return problem(StatusCode::NOT_FOUND, "There is no such job.");
        };
        let answer = match (request.method(), events) {
            (&Method::GET | &Method::HEAD, false) => self.0.look(id, name),
            (&Method::GET | &Method::HEAD, true) => {
                events::answer_for(&self.0, id, request.headers())
            }
            (&Method::DELETE, false) => self.0.cancel(id),
            _ => Some(not_allowed(if events { "GET,HEAD" } else { "GET,HEAD,DELETE" })),
        };
        let gone = "This job is not kept any more.";
        answer.unwrap_or_else(|| problem(StatusCode::GONE, gone))
    }
}

impl<B> Service<Request<B>> for Jobs {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table<Handle>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepted(&self, id: Id, tenant: Option<&str>) -> Response<Body> {
        let name = self.names.name(id, tenant);
        // It may have been dropped already, with bounds of next to nothing.
        let mut response = self.look(id, &name).unwrap_or_else(|| answer(StatusCode::OK, JSON, ""));
        *response.status_mut() = StatusCode::ACCEPTED;
        match HeaderValue::try_from(format!("{}/{name}", self.path)) {
            Ok(location) => drop(response.headers_mut().insert(header::LOCATION, location)),
            Err(error) => {
                tracing::error!(%error, path = self.path, "jobs have a path that is none")
            }
        }
        response
    }

    /// A job as JSON; `None` if it was dropped.
    fn look(&self, id: Id, name: &str) -> Option<Response<Body>> {
        let (mut view, last) = {
            let table = self.table();
            let job = table.get(id, Instant::now())?;
            (view(job), last(job))
        };
        view["id"] = json!(name);
        let mut text = view.to_string().into_bytes();
        if let Some((field, value)) = last {
            // It may be large, and is JSON already.
            text.pop();
            text.extend_from_slice(format!(",\"{field}\":").as_bytes());
            text.extend_from_slice(&value);
            text.push(b'}');
        }
        Some(answer(StatusCode::OK, JSON, text))
    }

    /// Stops a job that has not ended; `None` if it was dropped.
    fn cancel(&self, id: Id) -> Option<Response<Body>> {
        let mut table = self.table();
        let driver = table.get(id, Instant::now())?.handle.driver.get().cloned();
        let details = details(
            StatusCode::SERVICE_UNAVAILABLE,
            "The request was cancelled.",
            Some(outboard::ErrorKind::Cancelled.as_str()),
        );
        self.end(&mut table, id, Outcome::Cancelled(details));
        drop(table);
        // Nobody knows the id before it is set.
        if let Some(driver) = driver {
            driver.abort();
        }
        Some(answer(StatusCode::NO_CONTENT, JSON, ""))
    }

    /// Ends a job, unless it has ended before.
    fn end(&self, table: &mut Table<Handle>, id: Id, outcome: Outcome) {
        let now = Moment::now();
        let ended = match table.end(id, now, outcome) {
            Err(NoRoom) => {
                tracing::error!("the output of a job is larger than `max_bytes` of the jobs");
                let (status, sentence) =
                    (StatusCode::INTERNAL_SERVER_ERROR, "The result is too large.");
                let kind = outboard::ErrorKind::TooLarge.as_str();
                let failed = Outcome::Failed(details(status, sentence, Some(kind)));
                table.end(id, now, failed)
            }
            ended => ended,
        };
        if let Ok(Some(job)) = ended {
            job.handle.news.send_replace(());
        }
    }

    /// How a job ended that had an error.
    fn failure(&self, error: Error) -> Outcome {
        let cancelled = error.is_cancelled();
        let problem = Problem::from(error);
        problem.log();
        let details = problem.response::<String>(self.exposure).into_body().into();
        if cancelled { Outcome::Cancelled(details) } else { Outcome::Failed(details) }
    }
}

/// Takes what a job's task gives.
struct Driver {
    shared: Arc<Shared>,
    id: Id,
}

impl Driver {
    async fn carry<T, R>(self, mut stream: TaskStream<T, R>)
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
    {
        while let Some(item) = stream.next().await {
            match item.map(|item| serde_json::to_vec(&item)) {
                Ok(Ok(item)) => {
                    let mut table = self.shared.table();
                    let Some(job) = table.push(self.id, item.into()) else { return };
                    job.handle.news.send_replace(());
                }
                Ok(Err(error)) => return self.settle(not_json(&error)),
                Err(error) => return self.settle(self.shared.failure(error)),
            }
        }
        self.end(stream.with_report().await).await;
    }

    async fn end<R>(self, result: Result<(R, Report), Error>)
    where
        R: Serialize + Send + 'static,
    {
        let outcome = match result {
            Ok((output, report)) => match write(output).await {
                Ok(output) => {
                    Outcome::Done { output, queue: report.queue_time, run: report.run_time }
                }
                Err(error) => not_json(&error),
            },
            Err(error) => self.shared.failure(error),
        };
        self.settle(outcome);
    }

    fn settle(&self, outcome: Outcome) {
        self.shared.end(&mut self.shared.table(), self.id, outcome);
    }
}

impl Drop for Driver {
    /// A job ends with what takes its output: where that panics, and where the runtime ends.
    fn drop(&mut self) {
        let sentence = "The request could not be processed.";
        let details = details(StatusCode::INTERNAL_SERVER_ERROR, sentence, None);
        self.settle(Outcome::Failed(details));
    }
}

/// An output as JSON, which is written where a large one holds up nobody.
async fn write<R: Serialize + Send + 'static>(output: R) -> Result<Bytes, serde_json::Error> {
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&output)).await;
    match written {
        Ok(written) => written.map(Bytes::from),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}

fn not_json(error: &serde_json::Error) -> Outcome {
    tracing::error!(%error, "a part of a job could not be written as JSON");
    let sentence = "The request could not be processed.";
    Outcome::Failed(details(StatusCode::INTERNAL_SERVER_ERROR, sentence, None))
}

/// What is known of a job, but for its output.
fn view(job: &Job<Handle>) -> Value {
    let mut view = json!({
        "state": state(job),
        "items": job.sent(),
        "submitted_at_ms": job.submitted.unix_ms,
    });
    if let Some(progress) = job.handle.progress.now().filter(|_| job.end.is_none()) {
        view["progress"] = events::progress(&progress);
    }
    if let Some((at, outcome)) = &job.end {
        view["ended_at_ms"] = json!(at.unix_ms);
        if let Outcome::Done { queue, run, .. } = outcome {
            view["queue_ms"] = json!(queue.as_millis() as u64);
            view["run_ms"] = json!(run.as_millis() as u64);
        }
    }
    view
}

fn state(job: &Job<Handle>) -> &'static str {
    match &job.end {
        None if job.handle.progress.status() == Status::Queued => "queued",
        // One that has ended is here soon.
        None => "running",
        Some((_, Outcome::Done { .. })) => "done",
        Some((_, Outcome::Failed(_))) => "failed",
        Some((_, Outcome::Cancelled(_))) => "cancelled",
    }
}

/// What a job ended with: how it is called, and its JSON.
fn last(job: &Job<Handle>) -> Option<(&'static str, Bytes)> {
    match &job.end.as_ref()?.1 {
        Outcome::Done { output, .. } => Some(("output", output.clone())),
        Outcome::Failed(details) | Outcome::Cancelled(details) => {
            Some(("problem", details.clone()))
        }
    }
}

fn refusal(full: NoPlace) -> Response<Body> {
    let (status, sentence) = match full {
        NoPlace::AtAll => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The server has as many jobs as it may have. Try again later.",
        ),
        NoPlace::OfTenant => (
            StatusCode::TOO_MANY_REQUESTS,
            "You have as many jobs as you may have. Try again later.",
        ),
    };
    let mut response = problem(status, sentence);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    response
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, JSON, "");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

fn problem(status: StatusCode, sentence: &str) -> Response<Body> {
    answer(status, "application/problem+json", details(status, sentence, None))
}

/// Problem details as text.
fn details(status: StatusCode, sentence: &str, kind: Option<&str>) -> Bytes {
    let title = status.canonical_reason().unwrap_or_default();
    let mut details = json!({ "title": title, "status": status.as_u16(), "detail": sentence });
    if let Some(kind) = kind {
        details["kind"] = json!(kind);
    }
    details.to_string().into()
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).boxed_unsync()
}

impl Moment {
    fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_ms: unix.as_millis() as u64 }
    }
}

//! Probes for an orchestrator: does the process live, should it get requests.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use outboard::Client;
use outboard::admin::Snapshot;
use serde_json::json;
use tower_service::Service;

use crate::answer::{Body, answer, not_here, only_get};
use crate::ending::Ending;

/// The probes `/healthz` and `/readyz`.
///
/// `/healthz` answers 200 as long as the event loop does, however busy the workers are: a
/// server under load must not be restarted for that.
///
/// `/readyz` answers 503 before submits are refused, so that a load balancer uses another
/// server first. It does so in these cases:
///
/// - No worker is up, or none of one [pool](outboard::LocalBuilder::pool). A pool that is
///   [elastic](outboard::LocalBuilder::workers) down to none is ready without a worker: the next
///   task starts one.
/// - The client was drained or shut down.
/// - The server was told to end: the request has an [`Ending`] that is so.
/// - Three quarters of the queue are full.
/// - A task would wait too long for its start.
///
/// It is a service of tower's for these two paths, and 404 for others. In axum `router` makes
/// routes of it, with the feature `axum`, which `outboard-axum` has. Where a framework serves no
/// services, its handler asks [`check`](Self::check).
///
/// # Examples
///
/// Beside any other service:
///
/// ```
/// use http::{Request, Response};
/// use outboard_web::{Body, Health};
/// use tower_service::Service;
///
/// async fn serve<B>(mut health: Health, request: Request<B>) -> Response<Body> {
///     match request.uri().path() {
///         "/healthz" | "/readyz" => match health.call(request).await {
///             Ok(response) => response,
///             Err(never) => match never {},
///         },
///         _ => Response::default(), // the application
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Health {
    client: Client,
    max_wait: Duration,
    max_fill: f64,
}

impl Health {
    /// Probes that are ready while a task would start within ten seconds and a quarter of the
    /// queue is free.
    pub fn new(client: Client) -> Self {
        Self { client, max_wait: Duration::from_secs(10), max_fill: 0.75 }
    }

    /// Sets the predicted wait above which the server is not ready; by default ten seconds.
    ///
    /// Set it below [`LocalBuilder::max_wait`](outboard::LocalBuilder::max_wait).
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Sets which part of the queue may be full, from 0 to 1; by default 0.75.
    pub fn max_fill(mut self, part: f64) -> Self {
        self.max_fill = part;
        self
    }

    /// Whether more requests should come, or why not.
    ///
    /// # Errors
    ///
    /// The reason, as `/readyz` gives it.
    pub fn check(&self) -> Result<(), &'static str> {
        self.objection(&self.client.admin().snapshot()).map_or(Ok(()), Err)
    }

    /// Why no more requests should come, if so: for the worst of the pools.
    fn objection(&self, now: &Snapshot) -> Option<&'static str> {
        match &now.per_pool[..] {
            [] => self.objection_of(now),
            pools => pools.iter().find_map(|pool| self.objection_of(&pool.snapshot)),
        }
    }

    fn objection_of(&self, now: &Snapshot) -> Option<&'static str> {
        let up = now.per_worker.iter().any(|worker| !worker.standby);
        if !now.open {
            Some("no tasks are accepted")
        } else if !up && now.least_workers > 0 {
            Some("no worker is up")
        } else if now.queued as f64 > self.max_fill * now.queue_limit as f64 {
            Some("the queue is nearly full")
        } else if up && now.predicted_wait > self.max_wait {
            Some("a task would wait too long")
        } else {
            None
        }
    }
}

impl<B> Service<Request<B>> for Health {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(only_get(request.method(), || match request.uri().path() {
            "/healthz" => answer(StatusCode::OK, "text/plain; charset=utf-8", "ok\n"),
            "/readyz" => self.readyz(Ending::is_told_by(request.extensions())),
            _ => not_here(),
        })))
    }
}

impl Health {
    fn readyz(&self, ending: bool) -> Response<Body> {
        let ready = if ending { Err("the server is ending") } else { self.check() };
        let status = match ready {
            Ok(()) => StatusCode::OK,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = json!({ "ready": ready.is_ok(), "reason": ready.err() });
        answer(status, "application/json", body.to_string())
    }
}

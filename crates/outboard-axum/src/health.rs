//! Probes for an orchestrator: does the process live, should it get requests.

use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use outboard::Client;
use outboard::admin::Snapshot;
use serde_json::json;

use crate::serve::Draining;

/// The probes `/healthz` and `/readyz`.
///
/// `/healthz` answers 200 as long as the event loop does, however busy the workers are: a
/// server under load must not be restarted for that.
///
/// `/readyz` answers 503 before submits are refused, so that a load balancer uses another
/// server first. It does so in these cases:
///
/// - No worker is up, or none of one [pool](outboard::LocalBuilder::pool).
/// - The client was drained or shut down.
/// - [`serve`](fn@crate::serve) was told to end.
/// - Three quarters of the queue are full.
/// - A task would wait too long for its start.
///
/// # Examples
///
/// ```
/// # fn example(client: outboard::Client, app: axum::Router) -> axum::Router {
/// use std::time::Duration;
/// use outboard_axum::Health;
///
/// app.merge(Health::new(client).max_wait(Duration::from_secs(2)).router())
/// # }
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

    /// Returns the routes `/healthz` and `/readyz`, to merge into an application.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(self)
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
        } else if !up {
            Some("no worker is up")
        } else if now.queued as f64 > self.max_fill * now.queue_limit as f64 {
            Some("the queue is nearly full")
        } else if now.predicted_wait > self.max_wait {
            Some("a task would wait too long")
        } else {
            None
        }
    }
}

async fn healthz() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

async fn readyz(State(health): State<Health>, ending: Option<Extension<Draining>>) -> Response {
    let ending = ending.is_some_and(|Extension(draining)| draining.is_set());
    let objection = match ending {
        true => Some("the server is ending"),
        false => health.objection(&health.client.admin().snapshot()),
    };
    let status = match objection {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({ "ready": objection.is_none(), "reason": objection });
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, "application/json")];
    (status, headers, body.to_string()).into_response()
}

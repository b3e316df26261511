//! The server "after": it submits the computation and awaits the result. A
//! browser that leaves drops the handler, and with it the task, but where the
//! number is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use outboard::Client;
use outboard_axum::{
    Compute, Exposure, FinishOnDisconnect, Health, Offload, Problem, Status, body, metrics, tenant,
};

use super::harm;
use super::pages::{self, Refusal};
use crate::tasks;

/// The header by which a visitor says who it is; without it, its address does.
/// Anybody may: this server listens on loopback only.
pub(crate) const TENANT_HEADER: &str = "x-tenant";

/// The header by which a visitor asks for less time, in milliseconds.
const TIMEOUT_HEADER: &str = "x-timeout-ms";

/// The pages of `after`, with `more` that compute; `timeout` bounds each
/// computation.
pub(super) fn router(client: &Client, timeout: Duration, more: Router) -> Router {
    let offload = Offload::new(client.clone())
        .tenant(tenant::header(TENANT_HEADER))
        .tenant(tenant::peer)
        .timeout(timeout)
        .timeout_header(TIMEOUT_HEADER)
        // Whoever asks is whoever runs this demo.
        .exposure(Exposure::Full);
    let computing = Router::new()
        .route("/kept/fib/{n}", get(kept_fib))
        .route_layer(FinishOnDisconnect)
        .route("/kept", get(kept))
        .with_state(Kept::default())
        .route("/fib/{n}", get(fib))
        .route("/coalesced/fib/{n}", get(coalesced_fib))
        .route("/lines/{n}", get(lines))
        .merge(more)
        .route_layer(offload)
        .merge(Health::new(client.clone()).router())
        .merge(metrics(client.clone()))
        // Whoever can connect is whoever runs this demo.
        .nest("/status", Status::new(client.clone()).controls(true).router());
    pages::around(computing)
}

/// Its index where it has no better one.
pub(super) fn index() -> Router {
    pages::index("after", DOES)
}

/// The pages that do harm, to a worker.
pub(crate) fn harmful() -> Router {
    let pages = Router::new().route("/crash", post(crash)).route("/hoard", post(hoard));
    harm::guarded(pages.route("/broken/lines/{n}", get(broken_lines)))
}

async fn crash(compute: Compute) -> Result<(), Problem> {
    Ok(compute.submit(harm::crash, harm::next()).await?)
}

async fn broken_lines(compute: Compute, N(n): N) -> Response {
    body(compute.stream(harm::broken_lines, (n, harm::next())))
}

async fn hoard(compute: Compute) -> Result<String, Problem> {
    Ok(compute.submit(harm::hoard, harm::next()).await?.to_string())
}

const DOES: &str = "submits the computation to a worker and awaits the result. It stops when you \
leave, but not /kept/fib/42, which goes on, and is listed in /kept";

async fn fib(compute: Compute, N(n): N) -> Result<String, Problem> {
    Ok(compute.submit(tasks::fib, n).await?.to_string())
}

/// Identical requests at the same time are computed once.
async fn coalesced_fib(compute: Compute, N(n): N) -> Result<String, Problem> {
    Ok(compute.submit(tasks::coalesced_fib, n).await?.to_string())
}

/// Lines go out as they are computed. A browser that leaves in their middle stops the task.
async fn lines(compute: Compute, N(n): N) -> Response {
    body(compute.stream(tasks::fib_lines, n))
}

/// Goes on when its browser has left, and keeps the number for the next one.
async fn kept_fib(State(kept): State<Kept>, compute: Compute, N(n): N) -> Result<String, Problem> {
    if let Some(fib) = kept.get(n) {
        return Ok(fib.to_string());
    }
    let fib = compute.submit(tasks::fib, n).await?;
    kept.put(n, fib);
    Ok(fib.to_string())
}

/// All numbers kept, one on a line.
async fn kept(State(kept): State<Kept>) -> String {
    let lines = kept.all().into_iter().map(|(n, fib)| format!("fib({n}) = {fib}\n"));
    lines.collect()
}

/// The numbers computed for `/kept`: no more than there are n.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Kept {
    fn get(&self, n: u64) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&n).copied()
    }

    fn put(&self, n: u64, fib: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(n, fib);
    }

    fn all(&self) -> BTreeMap<u64, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The n of a page, or a sentence on what is wrong with it.
struct N(u64);

impl<S: Send + Sync> FromRequestParts<S> for N {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|error| Refusal::new(error.status(), error.body_text()))?;
        pages::any_n(&text).map(Self)
    }
}

//! The server "after": it submits the computation and awaits the result. A
//! browser that leaves drops the handler, and with it the task.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use outboard::{Client, ErrorKind};

use super::pages::{self, Refusal};
use crate::tasks;

/// The pages of `after`; the client's timeout bounds each computation.
pub(super) fn router(client: Client) -> Router {
    let fib = Router::new()
        .route("/fib/{n}", get(fib))
        .route("/coalesced/fib/{n}", get(coalesced_fib))
        .with_state(client);
    pages::around("after", "submits the computation to a worker and awaits the result", fib)
}

async fn fib(State(client): State<Client>, Path(n): Path<String>) -> Result<String, Refusal> {
    let n = pages::any_n(&n)?;
    Ok(client.submit(tasks::fib, n).await?.to_string())
}

/// Identical requests at the same time are computed once.
async fn coalesced_fib(
    State(client): State<Client>,
    Path(n): Path<String>,
) -> Result<String, Refusal> {
    let n = pages::any_n(&n)?;
    Ok(client.submit(tasks::coalesced_fib, n).await?.to_string())
}

impl From<outboard::Error> for Refusal {
    fn from(error: outboard::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Overloaded
            | ErrorKind::Unavailable
            | ErrorKind::Closed
            | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut refusal = Self::new(status, format!("no result: {error}"));
        // The header has whole seconds; too late is better than refused again.
        let retry_after = error.retry_after();
        refusal.retry_after_seconds = retry_after.map(|wait| wait.as_secs_f64().ceil() as u64);
        refusal
    }
}

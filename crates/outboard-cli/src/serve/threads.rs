//! The server "threads": it computes on tokio's `spawn_blocking` threads, as a
//! Rust user would try first. A computation there cannot be stopped.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;

use super::pages::{self, Refusal};
use crate::tasks;

/// The pages of `threads`.
pub(super) fn router() -> Router {
    let fib = Router::new().route("/fib/{n}", get(fib));
    pages::around("threads", "computes on spawn_blocking threads", fib)
}

async fn fib(Path(n): Path<String>) -> Result<String, Refusal> {
    let n = pages::quick_n(&n)?;
    match tokio::task::spawn_blocking(move || tasks::fib(n)).await {
        Ok(fib) => Ok(fib.to_string()),
        Err(error) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

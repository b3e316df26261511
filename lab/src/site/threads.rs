//! The server "threads": it computes on tokio's `spawn_blocking` threads, as a
//! Rust user would try first. A computation there cannot be stopped.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures_util::stream;

use super::harm;
use super::pages::{self, Refusal};
use crate::tasks;
use tokio::sync::mpsc;
use tokio::task::JoinError;

/// The pages of `threads`.
pub(super) fn router() -> Router {
    let index = pages::index("threads", "computes on spawn_blocking threads");
    let computing = Router::new().route("/fib/{n}", get(fib)).route("/lines/{n}", get(lines));
    pages::around(computing.merge(index))
}

/// Those that do it harm.
pub(super) fn harmful() -> Router {
    harm::guarded(Router::new().route("/crash", post(crash)).route("/hoard", post(hoard)))
}

async fn fib(Path(n): Path<String>) -> Result<String, Refusal> {
    let n = pages::quick_n(&n)?;
    match tokio::task::spawn_blocking(move || tasks::fib(n)).await {
        Ok(fib) => Ok(fib.to_string()),
        Err(error) => Err(failed(&error)),
    }
}

/// A thread computes line after line, while the connection keeps up.
async fn lines(Path(n): Path<String>) -> Result<Body, Refusal> {
    let n = pages::quick_n(&n)?;
    let (send, lines) = mpsc::channel(tasks::LINES);
    tokio::task::spawn_blocking(move || {
        tasks::fib_lines(n).try_for_each(|line| send.blocking_send(Ok::<_, Infallible>(line)))
    });
    let lines = stream::unfold(lines, |mut lines| async { Some((lines.recv().await?, lines)) });
    Ok(Body::from_stream(lines))
}

async fn crash() -> Result<(), Refusal> {
    let crashed = tokio::task::spawn_blocking(|| harm::crash(harm::next())).await;
    crashed.map_err(|error| failed(&error))
}

async fn hoard() -> Result<String, Refusal> {
    let hoarded = tokio::task::spawn_blocking(|| harm::hoard(harm::next())).await;
    hoarded.map(|bytes| bytes.to_string()).map_err(|error| failed(&error))
}

fn failed(error: &JoinError) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

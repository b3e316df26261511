//! The server "threads": it computes on tokio's `spawn_blocking` threads, as a
//! Rust user would try first. A computation there cannot be stopped.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use bytes::Bytes;
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
    let pages = Router::new().route("/crash", post(crash)).route("/hoard", post(hoard));
    harm::guarded(pages.route("/broken/lines/{n}", get(broken_lines)))
}

async fn fib(Path(n): Path<String>) -> Result<String, Refusal> {
    let n = pages::quick_n(&n)?;
    match tokio::task::spawn_blocking(move || tasks::fib(n)).await {
        Ok(fib) => Ok(fib.to_string()),
        Err(error) => Err(failed(&error)),
    }
}

async fn lines(Path(n): Path<String>) -> Result<Body, Refusal> {
    Ok(from_thread(tasks::fib_lines(pages::quick_n(&n)?)))
}

async fn broken_lines(Path(n): Path<String>) -> Result<Body, Refusal> {
    Ok(from_thread(harm::broken_lines(pages::quick_n(&n)?, harm::next())))
}

/// A thread computes line after line. It sees that the browser has left when it sends one.
fn from_thread(mut lines: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    let (send, sent) = mpsc::channel(tasks::LINES);
    tokio::task::spawn_blocking(move || {
        lines.try_for_each(|line| send.blocking_send(Ok::<_, Infallible>(line)))
    });
    let sent = stream::unfold(sent, |mut sent| async { Some((sent.recv().await?, sent)) });
    Body::from_stream(sent)
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

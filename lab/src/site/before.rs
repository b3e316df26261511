//! The server "before": it computes inside the handler. It runs on one
//! event-loop thread, so that nothing else happens meanwhile.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;

use super::harm;
use super::pages::{self, Refusal};
use crate::tasks;

/// The pages of `before`.
pub(super) fn router() -> Router {
    let fib = Router::new()
        .route("/fib/{n}", get(fib))
        .route("/lines/{n}", get(lines))
        .merge(pages::index("before", DOES));
    pages::around(fib)
}

async fn lines(Path(n): Path<String>) -> Result<Body, Refusal> {
    Ok(as_asked(tasks::fib_lines(pages::quick_n(&n)?)))
}

async fn broken_lines(Path(n): Path<String>) -> Result<Body, Refusal> {
    Ok(as_asked(harm::broken_lines(pages::quick_n(&n)?, harm::next())))
}

/// Each line is computed when the connection asks for it, on the event loop.
fn as_asked(lines: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::from_stream(stream::iter(lines.map(Ok::<_, Infallible>)))
}

/// Those that do it harm.
pub(super) fn harmful() -> Router {
    let pages = Router::new()
        .route("/crash", post(|| async { harm::crash(harm::next()) }))
        .route("/broken/lines/{n}", get(broken_lines))
        .route("/hoard", post(|| async { harm::hoard(harm::next()).to_string() }));
    harm::guarded(pages)
}

const DOES: &str = "computes in the handler, on its one event-loop thread";

async fn fib(Path(n): Path<String>) -> Result<String, Refusal> {
    let n = pages::quick_n(&n)?;
    Ok(tasks::fib(n).to_string())
}

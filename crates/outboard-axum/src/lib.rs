//! What an axum server needs around `client.submit`: errors as responses, tenants, probes,
//! metrics, a status page, a graceful end.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use axum::{Router, extract::Path, routing::get};
//! use outboard_axum::{Compute, Health, Offload, Problem, tenant};
//!
//! #[outboard::task]
//! fn fib(n: u64) -> u64 {
//!     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
//! }
//!
//! async fn page(compute: Compute, Path(n): Path<u64>) -> Result<String, Problem> {
//!     Ok(compute.submit(fib, n).await?.to_string())
//! }
//!
//! #[outboard::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = outboard::Client::from_env().await?;
//!     let offload = Offload::new(client.clone())
//!         .tenant(tenant::peer)
//!         .timeout(Duration::from_secs(30));
//!     let app = Router::new()
//!         .route("/fib/{n}", get(page))
//!         .layer(offload)
//!         .merge(Health::new(client.clone()).router());
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
//!     let cut = outboard_axum::serve(listener, app).client(client).await?;
//!     println!("{cut}");
//!     Ok(())
//! }
//! ```
//!
//! | you want | you use |
//! |---|---|
//! | errors as responses | [`Problem`]: 503 with `Retry-After`, 429, 504, 413, 500, as RFC 9457 says |
//! | tenant and timeout for each request | [`Offload`], a layer, with the rules in [`tenant`]; [`Compute`] in the handler |
//! | times in the browser's developer tools | [`Offload::server_timing`], on unless you say no; streams have it after their items |
//! | a task to stop when its browser leaves | [`serve`](fn@serve), or `axum::serve` with a listener that is [`watched`](fn@watched) |
//! | a handler to finish when its browser has left | [`FinishOnDisconnect`], a layer for such routes |
//! | items of a task as they come | [`sse`], [`ndjson`] and [`body`], of a `compute.stream(f, args)` |
//! | a task that reads the body while it arrives | [`outboard::Receiver`], of `body.into_data_stream()` |
//! | tasks that go on when their browser has left, and that it asks about later | [`Jobs`], to nest |
//! | probes of an orchestrator | [`Health`]: `/healthz` and `/readyz` |
//! | graphs and alerts | [`metrics`](fn@metrics): `/metrics` for Prometheus |
//! | to see live what it does | [`status`](fn@status), to nest; its JSON is a [`view`] |
//! | a graceful end | [`serve`](fn@serve) |
//!
//! What is not axum's own here comes from the crate `outboard-web`, for other frameworks.

mod serve;
mod streams;
pub mod tenant;
mod watched;

// What is the same in every framework.
#[doc(inline)]
pub use outboard_web::{
    Compute, Ending, Exposure, FinishOnDisconnect, FinishOnDisconnectService, Health, Jobs,
    Metrics, NoOffload, Offload, OffloadFuture, OffloadService, Problem, Status, Watched, view,
};
pub use serve::{Cut, Listen, Serve, Unwatched, serve};
pub use streams::{body, ndjson, sse};
pub use watched::{Peer, WatchedListener, watched};

/// Returns the route `/metrics` for Prometheus.
///
/// It is [`Metrics`] with its defaults. For several clients there is [`Metrics::of`].
///
/// # Examples
///
/// ```
/// # fn example(client: outboard::Client, app: axum::Router) -> axum::Router {
/// app.merge(outboard_axum::metrics(client))
/// # }
/// ```
pub fn metrics<S: Clone + Send + Sync + 'static>(client: outboard::Client) -> axum::Router<S> {
    Metrics::new(client).router()
}

/// Returns a read-only status page of a client, to nest into an application.
///
/// It is [`Status`] with its defaults. An application with several clients nests a page for
/// each.
///
/// # Examples
///
/// ```
/// # fn example(client: outboard::Client, app: axum::Router) -> axum::Router {
/// app.nest("/status", outboard_axum::status(client))
/// # }
/// ```
pub fn status<S: Clone + Send + Sync + 'static>(client: outboard::Client) -> axum::Router<S> {
    Status::new(client).router()
}

/// Chapters of the guide, whose examples have to compile.
#[cfg(doctest)]
mod guide {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/book/src/overload.md")]
    struct Overload;
    #[doc = include_str!("../../../docs/book/src/axum.md")]
    struct Axum;
    #[doc = include_str!("../../../docs/book/src/durable.md")]
    struct Durable;
    #[doc = include_str!("../../../docs/book/src/seeing.md")]
    struct Seeing;
    #[doc = include_str!("../../../docs/book/src/containers.md")]
    struct Containers;
    #[doc = include_str!("../../../docs/book/src/deploys.md")]
    struct Deploys;
}

//! Outboard in actix-web: handlers stop when their client leaves, and errors are responses.
//!
//! actix-web runs a handler to its end although its client is gone. [`server`] makes the same
//! `HttpServer` as `HttpServer::new`, and drops handlers and bodies of clients that left, which
//! stops their tasks:
//!
//! ```no_run
//! use actix_web::{App, web};
//! use outboard::Client;
//! use outboard_actix::Problem;
//!
//! #[outboard::task]
//! fn fib(n: u64) -> u64 {
//!     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
//! }
//!
//! async fn page(client: web::Data<Client>, n: web::Path<u64>) -> Result<String, Problem> {
//!     Ok(client.submit(fib, n.into_inner()).await?.to_string())
//! }
//!
//! #[outboard::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::from_env().await?;
//!     let data = web::Data::new(client.clone());
//!     let app = move || App::new().app_data(data.clone()).route("/fib/{n}", web::get().to(page));
//!     outboard_actix::server(app).bind("127.0.0.1:9000")?.run().await?;
//!     client.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! `run` ends in order on SIGTERM and SIGINT: it waits for requests as long as
//! `HttpServer::shutdown_timeout` says. Shut the client down after it, as above.
//!
//! A handler that must go on without its client spawns what it does:
//! `actix_web::rt::spawn(work).await`.
//!
//! Tenants, timeouts and `Server-Timing` come with the middleware [`offload`]: handlers below it
//! take [`Compute`].
//!
//! Probes, metrics and the status page are services of `outboard-web`: [`mount`] serves them.
//!
//! # Without this crate
//!
//! actix-web's own `HttpServer::h1_allow_half_closed(false)` has it drop the handler of an HTTP/1
//! client that closed its connection. It notices that only while it reads: a body that the
//! handler does not read can keep it from that.

mod mount;
mod offload;
mod problem;
mod server;

pub use mount::mount;
pub use offload::{Compute, NoOffload, Offloading, OffloadingService, offload};
#[doc(inline)]
pub use outboard_web::{Exposure, Offload, tenant};
pub use problem::Problem;
pub use server::{WatchedBody, Watching, WatchingService, server, watch};

//! A page that submits a task, against the same page that computes inline, and
//! on `spawn_blocking`: a real server in this process, its visitors in another.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use outboard::Client;
use tokio::runtime::Runtime;

use super::load::{Generator, Order, Outcome};
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{SLICE, Subject, take_turns};
use crate::tasks::fib;

/// How many visitors ask at the same time.
const CONNECTIONS: usize = 64;

/// What `/fast` answers.
const FAST: &str = "Hello, world";

/// A server with pages of every kind, and its client.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    address: SocketAddr,
}

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let site = Site::start()?;
    let load = std::cell::RefCell::new(Generator::start()?);
    let ask = |path: &'static str| {
        let order = site.order(path, "1", CONNECTIONS);
        let load = &load;
        Subject::new(move || {
            let Outcome { rate, p50, p99 } = load.borrow_mut().run(&order)?;
            Ok(vec![rate, p50, p99])
        })
    };
    let [ours, inline, threads] = take_turns(
        plan.time(),
        [ask("/offloaded/fib/1"), ask("/inline/fib/1"), ask("/threads/fib/1")],
    )?;
    site.stop();
    let rate = |name, reference, goal| {
        Row::new(name, Unit::PerSecond, ours.column(0), reference, Goal::AtLeast(goal))
    };
    let (inline_rate, threads_rate) = (inline.column(0), threads.column(0));
    let late = ("inline", inline.column(2));
    Ok(vec![
        rate("/fib/1, 64 connections, to inline", ("inline", inline_rate), 0.6),
        rate("/fib/1, 64 connections, to threads", ("spawn_blocking", threads_rate), 1.0),
        Row::new(
            "p99 of /fib/1, 64 connections",
            Unit::Seconds,
            ours.column(2),
            late,
            Goal::AtMost(3.0),
        )
        .beside("spawn_blocking", threads.column(2))
        .beside("p50", ours.column(1))
        .beside("p50 inline", inline.column(1)),
    ])
}

impl Site {
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let client = runtime.block_on(async { Client::local().await })?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let server = axum::serve(listener, router(client.clone()));
        runtime.spawn(server.into_future());
        Ok(Self { runtime, client, address })
    }

    /// As many requests of each connection as a slice has.
    pub(super) fn order(&self, path: &str, body: &str, connections: usize) -> Order {
        Order {
            address: self.address,
            path: path.to_owned(),
            body: body.to_owned(),
            connections,
            requests: SLICE,
        }
    }

    /// One visitor of the quick page.
    pub(super) fn fast(&self) -> Order {
        self.order("/fast", FAST, 1)
    }

    pub(super) fn stop(self) {
        self.runtime.block_on(self.client.shutdown());
        self.runtime.shutdown_background();
    }
}

fn router(client: Client) -> Router {
    let offloaded = async move |Path(n): Path<u64>| match client.submit(fib, n).await {
        Ok(fib) => Ok(fib.to_string()),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    };
    Router::new()
        .route("/fast", get(async || FAST))
        .route("/inline/fib/{n}", get(async |Path(n): Path<u64>| fib(n).to_string()))
        .route("/threads/fib/{n}", get(on_threads))
        .route("/offloaded/fib/{n}", get(offloaded))
}

async fn on_threads(Path(n): Path<u64>) -> Result<String, (StatusCode, String)> {
    match tokio::task::spawn_blocking(move || fib(n)).await {
        Ok(fib) => Ok(fib.to_string()),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

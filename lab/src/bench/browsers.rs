//! A text that is written for each of a hundred browsers at once, as a language model
//! writes: how late its tokens come, beside threads.
//!
//! A token is the time at which it was sent. The browsers are a process of their own, and
//! the clock is the system's, so a token's age is how late it is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use outboard::{Client, SendError, Sender};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::figure::{Figure, percentile};
use super::peer::{Peer, Role, hear, say};
use super::plan::Plan;
use super::row::{Goal, Row, Unit};

/// How many read at once, each a text of its own.
const BROWSERS: usize = 100;

/// The tokens of a text.
const TOKENS: u64 = 10_000;

/// The same in a brief run.
const FEW_TOKENS: u64 = 100;

/// From one token to the next: 20,000 a second for all browsers.
const PACE: Duration = Duration::from_millis(5);

/// How many tokens may wait for a browser, without worker processes.
const CHANNEL: usize = 8192;

/// What the browsers read, all at once.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    address: SocketAddr,
    path: String,
    tokens: u64,
}

/// How late their tokens were, in seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Late {
    p50: f64,
    p99: f64,
    most: f64,
}

#[outboard::task]
fn text(tokens: u64, out: Sender<u64>) -> Result<(), SendError> {
    write(tokens, |token| out.send(token))
}

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let tokens = if plan.quick { FEW_TOKENS } else { TOKENS };
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().workers(BROWSERS).await })?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(axum::serve(listener, router(client.clone(), tokens)).into_future());
    let mut browsers = Peer::start(Role::Browsers, 0)?;
    let mut read = |path: &str| {
        browsers.say(&Order { address, path: path.to_owned(), tokens })?;
        browsers.hear::<Result<Late, String>>()?.map_err(|error| anyhow!("{path}: {error}"))
    };
    let (ours, threads) = (read("/offloaded")?, read("/threads")?);
    runtime.block_on(client.shutdown());
    runtime.shutdown_background();
    let row = |name, of: fn(Late) -> f64, goal| {
        let reference = ("spawn_blocking", Figure::exactly(of(threads)));
        Row::new(name, Unit::Seconds, Figure::exactly(of(ours)), reference, Goal::AtMost(goal))
    };
    Ok(vec![
        row("p50 of a token's delay, 100 browsers", |late| late.p50, 1.5),
        row("p99 of a token's delay, 100 browsers", |late| late.p99, 1.5)
            .beside("the latest of all", Figure::exactly(ours.most))
            .beside("the latest by spawn_blocking", Figure::exactly(threads.most)),
    ])
}

fn router(client: Client, tokens: u64) -> Router {
    let offloaded = async move || outboard_axum::sse(client.stream(text, tokens));
    Router::new()
        .route("/offloaded", get(offloaded))
        .route("/threads", get(async move || on_a_thread(tokens)))
}

fn on_a_thread(tokens: u64) -> Response {
    let (sender, receiver) = mpsc::channel(CHANNEL);
    tokio::task::spawn_blocking(move || write(tokens, |token| sender.blocking_send(token)));
    let numbered = stream::unfold((receiver, 0), async |(mut receiver, number)| {
        let token: u64 = receiver.recv().await?;
        let event = Event::default().id(number.to_string()).data(token.to_string());
        Some((Ok::<_, Infallible>(event), (receiver, number + 1)))
    });
    Sse::new(numbered.boxed()).into_response()
}

/// Sends tokens, each when its time has come.
fn write<E>(tokens: u64, send: impl Fn(u64) -> Result<(), E>) -> Result<(), E> {
    let start = Instant::now();
    for token in 0..tokens {
        let due = start + PACE * token as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        send(now())?;
    }
    Ok(())
}

/// Nanoseconds of the clock that all processes of a machine share.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The process of the browsers.
pub(super) fn serve(mut socket: UnixStream) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while let Some(order) = hear::<Order>(&mut socket)? {
        let late = runtime.block_on(read_all(&order)).map_err(|error| format!("{error:#}"));
        say(&mut socket, &late)?;
    }
    Ok(())
}

async fn read_all(order: &Order) -> anyhow::Result<Late> {
    let mut readers = JoinSet::new();
    for _ in 0..BROWSERS {
        readers.spawn(read(order.address, order.path.clone(), order.tokens));
    }
    let mut late = Vec::new();
    while let Some(reader) = readers.join_next().await {
        late.extend(reader??);
    }
    let at = |share| percentile(&late, share);
    Ok(Late { p50: at(0.50), p99: at(0.99), most: at(1.0) })
}

/// How late each token of a text came, in seconds.
async fn read(address: SocketAddr, path: String, tokens: u64) -> anyhow::Result<Vec<f64>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut late = Vec::with_capacity(tokens as usize);
    let mut unread = Vec::new();
    while stream.read_buf(&mut unread).await? > 0 {
        let now = now();
        let whole = unread.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let ages = unread[..whole].split(|&byte| byte == b'\n').filter_map(token);
        late.extend(ages.map(|sent| now.saturating_sub(sent) as f64 / 1e9));
        unread.drain(..whole);
    }
    ensure!(late.len() as u64 == tokens, "{} of {tokens} tokens came", late.len());
    Ok(late)
}

/// The token of a line, if it has one.
fn token(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line.strip_prefix(b"data: ")?).ok()?.parse().ok()
}

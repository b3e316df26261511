//! Requests over kept connections, from a process that does nothing else: as
//! lean as can be, for whatever it takes is taken from the server.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::figure::percentile;
use super::peer::{Peer, Role, hear, say};

/// The most bytes of an answer.
const ANSWER_BYTES: usize = 4096;

/// What to ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) address: SocketAddr,
    pub(super) path: String,
    /// The right body.
    pub(super) body: String,
    pub(super) connections: usize,
    /// One after the other, on each connection.
    pub(super) requests: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Answers in a second, of all connections.
    pub(super) rate: f64,
    /// Of all requests, in seconds.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// The process, as its parent sees it.
#[derive(Debug)]
pub(super) struct Generator(Peer);

impl Generator {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self(Peer::start(Role::Load, 0)?))
    }

    pub(super) fn run(&mut self, order: &Order) -> anyhow::Result<Outcome> {
        self.0.say(order)?;
        self.0.hear::<Result<Outcome, String>>()?.map_err(|error| anyhow!("{error}"))
    }
}

/// The process of the load.
pub(super) fn serve(mut socket: UnixStream) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while let Some(order) = hear::<Order>(&mut socket)? {
        let outcome = runtime.block_on(carry_out(&order));
        say(&mut socket, &outcome.map_err(|error| format!("{}: {error:#}", order.path)))?;
    }
    Ok(())
}

async fn carry_out(order: &Order) -> anyhow::Result<Outcome> {
    let mut connections = Vec::new();
    for _ in 0..order.connections {
        let mut connection = Connection::open(order).await?;
        // The first request of a connection pays for what the server sets up.
        connection.exchange().await?;
        connections.push(connection);
    }
    let start = Instant::now();
    let mut tasks: JoinSet<_> =
        connections.into_iter().map(|connection| connection.repeat(order.requests)).collect();
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let rate = latencies.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Outcome { rate, p50: percentile(&latencies, 0.50), p99: percentile(&latencies, 0.99) })
}

/// One connection, kept open.
struct Connection {
    stream: TcpStream,
    request: String,
    body: String,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(order: &Order) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(order.address).await?;
        stream.set_nodelay(true)?;
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", order.path, order.address);
        let answer = Vec::with_capacity(ANSWER_BYTES);
        Ok(Self { stream, request, body: order.body.clone(), answer })
    }

    async fn repeat(mut self, requests: usize) -> anyhow::Result<Vec<f64>> {
        let mut latencies = Vec::with_capacity(requests);
        for _ in 0..requests {
            let start = Instant::now();
            self.exchange().await?;
            latencies.push(start.elapsed().as_secs_f64());
        }
        Ok(latencies)
    }

    async fn exchange(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(self.request.as_bytes()).await?;
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the server closed a connection");
            if let Some(body) = body(&self.answer)? {
                ensure!(body == self.body.as_bytes(), "a wrong body");
                return Ok(());
            }
        }
    }
}

/// The body of an answer; `None` if there is more to come.
fn body(answer: &[u8]) -> anyhow::Result<Option<&[u8]>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = response.parse(answer)? else { return Ok(None) };
    if response.code != Some(200) {
        bail!("http {}", response.code.unwrap_or_default());
    }
    let length =
        response.headers.iter().find(|one| one.name.eq_ignore_ascii_case("content-length"));
    let length = std::str::from_utf8(length.context("an answer without length")?.value)?;
    Ok(answer.get(start..start + length.parse::<usize>()?))
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for cut in 0..answer.len() {
            assert_eq!(body(&answer[..cut]).expect("so far it is well formed"), None);
        }
        assert_eq!(body(answer).expect("it is well formed"), Some(&b"hello"[..]));
        assert!(body(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}

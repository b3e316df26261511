//! What one who looks at the status page costs at most, with tasks that do nothing
//! and as many of them as go through: CPU time of the server for each task, and
//! tasks in a second, without a viewer and with one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use axum::Router;
use benches::{cpu_time, nothing};
use outboard::Client;
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    outboard::init();
    match std::env::args().nth(1).and_then(|address| address.parse().ok()) {
        Some(address) => look(address),
        None => measure(),
    }
}

/// A second process, so that what it costs a browser to read is not counted.
fn look(address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /status/events HTTP/1.1\r\nhost: a\r\n\r\n")?;
    let mut bytes = [0; 65_536];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}

#[tokio::main]
async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "local://?workers=1".to_owned());
    let rounds = args.next().map_or(Ok(21), |rounds| rounds.parse())?;
    let client = Client::connect(&url).await?;
    let app = Router::new().nest("/status", outboard_axum::status(client.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let before = round(&client).await?;
        let viewer = Viewer::start(&client, address).await?;
        let seen = round(&client).await?;
        viewer.leave(&client).await?;
        // Between two without, so that what drifts meets both alike.
        let after = round(&client).await?;
        pairs.push((seen, (mean(before.0, after.0), mean(before.1, after.1))));
    }
    server.abort();
    report("CPU time for a task", pairs.iter().map(|(seen, plain)| (seen.0, plain.0)).collect());
    report("time for a task", pairs.iter().map(|(seen, plain)| (seen.1, plain.1)).collect());
    Ok(())
}

fn mean(a: Duration, b: Duration) -> Duration {
    (a + b) / 2
}

fn report(what: &str, pairs: Vec<(Duration, Duration)>) {
    let ratio = |(seen, plain): &(Duration, Duration)| seen.as_secs_f64() / plain.as_secs_f64();
    let mut pairs = pairs;
    pairs.sort_unstable_by(|a, b| ratio(a).total_cmp(&ratio(b)));
    let (seen, plain) = pairs[pairs.len() / 2];
    let percent = (ratio(&pairs[pairs.len() / 2]) - 1.0) * 100.0;
    println!("{what}: {plain:?}, with a viewer {seen:?}: {percent:+.1} %");
}

struct Viewer(Child);

impl Viewer {
    async fn start(
        client: &Client,
        address: SocketAddr,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let child = Command::new(std::env::current_exe()?).arg(address.to_string()).spawn()?;
        while !is_watched(client).await? {}
        Ok(Self(child))
    }

    async fn leave(mut self, client: &Client) -> Result<(), Box<dyn std::error::Error>> {
        self.0.kill()?;
        self.0.wait()?;
        while is_watched(client).await? {}
        Ok(())
    }
}

/// Whether events are kept, which is so while somebody looks.
async fn is_watched(client: &Client) -> Result<bool, outboard::Error> {
    let future = client.submit(nothing, 1);
    let id = future.id();
    future.await?;
    Ok(id.is_some_and(|id| client.admin().story(id).is_some()))
}

/// The CPU time of this process for one of many tasks, once it is warm, and the
/// time that passed for each.
async fn round(client: &Client) -> Result<(Duration, Duration), outboard::Error> {
    const TASKS: u32 = 200_000;
    client.map(nothing, 0..u64::from(TASKS / 10)).gather().await?;
    let (before, start) = (cpu_time(), Instant::now());
    client.map(nothing, 0..u64::from(TASKS)).gather().await?;
    Ok(((cpu_time() - before) / TASKS, start.elapsed() / TASKS))
}

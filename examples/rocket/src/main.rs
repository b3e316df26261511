//! A server by Rocket: `cargo run -p by-rocket`. A browser that leaves stops its task.

use std::time::Duration;

use by_rocket::{Problem, serve};
use outboard::{Client, Sender};
use rocket::futures::{Stream, StreamExt, future};
use rocket::response::stream::TextStream;
use rocket::{State, get, routes};
use tokio::net::TcpListener;

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

#[outboard::task]
fn fibs(to: u64, out: Sender<u64>) {
    let _ = (1..=to).try_for_each(|n| out.send(fib(n)));
}

#[get("/fib/<n>")]
async fn page(client: &State<Client>, n: u64) -> Result<String, Problem> {
    Ok(client.submit(fib, n).await?.to_string())
}

/// As they come: `curl -N http://127.0.0.1:9000/fibs/45`. An error ends them.
#[get("/fibs/<to>")]
fn lines(client: &State<Client>, to: u64) -> TextStream<impl Stream<Item = String> + use<>> {
    let fibs = client.stream(fibs, to);
    TextStream(fibs.filter_map(|fib| future::ready(fib.ok().map(|fib| format!("{fib}\n")))))
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env().await?; // OUTBOARD_URL, or worker processes on this machine
    let app = rocket::build()
        .manage(client.timeout(Duration::from_secs(30)))
        .mount("/", routes![page, lines]);
    let listener = TcpListener::bind("127.0.0.1:9000").await?;
    let stopped = async { drop(tokio::signal::ctrl_c().await) };
    serve(app, listener, false, stopped).await?;
    client.shutdown().await;
    Ok(())
}

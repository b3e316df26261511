//! A small language model that writes text as a stream, and stops when its reader leaves.

mod model;

use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use axum::extract::Query;
use axum::response::{Html, Response};
use axum::{Router, routing::get};
use outboard::{Client, SendError, Sender};
use outboard_axum::{Compute, Offload, sse, status, tenant};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use model::{Malformed, Model};

static MODEL: OnceLock<Model> = OnceLock::new();

/// Runs in each worker before its first task.
#[outboard::on_start]
fn load() -> Result<(), Malformed> {
    let model = Model::read(include_bytes!("../model.bin"))?;
    MODEL.get_or_init(|| model);
    Ok(())
}

/// What the browser asks for.
#[derive(Serialize, Deserialize)]
struct Wish {
    prompt: String,
    temperature: f32,
    seed: u64,
    /// Tokens a second: a model of a thousand times the size is as slow. 0 is as fast as it goes.
    pace: u32,
}

/// Sends token by token. When nobody reads any more, the worker is killed, wherever it is.
#[outboard::task]
fn write(wish: Wish, out: Sender<String>) -> Result<usize, SendError> {
    const TOKENS: usize = 5000;
    let model = MODEL.get().expect("`load` runs before the first task");
    let temperature = wish.temperature.clamp(0.1, 2.0);
    for token in model.writer(&wish.prompt, temperature, wish.seed).take(TOKENS) {
        out.send(token.to_owned())?;
        sleep(Duration::from_secs(1).checked_div(wish.pace).unwrap_or_default());
    }
    Ok(TOKENS)
}

async fn answer(compute: Compute, Query(wish): Query<Wish>) -> Response {
    sse(compute.stream(write, wish))
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A writer needs a worker for as long as it writes: as many as may write at once.
    let client = Client::local().workers(4).memory_limit(256 << 20).await?;
    let offload = Offload::new(client.clone()).tenant(tenant::peer);
    let app = Router::new()
        .route("/", get(Html(include_str!("page.html"))))
        .route("/write", get(answer).layer(offload))
        .nest("/status", status(client.clone()));

    let port = std::env::args().nth(1).map_or(Ok(9000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    outboard_axum::serve(listener, app).client(client).await?;
    Ok(())
}

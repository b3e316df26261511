//! Digits that are drawn in the browser, recognized by a small network in worker processes.

mod network;

use std::error::Error;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use outboard::{Client, as_completed};
use outboard_axum::{Compute, Offload, Problem, status, tenant};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use network::{Network, PIXELS};

static NETWORK: OnceLock<Network> = OnceLock::new();

/// Runs in each worker before its first task.
#[outboard::on_start]
fn load() -> Result<(), Box<dyn Error>> {
    let network = Network::read(include_bytes!("../digits.onnx"))?;
    NETWORK.get_or_init(|| network);
    Ok(())
}

/// From the pixels of drawings to the chances of the ten digits. What several browsers have drawn
/// meanwhile is one call.
#[outboard::task(batch(max = 64))]
fn classify(drawings: Vec<Vec<f32>>) -> Result<Vec<Vec<f32>>, String> {
    let network = NETWORK.get().expect("`load` runs before the first task");
    network.chances(&drawings).map_err(|error| error.to_string())
}

/// The chances for one drawing.
async fn one(compute: Compute, Json(pixels): Json<Vec<f32>>) -> Result<Response, Problem> {
    // One that is no drawing would fail the others of its call.
    if pixels.len() != PIXELS {
        let detail = json!({ "detail": format!("a drawing has {PIXELS} pixels") });
        return Ok((StatusCode::BAD_REQUEST, Json(detail)).into_response());
    }
    Ok(match compute.batched(classify, pixels).await? {
        Ok(chances) => Json(chances).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}

/// How ten thousand visitors fared.
#[derive(Serialize)]
struct Crowd {
    done: usize,
    failed: usize,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// The same drawing from ten thousand visitors at once. They are one tenant, so that they slow
/// down nobody else. If the browser leaves, all tasks that have not ended are dropped.
async fn crowd(compute: Compute, Json(pixels): Json<Vec<f32>>) -> Json<Crowd> {
    const VISITORS: usize = 10_000;
    let began = Instant::now();
    let client = compute.tenant("crowd");
    let mut tasks = as_completed((0..VISITORS).map(|_| client.batched(classify, pixels.clone())));
    let mut waits = Vec::with_capacity(VISITORS);
    while let Some(result) = tasks.next().await {
        if let Ok(Ok(_)) = result {
            waits.push(began.elapsed());
        }
    }
    let percentile = |part: usize| waits.get(waits.len() * part / 100).copied();
    let ms = |part| percentile(part).unwrap_or(Duration::ZERO).as_secs_f64() * 1000.0;
    Json(Crowd {
        done: waits.len(),
        failed: VISITORS - waits.len(),
        seconds: began.elapsed().as_secs_f64(),
        p50_ms: ms(50),
        p99_ms: ms(99),
    })
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::local().memory_limit(256 << 20).await?;
    let offload =
        Offload::new(client.clone()).tenant(tenant::peer).timeout(Duration::from_secs(60));
    let page = include_str!("page.html").replace("NETWORK", "A network that tract runs, in Rust");
    let app = Router::new()
        .route("/classify", post(one))
        .route("/crowd", post(crowd))
        .layer(offload)
        .route("/", get(Html(page)))
        .nest("/status", status(client.clone()));

    let port = std::env::args().nth(1).map_or(Ok(9000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    outboard_axum::serve(listener, app).client(client).await?;
    Ok(())
}

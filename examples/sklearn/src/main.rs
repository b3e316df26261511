//! Digits that are drawn in the browser, recognized by scikit-learn in Python processes.

use std::error::Error;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use outboard::{Client, ErrorKind, Python, PythonFunction, as_completed, python};
use outboard_axum::{Compute, Offload, Problem, status, tenant};
use serde::Serialize;
use tokio::net::TcpListener;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

type Drawing = Vec<f32>;
type Chances = Vec<f64>;

/// `chances` in `models/digits.py`: several drawings in one call.
fn chances() -> PythonFunction<(Vec<Drawing>,), Vec<Chances>> {
    python("digits:chances")
}

/// The chances for one drawing. What several visitors have drawn meanwhile is one call.
async fn one(compute: Compute, Json(pixels): Json<Drawing>) -> Result<Json<Chances>, Problem> {
    Ok(Json(compute.batched(chances().batch(64, Duration::ZERO), pixels).await?))
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

/// The same drawing from ten thousand visitors at once, a hundred in a call. They are one tenant,
/// so that they slow down nobody else. If the browser leaves, the calls under way are killed.
async fn crowd(compute: Compute, Json(pixels): Json<Drawing>) -> Json<Crowd> {
    const CALLS: usize = 100;
    const DRAWINGS: usize = 100;
    let began = Instant::now();
    let client = compute.tenant("crowd");
    let call = |_| client.submit(chances(), vec![pixels.clone(); DRAWINGS]);
    let mut calls = as_completed((0..CALLS).map(call));
    let mut waits = Vec::with_capacity(CALLS);
    while let Some(result) = calls.next().await {
        if result.is_ok() {
            waits.push(began.elapsed());
        }
    }
    let percentile = |part: usize| waits.get(waits.len() * part / 100).copied();
    let ms = |part| percentile(part).unwrap_or(Duration::ZERO).as_secs_f64() * 1000.0;
    Json(Crowd {
        done: waits.len() * DRAWINGS,
        failed: (CALLS - waits.len()) * DRAWINGS,
        seconds: began.elapsed().as_secs_f64(),
        p50_ms: ms(50),
        p99_ms: ms(99),
    })
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let interpreter = format!("{HERE}/.venv/bin/python");
    let model = Python::new(interpreter).path(format!("{HERE}/models")).preload("digits");
    let client = Client::local().workers(1).python(model.workers(2)).await?;
    let offload = Offload::new(client.clone())
        .tenant(tenant::peer)
        .timeout(Duration::from_secs(60))
        // scikit-learn's ValueError, for what is no drawing.
        .status(|error| (error.kind() == ErrorKind::Raised).then_some(StatusCode::BAD_REQUEST));
    let page = include_str!("../../digits/src/page.html");
    let page = page.replace("NETWORK", "A forest of scikit-learn, in Python");
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

//! Logs in JSON, with the request's id from the handler to its task in a worker process:
//! `RUST_LOG=warn,logs=info cargo run -p outboard --example logs`.

use outboard::Client;
use outboard::trace::{WorkerOutput, init_worker};
use tracing::Instrument;
use tracing_subscriber::EnvFilter;

#[outboard::task]
fn resize(width: u32) -> u32 {
    tracing::info!(width, scale = 0.5, cached = false, format = "png", "resizing");
    tracing::debug!("not shown");
    tracing::info!(target: "codec", "a library's, shown from `warn` on");
    tracing::warn!(target: "codec", rest = ?Some(width % 2), "odd width");
    println!("a line on stdout");
    assert!(width < 1_000, "too wide");
    width / 2
}

#[outboard::task]
fn crash() {
    tracing::info!("last words");
    eprintln!("a line on stderr");
    std::process::abort();
}

#[tracing::instrument(skip(client))]
async fn handler(client: &Client, width: u32) {
    if let Err(error) = client.submit(resize, width).await {
        tracing::warn!(%error, "no picture");
    }
}

#[tokio::main]
async fn serve() -> Result<(), outboard::Error> {
    // What libraries in workers print is an event, too.
    let local = Client::local().workers(1).spares(0);
    let client = local.output(WorkerOutput::events()).await?;
    for (id, width) in [("a1", 641), ("b2", 4_000)] {
        handler(&client, width).instrument(tracing::info_span!("request", id)).await;
    }
    let crashing = async { client.submit(crash, ()).await };
    let _ = crashing.instrument(tracing::info_span!("request", id = "c3")).await;
    client.shutdown().await;
    Ok(())
}

fn main() -> Result<(), outboard::Error> {
    outboard::init_with(init_worker); // in workers: relays what tasks log
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,logs=info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    serve()
}

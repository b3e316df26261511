//! A server that uses all of outboard-axum: `cargo run -p outboard-axum --example server`.

use std::time::Duration;

use axum::{Router, extract::Path, routing::get};
use outboard::Client;
use outboard_axum::{Compute, FinishOnDisconnect, Health, Offload, Problem, tenant};
use tokio::net::TcpListener;

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

async fn page(compute: Compute, Path(n): Path<u64>) -> Result<String, Problem> {
    Ok(compute.submit(fib, n).await?.to_string())
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env().await?; // OUTBOARD_URL, or worker processes on this machine
    let offload = Offload::new(client.clone())
        .tenant(tenant::header("x-api-key")) // in earnest, a layer before this one checks it
        .tenant(tenant::peer) // for requests without a key
        .timeout(Duration::from_secs(30));
    let app = Router::new()
        .route("/kept/fib/{n}", get(page))
        .route_layer(FinishOnDisconnect) // goes on when its browser leaves
        .route("/fib/{n}", get(page)) // is stopped when its browser leaves
        .layer(offload)
        .merge(Health::new(client.clone()).router());

    let port = std::env::args().nth(1).map_or(Ok(9000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let cut = outboard_axum::serve(listener, app).client(client).await?;
    println!("{cut}");
    Ok(())
}

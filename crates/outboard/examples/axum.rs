//! A web server whose slow page runs in other processes, so that `/fast` stays
//! fast. The argument is the port: 9000 by default, 0 for any that is free.

use std::time::Duration;

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use outboard::{Client, Error, ErrorKind};
use tokio::net::TcpListener;

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env().await?; // OUTBOARD_URL, or worker processes on this machine
    let client = client.timeout(Duration::from_secs(30));
    let fib_page = move |Path(n): Path<u64>| async move {
        // A browser that leaves drops this future, and that stops the task.
        client.submit(fib, n).await.map(|f| f.to_string()).map_err(answer)
    };
    let app = Router::new()
        .route("/fast", get(|| async { "Hello, world" }))
        .route("/fib/{n}", get(fib_page));

    let port = std::env::args().nth(1).map_or(Ok(9000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

/// The response when there is no result.
fn answer(error: Error) -> (StatusCode, String) {
    let status = match error.kind() {
        ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

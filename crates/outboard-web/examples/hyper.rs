//! A server by hyper, without a framework: a page computes in a worker process, and a browser
//! that leaves stops it.
//!
//! `cargo run -p outboard-web --example hyper`, then <http://127.0.0.1:9000/fib/40>.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use outboard_web::{Compute, Offload, Problem, Watched};
use tokio::net::TcpListener;
use tower::{Layer, service_fn};

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

async fn page(request: Request<Incoming>) -> Result<String, Problem> {
    let compute: &Compute = request.extensions().get().expect("the layer puts it there");
    let number = request.uri().path().strip_prefix("/fib/").and_then(|n| n.parse().ok());
    Ok(match number {
        Some(n) => compute.submit(fib, n).await?.to_string(),
        None => "ask for /fib/40".to_owned(),
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(page(request).await.map_or_else(Problem::into_http, Response::new))
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = outboard::Client::from_env().await?;
    let service = Offload::new(client.clone()).timeout(Duration::from_secs(30));
    let service = TowerToHyperService::new(service.layer(service_fn(answer)));
    let listener = TcpListener::bind("127.0.0.1:9000").await?;
    let (graceful, mut stop) = (GracefulShutdown::new(), pin!(tokio::signal::ctrl_c()));
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = &mut stop => break,
        };
        let stream = TokioIo::new(Watched::new(stream));
        let connection = http1::Builder::new().serve_connection(stream, service.clone());
        tokio::spawn(graceful.watch(connection));
    }
    graceful.shutdown().await;
    client.shutdown().await;
    Ok(())
}

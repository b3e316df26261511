//! A gRPC server by tonic: `cargo run -p frameworks --example tonic`. A call that is cancelled, or
//! whose deadline has passed, stops its task.

use std::time::Duration;

use frameworks::fib::Number;
use frameworks::fib::fib_server::{Fib, FibServer};
use outboard::Client;
use outboard_web::{Compute, Offload, Problem};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

struct Service;

#[tonic::async_trait]
impl Fib for Service {
    async fn compute(&self, request: Request<Number>) -> Result<Response<Number>, Status> {
        let compute = request.extensions().get::<Compute>().cloned();
        let compute = compute.ok_or_else(|| Status::internal("the layer `Offload` is missing"))?;
        let value = compute.submit(fib, request.into_inner().value).await;
        Ok(Response::new(Number { value: value.map_err(Problem::from)? }))
    }
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env().await?; // OUTBOARD_URL, or worker processes on this machine
    // The deadline of each call is its task's, and nothing takes longer than half a minute.
    let offload = Offload::new(client.clone()).grpc_timeout().timeout(Duration::from_secs(30));
    let port = std::env::args().nth(1).map_or(Ok(9000), |port| port.parse())?;
    let ended = async { drop(tokio::signal::ctrl_c().await) };
    Server::builder()
        .layer(offload)
        .add_service(FibServer::new(Service))
        .serve_with_shutdown(([127, 0, 0, 1], port).into(), ended)
        .await?;
    client.shutdown().await;
    Ok(())
}

//! A task that reads an upload while it arrives, in a process that it may crash:
//! `curl -T table.csv http://127.0.0.1:9000/London`.

use std::io::{BufRead, BufReader};

use axum::{Router, body::Body, extract::Path, routing::put};
use outboard::{Bytes, Client, Receiver};
use outboard_axum::{Compute, Offload, Problem};
use tokio::net::TcpListener;

/// How many lines of a table have a field of that name.
#[outboard::task]
fn rows(upload: Receiver<Bytes>, name: String) -> usize {
    let lines = BufReader::new(upload).lines().map_while(Result::ok); // what fails is the answer
    lines.filter(|line| line.split(',').any(|field| field == name)).count()
}

async fn count(compute: Compute, Path(name): Path<String>, body: Body) -> Result<String, Problem> {
    // Above the limit the answer is 413, and the rest is not read.
    let upload = Receiver::new(body.into_data_stream()).limit(100 << 20);
    Ok(format!("{} rows", compute.submit(rows, (upload, name)).await?))
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env().await?;
    let app = Router::new().route("/{name}", put(count)).layer(Offload::new(client.clone()));
    let port = std::env::args().nth(1).map_or(Ok(9000), |port| port.parse())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    outboard_axum::serve(listener, app).client(client).await?;
    Ok(())
}

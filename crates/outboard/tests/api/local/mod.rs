//! What only worker processes have.

/// Tasks sent ahead to a worker that dies.
mod ahead;
/// Every way in which a task can take its worker down.
mod crash;
/// How workers stand apart from the server.
mod isolation;
/// No worker outlives its server.
mod orphans;
/// Payloads through shared memory.
mod payloads;
/// Workers that are replaced: killed idle, stopped, or after a deploy.
mod replacement;
/// The start of an engine, and what is left when it is over.
mod start;
/// Spares, scaling, recycling.
mod strength;

use outboard::Client;

use crate::support::eventually;
use crate::support::process::Process;

/// A client with so many workers, all of them up, and none beside them.
async fn client(workers: usize) -> Client {
    let client = Client::local().workers(workers).spares(0).await.unwrap();
    eventually("all workers are up", || client.snapshot().per_worker.len() == workers).await;
    client
}

/// The processes of the client's workers.
fn workers(client: &Client) -> Vec<Process> {
    let workers = client.snapshot().per_worker;
    workers.iter().filter_map(|worker| Process::find(worker.pid)).collect()
}

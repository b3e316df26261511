//! What only worker processes have.

/// Processes that the server adopts.
pub(crate) mod adopted;
/// Tasks sent ahead to a worker that dies.
mod ahead;
/// Several tasks in one call of a worker process.
mod batches;
/// A thread of the runtime that is blocked.
pub(crate) mod blocked;
/// What functions on start are given.
mod configured;
/// Every way in which a task can take its worker down.
mod crash;
/// Tasks, and servers, that fork.
pub(crate) mod forks;
/// A worker whose task took over its socket and its page.
pub(crate) mod hostile;
/// Bytes and arrays inside of something.
mod inside;
/// How workers stand apart from the server.
mod isolation;
/// How soon a task that is dropped frees its CPU.
mod kill;
/// What one worker may use, and what becomes of a task that wants more.
mod limits;
/// What the machine or container gives: cores, memory.
mod machine;
/// Tasks that submit tasks.
mod nested;
/// No worker outlives its server.
pub(crate) mod orphans;
/// Libraries that parse, in a sandbox.
mod parsers;
/// Payloads through shared memory.
mod payloads;
/// A bad end in every phase of a call.
pub(crate) mod phases;
/// Workers that are another program.
mod program;
/// Arguments that take workers down.
mod quarantine;
/// Workers that are replaced: killed idle, stopped, or after a deploy.
mod replacement;
/// What a lost worker's report quotes.
mod reports;
/// Workers that tasks cannot leave.
pub(crate) mod sandbox;
/// Signals to workers, and what workers do at them.
pub(crate) mod signals;
/// The slot of a worker, and exclusive ones.
mod slots;
/// The start of an engine, and what is left when it is over.
mod start;
/// Items of tasks that crash, are killed or fork.
mod streams;
/// Spares, scaling, recycling.
mod strength;
/// What a task changes of its process, and the next one finds.
mod traces;
/// What the server lacks: descriptors, calls, rights.
pub(crate) mod wants;
/// What runs once in each worker before its first task.
mod warm_up;
/// Events of workers, and what a snapshot says of them.
mod watching;

pub(crate) use limits::note_variables;
pub(crate) use machine::starved;
pub(crate) use warm_up::fails_to_start;

use outboard::Client;

use crate::support::eventually;
use crate::support::process::Process;

/// A client with so many workers, all of them up, and none beside them.
async fn client(workers: usize) -> Client {
    let client = Client::local().workers(workers).spares(0).await.unwrap();
    eventually("all workers are up", || client.admin().snapshot().per_worker.len() == workers)
        .await;
    client
}

/// The processes of the client's workers.
fn workers(client: &Client) -> Vec<Process> {
    let workers = client.admin().snapshot().per_worker;
    workers.iter().filter_map(|worker| Process::find(worker.pid)).collect()
}

//! Pure: what a scheduler is told of a task that starts: where it may run, and
//! what it calls.

use super::cluster::Cluster;
use super::graph::{Called, GraphTask, Restrictions, resource};
use super::table::Start;

/// From how many bytes of arguments on a graph goes into a message of its own.
const GRAPH_BYTES: usize = 32 << 20;

/// Where a task may run, should a worker come that knows its function.
pub(super) fn anyone(start: &Start) -> Restrictions {
    let resource = resource(start.function.name, start.function.signature);
    let resource = (!start.function.python).then_some(resource);
    Restrictions { resource, workers: Vec::new() }
}

/// Where a task may run; `None` if no worker knows its function.
pub(super) fn restrictions(start: &Start, cluster: &Cluster) -> Option<Restrictions> {
    if start.function.python {
        let workers = cluster.python_workers();
        return (!cluster.is_native()).then_some(Restrictions { resource: None, workers });
    }
    let resource = resource(start.function.name, start.function.signature);
    let offered = cluster.offers(&resource);
    offered.then(|| Restrictions { resource: Some(resource), workers: Vec::new() })
}

pub(super) fn graph_task(start: Start) -> GraphTask {
    let call = match start.function.python {
        true => Called::Python { function: start.function.name, args: start.args },
        false => {
            Called::Rust { name: start.function.name, payload: start.args, terms: start.terms }
        }
    };
    GraphTask { key: start.key, call, priority: start.priority }
}

/// Splits tasks where their arguments together are large.
pub(super) fn parts(tasks: Vec<GraphTask>) -> Vec<Vec<GraphTask>> {
    let mut parts: Vec<Vec<GraphTask>> = Vec::new();
    let mut bytes = usize::MAX;
    for task in tasks {
        bytes = bytes.saturating_add(task.call.length());
        if bytes > GRAPH_BYTES {
            bytes = task.call.length();
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(task);
        }
    }
    parts
}

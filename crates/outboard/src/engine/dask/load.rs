//! Pure: what a scheduler is told of a task that starts: where it may run, and
//! what it calls.

use super::cluster::Cluster;
use super::graph::{Called, GraphTask, Passed, Restrictions, resource};
use super::plugin::{self, PluginCall};
use super::shelf::Kind;
use super::table::Start;
use crate::task::registry::Function;

/// From how many bytes of arguments on a graph goes into a message of its own.
const GRAPH_BYTES: usize = 32 << 20;

/// Where a task may run, should a worker come that knows its function: a native
/// one, or one with a program of that build beside it.
pub(super) fn anyone(start: &Start, build: Option<&'static str>) -> Restrictions {
    if start.function.python {
        return Restrictions::default();
    }
    of_rust(start, build)
}

/// Where a task may run; `None` if no worker knows its function. Programs beside
/// Python workers are of use if they are of this build, and native workers go
/// first.
pub(super) fn restrictions(
    start: &Start,
    cluster: &Cluster,
    build: Option<&'static str>,
) -> Option<Restrictions> {
    if start.function.python {
        let workers = cluster.python_workers();
        let restrictions = Restrictions { workers, ..Restrictions::default() };
        return (!cluster.is_native()).then_some(restrictions);
    }
    // Scattered values are with native workers alone.
    let named = start.values.iter().any(|value| value.kind == Kind::Scattered);
    let beside = build.filter(|_| !named);
    let ways = [None, beside].map(|build| of_rust(start, build));
    let offered = |way: &Restrictions| way.resource.as_ref().is_some_and(|it| cluster.offers(it));
    ways.into_iter().find(offered)
}

fn of_rust(start: &Start, build: Option<&'static str>) -> Restrictions {
    let resource = offer(start.function, build);
    Restrictions { resource: Some(resource), plugin: build, ..Restrictions::default() }
}

/// The resource of workers that know a Rust function: native ones, or those with a
/// program of this build beside them.
pub(super) fn offer(function: &Function, build: Option<&'static str>) -> String {
    let (name, signature) = (function.name, function.signature);
    match build {
        Some(build) => plugin::resource(build, name, signature),
        None => resource(name, signature),
    }
}

pub(super) fn graph_task(start: Start, restrictions: &Restrictions) -> GraphTask {
    let Start { key, function, args: payload, terms, priority, values, .. } = start;
    let name = function.name;
    let call = match (function.python, restrictions.plugin) {
        (true, _) => Called::Python { function: name, args: payload },
        (false, None) => {
            let there = values.into_iter().filter(|value| !value.key.is_empty());
            let (arguments, named): (Vec<_>, Vec<_>) =
                there.partition(|value| value.kind == Kind::Arguments);
            let key = arguments.into_iter().next().map(|value| value.key);
            let payload = key.map_or(Passed::Here(payload), Passed::There);
            let needs = named.into_iter().map(|value| value.key).collect();
            Called::Rust { name, payload, terms, needs }
        }
        (false, Some(build)) => {
            let key = key.clone();
            Called::Plugin(PluginCall { build, key, name, payload, terms, priority })
        }
    };
    GraphTask { key, call, priority }
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

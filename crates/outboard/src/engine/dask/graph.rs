//! Pure: what is submitted to a scheduler of tasks that start: where they may run,
//! and what they call.
//!
//! A scheduler imports whatever a graph names, so tasks name only what every
//! scheduler has: a Python function is imported and called by `_pickle.loads`
//! on the worker, and so is the plugin that has a Rust function; on native workers
//! that is an `operator.attrgetter` of its name, which they alone can call. Either way
//! the result is bytes, so that no part of it is serialized one by one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dask_protocol::graph::{Expression, reference};
use dask_protocol::key::Key;
use dask_protocol::message::UpdateGraph;
use dask_protocol::pickle::Pickle;

use super::cluster::Cluster;
use super::shelf::Kind;
use super::table::Start;
use super::{generator, plugin};
use crate::value::payload::Payload;

/// Before the name of a Rust function whose argument is a payload of ours.
pub(super) const PAYLOAD_PREFIX: &str = "outboard-payload::";

/// Before the name of a Rust function that is called with Python's values.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(super) const VALUES_PREFIX: &str = "outboard::";

/// The same, and the `Err` that it returns is raised.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(super) const RAISES_PREFIX: &str = "outboard-raises::";

/// Results come as pickles of this protocol.
const PROTOCOL: i128 = 4;

/// From how many bytes of arguments on a graph goes into a message of its own.
const GRAPH_BYTES: usize = 32 << 20;

/// What a worker of ours is told of a task beside its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// The time that it has.
    pub(super) timeout: Option<Duration>,
    /// How long it may go on when it was asked to stop.
    pub(super) grace: Option<Duration>,
    /// The context of the caller's trace.
    pub(super) context: Option<String>,
    /// What the caller shows of what tasks say, from 0 (nothing) to 5.
    pub(super) level: u8,
    /// Where the client listens for the stream that the task is, if it is one.
    pub(super) topic: Option<String>,
}

/// Tasks that start, sorted by where they may run.
#[derive(Debug, Default)]
pub(super) struct Graphs(Vec<(Restrictions, Vec<Task>)>);

/// Where tasks of one graph may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Restrictions {
    /// One of each resource that its worker must have.
    resources: Vec<String>,
    /// Addresses of workers; none for any.
    workers: Vec<String>,
    /// The build of the programs that are beside Python workers, if it is those.
    plugin: Option<&'static str>,
}

/// A task on its way.
#[derive(Clone, Debug)]
struct Task {
    key: String,
    call: Called,
    priority: i32,
}

/// What a task calls.
#[derive(Clone, Debug)]
enum Called {
    /// A Python function, `module:name`, with the opcodes of its tuple of arguments, and the
    /// topic of its client if it streams.
    Python { function: &'static str, args: Payload, topic: Option<String> },
    /// A Rust function by name, with encoded arguments, and the keys of the
    /// scattered values that these name.
    Rust { name: String, payload: Passed, terms: Terms, needs: Vec<String> },
    /// The same, through the plugin of a Python worker.
    Plugin {
        build: &'static str,
        name: String,
        pool: Option<Arc<str>>,
        payload: Payload,
        terms: Terms,
    },
}

/// Encoded arguments.
#[derive(Clone, Debug)]
enum Passed {
    Here(Payload),
    /// A worker has them already, by that key.
    There(String),
}

/// Whether some worker knows the function of a task. Programs beside Python workers are
/// of use if they are of this build.
pub(super) fn is_known(start: &Start, cluster: &Cluster, build: Option<&'static str>) -> bool {
    Restrictions::of(start, cluster, build).is_some()
}

impl Graphs {
    /// Sorts tasks by where they may run; gives those apart that no worker knows. The
    /// caller says for which of these a worker may still come: one with a program of a build,
    /// or a native one.
    pub(super) fn sort(
        started: Vec<Start>,
        cluster: &Cluster,
        build: Option<&'static str>,
        may_come: impl Fn(&Start) -> Option<Option<&'static str>>,
    ) -> (Self, Vec<Start>) {
        let mut graphs: Vec<(Restrictions, Vec<Task>)> = Vec::new();
        let (mut places, mut unknown) = (HashMap::new(), Vec::new());
        for start in started {
            let found = Restrictions::of(&start, cluster, build);
            let anyone = || Some(Restrictions::of_anyone(&start, may_come(&start)?));
            let Some(restrictions) = found.or_else(anyone) else {
                unknown.push(start);
                continue;
            };
            let next = graphs.len();
            // One whose values are lost takes along all that are in its graph.
            let values: Vec<u64> = start.values.iter().map(|value| value.id).collect();
            let place = *places.entry((restrictions.clone(), values)).or_insert(next);
            if place == next {
                graphs.push((restrictions, Vec::new()));
            }
            let (restrictions, tasks) = &mut graphs[place];
            tasks.push(Task::of(start, restrictions));
        }
        (Self(graphs), unknown)
    }

    /// Each task's key, with the build if it goes to programs beside Python workers.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, Option<&'static str>)> {
        let graphs = self.0.iter();
        graphs.flat_map(|(at, tasks)| tasks.iter().map(|task| (task.key.as_str(), at.plugin)))
    }

    /// What the scheduler is told. `unique` gives 32 hexadecimal digits that no other
    /// graph has.
    pub(super) fn updates(self, unique: impl Fn() -> String) -> Vec<UpdateGraph> {
        let graphs = self.0.into_iter();
        let updates = graphs.flat_map(|(restrictions, tasks)| {
            let updates = parts(tasks).into_iter();
            updates.map(|part| update_graph(&part, &restrictions, &unique())).collect::<Vec<_>>()
        });
        updates.collect()
    }
}

impl Restrictions {
    /// Where a task may run, should a worker come that knows its function: a native
    /// one, or one with a program of that build beside it.
    fn of_anyone(start: &Start, build: Option<&'static str>) -> Self {
        let resources = start.wanted(build).resources();
        Self { resources, workers: Vec::new(), plugin: build.filter(|_| !start.function.python) }
    }

    /// Where a task may run; `None` if no worker knows its function. Native workers go
    /// first.
    fn of(start: &Start, cluster: &Cluster, build: Option<&'static str>) -> Option<Self> {
        if start.function.python {
            let may_run = match &start.pool {
                Some(pool) => cluster.python_with(Some(pool)).next().is_some(),
                None => !cluster.is_native(),
            };
            let anyone = Self::of_anyone(start, None);
            return may_run.then(|| Self { workers: cluster.python_workers(), ..anyone });
        }
        // Scattered values are with native workers alone.
        let named = start.values.iter().any(|value| value.kind == Kind::Scattered);
        let beside = build.filter(|_| !named);
        let mut ways = [None].into_iter().chain(beside.map(Some));
        let build = ways.find(|build| cluster.offers(&start.wanted(*build)))?;
        Some(Self::of_anyone(start, build))
    }
}

/// What a scheduler is told of the tasks of one graph.
fn update_graph(tasks: &[Task], restrictions: &Restrictions, unique: &str) -> UpdateGraph {
    let mut expression = Expression::new();
    for task in tasks {
        expression.task(&task.key, |pickle| task.write(pickle));
    }
    let key = |task: &Task| Key::from(task.key.as_str());
    let hurried = tasks.iter().filter(|task| task.priority != 0);
    UpdateGraph {
        expression: expression.finish(unique),
        keys: tasks.iter().map(key).collect(),
        priorities: hurried.map(|task| (key(task), task.priority.into())).collect(),
        resources: restrictions.resources.iter().map(|name| (name.clone(), 1.0)).collect(),
        workers: restrictions.workers.clone(),
    }
}

/// Splits tasks where their arguments together are large.
fn parts(tasks: Vec<Task>) -> Vec<Vec<Task>> {
    let mut parts: Vec<Vec<Task>> = Vec::new();
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

impl Task {
    fn of(start: Start, restrictions: &Restrictions) -> Self {
        let Start { key, function, pool, args: payload, terms, priority, values, .. } = start;
        let name = format!("{}@{}", function.name, function.version.number);
        let call = match (function.python, restrictions.plugin) {
            (true, _) => {
                let topic = terms.topic;
                Called::Python { function: function.name, args: payload, topic }
            }
            (false, None) => {
                let there = values.into_iter().filter(|value| !value.key.is_empty());
                let (arguments, named): (Vec<_>, Vec<_>) =
                    there.partition(|value| value.kind == Kind::Arguments);
                let key = arguments.into_iter().next().map(|value| value.key);
                let payload = key.map_or(Passed::Here(payload), Passed::There);
                let needs = named.into_iter().map(|value| value.key).collect();
                Called::Rust { name, payload, terms, needs }
            }
            (false, Some(build)) => Called::Plugin { build, name, pool, payload, terms },
        };
        Self { key, call, priority }
    }

    /// The function, then its arguments.
    fn write(&self, pickle: &mut Pickle) {
        match &self.call {
            Called::Python { function, args, topic } => {
                let (module, name) = function.split_once(':').unwrap_or(("builtins", function));
                pickle.global("_pickle", "loads");
                pickle.bytes(&match topic {
                    None => python_call(module, name, args),
                    Some(topic) => generator::call(topic, &self.key, module, name, args),
                });
            }
            Called::Plugin { build, name, pool, payload, terms } => {
                let pool = pool.as_deref();
                let request = plugin::request(name, &self.key, pool, self.priority, terms, payload);
                pickle.global("_pickle", "loads");
                pickle.bytes(&plugin::call(build, &self.key, &request));
            }
            Called::Rust { name, payload, terms, needs } => {
                pickle.global("operator", "attrgetter");
                pickle.str(&format!("{PAYLOAD_PREFIX}{name}"));
                pickle.tuple_of_one();
                pickle.call();
                match payload {
                    Passed::Here(payload) => pickle.bytes(payload),
                    Passed::There(key) => reference(pickle, key),
                }
                terms.write(pickle);
                needs.iter().for_each(|key| reference(pickle, key));
            }
        }
    }
}

impl Called {
    /// About how many bytes it takes in a graph.
    fn length(&self) -> usize {
        match self {
            Self::Python { args, .. } => args.len(),
            Self::Rust { payload: Passed::There(key), .. } => key.len(),
            Self::Rust { payload: Passed::Here(payload), .. } | Self::Plugin { payload, .. } => {
                payload.len()
            }
        }
    }
}

impl Terms {
    /// Milliseconds, milliseconds, text, of which each may be missing; a number; text that
    /// may be missing.
    fn write(&self, pickle: &mut Pickle) {
        for time in [self.timeout, self.grace] {
            match time {
                Some(time) => pickle.int(time.as_millis().min(u64::MAX.into()) as i128),
                None => pickle.none(),
            }
        }
        let text = |pickle: &mut Pickle, text: &Option<String>| match text {
            Some(text) => pickle.str(text),
            None => pickle.none(),
        };
        text(pickle, &self.context);
        pickle.int(self.level.into());
        text(pickle, &self.topic);
    }
}

/// A pickle that, when it is loaded, calls the function and pickles its result.
fn python_call(module: &str, name: &str, args: &[u8]) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.global("_pickle", "dumps");
    pickle.global(module, name);
    pickle.part(args);
    pickle.call();
    pickle.int(PROTOCOL);
    pickle.tuple_of_two();
    pickle.call();
    pickle.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_function_is_called_with_its_payload_its_terms_and_what_it_names() {
        let terms = Terms { context: Some("00-1".into()), level: 3, ..Terms::default() };
        let needs = vec!["v-1".to_owned()];
        let payload = Passed::Here(vec![7].into());
        let call = Called::Rust { name: "fib@2".into(), payload, terms, needs };
        let mut pickle = Pickle::part_of(Vec::new());
        Task { key: "k".into(), call, priority: 0 }.write(&mut pickle);
        let expected =
            b"\x8c\x08operator\x8c\x0aattrgetter\x93\x8c\x17outboard-payload::fib@2\x85R\
            C\x01\x07NN\x8c\x0400-1K\x03N\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03v-1\x85R";
        assert_eq!(pickle.into_part(), expected);
    }

    #[test]
    fn a_python_function_is_imported_by_the_worker() {
        let call = python_call("testmod", "echo", b"C\x02\0\xff\x85");
        let expected = b"\x80\x04\x8c\x07_pickle\x8c\x05dumps\x93\
            \x8c\x07testmod\x8c\x04echo\x93C\x02\0\xff\x85RK\x04\x86R.";
        assert_eq!(call, expected);
    }

    #[test]
    fn a_graph_says_where_and_in_which_order() {
        let (payload, needs) = (Passed::There("a-1".into()), Vec::new());
        let call = Called::Rust { name: "fib@2".into(), payload, terms: Terms::default(), needs };
        let task = |key: &str, priority| Task { key: key.into(), call: call.clone(), priority };
        let resources = ["offer", "pool-gpu"].map(str::to_owned).into();
        let workers = vec!["tcp://a:1".to_owned()];
        let restrictions = Restrictions { resources, workers, plugin: None };
        let graph = update_graph(&[task("a-1", 0), task("b-2", 9)], &restrictions, "0");
        assert_eq!(graph.resources, [("offer".to_owned(), 1.0), ("pool-gpu".to_owned(), 1.0)]);
        assert_eq!(graph.workers, ["tcp://a:1"]);
        assert_eq!(graph.keys, ["a-1".into(), "b-2".into()]);
        assert_eq!(graph.priorities, [("b-2".into(), 9)]);
    }
}

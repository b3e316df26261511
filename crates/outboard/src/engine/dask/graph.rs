//! What is submitted to a scheduler: tasks, and what they call.
//!
//! A scheduler imports whatever a graph names, so tasks name only what every
//! scheduler has: a Python function is imported and called by `_pickle.loads`
//! on the worker, and so is the plugin that has a Rust function; on native workers
//! that is an `operator.attrgetter` of its name, which they alone can call. Either way the result is bytes,
//! so that no part of it is serialized one by one.

use std::time::Duration;

use dask_protocol::graph::{Expression, reference};
use dask_protocol::key::Key;
use dask_protocol::message::UpdateGraph;
use dask_protocol::pickle::Pickle;

use super::native::VERSION;
use super::plugin::PluginCall;
use crate::value::payload::Payload;

/// Before the name of a Rust function whose argument is a payload of ours.
pub(crate) const PAYLOAD_PREFIX: &str = "outboard-payload::";

/// Before the name of a Rust function that is called with Python's values.
pub(crate) const VALUES_PREFIX: &str = "outboard::";

/// Results come as pickles of this protocol.
const PROTOCOL: i128 = 4;

/// A task on its way.
#[derive(Clone, Debug)]
pub(crate) struct GraphTask {
    pub(crate) key: String,
    /// What it calls with which arguments, as opcodes: the callable, then a
    /// tuple after the key.
    pub(crate) call: Called,
    pub(crate) priority: i32,
}

/// What a task calls.
#[derive(Clone, Debug)]
pub(crate) enum Called {
    /// A Python function, `module:name`, with the opcodes of its tuple of arguments.
    Python { function: &'static str, args: Payload },
    /// A Rust function by name, with encoded arguments, and the keys of the
    /// scattered values that these name.
    Rust { name: &'static str, payload: Passed, terms: Terms, needs: Vec<String> },
    /// The same, through the plugin of a Python worker.
    Plugin(PluginCall),
}

/// Encoded arguments.
#[derive(Clone, Debug)]
pub(crate) enum Passed {
    Here(Payload),
    /// A worker has them already, by that key.
    There(String),
}

/// What a worker of ours is told of a task beside its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The time that it has.
    pub(crate) timeout: Option<Duration>,
    /// How long it may go on when it was asked to stop.
    pub(crate) grace: Option<Duration>,
    /// The context of the caller's trace.
    pub(crate) context: Option<String>,
    /// What the caller shows of what tasks say, from 0 (nothing) to 5.
    pub(crate) level: u8,
}

/// Where tasks of one graph may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Restrictions {
    /// One of a resource that its worker must have.
    pub(crate) resource: Option<String>,
    /// Addresses of workers; none for any.
    pub(crate) workers: Vec<String>,
    /// The build of the programs that are beside Python workers, if it is those.
    pub(crate) plugin: Option<&'static str>,
}

/// The resource of workers that offer a Rust function, and speak to us as we do: of
/// half an upgrade each half has its own.
pub(crate) fn resource(name: &str, signature: u64) -> String {
    format!("outboard:{name}:{signature:016x}.{VERSION}")
}

/// What a scheduler is told of the tasks of one graph.
///
/// `unique` is 32 hexadecimal digits that no other graph has.
pub(super) fn update_graph(
    tasks: &[GraphTask],
    restrictions: &Restrictions,
    unique: &str,
) -> UpdateGraph {
    let mut expression = Expression::new();
    for task in tasks {
        expression.task(&task.key, |pickle| task.call.write(pickle));
    }
    let key = |task: &GraphTask| Key::from(task.key.as_str());
    let hurried = tasks.iter().filter(|task| task.priority != 0);
    UpdateGraph {
        expression: expression.finish(unique),
        keys: tasks.iter().map(key).collect(),
        priorities: hurried.map(|task| (key(task), task.priority.into())).collect(),
        resources: restrictions.resource.iter().map(|name| (name.clone(), 1.0)).collect(),
        workers: restrictions.workers.clone(),
    }
}

impl Called {
    /// About how many bytes it takes in a graph.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Python { args, .. } => args.len(),
            Self::Rust { payload: Passed::There(key), .. } => key.len(),
            Self::Rust { payload: Passed::Here(payload), .. }
            | Self::Plugin(PluginCall { payload, .. }) => payload.len(),
        }
    }

    /// The function, then its arguments.
    fn write(&self, pickle: &mut Pickle) {
        match self {
            Self::Python { function, args } => {
                let (module, name) = function.split_once(':').unwrap_or(("builtins", function));
                pickle.global("_pickle", "loads");
                pickle.bytes(&python_call(module, name, args));
            }
            Self::Plugin(call) => {
                pickle.global("_pickle", "loads");
                pickle.bytes(&call.pickle());
            }
            Self::Rust { name, payload, terms, needs } => {
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

impl Terms {
    /// Milliseconds, milliseconds, text, of which each may be missing; a number.
    fn write(&self, pickle: &mut Pickle) {
        for time in [self.timeout, self.grace] {
            match time {
                Some(time) => pickle.int(time.as_millis().min(u64::MAX.into()) as i128),
                None => pickle.none(),
            }
        }
        match &self.context {
            Some(context) => pickle.str(context),
            None => pickle.none(),
        }
        pickle.int(self.level.into());
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
        let mut pickle = Pickle::part_of(Vec::new());
        Called::Rust { name: "fib", payload, terms, needs }.write(&mut pickle);
        let expected = b"\x8c\x08operator\x8c\x0aattrgetter\x93\x8c\x15outboard-payload::fib\x85R\
            C\x01\x07NN\x8c\x0400-1K\x03\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03v-1\x85R";
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
        let call = Called::Rust { name: "fib", payload, terms: Terms::default(), needs };
        let task =
            |key: &str, priority| GraphTask { key: key.into(), call: call.clone(), priority };
        let resource = Some(resource("fib", 0xab));
        let restrictions =
            Restrictions { resource, workers: vec!["tcp://a:1".into()], plugin: None };
        let graph = update_graph(&[task("a-1", 0), task("b-2", 9)], &restrictions, "0");
        let offer = format!("outboard:fib:00000000000000ab.{VERSION}");
        assert_eq!(graph.resources, [(offer, 1.0)]);
        assert_eq!(graph.workers, ["tcp://a:1"]);
        assert_eq!(graph.keys, ["a-1".into(), "b-2".into()]);
        assert_eq!(graph.priorities, [("b-2".into(), 9)]);
    }
}

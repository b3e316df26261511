//! What is submitted to a scheduler: tasks as expressions in a pickle, in
//! messages of the form `update-graph`.
//!
//! A scheduler imports whatever a graph names, so tasks name only what every
//! scheduler has: a Python function is imported and called by `_pickle.loads`
//! on the worker, and so is the plugin that has a Rust function; on native workers
//! that is an `operator.attrgetter` of its name, which they alone can call. Either way the result is bytes,
//! so that no part of it is serialized one by one.

use std::time::Duration;

use rmpv::Value;

use super::message::{Message, Serialized, map};
use super::native::VERSION;
use super::pickle::Pickle;
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

/// Adds the tasks of one graph to a message; gives the operation.
///
/// `unique` is 32 hexadecimal digits that no other graph has.
pub(crate) fn update_graph(
    message: &mut Message,
    tasks: &[GraphTask],
    restrictions: &Restrictions,
    unique: &str,
) -> Value {
    let header = map([("serializer", "pickle".into()), ("writeable", Value::Array(Vec::new()))]);
    let frames = vec![expression(tasks, unique)];
    let expression = message.attach(Serialized { header, frames });
    let keys = tasks.iter().map(|task| task.key.as_str().into()).collect();
    let order = tasks.iter().zip(0_u64..);
    let order = order.map(|(task, place)| (task.key.as_str().into(), place.into())).collect();
    let mut operation = vec![
        ("op".into(), "update-graph".into()),
        ("expr_ser".into(), expression),
        ("keys".into(), Value::Array(keys)),
        ("internal_priority".into(), Value::Map(order)),
        ("submitting_task".into(), Value::Nil),
        // Anything in it would be mixed up with what other clients put there.
        ("span_metadata".into(), Value::Map(Vec::new())),
    ];
    let hurried = tasks.iter().filter(|task| task.priority != 0);
    let priorities: Vec<_> =
        hurried.map(|task| (task.key.as_str().into(), task.priority.into())).collect();
    if !priorities.is_empty() {
        operation.push(("user_priority".into(), Value::Map(priorities)));
    }
    let annotations = restrictions.annotations();
    if !annotations.is_empty() {
        operation.push(("annotations".into(), Value::Map(annotations)));
    }
    Value::Map(operation)
}

impl Restrictions {
    fn annotations(&self) -> Vec<(Value, Value)> {
        let mut annotations = Vec::new();
        if let Some(resource) = &self.resource {
            let resources = Value::Map(vec![(resource.as_str().into(), 1.into())]);
            annotations.push(("resources".into(), resources));
        }
        if !self.workers.is_empty() {
            let workers = self.workers.iter().map(|worker| worker.as_str().into()).collect();
            annotations.push(("workers".into(), Value::Array(workers)));
        }
        annotations
    }
}

/// The expression of a graph: its tasks, and a token by which the scheduler
/// knows it without hashing it.
fn expression(tasks: &[GraphTask], unique: &str) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.global("dask._expr", "LLGExpr");
    pickle.begin_dict();
    for task in tasks {
        pickle.str(&task.key);
        task.write(&mut pickle);
    }
    pickle.end_dict();
    pickle.tuple_of_one();
    pickle.begin_dict();
    pickle.str("_determ_token");
    pickle.str(unique);
    pickle.end_dict();
    pickle.new_object();
    pickle.finish()
}

impl GraphTask {
    fn write(&self, pickle: &mut Pickle) {
        pickle.global("dask._task_spec", "Task");
        pickle.tuple(|pickle| {
            pickle.str(&self.key);
            self.call.write(pickle);
        });
        pickle.call();
    }
}

impl Called {
    /// About how many bytes it takes in a graph.
    pub(crate) fn length(&self) -> usize {
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

/// What a key stands for, which a worker has.
fn reference(pickle: &mut Pickle, key: &str) {
    pickle.global("dask._task_spec", "TaskRef");
    pickle.str(key);
    pickle.tuple_of_one();
    pickle.call();
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
    use super::super::message::field;
    use super::*;

    /// The expression of the specification, 6.2, with a Rust function's call in
    /// the place of `operator.add`.
    #[test]
    fn an_expression_is_a_graph_with_a_name() {
        let terms = Terms { context: Some("00-1".into()), level: 3, ..Terms::default() };
        let needs = vec!["v-1".to_owned()];
        let call =
            Called::Rust { name: "fib", payload: Passed::Here(vec![7].into()), terms, needs };
        let task = GraphTask { key: "add-1".into(), call, priority: 0 };
        let zeros = "0".repeat(32);
        let mut expected = b"\x80\x04\x8c\x0adask._expr\x8c\x07LLGExpr\x93}(\x8c\x05add-1\
            \x8c\x0fdask._task_spec\x8c\x04Task\x93(\x8c\x05add-1\
            \x8c\x08operator\x8c\x0aattrgetter\x93\x8c\x15outboard-payload::fib\x85R\
            C\x01\x07NN\x8c\x0400-1K\x03\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03v-1\x85RtRu\x85}(\x8c\x0d_determ_token\x8c\x20"
            .to_vec();
        expected.extend(zeros.bytes());
        expected.extend(b"u\x92.");
        assert_eq!(expression(&[task], &zeros), expected);
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
        let terms = Terms { timeout: Some(Duration::from_millis(5)), ..Terms::default() };
        let (payload, needs) = (Passed::There("a-1".into()), Vec::new());
        let call = Called::Rust { name: "fib", payload, terms, needs };
        let task =
            |key: &str, priority| GraphTask { key: key.into(), call: call.clone(), priority };
        let resource = Some(resource("fib", 0xab));
        let restrictions =
            Restrictions { resource, workers: vec!["tcp://a:1".into()], plugin: None };
        let mut message = Message::new(Value::Nil);
        let tasks = [task("a-1", 0), task("b-2", 9)];
        let graph = update_graph(&mut message, &tasks, &restrictions, "0");
        let annotations = field(&graph, "annotations").unwrap();
        let offered = field(annotations, "resources").unwrap();
        let offer = format!("outboard:fib:00000000000000ab.{VERSION}");
        assert_eq!(field(offered, &offer), Some(&1.into()));
        let order = field(&graph, "internal_priority").unwrap();
        assert_eq!((field(order, "a-1"), field(order, "b-2")), (Some(&0.into()), Some(&1.into())));
        let priorities = field(&graph, "user_priority").unwrap();
        assert_eq!((field(priorities, "a-1"), field(priorities, "b-2")), (None, Some(&9.into())));
    }
}

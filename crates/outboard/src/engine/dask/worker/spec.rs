//! What a task of the cluster asks for: a Rust function with encoded arguments
//! or Python's values, or a value made of others. All else only Python can execute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dask_protocol::Serialized;
use dask_protocol::key::Key;
use dask_protocol::pickle::{Node, Symbols};
use dask_protocol::plain::Template;
use dask_protocol::run_spec::{Function, RunSpec, reference};

use crate::engine::dask::graph::{PAYLOAD_PREFIX, RAISES_PREFIX, Terms, VALUES_PREFIX};

/// Values that a task needs, by their keys.
pub(super) type Needed = HashMap<Key, Arc<Serialized>>;

/// What is to be done, once what it needs is here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Spec {
    /// A call with encoded arguments, and on which terms.
    Payload { name: String, args: Arguments, terms: Terms },
    /// A call with a tuple of plain values; an `Err` may be raised.
    Values { name: String, args: Template, raises: bool },
    /// What another task gave.
    Alias(Key),
    /// A value.
    Value(Template),
}

/// Encoded arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Arguments {
    Here(Vec<u8>),
    /// They came before their task, by that key.
    Before(Key),
}

/// Why a task cannot be executed as it is; each has a line that says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is for Python.
    Stray(String),
    /// It is a value that no Rust function could take.
    Value(String),
    /// A Rust function cannot be called like that.
    Args(String),
}

impl Spec {
    /// Reads what a scheduler sent of a task: a pickle with the buffers beside it.
    ///
    /// # Errors
    ///
    /// If it is nothing for a Rust function, which is given `limit` bytes at most.
    pub(super) fn read(pickle: &[u8], buffers: &[Vec<u8>], limit: usize) -> Result<Self, Misfit> {
        let stray = |error: &dyn std::error::Error| Misfit::Stray(error.to_string());
        let symbols = Symbols::read(pickle, buffers.len()).map_err(|error| stray(&error))?;
        let (function, args, named) = match RunSpec::read(&symbols)
            .map_err(|error| stray(&error))?
        {
            RunSpec::Call { function, args, named } => (function, args, named),
            RunSpec::Alias(key) => return Ok(Self::Alias(key)),
            RunSpec::Value => {
                let value = Template::of(&symbols, buffers, symbols.root(), limit);
                return value.map(Self::Value).map_err(|error| Misfit::Value(error.to_string()));
            }
        };
        let (name, way) = called(function)?;
        if !named.is_empty() {
            return Err(Misfit::Args(format!("`{name}` takes no arguments by name")));
        }
        if way != Way::Payload {
            let args = Template::of_tuple(&symbols, buffers, args, limit);
            let args = args.map_err(|error| Misfit::Args(error.to_string()))?;
            return Ok(Self::Values { name: name.to_owned(), args, raises: way == Way::Raises });
        }
        let unknown =
            || Misfit::Args(format!("`{name}` was not called by a client of this release"));
        payload(&symbols, name, args).ok_or_else(unknown)
    }

    /// The name of the Rust function that it calls, and whether it is called with
    /// Python's values.
    pub(super) fn function(&self) -> Option<(&str, bool)> {
        match self {
            Self::Payload { name, .. } => Some((name, false)),
            Self::Values { name, .. } => Some((name, true)),
            Self::Alias(_) | Self::Value(_) => None,
        }
    }

    /// Whether a Rust client asked: it understands more than Python does.
    pub(super) fn is_by_us(&self) -> bool {
        matches!(self, Self::Payload { .. })
    }
}

impl Arguments {
    /// The bytes.
    ///
    /// # Errors
    ///
    /// A line, if they came before and are not there.
    pub(super) fn into_bytes(self, needed: &Needed) -> Result<Vec<u8>, String> {
        match self {
            Self::Here(bytes) => Ok(bytes),
            Self::Before(key) => {
                let brought = needed.get(&key).ok_or("its arguments are missing")?;
                Serialized::clone(brought).into_bytes().map_err(|error| error.to_string())
            }
        }
    }
}

/// How a Rust function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Payload,
    Values,
    Raises,
}

/// The name of the Rust function, and how it is called.
fn called(function: Function<'_>) -> Result<(&str, Way), Misfit> {
    let path = match function {
        Function::Attribute(path) => path,
        Function::Global { module, name } => {
            return Err(Misfit::Stray(format!("the Python function {module}.{name}")));
        }
        Function::Other => "",
    };
    let ways = [
        (PAYLOAD_PREFIX, Way::Payload),
        (VALUES_PREFIX, Way::Values),
        (RAISES_PREFIX, Way::Raises),
    ];
    let found = ways.iter().find_map(|(prefix, way)| Some((path.strip_prefix(prefix)?, *way)));
    found.ok_or_else(|| Misfit::Stray("a Python function".into()))
}

fn payload(symbols: &Symbols<'_>, name: &str, args: &[Node]) -> Option<Spec> {
    // What follows are the scattered values that the payload names.
    let [args, timeout, grace, context, Node::Int(level), topic, ..] = *args else { return None };
    let time = |node| match node {
        Node::Int(ms) => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        _ => None,
    };
    let text = |node| symbols.str(node).map(str::to_owned);
    let (context, topic) = (text(context), text(topic));
    let level = level.clamp(0, 5) as u8;
    let terms = Terms { timeout: time(timeout), grace: time(grace), context, level, topic };
    let args = match args {
        Node::Bytes(args) => Arguments::Here(symbols.span(args).to_vec()),
        args => Arguments::Before(reference(symbols, args)?),
    };
    Some(Spec::Payload { name: name.to_owned(), args, terms })
}

#[cfg(test)]
mod tests {
    use dask_protocol::pickle::Pickle;
    use proptest::prelude::*;

    use super::*;

    /// The pickle of a task, as schedulers write it.
    fn task(path: &str, args: &[u8]) -> Vec<u8> {
        let mut pickle = Pickle::new();
        pickle.global("dask._task_spec", "Task");
        pickle.part(b")\x81");
        pickle.tuple(|pickle| {
            for _ in 0..5 {
                pickle.none();
            }
            pickle.part(args);
            pickle.global("operator", "attrgetter");
            pickle.str(path);
            pickle.tuple_of_one();
            pickle.call();
            pickle.str("key-1");
            pickle.begin_dict();
            pickle.end_dict();
        });
        pickle.build();
        pickle.finish()
    }

    const LIMIT: usize = 1000;

    fn read(path: &str, args: &[u8]) -> Result<Spec, Misfit> {
        Spec::read(&task(path, args), &[], LIMIT)
    }

    #[test]
    fn a_client_of_ours_passes_its_bytes_through() {
        let spec =
            read("outboard-payload::fib", b"(C\x01\x07K\x05N\x8c\x01cK\x03\x8c\x01xt").unwrap();
        assert_eq!(spec.function(), Some(("fib", false)));
        let timeout = Some(Duration::from_millis(5));
        let (context, topic) = (Some("c".into()), Some("x".into()));
        let terms = Terms { timeout, grace: None, context, level: 3, topic };
        let args = Arguments::Here(vec![7]);
        assert_eq!(spec, Spec::Payload { name: "fib".into(), args, terms });
        let old = read("outboard-payload::fib", b"(C\x01\x07t").unwrap_err();
        assert!(matches!(old, Misfit::Args(line) if line.contains("of this release")));
    }

    #[test]
    fn arguments_may_have_come_before_their_task() {
        let args = b"(\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03k-1\x85RNNNK\0Nt";
        let spec = read("outboard-payload::fib", args).unwrap();
        let Spec::Payload { args, terms, .. } = spec else { panic!("a payload") };
        assert_eq!(terms, Terms::default());
        let here = Needed::from([("k-1".into(), Arc::new(Serialized::from_bytes(vec![7, 8])))]);
        assert_eq!(args.clone().into_bytes(&here), Ok(vec![7, 8]));
        assert!(args.into_bytes(&Needed::new()).is_err());
    }

    #[test]
    fn a_call_with_pythons_values_is_told_from_one_for_python() {
        let spec = read("outboard::f", b"(](K\x01K\x02et").unwrap();
        assert_eq!(spec.function(), Some(("f", true)));
        assert!(matches!(read("real", b")"), Err(Misfit::Stray(_))));
        assert!(matches!(Spec::read(b"\x80\x04K\x01.", &[], LIMIT), Err(Misfit::Stray(_))));
        let raises = |path| match read(path, b")").unwrap() {
            Spec::Values { raises, .. } => raises,
            other => panic!("{other:?}"),
        };
        assert!(!raises("outboard::f") && raises("outboard-raises::f"));
        let series = b"\x8c\x06pandas\x8c\x06Series\x93\x8c\x011\x85R\x85";
        let error = read("outboard::f", series).unwrap_err();
        assert!(matches!(error, Misfit::Args(line) if line.contains("pandas.Series")));
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            code in prop::collection::vec(
                prop::sample::select(&b".NK\x01(t])}u\x85\x86\x93Rb\x94h\0cm\n"[..]), 0..100),
        ) {
            let _ = Spec::read(&bytes, &[], LIMIT);
            let _ = Spec::read(&code, &[], LIMIT);
            let _ = read("outboard::f", &code);
            let _ = read("outboard-payload::f", &code);
        }
    }
}

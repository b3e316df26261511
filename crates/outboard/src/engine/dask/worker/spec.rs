//! What a task of the cluster asks for: a Rust function with encoded arguments
//! or Python's values, or a value made of others. All else is a *stray*: only
//! Python can execute it.

use std::sync::Arc;
use std::time::Duration;

use rmpv::Value;

use super::key::Key;
use super::plain::{ARGS, DEPTH, MODULE, Needed, Plain, Source};
use crate::engine::dask::graph::{PAYLOAD_PREFIX, Terms, VALUES_PREFIX, resource};
use crate::engine::dask::message::{Serialized, field};
use crate::engine::dask::pickle::{Call, Node, Object, Symbols};
use crate::engine::dask::values::into_bytes;
use crate::task::registry::Function;

/// The slots of a task, in their order.
const TASK_SLOTS: usize = 9;
const FUNCTION: usize = 6;
const NAMED: usize = 8;

/// A task as it came: a pickle, with the buffers beside it.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) pickle: Vec<u8>,
    pub(super) buffers: Vec<Vec<u8>>,
}

/// What kind of task it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call of a Rust function.
    Call { name: String, values: bool },
    /// Data, or another name for what a task gave.
    Value,
    /// Something for Python; says what.
    Stray(String),
}

/// What is to be done, with all that is needed for it.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// Encoded arguments, and on which terms.
    Payload { name: String, args: Vec<u8>, terms: Terms },
    /// A pickle of a tuple of plain values.
    Values { name: String, args: Vec<u8> },
    /// The value itself.
    Value(Arc<Serialized>),
}

impl Spec {
    /// What kind of task it is.
    pub(super) fn kind(&self) -> Kind {
        let symbols = match Symbols::read(&self.pickle, self.buffers.len()) {
            Ok(symbols) => symbols,
            Err(error) => return Kind::Stray(error.to_string()),
        };
        match graph_class(&symbols, symbols.root) {
            Some(("Task", call)) => match task_slots(&symbols, call) {
                Some(slots) => function(&symbols, slots[FUNCTION]),
                None => Kind::Stray("a task of an unknown layout".into()),
            },
            Some(_) => Kind::Value,
            None => Kind::Stray("something that is no task".into()),
        }
    }

    /// What is to be done.
    ///
    /// # Errors
    ///
    /// A line that says why a Rust function cannot be called like that.
    pub(super) fn ask(&self, needed: &Needed, limit: usize) -> Result<Asked, String> {
        let symbols = Symbols::read(&self.pickle, self.buffers.len());
        let symbols = symbols.map_err(|error| error.to_string())?;
        let mut plain = Plain::new(needed, limit);
        let source = Source { symbols: &symbols, buffers: &self.buffers };
        let Kind::Call { name, values } = self.kind() else {
            return whole(&symbols, needed, source, plain);
        };
        let call = graph_class(&symbols, symbols.root).map(|(_, call)| call);
        let slots = call.and_then(|call| task_slots(&symbols, call)).ok_or("it is no task")?;
        let args = symbols.items(slots[ARGS]).ok_or("it has no arguments")?;
        if named_arguments(&symbols, slots[NAMED]) {
            return Err(format!("`{name}` takes no arguments by name"));
        }
        if !values {
            return payload(&symbols, needed, name, args);
        }
        plain.out.mark();
        for arg in args {
            plain.write(source, *arg, DEPTH)?;
        }
        plain.out.end_tuple();
        Ok(Asked::Values { name, args: plain.out.finish() })
    }
}

/// The value that a node which calls nothing stands for.
fn whole(
    symbols: &Symbols<'_>,
    needed: &Needed,
    source: Source<'_>,
    mut plain: Plain<'_>,
) -> Result<Asked, String> {
    if let Some(("Alias", call)) = graph_class(symbols, symbols.root)
        && let Some([_, target]) = symbols.items(call.args)
        && let Some(value) = Key::of_node(symbols, *target).and_then(|key| needed.get(&key))
    {
        return Ok(Asked::Value(value.clone()));
    }
    plain.write(source, symbols.root, DEPTH)?;
    Ok(Asked::Value(Arc::new(super::outcome::value(plain.out.finish()))))
}

fn payload(
    symbols: &Symbols<'_>,
    needed: &Needed,
    name: String,
    args: &[Node],
) -> Result<Asked, String> {
    // What follows are the scattered values that the payload names.
    let [args, timeout, grace, context, Node::Int(level), ..] = *args else {
        return Err(format!("`{name}` was not called by a client of this release"));
    };
    let time = |node| match node {
        Node::Int(ms) => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        _ => None,
    };
    let context = symbols.str(context).map(str::to_owned);
    let level = level.clamp(0, 5) as u8;
    let terms = Terms { timeout: time(timeout), grace: time(grace), context, level };
    let args = match args {
        Node::Bytes(args) => symbols.span(args).to_vec(),
        args => brought(symbols, needed, args)
            .ok_or_else(|| format!("`{name}` was not called by a client of this release"))?,
    };
    Ok(Asked::Payload { name, args, terms })
}

/// Arguments that came before their task.
fn brought(symbols: &Symbols<'_>, needed: &Needed, node: Node) -> Option<Vec<u8>> {
    let (class, call) = graph_class(symbols, node)?;
    // Older releases make an alias of it, whose last part is what it stands for.
    let [.., key] = symbols.items(call.args)? else { return None };
    let key = Key::of_node(symbols, *key).filter(|_| matches!(class, "TaskRef" | "Alias"))?;
    into_bytes(Serialized::clone(needed.get(&key)?)).ok()
}

fn function(symbols: &Symbols<'_>, node: Node) -> Kind {
    let called = symbols.call(node).filter(|call| {
        matches!(symbols.global(call.callable), Some(("operator" | "_operator", "attrgetter")))
    });
    let path = called.and_then(|call| match symbols.items(call.args) {
        Some([path]) => symbols.str(*path),
        _ => None,
    });
    let path = path.unwrap_or_default();
    if let Some(name) = path.strip_prefix(PAYLOAD_PREFIX) {
        return Kind::Call { name: name.to_owned(), values: false };
    }
    if let Some(name) = path.strip_prefix(VALUES_PREFIX) {
        return Kind::Call { name: name.to_owned(), values: true };
    }
    Kind::Stray(match symbols.global(node) {
        Some((module, name)) => format!("the Python function {module}.{name}"),
        None => "a Python function".into(),
    })
}

fn named_arguments(symbols: &Symbols<'_>, node: Node) -> bool {
    match node {
        Node::Object(index) => {
            matches!(symbols.object(index), Object::Dict(pairs) if !pairs.is_empty())
        }
        _ => false,
    }
}

/// The class of a graph's node.
fn graph_class<'a>(symbols: &'a Symbols<'_>, node: Node) -> Option<(&'a str, &'a Call)> {
    let call = symbols.call(node)?;
    match symbols.global(call.callable)? {
        (MODULE, class) => Some((class, call)),
        _ => None,
    }
}

fn task_slots<'a>(symbols: &'a Symbols<'_>, call: &Call) -> Option<&'a [Node]> {
    symbols.items(call.state?).filter(|slots| slots.len() == TASK_SLOTS)
}

/// Whether a task was meant for this very function: the types may differ.
pub(super) fn fits(one: &Value, function: &Function) -> bool {
    let restrictions = field(one, "resource_restrictions").and_then(Value::as_map);
    let names = restrictions.into_iter().flatten().filter_map(|(name, _)| name.as_str());
    let mut ours = names.filter(|name| name.starts_with("outboard:")).peekable();
    let own = resource(function.name, function.signature);
    ours.peek().is_none() || ours.any(|name| name == own)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::outcome::value;
    use super::*;
    use crate::engine::dask::pickle::Pickle;
    use crate::engine::dask::values::from_bytes;

    /// The pickle of a task, as schedulers write it.
    fn task(path: &str, args: &[u8]) -> Spec {
        let mut pickle = Pickle::new();
        pickle.global(MODULE, "Task");
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
        Spec { pickle: pickle.finish(), buffers: Vec::new() }
    }

    const LIMIT: usize = 1000;

    #[test]
    fn a_client_of_ours_passes_its_bytes_through() {
        let spec = task("outboard-payload::fib", b"(C\x01\x07K\x05N\x8c\x01cK\x03t");
        assert_eq!(spec.kind(), Kind::Call { name: "fib".into(), values: false });
        let timeout = Some(Duration::from_millis(5));
        let terms = Terms { timeout, grace: None, context: Some("c".into()), level: 3 };
        let asked = Asked::Payload { name: "fib".into(), args: vec![7], terms };
        assert_eq!(spec.ask(&Needed::new(), LIMIT), Ok(asked));
    }

    #[test]
    fn arguments_may_have_come_before_their_task() {
        let args = b"(\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03k-1\x85RNNNK\0";
        let spec = task("outboard-payload::fib", &[&args[..], b"t"].concat());
        let here = Needed::from([(Key::of(&"k-1".into()), Arc::new(from_bytes(vec![7, 8])))]);
        let terms = Terms::default();
        let asked = Asked::Payload { name: "fib".into(), args: vec![7, 8], terms };
        assert_eq!(spec.ask(&here, LIMIT), Ok(asked));
        assert!(spec.ask(&Needed::new(), LIMIT).is_err());
    }

    #[test]
    fn pythons_values_are_written_plainly_with_what_they_refer_to() {
        let reference = b"\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x03k-1\x85R";
        let mut args = b"(](K\x01K\x02e".to_vec();
        args.extend(reference);
        args.extend(reference);
        args.push(b't');
        let spec = task("outboard::f", &args);
        let key = Key::of(&"k-1".into());
        let zero = value(b"\x80\x05G\0\0\0\0\0\0\0\0.".to_vec());
        let needed = Needed::from([(key.clone(), Arc::new(zero))]);
        let Ok(Asked::Values { args, .. }) = spec.ask(&needed, LIMIT) else { panic!("values") };
        let expected = b"\x80\x04(](K\x01K\x02eG\0\0\0\0\0\0\0\0G\0\0\0\0\0\0\0\0t.";
        assert_eq!(args, expected);
        let needed = Needed::from([(key, Arc::new(from_bytes(b"hi".to_vec())))]);
        let Ok(Asked::Values { args, .. }) = spec.ask(&needed, LIMIT) else { panic!("values") };
        assert!(args.ends_with(b"C\x02hiC\x02hit."));
        assert!(spec.ask(&Needed::new(), LIMIT).is_err());
    }

    #[test]
    fn what_only_python_has_is_refused_by_name() {
        let args = b"\x8c\x07decimal\x8c\x07Decimal\x93\x8c\x011\x85R\x85";
        let error = task("outboard::f", args).ask(&Needed::new(), LIMIT).unwrap_err();
        assert!(error.contains("decimal.Decimal"), "{error}");
        assert!(matches!(task("real", b")").kind(), Kind::Stray(_)));
        let plain = Spec { pickle: b"\x80\x04K\x01.".to_vec(), buffers: Vec::new() };
        assert!(matches!(plain.kind(), Kind::Stray(_)));
    }

    #[test]
    fn a_small_value_that_stands_for_a_huge_one_is_refused() {
        let mut args = b"]\x940".to_vec();
        for level in 0..40 {
            args.extend([b']', b'(', b'h', level, b'h', level, b'e', 0x94, b'0']);
        }
        args.extend([b'h', 40, 0x85]);
        let error = task("outboard::f", &args).ask(&Needed::new(), LIMIT).unwrap_err();
        assert!(error.contains("limit"), "{error}");
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            code in prop::collection::vec(
                prop::sample::select(&b".NK\x01(t])}u\x85\x86\x93Rb\x94h\0cm\n"[..]), 0..100),
        ) {
            for pickle in [bytes, code.clone()] {
                let spec = Spec { pickle, buffers: Vec::new() };
                let _ = (spec.kind(), spec.ask(&Needed::new(), LIMIT).is_ok());
            }
            let _ = task("outboard::f", &code).ask(&Needed::new(), LIMIT);
        }
    }
}

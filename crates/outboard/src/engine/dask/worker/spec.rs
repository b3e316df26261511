//! What a scheduler wants a worker to execute: the call in a task's pickle.

use crate::engine::dask::graph::{PAYLOAD_PREFIX, VALUES_PREFIX};
use crate::engine::dask::pickle::{Node, Symbols};
use crate::task::{Function, registry};

/// How many slots the state of a task has, and which are its arguments, its
/// function and its named arguments.
const SLOTS: usize = 9;
const ARGS: usize = 5;
const FUNCTION: usize = 6;
const NAMED: usize = 8;

/// A call of one of our functions.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) function: &'static Function,
    pub(super) args: Vec<u8>,
    pub(super) timeout_ms: Option<u64>,
    /// It was called with Python's values, and is to give one.
    pub(super) values: bool,
}

/// Why a task is not executed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is none of ours: another worker may execute it.
    Stray,
    /// It names a function of ours, but not in a way that can be called.
    Wrong(String),
}

/// Reads the pickle of a task.
pub(super) fn read(pickle: &[u8]) -> Result<Spec, Unfit> {
    let symbols = Symbols::read(pickle, 0).map_err(|_| Unfit::Stray)?;
    let task = symbols.call(symbols.root).ok_or(Unfit::Stray)?;
    if symbols.global(task.callable) != Some(("dask._task_spec", "Task")) {
        return Err(Unfit::Stray);
    }
    let state = task.state.and_then(|state| symbols.items(state));
    let state = state.filter(|state| state.len() == SLOTS).ok_or(Unfit::Stray)?;
    let name = function_name(&symbols, state[FUNCTION]).ok_or(Unfit::Stray)?;
    if let Some(name) = name.strip_prefix(PAYLOAD_PREFIX) {
        let function = find(name)?;
        let (args, timeout_ms) = payload(&symbols, state[ARGS])
            .ok_or_else(|| Unfit::Wrong("its arguments are not those of a client".into()))?;
        return Ok(Spec { function, args, timeout_ms, values: false });
    }
    let name = name.strip_prefix(VALUES_PREFIX).ok_or(Unfit::Stray)?;
    let function = find(name)?;
    let args = function.values.ok_or(Unfit::Stray)?.args;
    if !is_empty_dict(&symbols, state[NAMED]) {
        return Err(Unfit::Wrong(format!("`{name}` takes no named arguments")));
    }
    let args = args(&symbols, state[ARGS])
        .map_err(|error| Unfit::Wrong(format!("the arguments of `{name}` do not fit: {error}")))?;
    Ok(Spec { function, args, timeout_ms: None, values: true })
}

/// The name in `operator.attrgetter(name)`, which is how a function of ours is
/// named.
fn function_name<'a>(symbols: &Symbols<'a>, function: Node) -> Option<&'a str> {
    let call = symbols.call(function)?;
    let ("operator" | "_operator", "attrgetter") = symbols.global(call.callable)? else {
        return None;
    };
    match symbols.items(call.args)? {
        [name] => symbols.str(*name),
        _ => None,
    }
}

fn find(name: &str) -> Result<&'static Function, Unfit> {
    let functions = registry().map_err(|problem| Unfit::Wrong(problem.to_owned()))?.functions();
    match functions.binary_search_by_key(&name, |function| function.name) {
        Ok(at) => Ok(&functions[at]),
        Err(_) => Err(Unfit::Stray),
    }
}

fn payload(symbols: &Symbols<'_>, args: Node) -> Option<(Vec<u8>, Option<u64>)> {
    let [Node::Bytes(span), timeout] = *symbols.items(args)? else { return None };
    let timeout = match timeout {
        Node::Int(ms) => Some(u64::try_from(ms).ok()?),
        Node::None => None,
        _ => return None,
    };
    Some((symbols.span(span).to_vec(), timeout))
}

fn is_empty_dict(symbols: &Symbols<'_>, node: Node) -> bool {
    match node {
        Node::None => true,
        Node::Object(index) => {
            matches!(symbols.object(index), crate::engine::dask::pickle::Object::Dict(pairs) if pairs.is_empty())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_none_of_ours_is_a_stray() {
        for stray in [&b"\x80\x04N."[..], b"nonsense", b"\x80\x04coperator\nneg\n."] {
            assert_eq!(read(stray).unwrap_err(), Unfit::Stray);
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(
            code in prop::collection::vec(
                prop::sample::select(&b".NK\x01(t])}u\x85\x86\x93\x81Rb\x94h\0cm\n"[..]), 0..100),
        ) {
            let _ = read(&code);
        }
    }
}

//! How a task ended, as it is told to the cluster: a value, or an exception
//! that Python can read and a Rust client turns back into its error.

use super::spec::Asked;
use crate::engine::dask::message::Serialized;
use crate::engine::dask::native::{Done, Failed};
use crate::engine::dask::pickle::{Node, Object, Pickle, Symbols};
use crate::engine::dask::values::{from_bytes, from_pickle};
use crate::error::{Error, Repr};
use crate::sched::ledger::Report;
use crate::task::outcome::Said;

/// An exception's pickle, and its line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raised {
    pub(super) pickle: Vec<u8>,
    pub(super) text: String,
}

impl Raised {
    /// An exception of one of Python's own classes.
    pub(super) fn new(class: &str, line: &str, note: Option<&str>) -> Self {
        let mut pickle = Pickle::new();
        pickle.global("builtins", class);
        pickle.str(line);
        pickle.tuple_of_one();
        pickle.call();
        if let Some(note) = note {
            pickle.begin_dict();
            pickle.str("__notes__");
            pickle.begin_list();
            pickle.str(note);
            pickle.end_list();
            pickle.end_dict();
            pickle.build();
        }
        Self { pickle: pickle.finish(), text: format!("{class}({line:?})") }
    }

    /// What a task of a Rust client raises, at the worker with that address.
    pub(super) fn for_rust(error: &Error, worker: &str, said: &[Said]) -> Self {
        let text = error.to_string();
        Self { pickle: Failed::of(error).to_exception(&text, worker, said), text }
    }

    /// What a task of Python's raises.
    pub(super) fn for_python(error: &Error) -> Self {
        let line = error.to_string();
        let source = std::error::Error::source(error).map(|source| format!("{line}: {source}"));
        let line = source.unwrap_or(line);
        match error.repr() {
            Repr::Panicked(panic) if !panic.backtrace.is_empty() => {
                Self::new("RuntimeError", &line, Some(&panic.backtrace))
            }
            Repr::TimedOut { .. } => Self::new("TimeoutError", &line, None),
            Repr::Codec { what: "decode the arguments", .. } => Self::new("TypeError", &line, None),
            Repr::UnknownTask { .. } => Self::new("LookupError", &line, None),
            Repr::WorkerLost(lost) | Repr::OutOfMemory(lost) => {
                let stderr = lost.stderr.join("\n");
                Self::new(
                    if lost.shortage.is_some() { "MemoryError" } else { "RuntimeError" },
                    &line,
                    Some(&stderr).filter(|text| !text.is_empty()).map(String::as_str),
                )
            }
            _ => Self::new("RuntimeError", &line, None),
        }
    }
}

/// The value that a task of a Rust client gave, how it went, and what it said.
pub(super) fn reply(payload: &[u8], report: &Report, said: Vec<Said>) -> Serialized {
    from_bytes(Done::of(report, said).encode(payload))
}

/// The value that a pickle stands for: bytes travel as they are.
pub(super) fn value(pickle: Vec<u8>) -> Serialized {
    let bytes = Symbols::read(&pickle, 0).ok().and_then(|symbols| match symbols.root {
        Node::Bytes(span) => Some(symbols.span(span).to_vec()),
        _ => None,
    });
    match bytes {
        Some(bytes) => from_bytes(bytes),
        None => from_pickle(pickle),
    }
}

/// The name of the class of a value, as dashboards show it, where it is plain.
pub(super) fn class(object: &Serialized) -> Option<&'static str> {
    use crate::engine::dask::message::text;
    if text(&object.header, "serializer") == Some("dask") {
        return Some("bytes");
    }
    let symbols = Symbols::read(object.frames.first()?, object.frames.len() - 1).ok()?;
    Some(match symbols.root {
        Node::None => "NoneType",
        Node::Bool(_) => "bool",
        Node::Int(_) | Node::Long(_) => "int",
        Node::Float(_) => "float",
        Node::Str(_) => "str",
        Node::Bytes(_) | Node::Buffer(_) => "bytes",
        Node::EmptyTuple => "tuple",
        Node::Object(index) => match symbols.object(index) {
            Object::List(_) => "list",
            Object::Tuple(_) => "tuple",
            Object::Set(_) => "set",
            Object::Dict(_) => "dict",
            Object::Global { .. } | Object::Call(_) => return None,
        },
    })
}

/// Whether a Rust client asked: it understands more than Python does.
pub(super) fn asked_by_us(asked: &Asked) -> bool {
    matches!(asked, Asked::Payload { .. })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::dask::exception;
    use crate::error::{Cause, Panic, Stage, WorkerLoss};

    fn panicked() -> Error {
        let panic =
            Panic { message: "oops".into(), location: "a.rs:1:2".into(), backtrace: "0: f".into() };
        Error::new(Repr::Panicked(panic))
    }

    #[test]
    fn python_reads_a_class_a_line_and_notes() {
        let raised = Raised::for_python(&panicked());
        let read = exception::read(&raised.pickle, None);
        assert_eq!(read.class, "RuntimeError");
        assert_eq!(read.message, "task panicked at a.rs:1:2: oops");
        assert!(raised.pickle.windows(4).any(|part| part == b"0: f"));
    }

    #[test]
    fn a_rust_client_gets_its_error_back() {
        let timed_out = Repr::TimedOut { stage: Stage::Running, timeout: Duration::from_secs(1) };
        let lost = WorkerLoss { pid: 7, cause: Some(Cause::Signal(9)), ..WorkerLoss::default() };
        for error in [panicked(), Error::new(timed_out), Error::new(Repr::WorkerLost(lost))] {
            let raised = Raised::for_rust(&error, "tcp://a:1", &[]);
            let read = Some(("tcp://a:1".to_owned(), Vec::new(), Failed::of(&error)));
            assert_eq!(Failed::from_exception(&raised.pickle), read);
        }
    }

    #[test]
    fn plain_values_have_a_class() {
        let class_of = |pickle: &[u8]| class(&value(pickle.to_vec()));
        assert_eq!(class_of(b"\x80\x04K\x01."), Some("int"));
        assert_eq!(class_of(b"\x80\x04C\x01a."), Some("bytes"));
        assert_eq!(class_of(b"\x80\x04]."), Some("list"));
        assert_eq!(class_of(b"nonsense"), None);
    }
}

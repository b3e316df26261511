//! How a task ended, as it is told to the cluster: a value, or an exception
//! that Python can read and a Rust client turns back into its error.

use dask_protocol::Serialized;
use dask_protocol::pickle::{Node, Pickle, Symbols, from_slice};

use crate::engine::dask::native::{self, Done};
use crate::error::{Error, Repr, Step};
use crate::sched::ledger::Report;
use crate::task::outcome::{Failure, Said};
use crate::task::values::{PLAIN, RESULT};

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

    /// The exception that has what an `Err` holds, by its opcodes.
    fn with(error: &[u8]) -> Self {
        let mut pickle = Pickle::new();
        pickle.global("builtins", "ValueError");
        pickle.part(error);
        pickle.tuple_of_one();
        pickle.call();
        let mut alone = Pickle::new();
        alone.part(error);
        let line: String = from_slice(&alone.finish()).unwrap_or_default();
        Self { pickle: pickle.finish(), text: format!("ValueError({line:?})") }
    }

    /// What a task of a Rust client raises, at the worker with that address.
    pub(super) fn for_rust(error: &Error, worker: &str, said: &[Said]) -> Self {
        let text = error.to_string();
        Self { pickle: native::exception(&Failure::of(error), &text, worker, said), text }
    }

    /// What a task of Python's raises.
    pub(super) fn for_python(error: &Error) -> Self {
        let line = error.to_string();
        match error.repr() {
            Repr::Panicked(panic) if !panic.backtrace.is_empty() => {
                Self::new("RuntimeError", &line, Some(&panic.backtrace))
            }
            Repr::TimedOut { .. } => Self::new("TimeoutError", &line, None),
            Repr::Codec { step: Step::DecodeArguments, .. } => Self::new("TypeError", &line, None),
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
    Serialized::from_bytes(Done::of(report, said).encode(payload))
}

/// What a function gave that was called with Python's values: a value, or the `Err` that
/// it returned, if that is to be raised.
pub(super) fn of_values(payload: &[u8], raises: bool) -> Result<Serialized, Raised> {
    let (form, pickle) = payload.split_first().unwrap_or((&PLAIN, payload));
    if !raises || *form != RESULT {
        return Ok(value(pickle.to_vec()));
    }
    if let Some(error) = variant(pickle, "Err") {
        return Err(Raised::with(error));
    }
    let value_of = |part: &[u8]| {
        let mut pickle = Pickle::new();
        pickle.part(part);
        value(pickle.finish())
    };
    Ok(variant(pickle, "Ok").map_or_else(|| value(pickle.to_vec()), value_of))
}

/// The opcodes of what a variant of that name holds, in a pickle of ours.
fn variant<'a>(pickle: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut begin = Pickle::new();
    begin.begin_dict();
    begin.str(name);
    let mut end = Pickle::part_of(Vec::new());
    end.end_dict();
    pickle.strip_prefix(&*begin.into_part())?.strip_suffix(&*end.finish())
}

/// The value that a pickle stands for: bytes travel as they are.
pub(super) fn value(pickle: Vec<u8>) -> Serialized {
    let bytes = Symbols::read(&pickle, 0).ok().and_then(|symbols| match symbols.root() {
        Node::Bytes(span) => Some(symbols.span(span).to_vec()),
        _ => None,
    });
    match bytes {
        Some(bytes) => Serialized::from_bytes(bytes),
        None => Serialized::from_pickle(pickle),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Cause, Oversized, Panic, Stage, WorkerLoss};
    use dask_protocol::exception::Exception;

    fn panicked() -> Error {
        let panic =
            Panic { message: "oops".into(), location: "a.rs:1:2".into(), backtrace: "0: f".into() };
        Error::new(Repr::Panicked(panic))
    }

    #[test]
    fn python_reads_a_class_a_line_and_notes() {
        let raised = Raised::for_python(&panicked());
        let read = Exception::read(&raised.pickle, None);
        assert_eq!(read.class, "RuntimeError");
        assert_eq!(read.message, "task panicked at a.rs:1:2: oops");
        assert!(raised.pickle.windows(4).any(|part| part == b"0: f"));
        let class = |step| {
            let raised = Raised::for_python(&Error::codec(step, "T", "no"));
            Exception::read(&raised.pickle, None).class
        };
        assert_eq!(class(Step::DecodeArguments), "TypeError");
        assert_eq!(class(Step::EncodeResult), "RuntimeError");
    }

    #[test]
    fn an_err_is_raised_for_who_asks() {
        let ok = b"\x01\x80\x04}(\x8c\x02OkK\x07u.";
        let err = b"\x01\x80\x04}(\x8c\x03Err\x8c\x04oopsu.";
        let whole = |payload: &[u8]| Ok(Serialized::from_pickle(payload[1..].to_vec()));
        assert_eq!(of_values(ok, false), whole(ok));
        assert_eq!(of_values(err, false), whole(err));
        let seven = Serialized::from_pickle(b"\x80\x04K\x07.".to_vec());
        assert_eq!(of_values(ok, true), Ok(seven));
        let raised = of_values(err, true).unwrap_err();
        let read = Exception::read(&raised.pickle, None);
        assert_eq!((&*read.class, &*read.message), ("ValueError", "oops"));
        // A map that looks like one is none.
        let map = [b"\0", &err[1..]].concat();
        assert_eq!(of_values(&map, true), whole(&map));
    }

    #[test]
    fn a_rust_client_gets_its_error_back() {
        let timed_out = Repr::TimedOut { stage: Stage::Running, timeout: Duration::from_secs(1) };
        let lost = WorkerLoss { pid: 7, cause: Some(Cause::Signal(9)), ..WorkerLoss::default() };
        let refused = Repr::Quarantined { crashes: 3, left: Duration::MAX, lost: lost.clone() };
        let lost = Repr::WorkerLost(lost);
        let large = Repr::TooLarge { what: Oversized::Result, bytes: 2, limit: 1 };
        let others = [timed_out, refused, lost, large, Repr::Cancelled].map(Error::new);
        let codec = |step| Error::codec(step, "T", "no");
        let codecs = [codec(Step::DecodeArguments), codec(Step::EncodeResult)];
        for error in [panicked()].into_iter().chain(others).chain(codecs) {
            let raised = Raised::for_rust(&error, "tcp://a:1", &[]);
            let read = Some(("tcp://a:1".to_owned(), Vec::new(), Failure::of(&error)));
            assert_eq!(native::read_exception(&raised.pickle), read);
        }
    }
}

//! How a task ended, as it is told to the cluster: a value, or an exception
//! that Python can read and a Rust client turns back into its error.

use dask_protocol::Serialized;
use dask_protocol::pickle::{Node, Pickle, Symbols};

use crate::engine::dask::native::{self, Done};
use crate::error::{Error, Repr, Step};
use crate::sched::ledger::Report;
use crate::task::outcome::{Failure, Said};

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

//! What a Rust client and a native worker say to each other inside of Dask's
//! messages: results with what they used, and failures with all that is known.
//!
//! The result of a task is the bytes of [`Done`]. A failure is an exception of
//! Python that has them of [`Failed`] as its second argument, so that a Python
//! client can read it as well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::exception;
use super::pickle::{Node, Pickle, Symbols};
use crate::codec::encode_into;
use crate::error::{Cause, Lost, Stage};
#[cfg(all(feature = "local", target_os = "linux"))]
use crate::error::{Error, Repr};
#[cfg(all(feature = "local", target_os = "linux"))]
use crate::task::RunError;
use crate::wire::{Failure, Usage};

/// The version of what is said here; it is the first byte of each.
const VERSION: u8 = 1;

/// What an execution that gave a result used; the encoded result follows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) usage: Usage,
    /// The number of the process, on the machine where it ran.
    pub(crate) pid: u32,
}

/// Why an execution has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Failed {
    /// Its process lives on.
    Failure(Failure, Usage),
    /// Its process died.
    Lost(Death),
    /// It ran out of the time that it was given.
    TimedOut { stage: Stage, timeout: Duration },
    /// The worker's queue is full, or it is ending.
    Refused(String),
}

/// How a process ended, on the machine where it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Death {
    worker: usize,
    pid: u32,
    cause: Option<Cause>,
    stderr: Vec<String>,
    memory_bytes: Option<u64>,
    run_time: Option<Duration>,
    cpu_time: Option<Duration>,
}

impl From<&Lost> for Death {
    fn from(lost: &Lost) -> Self {
        Self {
            worker: lost.worker,
            pid: lost.pid,
            cause: lost.cause,
            stderr: lost.stderr.clone(),
            memory_bytes: lost.memory_bytes,
            run_time: lost.run_time,
            cpu_time: lost.cpu_time,
        }
    }
}

impl From<Death> for Lost {
    fn from(death: Death) -> Self {
        let Death { worker, pid, cause, stderr, memory_bytes, run_time, cpu_time } = death;
        Self { worker, pid, cause, stderr, memory_bytes, run_time, cpu_time, ..Self::default() }
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl Failed {
    /// What a worker's own engine ended a task with.
    pub(crate) fn of(error: &Error) -> Self {
        let usage = Usage::default();
        match error.repr() {
            Repr::Panicked(panic) => Self::Failure(Failure::Panicked(panic.clone()), usage),
            Repr::WorkerLost(lost) => Self::Lost(lost.into()),
            Repr::TimedOut { stage, timeout } => {
                Self::TimedOut { stage: *stage, timeout: *timeout }
            }
            Repr::TooLarge { bytes, limit, .. } => {
                Self::Failure(Failure::TooLarge { bytes: *bytes, limit: *limit }, usage)
            }
            Repr::Codec { what, type_name, source } => {
                let (type_name, source) = (type_name.to_string(), source.to_string());
                let error = match what.starts_with("decode") {
                    true => RunError::Decode { type_name, source },
                    false => RunError::Encode { type_name, source },
                };
                Self::Failure(Failure::Codec(error), usage)
            }
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl Done {
    /// The bytes of a task's result.
    pub(crate) fn encode(&self, result: &[u8]) -> Vec<u8> {
        let mut out = vec![VERSION];
        encode_into(self, &mut out).expect("it consists of what postcard can encode");
        out.extend_from_slice(result);
        out
    }

    /// Takes the encoded result from a task's; `None` if no worker of ours wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        postcard::take_from_bytes(rest).ok()
    }
}

impl Failed {
    /// The pickle of an exception that says it, with a line for those who read
    /// Python only.
    pub(crate) fn to_exception(&self, line: &str) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        encode_into(self, &mut bytes).expect("it consists of what postcard can encode");
        let mut pickle = Pickle::new();
        pickle.global("builtins", "RuntimeError");
        pickle.str(line);
        pickle.bytes(&bytes);
        pickle.tuple_of_two();
        pickle.call();
        pickle.finish()
    }

    /// What an exception says; `None` if no worker of ours raised it.
    pub(crate) fn from_exception(pickle: &[u8]) -> Option<Self> {
        let symbols = Symbols::read(pickle, 0).ok()?;
        let [_, Node::Bytes(span)] = *exception::args(&symbols) else { return None };
        let (&VERSION, rest) = symbols.span(span).split_first()? else { return None };
        postcard::from_bytes(rest).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_with_what_it_used() {
        let usage =
            Usage { run_ns: 7, cpu_ns: Some(8), memory_before_bytes: None, memory_bytes: None };
        let done = Done { usage, pid: 9 };
        assert_eq!(Done::decode(&done.encode(b"abc")), Some((done, &b"abc"[..])));
        assert_eq!(Done::decode(b"\x02\0\0\0\0"), None);
        assert_eq!(Done::decode(b""), None);
    }

    #[test]
    fn a_failure_is_an_exception_that_python_can_read() {
        let lost = Lost { pid: 7, cause: Some(Cause::Signal(11)), ..Lost::default() };
        let failed = Failed::Lost(Death::from(&lost));
        let pickle = failed.to_exception("worker was lost");
        assert_eq!(Failed::from_exception(&pickle), Some(failed));
        assert_eq!(exception::read(&pickle, None).class, "RuntimeError");
        assert_eq!(Failed::from_exception(b"\x80\x04N."), None);
    }
}

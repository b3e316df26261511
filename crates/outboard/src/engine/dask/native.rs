//! What a Rust client and a native worker say to each other inside of Dask's
//! messages: results with what they used, and failures with all that is known.
//!
//! The result of a task is the bytes of [`Done`], and then its own. A failure is an
//! exception of Python that has the bytes of a [`Failure`] as its second argument, so
//! that a Python client can read it as well.

#[cfg(all(feature = "local", target_os = "linux"))]
use std::time::Duration;

use dask_protocol::exception::args;
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
use dask_protocol::pickle::Pickle;
use dask_protocol::pickle::{Node, Symbols};
use serde::{Deserialize, Serialize};

#[cfg(all(feature = "local", target_os = "linux"))]
use crate::sched::ledger::Report;
use crate::task::outcome::{Failure, Said, Usage};
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
use crate::value::message;

/// The version of what is said here; it is the first byte of each.
pub(crate) const VERSION: u8 = 9;

/// What an execution that gave a result used and said; the encoded result follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) usage: Usage,
    /// Resident memory before, of which `usage` says nothing when it travels.
    pub(crate) memory_before_bytes: Option<u64>,
    pub(crate) said: Vec<Said>,
}

impl Done {
    /// What an execution by this process's own engine used.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(crate) fn of(report: &Report, said: Vec<Said>) -> Self {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let usage = Usage {
            run_ns: nanoseconds(report.run_time),
            cpu_ns: report.cpu_time.map(nanoseconds),
            memory_bytes: report.memory_bytes,
            peak_bytes: report.peak_memory_bytes,
            memory_before_bytes: None,
            batch: u32::try_from(report.batch).unwrap_or(1),
        };
        let memory_before_bytes = report.memory_at_start_bytes;
        Self { usage, memory_before_bytes, said }
    }

    /// The bytes of a task's result.
    #[cfg(any(test, all(feature = "local", target_os = "linux")))]
    pub(crate) fn encode(&self, result: &[u8]) -> Vec<u8> {
        let mut out = vec![VERSION];
        message::append(self, &mut out);
        out.extend_from_slice(result);
        out
    }

    /// Takes the encoded result from a task's; `None` if no worker of ours wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        postcard::take_from_bytes(rest).ok()
    }
}

/// The bytes of a failure: the address of the worker that reports it, what the task
/// had said, and why it has no result.
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
pub(crate) fn encode_failure(failure: &Failure, worker: &str, said: &[Said]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let all = (worker, said, failure);
    message::append(&all, &mut bytes);
    bytes
}

/// The pickle of an exception that has them, with a line for those who read Python only.
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
pub(crate) fn exception(failure: &Failure, line: &str, worker: &str, said: &[Said]) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.global("builtins", "RuntimeError");
    pickle.str(line);
    pickle.bytes(&encode_failure(failure, worker, said));
    pickle.tuple_of_two();
    pickle.call();
    pickle.finish()
}

/// What [`exception`] was made of; `None` if no worker of ours raised it.
pub(crate) fn read_exception(pickle: &[u8]) -> Option<(String, Vec<Said>, Failure)> {
    let symbols = Symbols::read(pickle, 0).ok()?;
    let [_, Node::Bytes(span)] = *args(&symbols) else { return None };
    let (&VERSION, rest) = symbols.span(span).split_first()? else { return None };
    postcard::from_bytes(rest).ok()
}

#[cfg(test)]
mod tests {
    use dask_protocol::exception::Exception;

    use super::*;
    use crate::error::{Cause, WorkerLoss};

    #[test]
    fn a_result_comes_with_what_it_used() {
        let usage = Usage { run_ns: 7, cpu_ns: Some(8), ..Usage::default() };
        let said = vec![Said { level: 3, message: "hm".into(), ..Said::default() }];
        let done = Done { usage, memory_before_bytes: Some(6), said };
        assert_eq!(Done::decode(&done.encode(b"abc")), Some((done, &b"abc"[..])));
        assert_eq!(Done::decode(b"\x01\0\0\0\0"), None);
        assert_eq!(Done::decode(b""), None);
    }

    #[test]
    fn a_failure_is_an_exception_that_python_can_read() {
        let lost = WorkerLoss { pid: 7, cause: Some(Cause::Signal(11)), ..WorkerLoss::default() };
        let failure = Failure::Lost(Box::new(lost));
        let said = vec![Said { level: 2, message: "last words".into(), ..Said::default() }];
        let pickle = exception(&failure, "worker was lost", "tcp://a:1", &said);
        assert_eq!(read_exception(&pickle), Some(("tcp://a:1".into(), said, failure)));
        assert_eq!(Exception::read(&pickle, None).class, "RuntimeError");
        assert_eq!(read_exception(b"\x80\x04N."), None);
    }
}

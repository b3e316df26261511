//! What a Rust client and a native worker say to each other inside of Dask's
//! messages: results with what they used, and failures with all that is known.
//!
//! The result of a task is the bytes of [`Done`]. A failure is an exception of
//! Python that has them of [`Failed`] as its second argument, so that a Python
//! client can read it as well.

use std::time::Duration;

use dask_protocol::exception;
use dask_protocol::pickle::{Node, Pickle, Symbols};
use serde::{Deserialize, Serialize};

use crate::error::{Cause, Shortage, Stage, WorkerLoss};
#[cfg(all(feature = "local", target_os = "linux"))]
use crate::error::{Error, Repr};
#[cfg(all(feature = "local", target_os = "linux"))]
use crate::sched::ledger::Report;
#[cfg(all(feature = "local", target_os = "linux"))]
use crate::task::outcome::RunError;
use crate::task::outcome::{Failure, Said, Usage};
use crate::value::codec::encode_into;

/// The version of what is said here; it is the first byte of each.
pub(crate) const VERSION: u8 = 4;

/// What an execution that gave a result used and said; the encoded result follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) usage: Usage,
    /// Resident memory before, of which `usage` says nothing when it travels.
    pub(crate) memory_before_bytes: Option<u64>,
    /// The number of the process, on the machine where it ran.
    pub(crate) pid: u32,
    pub(crate) said: Vec<Said>,
}

/// Why an execution has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Failed {
    /// Its process lives on.
    Failure(Failure),
    /// Its process died.
    Lost(Death),
    /// Its arguments took down processes over there, and are refused for a while.
    Quarantined { crashes: u32, left: Duration, death: Death },
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
    shortage: Option<Shortage>,
    stderr: Vec<String>,
    memory_bytes: Option<u64>,
    memory_at_start_bytes: Option<u64>,
    run_time: Option<Duration>,
    cpu_time: Option<Duration>,
}

impl From<&WorkerLoss> for Death {
    fn from(lost: &WorkerLoss) -> Self {
        Self {
            worker: lost.worker,
            pid: lost.pid,
            cause: lost.cause,
            shortage: lost.shortage,
            stderr: lost.stderr.clone(),
            memory_bytes: lost.memory_bytes,
            memory_at_start_bytes: lost.memory_at_start_bytes,
            run_time: lost.run_time,
            cpu_time: lost.cpu_time,
        }
    }
}

impl From<Death> for WorkerLoss {
    fn from(death: Death) -> Self {
        Self {
            worker: death.worker,
            pid: death.pid,
            cause: death.cause,
            shortage: death.shortage,
            stderr: death.stderr,
            memory_bytes: death.memory_bytes,
            memory_at_start_bytes: death.memory_at_start_bytes,
            run_time: death.run_time,
            cpu_time: death.cpu_time,
            ..Self::default()
        }
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl Failed {
    /// What a worker's own engine ended a task with.
    pub(crate) fn of(error: &Error) -> Self {
        match error.repr() {
            Repr::Panicked(panic) => Self::Failure(Failure::Panicked(panic.clone())),
            Repr::WorkerLost(lost) | Repr::OutOfMemory(lost) => Self::Lost(lost.into()),
            Repr::Quarantined { crashes, left, lost } => {
                Self::Quarantined { crashes: *crashes, left: *left, death: lost.into() }
            }
            Repr::TimedOut { stage, timeout } => {
                Self::TimedOut { stage: *stage, timeout: *timeout }
            }
            Repr::TooLarge { what, bytes, limit } => {
                Self::Failure(Failure::TooLarge { what: *what, bytes: *bytes, limit: *limit })
            }
            Repr::Codec { what, type_name, source } => {
                let (type_name, source) = (type_name.to_string(), source.to_string());
                let error = match what.starts_with("decode") {
                    true => RunError::Decode { type_name, source },
                    false => RunError::Encode { type_name, source },
                };
                Self::Failure(Failure::Codec(error))
            }
            Repr::UnknownTask { .. } => Self::Failure(Failure::UnknownTask),
            _ => Self::Refused(error.to_string()),
        }
    }
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
            memory_before_bytes: None,
        };
        let memory_before_bytes = report.memory_at_start_bytes;
        Self { usage, memory_before_bytes, pid: std::process::id(), said }
    }

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
    /// What an exception that says it has as its second argument: it, which worker
    /// did, and what the task had said.
    pub(crate) fn to_bytes(&self, worker: &str, said: &[Said]) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        let all = (worker, said, self);
        encode_into(&all, &mut bytes).expect("it consists of what postcard can encode");
        bytes
    }

    /// The pickle of an exception that says all that, with a line for those who read
    /// Python only.
    pub(crate) fn to_exception(&self, line: &str, worker: &str, said: &[Said]) -> Vec<u8> {
        let mut pickle = Pickle::new();
        pickle.global("builtins", "RuntimeError");
        pickle.str(line);
        pickle.bytes(&self.to_bytes(worker, said));
        pickle.tuple_of_two();
        pickle.call();
        pickle.finish()
    }

    /// The address of the worker, what the task had said, and what an exception
    /// says; `None` if no worker of ours raised it.
    pub(crate) fn from_exception(pickle: &[u8]) -> Option<(String, Vec<Said>, Self)> {
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
        let said = vec![Said { level: 3, message: "hm".into(), ..Said::default() }];
        let done = Done { usage, memory_before_bytes: Some(6), pid: 9, said };
        assert_eq!(Done::decode(&done.encode(b"abc")), Some((done, &b"abc"[..])));
        assert_eq!(Done::decode(b"\x01\0\0\0\0"), None);
        assert_eq!(Done::decode(b""), None);
    }

    #[test]
    fn a_failure_is_an_exception_that_python_can_read() {
        let lost = WorkerLoss { pid: 7, cause: Some(Cause::Signal(11)), ..WorkerLoss::default() };
        let failed = Failed::Lost(Death::from(&lost));
        let said = vec![Said { level: 2, message: "last words".into(), ..Said::default() }];
        let pickle = failed.to_exception("worker was lost", "tcp://a:1", &said);
        assert_eq!(Failed::from_exception(&pickle), Some(("tcp://a:1".into(), said, failed)));
        assert_eq!(exception::Exception::read(&pickle, None).class, "RuntimeError");
        assert_eq!(Failed::from_exception(b"\x80\x04N."), None);
    }
}

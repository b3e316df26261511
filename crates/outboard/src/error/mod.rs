//! Why a task gave no result: one [`Error`] with a [`kind`](Error::kind), and what is
//! known beyond the kind.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod kind;
pub(crate) mod loss;

pub use kind::ErrorKind;
pub use loss::{Cause, Shortage, WorkerLoss};

/// Why a task gave no result.
///
/// Every engine has this one type. [`kind`](Error::kind), or a predicate such as
/// [`is_overloaded`](Error::is_overloaded), says what happened. `Display` is one
/// lower-case line for a log. If a task function returns an `Err`, that is its
/// result and never becomes this type.
///
/// Cloning is cheap: all callers that share a task get the same error.
///
/// # Examples
///
/// ```
/// # fn answer(error: outboard::Error) -> u16 {
/// if error.is_timed_out() {
///     504
/// } else if error.is_overloaded() {
///     503
/// } else {
///     500
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Error(Arc<Repr>);

/// A panic of a task function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Panic {
    /// The panic's message.
    pub message: String,
    /// `file:line:column`, or empty where it is not known.
    pub location: String,
    /// The backtrace as text; empty when `RUST_BACKTRACE=0` forbids it.
    pub backtrace: String,
}

/// An exception that a Python function raised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exception {
    /// The class: `ValueError`, or with its module `json.decoder.JSONDecodeError`.
    pub class: String,
    /// What it was raised with, as Python prints it.
    pub message: String,
    /// Where it was raised, outermost first: `file:line: function`. Empty where it
    /// is not known.
    pub traceback: Vec<String>,
}

/// Where a task was when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It had not started.
    Queued,
    /// It ran, and was stopped.
    Running,
}

#[derive(Debug)]
pub(crate) enum Repr {
    Panicked(Panic),
    Raised(Exception),
    WorkerLost(WorkerLoss),
    OutOfMemory(WorkerLoss),
    Quarantined { crashes: u32, left: Duration, lost: WorkerLoss },
    TimedOut { stage: Stage, timeout: Duration },
    Cancelled,
    Overloaded { retry_after: Duration, bound: Bound },
    TooLarge { what: Oversized, bytes: u64, limit: u64 },
    UnknownTask { name: String, advice: &'static str },
    Codec { step: Step, type_name: Cow<'static, str>, source: CodecError },
    InvalidUrl { url: String, reason: String },
    Unavailable { reason: String },
    Closed { reason: &'static str },
}

/// What was larger than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Oversized {
    Arguments,
    Result,
    Scattered,
    /// All scattered values that are held.
    AllScattered,
}

impl fmt::Display for Oversized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arguments => "arguments",
            Self::Result => "result",
            Self::Scattered => "a scattered value",
            Self::AllScattered => "scattered values, all together,",
        })
    }
}

/// Which step of a value's way between processes failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    EncodeArguments,
    DecodeArguments,
    EncodeResult,
    DecodeResult,
    EncodeScattered,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EncodeArguments => "encode the arguments",
            Self::DecodeArguments => "decode the arguments",
            Self::EncodeResult => "encode the result",
            Self::DecodeResult => "decode the result",
            Self::EncodeScattered => "encode the scattered value",
        })
    }
}

/// Which bound of the queue was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Tasks(usize),
    Bytes(usize),
    /// Submits that wait for the task of another one.
    Sharers(usize),
    /// Tasks of one tenant that wait.
    Tenant(usize),
    /// How long a task may be expected to wait.
    Wait(Duration),
}

/// A codec's complaint, kept as text because it may have crossed a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodecError(pub(crate) String);

impl Error {
    pub(crate) fn new(repr: Repr) -> Self {
        Self(Arc::new(repr))
    }

    /// What a task ends with whose worker ended so.
    pub(crate) fn lost_worker(lost: WorkerLoss) -> Self {
        Self::new(match lost.shortage {
            Some(_) => Repr::OutOfMemory(lost),
            None => Repr::WorkerLost(lost),
        })
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(Repr::Unavailable { reason: reason.into() })
    }

    pub(crate) fn closed(reason: &'static str) -> Self {
        Self::new(Repr::Closed { reason })
    }

    pub(crate) fn codec(
        step: Step,
        type_name: impl Into<Cow<'static, str>>,
        source: impl fmt::Display,
    ) -> Self {
        let source = CodecError(source.to_string());
        Self::new(Repr::Codec { step, type_name: type_name.into(), source })
    }

    /// All that is known.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn repr(&self) -> &Repr {
        &self.0
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Repr::Panicked(_) => ErrorKind::Panicked,
            Repr::Raised(_) => ErrorKind::Raised,
            Repr::WorkerLost(_) => ErrorKind::WorkerLost,
            Repr::OutOfMemory(_) => ErrorKind::OutOfMemory,
            Repr::Quarantined { .. } => ErrorKind::Quarantined,
            Repr::TimedOut { .. } => ErrorKind::TimedOut,
            Repr::Cancelled => ErrorKind::Cancelled,
            Repr::Overloaded { .. } => ErrorKind::Overloaded,
            Repr::TooLarge { .. } => ErrorKind::TooLarge,
            Repr::UnknownTask { .. } => ErrorKind::UnknownTask,
            Repr::Codec { .. } => ErrorKind::Codec,
            Repr::InvalidUrl { .. } => ErrorKind::InvalidUrl,
            Repr::Unavailable { .. } => ErrorKind::Unavailable,
            Repr::Closed { .. } => ErrorKind::Closed,
        }
    }

    /// Whether the task function panicked.
    pub fn is_panicked(&self) -> bool {
        self.kind() == ErrorKind::Panicked
    }

    /// Whether the Python function raised an exception.
    pub fn is_raised(&self) -> bool {
        self.kind() == ErrorKind::Raised
    }

    /// Whether the worker process died while it ran the task. Running out of memory
    /// is a kind of its own: [`is_out_of_memory`](Self::is_out_of_memory).
    pub fn is_worker_lost(&self) -> bool {
        self.kind() == ErrorKind::WorkerLost
    }

    /// Whether the worker process ran out of memory while it ran the task.
    pub fn is_out_of_memory(&self) -> bool {
        self.kind() == ErrorKind::OutOfMemory
    }

    /// Whether the arguments are refused because they have killed workers.
    pub fn is_quarantined(&self) -> bool {
        self.kind() == ErrorKind::Quarantined
    }

    /// Whether the timeout ran out.
    pub fn is_timed_out(&self) -> bool {
        self.kind() == ErrorKind::TimedOut
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.kind() == ErrorKind::Cancelled
    }

    /// Whether the queue was full.
    pub fn is_overloaded(&self) -> bool {
        self.kind() == ErrorKind::Overloaded
    }

    /// Whether the queue has room, but not for more of this tenant.
    pub fn is_tenant_limited(&self) -> bool {
        matches!(&*self.0, Repr::Overloaded { bound: Bound::Tenant(_), .. })
    }

    /// Whether arguments or result were larger than the engine's bound.
    pub fn is_too_large(&self) -> bool {
        self.kind() == ErrorKind::TooLarge
    }

    /// Whether it was the arguments that were too large, and not the result.
    pub fn is_arguments_too_large(&self) -> bool {
        matches!(&*self.0, Repr::TooLarge { what: Oversized::Arguments, .. })
    }

    /// Whether the engine could not be reached or started.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Whether the client was drained or shut down, or its runtime ended.
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }

    /// How long to wait before the next try, if the queue was full; at least 1 ms.
    ///
    /// At an unchanged load, a caller that comes back then is admitted nine times in ten:
    /// from that moment room is kept for two seconds. It is kept for the
    /// [tenant](crate::Client::tenant), so late callers without a tenant compete with
    /// newcomers.
    ///
    /// No room is kept in three cases:
    ///
    /// - The bound was that in bytes.
    /// - The queue has fewer places than there are workers.
    /// - The caller would share another one's task.
    pub fn retry_after(&self) -> Option<Duration> {
        match &*self.0 {
            Repr::Overloaded { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Where the task was when its time ran out, if it did.
    pub fn timed_out_in(&self) -> Option<Stage> {
        match &*self.0 {
            Repr::TimedOut { stage, .. } => Some(*stage),
            _ => None,
        }
    }

    /// Message and place of the panic, if the task function panicked.
    pub fn panic(&self) -> Option<&Panic> {
        match &*self.0 {
            Repr::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// The exception that the Python function raised, if it did.
    pub fn exception(&self) -> Option<&Exception> {
        match &*self.0 {
            Repr::Raised(exception) => Some(exception),
            _ => None,
        }
    }

    /// How the worker process ended, if the task failed because of that. If the
    /// arguments are quarantined: how the last worker ended that had them.
    pub fn worker_loss(&self) -> Option<&WorkerLoss> {
        match &*self.0 {
            Repr::WorkerLost(lost) | Repr::OutOfMemory(lost) => Some(lost),
            Repr::Quarantined { lost, .. } => Some(lost),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Repr::Panicked(panic) => write!(f, "task {panic}"),
            Repr::Raised(exception) => write!(f, "task raised {exception}"),
            Repr::WorkerLost(lost) | Repr::OutOfMemory(lost) => lost.fmt(f),
            Repr::Quarantined { crashes, left, lost } => {
                write!(f, "arguments are refused for {left:.0?} after crash {crashes}: {lost}")
            }
            Repr::TimedOut { stage: Stage::Queued, timeout } => {
                write!(f, "timed out in the queue after {timeout:?}")
            }
            Repr::TimedOut { stage: Stage::Running, timeout } => {
                write!(f, "timed out while running, {timeout:?} after submit")
            }
            Repr::Cancelled => f.write_str("task was cancelled"),
            Repr::Overloaded { retry_after, bound } => {
                write!(f, "{bound}; retry after {retry_after:?}")
            }
            Repr::TooLarge { what, bytes, limit } => {
                write!(f, "{what} too large: {bytes} bytes, limit {limit}")
            }
            Repr::UnknownTask { name, advice } => {
                write!(f, "task function `{name}` is not known here: {advice}")
            }
            Repr::Codec { step, type_name, .. } => {
                write!(f, "could not {step} `{type_name}`")
            }
            Repr::InvalidUrl { url, reason } => write!(f, "invalid URL `{url}`: {reason}"),
            Repr::Unavailable { reason } => write!(f, "engine is unavailable: {reason}"),
            Repr::Closed { reason } => write!(f, "client is closed: {reason}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Repr::Codec { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.location.is_empty() {
            write!(f, "panicked: {}", self.message)
        } else {
            write!(f, "panicked at {}: {}", self.location, self.message)
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => f.write_str(&self.class),
            message => write!(f, "{}: {message}", self.class),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "in the queue",
            Self::Running => "while running",
        })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tasks(limit) => write!(f, "queue is full (limit {limit} tasks)"),
            Self::Bytes(limit) => write!(f, "queue is full (limit {limit} bytes of arguments)"),
            Self::Sharers(limit) => {
                write!(f, "queue is full (limit {limit} callers that share a task)")
            }
            Self::Tenant(limit) => write!(f, "queue is full (limit {limit} tasks of one tenant)"),
            Self::Wait(limit) => write!(f, "overloaded: predicted wait exceeds {limit:?}"),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_lower_case_line_without_its_source() {
        let error = Error::codec(Step::DecodeResult, "u64", "unexpected end");
        assert_eq!(error.to_string(), "could not decode the result `u64`");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("unexpected end"));
    }

    #[test]
    fn want_of_memory_is_a_kind_of_its_own_with_the_same_report() {
        let lost = WorkerLoss {
            cause: Some(Cause::Signal(6)),
            shortage: Some(Shortage::Allocation { bytes: Some(512) }),
            task: "pages::render",
            ..WorkerLoss::default()
        };
        let error = Error::lost_worker(lost.clone());
        assert!(error.is_out_of_memory() && !error.is_worker_lost());
        assert_eq!(error.worker_loss(), Some(&lost));
        assert_eq!(
            error.to_string(),
            "a worker ran out of memory in `pages::render`: \
             an allocation of 512 bytes failed, killed by SIGABRT"
        );
        assert!(Error::lost_worker(WorkerLoss::default()).is_worker_lost());
    }

    #[test]
    fn a_quarantine_says_for_how_long_and_why() {
        let lost = WorkerLoss { cause: Some(Cause::Signal(24)), ..WorkerLoss::default() };
        let left = Duration::from_secs(9);
        let error = Error::new(Repr::Quarantined { crashes: 3, left, lost });
        assert_eq!(
            error.to_string(),
            "arguments are refused for 9s after crash 3: a worker was lost: \
             killed by SIGXCPU, at its limit of CPU time"
        );
    }
}

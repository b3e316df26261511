//! Why a task did not give its result: one [`Error`] with a [`kind`](Error::kind).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a task did not give its result.
///
/// One type for every engine. Ask [`kind`](Error::kind) or a predicate such as
/// [`is_overloaded`](Error::is_overloaded) what happened; `Display` is one
/// lower-case line for a log. A task function's own `Err` is its output and
/// never becomes this type.
///
/// Cloning is cheap: all who wait for a shared task get the same error.
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

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The task function panicked. Its worker lives on.
    Panicked,
    /// The Python function raised an exception.
    Raised,
    /// The worker process died, or was stopped, while it ran the task.
    WorkerLost,
    /// The worker process died for want of memory.
    OutOfMemory,
    /// The timeout ran out, in the queue or while the task ran.
    TimedOut,
    /// The caller no longer wanted the result.
    Cancelled,
    /// The queue is full; see [`Error::retry_after`].
    Overloaded,
    /// The arguments, or the result, are larger than the engine's bound.
    TooLarge,
    /// No worker of this engine knows the function.
    UnknownTask,
    /// Arguments or result could not be encoded or decoded.
    Codec,
    /// A URL names no engine, or an option of it is wrong.
    InvalidUrl,
    /// The engine cannot run tasks: it could not be reached or started.
    Unavailable,
    /// The client was drained or shut down, or its runtime ended.
    Closed,
}

/// What a panic in a task function said.
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

/// How a worker process ended, and what was known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The number of the worker, as in its log lines.
    pub worker: usize,
    /// The process that it was.
    pub pid: u32,
    /// What ended it.
    pub cause: Option<Cause>,
    /// The last lines that it wrote to stderr, oldest first.
    pub stderr: Vec<String>,
    /// The most resident memory, in bytes, that was seen of the process.
    pub memory_bytes: Option<u64>,
    /// How long it had been executing the task.
    pub run_time: Option<Duration>,
    /// CPU time that the process used for the task.
    pub cpu_time: Option<Duration>,
    /// The task function.
    pub task: &'static str,
    /// Which execution of the task it was, counting from 1.
    pub attempt: u32,
    /// How many bytes the encoded arguments had.
    pub argument_bytes: usize,
    /// A digest of the encoded arguments, to recognise them by: equal for equal
    /// arguments within one build of a program, and not for security.
    pub argument_digest: u64,
}

/// What ended a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// A signal, by its number.
    Signal(i32),
    /// The process exited by itself with this code.
    Exited(i32),
    /// A signal such as SIGSTOP held it for a second, so it was killed.
    Stopped,
    /// It did not come to [`init`](crate::init) in time, so it was killed.
    Silent,
    /// It went on for a second with what nobody wanted any more, although it
    /// had said that it was done, so it was killed.
    Stuck,
    /// It wrote what no worker writes, so it was killed.
    Protocol,
    /// The cluster's scheduler cannot be reached any more: what became of the
    /// worker is not known.
    Scheduler,
    /// The cluster lost it, or has lost several workers that had the task.
    Cluster,
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
    WorkerLost(Lost),
    TimedOut { stage: Stage, timeout: Duration },
    Cancelled,
    Overloaded { retry_after: Duration, bound: Bound },
    TooLarge { what: &'static str, bytes: u64, limit: u64 },
    UnknownTask { name: String, advice: &'static str },
    Codec { what: &'static str, type_name: Cow<'static, str>, source: CodecError },
    InvalidUrl { url: String, reason: String },
    Unavailable { reason: String },
    Closed { reason: &'static str },
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

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(Repr::Unavailable { reason: reason.into() })
    }

    pub(crate) fn closed(reason: &'static str) -> Self {
        Self::new(Repr::Closed { reason })
    }

    pub(crate) fn codec(
        what: &'static str,
        type_name: impl Into<Cow<'static, str>>,
        source: impl fmt::Display,
    ) -> Self {
        let source = CodecError(source.to_string());
        Self::new(Repr::Codec { what, type_name: type_name.into(), source })
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

    /// Whether the worker died while it ran the task.
    pub fn is_worker_lost(&self) -> bool {
        self.kind() == ErrorKind::WorkerLost
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
        matches!(&*self.0, Repr::TooLarge { what: "arguments", .. })
    }

    /// Whether the engine could not be reached or started.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Whether the client was drained or shut down, or its runtime ended.
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }

    /// When to come back, where the queue was full.
    ///
    /// Whoever comes back after it, at an unchanged load, is admitted nine times
    /// in ten: room is kept for two seconds from then on. It is kept for the
    /// [tenant](crate::Client::tenant), so callers without one compete with each
    /// other's newcomers if they are late. Not so for the bound in bytes, where
    /// what comes back may be larger, nor with a queue of fewer places than there
    /// are workers, nor for callers that would share another's task. At least one
    /// millisecond.
    pub fn retry_after(&self) -> Option<Duration> {
        match &*self.0 {
            Repr::Overloaded { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Where the task was when its time ran out.
    pub fn timed_out_in(&self) -> Option<Stage> {
        match &*self.0 {
            Repr::TimedOut { stage, .. } => Some(*stage),
            _ => None,
        }
    }

    /// What the panic said, where the task function panicked.
    pub fn panic(&self) -> Option<&Panic> {
        match &*self.0 {
            Repr::Panicked(panic) => Some(panic),
            _ => None,
        }
    }

    /// What a Python function raised.
    pub fn exception(&self) -> Option<&Exception> {
        match &*self.0 {
            Repr::Raised(exception) => Some(exception),
            _ => None,
        }
    }

    /// How the worker ended, where it was lost.
    pub fn lost(&self) -> Option<&Lost> {
        match &*self.0 {
            Repr::WorkerLost(lost) => Some(lost),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Repr::Panicked(panic) => write!(f, "task {panic}"),
            Repr::Raised(exception) => write!(f, "task raised {exception}"),
            Repr::WorkerLost(lost) => lost.fmt(f),
            Repr::TimedOut { stage: Stage::Queued, timeout } => {
                write!(f, "timed out in the queue after {timeout:?}")
            }
            Repr::TimedOut { stage: Stage::Running, timeout } => {
                write!(f, "timed out while running, {timeout:?} after submit")
            }
            Repr::Cancelled => f.write_str("task was cancelled"),
            Repr::Overloaded { retry_after, bound } => {
                write!(f, "queue is full ({bound}); retry after {retry_after:?}")
            }
            Repr::TooLarge { what, bytes, limit } => {
                write!(f, "{what} of {bytes} bytes exceed the limit of {limit} bytes")
            }
            Repr::UnknownTask { name, advice } => {
                write!(f, "task function `{name}` is not known here: {advice}")
            }
            Repr::Codec { what, type_name, .. } => {
                write!(f, "could not {what} `{type_name}`")
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

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            // A cluster does not always say.
            0 => f.write_str("a worker was lost")?,
            pid => write!(f, "worker {} (pid {pid}) was lost", self.worker)?,
        }
        if !self.task.is_empty() {
            write!(f, " in `{}`", self.task)?;
        }
        match self.cause {
            Some(cause) => write!(f, ": {cause}")?,
            None => f.write_str(": how it ended is not known")?,
        }
        if let Some(bytes) = self.memory_bytes {
            write!(f, "; memory {:.1} MiB", bytes as f64 / f64::from(1 << 20))?;
        }
        match self.last_words() {
            Some(line) => write!(f, "; on stderr: {line}"),
            None => Ok(()),
        }
    }
}

impl Lost {
    /// The line of stderr that says most: what a panic that aborted said, and
    /// otherwise the last one.
    fn last_words(&self) -> Option<&str> {
        let lines = &self.stderr;
        let panic = lines.iter().rposition(|line| line.contains(" panicked at "));
        let line = panic.and_then(|at| lines.get(at + 1)).or(lines.last());
        line.map(String::as_str)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {number}"),
            },
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Stopped => f.write_str("was stopped by a signal for a second"),
            Self::Silent => f.write_str("did not come to `outboard::init()` in time"),
            Self::Stuck => f.write_str("did not let go of what nobody wanted"),
            Self::Protocol => f.write_str("wrote what no worker writes"),
            Self::Scheduler => f.write_str("its scheduler cannot be reached"),
            Self::Cluster => f.write_str("the cluster does not have it any more"),
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
            Self::Tasks(limit) => write!(f, "limit {limit} tasks"),
            Self::Bytes(limit) => write!(f, "limit {limit} bytes of arguments"),
            Self::Sharers(limit) => write!(f, "limit {limit} callers that share a task"),
            Self::Tenant(limit) => write!(f, "limit {limit} tasks of one tenant"),
            Self::Wait(limit) => write!(f, "limit {limit:?} of predicted wait"),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

/// The names of the signals that end worker processes, as on Linux.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_lower_case_line_without_its_source() {
        let error = Error::codec("decode the result", "u64", "unexpected end");
        assert_eq!(error.to_string(), "could not decode the result `u64`");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("unexpected end"));
    }

    #[test]
    fn a_lost_worker_says_how_and_with_which_last_words() {
        let lost = Lost {
            worker: 2,
            pid: 7,
            cause: Some(Cause::Signal(11)),
            stderr: vec!["first".into(), "last".into()],
            memory_bytes: Some(3 << 20),
            task: "pages::render",
            ..Lost::default()
        };
        assert_eq!(
            Error::new(Repr::WorkerLost(lost)).to_string(),
            "worker 2 (pid 7) was lost in `pages::render`: killed by SIGSEGV; memory 3.0 MiB; on stderr: last"
        );
    }

    #[test]
    fn a_panic_that_aborted_says_more_than_the_end_of_its_backtrace() {
        let said = ["thread 'main' (7) panicked at src/main.rs:3:5:", "no such page", "  9: main"];
        let lost = Lost { stderr: said.map(String::from).into(), ..Lost::default() };
        assert!(lost.to_string().ends_with("on stderr: no such page"), "{lost}");
    }
}

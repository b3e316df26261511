//! Why a task gave no result: one [`Error`] with a [`kind`](Error::kind), and what is
//! known beyond the kind.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use line::write_line;

mod kind;
mod line;
pub(crate) mod loss;

pub use kind::ErrorKind;
pub use loss::{Cause, Shortage, WorkerLoss};

/// Why a task gave no result.
///
/// Every engine has this one type. [`kind`](Error::kind), or a predicate such as
/// [`is_overloaded`](Error::is_overloaded), says what happened. `Display` is one
/// lower-case line for a log, with the cause and without control characters: what a task
/// said is escaped. If a task function returns an `Err`, that is its
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
    Quarantined {
        crashes: u32,
        left: Duration,
        lost: WorkerLoss,
    },
    TimedOut {
        stage: Stage,
        timeout: Duration,
    },
    Cancelled,
    Overloaded {
        retry_after: Duration,
        bound: Bound,
    },
    TooLarge {
        what: Oversized,
        bytes: u64,
        limit: u64,
    },
    UnknownTask {
        name: String,
        advice: Cow<'static, str>,
    },
    /// A pool that the client lacks; `task` is the function, if that asks for it.
    UnknownPool {
        pool: String,
        task: Option<String>,
        there_are: String,
    },
    Codec {
        step: Step,
        subject: String,
        source: CodecError,
    },
    InvalidUrl {
        url: String,
        reason: String,
    },
    Unavailable {
        reason: String,
    },
    Closed {
        reason: &'static str,
    },
    /// A stream sent nothing for so long, while its reader waited.
    Idle {
        timeout: Duration,
    },
    Unsupported {
        reason: String,
    },
    /// What the task received broke off.
    InputFailed {
        reason: String,
    },
}

/// What was larger than its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Oversized {
    Arguments,
    Result,
    Scattered,
    /// All scattered values that are held.
    AllScattered,
    /// The key of a task.
    Key,
    /// The name of its tenant.
    Tenant,
    /// What it received while it ran.
    Input,
}

impl fmt::Display for Oversized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arguments => "arguments are",
            Self::Result => "result is",
            Self::Scattered => "scattered value is",
            Self::AllScattered => "scattered values together are",
            Self::Key => "key is",
            Self::Tenant => "name of the tenant is",
            Self::Input => "input is",
        })
    }
}

impl Oversized {
    /// What its caller can do.
    fn advice(self) -> &'static str {
        match self {
            Self::Arguments => "send less, or raise `max_payload`",
            Self::Result => "return less, or raise `max_payload`",
            Self::Scattered => "scatter it in parts",
            Self::AllScattered => "drop handles that are not needed any more",
            Self::Key => "use a digest of it",
            Self::Tenant => "use a shorter one",
            Self::Input => "send less, or raise the `limit` of its `Receiver`",
        }
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
    /// An item of a stream.
    DecodeItem,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EncodeArguments | Self::EncodeResult | Self::EncodeScattered => "encode",
            Self::DecodeArguments | Self::DecodeResult | Self::DecodeItem => "decode",
        })
    }
}

impl Step {
    /// What could not be encoded or decoded, as a whole.
    pub(crate) fn subject(self, type_name: &str) -> String {
        let value = match self {
            Self::EncodeArguments | Self::DecodeArguments => "the arguments",
            Self::EncodeResult | Self::DecodeResult => "the result",
            Self::EncodeScattered => "the scattered value",
            Self::DecodeItem => "an item",
        };
        format!("{value} ({})", short(type_name))
    }
}

/// A type's name without the modules that it is in.
pub(crate) fn short(type_name: &str) -> String {
    let mut name = String::new();
    for part in type_name.split_inclusive("::") {
        let is_path = |c: char| c.is_alphanumeric() || c == '_';
        match part.strip_suffix("::") {
            Some(module) => name.push_str(module.trim_end_matches(is_path)),
            None => name.push_str(part),
        }
    }
    name
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a value that is not a string"
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
    /// No worker is up, and the first one comes later than the task's timeout.
    Start {
        takes: Duration,
        timeout: Duration,
    },
}

/// A codec's complaint, kept as text because it may have crossed a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodecError(String);

/// A text that quotes values of users, or comes from a worker that a task may have taken
/// over, as one line of bounded length.
pub(crate) fn one_line(text: &str) -> String {
    /// The longest text that is kept, in characters.
    const LONGEST: usize = 1_000;
    let mut line: String = text.chars().take(LONGEST).flat_map(printable).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

/// A character, or what it is escaped as.
fn printable(c: char) -> impl Iterator<Item = char> {
    let (escaped, plain) = match c.is_control() {
        true => (Some(c.escape_default()), None),
        false => (None, Some(c)),
    };
    escaped.into_iter().flatten().chain(plain)
}

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

    pub(crate) fn unsupported(reason: impl Into<String>) -> Self {
        Self::new(Repr::Unsupported { reason: reason.into() })
    }

    pub(crate) fn codec(step: Step, subject: &str, source: impl fmt::Display) -> Self {
        let source = CodecError(one_line(&source.to_string()));
        Self::new(Repr::Codec { step, subject: one_line(subject), source })
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
            Repr::TimedOut { .. } | Repr::Idle { .. } => ErrorKind::TimedOut,
            Repr::Cancelled => ErrorKind::Cancelled,
            Repr::Overloaded { .. } => ErrorKind::Overloaded,
            Repr::TooLarge { .. } => ErrorKind::TooLarge,
            Repr::UnknownTask { .. } | Repr::UnknownPool { .. } => ErrorKind::UnknownTask,
            Repr::Codec { .. } => ErrorKind::Codec,
            Repr::InvalidUrl { .. } => ErrorKind::InvalidUrl,
            Repr::Unavailable { .. } => ErrorKind::Unavailable,
            Repr::Closed { .. } => ErrorKind::Closed,
            Repr::Unsupported { .. } => ErrorKind::Unsupported,
            Repr::InputFailed { .. } => ErrorKind::InputFailed,
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

    /// Whether what was submitted was too large, and not the result. That is the arguments, the
    /// key, the tenant's name or the stream that the task received.
    pub fn is_arguments_too_large(&self) -> bool {
        let submitted = [Oversized::Arguments, Oversized::Key, Oversized::Tenant, Oversized::Input];
        matches!(&*self.0, Repr::TooLarge { what, .. } if submitted.contains(what))
    }

    /// Whether the engine could not be reached or started.
    pub fn is_unavailable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// Whether the client was drained or shut down, or its runtime ended.
    pub fn is_closed(&self) -> bool {
        self.kind() == ErrorKind::Closed
    }

    /// Whether this engine, or the client's options, do not offer what was asked for.
    pub fn is_unsupported(&self) -> bool {
        self.kind() == ErrorKind::Unsupported
    }

    /// Whether the stream that the task received failed before its end.
    pub fn is_input_failed(&self) -> bool {
        self.kind() == ErrorKind::InputFailed
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
            Repr::Idle { .. } => Some(Stage::Running),
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
        write_line(f, format_args!("{}", self.0))
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => write!(f, "task {panic}"),
            Self::Raised(exception) => write!(f, "task raised {exception}"),
            Self::WorkerLost(lost) | Self::OutOfMemory(lost) => lost.fmt(f),
            Self::Quarantined { crashes, left, lost } => {
                let workers = counted(*crashes as usize, "worker");
                write!(
                    f,
                    "arguments have crashed {workers}, and are refused for {left:.0?}: {lost}"
                )
            }
            Self::TimedOut { stage: Stage::Queued, timeout } => {
                write!(f, "timed out in the queue after {timeout:?}")
            }
            Self::TimedOut { stage: Stage::Running, timeout } => {
                write!(f, "timed out while running, {timeout:?} after submit")
            }
            Self::Cancelled => f.write_str("task was cancelled"),
            Self::Overloaded { retry_after, bound } => {
                write!(f, "{bound}; retry after {retry_after:?}")
            }
            Self::TooLarge { what, bytes, limit } => {
                write!(f, "{what} too large: {bytes} bytes, limit {limit}; {}", what.advice())
            }
            Self::UnknownTask { name, advice } => {
                write!(f, "task function `{name}` is not known here: {advice}")
            }
            Self::UnknownPool { pool, task, there_are } => {
                if let Some(task) = task {
                    write!(f, "no worker is there for task function `{task}`: ")?;
                }
                write!(f, "this client has no pool `{pool}`, only {there_are}")
            }
            Self::Codec { step, subject, source } => {
                write!(f, "could not {step} {subject}: {source}")
            }
            Self::InvalidUrl { url, reason } => write!(f, "invalid URL `{url}`: {reason}"),
            Self::Unavailable { reason } => write!(f, "engine is unavailable: {reason}"),
            Self::Closed { reason } => write!(f, "client is closed: {reason}"),
            Self::Idle { timeout } => {
                write!(f, "timed out while running: the stream sent nothing for {timeout:?}")
            }
            Self::Unsupported { reason } => write!(f, "not supported: {reason}"),
            Self::InputFailed { reason } => write!(f, "input failed: {reason}"),
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
        match self.location.as_str() {
            "" => write_line(f, format_args!("panicked: {}", self.message)),
            place => write_line(f, format_args!("panicked at {place}: {}", self.message)),
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => write_line(f, format_args!("{}", self.class)),
            message => write_line(f, format_args!("{}: {message}", self.class)),
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
            Self::Tasks(limit) => write!(f, "queue is full: limit {}", counted(*limit, "task")),
            Self::Bytes(limit) => {
                write!(f, "queue is full: limit {} of arguments and names", counted(*limit, "byte"))
            }
            Self::Sharers(limit) => {
                write!(f, "queue is full: limit {} of shared tasks", counted(*limit, "caller"))
            }
            Self::Tenant(limit) => {
                write!(f, "queue is full: limit {} of one tenant", counted(*limit, "task"))
            }
            Self::Wait(limit) => write!(f, "overloaded: predicted wait exceeds {limit:?}"),
            Self::Start { takes, timeout } => write!(
                f,
                "no worker is up: one starts within {takes:.1?}, and the timeout is {timeout:?}"
            ),
        }
    }
}

/// A number of things, in words: `1 task`, `2 tasks`.
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
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
    fn a_value_that_does_not_travel_is_one_lower_case_line_with_its_cause() {
        let step = Step::DecodeResult;
        let error = Error::codec(step, &step.subject("a::B"), "no\u{1b}[31m\nsuch `field`");
        assert_eq!(
            error.to_string(),
            "could not decode the result (B): no\\u{1b}[31m\\nsuch `field`"
        );
        let source = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(source.as_deref(), Some("no\\u{1b}[31m\\nsuch `field`"));
        let long = Error::codec(step, "x", "ß".repeat(100_000)).to_string();
        assert!(long.len() < 3_000 && long.ends_with('…'));
    }

    #[test]
    fn one_task_is_not_several() {
        assert_eq!(Bound::Tasks(1).to_string(), "queue is full: limit 1 task");
        assert_eq!(Bound::Tenant(2).to_string(), "queue is full: limit 2 tasks of one tenant");
    }

    #[test]
    fn types_are_named_without_their_modules() {
        let types = [
            ("u64", "u64"),
            ("alloc::vec::Vec<shop::order::Order>", "Vec<Order>"),
            ("(a::B, [c::d::E<'_, f::G>; 2], &h::I)", "(B, [E<'_, G>; 2], &I)"),
            ("<a::B as c::D>::e", "<B as D>e"),
        ];
        for (long, name) in types {
            assert_eq!(short(long), name);
        }
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
            "arguments have crashed 3 workers, and are refused for 9s: a worker was lost: \
             killed by SIGXCPU, at its limit of CPU time"
        );
    }
}

//! How an attempt went: what it used, what it said, and why it has no result.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
use crate::error::{Error, Repr};
use crate::error::{Exception, Oversized, Panic, Stage, Step, WorkerLoss};

/// The most tasks that a worker executes in one call: it has so many words for what it was sent.
pub(crate) const MOST_TOGETHER: u16 = 64;

/// What one execution used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) run_ns: u64,
    /// CPU time of the whole process, where it was measured.
    pub(crate) cpu_ns: Option<u64>,
    /// Resident memory when the task ended, where it was measured.
    pub(crate) memory_bytes: Option<u64>,
    /// The most of it since the task before that was measured.
    pub(crate) peak_bytes: Option<u64>,
    /// How many tasks it executed in one call, if they were several.
    pub(crate) batch: u32,
    /// Resident memory before, which the server knows.
    #[serde(skip)]
    pub(crate) memory_before_bytes: Option<u64>,
}

impl Usage {
    /// How many tasks it executed in one call.
    pub(crate) fn tasks(&self) -> u32 {
        self.batch.clamp(1, u32::from(MOST_TOGETHER))
    }

    /// The part of one of them.
    pub(crate) fn part(self) -> Self {
        let tasks = u64::from(self.tasks());
        let (run_ns, cpu_ns) = (self.run_ns / tasks, self.cpu_ns.map(|ns| ns / tasks));
        Self { run_ns, cpu_ns, ..self }
    }
}

/// Why an attempt has no result. The gate makes the public error of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked(Panic),
    /// A Python function raised it.
    Raised(Exception),
    /// The function could not be called, or its output not be sent.
    Codec {
        step: Step,
        /// What: the arguments, one of them, the result.
        subject: String,
        source: String,
    },
    TooLarge {
        /// The arguments, where a worker of a cluster takes less than its client.
        what: Oversized,
        bytes: u64,
        limit: u64,
    },
    UnknownTask {
        advice: Cow<'static, str>,
    },
    /// Its worker process died.
    Lost(Box<WorkerLoss>),
    /// A cluster's worker refuses the arguments for a while: they killed processes there.
    Quarantined {
        crashes: u32,
        left: Duration,
        lost: Box<WorkerLoss>,
    },
    /// A cluster's worker ended it.
    TimedOut {
        stage: Stage,
        timeout: Duration,
    },
    Cancelled,
    /// The cluster or its worker cannot execute it now, for that reason.
    Unavailable(String),
    /// The stream that it received broke off.
    InputFailed(String),
}

/// Why a worker does not know a function, if no more is known.
pub(crate) const OTHER_BUILD: Cow<'static, str> =
    Cow::Borrowed("the worker is another program, or another build");

#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
impl Failure {
    /// What this process's own engine ended a task with, to be sent to its client.
    pub(crate) fn of(error: &Error) -> Self {
        match error.repr() {
            Repr::Panicked(panic) => Self::Panicked(panic.clone()),
            Repr::Raised(exception) => Self::Raised(exception.clone()),
            Repr::WorkerLost(lost) | Repr::OutOfMemory(lost) => Self::Lost(Box::new(lost.clone())),
            Repr::Quarantined { crashes, left, lost } => {
                let lost = Box::new(lost.clone());
                Self::Quarantined { crashes: *crashes, left: *left, lost }
            }
            Repr::TimedOut { stage, timeout } => {
                Self::TimedOut { stage: *stage, timeout: *timeout }
            }
            Repr::Idle { timeout } => Self::TimedOut { stage: Stage::Running, timeout: *timeout },
            Repr::Cancelled => Self::Cancelled,
            Repr::TooLarge { what, bytes, limit } => {
                Self::TooLarge { what: *what, bytes: *bytes, limit: *limit }
            }
            Repr::UnknownTask { advice, .. } => Self::UnknownTask { advice: advice.clone() },
            Repr::Codec { step, subject, source } => {
                Self::Codec { step: *step, subject: subject.clone(), source: source.to_string() }
            }
            Repr::InputFailed { reason } => Self::InputFailed(reason.clone()),
            Repr::Overloaded { .. }
            | Repr::UnknownPool { .. }
            | Repr::InvalidUrl { .. }
            | Repr::Unavailable { .. }
            | Repr::Closed { .. }
            | Repr::Unsupported { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

/// An event of a task, for people to read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// From 1 (error) to 5 (trace).
    pub(crate) level: u8,
    /// Where in the program it was said: the target, and the line.
    pub(crate) target: String,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    /// Empty where it has none.
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, FieldValue)>,
}

/// The value of a field, as its recorder knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum FieldValue {
    Flag(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    /// What `Debug` or `Display` made of it.
    Shown(String),
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(value) => value.fmt(f),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) | Self::Shown(value) => value.fmt(f),
        }
    }
}

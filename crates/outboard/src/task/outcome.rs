//! How an execution went, as a worker tells it: what it used, and why it has no
//! result.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Exception, Oversized, Panic};

/// What one execution used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) run_ns: u64,
    /// CPU time of the whole process, where it was measured.
    pub(crate) cpu_ns: Option<u64>,
    /// Resident memory when the task ended, where it was measured.
    pub(crate) memory_bytes: Option<u64>,
    /// Resident memory before, which the server knows.
    #[serde(skip)]
    pub(crate) memory_before_bytes: Option<u64>,
}

/// Why a task has no result although its worker lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked(Panic),
    /// A Python function raised it.
    Raised(Exception),
    Codec(RunError),
    TooLarge {
        /// The arguments, where a worker of a cluster takes less than its client.
        what: Oversized,
        bytes: u64,
        limit: u64,
    },
    UnknownTask,
}

/// Why a function could not be called, or its output not be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunError {
    Decode { type_name: String, source: String },
    Encode { type_name: String, source: String },
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Decode { type_name, source } => {
                Error::codec("decode the arguments", type_name, source)
            }
            RunError::Encode { type_name, source } => {
                Error::codec("encode the result", type_name, source)
            }
        }
    }
}

/// An event of a task, for people to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// From 1 (error) to 5 (trace).
    pub(crate) level: u8,
    /// Where in the program it was said.
    pub(crate) target: String,
    pub(crate) message: String,
    /// Names and values.
    pub(crate) fields: Vec<(String, String)>,
}

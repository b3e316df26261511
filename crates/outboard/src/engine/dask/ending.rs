//! How a task ended, as its scheduler says it.

use rmpv::Value;

use super::fetch::Outcome;
use super::message::{Message, Serialized, text};
use super::native::Failed;
use super::{exception, values};
use crate::error::{Cause, Error, Repr};
use crate::wire::Failure;

/// The bytes that an object of a message is, or that stand in the message itself.
pub(super) fn bytes_of(message: &mut Message, value: Option<&Value>) -> Option<Vec<u8>> {
    let value = value?;
    if let Value::Binary(bytes) = value {
        return Some(bytes.clone());
    }
    let object: Serialized = message.object(value).ok()??;
    values::into_bytes(object).ok()
}

/// What a task that raised an exception ended with.
pub(super) fn failure(pickle: &[u8], traceback: Option<&[u8]>) -> Outcome {
    match Failed::from_exception(pickle) {
        Some(Failed::Failure(failure, usage)) => return Outcome::Failed(failure, Some(usage)),
        Some(Failed::Lost(death)) => return Outcome::Lost(death.into()),
        Some(Failed::TimedOut { stage, timeout }) => {
            return Outcome::Error(Error::new(Repr::TimedOut { stage, timeout }));
        }
        Some(Failed::Refused(reason)) => return Outcome::Error(Error::unavailable(reason)),
        None => {}
    }
    let exception = exception::read(pickle, traceback);
    match exception.class.as_str() {
        "distributed.scheduler.KilledWorker" => Outcome::lost(Cause::Cluster),
        _ => Outcome::Failed(Failure::Raised(exception), None),
    }
}

/// Why a scheduler cancels what nobody here did.
pub(super) fn cancelled(operation: &Value) -> Error {
    match text(operation, "reason") {
        Some("lost dependencies") => Error::unavailable("the cluster lost what the task needs"),
        _ => Error::new(Repr::Cancelled),
    }
}

//! What gRPC has for errors and deadlines of ours.

use std::time::Duration;

use http::HeaderMap;
use outboard::ErrorKind;

use crate::problem::Problem;

impl Problem {
    /// Returns the status code of gRPC, as its number in the specification.
    ///
    /// | error | code |
    /// |---|---|
    /// | [`Overloaded`](ErrorKind::Overloaded) | 14 `UNAVAILABLE`; 8 `RESOURCE_EXHAUSTED` if only this tenant's part of the queue is full |
    /// | [`TimedOut`](ErrorKind::TimedOut) | 4 `DEADLINE_EXCEEDED` |
    /// | [`TooLarge`](ErrorKind::TooLarge) | 3 `INVALID_ARGUMENT` for arguments, 13 `INTERNAL` for a result |
    /// | [`Quarantined`](ErrorKind::Quarantined) | 9 `FAILED_PRECONDITION` |
    /// | [`Cancelled`](ErrorKind::Cancelled) | 1 `CANCELLED` |
    /// | [`Unavailable`](ErrorKind::Unavailable), [`Closed`](ErrorKind::Closed) | 14 `UNAVAILABLE` |
    /// | all others | 13 `INTERNAL` |
    ///
    /// With the feature `tonic` a problem is a `tonic::Status`, for `?` in handlers. It tells the
    /// kind and no more. Its metadata have `grpc-retry-pushback-ms` where a client may come back.
    pub fn grpc_code(&self) -> i32 {
        let error = self.error();
        match error.kind() {
            ErrorKind::Cancelled => CANCELLED,
            ErrorKind::TooLarge if error.is_arguments_too_large() => INVALID_ARGUMENT,
            ErrorKind::TimedOut => DEADLINE_EXCEEDED,
            ErrorKind::Overloaded if error.is_tenant_limited() => RESOURCE_EXHAUSTED,
            ErrorKind::Quarantined => FAILED_PRECONDITION,
            ErrorKind::Overloaded | ErrorKind::Unavailable | ErrorKind::Closed => UNAVAILABLE,
            _ => INTERNAL,
        }
    }
}

const CANCELLED: i32 = 1;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

#[cfg(feature = "tonic")]
impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> Self {
        problem.log();
        let mut status = Self::new(problem.grpc_code().into(), problem.sentence());
        if let Some(wait) = problem.error().retry_after() {
            // As retries of gRPC have it (proposal A6).
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            status.metadata_mut().insert("grpc-retry-pushback-ms", wait_ms.into());
        }
        status
    }
}

/// The time that a call may take, by the header `grpc-timeout`: up to eight digits and a unit.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        let read = |text: &str| {
            let value = text.parse().unwrap();
            timeout(&HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value)]))
        };
        for (text, expected) in [
            ("2H", Duration::from_secs(7_200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("5u", Duration::from_micros(5)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for text in ["", "S", "5", "-1S", "+1S", "1 S", "123456789S", "1s", "1.5S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

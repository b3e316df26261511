//! Judges an answer: right, a typed error, or neither.

use std::fmt;

use hyper::header;
use serde::Deserialize;

use crate::browser::Answer;
use crate::measure::Fault;

/// The errors that a request may have here: their names and statuses.
const TYPED: [(&str, u16); 7] = [
    ("codec", 500),
    ("worker_lost", 500),
    ("out_of_memory", 500),
    ("timed_out", 504),
    ("overloaded", 503),
    ("overloaded", 429),
    ("unavailable", 503),
];

/// What a request must be answered with, unless by a typed error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Body(String),
    /// Its task crashes: nothing but an error is right.
    Error,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// An error of a known kind, told as problem details.
    Typed(&'static str),
    /// No answer, and why.
    Lost(String),
    /// Another answer than these, and which.
    Wrong(String),
}

/// What is looked at in problem details (RFC 9457).
#[derive(Deserialize)]
struct Details {
    kind: String,
    status: u16,
}

impl Verdict {
    pub(super) fn on(answer: Result<Answer, Fault>, expected: &Expected) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return Self::Lost(fault.to_string()),
        };
        if answer.status.is_success() {
            let right = matches!(expected, Expected::Body(body) if body.as_bytes() == answer.body);
            return if right { Self::Right } else { Self::wrong(&answer, expected) };
        }
        match kind(&answer) {
            Some(kind) => Self::Typed(kind),
            None => Self::wrong(&answer, expected),
        }
    }

    fn wrong(answer: &Answer, expected: &Expected) -> Self {
        let body = String::from_utf8_lossy(&answer.body);
        Self::Wrong(format!("{} `{}` instead of {expected}", answer.status, body.trim()))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(body) => write!(f, "`{body}`"),
            Self::Error => f.write_str("an error"),
        }
    }
}

/// The kind of an error that is told as it should be.
fn kind(answer: &Answer) -> Option<&'static str> {
    let content_type = answer.headers.get(header::CONTENT_TYPE)?;
    if content_type != "application/problem+json" {
        return None;
    }
    let details: Details = serde_json::from_slice(&answer.body).ok()?;
    let known = typed(&details.kind, details.status)?;
    (answer.status == details.status).then_some(known)
}

/// The name of an error that a request may have here.
pub(super) fn typed(kind: &str, status: u16) -> Option<&'static str> {
    TYPED.into_iter().find(|known| *known == (kind, status)).map(|known| known.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: &'static str, body: &'static str) -> Answer {
        let mut headers = hyper::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
        let status = hyper::StatusCode::from_u16(status).unwrap();
        Answer { status, headers, body: body.into() }
    }

    fn verdict(status: u16, content_type: &'static str, body: &'static str) -> Verdict {
        Verdict::on(Ok(answer(status, content_type, body)), &Expected::Body("55".into()))
    }

    #[test]
    fn only_the_right_value_is_right() {
        assert_eq!(verdict(200, "text/plain", "55"), Verdict::Right);
        assert!(matches!(verdict(200, "text/plain", "54"), Verdict::Wrong(_)));
        let crashed = Verdict::on(Ok(answer(200, "text/plain", "55")), &Expected::Error);
        assert!(matches!(crashed, Verdict::Wrong(_)), "{crashed:?}");
        let lost = Verdict::on(Err(Fault::Reset), &Expected::Error);
        assert!(matches!(lost, Verdict::Lost(_)), "{lost:?}");
    }

    #[test]
    fn an_error_is_typed_if_all_of_it_fits() {
        let json = "application/problem+json";
        let lost = r#"{"kind":"worker_lost","status":500}"#;
        assert_eq!(verdict(500, json, lost), Verdict::Typed("worker_lost"));
        for (status, content_type, body) in [
            (503, json, lost),
            (500, "application/json", lost),
            (500, json, r#"{"kind":"worker_lost","status":503}"#),
            (500, json, r#"{"kind":"panicked","status":500}"#),
            (500, json, r#"{"status":500}"#),
            (500, "text/plain", "oh"),
        ] {
            let verdict = verdict(status, content_type, body);
            assert!(matches!(verdict, Verdict::Wrong(_)), "{status} {content_type} {body}");
        }
    }
}

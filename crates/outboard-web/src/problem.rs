//! An error of Outboard as a response: problem details (RFC 9457).

use http::{HeaderValue, Response, StatusCode, header};
use outboard::{Error, ErrorKind};
use serde_json::{Value, json};

/// How much of an error a web client is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exposure {
    /// The kind of failure, and a fixed sentence for it. The rest is logged and not
    /// sent: panic messages, names of functions, processes, lines of stderr.
    #[default]
    Kind,
    /// All that the error's `Display` says: for development and for internal servers.
    Full,
}

/// An error of Outboard as a response, for `?` in handlers.
///
/// The body is `application/problem+json` (RFC 9457) with `title`, `status`,
/// `detail`, and the extension `kind`, which is [`ErrorKind::as_str`]. If the server is
/// busy, it has `retry_after_ms` too. `type` is left out, which means `about:blank`.
///
/// | error | status |
/// |---|---|
/// | [`Overloaded`](ErrorKind::Overloaded) | 503 with `Retry-After`; 429 if only this tenant's part of the queue is full |
/// | [`TimedOut`](ErrorKind::TimedOut) | 504 |
/// | [`Unsupported`](ErrorKind::Unsupported) | 501 |
/// | [`TooLarge`](ErrorKind::TooLarge) | 413 for arguments and for what a task receives, 500 for a result |
/// | [`Quarantined`](ErrorKind::Quarantined) | 422: the same request would take another worker down, so a client must not repeat it |
/// | [`InputFailed`](ErrorKind::InputFailed) | 400: the body that the task received broke off |
/// | [`Unavailable`](ErrorKind::Unavailable), [`Closed`](ErrorKind::Closed), [`Cancelled`](ErrorKind::Cancelled) | 503 |
/// | all others | 500 |
///
/// `Retry-After` has whole seconds, rounded up: too late is better than refused
/// again. What is sent of the error says [`Exposure`], which the layer
/// [`Offload`](crate::Offload) sets; without it only the kind is.
///
/// # Examples
///
/// In axum it is a response. Elsewhere [`into_http`](Self::into_http) makes one:
///
/// ```
/// use http::Response;
/// use outboard_web::Problem;
///
/// async fn page(client: &outboard::Client, n: u64) -> Response<String> {
///     match client.submit(|n: u64| n * n, n).await {
///         Ok(square) => Response::new(square.to_string()),
///         Err(error) => Problem::from(error).into_http(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    error: Error,
    /// What the application has instead of the error's own.
    status: Option<StatusCode>,
}

impl Problem {
    /// The same with another status, where the application knows better whose fault it was.
    /// For all routes there is [`Offload::status`](crate::Offload::status).
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        if let Some(status) = self.status {
            return status;
        }
        match self.error.kind() {
            ErrorKind::Overloaded if self.error.is_tenant_limited() => {
                StatusCode::TOO_MANY_REQUESTS
            }
            ErrorKind::TooLarge if self.error.is_arguments_too_large() => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            kind => status(kind),
        }
    }

    /// Returns the error.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Returns the response, with as much of the error as `exposure` allows. Its body is of any
    /// type that is made of text.
    pub fn response<B: From<String>>(&self, exposure: Exposure) -> Response<B> {
        let status = self.status();
        let mut body = json!({
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": match exposure {
                Exposure::Kind => self.sentence().to_owned(),
                Exposure::Full => self.error.to_string(),
            },
            "kind": self.error.kind().as_str(),
        });
        let retry_after = self.error.retry_after();
        if let Some(wait) = retry_after {
            body["retry_after_ms"] = json!(wait.as_millis().max(1) as u64);
        }
        let mut response = document(status, &body);
        if let Some(wait) = retry_after {
            let seconds = (wait.as_secs_f64().ceil() as u64).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// What everybody may know of the error, as a sentence.
    pub(crate) fn sentence(&self) -> &'static str {
        sentence(&self.error)
    }

    /// What a handler answers: the [response](Self::response) that tells the kind. The problem is
    /// in its extensions, for the layer [`Offload`](crate::Offload) knows what may be told.
    /// The rest goes into the log.
    pub fn into_http<B: From<String>>(self) -> Response<B> {
        self.log();
        let mut response = self.response(Exposure::Kind);
        response.extensions_mut().insert(self);
        response
    }

    /// Says in the log what the client is not told: [`into_http`](Self::into_http) does.
    pub fn log(&self) {
        let (kind, error) = (self.error.kind().as_str(), &self.error);
        if self.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(kind, %error, "task failed");
        } else {
            tracing::debug!(kind, %error, "task gave no result");
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { error, status: None }
    }
}

/// Problem details as a response.
pub(crate) fn document<B: From<String>>(status: StatusCode, body: &Value) -> Response<B> {
    let mut response = Response::new(B::from(body.to_string()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// The status of a kind, where nothing else is known of the error.
fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Overloaded
        | ErrorKind::Unavailable
        | ErrorKind::Closed
        | ErrorKind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Quarantined => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::InputFailed => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What everybody may know.
fn sentence(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Overloaded if error.is_tenant_limited() => {
            "You have as many requests waiting as you may have. Try again later."
        }
        ErrorKind::Overloaded => "The server is busy. Try again later.",
        ErrorKind::TimedOut => "The request took too long, and was stopped.",
        ErrorKind::TooLarge if error.is_arguments_too_large() => "The request is too large.",
        ErrorKind::TooLarge => "The result is too large.",
        ErrorKind::Unavailable | ErrorKind::Closed => "The server cannot do this now.",
        ErrorKind::Unsupported => "The server does not offer this.",
        ErrorKind::InputFailed => "The body of the request broke off.",
        ErrorKind::Cancelled => "The request was cancelled.",
        ErrorKind::Quarantined => "This request has failed before, and is refused for a while.",
        ErrorKind::OutOfMemory => "The request needed more memory than it may have.",
        _ => "The request could not be processed.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        let statuses = [
            (ErrorKind::Panicked, 500),
            (ErrorKind::Raised, 500),
            (ErrorKind::WorkerLost, 500),
            (ErrorKind::OutOfMemory, 500),
            (ErrorKind::Quarantined, 422),
            (ErrorKind::TimedOut, 504),
            (ErrorKind::Cancelled, 503),
            (ErrorKind::Overloaded, 503),
            (ErrorKind::TooLarge, 500),
            (ErrorKind::UnknownTask, 500),
            (ErrorKind::Codec, 500),
            (ErrorKind::InvalidUrl, 500),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::Closed, 503),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::InputFailed, 400),
        ];
        // A new kind has to be thought of here.
        assert_eq!(statuses.map(|(kind, _)| kind), ErrorKind::ALL);
        for (kind, expected) in statuses {
            assert_eq!(status(kind).as_u16(), expected, "{kind}");
        }
    }
}

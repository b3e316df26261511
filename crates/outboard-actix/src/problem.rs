//! An error of Outboard as a response: problem details (RFC 9457).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use http::response::Parts;
use outboard::Error;
use outboard_web::Exposure;

/// An error of Outboard as a response, for `?` in handlers: with the statuses, the body and the
/// `Retry-After` that [`outboard_web::Problem`] lists.
///
/// # Examples
///
/// ```
/// use actix_web::web;
/// use outboard_actix::Problem;
///
/// async fn page(client: web::Data<outboard::Client>, n: web::Path<u64>) -> Result<String, Problem> {
///     Ok(client.submit(|n: u64| n * n, n.into_inner()).await?.to_string())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Problem {
    problem: outboard_web::Problem,
    exposure: Exposure,
}

impl Problem {
    /// The same, with what the client is told of it; by default only the kind.
    pub fn exposure(self, exposure: Exposure) -> Self {
        Self { exposure, ..self }
    }

    /// The same with another status, where the application knows better whose fault it was.
    pub fn with_status(self, status: StatusCode) -> Self {
        match status.as_u16().try_into() {
            Ok(status) => Self { problem: self.problem.with_status(status), ..self },
            Err(_) => self,
        }
    }

    pub(crate) fn problem(&self) -> &outboard_web::Problem {
        &self.problem
    }

    /// The error itself.
    pub fn error(&self) -> &Error {
        self.problem.error()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self { problem: error.into(), exposure: Exposure::default() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        status(self.problem.status())
    }

    fn error_response(&self) -> HttpResponse {
        self.problem.log();
        converted(self.problem.response(self.exposure))
    }
}

/// A response as actix-web has it.
pub(crate) fn converted(response: http::Response<String>) -> HttpResponse {
    let (head, body) = response.into_parts();
    begun(&head).body(body)
}

/// The head of a response as actix-web has it.
pub(crate) fn begun(head: &Parts) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status(head.status));
    for (name, value) in &head.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    response
}

/// A status as actix-web has it, which is of an older release of the crate `http`.
fn status(status: http::StatusCode) -> StatusCode {
    StatusCode::from_u16(status.as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

//! Responses of the services that are served besides an application.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

/// The body of a response of [`Health`](crate::Health) and of the other services here.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A response that nobody may keep.
pub(crate) fn answer(
    status: StatusCode,
    kind: &'static str,
    text: impl Into<Bytes>,
) -> Response<Body> {
    with_body(status, kind, Full::new(text.into()).boxed_unsync())
}

/// A response that nobody may keep, with a body that comes bit by bit.
pub(crate) fn with_body(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What is at no path of a service.
pub(crate) fn not_here() -> Response<Body> {
    answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "")
}

/// Refuses what is no `GET` and no `HEAD`; of the latter a server leaves out the body.
pub(crate) fn only_get(
    method: &Method,
    response: impl FnOnce() -> Response<Body>,
) -> Response<Body> {
    match *method {
        Method::GET | Method::HEAD => response(),
        _ => not_allowed("GET,HEAD"),
    }
}

/// Refuses what is no `POST`.
#[cfg(feature = "status")]
pub(crate) fn only_post(
    method: &Method,
    response: impl FnOnce() -> Response<Body>,
) -> Response<Body> {
    if *method == Method::POST { response() } else { not_allowed("POST") }
}

fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut refusal = answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "");
    refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    refusal
}

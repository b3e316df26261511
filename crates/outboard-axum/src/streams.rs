//! Streams of tasks as responses: server-sent events, lines of JSON, bytes.

use std::convert::Infallible;
use std::future::ready;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Extension};
use futures_util::FutureExt;
use futures_util::stream::{self, Stream, StreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use outboard::{Error, TaskStream};
use outboard_web::{Exposure, LateTiming, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Answers with the items of a stream as server-sent events.
///
/// Each item is an event without a name, whose data is JSON and whose id counts from 0. What the
/// task returned comes last, as the event `output`. An error comes last instead, as the event
/// `problem` with problem details. `EventSource` connects again after the end: close it at
/// either of the two. A comment every fifteen seconds keeps the connection open.
///
/// Below the layer [`Offload`](crate::Offload) the event `server-timing` comes just before `output`.
/// Its data is what a `Server-Timing` header says: how long the task waited and ran.
///
/// A stream that was refused is a problem with its status, such as 503 with `Retry-After`.
/// When the browser leaves, the task is stopped.
///
/// # Examples
///
/// ```
/// use axum::response::Response;
/// use outboard::Sender;
/// use outboard_axum::{Compute, sse};
///
/// #[outboard::task]
/// fn tokens(prompt: String, out: Sender<String>) -> usize {
///     prompt.split(' ').filter(|word| out.send(word.to_string()).is_ok()).count()
/// }
///
/// async fn answer(compute: Compute, prompt: String) -> Response {
///     sse(compute.stream(tokens, prompt))
/// }
/// ```
pub fn sse<T, R>(stream: TaskStream<T, R>) -> Response
where
    T: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let named = |name, data| Event::default().event(name).data(data);
    let events = move |part: Part<T, R>| {
        let (timing, event) = match part.into_json() {
            Json::Item(number, item) => (None, Event::default().id(number.to_string()).data(item)),
            Json::Output(output, timing) => (timing, named("output", output)),
            Json::Problem(problem) => (None, named("problem", problem.to_string())),
        };
        let timing = timing.as_ref().and_then(|timing| timing.to_str().ok());
        let timing = timing.map(|timing| named("server-timing", timing.to_owned()));
        stream::iter(timing.into_iter().chain([event]).map(Ok::<_, Infallible>))
    };
    let timing = LateTiming::in_body();
    match parts(stream, timing.clone()) {
        Ok(parts) => {
            let events = Sse::new(parts.flat_map(events)).keep_alive(KeepAlive::default());
            (Extension(timing), events).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Answers with the items of a stream as lines of JSON (`application/x-ndjson`).
///
/// Each item is a line. What the task returned is not sent. If the task fails, the last line is
/// an object with the one field `problem`, which has the problem details.
///
/// Below the layer [`Offload`](crate::Offload) the trailer `Server-Timing` says how long the task waited
/// and ran. A client of HTTP/1 gets it if it sends `TE: trailers`.
///
/// A stream that was refused is a problem with its status, such as 503 with `Retry-After`.
/// When the client leaves, the task is stopped.
pub fn ndjson<T, R>(stream: TaskStream<T, R>) -> Response
where
    T: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let line = |part: Part<T, R>| {
        let line = match part.into_json() {
            Json::Item(_, item) => item,
            Json::Output(_, timing) => return timing.map(trailer).map(Ok::<_, Infallible>),
            Json::Problem(problem) => json!({ "problem": problem }).to_string(),
        };
        Some(Ok(Frame::data(Bytes::from(line + "\n"))))
    };
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-cache")];
    match framed(stream, line) {
        Ok(body) => (headers, body).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Answers with the items of a stream, one after the other, as the bytes that they are.
///
/// If the task fails, the response is broken off, so that its client does not take it for whole.
/// Set the content type on what is returned. The trailer `Server-Timing` is as that of [`ndjson`].
///
/// A stream that was refused is a problem with its status, such as 503 with `Retry-After`.
/// When the client leaves, the task is stopped.
pub fn body<R>(stream: TaskStream<Bytes, R>) -> Response
where
    R: DeserializeOwned + Send + 'static,
{
    let bytes = |part: Part<Bytes, R>| match part {
        Part::Item(_, item) => Some(Ok(Frame::data(item))),
        Part::Output(_, timing) => timing.map(trailer).map(Ok),
        Part::Failed(error) => Some(Err(error)),
    };
    framed(stream, bytes).into_response()
}

/// The body of a response whose times are its trailer.
fn framed<T, R, E>(
    stream: TaskStream<T, R>,
    frame: impl Fn(Part<T, R>) -> Option<Result<Frame<Bytes>, E>> + Send + 'static,
) -> Result<(Extension<LateTiming>, Body), Problem>
where
    T: DeserializeOwned + Send + 'static,
    R: DeserializeOwned + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let timing = LateTiming::as_trailer();
    let frames = parts(stream, timing.clone())?;
    let frames = frames.filter_map(move |part| ready(frame(part)));
    Ok((Extension(timing), Body::new(StreamBody::new(frames))))
}

fn trailer(timing: HeaderValue) -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(SERVER_TIMING, timing)]))
}

/// One part of a stream's response.
enum Part<T, R> {
    Item(u64, T),
    /// With the times, if they are to be told.
    Output(R, Option<HeaderValue>),
    Failed(Error),
}

/// A part as it is sent.
enum Json {
    Item(u64, String),
    Output(String, Option<HeaderValue>),
    Problem(Value),
}

impl<T: Serialize, R: Serialize> Part<T, R> {
    fn into_json(self) -> Json {
        let written = match &self {
            Self::Item(number, item) => {
                serde_json::to_string(item).map(|item| Json::Item(*number, item))
            }
            Self::Output(output, timing) => {
                serde_json::to_string(output).map(|output| Json::Output(output, timing.clone()))
            }
            Self::Failed(error) => Ok(Json::Problem(problem(error.clone()))),
        };
        written.unwrap_or_else(|error| {
            tracing::error!(%error, "a part of a stream could not be written as JSON");
            Json::Problem(json!({ "title": "Internal Server Error", "status": 500 }))
        })
    }
}

/// The details of an error that comes after the head of the response.
fn problem(error: Error) -> Value {
    let problem = Problem::from(error);
    problem.log();
    let details: String = problem.response(Exposure::Kind).into_body();
    serde_json::from_str(&details).unwrap_or_default()
}

/// The parts of a stream; the problem of one that has failed already.
fn parts<T, R>(
    mut stream: TaskStream<T, R>,
    timing: LateTiming,
) -> Result<impl Stream<Item = Part<T, R>> + Send, Problem>
where
    T: DeserializeOwned + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    let first = match stream.next().now_or_never() {
        Some(Some(Err(error))) => return Err(Problem::from(error)),
        first => first,
    };
    Ok(stream::unfold(Some((stream, timing, first, 0)), |state| async move {
        let (mut stream, timing, first, number) = state?;
        let next = match first {
            Some(first) => first,
            None => stream.next().await,
        };
        match next {
            Some(Ok(item)) => {
                Some((Part::Item(number, item), Some((stream, timing, None, number + 1))))
            }
            Some(Err(error)) => Some((Part::Failed(error), None)),
            None => {
                let last = match stream.with_report().await {
                    Ok((output, report)) => Part::Output(output, timing.of(&report)),
                    Err(error) => Part::Failed(error),
                };
                Some((last, None))
            }
        }
    }))
}

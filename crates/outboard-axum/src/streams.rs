//! Streams of tasks as responses: server-sent events, lines of JSON, bytes.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::stream::{self, Stream, StreamExt};
use outboard::{Error, TaskStream};
use outboard_web::{Exposure, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Answers with the items of a stream as server-sent events.
///
/// Each item is an event without a name, whose data is JSON and whose id counts from 0. What the
/// task returned comes last, as the event `output`. An error comes last instead, as the event
/// `problem` with problem details. `EventSource` connects again after the end: close it at
/// either of the two. A comment every fifteen seconds keeps the connection open.
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
    let event = |part: Part<T, R>| {
        Ok::<_, Infallible>(match part.into_json() {
            Json::Item(number, item) => Event::default().id(number.to_string()).data(item),
            Json::Output(output) => Event::default().event("output").data(output),
            Json::Problem(problem) => Event::default().event("problem").data(problem.to_string()),
        })
    };
    match parts(stream) {
        Ok(parts) => Sse::new(parts.map(event)).keep_alive(KeepAlive::default()).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Answers with the items of a stream as lines of JSON (`application/x-ndjson`).
///
/// Each item is a line. What the task returned is not sent. If the task fails, the last line is
/// an object with the one field `problem`, which has the problem details.
///
/// A stream that was refused is a problem with its status, such as 503 with `Retry-After`.
/// When the client leaves, the task is stopped.
pub fn ndjson<T, R>(stream: TaskStream<T, R>) -> Response
where
    T: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    let line = |part: Part<T, R>| async move {
        let line = match part.into_json() {
            Json::Item(_, item) => item,
            Json::Output(_) => return None,
            Json::Problem(problem) => json!({ "problem": problem }).to_string(),
        };
        Some(Ok::<_, Infallible>(line + "\n"))
    };
    match parts(stream) {
        Ok(parts) => {
            let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-cache")];
            (headers, Body::from_stream(parts.filter_map(line))).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Answers with the items of a stream, one after the other, as the bytes that they are.
///
/// If the task fails, the response is broken off, so that its client does not take it for whole.
/// Set the content type on what is returned.
///
/// A stream that was refused is a problem with its status, such as 503 with `Retry-After`.
/// When the client leaves, the task is stopped.
pub fn body<R>(stream: TaskStream<Bytes, R>) -> Response
where
    R: DeserializeOwned + Send + 'static,
{
    let bytes = |part: Part<Bytes, R>| async move {
        match part {
            Part::Item(_, item) => Some(Ok(item)),
            Part::Output(_) => None,
            Part::Failed(error) => Some(Err(error)),
        }
    };
    match parts(stream) {
        Ok(parts) => Body::from_stream(parts.filter_map(bytes)).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// One part of a stream's response.
enum Part<T, R> {
    Item(u64, T),
    Output(R),
    Failed(Error),
}

/// A part as it is sent.
enum Json {
    Item(u64, String),
    Output(String),
    Problem(Value),
}

impl<T: Serialize, R: Serialize> Part<T, R> {
    fn into_json(self) -> Json {
        let written = match &self {
            Self::Item(number, item) => {
                serde_json::to_string(item).map(|item| Json::Item(*number, item))
            }
            Self::Output(output) => serde_json::to_string(output).map(Json::Output),
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
) -> Result<impl Stream<Item = Part<T, R>> + Send, Problem>
where
    T: DeserializeOwned + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    let first = match stream.next().now_or_never() {
        Some(Some(Err(error))) => return Err(Problem::from(error)),
        first => first,
    };
    Ok(stream::unfold(Some((stream, first, 0)), |state| async move {
        let (mut stream, first, number) = state?;
        let next = match first {
            Some(first) => first,
            None => stream.next().await,
        };
        match next {
            Some(Ok(item)) => Some((Part::Item(number, item), Some((stream, None, number + 1)))),
            Some(Err(error)) => Some((Part::Failed(error), None)),
            None => Some((stream.output().await.map_or_else(Part::Failed, Part::Output), None)),
        }
    }))
}

//! One who looks: a stream of server-sent events that ends when the server does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::reading::{Reading, message};
use crate::answer::Body;
use crate::ending::Ending;

/// How long a browser waits before it connects again.
const RETRY: &[u8] = b"retry: 1000\n\n";

/// See the module's documentation. Dropped when its connection is closed.
struct Viewer {
    reading: Arc<Reading>,
    waiting: VecDeque<Bytes>,
    rest: broadcast::Receiver<Bytes>,
    draining: Option<Ending>,
    ended: bool,
}

/// The events of a reading, as a response that does not end by itself.
pub(super) fn response(reading: Arc<Reading>, draining: Option<Ending>) -> Response<Body> {
    let (so_far, rest) = reading.join();
    let waiting = [Bytes::from_static(RETRY)].into_iter().chain(so_far).collect();
    let viewer = Viewer { reading, waiting, rest, draining, ended: false };
    let events = stream::unfold(viewer, |mut viewer| async move {
        let next = viewer.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(next)), viewer))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        // Proxies that would gather them are asked not to.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Viewer {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            if self.ended {
                return None;
            }
            let told = tokio::select! {
                () = ending(self.draining.as_ref()) => None,
                told = self.rest.recv() => Some(told),
            };
            match told {
                Some(Ok(message)) => return Some(message),
                Some(Err(RecvError::Lagged(missed))) => {
                    self.waiting.extend(self.reading.catch_up(missed));
                }
                None | Some(Err(RecvError::Closed)) => {
                    self.ended = true;
                    return Some(message("end", &json!({})));
                }
            }
        }
    }
}

/// Waits until the server is told to end; for ever, where nobody would say so.
async fn ending(draining: Option<&Ending>) {
    match draining {
        Some(draining) => draining.wait().await,
        None => std::future::pending().await,
    }
}

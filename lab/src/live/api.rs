//! What the page asks its server for: the stream of what happens, and what its
//! buttons do.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::board::{Board, Kind, Ticket, To};
use super::problem::Problem;
use super::{Shared, bounds, guard, load};
use crate::tour::Choice;

/// How many experiments may wait.
const MOST_QUEUED: usize = 20;

/// The stream of what happens, and the buttons.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let buttons = Router::new()
        .route("/live/run", post(run))
        .route("/live/send", post(send))
        .route("/live/leave", post(leave))
        .route("/live/clear", post(clear))
        .route_layer(middleware::from_fn(guard::same_site));
    let events = Router::new().route("/live/events", get(events));
    let events = events.route_layer(middleware::from_fn(guard::own_name));
    events.merge(buttons).with_state(shared)
}

/// What a visitor sees: the board whenever it changes, and the frames.
struct Seen {
    board: watch::Receiver<Option<Arc<str>>>,
    frames: broadcast::Receiver<Arc<str>>,
}

async fn events(
    State(shared): State<Arc<Shared>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut seen = Seen { board: shared.shown.subscribe(), frames: shared.frames.subscribe() };
    seen.board.mark_changed();
    shared.visited.notify_one();
    let first = Arc::clone(&shared);
    shared.runtime.spawn(async move {
        first.calibration().await;
    });
    let stream = stream::unfold(seen, |mut seen| async move {
        let event = seen.next().await?;
        Some((Ok(event), seen))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

impl Seen {
    /// The next thing to see; `None` when the server ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                biased;
                changed = self.board.changed() => {
                    changed.ok()?;
                    let board = self.board.borrow_and_update().clone()?;
                    return Some(Event::default().event("board").data(&*board));
                }
                frame = self.frames.recv() => match frame {
                    Ok(frame) => return Some(Event::default().event("frame").data(&*frame)),
                    // Too late for those: the next one comes soon.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

/// An experiment to be run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    experiment: Choice,
    n: u64,
    requests: usize,
}

async fn run(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Json(Wanted { experiment, n, requests }) = wanted?;
    let checked = bounds::check(shared.calibration().await, experiment, n, requests);
    checked.map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    let (id, ahead) = shared.change(|board| {
        let ahead = board.queue.len() + usize::from(board.running.is_some());
        if board.queue.len() >= MOST_QUEUED {
            let why = format!("{MOST_QUEUED} experiments wait already: come back later");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, why));
        }
        let id = board.number_ticket();
        board.queue.push_back(Ticket { id, experiment, n, requests });
        Ok((id, ahead))
    })?;
    shared.moved.notify_one();
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id, "ahead": ahead }))))
}

/// A load to be sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    what: Kind,
    to: To,
}

async fn send(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Json<Load>, JsonRejection>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Json(Load { what, to }) = wanted?;
    let calibration = shared.calibration().await;
    let id = load::send(&shared, calibration, what, to)?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": id }))))
}

/// A load to be left.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Left {
    load: u64,
}

async fn leave(
    State(shared): State<Arc<Shared>>,
    wanted: Result<Json<Left>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(Left { load }) = wanted?;
    match load::leave(&shared, load) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(StatusCode::NOT_FOUND, "that load is over already")),
    }
}

/// Forgets what was sent and has ended, for all visitors.
async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.change(Board::clear);
    StatusCode::NO_CONTENT
}

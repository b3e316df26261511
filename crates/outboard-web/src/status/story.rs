//! What happened to one task, for the page to show at a click.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use outboard::TaskId;
use outboard::admin::Story;
use serde_json::{Value, json};

use super::Shown;
use super::view::of::ms;

/// Tells the events of a task that are kept, which the page's own reading sees to while
/// somebody looks.
pub(super) async fn story(State(shown): State<Shown>, Path(task): Path<String>) -> Response {
    let Ok(task) = task.parse::<TaskId>() else {
        return answer(StatusCode::BAD_REQUEST, &json!({ "said": "that names no task" }));
    };
    match shown.client.admin().story(task) {
        Some(story) => answer(StatusCode::OK, &told(&story)),
        None => {
            let said = "no event of this task is kept any more; to keep more of them, call \
                        `client.admin().record(10_000)`";
            answer(StatusCode::NOT_FOUND, &json!({ "said": said }))
        }
    }
}

fn told(story: &Story) -> Value {
    let start = story.events.first().map_or(Duration::ZERO, |event| event.at);
    let events = story.events.iter().map(|event| {
        json!({ "after_ms": ms(event.at.saturating_sub(start)), "text": event.kind.to_string() })
    });
    json!({ "whole": story.whole, "events": events.collect::<Vec<_>>() })
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

//! What happened to one task, for the page to show at a click.

use std::time::Duration;

use http::{Response, StatusCode};
use outboard::admin::Story;
use outboard::{Client, TaskId};
use serde_json::{Value, json};

use super::view::of::ms;
use crate::answer::{Body, answer};

/// Tells the events of a task that are kept, which the page's own reading sees to while
/// somebody looks.
pub(super) fn story(client: &Client, task: &str) -> Response<Body> {
    let Ok(task) = task.parse::<TaskId>() else {
        return say(StatusCode::BAD_REQUEST, &json!({ "said": "that names no task" }));
    };
    match client.admin().story(task) {
        Some(story) => say(StatusCode::OK, &told(&story)),
        None => {
            let said = "no event of this task is kept any more; to keep more of them, call \
                        `client.admin().record(10_000)`";
            say(StatusCode::NOT_FOUND, &json!({ "said": said }))
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

fn say(status: StatusCode, body: &Value) -> Response<Body> {
    answer(status, "application/json", body.to_string())
}

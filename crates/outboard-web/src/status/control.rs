//! What the page may do where the application allows it, and who may ask for it:
//! no other site.

use futures_util::FutureExt;
use http::{HeaderMap, Response, StatusCode, Uri, header};
use outboard::{Client, TaskId};
use serde_json::json;

use crate::answer::{Body, answer};

/// A header that no form can send, and no script of another site without asking.
pub(super) const HEADER: &str = "x-outboard-status";

/// Does what a path asks for, if this page sent the request, or a program.
///
/// A browser says with each request where it comes from: by `Sec-Fetch-Site`, and
/// where the page came without encryption, by `Origin` alone. The header must be
/// there besides, which costs another site a question (CORS) that is not answered
/// here.
pub(super) fn act(
    action: Action<'_>,
    client: &Client,
    headers: &HeaderMap,
    uri: &Uri,
) -> Response<Body> {
    match (objection(headers, uri), action) {
        (Some(why), _) => say(StatusCode::FORBIDDEN, why),
        (None, Action::Cancel(task)) => cancel(client, task),
        (None, Action::Recycle(worker)) => recycle(client, worker),
        (None, Action::Drain) => drain(client),
    }
}

/// What the page may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action<'a> {
    Cancel(&'a str),
    Recycle(&'a str),
    Drain,
}

impl<'a> Action<'a> {
    /// What a path asks for.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        match path.strip_prefix('/')?.split_once('/') {
            Some(("cancel", task)) => Some(Self::Cancel(task)),
            Some(("recycle", worker)) => Some(Self::Recycle(worker)),
            None if path == "/drain" => Some(Self::Drain),
            _ => None,
        }
    }
}

/// Why a request is not let through, if it is not.
fn objection(headers: &HeaderMap, uri: &Uri) -> Option<&'static str> {
    if headers.get(HEADER).is_none_or(|value| value != "1") {
        return Some("the header `x-outboard-status: 1` is missing");
    }
    if let Some(site) = headers.get("sec-fetch-site") {
        return (site != "same-origin").then_some("it comes from another site");
    }
    let origin = headers.get(header::ORIGIN)?.to_str().ok();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(uri.authority().map(|authority| authority.as_str()));
    let from = origin.and_then(|origin| Some(origin.split_once("://")?.1));
    let same = from.is_some_and(|from| host.is_some_and(|host| host.eq_ignore_ascii_case(from)));
    (!same).then_some("it comes from another origin than its host")
}

/// Cancels a task for all who wait for it.
fn cancel(client: &Client, task: &str) -> Response<Body> {
    match task.parse::<TaskId>() {
        Err(_) => say(StatusCode::BAD_REQUEST, "that names no task"),
        Ok(task) if client.admin().cancel_task(task) => say(StatusCode::OK, "it is cancelled"),
        Ok(_) => say(StatusCode::NOT_FOUND, "that task has ended"),
    }
}

/// Replaces a worker.
fn recycle(client: &Client, worker: &str) -> Response<Body> {
    match worker.parse() {
        Err(_) => say(StatusCode::BAD_REQUEST, "that is no worker's number"),
        Ok(worker) if client.admin().recycle(worker) => {
            say(StatusCode::OK, "another one takes its place as soon as it is ready")
        }
        Ok(_) => say(StatusCode::NOT_FOUND, "no such worker serves that can be replaced"),
    }
}

/// Takes no more tasks.
fn drain(client: &Client) -> Response<Body> {
    // It is closed from here on; the page shows when the rest has ended.
    let said = match client.drain().now_or_never() {
        Some(()) => "it takes no more tasks, and has none",
        None => "it takes no more tasks, and finishes those that it has",
    };
    say(StatusCode::OK, said)
}

fn say(status: StatusCode, said: &str) -> Response<Body> {
    let body = json!({ "ok": status.is_success(), "said": said });
    answer(status, "application/json", body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(headers: &[(&'static str, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), value.parse().expect("a good value"))
        });
        objection(&HeaderMap::from_iter(headers), &Uri::from_static("/drain")).is_some()
    }

    #[test]
    fn only_the_page_itself_and_programs_are_let_through() {
        let (own, host) = ((HEADER, "1"), ("host", "a.example:9000"));
        assert!(!objects(&[own, host]), "a program");
        assert!(!objects(&[own, host, ("sec-fetch-site", "same-origin")]));
        assert!(!objects(&[own, host, ("origin", "http://a.example:9000")]));
        assert!(!objects(&[own, host, ("origin", "http://A.example:9000")]));
        assert!(objects(&[host, ("sec-fetch-site", "same-origin")]), "a form");
        assert!(objects(&[(HEADER, "0"), host]));
        for site in ["cross-site", "same-site", "none", ""] {
            assert!(objects(&[own, host, ("sec-fetch-site", site)]), "{site}");
        }
        let own_origin = ("origin", "http://a.example:9000");
        assert!(objects(&[own, host, own_origin, ("sec-fetch-site", "cross-site")]));
        for origin in ["null", "http://b.example", "http://a.example", "a.example:9000", ""] {
            assert!(objects(&[own, host, ("origin", origin)]), "{origin}");
        }
        assert!(objects(&[own, own_origin]), "without a host");
    }
}

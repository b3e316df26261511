//! What the page may do where the application allows it, and who may ask for it:
//! no other site.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use outboard::TaskId;
use serde_json::json;

use super::Shown;

/// A header that no form can send, and no script of another site without asking.
pub(super) const HEADER: &str = "x-outboard-status";

/// Lets a request through that this page sent, or a program.
///
/// A browser says with each request where it comes from: by `Sec-Fetch-Site`, and
/// where the page came without encryption, by `Origin` alone. The header must be
/// there besides, which costs another site a question (CORS) that is not answered
/// here.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    match objection(request.headers(), request.uri()) {
        None => next.run(request).await,
        Some(why) => answer(StatusCode::FORBIDDEN, why),
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
pub(super) async fn cancel(State(shown): State<Shown>, Path(task): Path<String>) -> Response {
    match task.parse::<TaskId>() {
        Err(_) => answer(StatusCode::BAD_REQUEST, "that names no task"),
        Ok(task) if shown.client.admin().cancel_task(task) => {
            answer(StatusCode::OK, "it is cancelled")
        }
        Ok(_) => answer(StatusCode::NOT_FOUND, "that task has ended"),
    }
}

/// Replaces a worker.
pub(super) async fn recycle(State(shown): State<Shown>, Path(worker): Path<String>) -> Response {
    match worker.parse() {
        Err(_) => answer(StatusCode::BAD_REQUEST, "that is no worker's number"),
        Ok(worker) if shown.client.admin().recycle(worker) => {
            answer(StatusCode::OK, "another one takes its place as soon as it is ready")
        }
        Ok(_) => answer(StatusCode::NOT_FOUND, "no such worker serves that can be replaced"),
    }
}

/// Takes no more tasks.
pub(super) async fn drain(State(shown): State<Shown>) -> Response {
    // It is closed from here on; the page shows when the rest has ended.
    let said = tokio::select! {
        biased;
        () = shown.client.drain() => "it takes no more tasks, and has none",
        () = std::future::ready(()) => "it takes no more tasks, and finishes those that it has",
    };
    answer(StatusCode::OK, said)
}

fn answer(status: StatusCode, said: &str) -> Response {
    let body = json!({ "ok": status.is_success(), "said": said });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
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

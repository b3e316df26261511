//! The page's files, which are part of the program, and the headers that bind them.

use http::{HeaderName, HeaderValue, Response, StatusCode, Uri, header};

use crate::answer::{Body, answer};

/// Nothing but the page's own files runs, is shown or is asked; nor may another
/// page frame it, where a click could be stolen.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const PAGE: &str = include_str!("page/page.html");

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Their paths, types and texts.
const FILES: [(&str, &str, &str); 12] = [
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JS, include_str!("page/page.js")),
    ("/alerts.js", JS, include_str!("page/alerts.js")),
    ("/connection.js", JS, include_str!("page/connection.js")),
    ("/controls.js", JS, include_str!("page/controls.js")),
    ("/dom.js", JS, include_str!("page/dom.js")),
    ("/histogram.js", JS, include_str!("page/histogram.js")),
    ("/reports.js", JS, include_str!("page/reports.js")),
    ("/story.js", JS, include_str!("page/story.js")),
    ("/stream.js", JS, include_str!("page/stream.js")),
    ("/tables.js", JS, include_str!("page/tables.js")),
];

/// The page, as asked for by that path.
///
/// Its files are found relative to it: a path without a slash at its end
/// (`nest("/status", …)`) is a directory of its own name for them.
pub(super) fn page(uri: &Uri) -> Response<Body> {
    answer(StatusCode::OK, "text/html; charset=utf-8", text(uri))
}

fn text(uri: &Uri) -> String {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    let base = match last {
        "" => "./".to_owned(),
        name => format!("./{}/", escaped(name)),
    };
    PAGE.replace("{base}", &base)
}

/// A part of a path as an attribute has it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' | '<' | '>' | '"' | '\'' => out += &format!("&#{};", letter as u32),
            letter => out.push(letter),
        }
    }
    out
}

/// The file of the page at a path.
pub(super) fn file(path: &str) -> Option<Response<Body>> {
    let (_, kind, text) = FILES.iter().find(|(at, ..)| *at == path)?;
    Some(answer(StatusCode::OK, kind, *text))
}

/// The headers of each response.
pub(super) fn bound(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::VARY, "accept"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_from_each_path() {
        let base = |path: &'static str| {
            let page = text(&Uri::from_static(path));
            let rest = page.split_once("src=\"").expect("it has a script").1;
            rest.split_once("page.js").expect("of that name").0.to_owned()
        };
        assert_eq!(base("/"), "./");
        assert_eq!(base("/status"), "./status/");
        assert_eq!(base("/ops/status/"), "./");
        assert_eq!(base("/ops/status?x=/y"), "./status/");
        assert_eq!(base("/x\"onload='y"), "./x&#34;onload=&#39;y/");
    }

    #[test]
    fn the_page_needs_no_other_host_and_no_exception() {
        let page = [PAGE].into_iter().chain(FILES.iter().map(|(_, _, text)| *text));
        for text in page {
            for word in ["http://", "https://", "innerHTML", "style=\"", "eval(", " onclick"] {
                let namespace = text.replace("http://www.w3.org/", "");
                assert!(!namespace.contains(word), "{word}");
            }
        }
    }
}

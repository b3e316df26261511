//! Only the page itself may change something: no page of another site, in the
//! same browser, may.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

use super::problem::Problem;

/// Refuses what another site's page asks for.
pub(super) async fn same_site(request: Request, next: Next) -> Response {
    if is_own(request.headers()) {
        return next.run(request).await;
    }
    Problem::new(StatusCode::FORBIDDEN, "only this server's own page may ask for this")
        .into_response()
}

/// Refuses who asks under a name that its owner has made lead here: such a site is of the
/// same origin, and would read what this page is told.
pub(super) async fn own_name(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    if host.is_none_or(|host| is_this_machine(host.to_str().unwrap_or_default())) {
        return next.run(request).await;
    }
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "ask under an address, or as localhost")
        .into_response()
}

/// Whether a request comes from this server's page, or from no page at all.
///
/// Browsers say where a request comes from; older ones do so by the origin
/// alone. A name other than localhost may be one that its owner made lead here.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(host) = text(header::HOST).filter(|host| is_this_machine(host)) else { return false };
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") == Some(host))
}

/// Whether a `Host` header is an address, or localhost.
fn is_this_machine(host: &str) -> bool {
    let port = host.rfind(':').filter(|&at| host[at + 1..].bytes().all(|it| it.is_ascii_digit()));
    let name = &host[..port.unwrap_or(host.len())];
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || address.is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_own;
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let headers = list
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        headers.collect()
    }

    #[test]
    fn the_page_itself_and_programs_may() {
        let host = ("host", "127.0.0.1:9000");
        for own in [
            &[host][..],
            &[host, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:9000")],
            &[host, ("origin", "http://127.0.0.1:9000")],
            &[("host", "localhost"), ("origin", "http://localhost")],
            &[("host", "[::1]:9000")],
        ] {
            assert!(is_own(&headers(own)), "{own:?}");
        }
    }

    #[test]
    fn other_sites_may_not() {
        let host = ("host", "127.0.0.1:9000");
        for other in [
            &[][..],
            &[host, ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:9000")],
            &[host, ("origin", "http://127.0.0.1:8000")],
            &[host, ("origin", "null")],
            &[("host", "rebound.example:9000"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(!is_own(&headers(other)), "{other:?}");
        }
    }
}

//! Under which names the page is served: a site that has its own name lead to this server
//! (DNS rebinding) would be of the same origin, and read what the page shows.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode, Uri, header};

use crate::answer::{Body, answer};

/// The names that the application has given.
pub(super) type Names = Arc<[String]>;

/// Refuses a request that does not name this server as nobody else can have it.
pub(super) fn refuse(names: &Names, headers: &HeaderMap, uri: &Uri) -> Option<Response<Body>> {
    // Browsers always say.
    let host = host(headers, uri)?;
    (!is_own(host, names)).then(|| {
        let said = "this page is not served under that name: use an address, or have the \
                    application name it by Status::hosts\n";
        answer(StatusCode::MISDIRECTED_REQUEST, "text/plain; charset=utf-8", said)
    })
}

fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    match headers.get(header::HOST) {
        Some(host) => Some(host.to_str().unwrap_or_default()),
        None => uri.authority().map(|authority| authority.as_str()),
    }
}

/// Whether a host, with its port, is an address, a name that cannot be registered, for it
/// has no dot or is below `localhost`, or one of those given.
fn is_own(host: &str, names: &[String]) -> bool {
    let port = host.rfind(':').filter(|at| host[at + 1..].bytes().all(|it| it.is_ascii_digit()));
    let name = &host[..port.unwrap_or(host.len())];
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<IpAddr>().is_ok();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_local = !name.is_empty() && (!name.contains('.') || name.ends_with(".localhost"));
    let given = || names.iter().any(|one| one.eq_ignore_ascii_case(&name));
    is_local || name.parse::<IpAddr>().is_ok() || given()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_have_are_its_own() {
        let names = ["ops.example.com".to_owned()];
        for own in [
            "127.0.0.1:9000",
            "192.168.1.7",
            "[::1]:9000",
            "[::1]",
            "localhost",
            "LOCALHOST:9000",
            "a.localhost:80",
            "server",
            "ops.example.com",
            "OPS.example.com.:443",
        ] {
            assert!(is_own(own, &names), "{own}");
        }
        for other in [
            "",
            ":9000",
            "evil.example:9000",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9000",
            "ops.example.com.evil.example",
            "example.com",
            "[evil.example]",
            "127.0.0.1@evil.example",
        ] {
            assert!(!is_own(other, &names), "{other}");
        }
    }
}

//! What is measured: one page of one server.

use std::fmt;
use std::net::SocketAddr;

use anyhow::Context;
use hyper::Uri;

/// An `http://` URL, taken apart for a client that speaks to one address.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    url: String,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    /// Reads a URL; the error is a sentence for the user.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let Some(("http", _)) = url.split_once("://") else {
            return Err("only http:// URLs can be asked".to_owned());
        };
        let uri: Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
        let authority = uri.authority().ok_or("it names no host")?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(authority.host()) => 80,
            None => return Err("the port is not a number up to 65535".to_owned()),
        };
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    /// Looks the host's address up.
    pub(crate) async fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let unknown = || format!("cannot find the host {}", self.host);
        let host = (self.host.as_str(), self.port);
        let mut addresses = tokio::net::lookup_host(host).await.with_context(unknown)?;
        addresses.next().with_context(unknown)
    }

    /// The `Host` header.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Path and query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("http://localhost:8000/fib/28?x=1").expect("a good URL");
        assert_eq!(
            (target.host.as_str(), target.port, target.path()),
            ("localhost", 8000, "/fib/28?x=1")
        );
        let target = Target::parse("http://[::1]").expect("a good URL");
        assert_eq!((target.host.as_str(), target.port, target.path()), ("::1", 80, "/"));
    }

    #[test]
    fn anything_but_http_is_refused() {
        for bad in [
            "",
            "fast",
            "localhost:8000/fast",
            "https://localhost/",
            "ftp://a/",
            "http://",
            "http://:80/",
            "http://a:99999/",
            "http://a b/",
            "http:///fast",
        ] {
            assert!(Target::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}

//! Asks a status page for what it shows, as JSON.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::http::uri::PathAndQuery;
use hyper::{HeaderMap, Request, StatusCode, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use outboard_axum::view::View;
use serde_json::Value;

/// The longest answer that is read: reports of crashes may be long.
const LONGEST_BODY: usize = 64 << 20;

/// When an answer is given up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the page is, and what it wants to be told.
#[derive(Debug)]
pub(super) struct Page {
    uri: Uri,
    headers: HeaderMap,
    client: Asks,
}

/// A client for the URL's scheme.
#[derive(Debug)]
enum Asks {
    Http(Client<HttpConnector, Empty<Bytes>>),
    Https(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>),
}

/// What a page said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) view: View,
    /// The same as text, with what this program does not know.
    pub(super) json: String,
}

/// Why there is nothing to show.
#[derive(Debug)]
pub(super) enum Problem {
    /// There was no answer, for this reason.
    Silent(String),
    /// The answer is not a page at all.
    Status(StatusCode),
    /// The answer is something else than a status page.
    Other,
    /// Neither the place nor this one below it is a status page.
    Nowhere(Uri),
}

impl Page {
    /// Fails where https is asked for, and the system has no certificates to trust.
    pub(super) fn new(uri: Uri, headers: HeaderMap) -> io::Result<Self> {
        let builder = Client::builder(TokioExecutor::new());
        let client = if uri.scheme_str() == Some("https") {
            let connector = HttpsConnectorBuilder::new().with_native_roots()?;
            Asks::Https(builder.build(connector.https_only().enable_http1().build()))
        } else {
            Asks::Http(builder.build_http())
        };
        Ok(Self { uri, headers, client })
    }

    pub(super) fn url(&self) -> String {
        self.uri.to_string()
    }

    /// What the page shows now. A server that is named without a path may have it at
    /// `/status`; then that is asked from here on.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    pub(super) async fn find(&mut self) -> Result<Said, Problem> {
        let first = self.get().await;
        let Err(Problem::Status(StatusCode::NOT_FOUND) | Problem::Other) = first else {
            return first;
        };
        if self.uri.path() != "/" || self.uri.query().is_some() {
            return first;
        }
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static("/status"));
        let below = Uri::from_parts(parts).expect("it has scheme and authority");
        let place = std::mem::replace(&mut self.uri, below);
        let second = self.get().await;
        let Err(Problem::Status(StatusCode::NOT_FOUND) | Problem::Other) = second else {
            return second;
        };
        Err(Problem::Nowhere(std::mem::replace(&mut self.uri, place)))
    }

    /// What the page shows now.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    pub(super) async fn get(&self) -> Result<Said, Problem> {
        let answer = tokio::time::timeout(TIMEOUT, self.exchange()).await;
        let body = answer.unwrap_or_else(|_| Err(Problem::Silent("timed out".to_owned())))?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| Problem::Other)?;
        if value["product"] != "outboard" {
            return Err(Problem::Other);
        }
        let json = serde_json::to_string_pretty(&value).map_err(|_| Problem::Other)?;
        let view = serde_json::from_value(value).map_err(|_| Problem::Other)?;
        Ok(Said { view, json })
    }

    async fn exchange(&self) -> Result<Bytes, Problem> {
        let mut request = Request::get(&self.uri)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("outboard/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .expect("the URL was parsed");
        request.headers_mut().extend(self.headers.clone());
        let answer = match &self.client {
            Asks::Http(client) => client.request(request).await,
            Asks::Https(client) => client.request(request).await,
        };
        let (head, body) = answer.map_err(|error| Problem::silent(&error))?.into_parts();
        if !head.status.is_success() {
            return Err(Problem::Status(head.status));
        }
        let body = Limited::new(body, LONGEST_BODY).collect().await;
        Ok(body.map_err(|error| Problem::silent(&*error))?.to_bytes())
    }
}

impl Problem {
    /// No answer, because of an error: its first cause says it best.
    fn silent(error: &(dyn Error + 'static)) -> Self {
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Self::Silent(cause.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(why) => f.write_str(why),
            Self::Status(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
                write!(f, "http {} (a login is required: see --header)", status.as_u16())
            }
            Self::Status(status) if status.is_redirection() => {
                write!(f, "http {}: the page has moved, or a login is required", status.as_u16())
            }
            Self::Status(status) => {
                write!(f, "http {}: there is no status page", status.as_u16())
            }
            Self::Other => f.write_str("this is not a status page of Outboard"),
            Self::Nowhere(below) => {
                write!(f, "there is no status page, nor at {below}; give its whole URL")
            }
        }
    }
}

impl Error for Problem {}

//! Asks a status page for what it shows, as JSON.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use outboard_axum::view::View;
use serde_json::Value;

use crate::args::StatusArgs;
use crate::measure::{Fault, Target, connect, driven};

/// The longest answer that is read: reports of crashes may be long.
const LONGEST_BODY: usize = 64 << 20;

/// When an answer is given up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the page is, and what it wants to be told.
#[derive(Debug)]
pub(super) struct Page {
    target: Target,
    headers: HeaderMap,
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
    /// The host is not known.
    Unknown(anyhow::Error),
    /// There was no answer.
    Silent(Fault),
    /// The answer is not a page at all.
    Status(StatusCode),
    /// The answer is something else than a status page.
    Other,
}

impl Page {
    pub(super) fn new(args: &StatusArgs) -> Self {
        Self { target: args.url.clone(), headers: args.headers.iter().cloned().collect() }
    }

    pub(super) fn url(&self) -> String {
        self.target.to_string()
    }

    /// What the page shows now.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    pub(super) async fn get(&self) -> Result<Said, Problem> {
        let answer = tokio::time::timeout(TIMEOUT, self.exchange()).await;
        let body = answer.unwrap_or(Err(Problem::Silent(Fault::TimedOut)))?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| Problem::Other)?;
        if value["product"] != "outboard" {
            return Err(Problem::Other);
        }
        let json = serde_json::to_string_pretty(&value).map_err(|_| Problem::Other)?;
        let view = serde_json::from_value(value).map_err(|_| Problem::Other)?;
        Ok(Said { view, json })
    }

    async fn exchange(&self) -> Result<Bytes, Problem> {
        let address = self.target.resolve().await.map_err(Problem::Unknown)?;
        let stream = connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::get(self.target.path())
            .header(header::HOST, self.target.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("outboard/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .expect("path and authority come from a URL that was parsed");
        request.headers_mut().extend(self.headers.clone());
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            if !head.status.is_success() {
                return Err(Problem::Status(head.status));
            }
            let body = Limited::new(body, LONGEST_BODY).collect().await;
            body.map(|body| body.to_bytes()).map_err(|_| Problem::Silent(Fault::Reset))
        };
        driven(connection, exchange).await
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Silent(fault)
    }
}

impl From<hyper::Error> for Problem {
    fn from(error: hyper::Error) -> Self {
        Self::Silent(error.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(error) => write!(f, "{error:#}"),
            Self::Silent(fault) => fault.fmt(f),
            Self::Status(status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
                write!(f, "http {} (it wants to know who asks: see --header)", status.as_u16())
            }
            Self::Status(status) if status.is_redirection() => {
                write!(f, "http {}: it is somewhere else, or wants a login", status.as_u16())
            }
            Self::Status(status) => {
                write!(f, "http {}: there is no status page", status.as_u16())
            }
            Self::Other => f.write_str("that is no status page of Outboard"),
        }
    }
}

impl Error for Problem {}

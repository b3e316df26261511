//! One visitor: a connection that stays open, a tenant's name, one request
//! after the other.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::measure::{Fault, connect};
use crate::site::TENANT_HEADER;

/// The longest body that is read: no page here is longer.
const LONGEST_BODY: usize = 1 << 20;

/// A visitor of one server.
#[derive(Debug)]
pub(crate) struct Browser {
    address: SocketAddr,
    tenant: String,
    timeout: Duration,
    connection: Option<Connection>,
}

/// What a server said.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Browser {
    /// A visitor that gives a request up after `timeout`.
    pub(crate) fn new(address: SocketAddr, tenant: &str, timeout: Duration) -> Self {
        Self { address, tenant: tenant.to_owned(), timeout, connection: None }
    }

    /// Asks for a page, and reads the whole answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection, as a browser that leaves does.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, Fault> {
        self.ask(Method::GET, path).await
    }

    /// The same by POST, with nothing to say.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get).
    pub(crate) async fn post(&mut self, path: &str) -> Result<Answer, Fault> {
        self.ask(Method::POST, path).await
    }

    /// The same by DELETE.
    ///
    /// # Cancel safety
    ///
    /// As [`get`](Self::get).
    pub(crate) async fn delete(&mut self, path: &str) -> Result<Answer, Fault> {
        self.ask(Method::DELETE, path).await
    }

    /// Asks for a page on a connection of its own, and leaves the answer to be read bit by bit;
    /// `after` is the last event that was seen of it.
    pub(crate) async fn read(&self, path: &str, after: Option<String>) -> Result<Reading, Fault> {
        let asked = async {
            let mut connection = Connection::open(self.address).await?;
            let mut request = request(self.address, Method::GET, path, &self.tenant);
            if let Some(after) = after.and_then(|after| after.try_into().ok()) {
                request.headers_mut().insert("last-event-id", after);
            }
            connection.sender.ready().await?;
            let (head, body) = connection.sender.send_request(request).await?.into_parts();
            let (status, headers, timeout) = (head.status, head.headers, self.timeout);
            Ok(Reading { status, headers, body, timeout, _connection: connection })
        };
        tokio::time::timeout(self.timeout, asked).await.unwrap_or(Err(Fault::TimedOut))
    }

    async fn ask(&mut self, method: Method, path: &str) -> Result<Answer, Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) if !connection.sender.is_closed() => connection,
            _ => Connection::open(self.address).await?,
        };
        let exchange = connection.exchange(self.address, method, path, &self.tenant);
        let answer = tokio::time::timeout(self.timeout, exchange).await;
        let answer = answer.unwrap_or(Err(Fault::TimedOut))?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Fault> {
        let stream = connect(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What it gives at its end, the request under way learns too.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, driver })
    }

    async fn exchange(
        &mut self,
        address: SocketAddr,
        method: Method,
        path: &str,
        tenant: &str,
    ) -> Result<Answer, Fault> {
        let request = request(address, method, path, tenant);
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST_BODY).collect().await;
        let body = body.map_err(|error| Fault::Other(error.to_string()))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

fn request(address: SocketAddr, method: Method, path: &str, tenant: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .header(TENANT_HEADER, tenant)
        .body(Empty::new())
        .expect("pages and tenants of this program are well formed")
}

/// An answer that is read bit by bit; dropping it closes its connection.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    timeout: Duration,
    _connection: Connection,
}

impl Reading {
    /// What comes next; `None` after the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub(crate) async fn more(&mut self) -> Result<Option<Bytes>, Fault> {
        let frame = tokio::time::timeout(self.timeout, self.body.frame()).await;
        match frame.map_err(|_| Fault::TimedOut)? {
            Some(frame) => Ok(Some(frame?.into_data().unwrap_or_default())),
            None => Ok(None),
        }
    }

    /// All of it, which is short.
    pub(crate) async fn whole(&mut self) -> Result<Answer, Fault> {
        let mut body = Vec::new();
        while let Some(bytes) = self.more().await? {
            body.extend_from_slice(&bytes);
        }
        Ok(Answer { status: self.status, headers: self.headers.clone(), body: body.into() })
    }
}

//! One GET on a connection of its own, as a browser that comes by would send it.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Target;

/// How much of a body is kept to compare; the rest is read and dropped.
const KEPT_BYTES: usize = 1024;

/// Why a request has no good answer; its text names the kind in reports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Nobody listens there.
    Refused,
    /// The other side closed the connection before the answer was complete.
    Reset,
    /// The answer took longer than was allowed.
    TimedOut,
    /// This process may open no more files.
    TooManyFiles,
    /// This machine has no local port left for a connection to that address.
    NoLocalPort,
    /// An answer with a status other than 2xx.
    Status(u16),
    /// An answer with another body than the right one.
    WrongBody,
    /// Anything else, in the words of the system.
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection closed"),
            Self::TimedOut => f.write_str("timed out"),
            Self::TooManyFiles => f.write_str("too many open files"),
            Self::NoLocalPort => f.write_str("no local port left"),
            Self::Status(status) => write!(f, "http {status}"),
            Self::WrongBody => f.write_str("wrong body"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        use rustix::io::Errno;

        match error.kind() {
            io::ErrorKind::ConnectionRefused => return Self::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => return Self::Reset,
            io::ErrorKind::TimedOut => return Self::TimedOut,
            _ => {}
        }
        match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::TooManyFiles,
            Some(Errno::ADDRNOTAVAIL) => Self::NoLocalPort,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl From<hyper::Error> for Fault {
    fn from(error: hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::Reset;
        }
        let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        match io.map(|io| (io.kind(), io.raw_os_error())) {
            Some((_, Some(code))) => io::Error::from_raw_os_error(code).into(),
            Some((kind, None)) => io::Error::from(kind).into(),
            None => Self::Other(error.to_string()),
        }
    }
}

/// Connects to the target, without asking anything yet.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    Ok(TcpStream::connect(address).await?)
}

/// Asks for the target's page, reads the whole answer, and gives the beginning
/// of its body.
pub(crate) async fn get(target: &Target, stream: TcpStream) -> Result<Vec<u8>, Fault> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(target.path())
        .header(header::HOST, target.authority())
        .header(header::USER_AGENT, concat!("outboard-lab/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .expect("path and authority come from a URL that was parsed");
    let exchange = async {
        let response = sender.send_request(request).await?;
        read(response).await
    };
    driven(connection, exchange).await
}

/// What comes of an exchange, while its connection moves bytes: what that gives at
/// its end, the exchange learns too.
async fn driven<T>(connection: impl Future, exchange: impl Future<Output = T>) -> T {
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        never = drive => never,
    }
}

async fn read(mut response: Response<Incoming>) -> Result<Vec<u8>, Fault> {
    let mut kept = Vec::new();
    while let Some(frame) = response.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = KEPT_BYTES - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    match response.status() {
        status if status.is_success() => Ok(kept),
        status => Err(Fault::Status(status.as_u16())),
    }
}

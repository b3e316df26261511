//! One connection to a scheduler, worker or client: the handshake, then
//! messages both ways.

/// Whether it goes on.
mod pulse;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dask_protocol::address::{Address, Scheme};
use dask_protocol::frames::{self, Assembly, Bounds, Frames};
use dask_protocol::message::{Data, GetData, Handshake, Question};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf,
    WriteHalf,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use pulse::{Counted, Pulse};

/// What a handshake may be at most.
const HANDSHAKE: Bounds = Bounds { frames: 4, bytes: 64 << 10 };

/// How long connecting and the handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A byte stream, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How connections are made, and how large messages on them may be.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) bounds: Bounds,
}

/// A connection after its handshake.
pub(super) struct Connection {
    incoming: Incoming,
    outgoing: Outgoing,
    /// What has moved over it.
    pulse: Pulse,
}

/// The side that is read.
pub(super) struct Incoming {
    stream: BufReader<ReadHalf<Box<dyn Stream>>>,
    bounds: Bounds,
}

/// The side that is written.
pub(super) struct Outgoing {
    stream: WriteHalf<Box<dyn Stream>>,
}

impl Dialer {
    /// Connects, and shakes hands.
    ///
    /// # Errors
    ///
    /// What the system says; `TimedOut` after ten seconds; `InvalidData` for a
    /// peer that does not speak Dask's protocol.
    pub(super) async fn dial(&self, address: &Address) -> io::Result<Connection> {
        let dialed = tokio::time::timeout(PATIENCE, self.dial_in_time(address)).await;
        dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// The same, by an address as a scheduler writes it.
    ///
    /// # Errors
    ///
    /// As [`dial`](Self::dial); `Other` if it is no address.
    pub(super) async fn dial_place(&self, place: &str) -> io::Result<Connection> {
        let address = Address::parse(place).ok_or_else(|| io::Error::other("it has no address"))?;
        self.dial(&address).await
    }

    async fn dial_in_time(&self, address: &Address) -> io::Result<Connection> {
        let stream = TcpStream::connect(&address.place).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match (address.scheme, &self.tls) {
            (Scheme::Tcp, _) => Box::new(stream),
            (Scheme::Tls, None) => {
                let text = format!("{address} wants TLS, and there are no certificates for that");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            (Scheme::Tls, Some(config)) => {
                // A name is needed for the form; nobody compares it.
                let name = ServerName::try_from("dask").expect("it is a valid name");
                let secured = TlsConnector::from(config.clone()).connect(name, stream).await;
                Box::new(secured.map_err(|error| of_tls(address, error))?)
            }
        };
        let shaken = Connection::shake_hands(stream, self.bounds).await;
        shaken.map_err(|error| match (address.scheme, error.kind()) {
            (
                Scheme::Tcp,
                kind @ (io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof),
            ) => {
                let place = &address.place;
                let text =
                    format!("{error}, before it said a word: if it wants TLS, write tls://{place}");
                io::Error::new(kind, text)
            }
            _ => error,
        })
    }
}

impl Connection {
    /// Shakes hands on a new stream, whichever side made it.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidData` for a peer that does not speak Dask's
    /// protocol.
    pub(super) async fn shake_hands(stream: Box<dyn Stream>, bounds: Bounds) -> io::Result<Self> {
        let pulse = Pulse::default();
        let stream: Box<dyn Stream> = Box::new(Counted { stream, pulse: pulse.clone() });
        let (read, write) = tokio::io::split(stream);
        let incoming = Incoming { stream: BufReader::new(read), bounds: HANDSHAKE };
        let mut connection = Self { incoming, outgoing: Outgoing { stream: write }, pulse };
        connection.outgoing.send(Handshake::default().encode()).await?;
        if let Some(line) = other_protocol(connection.incoming.stream.fill_buf().await?) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, line));
        }
        let theirs = connection.incoming.next().await?;
        Handshake::parse(theirs).map_err(|error| {
            let text = format!("the peer does not speak Dask's protocol: {error}");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        connection.incoming.bounds = bounds;
        Ok(connection)
    }

    /// Asks, and gives the answer.
    ///
    /// # Errors
    ///
    /// What the system says; `UnexpectedEof` if the connection is closed
    /// instead; `InvalidData` for another answer; `Other` with the peer's own line if it
    /// failed to answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the connection cannot be used again.
    pub(super) async fn ask<Q: Question>(&mut self, question: Q) -> io::Result<Q::Answer> {
        self.outgoing.send(question.encode()).await?;
        Ok(Q::answer(self.incoming.next().await?)?)
    }

    /// The same, for as long as something moves.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); `TimedOut` when hardly anything has moved for so long.
    pub(super) async fn ask_while_it_beats<Q: Question>(
        &mut self,
        patience: Duration,
        question: Q,
    ) -> io::Result<Q::Answer> {
        let pulse = self.pulse.clone();
        pulse.while_it_beats(patience, self.ask(question)).await
    }

    /// Gets data from a worker, and says that it has arrived.
    ///
    /// # Errors
    ///
    /// As [`ask_while_it_beats`](Self::ask_while_it_beats).
    pub(super) async fn get_data(
        &mut self,
        patience: Duration,
        question: GetData,
    ) -> io::Result<Data> {
        let data = self.ask_while_it_beats(patience, question).await?;
        if matches!(data, Data::Here(_)) {
            let pulse = self.pulse.clone();
            pulse.while_it_beats(patience, self.outgoing.send(Data::received())).await?;
        }
        Ok(data)
    }

    /// The next message; `None` if the connection was closed between two. As
    /// [`Incoming::next`] otherwise.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(super) async fn receive(&mut self) -> io::Result<Option<Frames>> {
        self.incoming.receive().await
    }

    /// Writes a message whole.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(super) async fn send(&mut self, message: Frames) -> io::Result<()> {
        self.outgoing.send(message).await
    }

    /// Its two sides.
    pub(super) fn split(self) -> (Incoming, Outgoing) {
        (self.incoming, self.outgoing)
    }
}

impl Incoming {
    /// The next message.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidData` for a message above the bounds, after which
    /// nothing more can be read; `UnexpectedEof` for the end.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was read of the message is lost.
    pub(super) async fn next(&mut self) -> io::Result<Frames> {
        self.receive().await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    async fn receive(&mut self) -> io::Result<Option<Frames>> {
        read(&mut self.stream, self.bounds).await
    }
}

/// Reads the frames of the next message; `None` at an end between two.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    bounds: Bounds,
) -> io::Result<Option<Frames>> {
    let mut assembly = Assembly::new(bounds);
    loop {
        let (buffer, wanted) = assembly.room();
        if (&mut *stream).take(wanted as u64).read_buf(buffer).await? == 0 {
            return match assembly.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        if let Some(frames) = assembly.advance()? {
            return Ok(Some(frames));
        }
    }
}

impl Outgoing {
    /// Writes a message whole.
    pub(super) async fn send(&mut self, message: Frames) -> io::Result<()> {
        let mut bytes = Vec::new();
        frames::pack(&message, &mut bytes);
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }
}

/// What a peer speaks that begins like this, if it is something else that is
/// often found at a wrong port, and what to do.
fn other_protocol(begins: &[u8]) -> Option<&'static str> {
    match begins {
        // A record of an alert, or of a handshake.
        [0x15 | 0x16, 3, ..] => Some("it speaks TLS: write tls://host:port"),
        [b'H', b'T', b'T', b'P', ..] => Some(
            "it is a web server, perhaps the dashboard: a scheduler's own port is 8786, unless it \
             says otherwise",
        ),
        _ => None,
    }
}

/// Why there is no TLS with a peer.
fn of_tls(address: &Address, error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => {
            let text = format!("it does not speak TLS: write tcp://{}", address.place);
            io::Error::new(io::ErrorKind::InvalidData, text)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use dask_protocol::message::{Packages, Reply, Request, Subject, Versions};

    use super::*;

    const BOUNDS: Bounds = Bounds { frames: 16, bytes: 1000 };

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test)
    }

    #[test]
    fn two_ends_shake_hands_and_talk() {
        run(async {
            let (a, b) = tokio::io::duplex(100);
            let (a, b) = tokio::join!(
                Connection::shake_hands(Box::new(a), BOUNDS),
                Connection::shake_hands(Box::new(b), BOUNDS),
            );
            let (mut a, mut b) = (a.unwrap(), b.unwrap());
            let serve = async {
                let question = Request::parse(b.receive().await.unwrap().expect("a question"));
                assert_eq!(question.unwrap().subject, Subject::Versions);
                let packages = Packages::of_release("2026.8.0");
                b.send(Reply::Versions(packages).encode()).await.unwrap();
            };
            let (answer, ()) = tokio::join!(a.ask(Versions), serve);
            assert_eq!(answer.unwrap(), Packages::of_release("2026.8.0"));
            drop(b);
            assert_eq!(a.receive().await.unwrap(), None);
        });
    }

    #[test]
    fn a_peer_that_speaks_something_else_is_refused() {
        run(async {
            for (nonsense, says) in [
                (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "it is a web server"),
                (b"\x15\x03\x03\0\x02\x02\x46", "write tls://host:port"),
                (&[0; 64], "without frames"),
            ] {
                let (a, mut b) = tokio::io::duplex(1000);
                b.write_all(nonsense).await.unwrap();
                let refused = Connection::shake_hands(Box::new(a), BOUNDS).await;
                let error = refused.err().expect("it is refused").to_string();
                assert!(error.contains(says), "{error}");
            }
        });
    }
}

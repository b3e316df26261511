//! One connection to a scheduler, worker or client: the handshake, then
//! messages both ways.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmpv::Value;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf,
    WriteHalf,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

use super::pulse::{Counted, Pulse};
use dask_protocol::address::{Address, Scheme};
use dask_protocol::document::{Message, field, map, text};
use dask_protocol::frames::{self, Assembly, Bounds, Frames};

/// What a handshake may be at most.
const HANDSHAKE: Bounds = Bounds { frames: 4, bytes: 64 << 10 };

/// How long connecting and the handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A byte stream, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How connections are made, and how large messages on them may be.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) bounds: Bounds,
}

/// A connection after its handshake.
pub(crate) struct Connection {
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// What has moved over it.
    pub(crate) pulse: Pulse,
}

/// The side that is read.
pub(crate) struct Incoming {
    stream: BufReader<ReadHalf<Box<dyn Stream>>>,
    bounds: Bounds,
}

/// The side that is written.
pub(crate) struct Outgoing {
    stream: WriteHalf<Box<dyn Stream>>,
}

impl Dialer {
    /// Connects, and shakes hands.
    ///
    /// # Errors
    ///
    /// What the system says; `TimedOut` after ten seconds; `InvalidData` for a
    /// peer that does not speak Dask's protocol.
    pub(crate) async fn dial(&self, address: &Address) -> io::Result<Connection> {
        let dialed = tokio::time::timeout(PATIENCE, self.dial_in_time(address)).await;
        dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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
    pub(crate) async fn shake_hands(stream: Box<dyn Stream>, bounds: Bounds) -> io::Result<Self> {
        let pulse = Pulse::default();
        let stream: Box<dyn Stream> = Box::new(Counted { stream, pulse: pulse.clone() });
        let (read, write) = tokio::io::split(stream);
        let incoming = Incoming { stream: BufReader::new(read), bounds: HANDSHAKE };
        let mut connection = Self { incoming, outgoing: Outgoing { stream: write }, pulse };
        connection.outgoing.send(Message::new(hello())).await?;
        if let Some(line) = other_protocol(connection.incoming.stream.fill_buf().await?) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, line));
        }
        let theirs = connection.incoming.receive().await?;
        let theirs = theirs.ok_or(io::ErrorKind::UnexpectedEof)?.value;
        if field(&theirs, "pickle-protocol").and_then(Value::as_u64).is_none() {
            let text = "the peer does not speak Dask's protocol";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        connection.incoming.bounds = bounds;
        Ok(connection)
    }

    /// Asks, and gives the answer.
    ///
    /// # Errors
    ///
    /// What the system says; `UnexpectedEof` if the connection is closed
    /// instead; `Other` with the peer's own line if it failed to answer.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the connection cannot be used again.
    pub(crate) async fn ask(&mut self, question: Message) -> io::Result<Message> {
        self.outgoing.send(question).await?;
        let answer = self.incoming.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if text(&answer.value, "status") == Some("uncaught-error") {
            let said = text(&answer.value, "exception_text").unwrap_or("without a word");
            return Err(io::Error::other(format!("it failed to answer: {said}")));
        }
        Ok(answer)
    }
}

impl Incoming {
    /// The next message; `None` if the connection was closed between two.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidData` for a message that is malformed or above the
    /// bounds, after which nothing more can be read; `UnexpectedEof` for an end within
    /// a message.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: what was read of the message is lost.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Message>> {
        match read(&mut self.stream, self.bounds).await? {
            Some(frames) => Ok(Some(Message::from_frames(frames)?)),
            None => Ok(None),
        }
    }
}

/// Reads the frames of the next message; as [`Incoming::receive`].
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
    pub(crate) async fn send(&mut self, message: Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        frames::pack(&message.into_frames(), &mut bytes);
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

/// Our side of the handshake: nothing is compressed, and pickles of protocol 5
/// are understood. Which Python speaks is for the peer's log only.
fn hello() -> Value {
    let python = Value::Array(vec![3.into(), 11.into(), 7.into()]);
    map([("compression", Value::Nil), ("python", python), ("pickle-protocol", 5.into())])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { frames: 16, bytes: 1000 };

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test)
    }

    /// The packet of the specification, section 1.
    #[test]
    fn the_handshake_is_byte_for_byte_as_specified() {
        let mut packet = Vec::new();
        frames::pack(&Message::new(hello()).into_frames(), &mut packet);
        let mut expected = Vec::new();
        for number in [58_u64, 1, 42] {
            expected.extend(number.to_le_bytes());
        }
        expected
            .extend(b"\x83\xabcompression\xc0\xa6python\x93\x03\x0b\x07\xafpickle-protocol\x05");
        assert_eq!((packet.len(), packet), (66, expected));
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
                let question = b.incoming.receive().await.unwrap().expect("a question");
                b.outgoing.send(Message::new(question.value)).await.unwrap();
            };
            let question = Message::new(map([("op", "identity".into())]));
            let (answer, ()) = tokio::join!(a.ask(question.clone()), serve);
            assert_eq!(answer.unwrap(), question);
            drop(b);
            assert_eq!(a.incoming.receive().await.unwrap(), None);
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

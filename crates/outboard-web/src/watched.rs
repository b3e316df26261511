//! A connection that ends when its client is gone, for any framework to serve on.

use std::io::{self, IoSlice};
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::gone::{Gone, Socket};

/// A server that has not read for so long does not want what is left of what a client sent that
/// is gone. One that does reads as fast as its handler takes it.
const PATIENCE: Duration = Duration::from_millis(250);

/// A connection that fails soon after its client is gone, so that whoever serves it drops the
/// handler, and with it the task.
///
/// Without it hyper notices a client that leaves only if it has read all that the client sent.
/// So does what is built on hyper: axum, tonic, warp, poem. A pipelined request, a stray byte, a
/// body that never comes or `Expect: 100-continue` hide it, by FIN and by RST.
///
/// As long as the server reads what such a client sent, or writes, the connection goes on: an
/// upload is read to its end. Where TLS is used, this goes below TLS.
///
/// # How
///
/// hyper flushes after each step, also if it wrote nothing. A flush fails if the client
/// is [`Gone`] and nobody has read or written for a quarter of a second. So an upgraded connection,
/// which is flushed after something was written, is not disturbed.
///
/// # Examples
///
/// ```no_run
/// # use std::convert::Infallible;
/// # use http_body_util::Full;
/// # use hyper::{Request, Response, body::{Bytes, Incoming}};
/// # async fn app(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
/// #     Ok(Response::default())
/// # }
/// # async fn example(listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// use hyper::{server::conn::http1, service::service_fn};
/// use hyper_util::rt::TokioIo;
/// use outboard_web::Watched;
///
/// loop {
///     let (stream, _) = listener.accept().await?;
///     let stream = Watched::new(stream);
///     let connection =
///         http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(app));
///     tokio::spawn(connection);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    /// Absent where there was no descriptor for it.
    gone: Option<Gone>,
    /// Whether it was read or written since the last look.
    active: bool,
    /// Until when it may be idle, once the client is gone.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S: Socket> Watched<S> {
    /// Watches a connection: a TCP or Unix stream, not what is above it.
    ///
    /// Where the system has no descriptor for that, the connection is as it was.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that has its I/O and its time enabled.
    pub fn new(stream: S) -> Self {
        Self::with_half_close(stream, false)
    }

    /// The same; with `half_close`, a client that has closed its sending half is not gone, and
    /// only a reset connection is. The server must have that setting as well: hyper's is
    /// `http1::Builder::half_close`.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with_half_close(stream: S, half_close: bool) -> Self {
        let gone = Gone::watch(&stream, half_close);
        if let Err(error) = &gone {
            tracing::warn!(%error, "a connection is not watched, so its client may leave unnoticed");
        }
        Self { stream, gone: gone.ok(), active: false, patience: None }
    }
}

impl<S> Watched<S> {
    /// The connection itself, watched no more.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Fails if the client is gone, and whoever serves it has neither read nor written for
    /// a while.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let active = std::mem::take(&mut self.active);
        if self.gone.as_ref().is_none_or(|gone| gone.poll(context).is_pending()) {
            return Ok(());
        }
        let patience = match &mut self.patience {
            Some(patience) if !active => patience,
            patience => patience.insert(Box::pin(sleep(PATIENCE))),
        };
        match patience.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client left"))
            }
        }
    }
}

impl<S> Deref for Watched<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.active = true;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.active = true;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.active = true;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        Poll::Ready(self.check(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A client that has sent eight bytes, and its server.
    async fn pair(half_close: bool) -> (TcpStream, Watched<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(b"8 bytes.").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (client, Watched::with_half_close(stream, half_close))
    }

    /// Flushes, as a server that wakes up, until that fails.
    async fn failure(server: &mut Watched<TcpStream>) -> io::ErrorKind {
        std::future::poll_fn(|context| match Pin::new(&mut *server).poll_flush(context) {
            Poll::Ready(Err(error)) => Poll::Ready(error.kind()),
            _ => Poll::Pending,
        })
        .await
    }

    #[tokio::test]
    async fn a_server_that_reads_goes_on_and_one_that_does_not_fails() {
        let (client, mut server) = pair(false).await;
        drop(client);
        for _ in 0..8 {
            assert_ne!(server.read_u8().await.unwrap(), 0);
            server.flush().await.unwrap();
            tokio::time::sleep(PATIENCE / 5).await;
        }
        assert_eq!(failure(&mut server).await, io::ErrorKind::ConnectionAborted);
    }

    // Elsewhere a reset is not told then.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn with_half_close_only_a_reset_is_the_end() {
        let (mut client, mut server) = pair(true).await;
        client.shutdown().await.unwrap();
        let waited = tokio::time::timeout(2 * PATIENCE, failure(&mut server)).await;
        assert!(waited.is_err(), "it is half-closed, and has failed: {waited:?}");
        client.set_zero_linger().unwrap();
        drop(client);
        assert_eq!(failure(&mut server).await, io::ErrorKind::ConnectionAborted);
    }
}

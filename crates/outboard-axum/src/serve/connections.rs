//! Connections: accepted, served, and ended in order.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use outboard_web::Watched;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, watch};
use tower_service::Service;

/// A peer that is silent for so long is asked whether it is there, and that again and
/// again: one that does not answer is gone.
const SILENT: Duration = Duration::from_secs(15);
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// Sets what hyper has settings for.
pub(super) type Hyper = Arc<dyn Fn(&mut Builder<TokioExecutor>) + Send + Sync>;

/// What the server allows a connection.
#[derive(Clone)]
pub(super) struct Settings {
    /// How long it may take for the head of a request, and be idle.
    pub(super) header_timeout: Duration,
    /// Whether it is open while its client has closed the sending half.
    pub(super) half_close: bool,
    pub(super) hyper: Option<Hyper>,
}

/// What [`serve`](fn@crate::serve) accepts connections from: a TCP or Unix listener, whose
/// connections it has [`Watched`], or any listener of axum's, by [`Unwatched`].
pub trait Listen: Send + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Accepts a connection, with the peer's address where that is known. With `half_close`, a
    /// client that has closed its sending half is not gone.
    ///
    /// # Cancel safety
    ///
    /// It is dropped when the server ends.
    fn accept(
        &mut self,
        half_close: bool,
    ) -> impl Future<Output = (Self::Io, Option<SocketAddr>)> + Send;
}

impl Listen for TcpListener {
    type Io = Watched<TcpStream>;

    async fn accept(&mut self, half_close: bool) -> (Self::Io, Option<SocketAddr>) {
        let (stream, peer) = Listener::accept(self).await;
        notice_its_death(&stream);
        (Watched::with_half_close(stream, half_close), Some(peer))
    }
}

#[cfg(unix)]
impl Listen for UnixListener {
    type Io = Watched<UnixStream>;

    async fn accept(&mut self, half_close: bool) -> (Self::Io, Option<SocketAddr>) {
        let (stream, _) = Listener::accept(self).await;
        (Watched::with_half_close(stream, half_close), None)
    }
}

/// A listener of axum's whose connections are served as they are: for TLS, or whatever else is
/// above a socket.
///
/// For a client that leaves to be noticed whatever it sent, the listener wraps the socket itself
/// in [`Watched`], below TLS. Keep-alive of TCP is the listener's matter, too.
///
/// # Examples
///
/// ```no_run
/// # async fn example<L>(tls: L, app: axum::Router) -> std::io::Result<()>
/// # where L: axum::serve::Listener<Addr = std::net::SocketAddr> {
/// outboard_axum::serve(outboard_axum::Unwatched(tls), app).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Unwatched<L>(pub L);

impl<L: Listener<Addr = SocketAddr>> Listen for Unwatched<L> {
    type Io = L::Io;

    async fn accept(&mut self, _: bool) -> (L::Io, Option<SocketAddr>) {
        let (stream, peer) = self.0.accept().await;
        (stream, Some(peer))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("header_timeout", &self.header_timeout)
            .field("half_close", &self.half_close)
            .finish_non_exhaustive()
    }
}

/// Serves until it is `closed`, and until the last connection has ended.
pub(super) async fn serve(
    mut listener: impl Listen,
    app: Router,
    settings: Settings,
    closed: watch::Receiver<bool>,
) {
    // Each connection has a sender: when the last is gone, so are all connections.
    let (open, mut last) = watch::channel(());
    let mut closing = pin!(wait(closed.clone()));
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept(settings.half_close) => accepted,
            () = &mut closing => break,
        };
        let app = app.clone();
        let (open, closed, settings) = (open.clone(), closed.clone(), settings.clone());
        tokio::spawn(async move {
            connection((stream, peer), app, settings, closed).await;
            drop(open);
        });
    }
    drop((listener, open));
    // An error is the end of all senders.
    while last.changed().await.is_ok() {}
}

/// Serves one connection. When it is `closed`, that ends after the request that runs.
async fn connection(
    (stream, peer): (impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Option<SocketAddr>),
    app: Router,
    settings: Settings,
    closed: watch::Receiver<bool>,
) {
    let Settings { header_timeout, half_close, hyper } = settings;
    let begun = Arc::new(Notify::new());
    let app = TowerToHyperService::new(Noted { app, peer, begun: begun.clone() });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder.http1().half_close(half_close);
    if let Some(set) = hyper {
        set(&mut builder);
    }
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), app));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        // Before that hyper looks which version it is, and takes its time.
        () = no_request(&begun, header_timeout) => return,
        () = wait(closed) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::trace!(%error, "connection ended");
    }
}

/// Completes when no request has begun for so long.
async fn no_request(begun: &Notify, head: Duration) {
    if tokio::time::timeout(head, begun.notified()).await.is_ok() {
        std::future::pending().await
    }
}

/// An application that says when a request has begun, and tells it whose connection it has.
#[derive(Clone)]
struct Noted<S> {
    app: S,
    peer: Option<SocketAddr>,
    begun: Arc<Notify>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        self.begun.notify_one();
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        self.app.call(request)
    }
}

/// Completes when it is closed, or nobody is left to say so.
async fn wait(mut closed: watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}

/// Has the system notice that a peer is gone which did not say so. Where it refuses that,
/// the connection is as good as others.
fn notice_its_death(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(ASKED_AGAIN);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

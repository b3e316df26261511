//! A listener for `axum::serve`, whose connections end when their client is gone.

use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use outboard_web::Watched;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

/// Has `axum::serve` notice each client that leaves, as [`serve`](fn@crate::serve) does: each
/// connection is [`Watched`].
///
/// A client that has closed its sending half counts as gone.
///
/// # Examples
///
/// ```no_run
/// # async fn example(app: axum::Router) -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
/// axum::serve(outboard_axum::watched(listener), app).await
/// # }
/// ```
///
/// Where handlers or [`tenant::peer`](crate::tenant::peer) need the peer's address, it is a
/// [`Peer`]: `app.into_make_service_with_connect_info::<Peer>()`.
pub fn watched<L>(listener: L) -> WatchedListener<L> {
    WatchedListener { listener }
}

/// A listener whose connections are [`Watched`]. Made by [`watched`](fn@watched).
#[derive(Debug)]
pub struct WatchedListener<L> {
    listener: L,
}

impl Listener for WatchedListener<TcpListener> {
    type Io = Watched<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Watched::new(stream), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

#[cfg(unix)]
impl Listener for WatchedListener<UnixListener> {
    type Io = Watched<UnixStream>;
    type Addr = tokio::net::unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Watched::new(stream), peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The peer's address, of a connection that is [`watched`](fn@watched): for
/// `into_make_service_with_connect_info::<Peer>()` and the extractor `ConnectInfo<Peer>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, WatchedListener<TcpListener>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, WatchedListener<TcpListener>>) -> Self {
        Self(*stream.remote_addr())
    }
}

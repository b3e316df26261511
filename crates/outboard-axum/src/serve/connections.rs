//! Connections: accepted, served, and ended in order.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::middleware::AddExtension;
use axum::serve::Listener;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use outboard_web::Watched;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tower_service::Service;

/// A peer that is silent for so long is asked whether it is there, and that again and
/// again: one that does not answer is gone.
const SILENT: Duration = Duration::from_secs(15);
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// What the server allows a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// How long it may take for the head of a request, and be idle.
    pub(super) header_timeout: Duration,
    /// Whether it is open while its client has closed the sending half.
    pub(super) half_close: bool,
}

/// Serves until it is `closed`, and until the last connection has ended.
pub(super) async fn serve(
    mut listener: TcpListener,
    app: Router,
    settings: Settings,
    closed: watch::Receiver<bool>,
) {
    let mut app = app.into_make_service_with_connect_info::<SocketAddr>();
    // Each connection has a sender: when the last is gone, so are all connections.
    let (open, mut last) = watch::channel(());
    let mut closing = pin!(wait(closed.clone()));
    loop {
        let (stream, peer) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut closing => break,
        };
        notice_its_death(&stream);
        let Ok(app) = app.call(peer).await;
        let (open, closed) = (open.clone(), closed.clone());
        tokio::spawn(async move {
            connection(stream, app, settings, closed).await;
            drop(open);
        });
    }
    drop((listener, open));
    // An error is the end of all senders.
    while last.changed().await.is_ok() {}
}

/// Serves one connection. When it is `closed`, that ends after the request that runs.
async fn connection(
    stream: TcpStream,
    app: AddExtension<Router, ConnectInfo<SocketAddr>>,
    settings: Settings,
    closed: watch::Receiver<bool>,
) {
    let Settings { header_timeout, half_close } = settings;
    let begun = Arc::new(Notify::new());
    let app = TowerToHyperService::new(Noted { app, begun: begun.clone() });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder.http1().half_close(half_close);
    let stream = TokioIo::new(Watched::with_half_close(stream, half_close));
    let mut serving = pin!(builder.serve_connection_with_upgrades(stream, app));
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

/// An application that says when a request has begun.
#[derive(Clone)]
struct Noted<S> {
    app: S,
    begun: Arc<Notify>,
}

impl<S: Service<R>, R> Service<R> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.app.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.begun.notify_one();
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

//! One server on threads of its own, so that it can block nobody but itself.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

/// How long a server that stops may finish what runs.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// How much longer one may take to say that it has ended. Only a server that
/// computes on its own event loop fails to.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A server that runs.
///
/// Dropping it stops it without waiting for the end.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    address: SocketAddr,
    runtime: Handle,
    stop: oneshot::Sender<()>,
    /// Whether all that ran was finished; closed without a word when the server failed.
    ended: oneshot::Receiver<bool>,
}

impl Server {
    /// Serves `router` on a thread of its own that drives `runtime`; `at_end`
    /// runs there when no request is left.
    pub(crate) fn start(
        name: &'static str,
        listener: TcpListener,
        runtime: Runtime,
        router: Router,
        at_end: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let finished = runtime.block_on(async {
                let finished = serve(listener, router, stopped).await;
                at_end.await;
                finished
            });
            runtime.shutdown_background();
            // Nobody listens when the program ends without waiting.
            let _ = end.send(finished);
        })?;
        Ok(Self { name, address, runtime: handle, stop, ended })
    }

    /// `before`, `threads` or `after`.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The URL of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The runtime that its handlers run on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Takes no new connection, and finishes what runs; `false` if that took
    /// longer than [`GRACE`] and was cut off.
    pub(crate) async fn stop(self) -> bool {
        // The server may have ended by itself.
        let _ = self.stop.send(());
        matches!(tokio::time::timeout(GRACE + LAST_WORD, self.ended).await, Ok(Ok(true)))
    }
}

/// Serves until `stopped`, then for [`GRACE`] at most; `false` if it was cut off.
async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) -> bool {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("outboard: cannot serve: {error}");
            return false;
        }
    };
    let (begin_grace, grace) = oneshot::channel();
    let stopping = async move {
        // An error means that whoever held the server dropped it, which stops it too.
        let _ = stopped.await;
        let _ = begin_grace.send(());
    };
    let grace_over = async move {
        let _ = grace.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = axum::serve(listener, router).with_graceful_shutdown(stopping) => served.is_ok(),
        () = grace_over => false,
    }
}

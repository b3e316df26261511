//! One server on threads of its own, so that it can block nobody but itself.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use outboard::Client;
use outboard_axum::Cut;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

/// How long a server that stops may finish what runs.
const GRACE: Duration = Duration::from_secs(5);

/// How much longer one may take to tell its visitors, and to say that it has
/// ended. Only a server that computes on its own event loop fails to.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A server that runs.
///
/// Dropping it stops it without waiting for the end.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    address: SocketAddr,
    runtime: Handle,
    stop: oneshot::Sender<()>,
    cut: oneshot::Sender<()>,
    /// What did not finish; closed without a word when the server failed.
    ended: oneshot::Receiver<Cut>,
}

/// A server that was told to stop.
#[derive(Debug)]
pub(crate) struct Ending {
    name: &'static str,
    cut: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Cut>,
}

impl Server {
    /// Serves `router` on a thread of its own that drives `runtime`; the client
    /// that it submits to, if any, ends with it.
    pub(crate) fn start(
        name: &'static str,
        listener: TcpListener,
        runtime: Runtime,
        router: Router,
        client: Option<Client>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let (cut, is_cut) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let handle = runtime.handle().clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let served = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let mut serve = outboard_axum::serve(listener, router).grace(GRACE);
                if let Some(client) = client {
                    serve = serve.client(client);
                }
                serve.stop_on(told(stopped)).cut_on(only_told(is_cut)).await
            });
            runtime.shutdown_background();
            match served {
                // Nobody listens when the program ends without waiting.
                Ok(cut) => drop(end.send(cut)),
                Err(error) => eprintln!("lab: cannot serve {name}: {error}"),
            }
        })?;
        Ok(Self { name, address, runtime: handle, stop, cut, ended })
    }

    /// `before`, `threads` or `after`.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a page.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The runtime that its handlers run on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Takes no new connection, and finishes what runs; what takes longer than
    /// [`GRACE`] is cut.
    pub(crate) fn stop(self) -> Ending {
        // The server may have ended by itself.
        let _ = self.stop.send(());
        Ending { name: self.name, cut: Some(self.cut), ended: self.ended }
    }
}

impl Ending {
    /// Cuts what still runs.
    pub(crate) fn cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            // The server may have ended meanwhile.
            let _ = cut.send(());
        }
    }

    /// Waits for the end; says what was cut, if anything was.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the waiting only.
    pub(crate) async fn ended(&mut self) -> Option<String> {
        match tokio::time::timeout(GRACE + LAST_WORD, &mut self.ended).await {
            Ok(Ok(cut)) if cut.is_nothing() => None,
            Ok(Ok(cut)) => Some(format!("{}: {cut}", self.name)),
            _ => Some(format!("{} still computed, and was cut", self.name)),
        }
    }
}

/// Ends when somebody says so, or when nobody is left to: then the server was
/// dropped, which stops it too.
async fn told(said: oneshot::Receiver<()>) {
    let _ = said.await;
}

/// Ends when somebody says so, and never if nobody does.
async fn only_told(said: oneshot::Receiver<()>) {
    if said.await.is_err() {
        std::future::pending().await
    }
}

//! Starts the servers: all three in this process, or one alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use outboard::{Client, ErrorKind};
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Handle, Runtime};

use super::server::{Ending, Server};
use super::{after, before, threads};
use crate::engine::EngineArgs;
use crate::failure::Failure;

/// How many connections the kernel may hold for a server that is busy.
const BACKLOG: i32 = 4096;

/// What one has to know of the three servers to ask them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) before: SocketAddr,
    pub(crate) threads: SocketAddr,
    pub(crate) after: SocketAddr,
    /// What `after` submits to.
    pub(crate) client: Client,
    /// The runtime of `after`, that its client belongs to.
    pub(crate) runtime: Handle,
}

/// The three servers in this process, and the client of `after`.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) before: Server,
    pub(crate) threads: Server,
    pub(crate) after: Server,
    pub(crate) client: Client,
}

impl Site {
    /// Binds free ports, connects the client, then serves.
    ///
    /// Not to be called inside a runtime: each server has one of its own.
    pub(crate) fn start(engine: &EngineArgs, timeout: Duration) -> Result<Self, Failure> {
        let before = listen("before", 0)?;
        let threads = listen("threads", 0)?;
        let after = listen("after", 0)?;

        let more = |_: &Client, _: &Handle| Ok(More::of(after::index()));
        let (after, client) = serve_after(after, engine, timeout, more)?;

        let threads = serve_threads(threads, Router::new())?;
        let before = serve_before(before, Router::new())?;
        Ok(Self { before, threads, after, client })
    }

    /// Where the servers are.
    pub(crate) fn places(&self) -> Places {
        Places {
            before: self.before.address(),
            threads: self.threads.address(),
            after: self.after.address(),
            client: self.client.clone(),
            runtime: self.after.runtime().clone(),
        }
    }

    /// Tells all servers to stop; `after` is the last.
    pub(crate) fn stop(self) -> [Ending; 3] {
        [self.before.stop(), self.threads.stop(), self.after.stop()]
    }
}

/// Starts `after` alone, on any free port, with `more` pages that compute.
///
/// Not to be called inside a runtime: it has one of its own.
pub(crate) fn start_after(
    engine: &EngineArgs,
    timeout: Duration,
    more: Router,
) -> Result<(Server, Client), Failure> {
    let more = |_: &Client, _: &Handle| Ok(More { computing: more, ..More::of(after::index()) });
    serve_after(listen("after", 0)?, engine, timeout, more)
}

/// What `after` serves beyond its own pages.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// Pages that compute.
    pub(crate) computing: Router,
    /// All others.
    pub(crate) other: Router,
}

impl More {
    fn of(other: Router) -> Self {
        Self { other, ..Self::default() }
    }
}

/// Starts `before`, on the one thread that it has.
pub(super) fn serve_before(listener: TcpListener, more: Router) -> io::Result<Server> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    Server::start("before", listener, runtime, before::router().merge(more), None)
}

/// Starts `threads`.
pub(super) fn serve_threads(listener: TcpListener, more: Router) -> io::Result<Server> {
    let runtime = multi_thread("threads")?;
    Server::start("threads", listener, runtime, threads::router().merge(more), None)
}

/// Starts `after`, with what `more` makes of its client and its runtime.
pub(crate) fn serve_after(
    listener: TcpListener,
    engine: &EngineArgs,
    timeout: Duration,
    more: impl FnOnce(&Client, &Handle) -> Result<More, Failure>,
) -> Result<(Server, Client), Failure> {
    let runtime = multi_thread("after")?;
    let client = runtime.block_on(connect(engine))?;
    let more = more(&client, runtime.handle())?;
    let router = after::router(&client, timeout, more.computing).merge(more.other);
    let server = Server::start("after", listener, runtime, router, Some(client.clone()))?;
    Ok((server, client))
}

/// A runtime as `#[tokio::main]` makes it, its threads named after the server.
fn multi_thread(name: &str) -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name(name).enable_all().build()
}

async fn connect(engine: &EngineArgs) -> Result<Client, Failure> {
    let client = match engine.url() {
        Some(url) => Client::connect(&url).await,
        None => Client::from_env().await,
    };
    client.map_err(|error| match error.kind() {
        ErrorKind::InvalidUrl => Failure::Usage(error.to_string()),
        _ => Failure::Failed(anyhow::Error::new(error).context("after has no engine")),
    })
}

/// Listens on loopback, or says in one line what to change.
pub(crate) fn listen(name: &str, port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    bind(address).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => format!("{address} is in use"),
            io::ErrorKind::PermissionDenied => format!("{address} is not ours to take"),
            _ => format!("cannot listen on {address} ({error})"),
        };
        anyhow::anyhow!(
            "{why}: choose another port for {name} with --{name}-port (0: any free one)"
        )
    })
}

pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart need not wait for the last connections of the run before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

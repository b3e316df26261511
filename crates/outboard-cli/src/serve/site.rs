//! The three servers and the client, started together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use outboard::{Client, ErrorKind};
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};

use super::server::Ending;
use super::{Server, after, before, threads};
use crate::args::EngineArgs;
use crate::failure::Failure;

/// How many connections the kernel may hold for a server that is busy.
const BACKLOG: i32 = 4096;

/// The port of each server; 0 takes any free one.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    pub(crate) before: u16,
    pub(crate) threads: u16,
    pub(crate) after: u16,
}

/// The three servers, and the client of `after`.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) before: Server,
    pub(crate) threads: Server,
    pub(crate) after: Server,
    pub(crate) client: Client,
}

impl Site {
    /// Binds all ports, connects the client, then serves.
    ///
    /// Not to be called inside a runtime: each server has one of its own.
    pub(crate) fn start(
        ports: &Ports,
        engine: &EngineArgs,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let before = listen("before", ports.before)?;
        let threads = listen("threads", ports.threads)?;
        let after = listen("after", ports.after)?;

        let (after, client) = serve_after(after, engine, timeout, Router::new())?;

        let runtime = multi_thread("threads")?;
        let threads = Server::start("threads", threads, runtime, threads::router(), None)?;

        let runtime = Builder::new_current_thread().enable_all().build()?;
        let before = Server::start("before", before, runtime, before::router(), None)?;
        Ok(Self { before, threads, after, client })
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
    serve_after(listen("after", 0)?, engine, timeout, more)
}

fn serve_after(
    listener: TcpListener,
    engine: &EngineArgs,
    timeout: Duration,
    more: Router,
) -> Result<(Server, Client), Failure> {
    let runtime = multi_thread("after")?;
    let client = runtime.block_on(connect(engine))?;
    let router = after::router(&client, timeout, more);
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
fn listen(name: &str, port: u16) -> anyhow::Result<TcpListener> {
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

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restart need not wait for the last connections of the run before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

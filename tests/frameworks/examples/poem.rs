//! A server by poem: `cargo run -p frameworks --example poem`. A browser that leaves stops its task.

use std::io;
use std::time::Duration;

use http::uri::Scheme;
use outboard::Client;
use outboard_web::{Problem, Watched};
use poem::listener::Acceptor;
use poem::web::{Data, LocalAddr, Path, RemoteAddr};
use poem::{EndpointExt, Response, Route, Server, handler};
use tokio::net::{TcpListener, TcpStream};

/// A listener whose connections end when their client is gone.
pub(crate) struct Watching(pub(crate) TcpListener);
impl Acceptor for Watching {
    type Io = Watched<TcpStream>;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr().map(|address| LocalAddr(address.into())).into_iter().collect()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, peer) = self.0.accept().await?;
        let (local, peer) = (LocalAddr(stream.local_addr()?.into()), RemoteAddr(peer.into()));
        Ok((Watched::new(stream), local, peer, Scheme::HTTP))
    }
}

/// An error of Outboard as poem has it, for `?` in handlers.
pub(crate) fn problem(error: outboard::Error) -> poem::Error {
    let (head, body) = Problem::from(error).into_http::<String>().into_parts();
    let mut response = Response::builder().status(head.status).body(body);
    response.headers_mut().extend(head.headers);
    poem::Error::from_response(response)
}

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}
#[handler]
async fn page(client: Data<&Client>, Path(n): Path<u64>) -> poem::Result<String> {
    Ok(client.submit(fib, n).await.map_err(problem)?.to_string())
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env().await?; // OUTBOARD_URL, or worker processes on this machine
    let listener = Watching(TcpListener::bind("127.0.0.1:9000").await?);
    let app = Route::new().at("/fib/:n", page).data(client.timeout(Duration::from_secs(30)));
    let ended = async { drop(tokio::signal::ctrl_c().await) };
    Server::new_with_acceptor(listener).run_with_graceful_shutdown(app, ended, None).await?;
    client.shutdown().await;
    Ok(())
}

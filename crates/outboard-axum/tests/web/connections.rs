//! Connections that a client leaves half done, or does not use.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get as route;
use outboard::Client;
use outboard_axum::{Compute, Offload, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::support::{Scratch, eventually, get, hold, receive, run, send};

async fn page(State(at): State<PathBuf>, compute: Compute) -> Result<String, Problem> {
    Ok(compute.submit(hold, at).await?.to_string())
}

/// A server that has this timeout for heads of requests, and what it ends for.
async fn start(scratch: &Scratch, timeout: Duration) -> (SocketAddr, oneshot::Sender<()>) {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    let offload = Offload::new(client.clone());
    let held = Router::new().route("/held", route(page)).with_state(scratch.path()).layer(offload);
    let app = held.route("/", route(|| async { "here" }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = outboard_axum::serve(listener, app).client(client).header_timeout(timeout);
    tokio::spawn(serve.stop_on(async { drop(stopped.await) }).into_future());
    (address, stop)
}

#[test]
fn half_a_head_and_an_idle_connection_are_closed_and_a_request_that_runs_is_not() {
    run(async {
        let scratch = Scratch::new();
        let (address, _stop) = start(&scratch, Duration::from_millis(200)).await;
        let running = send(address, "/held", "").await;
        scratch.started().await;
        for sent in ["GET / HTTP/1.1\r\nhost: test\r\nx-never: ", ""] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // Whether with a word or without: it ends.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(!String::from_utf8_lossy(&answer).contains("here"), "{answer:?}");
        }
        scratch.release();
        assert_eq!(receive(running).await.unwrap().status, 200);
        assert_eq!(get(address, "/").await.body, "here");
    });
}

/// Whether the system asks the peer of a connection to that server, now and then, whether it
/// is there: the timer of that kind runs (`/proc/net/tcp`).
fn is_kept_alive(server: SocketAddr) -> bool {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let own = format!(":{:04X}", server.port());
    sockets.lines().any(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        fields.len() > 5 && fields[1].ends_with(&own) && fields[5].starts_with("02:")
    })
}

#[test]
fn a_peer_that_died_is_noticed_by_the_system() {
    run(async {
        let scratch = Scratch::new();
        let (address, _stop) = start(&scratch, Duration::from_secs(1000)).await;
        let _idle = TcpStream::connect(address).await.unwrap();
        eventually("the connection is kept alive", || is_kept_alive(address)).await;
    });
}

/// Sends a request on any connection, and gives all that is answered.
async fn ask(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

#[test]
fn a_unix_socket_is_served_and_a_client_that_leaves_it_is_noticed() {
    run(async {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let held = Router::new().route("/held", route(page)).with_state(scratch.path());
        let app = held.layer(Offload::new(client.clone())).route("/", route(|| async { "here" }));
        let path = scratch.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(outboard_axum::serve(listener, app).client(client.clone()).into_future());
        let connect = async || tokio::net::UnixStream::connect(&path).await.unwrap();
        assert!(ask(connect().await, REQUEST).await.ends_with("here"));
        let mut leaves = connect().await;
        // What follows the request hides the end of the connection from whoever does not watch.
        leaves
            .write_all(b"GET /held HTTP/1.1\r\nhost: test\r\n\r\nGET / HTTP/1.1\r\n")
            .await
            .unwrap();
        scratch.started().await;
        drop(leaves);
        eventually("it is cancelled", || client.admin().snapshot().cancelled == 1).await;
    });
}

/// A listener above another one, as TLS is; this one changes nothing.
struct Above(TcpListener);

impl axum::serve::Listener for Above {
    type Io = tokio::io::BufStream<outboard_axum::Watched<TcpStream>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.0).await;
        (tokio::io::BufStream::new(outboard_axum::Watched::new(stream)), peer)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[test]
fn any_listener_is_served_and_hyper_is_set_as_one_likes() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = |info: axum::extract::ConnectInfo<SocketAddr>| async move { info.0.to_string() };
        let app = Router::new().route("/", route(peer));
        let serve = outboard_axum::serve(outboard_axum::Unwatched(Above(listener)), app)
            .client(client)
            .hyper(|builder| {
                builder.http1().max_buf_size(8 << 10);
            });
        tokio::spawn(serve.into_future());
        let stream = TcpStream::connect(address).await.unwrap();
        let own = stream.local_addr().unwrap().to_string();
        assert!(ask(stream, REQUEST).await.ends_with(&own), "the peer's address is known");
        let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(10 << 10));
        let answer = ask(TcpStream::connect(address).await.unwrap(), &long).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    });
}

#[test]
fn what_is_idle_holds_up_no_end() {
    run(async {
        let scratch = Scratch::new();
        let (address, stop) = start(&scratch, Duration::from_secs(1000)).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let mut bytes = [0; 4096];
        let read = idle.read(&mut bytes).await.unwrap();
        assert!(String::from_utf8_lossy(&bytes[..read]).ends_with("here"));
        stop.send(()).unwrap();
        assert_eq!(idle.read(&mut bytes).await.unwrap(), 0, "it is closed, and not cut");
    });
}

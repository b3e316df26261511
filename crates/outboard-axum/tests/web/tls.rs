use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::routing::get as route;
use axum::serve::Listener;
use outboard::Client;
use outboard_axum::{Compute, Offload, Problem, Unwatched, Watched};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::support::{Scratch, eventually, hold, lives, run};

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections by TLS. Each handshake is on a task of its own: one that takes long, or never
/// comes, keeps nobody waiting.
struct Tls {
    address: SocketAddr,
    ready: mpsc::Receiver<(server::TlsStream<Watched<TcpStream>>, SocketAddr)>,
}

impl Tls {
    fn new(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut listener = listener;
            loop {
                let (stream, peer) = tokio::select! {
                    accepted = Listener::accept(&mut listener) => accepted,
                    () = sender.closed() => return,
                };
                // Watched is the socket: what TLS has buffered hides nothing.
                let handshake = acceptor.accept(Watched::new(stream));
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = timeout(HANDSHAKE, handshake).await {
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        Ok(Self { address, ready })
    }
}

impl Listener for Tls {
    type Io = server::TlsStream<Watched<TcpStream>>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// The two ends of TLS, for `localhost`.
fn ends() -> (TlsAcceptor, TlsConnector) {
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(&cert)
        .arg("-keyout")
        .arg(&key)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let cert = CertificateDer::from_pem_file(&cert).unwrap();
    let key = PrivateKeyDer::from_pem_file(&key).unwrap();
    let mut trusted = RootCertStore::empty();
    trusted.add(cert.clone()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![cert], key).unwrap();
    let client = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
    (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)))
}

struct Server {
    address: SocketAddr,
    connector: TlsConnector,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

async fn held(at: State<std::path::PathBuf>, compute: Compute) -> Result<String, Problem> {
    Ok(compute.submit(hold, at.0).await?.to_string())
}

async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
    peer.ip().to_string()
}

async fn start(client: &Client, scratch: &Scratch) -> Server {
    let (acceptor, connector) = ends();
    let app = Router::new()
        .route("/held", route(held))
        .with_state(scratch.path())
        .layer(Offload::new(client.clone()))
        .route("/peer", route(peer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls::new(listener, acceptor).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = outboard_axum::serve(Unwatched(tls), app).client(client.clone());
    let serve = serve.stop_on(async { drop(stopped.await) });
    let ended = tokio::spawn(async move {
        serve.await.unwrap();
    });
    Server { address, connector, stop, ended }
}

impl Server {
    async fn send(&self, path: &str, more: &str) -> client::TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = self.connector.connect(name, stream).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n");
        stream.write_all(format!("{head}{more}\r\n").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    }

    async fn ask(&self, path: &str) -> String {
        answer(self.send(path, "connection: close\r\n").await).await
    }
}

async fn answer(mut stream: client::TlsStream<TcpStream>) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[test]
fn a_client_that_leaves_is_noticed_whatever_it_sent() {
    run(async {
        let pipelined = "\r\nGET /peer HTTP/1.1\r\nhost: localhost\r\n";
        let unread = "content-length: 3\r\n";
        for (more, reset) in [("", false), ("", true), (pipelined, false), (unread, true)] {
            let client = Client::local().workers(1).spares(0).await.unwrap();
            let scratch = Scratch::new();
            let server = start(&client, &scratch).await;
            let stream = server.send("/held", more).await;
            scratch.started().await;
            if reset {
                stream.get_ref().0.set_zero_linger().unwrap();
            }
            drop(stream);
            let noticed = || client.admin().snapshot().cancelled == 1;
            eventually(&format!("it is cancelled: {more:?}, reset: {reset}"), noticed).await;
            assert!(!scratch.is_finished());
            assert!(server.ask("/peer").await.ends_with("127.0.0.1"), "it serves on");
        }
    });
}

#[test]
fn a_handshake_that_never_comes_keeps_nobody_waiting() {
    run(async {
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let server = start(&client, &Scratch::new()).await;
        let silent = TcpStream::connect(server.address).await.unwrap();
        assert!(server.ask("/peer").await.ends_with("127.0.0.1"));
        drop(silent);
    });
}

#[test]
fn a_server_that_ends_answers_what_runs_and_leaves_no_worker() {
    run(async {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let server = start(&client, &scratch).await;
        let running = server.send("/held", "connection: close\r\n").await;
        scratch.started().await;
        let worker = scratch.pid();
        server.stop.send(()).unwrap();
        scratch.release();
        assert!(answer(running).await.starts_with("HTTP/1.1 200"));
        server.ended.await.unwrap();
        assert!(!lives(worker), "a worker is left");
    });
}

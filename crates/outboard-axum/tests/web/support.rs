use std::net::SocketAddr;

use axum::Router;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

pub(crate) use crate::conformance::{
    Answer, Scratch, eventually, get, hold, lives, receive, run, send,
};

/// Serves an application as `axum::serve` does, to the end of the runtime.
pub(crate) async fn start(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

pub(crate) async fn get_with(address: SocketAddr, path: &str, headers: &str) -> Answer {
    receive(send(address, path, headers).await).await.expect("an answer")
}

/// The answer to a request without a body.
pub(crate) async fn ask(method: &str, address: SocketAddr, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    receive(stream).await.expect("an answer")
}

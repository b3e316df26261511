//! What holds with every framework, of Rocket, and what this server passes on to it.

/// What holds with every framework.
#[path = "../../../crates/outboard-web/tests/frameworks/conformance.rs"]
mod conformance;

use std::path::PathBuf;

use by_rocket::{Problem, serve};
use outboard::Client;
use rocket::futures::{Stream, StreamExt, future};
use rocket::http::CookieJar;
use rocket::http::uri::Host;
use rocket::response::stream::TextStream;
use rocket::{Build, Rocket, State, get, post, routes};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use conformance::{Scratch, Server, Setup, crash, get, hold, receive, run, send, two};

outboard::test_worker!();

#[get("/held")]
async fn held(client: &State<Client>, at: &State<PathBuf>) -> Result<String, Problem> {
    Ok(client.submit(hold, at.inner().clone()).await?.to_string())
}

#[get("/crash")]
async fn crashes(client: &State<Client>) -> Result<(), Problem> {
    Ok(client.submit(crash, ()).await?)
}

#[get("/quick")]
fn quick() -> &'static str {
    "quick"
}

#[get("/stream")]
fn stream(
    client: &State<Client>,
    at: &State<PathBuf>,
) -> TextStream<impl Stream<Item = String> + use<>> {
    let items = client.stream(two, at.inner().clone());
    TextStream(items.filter_map(|item| future::ready(item.ok())))
}

/// What of a request reached the handler.
#[post("/told", data = "<body>")]
fn told(cookies: &CookieJar<'_>, host: &Host<'_>, peer: std::net::IpAddr, body: &str) -> String {
    let cookie = |name| cookies.get(name).map_or("none", |cookie| cookie.value());
    format!("{} {} {host} {peer} {body}", cookie("a"), cookie("b"))
}

fn app(setup: &Setup) -> Rocket<Build> {
    let quiet = rocket::Config { log_level: rocket::config::LogLevel::Off, ..Default::default() };
    rocket::custom(quiet)
        .manage(setup.client.clone())
        .manage(setup.at.clone())
        .mount("/", routes![held, crashes, quick, stream, told])
}

async fn start(setup: Setup) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(async move {
        let stopped = async {
            // A test that has failed, or is done, stops no server.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        serve(app(&setup), listener, setup.half_close, stopped).await.unwrap();
        setup.client.shutdown().await;
    });
    Server { address, stop, ended }
}

conformance::conformance!(start);

#[test]
fn a_handler_sees_cookies_host_peer_and_body() {
    run(async {
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let scratch = Scratch::new();
        let server = start(Setup { client, at: scratch.path(), half_close: false }).await;
        let ask = async |body: &str| {
            let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
            let head = "POST /told HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\
                        cookie: a=1; b=%20\r\ncontent-type: text/plain\r\n";
            let sent = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            // A server that refuses does not read to the end.
            let _ = stream.write_all(sent.as_bytes()).await;
            receive(stream).await
        };
        let answer = ask("body").await.expect("an answer");
        assert_eq!((answer.status, &*answer.body), (200, "1   a.example 127.0.0.1 body"));
        assert_eq!(answer.header("content-length"), Some("28"), "{answer:?}");
        assert_eq!(get(server.address, "/nothing").await.status, 404);
        let head = receive(send(server.address, "/quick", "").await).await.unwrap();
        assert_eq!(head.header("server"), Some("rocket"), "Rocket answers: {head:?}");
    });
}

//! What holds with every framework, of actix-web.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// What holds with every framework.
#[path = "../../../outboard-web/tests/frameworks/conformance.rs"]
mod conformance;

use std::path::PathBuf;
use std::time::Duration;

use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpResponse, web};
use futures_util::TryStreamExt;
use http::StatusCode;
use outboard::{Client, ErrorKind};
use outboard_actix::{Compute, Offload, Problem, offload, tenant};
use outboard_web::{Health, Status};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use conformance::{Scratch, Server, Setup, crash, hold, receive, send, two};

outboard::test_worker!();

async fn held(client: web::Data<Client>, at: web::Data<PathBuf>) -> Result<String, Problem> {
    Ok(client.submit(hold, at.get_ref().clone()).await?.to_string())
}

async fn crashes(client: web::Data<Client>) -> Result<&'static str, Problem> {
    client.submit(crash, ()).await?;
    Ok("")
}

async fn stream(client: web::Data<Client>, at: web::Data<PathBuf>) -> HttpResponse {
    let items = client.stream(two, at.get_ref().clone());
    HttpResponse::Ok().streaming(items.map_ok(web::Bytes::from))
}

async fn start(setup: Setup) -> Server {
    let data = (web::Data::new(setup.client.clone()), web::Data::new(setup.at));
    let app = move || {
        let (client, at) = data.clone();
        App::new()
            .app_data(client)
            .app_data(at)
            .route("/held", web::to(held))
            .route("/crash", web::to(crashes))
            .route("/stream", web::to(stream))
            .route("/quick", web::to(|| async { "quick" }))
    };
    let mut server = outboard_actix::server(app).workers(1).disable_signals();
    if setup.half_close {
        server = server.on_connect(|connection, extensions| {
            let stream = connection.downcast_ref::<TcpStream>().unwrap();
            outboard_actix::watch(stream, true, extensions);
        });
    }
    let server = server.bind(("127.0.0.1", 0)).unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let (stop, stopped) = oneshot::channel::<()>();
    let handle = server.handle();
    tokio::spawn(async move {
        if stopped.await.is_ok() {
            handle.stop(true).await;
        }
    });
    let ended = tokio::spawn(async move {
        server.await.unwrap();
        setup.client.shutdown().await;
    });
    Server { address, stop, ended }
}

conformance::conformance!(start);

/// How much time a task has, in milliseconds, rounded up.
fn left() -> Option<u64> {
    let left = outboard::deadline()?.saturating_duration_since(std::time::Instant::now());
    Some(left.as_millis() as u64 + 1)
}

#[test]
fn requests_have_tenants_timeouts_and_times() {
    conformance::run(async {
        let client = Client::local().workers(1).tenant_queue(1).await.unwrap();
        let rules = Offload::new(client.clone())
            .tenant(tenant::header("x-key"))
            .tenant(tenant::peer)
            .timeout(Duration::from_secs(100))
            .timeout_header("x-timeout-ms")
            .status(|error| {
                (error.kind() == ErrorKind::Panicked).then_some(StatusCode::UNPROCESSABLE_ENTITY)
            });
        let left = async |compute: Compute| -> Result<String, Problem> {
            Ok(format!("{:?}", compute.submit(left, ()).await?))
        };
        let panics = async |compute: Compute| -> Result<String, Problem> {
            Ok(compute.submit(|| -> String { panic!("it does") }, ()).await?)
        };
        let app = move || {
            App::new().route("/without", web::get().to(left)).service(
                web::scope("")
                    .wrap(offload(rules.clone()))
                    .route("/left", web::get().to(left))
                    .route("/panics", web::get().to(panics)),
            )
        };
        let server = outboard_actix::server(app).workers(1).disable_signals();
        let server = server.bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        tokio::spawn(server.run());
        let get_with = async |path: &str, headers: &str| {
            receive(send(address, path, headers).await).await.expect("an answer")
        };
        let scratch = Scratch::new();
        let running = client.submit(hold, scratch.path());
        scratch.started().await;
        let worker = scratch.pid();
        // Before anything short has run: nothing is sent ahead, all of these wait.
        let full: Vec<_> =
            ["key", "127.0.0.1"].map(|of| client.tenant(of).submit(hold, scratch.path())).into();
        for (headers, status) in [("x-key: key\r\n", 429), ("", 429)] {
            assert_eq!(get_with("/left", headers).await.status, status, "{headers}");
        }
        let another = get_with("/left", "x-key: another\r\nx-timeout-ms: 50\r\n").await;
        assert_eq!(another.status, 504);
        scratch.release();
        drop(full);
        assert_eq!(running.await.unwrap(), worker);

        let answer = get_with("/left", "x-timeout-ms: 50000\r\n").await;
        let millis = answer.body.trim_start_matches("Some(").trim_end_matches(')');
        assert!((1..=50_000).contains(&millis.parse::<u64>().unwrap()), "{answer:?}");
        let timing = answer.header("server-timing").expect("times");
        assert!(timing.starts_with("queue;dur=") && timing.contains("run;dur="), "{timing}");
        let panicked = get_with("/panics", "").await;
        assert_eq!(panicked.status, 422, "{panicked:?}");
        assert!(panicked.body.contains("\"status\":422") && !panicked.body.contains("it does"));
        assert_eq!(get_with("/without", "").await.status, 500);
    });
}

#[test]
fn services_are_mounted_with_all_that_is_below_their_path() {
    conformance::run(async {
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let page = Status::new(client.clone()).at("/ops/status");
        let health = Health::new(client);
        let app = move || {
            App::new()
                .service(outboard_actix::mount("/ops/status", page.clone()))
                .service(outboard_actix::mount("/readyz", health.clone()))
        };
        let server = outboard_actix::server(app).workers(1).disable_signals();
        let server = server.bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        tokio::spawn(server.run());
        for (path, status, says) in [
            ("/ops/status", 200, "src=\"./status/page.js\""),
            ("/ops/status/page.css", 200, "{"),
            ("/ops/status/status.json", 200, "\"product\":\"outboard\""),
            ("/ops/status/nothing", 404, ""),
            ("/readyz", 200, "\"ready\":true"),
        ] {
            let answer = receive(send(address, path, "").await).await.expect("an answer");
            assert!(answer.status == status && answer.body.contains(says), "{path}: {answer:?}");
        }
        let page = receive(send(address, "/ops/status", "").await).await.unwrap();
        assert!(page.header("content-security-policy").is_some(), "{page:?}");
        let mut events = send(address, "/ops/status/events", "").await;
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains("event: view") {
            assert!(events.read_buf(&mut seen).await.unwrap() > 0, "it goes on");
        }
    });
}

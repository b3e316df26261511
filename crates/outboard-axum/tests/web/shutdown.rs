use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get as route;
use outboard::Client;
use outboard_axum::{Compute, Cut, FinishOnDisconnect, Health, Offload, Problem};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Scratch, get, hold, lives, receive, run, send};

const LONG: Duration = Duration::from_secs(1000);

/// A server with one page that is held, and how to end it.
struct Server {
    address: SocketAddr,
    client: Client,
    scratch: Scratch,
    stop: oneshot::Sender<()>,
    cut: oneshot::Sender<()>,
    ended: JoinHandle<std::io::Result<Cut>>,
}

async fn page(State(at): State<std::path::PathBuf>, compute: Compute) -> Result<String, Problem> {
    Ok(compute.submit(hold, at).await?.to_string())
}

async fn detached(State(at): State<std::path::PathBuf>, compute: Compute) {
    compute.tenant("detached").submit(hold, at).detach();
}

impl Server {
    async fn start(grace: Duration, notice: Duration) -> Self {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        Self::start_with(client, grace, notice).await
    }

    async fn start_with(client: Client, grace: Duration, notice: Duration) -> Self {
        let scratch = Scratch::new();
        let app = Router::new()
            .route("/kept", route(page))
            .route_layer(FinishOnDisconnect)
            .route("/", route(page))
            .route("/detached", route(detached))
            .with_state(scratch.path())
            .layer(Offload::new(client.clone()))
            .merge(Health::new(client.clone()).router());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ((stop, stopped), (cut, is_cut)) = (oneshot::channel(), oneshot::channel());
        let serve = outboard_axum::serve(listener, app)
            .client(client.clone())
            .grace(grace)
            .notice(notice)
            .stop_on(async { stopped.await.unwrap() })
            .cut_on(async { is_cut.await.unwrap() });
        let ended = tokio::spawn(serve.into_future());
        Self { address, client, scratch, stop, cut, ended }
    }
}

#[test]
fn what_runs_finishes_and_nothing_new_is_taken() {
    run(async {
        let server = Server::start(LONG, Duration::ZERO).await;
        let running = send(server.address, "/", "").await;
        server.scratch.started().await;
        server.stop.send(()).unwrap();
        loop {
            let Ok(stream) = tokio::net::TcpStream::connect(server.address).await else { break };
            drop(stream);
            tokio::task::yield_now().await;
        }
        server.scratch.release();
        assert_eq!(receive(running).await.unwrap().status, 200);
        let cut = server.ended.await.unwrap().unwrap();
        assert!(cut.is_nothing(), "{cut}");
        assert!(!lives(server.scratch.pid()), "no worker is left");
        assert!(server.client.submit(|| 1_u8, ()).await.unwrap_err().is_closed());
    });
}

#[test]
fn a_task_that_is_lost_meanwhile_has_not_finished() {
    run(async {
        let server = Server::start(LONG, Duration::ZERO).await;
        let running = send(server.address, "/", "").await;
        server.scratch.started().await;
        server.stop.send(()).unwrap();
        while tokio::net::TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let worker = i32::try_from(server.scratch.pid()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(worker, Signal::KILL).unwrap();
        assert_eq!(receive(running).await.unwrap().status, 500);
        let cut = server.ended.await.unwrap().unwrap();
        assert_eq!((cut.requests, cut.tasks, cut.lost), (0, 0, 1));
        assert_eq!(cut.to_string(), "1 task was lost with its worker");
        assert!(!cut.is_nothing());
    });
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_told_so() {
    run(async {
        let server = Server::start(Duration::from_millis(100), Duration::ZERO).await;
        let running = send(server.address, "/", "").await;
        server.scratch.started().await;
        server.stop.send(()).unwrap();
        let answer = receive(running).await.unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        let cut = server.ended.await.unwrap().unwrap();
        assert_eq!((cut.requests, cut.tasks), (1, 1));
        assert_eq!(cut.to_string(), "1 request and 1 task did not finish in time, and were cut");
        assert!(!lives(server.scratch.pid()));
    });
}

#[test]
fn a_thread_that_goes_on_computing_is_left_and_told() {
    run(async {
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let soon = Duration::from_millis(100);
        let server = Server::start_with(client, soon, Duration::ZERO).await;
        let running = send(server.address, "/", "").await;
        server.scratch.started().await;
        server.stop.send(()).unwrap();
        assert_eq!(receive(running).await.unwrap().status, 503);
        // It is held until the end: what ends the server is its own bound.
        let cut = server.ended.await.unwrap().unwrap();
        assert_eq!((cut.requests, cut.tasks, cut.workers), (1, 1, 1));
        assert!(cut.to_string().ends_with("; 1 worker could not be ended"), "{cut}");
        assert!(!server.scratch.is_finished());
        server.scratch.release();
    });
}

/// What the server does when it is told to end while its task has no browser.
async fn end_without_browser(server: &mut Server, path: &str) {
    let browser = send(server.address, path, "").await;
    server.scratch.started().await;
    drop(browser);
    // hyper has seen that the browser left when it serves the next one.
    assert_eq!(get(server.address, "/healthz").await.status, 200);
    let stop = std::mem::replace(&mut server.stop, oneshot::channel().0);
    stop.send(()).unwrap();
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn what_goes_on_without_a_browser_finishes_too() {
    for path in ["/kept", "/detached"] {
        run(async {
            let mut server = Server::start(LONG, Duration::ZERO).await;
            end_without_browser(&mut server, path).await;
            assert!(!server.scratch.is_finished() && !server.ended.is_finished(), "{path}");
            server.scratch.release();
            let cut = server.ended.await.unwrap().unwrap();
            assert!(cut.is_nothing() && server.scratch.is_finished(), "{path}: {cut}");
        });
    }
}

#[test]
fn what_goes_on_without_a_browser_is_cut_and_counted_too() {
    for (path, said) in [("/kept", "1 request and 1 task"), ("/detached", "1 task")] {
        run(async {
            let mut server = Server::start(LONG, Duration::ZERO).await;
            end_without_browser(&mut server, path).await;
            server.cut.send(()).unwrap();
            let cut = server.ended.await.unwrap().unwrap();
            assert!(cut.to_string().starts_with(&format!("{said} did not finish")), "{cut}");
            assert!(!lives(server.scratch.pid()) && !server.scratch.is_finished());
        });
    }
}

#[test]
fn a_second_signal_cuts_at_once() {
    run(async {
        let server = Server::start(LONG, Duration::ZERO).await;
        let running = send(server.address, "/", "").await;
        server.scratch.started().await;
        server.stop.send(()).unwrap();
        server.cut.send(()).unwrap();
        assert_eq!(receive(running).await.unwrap().status, 503);
        assert_eq!(server.ended.await.unwrap().unwrap().requests, 1);
    });
}

#[test]
fn a_load_balancer_is_given_notice() {
    run(async {
        let server = Server::start(LONG, LONG).await;
        assert_eq!(get(server.address, "/readyz").await.status, 200);
        server.stop.send(()).unwrap();
        let mut answer = get(server.address, "/readyz").await;
        while answer.status == 200 {
            answer = get(server.address, "/readyz").await;
        }
        assert!(answer.status == 503 && answer.body.contains("is ending"), "{answer:?}");
        server.scratch.release();
        assert_eq!(get(server.address, "/").await.status, 200, "requests are taken meanwhile");
        server.cut.send(()).unwrap();
        assert!(server.ended.await.unwrap().unwrap().is_nothing());
    });
}

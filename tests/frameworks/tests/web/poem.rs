/// The example, whose listener and errors are what is tested.
#[path = "../../examples/poem.rs"]
#[expect(dead_code, reason = "its pages are not served here")]
mod example;

use std::path::PathBuf;

use ::poem::web::Data;
use ::poem::{EndpointExt, Route, Server as PoemServer, handler};
use outboard::Client;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::conformance::{self, Server, Setup, crash, hold};
use example::{Watching, problem};

#[handler]
async fn held(client: Data<&Client>, at: Data<&PathBuf>) -> ::poem::Result<String> {
    Ok(client.submit(hold, at.clone()).await.map_err(problem)?.to_string())
}

#[handler]
async fn crashes(client: Data<&Client>) -> ::poem::Result<()> {
    client.submit(crash, ()).await.map_err(problem)
}

#[handler]
fn quick() -> &'static str {
    "quick"
}

async fn start(setup: Setup) -> Server {
    let routes = Route::new().at("/held", held).at("/crash", crashes).at("/quick", quick);
    let app = routes.data(setup.client.clone()).data(setup.at);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = PoemServer::new_with_acceptor(Watching(listener));
    let ended = tokio::spawn(async move {
        let stopped = async {
            // A test that has failed, or is done, stops no server.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        server.run_with_graceful_shutdown(app, stopped, None).await.unwrap();
        setup.client.shutdown().await;
    });
    Server { address, stop, ended }
}

// poem has no setting for half-closed connections.
#[test]
fn a_client_that_leaves_is_noticed_whatever_it_sent() {
    conformance::leave(start);
}
#[test]
fn a_crash_costs_one_request() {
    conformance::crash_costs_one(start);
}
#[test]
fn a_timeout_is_504_and_a_full_queue_503_with_when_to_come_back() {
    conformance::timeout_and_overload(start);
}
#[test]
fn a_server_that_ends_answers_what_runs_and_leaves_no_worker() {
    conformance::shutdown(start);
}

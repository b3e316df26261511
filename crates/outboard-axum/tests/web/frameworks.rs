//! What holds with every framework, of axum: served by this crate, and by axum itself.

use std::path::PathBuf;

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use outboard_axum::{Compute, Offload, Problem};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::conformance::{Server, Setup, crash, hold};

async fn held(State(at): State<PathBuf>, compute: Compute) -> Result<String, Problem> {
    Ok(compute.submit(hold, at).await?.to_string())
}

async fn crashes(compute: Compute) -> Result<(), Problem> {
    Ok(compute.submit(crash, ()).await?)
}

fn app(setup: &Setup) -> Router {
    Router::new()
        .route("/held", any(held))
        .route("/crash", any(crashes))
        .layer(Offload::new(setup.client.clone()))
        .route("/quick", any(|| async { "quick" }))
        .with_state(setup.at.clone())
}

mod by_outboard {
    use super::*;

    async fn start(setup: Setup) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = outboard_axum::serve(listener, app(&setup))
            .client(setup.client)
            .half_close(setup.half_close)
            .stop_on(async {
                // A test that has failed, or is done, stops no server.
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            });
        let ended = tokio::spawn(async move { assert!(serve.await.unwrap().is_nothing()) });
        Server { address, stop, ended }
    }

    crate::conformance::conformance!(start);
}

mod by_axum {
    use super::*;
    use crate::conformance;

    async fn start(setup: Setup) -> Server {
        let app = app(&setup);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(async move {
            let serve = axum::serve(outboard_axum::watched(listener), app);
            serve.with_graceful_shutdown(async { drop(stopped.await) }).await.unwrap();
            setup.client.shutdown().await;
        });
        Server { address, stop, ended }
    }

    // `axum::serve` has no setting for half-closed connections.
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
}

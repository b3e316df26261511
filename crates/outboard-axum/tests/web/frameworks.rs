//! What holds with every framework, of axum: served by this crate, and by axum itself.

use std::path::PathBuf;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use outboard_axum::{Compute, Offload, Problem};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::conformance::{Server, Setup, crash, hold, two};

async fn held(State(at): State<PathBuf>, compute: Compute) -> Result<String, Problem> {
    Ok(compute.submit(hold, at).await?.to_string())
}

async fn crashes(compute: Compute) -> Result<(), Problem> {
    Ok(compute.submit(crash, ()).await?)
}

async fn stream(State(at): State<PathBuf>, compute: Compute) -> Response {
    outboard_axum::ndjson(compute.stream(two, at))
}

fn app(setup: &Setup) -> Router {
    Router::new()
        .route("/held", any(held))
        .route("/crash", any(crashes))
        .route("/stream", any(stream))
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

    async fn start(setup: Setup) -> Server {
        assert!(!setup.half_close, "it has no such setting");
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
    crate::conformance::conformance!(start, half_close: [false]);
}

use axum::Router;
use axum::extract::State;
use axum::routing::get as route;
use outboard::Client;
use outboard_axum::{Compute, FinishOnDisconnect, Offload, Problem};

use crate::support::{Scratch, eventually, get, hold, lives, run, send, start};

async fn page(State(at): State<std::path::PathBuf>, compute: Compute) -> Result<String, Problem> {
    Ok(compute.submit(hold, at).await?.to_string())
}

async fn panics() -> &'static str {
    panic!("as without the layer")
}

#[test]
fn a_browser_that_leaves_frees_the_cpu() {
    run(async {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let app = Router::new().route("/", route(page)).with_state(scratch.path());
        let address = start(app.layer(Offload::new(client.clone()))).await;
        let stream = send(address, "/", "").await;
        scratch.started().await;
        let worker = scratch.pid();
        drop(stream);
        eventually("its worker is killed", || !lives(worker)).await;
        assert!(!scratch.is_finished());
        assert_eq!(client.submit(|| 7_u8, ()).await.unwrap(), 7);
        assert_eq!(client.admin().snapshot().cancelled, 1);
    });
}

#[test]
fn a_route_that_finishes_goes_on_without_its_browser() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let scratch = Scratch::new();
        let app = Router::new()
            .route("/", route(page))
            .route("/panics", route(panics))
            .route_layer(FinishOnDisconnect)
            .route("/quick", route(|| async { "quick" }))
            .with_state(scratch.path());
        let address = start(app.layer(Offload::new(client.clone()))).await;
        let stream = send(address, "/", "").await;
        scratch.started().await;
        drop(stream);
        // hyper has seen that the client left when it serves the next one.
        assert_eq!(get(address, "/quick").await.body, "quick");
        scratch.release();
        eventually("the task finishes", || scratch.is_finished()).await;
        eventually("its result is taken", || client.admin().snapshot().done == 1).await;
        assert_eq!(client.admin().snapshot().cancelled, 0);
        assert_eq!(get(address, "/").await.status, 200, "with a browser that waits as ever");
        let gone = crate::support::receive(send(address, "/panics", "").await).await;
        assert!(gone.is_none(), "a handler that panics gives no answer: {gone:?}");
    });
}

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get as route;
use outboard::{Client, Sender};
use outboard_axum::{Compute, Health, Offload, Problem, metrics, sse, status};

use crate::support::{eventually, get, run, send, start};

fn double(n: u64) -> u64 {
    n * 2
}

fn words(text: String, out: Sender<String>) -> usize {
    text.split(' ').filter(|word| out.send((*word).to_owned()).is_ok()).count()
}

async fn page(compute: Compute, Path(n): Path<u64>) -> Result<String, Problem> {
    Ok(compute.submit(double, n).await?.to_string())
}

async fn said(compute: Compute) -> Response {
    sse(compute.stream(words, "a b".to_owned()))
}

fn app(client: &Client) -> Router {
    Router::new()
        .route("/double/{n}", route(page))
        .route("/said", route(said))
        .layer(Offload::new(client.clone()).timeout(Duration::from_secs(600)))
        .merge(Health::new(client.clone()).router())
        .merge(metrics(client.clone()))
        .nest("/status", status(client.clone()))
}

#[test]
fn each_answer_is_the_response_of_production() {
    run(async {
        let scripted = Client::scripted();
        let script = scripted.on(double);
        let address = start(app(&scripted.client())).await;
        script.returns(7);
        let answer = get(address, "/double/1").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "7"));
        assert!(answer.header("server-timing").is_some(), "{answer:?}");
        script.overloaded(Duration::from_secs(9));
        let answer = get(address, "/double/2").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("9")));
        script.times_out();
        assert_eq!(get(address, "/double/3").await.status, 504);
        script.panics("no");
        let answer = get(address, "/double/4").await;
        assert!(answer.status == 500 && answer.body.contains("panicked"), "{answer:?}");
        script.lost();
        let answer = get(address, "/double/5").await;
        assert!(answer.status == 500 && answer.body.contains("worker_lost"), "{answer:?}");
        assert_eq!(script.calls(), [1, 3, 4, 5]);
        assert_eq!(get(address, "/readyz").await.status, 200);
        let shown = get(address, "/status/status.json").await.body;
        assert!(shown.contains("\"engine\":\"scripted\""), "{shown}");
        let counted = get(address, "/metrics").await.body;
        assert!(counted.contains("outcome=\"refused\""), "{counted}");
    });
}

#[test]
fn a_browser_that_leaves_cancels_its_call() {
    run(async {
        let scripted = Client::scripted();
        let script = scripted.on(double);
        script.held().returns(7);
        let address = start(app(&scripted.client())).await;
        let browser = send(address, "/double/1", "").await;
        script.called(1).await;
        drop(browser);
        let client = scripted.client();
        eventually("it is cancelled", || client.admin().snapshot().cancelled == 1).await;
    });
}

#[test]
fn a_stream_is_events_and_then_an_end() {
    run(async {
        let scripted = Client::scripted();
        let address = start(app(&scripted.client())).await;
        let script = scripted.on_stream(words);
        script.yields(["x".to_owned(), "y".to_owned()]).returns(2);
        let body = get(address, "/said").await.body;
        assert!(body.contains("data: \"x\"") && body.contains("data: \"y\""), "{body}");
        assert!(body.contains("event: output\ndata: 2"), "{body}");
        script.yields(["x".to_owned()]).lost();
        let body = get(address, "/said").await.body;
        assert!(body.contains("data: \"x\"") && body.contains("event: problem"), "{body}");
    });
}

use std::time::Duration;

use axum::Router;
use axum::routing::get as route;
use outboard::{Client, Error};
use outboard_axum::{Compute, Exposure, Offload, Problem};

use crate::support::{Answer, Scratch, get, hold, run, start};

/// A server whose pages fail in every way.
fn app(client: Client, exposure: Option<Exposure>) -> Router {
    let panics = |compute: Compute| async move {
        Ok::<_, Problem>(
            compute.submit(|| -> u8 { panic!("secret at /etc") }, ()).await?.to_string(),
        )
    };
    let aborts = |compute: Compute| async move {
        Ok::<_, Problem>(compute.submit(|| -> u8 { std::process::abort() }, ()).await?.to_string())
    };
    let hungry = |compute: Compute| async move {
        let huge = || std::hint::black_box(Vec::<u8>::with_capacity(1 << 60)).len() as u64;
        Ok::<_, Problem>(compute.submit(huge, ()).await?.to_string())
    };
    let late = |compute: Compute| async move {
        let nap = compute.with(|client| client.timeout(Duration::from_millis(1)));
        nap.submit(std::thread::sleep, Duration::from_secs(1000)).await?;
        Ok::<_, Problem>("")
    };
    let large = |compute: Compute| async move {
        let length = compute.submit(|text: String| text.len(), "x".repeat(5000)).await?;
        Ok::<_, Problem>(length.to_string())
    };
    let large_result = |compute: Compute| async move {
        Ok::<_, Problem>(compute.submit(|| "x".repeat(5000), ()).await?)
    };
    let app = Router::new()
        .route("/panics", route(panics))
        .route("/aborts", route(aborts))
        .route("/hungry", route(hungry))
        .route("/late", route(late))
        .route("/large", route(large))
        .route("/large_result", route(large_result))
        .route(
            "/closed",
            route(|compute: Compute| async move {
                compute.shutdown().await;
                Ok::<_, Problem>(compute.submit(|| 1_u8, ()).await?.to_string())
            }),
        );
    let mut offload = Offload::new(client);
    if let Some(exposure) = exposure {
        offload = offload.exposure(exposure);
    }
    app.layer(offload)
}

async fn small_client() -> Client {
    let client = Client::local().workers(1).max_payload(4000);
    client.quarantine(1, Duration::from_secs(600)).await.unwrap()
}

fn json(answer: &Answer) -> serde_json::Value {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["status"], answer.status);
    assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()));
    body
}

#[test]
fn each_error_has_its_status_and_its_kind() {
    run(async {
        let address = start(app(small_client().await, None)).await;
        for (path, status, kind) in [
            ("/panics", 500, "panicked"),
            ("/aborts", 500, "worker_lost"),
            ("/aborts", 422, "quarantined"),
            ("/hungry", 500, "out_of_memory"),
            ("/late", 504, "timed_out"),
            ("/large", 413, "too_large"),
            ("/large_result", 500, "too_large"),
            ("/closed", 503, "closed"),
        ] {
            let answer = get(address, path).await;
            let body = json(&answer);
            assert_eq!((answer.status, body["kind"].as_str()), (status, Some(kind)), "{answer:?}");
        }
    });
}

#[test]
fn internals_are_told_only_where_that_was_asked_for() {
    run(async {
        let hidden = start(app(small_client().await, None)).await;
        let shown = start(app(small_client().await, Some(Exposure::Full))).await;
        for (path, secret) in [("/panics", "secret at /etc"), ("/aborts", "SIGABRT")] {
            let answer = get(hidden, path).await;
            assert!(!answer.body.contains(secret) && !answer.head.contains(secret), "{answer:?}");
            let answer = get(shown, path).await;
            let detail = json(&answer)["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(secret), "{answer:?}");
            assert_eq!(answer.status, 500);
        }
    });
}

#[test]
fn a_full_queue_is_503_and_a_full_tenant_429_both_with_when_to_come_back() {
    run(async {
        let client = Client::local().workers(1).queue_tasks(2).tenant_queue(1).await.unwrap();
        let scratch = Scratch::new();
        let _running = client.submit(hold, scratch.path());
        scratch.started().await;
        let _waiting = client.tenant("ann").submit(hold, scratch.path());
        let page = |compute: Compute| async move {
            Ok::<_, Problem>(compute.submit(|| 1_u8, ()).await?.to_string())
        };
        let app = Router::new().route("/", route(page));
        let of = |tenant: &str| Offload::new(client.tenant(tenant));
        let (ann, bob) = (app.clone().layer(of("ann")), app.layer(of("bob")));
        let answer = get(start(ann).await, "/").await;
        assert_eq!(answer.status, 429, "{answer:?}");
        let ms = json(&answer)["retry_after_ms"].as_u64().unwrap();
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds >= 1 && seconds * 1000 >= ms, "{answer:?}");
        let _other = client.tenant("eve").submit(hold, scratch.path());
        let answer = get(start(bob).await, "/").await;
        assert_eq!((answer.status, json(&answer)["kind"].as_str()), (503, Some("overloaded")));
        assert!(answer.header("retry-after").is_some());
        scratch.release();
    });
}

#[test]
fn an_error_is_a_problem_without_the_layer_too() {
    run(async {
        let client = small_client().await;
        let app = Router::new().route(
            "/",
            route(move || async move {
                let error: Result<u8, Error> =
                    client.submit(|| -> u8 { panic!("secret") }, ()).await;
                Ok::<_, Problem>(error?.to_string())
            }),
        );
        let answer = get(start(app).await, "/").await;
        assert_eq!((answer.status, json(&answer)["kind"].as_str()), (500, Some("panicked")));
        assert!(!answer.body.contains("secret"));
    });
}

#[test]
fn an_engine_that_is_away_is_503() {
    // Outside a runtime there can be no workers.
    let mut start = Box::pin(Client::local().into_future());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = start.as_mut().poll(&mut context) else {
        panic!("there is a client without a runtime");
    };
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(Problem::from(error).status(), 503);
}

#[test]
fn an_application_says_whose_fault_an_error_is() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let page = |compute: Compute| async move {
            compute.submit(|| -> u8 { panic!("a bomb") }, ()).await?;
            Ok::<_, Problem>("")
        };
        let offload = Offload::new(client).status(|error| {
            (error.kind() == outboard::ErrorKind::Panicked)
                .then_some(axum::http::StatusCode::PAYLOAD_TOO_LARGE)
        });
        let app = Router::new().route("/", axum::routing::get(page)).layer(offload);
        let answer = get(start(app).await, "/").await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.body.contains("\"status\":413"), "{answer:?}");
        assert!(!answer.body.contains("bomb"), "{answer:?}");
    });
}

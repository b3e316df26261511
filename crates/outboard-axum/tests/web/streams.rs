use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::get as route;
use outboard::{Client, SendError, Sender};
use outboard_axum::{Compute, Offload, body, ndjson, sse};

use crate::support::{eventually, get, get_with, run, send, start};

#[outboard::task]
fn count(to: u32, out: Sender<u32>) -> Result<u32, SendError> {
    (0..to).try_for_each(|n| out.send(n))?;
    Ok(to)
}

#[outboard::task]
fn count_and_panic(to: u32, out: Sender<u32>) {
    (0..to).for_each(|n| out.send(n).unwrap());
    panic!("secret at /etc");
}

#[outboard::task]
fn pages(count: u8, out: Sender<Bytes>) -> Result<(), SendError> {
    (0..count).try_for_each(|n| out.send(vec![b'a' + n; 3].into()))
}

#[outboard::task]
fn endless() -> impl Iterator<Item = u64> {
    0..
}

async fn app() -> (Client, Router) {
    let client = Client::local().workers(1).await.unwrap();
    (client.clone(), streams().layer(Offload::new(client)))
}

fn streams() -> Router {
    Router::new()
        .route("/sse", route(|compute: Compute| async move { sse(compute.stream(count, 3)) }))
        .route(
            "/sse_panics",
            route(|compute: Compute| async move { sse(compute.stream(count_and_panic, 2)) }),
        )
        .route("/lines", route(|compute: Compute| async move { ndjson(compute.stream(count, 3)) }))
        .route(
            "/lines_panic",
            route(|compute: Compute| async move { ndjson(compute.stream(count_and_panic, 1)) }),
        )
        .route("/body", route(|compute: Compute| async move { body(compute.stream(pages, 3)) }))
        .route(
            "/endless",
            route(|compute: Compute| async move { ndjson(compute.stream(endless, ())) }),
        )
        .route(
            "/refused",
            route(|compute: Compute| async move {
                sse(compute.with(|client| client.key("k")).stream(count, 3))
            }),
        )
}

#[test]
fn a_stream_is_events_and_its_output_is_the_last() {
    run(async {
        let (_, app) = app().await;
        let server = start(app).await;
        let answer = get(server, "/sse").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        for event in ["id: 0\ndata: 0\n", "id: 1\ndata: 1\n", "id: 2\ndata: 2\n"] {
            assert!(answer.body.contains(event), "{}", answer.body);
        }
        assert!(answer.body.contains("event: output\ndata: {\"Ok\":3}\n"), "{}", answer.body);
        let answer = get(server, "/sse_panics").await;
        assert!(answer.body.contains("id: 1\ndata: 1\n"), "{}", answer.body);
        let last = answer.body.split("event: problem\ndata: ").nth(1).expect("a problem");
        assert!(last.contains("\"kind\":\"panicked\"") && !last.contains("secret"), "{last}");
    });
}

#[test]
fn a_stream_is_lines_and_a_problem_is_the_last() {
    run(async {
        let (_, app) = app().await;
        let server = start(app).await;
        let answer = get(server, "/lines").await;
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(dechunked(&answer.body), "0\n1\n2\n");
        let answer = get(server, "/lines_panic").await;
        let lines = dechunked(&answer.body);
        assert!(lines.starts_with("0\n{\"problem\":{"), "{lines}");
        assert!(lines.contains("\"status\":500") && !lines.contains("secret"), "{lines}");
        assert_eq!(dechunked(&get(server, "/body").await.body), "aaabbbccc");
    });
}

#[test]
fn a_stream_tells_its_times_after_its_items() {
    run(async {
        let (client, app) = app().await;
        let server = start(app).await;
        let asked = "te: trailers\r\n";
        for path in ["/lines", "/body"] {
            let answer = get_with(server, path, asked).await;
            assert_eq!(answer.header("trailer"), Some("server-timing"), "{answer:?}");
            let trailer = answer.body.split("\r\n0\r\n").nth(1).expect("a trailer");
            let timing = trailer.strip_prefix("server-timing: ").expect("the times");
            assert!(timing.starts_with("queue;dur=") && timing.contains(", run;dur="), "{timing}");
            // One who does not know trailers gets none.
            let answer = get(server, path).await;
            assert!(!answer.body.contains("server-timing"), "{answer:?}");
        }
        let answer = get(server, "/sse").await;
        let (items, end) = answer.body.split_once("event: server-timing\ndata: ").expect("times");
        assert!(items.contains("id: 2\n"), "{items}");
        assert!(end.starts_with("queue;dur=") && end.contains("event: output\n"), "{end}");
        let broken = get_with(server, "/lines_panic", asked).await;
        assert!(!broken.body.contains("server-timing"), "a task that failed has no times");

        let silent = streams().layer(Offload::new(client).server_timing(false));
        let silent = start(silent).await;
        for path in ["/lines", "/sse"] {
            let answer = get_with(silent, path, asked).await;
            assert_eq!(answer.header("trailer"), None, "{answer:?}");
            assert!(!answer.body.contains("server-timing"), "{answer:?}");
        }
    });
}

#[test]
fn a_refused_stream_is_a_response_with_its_status() {
    run(async {
        let (_, app) = app().await;
        let server = start(app).await;
        let answer = get(server, "/refused").await;
        assert_eq!(answer.status, 501);
        assert!(answer.body.contains("\"kind\":\"unsupported\""), "{}", answer.body);
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_stops_the_task() {
    run(async {
        let (client, app) = app().await;
        let server = start(app).await;
        let connection = send(server, "/endless", "").await;
        eventually("items flow", || client.admin().snapshot().stream_items > 1000).await;
        drop(connection);
        eventually("it is stopped", || client.admin().snapshot().cancelled == 1).await;
        let hasty = client.timeout(Duration::from_secs(30));
        assert_eq!(hasty.submit(|x: u32| x + 1, 1).await.unwrap(), 2);
    });
}

/// The body without the lengths of its chunks.
fn dechunked(body: &str) -> String {
    let is_length = |line: &&str| u32::from_str_radix(line, 16).is_ok();
    let mut lines = body.split("\r\n").peekable();
    let mut text = String::new();
    while let Some(length) = lines.next() {
        if !is_length(&length) {
            break;
        }
        text += lines.next().unwrap_or_default();
    }
    text
}

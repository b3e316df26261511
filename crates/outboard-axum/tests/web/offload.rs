use std::time::Duration;

use axum::Router;
use axum::routing::get as route;
use outboard::Client;
use outboard_axum::{Compute, Offload, Problem, tenant};

use crate::support::{Scratch, get, get_with, hold, run, start};

type Page = Result<String, Problem>;

/// How much time a task has, in milliseconds, rounded up.
async fn left(compute: Compute) -> Page {
    let left = || -> Option<u128> {
        let left = outboard::deadline()?.saturating_duration_since(std::time::Instant::now());
        Some(left.as_millis() + 1)
    };
    Ok(format!("{:?}", compute.submit(left, ()).await?))
}

#[test]
fn rules_for_tenants_are_asked_in_order() {
    run(async {
        let client = Client::local().workers(1).tenant_queue(1).await.unwrap();
        let scratch = Scratch::new();
        let _running = client.submit(hold, scratch.path());
        scratch.started().await;
        // So that each of these tenants has met its bound.
        let _full: Vec<_> =
            ["key", "127.0.0.1"].map(|of| client.tenant(of).submit(hold, scratch.path())).into();
        let page = |compute: Compute| async move {
            Ok::<_, Problem>(compute.submit(|| 1_u8, ()).await?.to_string())
        };
        let offload = |client| Offload::new(client).timeout(Duration::from_millis(50));
        let both = offload(client.clone()).tenant(tenant::header("x-key")).tenant(tenant::peer);
        let app = Router::new().route("/", route(page));
        let address = start(app.clone().layer(both)).await;
        for (headers, status) in [
            ("x-key: key\r\n", 429),
            ("", 429),
            ("x-key: \r\n", 429),
            ("x-key: another\r\n", 504),
            (&*format!("x-key: {}\r\n", "k".repeat(5000)), 504),
        ] {
            assert_eq!(get_with(address, "/", headers).await.status, status, "{headers}");
        }
        let nobody = start(app.layer(offload(client).tenant(|_| None))).await;
        assert_eq!(get(nobody, "/").await.status, 504, "no tenant is one, too");
        scratch.release();
    });
}

#[test]
fn a_client_may_ask_for_less_time_and_not_for_more() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let timed = Offload::new(client.clone()).timeout(Duration::from_secs(100));
        let app = Router::new().route("/", route(left));
        let address = start(app.clone().layer(timed.timeout_header("x-timeout-ms"))).await;
        let millis = async |headers: &str| -> u64 {
            let body = get_with(address, "/", headers).await.body;
            body.strip_prefix("Some(").unwrap().strip_suffix(")").unwrap().parse().unwrap()
        };
        for headers in ["", "x-timeout-ms: 900000\r\n", "x-timeout-ms: soon\r\n"] {
            assert!((50_000..=100_000).contains(&millis(headers).await), "{headers}");
        }
        assert!((1..=50_000).contains(&millis("x-timeout-ms: 50000\r\n").await));
        let untimed = start(app.layer(Offload::new(client))).await;
        assert_eq!(get_with(untimed, "/", "x-timeout-ms: 5\r\n").await.body, "None");
    });
}

#[test]
fn responses_tell_how_long_their_tasks_waited_and_ran() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let page = |compute: Compute| async move {
            let nap = |ms| compute.submit(std::thread::sleep, Duration::from_millis(ms));
            nap(20).await?;
            nap(30).await?;
            Ok::<_, Problem>("")
        };
        let app = Router::new().route("/", route(page)).route("/none", route(|| async { "" }));
        let address = start(app.clone().layer(Offload::new(client.clone()))).await;
        let answer = get(address, "/").await;
        let timing = answer.header("server-timing").unwrap_or_else(|| panic!("{answer:?}"));
        let entries: Vec<_> =
            timing.split(", ").map(|entry| entry.split_once(';').unwrap()).collect();
        let names: Vec<_> = entries.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["queue", "run", "worker", "tasks"]);
        let run_ms: f64 = entries[1].1.strip_prefix("dur=").unwrap().parse().unwrap();
        assert!(run_ms >= 50.0, "{timing}");
        assert!(entries[0].1.strip_prefix("dur=").unwrap().parse::<f64>().is_ok());
        assert!(entries[2].1.starts_with("desc=\"") && entries[3].1 == "desc=\"2\"", "{timing}");
        assert_eq!(get(address, "/none").await.header("server-timing"), None);
        let silent = start(app.layer(Offload::new(client).server_timing(false))).await;
        assert_eq!(get(silent, "/").await.header("server-timing"), None);
    });
}

#[outboard::task(batch(max = 2, wait = "3600s"))]
fn doubles(items: Vec<u64>) -> Vec<u64> {
    items.into_iter().map(|item| 2 * item).collect()
}

#[test]
fn responses_tell_how_large_their_batch_was() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let page = |compute: Compute| async move {
            let both = [4, 5].map(|item| compute.batched(doubles, item));
            let [four, five] = both;
            Ok::<_, Problem>(format!("{} {}", four.await?, five.await?))
        };
        let app = Router::new().route("/", route(page)).layer(Offload::new(client));
        let answer = get(start(app).await, "/").await;
        assert_eq!(answer.body, "8 10");
        let timing = answer.header("server-timing").unwrap_or_else(|| panic!("{answer:?}"));
        assert!(timing.ends_with("tasks;desc=\"2\", batch;desc=\"2\""), "{timing}");
    });
}

#[test]
fn a_handler_without_the_layer_is_500_and_not_a_panic() {
    run(async {
        let app = Router::new().route("/", route(left)).route(
            "/optional",
            route(|compute: Option<Compute>| async move { compute.is_none().to_string() }),
        );
        let address = start(app).await;
        assert_eq!(get(address, "/").await.status, 500);
        assert_eq!(get(address, "/optional").await.body, "true");
    });
}

#[test]
fn compute_is_a_client_with_the_requests_options() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let page = |compute: Compute| async move {
            let squares = compute.map(|n: u64| n * n, 0..4).gather().await?;
            Ok::<_, Problem>(format!("{squares:?}"))
        };
        let app = Router::new().route("/", route(page)).layer(Offload::new(client));
        assert_eq!(get(start(app).await, "/").await.body, "[0, 1, 4, 9]");
    });
}

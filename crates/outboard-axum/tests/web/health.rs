use std::time::Duration;

use axum::Router;
use outboard::Client;
use outboard_axum::Health;

use crate::support::{Scratch, get, hold, run, start};

#[test]
fn a_busy_server_lives_and_is_not_ready_before_it_refuses() {
    run(async {
        let client = Client::local().workers(1).queue_tasks(8).await.unwrap();
        let address = start(Router::new().merge(Health::new(client.clone()).router())).await;
        let ready =
            async || (get(address, "/healthz").await.status, get(address, "/readyz").await.status);
        assert_eq!(ready().await, (200, 200));
        let scratch = Scratch::new();
        let mut held = vec![client.submit(hold, scratch.path())];
        scratch.started().await;
        held.extend((0..6).map(|_| client.submit(hold, scratch.path())));
        assert_eq!(ready().await, (200, 200), "three quarters are full");
        held.push(client.submit(hold, scratch.path()));
        assert_eq!(ready().await, (200, 503));
        held.push(client.submit(hold, scratch.path()));
        assert!(held.iter().all(|future| !future.is_finished()), "nothing was refused so far");
        let answer = get(address, "/readyz").await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.body.contains("the queue is nearly full"), "{answer:?}");
        scratch.release();
        outboard::gather(held).await.unwrap();
        assert_eq!(ready().await, (200, 200));
    });
}

/// Waits until the test lets it go on.
#[outboard::on_start(pool = "slow")]
fn load(at: std::path::PathBuf) {
    while !at.join("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_pool_whose_model_loads_is_not_ready() {
    run(async {
        let scratch = Scratch::new();
        let at = scratch.path();
        let client = Client::local().workers(1).spares(0);
        let client = client.pool("slow", |pool| pool.lazy().start_with(at.clone())).await.unwrap();
        let address = start(Router::new().merge(Health::new(client.clone()).router())).await;
        let answer = get(address, "/readyz").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("no worker is up"), "{answer:?}");
        assert_eq!(get(address, "/healthz").await.status, 200);
        let waits = client.pool("slow").submit(|| 1, ());
        std::fs::write(at.join("go"), "").unwrap();
        assert_eq!(waits.await.unwrap(), 1);
        assert_eq!(get(address, "/readyz").await.status, 200);
    });
}

#[test]
fn a_long_wait_or_a_closed_client_is_not_ready() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        client.submit(std::thread::sleep, Duration::from_millis(50)).await.unwrap();
        let health = Health::new(client.clone()).max_wait(Duration::from_millis(20));
        let address = start(health.router()).await;
        assert_eq!(get(address, "/readyz").await.status, 200);
        let scratch = Scratch::new();
        let held: Vec<_> = (0..5).map(|_| client.submit(hold, scratch.path())).collect();
        let answer = get(address, "/readyz").await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("would wait too long"), "{answer:?}");
        scratch.release();
        outboard::gather(held).await.unwrap();
        client.drain().await;
        let answer = get(address, "/readyz").await;
        assert!(
            answer.status == 503 && answer.body.contains("no tasks are accepted"),
            "{answer:?}"
        );
        assert_eq!(get(address, "/healthz").await.status, 200);
    });
}

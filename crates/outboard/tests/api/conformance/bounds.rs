//! 6: everything is bounded; full means `Overloaded` now.

use std::time::Duration;

use outboard::{Client, ErrorKind, TaskFuture, gather};

use super::{Engine, named, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, length, longer, pid, same, same_bytes, same_text, zeros};

on_every_engine! {
    arguments_that_are_too_large_are_not_sent,
    results_that_are_too_large_are_not_sent,
    payloads_of_exactly_the_bound_pass,
    a_full_queue_refuses_at_once,
    a_full_queue_has_room_again_when_a_task_leaves,
    the_queue_is_bounded_in_bytes_too,
    keys_and_tenants_count_too,
    names_that_are_too_long_are_errors,
    an_idle_worker_always_accepts,
    ready_waits_for_room,
    ready_can_be_left,
}

/// One worker, busy until the scratch is released, and that task.
async fn busy(engine: Engine, options: &str, scratch: &Scratch) -> (Client, TaskFuture<u32>) {
    let client = engine.client(&format!("workers=1&window=1&{options}")).await;
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    (client, running)
}

async fn a_full_queue_refuses_at_once(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, "queue_tasks=3", &scratch).await;
    let waiting: Vec<_> = (0..3).map(|n: u64| client.submit(same, n)).collect();
    let refused = client.submit(same, 3);
    assert!(refused.is_finished(), "at once");
    let error = refused.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.retry_after().is_some_and(|after| after >= Duration::from_millis(1)));
    assert!(error.to_string().starts_with("queue is full: limit 3 tasks; retry after"), "{error}");
    assert_eq!((client.admin().snapshot().queued, client.admin().snapshot().refused), (3, 1));
    scratch.release();
    running.await.unwrap();
    assert_eq!(gather(waiting).await.unwrap(), [0, 1, 2]);
    assert_eq!(client.submit(same, 4).await.unwrap(), 4, "the queue recovers");
}

async fn a_full_queue_has_room_again_when_a_task_leaves(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, "queue_tasks=1", &scratch).await;
    let waiting = client.submit(same, 1);
    assert!(client.submit(same, 2).await.unwrap_err().is_overloaded());
    drop(waiting);
    let waiting = client.submit(same, 3);
    scratch.release();
    running.await.unwrap();
    assert_eq!(waiting.await.unwrap(), 3);
}

async fn the_queue_is_bounded_in_bytes_too(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, "queue_bytes=1000", &scratch).await;
    let length = |bytes: usize| client.submit(length, vec![0; bytes]);
    let waiting = [length(400), length(400)];
    let error = length(400).await.unwrap_err();
    assert!(error.to_string().contains("limit 1000 bytes of arguments"), "{error}");
    let small = length(50);
    scratch.release();
    running.await.unwrap();
    assert_eq!(gather(waiting).await.unwrap(), [400, 400]);
    assert_eq!(small.await.unwrap(), 50);
    eventually("the bytes are given back", || !length(400).is_finished()).await;
    assert_eq!(length(400).await.unwrap(), 400);
}

async fn keys_and_tenants_count_too(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, "queue_bytes=1000", &scratch).await;
    let named = |n: usize| format!("{n}{}", "n".repeat(400));
    let waiting = [
        client.key(named(1)).submit(same, 1),
        client.tenant(named(2)).submit(same, 2),
        client.submit(same, 3),
    ];
    for client in [client.key(named(4)), client.tenant(named(5))] {
        let error = client.submit(same, 4).await.unwrap_err();
        assert!(error.to_string().contains("limit 1000 bytes of arguments and names"), "{error}");
    }
    scratch.release();
    running.await.unwrap();
    assert_eq!(gather(waiting).await.unwrap(), [1, 2, 3]);
}

async fn names_that_are_too_long_are_errors(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let named = |bytes: usize| "n".repeat(bytes);
    for client in [client.key(named(8193)), client.tenant(named(8193))] {
        let error = client.submit(same, 1).await.unwrap_err();
        assert!(error.is_too_large() && error.is_arguments_too_large(), "{error}");
        assert!(error.to_string().contains("8193 bytes, limit 8192"), "{error}");
    }
    let client = client.key(named(8192)).tenant(named(8192));
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
}

async fn an_idle_worker_always_accepts(engine: Engine) {
    let client = engine.client("workers=1&window=1&queue_tasks=0&queue_bytes=0").await;
    for n in 0..20 {
        client.ready().await.unwrap();
        assert_eq!(client.submit(same, n).await.unwrap(), n);
    }
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    assert!(client.submit(same, 1).await.unwrap_err().is_overloaded());
    scratch.release();
    running.await.unwrap();
}

async fn ready_waits_for_room(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, "queue_tasks=1", &scratch).await;
    client.ready().await.unwrap();
    let waiting = client.submit(same, 1);
    let mut ready = tokio::spawn({
        let client = client.clone();
        async move { client.ready().await }
    });
    let early = tokio::time::timeout(Duration::from_millis(50), &mut ready).await;
    assert!(early.is_err(), "there is no room yet");
    scratch.release();
    ready.await.unwrap().unwrap();
    running.await.unwrap();
    assert_eq!(waiting.await.unwrap(), 1);
}

async fn ready_can_be_left(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, "queue_tasks=0", &scratch).await;
    for _ in 0..10 {
        let early = tokio::time::timeout(Duration::from_millis(1), client.ready()).await;
        assert!(early.is_err(), "there is no room");
    }
    scratch.release();
    running.await.unwrap();
    client.ready().await.unwrap();
}

async fn arguments_that_are_too_large_are_not_sent(engine: Engine) {
    let client = engine.client("workers=1&max_payload=1000").await;
    let refused = client.submit(length, vec![0; 1001]);
    assert!(refused.is_finished(), "at once");
    let error = refused.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.to_string();
    assert!(
        text.starts_with("arguments are too large: 1001 bytes, limit 1000; send less"),
        "{text}"
    );
    assert_eq!(client.admin().snapshot().submitted, 0);
}

async fn results_that_are_too_large_are_not_sent(engine: Engine) {
    let client = engine.client("workers=1&max_payload=1000").await;
    let before = client.submit(pid, ()).await.unwrap();
    let error = client.submit(zeros, 5_000_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let text = error.to_string();
    assert!(text.starts_with("result is too large: 5000000 bytes, limit"), "{text}");
    assert_eq!(client.submit(pid, ()).await.unwrap(), before, "the worker lives on");
}

async fn payloads_of_exactly_the_bound_pass(engine: Engine) {
    let client = engine.client("workers=1&max_payload=1000").await;
    let back = client.submit(same_bytes, vec![7; 1000]).await.unwrap();
    assert_eq!(back, vec![7; 1000]);
    let grown = client.submit(longer, vec![7; 1000]).await;
    assert!(grown.unwrap_err().is_too_large());
    // Three bytes of what the codec makes of a text are its length.
    let text = |bytes| "x".repeat(bytes);
    assert_eq!(client.submit(same_text, text(997)).await.unwrap(), text(997));
    assert!(client.submit(same_text, text(998)).await.unwrap_err().is_too_large());
    let longer = named!("contract.40", |x: String| -> String { x + "x" });
    let grown = client.submit(longer, text(997)).await;
    assert!(grown.unwrap_err().is_too_large());
}

//! 1: every future ends, also when the client, its handles or its runtime do.

use outboard::{Client, ErrorKind, TaskFuture};

use super::{Engine, Promise, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, nothing, same, write};
use crate::support::{eventually, runtime};

on_every_engine! {
    shutdown_closes_everything,
    shutdown_of_one_clone_is_that_of_all,
    shutdown_twice_is_shutdown,
    drain_finishes_what_was_taken_and_refuses_the_rest,
    drain_can_be_left_and_stays,
    drain_of_an_idle_client_is_over_at_once,
    futures_outlive_the_client,
    detached_tasks_outlive_all_handles,
    futures_end_with_the_clients_runtime,
    shutdown_leaves_nothing_behind,
    a_closed_client_is_never_ready,
}

/// A future that was to end as closed.
async fn closed<T: serde::de::DeserializeOwned>(future: TaskFuture<T>) {
    let error = future.await.err().expect("the client is closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().starts_with("client is closed: "), "{error}");
}

async fn shutdown_closes_everything(engine: Engine) {
    // What waits does so here, and not at a scheduler, where it may start meanwhile.
    let client = engine.client("workers=1&window=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let queued = client.submit(write, (scratch.path(), "never".into()));
    let shutdown = tokio::spawn({
        let client = client.clone();
        async move { client.shutdown().await }
    });
    closed(running).await;
    closed(queued).await;
    // On `inline`, the engine ends with its threads.
    scratch.release();
    shutdown.await.unwrap();
    closed(client.submit(write, (scratch.path(), "never".into()))).await;
    assert!(client.ready().await.unwrap_err().is_closed());
    assert!(scratch.notes("lines").is_empty());
}

async fn shutdown_leaves_nothing_behind(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    #[cfg(target_os = "linux")]
    let workers: Vec<_> = (client.admin().snapshot().per_worker.iter())
        .filter(|worker| worker.pid != std::process::id())
        .map(|worker| crate::support::process::Process::open(worker.pid))
        .collect();
    if engine.name == "inline" {
        scratch.release();
    }
    client.shutdown().await;
    #[cfg(target_os = "linux")]
    for worker in &workers {
        let left = !worker.is_reaped();
        assert_eq!(left, !engine.promises(Promise::OwnsItsWorkers), "when shutdown returns");
    }
    eventually("none is listed", || client.admin().snapshot().per_worker.is_empty()).await;
    drop(running);
}

async fn shutdown_of_one_clone_is_that_of_all(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (clone, derived) = (client.clone(), client.priority(3));
    clone.shutdown().await;
    closed(client.submit(nothing, ())).await;
    closed(derived.submit(nothing, ())).await;
}

async fn shutdown_twice_is_shutdown(engine: Engine) {
    let client = engine.client("workers=1").await;
    tokio::join!(client.shutdown(), client.shutdown());
    client.shutdown().await;
    client.drain().await;
    closed(client.submit(nothing, ())).await;
}

async fn drain_finishes_what_was_taken_and_refuses_the_rest(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let line = |text: &str| client.submit(write, (scratch.path(), text.into()));
    line("detached").detach();
    let queued = line("queued");
    let mut drain = tokio::spawn({
        let client = client.clone();
        async move { client.drain().await }
    });
    eventually("it refuses", || line("late").is_finished()).await;
    closed(line("late")).await;
    assert!(!drain.is_finished() && !running.is_finished());
    scratch.release();
    (&mut drain).await.unwrap();
    assert!(running.is_finished() && queued.is_finished());
    running.await.unwrap();
    queued.await.unwrap();
    assert_eq!(scratch.notes("lines"), ["detached", "queued"]);
}

async fn drain_can_be_left_and_stays(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), client.drain()).await;
    assert!(early.is_err(), "a task runs");
    closed(client.submit(nothing, ())).await;
    scratch.release();
    running.await.unwrap();
}

async fn drain_of_an_idle_client_is_over_at_once(engine: Engine) {
    let client = engine.client("workers=1").await;
    client.submit(nothing, ()).await.unwrap();
    client.drain().await;
    closed(client.submit(nothing, ())).await;
}

async fn futures_outlive_the_client(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    let queued = client.submit(write, (scratch.path(), "queued".into()));
    scratch.started(1).await;
    drop(client);
    scratch.release();
    running.await.unwrap();
    queued.await.unwrap();
}

async fn detached_tasks_outlive_all_handles(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    client.submit(hold, scratch.path()).detach();
    client.submit(write, (scratch.path(), "done".into())).detach();
    scratch.started(1).await;
    drop(client);
    scratch.release();
    eventually("it is done", || scratch.notes("lines") == ["done"]).await;
}

async fn futures_end_with_the_clients_runtime(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running, queued) = {
        let path = scratch.path();
        let start = move || {
            let own = runtime();
            let client: Client = own.block_on(engine.client("workers=1"));
            let running = client.submit(hold, path);
            let queued = client.submit(same, 1);
            (own, client, running, queued)
        };
        let (own, client, running, queued) = tokio::task::spawn_blocking(start).await.unwrap();
        scratch.started(1).await;
        own.shutdown_background();
        (client, running, queued)
    };
    if engine.promises(Promise::EndsWithItsRuntime) {
        let blocking = std::thread::spawn(|| running.wait());
        closed(queued).await;
        let error = blocking.join().unwrap().unwrap_err();
        assert!(error.is_closed(), "{error}");
        closed(client.submit(nothing, ())).await;
    } else {
        scratch.release();
        running.await.unwrap();
        assert_eq!(queued.await.unwrap(), 1);
    }
}

async fn a_closed_client_is_never_ready(engine: Engine) {
    let client = engine.client("workers=1&window=1&queue_tasks=0").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let ready = tokio::spawn({
        let client = client.clone();
        async move { client.ready().await }
    });
    let shutdown = tokio::spawn({
        let client = client.clone();
        async move { client.shutdown().await }
    });
    assert!(ready.await.unwrap().unwrap_err().is_closed());
    closed(running).await;
    scratch.release();
    shutdown.await.unwrap();
    assert!(client.ready().await.unwrap_err().is_closed());
}

//! Affinity: a session's tasks prefer the worker that had it last.

use std::time::Duration;

use outboard::{Client, gather};

use super::{Engine, Promise, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, same};

on_every_engine!(
    a_session_keeps_its_worker,
    a_session_does_not_wait_for_a_worker_that_is_busy_for_longer,
    results_are_right_whatever_the_session_is,
);

/// A client whose workers are known by their numbers, where the engine heeds sessions.
async fn client(engine: Engine) -> Option<Client> {
    let client = engine.client("workers=3&tenant_reserve=0").await;
    // A cluster places tasks itself.
    engine.promises(Promise::OwnsItsWorkers).then_some(client)
}

/// Has each session run at once; gives the number of each one's worker.
async fn workers(client: &Client, sessions: &[&str]) -> Vec<usize> {
    let scratch = Scratch::new();
    let tasks = sessions.iter().map(|session| {
        let client = client.affinity(session).affinity_wait(Duration::ZERO);
        client.submit(hold, scratch.path()).with_report()
    });
    let tasks: Vec<_> = tasks.collect();
    scratch.started(sessions.len()).await;
    scratch.release();
    let mut workers = Vec::new();
    for task in tasks {
        workers.push(task.await.unwrap().1.worker);
    }
    workers
}

async fn a_session_keeps_its_worker(engine: Engine) {
    let Some(client) = client(engine).await else { return };
    let [a, b, c] = workers(&client, &["a", "b", "c"]).await.try_into().unwrap();
    for _ in 0..3 {
        assert_eq!(workers(&client, &["c"]).await, [c]);
        assert_eq!(workers(&client, &["b", "a"]).await, [b, a]);
        // On a busy machine its worker may take its time: another one would have the session.
        let session = client.affinity("b").affinity_wait(Duration::from_secs(3_600));
        let mapped = session.map(same, 0..3).gather().await.unwrap();
        assert_eq!(mapped, [0, 1, 2]);
    }
    let other = client.tenant("other");
    let of_other = workers(&other, &["c", "b", "a"]).await;
    assert_eq!(workers(&other, &["a"]).await, of_other[2..]);
    assert_eq!(workers(&client, &["a"]).await, [a], "sessions are of their tenants");
}

async fn a_session_does_not_wait_for_a_worker_that_is_busy_for_longer(engine: Engine) {
    let Some(client) = client(engine).await else { return };
    let (session, scratch) = (client.affinity("a"), Scratch::new());
    let held = session.submit(hold, scratch.path());
    scratch.started(1).await;
    // As long as it waits, it may be that nothing else happens.
    let report = session.submit(same, 7).with_report().await.unwrap().1;
    scratch.release();
    let before = held.with_report().await.unwrap().1;
    assert_ne!(report.worker, before.worker);
    let patient = session.affinity_wait(Duration::from_secs(3_600));
    assert_eq!(patient.submit(same, 8).with_report().await.unwrap().1.worker, report.worker);
}

async fn results_are_right_whatever_the_session_is(engine: Engine) {
    let client = engine.client("workers=2").await;
    let tasks = (0..200_u64).map(|n| {
        let client = client.affinity(n % 7).tenant(n % 3);
        client.affinity_wait(Duration::from_millis(n % 4)).submit(same, n)
    });
    assert_eq!(gather(tasks).await.unwrap(), (0..200).collect::<Vec<_>>());
    client.drain().await;
}

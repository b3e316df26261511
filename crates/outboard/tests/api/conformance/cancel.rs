//! 2: a task whose future is dropped never starts if it has not; if it runs,
//! its CPU is freed.

use outboard::{ErrorKind, Status};

use super::{Engine, Promise, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, next, same, spin, write};

on_every_engine! {
    a_queued_task_whose_future_is_dropped_never_starts,
    dropping_the_future_of_a_running_task_frees_its_worker,
    dropping_one_future_leaves_the_others_alone,
    cancel_ends_a_running_task,
    cancel_after_the_end_changes_nothing,
    a_storm_of_drops_leaves_a_client_that_works,
    cancel_ends_a_queued_task,
}

async fn a_queued_task_whose_future_is_dropped_never_starts(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (running, scratch) = (Scratch::new(), Scratch::new());
    let first = client.submit(hold, running.path());
    running.started(1).await;
    let line = |text: &str| client.submit(write, (scratch.path(), text.into()));
    let (kept, dropped, last) = (line("kept"), line("dropped"), line("last"));
    drop(dropped);
    running.release();
    first.await.unwrap();
    kept.await.unwrap();
    last.await.unwrap();
    assert_eq!(scratch.notes("lines"), ["kept", "last"]);
    assert_eq!(client.admin().snapshot().cancelled, 1);
}

async fn dropping_the_future_of_a_running_task_frees_its_worker(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (busy, scratch) = (Scratch::new(), Scratch::new());
    let running = client.submit(spin, busy.path());
    busy.started(1).await;
    let next = client.submit(write, (scratch.path(), "next".into()));
    drop(running);
    if engine.promises(Promise::StopsWhatRuns) {
        next.await.unwrap();
        let ticks = busy.notes("ticks").len();
        client.submit(write, (scratch.path(), "and one more".into())).await.unwrap();
        assert_eq!(busy.notes("ticks").len(), ticks, "it goes on");
    } else {
        let ticks = busy.notes("ticks").len();
        eventually("it goes on", || busy.notes("ticks").len() > ticks).await;
        assert_eq!(next.status(), Status::Queued);
        busy.release();
        next.await.unwrap();
    }
}

async fn dropping_one_future_leaves_the_others_alone(engine: Engine) {
    let client = engine.client("workers=2").await;
    let (one, other, scratch) = (Scratch::new(), Scratch::new(), Scratch::new());
    let (dropped, kept) = (client.submit(hold, one.path()), client.submit(hold, other.path()));
    one.started(1).await;
    other.started(1).await;
    let queued = client.submit(write, (scratch.path(), "queued".into()));
    drop(dropped);
    one.release();
    queued.await.unwrap();
    other.release();
    let (_, report) = kept.with_report().await.unwrap();
    assert_eq!((report.attempt, other.starts()), (1, 1));
}

async fn cancel_ends_a_queued_task(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (running, scratch) = (Scratch::new(), Scratch::new());
    let first = client.submit(hold, running.path());
    running.started(1).await;
    let queued = client.submit(write, (scratch.path(), "never".into()));
    queued.cancel();
    assert!(queued.is_finished());
    assert_eq!(queued.await.unwrap_err().kind(), ErrorKind::Cancelled);
    running.release();
    first.await.unwrap();
    client.drain().await;
    assert!(scratch.notes("lines").is_empty());
}

async fn cancel_ends_a_running_task(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    running.cancel();
    running.cancel();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!(client.admin().snapshot().cancelled, 1);
}

async fn cancel_after_the_end_changes_nothing(engine: Engine) {
    let client = engine.client("workers=1").await;
    let future = client.submit(next, 1);
    eventually("it ends", || future.is_finished()).await;
    future.cancel();
    assert_eq!(future.await.unwrap(), 2);
    assert_eq!(client.admin().snapshot().cancelled, 0);
}

async fn a_storm_of_drops_leaves_a_client_that_works(engine: Engine) {
    let client = engine.client("workers=2").await;
    for round in 0..10_u64 {
        let futures: Vec<_> = (0..1_000).map(|n| client.submit(same, n)).collect();
        let kept = client.submit(next, round);
        // From the back, from the front, and some that have ended by then.
        let (front, back) = futures.into_iter().partition::<Vec<_>, _>(|f| f.is_finished());
        back.into_iter().rev().for_each(drop);
        drop(front);
        assert_eq!(kept.await.unwrap(), round + 1);
    }
    client.drain().await;
    let snapshot = client.admin().snapshot();
    assert_eq!((snapshot.queued, snapshot.running), (0, 0));
    assert_eq!(snapshot.submitted, 10_010);
    assert_eq!(snapshot.done + snapshot.cancelled, snapshot.submitted);
}

//! What options and ends mean on a cluster: cancel, timeout, priority, bounds,
//! functions that nobody has.

use std::path::PathBuf;
use std::time::Duration;

use outboard::dask::python;
use outboard::error::Stage;
use outboard::{Client, ErrorKind};

use super::{Release, on_every_release};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::pid;

on_every_release!(
    a_dropped_future_never_starts_if_it_has_not,
    a_cancelled_task_makes_room_for_the_next,
    a_timeout_ends_a_task_that_runs,
    priorities_are_the_clusters_too,
    functions_that_nobody_has_are_refused,
    a_result_above_the_bound_is_refused,
    an_exception_is_retried_if_that_was_asked,
    the_snapshot_shows_the_cluster,
);

/// Holds its worker until the directory is released.
fn hold() -> outboard::dask::PythonFunction<(PathBuf,), u32> {
    python("only_workers:hold")
}

/// Notes a line in the directory.
fn note() -> outboard::dask::PythonFunction<(PathBuf, String), ()> {
    python("only_workers:note")
}

async fn a_dropped_future_never_starts_if_it_has_not(release: Release) {
    let cluster = release.cluster(1).await;
    let client = cluster.client().await;
    let (first, second) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold(), first.path());
    first.started(1).await;
    let waiting = client.submit(hold(), second.path());
    cluster.has_ready(1).await;
    drop(waiting);
    cluster.has_ready(0).await;
    first.release();
    running.await.unwrap();
    client.submit(note(), (first.path(), "x".into())).await.unwrap();
    assert_eq!(second.starts(), 0);
    client.shutdown().await;
}

async fn a_cancelled_task_makes_room_for_the_next(release: Release) {
    let cluster = release.cluster(2).await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let running = client.submit(hold(), scratch.path());
    scratch.started(1).await;
    running.cancel();
    assert_eq!(running.await.unwrap_err().kind(), ErrorKind::Cancelled);
    eventually("nothing is owed", || client.admin().snapshot().running == 0).await;
    // The function goes on where it runs, as Dask cannot stop it, so others may
    // have to wait for it.
    scratch.release();
    assert!(client.submit(python::<(), u32>("os:getpid"), ()).await.unwrap() > 0);
    client.shutdown().await;
}

async fn a_timeout_ends_a_task_that_runs(release: Release) {
    let cluster = release.cluster(1).await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let running = client.timeout(Duration::from_secs(3)).submit(hold(), scratch.path());
    let error = running.await.unwrap_err();
    assert_eq!(error.timed_out_in(), Some(Stage::Running), "{error}");
    scratch.release();
    client.shutdown().await;
}

async fn priorities_are_the_clusters_too(release: Release) {
    let cluster = release.cluster(1).await;
    let client = cluster.client().await;
    let (scratch, notes) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold(), scratch.path());
    scratch.started(1).await;
    let low = client.submit(note(), (notes.path(), "low".into()));
    cluster.has_ready(1).await;
    let high = client.priority(5).submit(note(), (notes.path(), "high".into()));
    cluster.has_ready(2).await;
    scratch.release();
    running.await.unwrap();
    low.await.unwrap();
    high.await.unwrap();
    assert_eq!(notes.notes("lines"), ["high", "low"]);
    client.shutdown().await;
}

async fn functions_that_nobody_has_are_refused(release: Release) {
    let cluster = release.shared().await;
    let client = cluster.client().await;
    let error = client.submit(|x: u64| x + 1, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask);
    assert!(error.to_string().contains("mark it with #[task]"), "{error}");
    let error = client.submit(pid, ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask, "{error}");
    let error = client.submit(python::<(), ()>("no module"), ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask, "{error}");
    for url in ["inline://", "local://?workers=1&spares=0"] {
        let other = Client::connect(url).await.unwrap();
        let error = other.submit(python::<(), u32>("os:getpid"), ()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownTask, "{error}");
        other.shutdown().await;
    }
    client.shutdown().await;
}

async fn a_result_above_the_bound_is_refused(release: Release) {
    let cluster = release.shared().await;
    let url = format!("{}?max_payload=1000", cluster.url());
    let client = Client::connect(&url).await.unwrap();
    let large = python::<(usize,), serde_bytes::ByteBuf>("only_workers:large");
    for size in [2_000, 40_000_000] {
        let error = client.submit(large, size).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    }
    assert_eq!(client.submit(large, 100).await.unwrap().len(), 100);
    client.shutdown().await;
}

async fn an_exception_is_retried_if_that_was_asked(release: Release) {
    let cluster = release.shared().await;
    let client = cluster.client().await;
    let fails_before = python::<(PathBuf, usize), usize>("only_workers:fails_before");
    let scratch = Scratch::new();
    let error = client.submit(fails_before, (scratch.path(), 2)).await.unwrap_err();
    assert_eq!((error.kind(), scratch.starts()), (ErrorKind::Raised, 1));
    let scratch = Scratch::new();
    let retried = client.retries(2).submit(fails_before, (scratch.path(), 2));
    let (starts, report) = retried.with_report().await.unwrap();
    assert_eq!((starts, report.attempt), (3, 3));
    client.shutdown().await;
}

async fn the_snapshot_shows_the_cluster(release: Release) {
    let cluster = release.shared().await;
    let client = cluster.client().await;
    let snapshot = client.admin().snapshot();
    assert_eq!((snapshot.engine, snapshot.workers), ("dask", 2));
    assert_eq!(snapshot.per_worker.len(), 2);
    assert!(snapshot.per_worker.iter().all(|worker| worker.memory_bytes > Some(1 << 20)));
    assert!(client.admin().scale(1).unwrap_err().is_unavailable());
    assert_eq!(client.admin().snapshot().workers, 2, "a cluster has the workers that it has");
    client.shutdown().await;
}

//! What happens to worker processes is told: they come up, serve, crash, are
//! killed and replaced.

use std::time::Duration;

use outboard::Client;
use outboard::admin::{EventKind, ExitReason, RecycleReason, Restarts};
use outboard::error::Cause;

use super::client;
use crate::support::scratch::Scratch;
use crate::support::tasks::{aborts_before, hold, pid};
use crate::support::{eventually, run};

/// Follows what happens until there is such an event, and gives it.
async fn found<T>(watch: &mut outboard::admin::Watch, find: impl Fn(&EventKind) -> Option<T>) -> T {
    loop {
        let batch = watch.next().await.expect("the engine lives");
        let found = batch.iter().find_map(|event| find(&event.kind));
        if let Some(found) = found {
            return found;
        }
    }
}

fn restarts(client: &Client) -> Restarts {
    client.admin().snapshot().restarts
}

#[test]
fn a_crash_is_told_with_its_report_and_stays_in_the_snapshot() {
    run(async {
        let client = client(1).await;
        let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
        let future = client.submit(aborts_before, (scratch.path(), 1));
        let id = future.id();
        let error = future.await.unwrap_err();
        let report = found(&mut watch, |kind| match kind {
            EventKind::WorkerLost { report, .. } => Some(report.clone()),
            _ => None,
        })
        .await;
        let lost = error.worker_loss().unwrap();
        assert_eq!((report.pid, report.cause), (lost.pid, Some(Cause::Signal(6))));
        let now = client.admin().snapshot();
        assert_eq!((now.restarts.lost, now.restarts.all()), (1, 1));
        assert_eq!(now.crashes.len(), 1);
        assert_eq!(*now.crashes[0].loss, *lost, "the report has the task that it had");
        assert!(now.crashes[0].at <= now.uptime);
        let figures = &now.per_function.iter().find(|row| row.figures.lost > 0).unwrap().figures;
        assert_eq!((figures.failed, figures.panicked), (1, 0));
        let story = client.admin().story(id.unwrap()).expect("a watch is there");
        let names: Vec<_> = story.events.iter().map(|event| event.kind.name()).collect();
        assert_eq!(names, ["taken", "started", "worker lost", "ended"]);
    });
}

#[test]
fn a_retry_after_a_crash_is_one_story() {
    run(async {
        let client = client(1).await;
        client.admin().record(1_000);
        let scratch = Scratch::new();
        let future = client.retries(1).submit(aborts_before, (scratch.path(), 1));
        let id = future.id().unwrap();
        assert_eq!(future.await.unwrap(), 2);
        let story = client.admin().story(id).unwrap();
        let names: Vec<_> = story.events.iter().map(|event| event.kind.name()).collect();
        assert_eq!(names, ["taken", "started", "worker lost", "retried", "started", "ended"]);
        assert!(story.to_string().contains("killed by SIGABRT"), "{story}");
    });
}

#[test]
fn a_kill_is_told_with_its_task_and_the_worker_leaves() {
    run(async {
        let client = client(1).await;
        let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
        let future = client.submit(hold, scratch.path());
        let id = future.id();
        scratch.started(1).await;
        drop(future);
        let killed = found(&mut watch, |kind| match kind {
            EventKind::WorkerKilled { task, .. } => Some(*task),
            _ => None,
        });
        assert_eq!(Some(killed.await), id);
        eventually("it has left", || restarts(&client).killed == 1).await;
        assert_eq!(restarts(&client).all(), 1);
        assert!(client.admin().snapshot().crashes.is_empty(), "nobody crashed");
        client.submit(pid, ()).await.unwrap();
    });
}

#[test]
fn a_worker_is_recycled_by_its_number_and_another_takes_its_place() {
    run(async {
        let client = client(1).await;
        let before = client.submit(pid, ()).await.unwrap();
        let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
        let serving =
            client.admin().snapshot().per_worker.iter().find(|w| !w.standby).unwrap().number;
        assert!(!client.admin().recycle(99), "there is none");
        let held = client.submit(hold, scratch.path());
        scratch.started(1).await;
        assert!(client.admin().recycle(serving));
        let worn = found(&mut watch, |kind| match kind {
            EventKind::WorkerWorn { worker, why, .. } => Some((*worker, *why)),
            _ => None,
        });
        assert_eq!(worn.await, (serving, RecycleReason::Asked));
        assert_ne!(client.submit(pid, ()).await.unwrap(), before, "another one serves meanwhile");
        scratch.release();
        assert_eq!(held.await.unwrap(), before, "what it ran is finished");
        let left = found(&mut watch, |kind| match kind {
            EventKind::WorkerLeft { pid, why, .. } => Some((*pid, *why)),
            _ => None,
        });
        assert_eq!(left.await, (before, ExitReason::Recycled));
        assert_eq!(restarts(&client).recycled, 1);
    });
}

#[test]
fn a_snapshot_measures_workers_processes() {
    run(async {
        let client = client(1).await;
        let burn = |time: Duration| {
            let start = std::time::Instant::now();
            while start.elapsed() < time {}
        };
        let cpu_time = || {
            let now = client.admin().snapshot();
            now.per_worker.iter().map(|worker| worker.cpu_time.unwrap()).max().unwrap()
        };
        while cpu_time() < Duration::from_millis(50) {
            client.submit(burn, Duration::from_millis(20)).await.unwrap();
        }
        let worker = client.admin().snapshot().per_worker.swap_remove(0);
        assert!(worker.memory_bytes.unwrap() > 100_000, "{worker:?}");
    });
}

//! 2, 3: a task is asked to stop before it is stopped, and knows its deadline.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Engine, Promise, named, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::{Scratch, is_held, note, start};
use crate::support::tasks::{hold, pid};

on_every_engine! {
    a_task_that_asks_ends_in_time_without_a_grace,
    a_task_knows_its_deadline,
    a_task_that_asks_can_tidy_up_and_its_worker_lives_on,
    a_task_that_goes_on_beyond_its_grace_is_killed,
    a_future_ends_at_once_whatever_the_grace,
    a_shared_task_has_the_most_patient_deadline,
    nobody_is_cancelled_after_the_end,
}

/// Works until nobody wants it any more, and tidies up for so long.
#[outboard::task]
fn tidy(at: PathBuf, tidying: Duration) {
    start(&at);
    while is_held(&at) && !outboard::cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(tidying);
    note(&at, "tidied", &std::process::id().to_string());
}

/// How much of its time a task has left, in milliseconds.
#[outboard::task]
fn left() -> Option<u128> {
    let left = outboard::deadline()?.saturating_duration_since(Instant::now());
    Some(left.as_millis())
}

async fn a_task_that_asks_can_tidy_up_and_its_worker_lives_on(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let patient = client.grace(Duration::from_secs(60));
    let before = client.submit(pid, ()).await.unwrap();
    for timeout in [None, Some(Duration::from_millis(200))] {
        let scratch = Scratch::new();
        let client = timeout.map_or_else(|| patient.clone(), |timeout| patient.timeout(timeout));
        let future = client.submit(tidy, (scratch.path(), Duration::from_millis(20)));
        scratch.started(1).await;
        match timeout {
            None => drop(future),
            Some(_) => assert!(future.await.unwrap_err().is_timed_out()),
        }
        let client = &patient;
        assert_eq!(client.submit(pid, ()).await.unwrap(), before, "the same worker goes on");
        assert_eq!(scratch.notes("tidied"), [before.to_string()]);
    }
}

async fn a_task_that_asks_ends_in_time_without_a_grace(engine: Engine) {
    let client = engine.client("workers=1").await;
    // Whether it comes to it within 2 ms is the machine's matter: some do.
    for _ in 0..100 {
        let scratch = Scratch::new();
        let future = client.submit(tidy, (scratch.path(), Duration::ZERO));
        scratch.started(1).await;
        drop(future);
        client.submit(pid, ()).await.unwrap();
        if !scratch.notes("tidied").is_empty() {
            return;
        }
    }
    panic!("none of them had its two milliseconds");
}

async fn a_task_that_goes_on_beyond_its_grace_is_killed(engine: Engine) {
    let client = engine.client("workers=1&window=1").await.grace(Duration::from_millis(200));
    let scratch = Scratch::new();
    let future = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let dropped = Instant::now();
    drop(future);
    if engine.promises(Promise::StopsWhatRuns) {
        let (after, report) = client.submit(pid, ()).with_report().await.unwrap();
        assert_ne!(after, scratch.pid());
        assert!(dropped.elapsed() >= Duration::from_millis(200), "it had its grace");
        assert_eq!(report.attempt, 1);
    } else {
        scratch.release();
        client.submit(pid, ()).await.unwrap();
    }
}

async fn a_future_ends_at_once_whatever_the_grace(engine: Engine) {
    let client = engine.client("workers=1&window=1").await.grace(Duration::from_secs(1000));
    let scratch = Scratch::new();
    let future = client.timeout(Duration::from_millis(20)).submit(hold, scratch.path());
    assert!(future.await.unwrap_err().is_timed_out());
    let future = client.submit(pid, ());
    if engine.promises(Promise::KnowsProcesses) {
        let waits = || client.admin().snapshot().queued == 1;
        eventually("it waits behind the one that goes on", waits).await;
    }
    assert!(!future.is_finished());
    future.cancel();
    assert!(future.await.unwrap_err().is_cancelled());
    scratch.release();
}

async fn a_task_knows_its_deadline(engine: Engine) {
    let client = engine.client("workers=1").await;
    assert_eq!(client.submit(left, ()).await.unwrap(), None);
    let left = client.timeout(Duration::from_secs(100)).submit(left, ()).await.unwrap();
    let left = left.expect("it has a deadline");
    assert!((1..=100_000).contains(&left), "{left} ms");
    assert_eq!(outboard::deadline(), None);
}

async fn a_shared_task_has_the_most_patient_deadline(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let shared = client.key("shared");
    let submit = |timeout| shared.timeout(Duration::from_secs(timeout)).submit(left, ());
    let held = Scratch::new();
    let running = client.submit(hold, held.path());
    held.started(1).await;
    let (short, long) = (submit(1000), submit(100_000));
    held.release();
    running.await.unwrap();
    let left = short.await.unwrap();
    assert_eq!(long.await.unwrap(), left);
    if engine.promises(Promise::TellsSharedDeadlines) {
        assert!(left.expect("both have a timeout") > 1_000_000, "{left:?} ms");
    } else {
        assert_eq!(left, None);
    }
    let held = Scratch::new();
    let running = client.submit(hold, held.path());
    held.started(1).await;
    let (short, endless) = (submit(1000), shared.submit(self::left, ()));
    held.release();
    running.await.unwrap();
    assert_eq!((short.await.unwrap(), endless.await.unwrap()), (None, None));
}

async fn nobody_is_cancelled_after_the_end(engine: Engine) {
    let client = engine.client("workers=1&window=1").await.grace(Duration::from_secs(60));
    let scratch = Scratch::new();
    let future = client.submit(tidy, (scratch.path(), Duration::ZERO));
    scratch.started(1).await;
    drop(future);
    let cancelled = named!("contract.38", || -> bool { outboard::cancelled() });
    assert!(!client.submit(cancelled, ()).await.unwrap(), "that was another task");
}

//! Batches in worker processes: limits, stopped workers, what a call asks of itself.

use std::path::PathBuf;
use std::time::Duration;

use outboard::Client;
use rustix::process::Signal;

use super::limits::fill;
use super::{client, workers};
use crate::support::scratch::{Scratch, note, start};
use crate::support::{eventually, run};

/// A limit that leaves a worker room, also one of a debug build.
const LIMIT: u64 = 128 << 20;

/// Fills so much memory for each.
#[outboard::task(name = "batches::fills", batch(max = 3, wait = "3600s"))]
fn fills(items: Vec<u64>) -> Vec<u64> {
    items.into_iter().map(fill).collect()
}

#[test]
fn who_wants_too_much_memory_fails_alone() {
    run(async {
        let client = Client::local().workers(2).memory_limit(LIMIT).await.unwrap();
        let small = [1, 2].map(|mebibytes| client.batched(fills, mebibytes << 20));
        let error = client.batched(fills, 4 * LIMIT).await.unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
        assert_eq!(outboard::gather(small).await.unwrap(), [1, 2]);
        let now = client.admin().snapshot();
        assert_eq!((now.failed, now.done), (1, 2));
    });
}

/// Sleeps for longer than a worker may that owes a step, and does nothing.
#[outboard::task(name = "batches::sleeps", batch(max = 2, wait = "3600s"))]
fn sleeps(items: Vec<PathBuf>) -> Vec<usize> {
    items.iter().for_each(|at| start(at));
    std::thread::sleep(Duration::from_millis(2_500));
    vec![items.len(); items.len()]
}

#[test]
fn a_batch_without_its_first_is_not_taken_for_a_worker_that_does_nothing() {
    run(async {
        let client = client(1).await;
        let (first, second) = (Scratch::new(), Scratch::new());
        let worker = workers(&client).remove(0);
        worker.signal(Signal::STOP);
        eventually("it is stopped", || worker.is_stopped()).await;
        let leaves = client.batched(sleeps, first.path());
        let stays = client.batched(sleeps, second.path());
        drop(leaves);
        worker.signal(Signal::CONT);
        let (size, report) = stays.with_report().await.unwrap();
        assert_eq!((size, report.attempt, report.batch), (1, 1, 1));
        assert_eq!(first.starts(), 0, "it was taken back");
    });
}

/// Ends when nobody wants it, and says so.
#[outboard::task(name = "batches::listens", batch(max = 2, wait = "3600s"))]
fn listens(items: Vec<PathBuf>) -> Vec<bool> {
    items.iter().for_each(|at| start(at));
    while !outboard::cancelled() {
        if items.iter().any(|at| at.join("asked").exists()) {
            items.iter().for_each(|at| note(at, "wanted", ""));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    items.iter().for_each(|at| note(at, "cancelled", ""));
    vec![outboard::deadline().is_some(); items.len()]
}

#[test]
fn a_call_is_cancelled_when_all_have_left() {
    run(async {
        let client = client(1).await.grace(Duration::from_secs(60));
        let (one, other) = (Scratch::new(), Scratch::new());
        let first = client.batched(listens, one.path());
        let second = client.timeout(Duration::from_secs(3600)).batched(listens, other.path());
        other.started(1).await;
        drop(first);
        note(&other.path(), "asked", "");
        eventually("it is wanted", || other.notes("wanted").len() >= 3).await;
        assert_eq!(other.notes("cancelled").len(), 0);
        drop(second);
        eventually("it is told", || one.notes("cancelled").len() == 1).await;
        assert_eq!(client.submit(|| 7, ()).await.unwrap(), 7);
        assert_eq!(client.admin().snapshot().restarts.killed, 0, "it ended by itself");
    });
}

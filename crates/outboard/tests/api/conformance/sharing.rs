//! Coalescing: equal calls in flight share one execution, if asked.

use std::path::PathBuf;
use std::time::Duration;

use outboard::{Client, TaskFuture, gather};

use super::{Engine, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::{Scratch, is_held, start};
use crate::support::tasks::{double, hold, next, same, write};

on_every_engine! {
    equal_pure_calls_are_executed_once,
    different_arguments_are_executed_each,
    without_asking_nothing_is_shared,
    tenants_share_nothing,
    after_the_end_a_call_is_executed_again,
    an_error_is_shared_too,
    a_timeout_ends_its_own_waiter_only,
    a_cancel_ends_its_own_waiter_only,
    a_shared_task_has_the_most_retries_of_its_waiters,
    a_key_replaces_the_arguments_but_not_the_function,
    a_shared_task_has_the_highest_priority_of_its_waiters,
    the_last_waiter_that_leaves_cancels,
    sharing_takes_no_room_in_the_queue,
}

/// As `hold`, and the same for the same arguments.
#[outboard::task(pure)]
fn pure_hold(at: PathBuf, value: u64) -> u64 {
    start(&at);
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    value
}

#[outboard::task(pure)]
fn pure_panic(at: PathBuf) {
    start(&at);
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("shared by all");
}

#[outboard::task(pure)]
fn pure_write(at: PathBuf, line: String) {
    write(at, line);
}

/// One worker, busy until the scratch is released.
async fn busy(engine: Engine, scratch: &Scratch) -> (Client, TaskFuture<u32>) {
    let client = engine.client("workers=1&window=1").await;
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    (client, running)
}

async fn equal_pure_calls_are_executed_once(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scratch = Scratch::new();
    let submit = || client.submit(pure_hold, (scratch.path(), 7));
    let early: Vec<_> = (0..50).map(|_| submit()).collect();
    scratch.started(1).await;
    let late: Vec<_> = (0..50).map(|_| submit()).collect();
    scratch.release();
    assert_eq!(gather(early).await.unwrap(), [7; 50]);
    assert_eq!(gather(late).await.unwrap(), [7; 50]);
    assert_eq!(scratch.starts(), 1);
    let snapshot = client.admin().snapshot();
    assert_eq!((snapshot.submitted, snapshot.coalesced, snapshot.done), (1, 99, 1));
}

async fn different_arguments_are_executed_each(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scratch = Scratch::new();
    let futures: Vec<_> = (0..10).map(|n| client.submit(pure_hold, (scratch.path(), n))).collect();
    scratch.release();
    assert_eq!(gather(futures).await.unwrap(), (0..10).collect::<Vec<_>>());
    assert_eq!(scratch.starts(), 10);
}

async fn without_asking_nothing_is_shared(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scratch = Scratch::new();
    let futures: Vec<_> = (0..10).map(|_| client.submit(hold, scratch.path())).collect();
    scratch.release();
    gather(futures).await.unwrap();
    assert_eq!((scratch.starts(), client.admin().snapshot().coalesced), (10, 0));
}

async fn a_key_replaces_the_arguments_but_not_the_function(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, &scratch).await;
    let keyed = client.key("the same");
    let (first, second) = (keyed.submit(same, 1), keyed.submit(next, 2));
    let (third, fourth) = (keyed.submit(double, 3), keyed.submit(double, 4));
    let other = client.key("another").submit(double, 5);
    scratch.release();
    running.await.unwrap();
    // Two functions are two tasks.
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 3));
    assert_eq!((third.await.unwrap(), fourth.await.unwrap()), (6, 6));
    assert_eq!(other.await.unwrap(), 10);
}

async fn tenants_share_nothing(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, &scratch).await;
    let notes = Scratch::new();
    let submit = |client: &Client| client.submit(pure_write, (notes.path(), "line".into()));
    let [alice, bob] = ["alice", "bob"].map(|name| client.tenant(name));
    let futures = [submit(&client), submit(&alice), submit(&alice), submit(&bob)];
    scratch.release();
    running.await.unwrap();
    gather(futures).await.unwrap();
    assert_eq!(notes.notes("lines").len(), 3, "once for nobody, once for each tenant");
}

async fn after_the_end_a_call_is_executed_again(engine: Engine) {
    let client = engine.client("workers=1").await;
    let notes = Scratch::new();
    for _ in 0..3 {
        client.submit(pure_write, (notes.path(), "line".into())).await.unwrap();
    }
    assert_eq!(notes.notes("lines").len(), 3);
}

async fn an_error_is_shared_too(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let futures: Vec<_> = (0..5).map(|_| client.submit(pure_panic, scratch.path())).collect();
    scratch.release();
    for future in futures {
        assert_eq!(future.await.unwrap_err().panic().unwrap().message, "shared by all");
    }
    assert_eq!((scratch.starts(), client.admin().snapshot().failed), (1, 1));
}

async fn a_timeout_ends_its_own_waiter_only(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let patient = client.submit(pure_hold, (scratch.path(), 7));
    scratch.started(1).await;
    let hasty = client.timeout(Duration::from_millis(20));
    let error = hasty.submit(pure_hold, (scratch.path(), 7)).await.unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    assert!(!patient.is_finished());
    scratch.release();
    assert_eq!(patient.await.unwrap(), 7);
    assert_eq!(scratch.starts(), 1);
}

async fn a_cancel_ends_its_own_waiter_only(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let submit = || client.submit(pure_hold, (scratch.path(), 7));
    let (first, second, third) = (submit(), submit(), submit());
    scratch.started(1).await;
    first.cancel();
    drop(second);
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(!third.is_finished());
    scratch.release();
    assert_eq!(third.await.unwrap(), 7);
    assert_eq!(scratch.starts(), 1);
}

async fn the_last_waiter_that_leaves_cancels(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, &scratch).await;
    let notes = Scratch::new();
    let submit = || client.submit(pure_write, (notes.path(), "never".into()));
    let hasty = client.timeout(Duration::from_millis(20));
    let third = hasty.submit(pure_write, (notes.path(), "never".into()));
    let (first, second) = (submit(), submit());
    drop(first);
    second.cancel();
    assert_eq!(client.admin().snapshot().queued, 1, "the third still waits");
    assert!(third.await.unwrap_err().is_timed_out());
    assert_eq!(client.admin().snapshot().queued, 0);
    scratch.release();
    running.await.unwrap();
    client.drain().await;
    assert!(notes.notes("lines").is_empty());
}

async fn a_shared_task_has_the_highest_priority_of_its_waiters(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, &scratch).await;
    let notes = Scratch::new();
    let submit = |priority, line: &str| {
        client.priority(priority).submit(pure_write, (notes.path(), line.into()))
    };
    let low = submit(-1, "shared");
    let futures = [submit(0, "middle"), submit(5, "shared"), submit(-9, "shared")];
    scratch.release();
    running.await.unwrap();
    low.await.unwrap();
    gather(futures).await.unwrap();
    assert_eq!(notes.notes("lines"), ["shared", "middle"]);
}

async fn a_shared_task_has_the_most_retries_of_its_waiters(engine: Engine) {
    let scratch = Scratch::new();
    let (client, running) = busy(engine, &scratch).await;
    let starts = Scratch::new();
    starts.release();
    let (none, three) = (client.retries(0), client.retries(3));
    let futures = [none, three].map(|client| client.submit(pure_panic, starts.path()));
    scratch.release();
    running.await.unwrap();
    for future in futures {
        assert!(future.await.unwrap_err().is_panicked());
    }
    assert_eq!(starts.starts(), 4);
}

async fn sharing_takes_no_room_in_the_queue(engine: Engine) {
    let client = engine.client("workers=1&window=1&queue_tasks=1").await;
    let (scratch, notes) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let submit = |line: &str| client.submit(pure_write, (notes.path(), line.into()));
    let shared: Vec<_> = (0..10).map(|_| submit("line")).collect();
    assert!(submit("another").await.unwrap_err().is_overloaded());
    scratch.release();
    running.await.unwrap();
    gather(shared).await.unwrap();
    eventually("all has ended", || client.admin().snapshot().running == 0).await;
    assert_eq!(notes.notes("lines"), ["line"]);
}

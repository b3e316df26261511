//! gather, as_completed, wait: several futures at once.

use std::path::PathBuf;
use std::time::Duration;

use outboard::{TaskFuture, When, as_completed, gather, wait};

use super::{Engine, named, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, one, write};

on_every_engine! {
    wait_for_the_first_gives_all_back,
    wait_with_a_timeout_ends_the_waiting_only,
    dropping_a_wait_cancels_its_tasks,
    gather_keeps_the_order,
    as_completed_gives_results_as_they_come,
    as_completed_passes_errors_on,
    dropping_as_completed_cancels_the_rest,
    wait_for_the_first_error_passes_over_results,
    wait_for_all_takes_errors_too,
    gather_ends_at_the_first_error_and_drops_the_rest,
}

async fn gather_keeps_the_order(engine: Engine) {
    let client = engine.client("workers=3").await;
    let slow_first = named!("contract.32", |n: u64| -> u64 {
        std::thread::sleep(Duration::from_millis(20_u64.saturating_sub(4 * n)));
        n
    });
    let futures = (0..20).map(|n| client.submit(slow_first, n));
    assert_eq!(gather(futures).await.unwrap(), (0..20).collect::<Vec<_>>());
    assert!(gather(Vec::<TaskFuture<u64>>::new()).await.unwrap().is_empty());
}

async fn gather_ends_at_the_first_error_and_drops_the_rest(engine: Engine) {
    let client = engine.client("workers=2&window=2").await;
    let (held, never) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold, held.path());
    held.started(1).await;
    let bad =
        client.submit(named!("contract.26", |_n: u8| -> u32 { panic!("the first error") }), 0);
    let late = (0..50).map(|_| client.submit(hold, never.path()));
    let all = [running, bad].into_iter().chain(late);
    let error = gather(all).await.unwrap_err();
    assert_eq!(error.panic().unwrap().message, "the first error");
    held.release();
    never.release();
    client.drain().await;
    assert_eq!(client.admin().snapshot().cancelled, 51);
    assert!(never.starts() <= 1, "only the one that took the free worker");
}

async fn as_completed_gives_results_as_they_come(engine: Engine) {
    let client = engine.client("workers=3").await;
    let scratches = [(); 3].map(|()| Scratch::new());
    let held = |n: usize| {
        let path = scratches[n].path();
        client.submit(
            named!("contract.27", |n: usize, at: PathBuf| -> usize { (n, hold(at)).0 }),
            (n, path),
        )
    };
    let mut stream = as_completed((0..3).map(held));
    for next in [2, 0, 1] {
        scratches[next].started(1).await;
        scratches[next].release();
        assert_eq!(stream.next().await.unwrap().unwrap(), next);
    }
    assert!(stream.next().await.is_none());
}

async fn as_completed_passes_errors_on(engine: Engine) {
    let client = engine.client("workers=2").await;
    let half = named!("contract.30", |n: u64| -> u64 {
        if n.is_multiple_of(2) { n } else { panic!("odd") }
    });
    let mut stream = as_completed((0..20).map(|n| client.submit(half, n)));
    let (mut good, mut bad) = (Vec::new(), 0);
    while let Some(result) = stream.next().await {
        match result {
            Ok(n) => good.push(n),
            Err(error) => {
                assert!(error.is_panicked(), "{error}");
                bad += 1;
            }
        }
    }
    good.sort_unstable();
    assert_eq!((good, bad), ((0..20).step_by(2).collect(), 10));
}

async fn dropping_as_completed_cancels_the_rest(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (held, scratch) = (Scratch::new(), Scratch::new());
    let first = client.submit(named!("contract.28", || -> u32 { 0 }), ());
    eventually("the first ends", || first.is_finished()).await;
    let running = client.submit(hold, held.path());
    held.started(1).await;
    let queued = client.submit(write, (scratch.path(), "never".into()));
    let mut stream = as_completed([first, running, queued]);
    assert_eq!(stream.next().await.unwrap().unwrap(), 0);
    drop(stream);
    held.release();
    client.drain().await;
    assert!(scratch.notes("lines").is_empty());
    assert_eq!(client.admin().snapshot().cancelled, 2);
}

async fn wait_for_the_first_gives_all_back(engine: Engine) {
    let client = engine.client("workers=3").await;
    let scratches = [(); 3].map(|()| Scratch::new());
    let futures = scratches.iter().map(|scratch| client.submit(hold, scratch.path()));
    let futures: Vec<_> = futures.collect();
    for scratch in &scratches {
        scratch.started(1).await;
    }
    scratches[1].release();
    let waited = wait(futures, When::FirstCompleted, None).await;
    assert_eq!((waited.done.len(), waited.pending.len()), (1, 2));
    for done in waited.done {
        done.await.unwrap();
    }
    assert!(waited.pending.iter().all(|future| !future.is_finished()));
    scratches.iter().for_each(Scratch::release);
    let waited = wait(waited.pending, When::AllCompleted, None).await;
    assert_eq!((waited.done.len(), waited.pending.len()), (2, 0));
    gather(waited.done).await.unwrap();
    assert!(scratches.iter().all(|scratch| scratch.starts() == 1));
    let none = wait(Vec::<TaskFuture<u8>>::new(), When::FirstCompleted, None).await;
    assert!(none.done.is_empty() && none.pending.is_empty());
}

async fn wait_for_the_first_error_passes_over_results(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scratch = Scratch::new();
    let quick = client.submit(one, scratch.path());
    let held = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let fails = client
        .submit(named!("contract.29", |_at: PathBuf| -> u32 { panic!("no") }), scratch.path());
    let waited = wait([quick, held, fails], When::FirstError, None).await;
    assert_eq!((waited.done.len(), waited.pending.len()), (2, 1));
    let mut done = waited.done.into_iter();
    assert_eq!(done.next().unwrap().await.unwrap(), 1);
    assert!(done.next().unwrap().await.unwrap_err().is_panicked());
    scratch.release();
    let waited = wait(waited.pending, When::FirstError, None).await;
    assert_eq!((waited.done.len(), waited.pending.len()), (1, 0), "without an error, all of them");
}

async fn wait_for_all_takes_errors_too(engine: Engine) {
    let client = engine.client("workers=2").await;
    let half = named!("contract.31", |n: u64| -> u64 {
        if n.is_multiple_of(2) { n } else { panic!("odd") }
    });
    let futures = (0..10).map(|n| client.submit(half, n));
    let waited = wait(futures, When::AllCompleted, None).await;
    assert!(waited.pending.is_empty());
    assert!(waited.done.iter().all(TaskFuture::is_finished));
    for (n, future) in (0..).zip(waited.done) {
        match future.await {
            Ok(value) => assert_eq!((value, n % 2), (n, 0), "in the order they came in"),
            Err(error) => assert!(error.is_panicked() && n % 2 == 1, "{error}"),
        }
    }
}

async fn wait_with_a_timeout_ends_the_waiting_only(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let futures = [(); 2].map(|()| client.submit(hold, scratch.path()));
    scratch.started(1).await;
    let waited = wait(futures, When::AllCompleted, Some(Duration::from_millis(20))).await;
    assert_eq!((waited.done.len(), waited.pending.len()), (0, 2));
    scratch.release();
    let waited = wait(waited.pending, When::AllCompleted, Some(Duration::MAX)).await;
    gather(waited.done).await.unwrap();
    assert_eq!((scratch.starts(), client.admin().snapshot().timed_out), (2, 0));
}

async fn dropping_a_wait_cancels_its_tasks(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let futures = [(); 2].map(|()| client.submit(hold, scratch.path()));
    scratch.started(1).await;
    let waiting = wait(futures, When::FirstCompleted, None);
    assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
    scratch.release();
    client.drain().await;
    assert_eq!((scratch.starts(), client.admin().snapshot().cancelled), (1, 2));
}

//! Batches: tasks of several callers in one call, each with an end of its own.

use std::path::PathBuf;
use std::time::Duration;

use outboard::{Client, ErrorKind, Report, TaskFuture, gather};

use super::{Engine, Promise, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::{Scratch, is_held, note, start};
use crate::support::tasks::{hold, same};

on_every_engine! {
    each_caller_gets_its_own_output,
    an_error_of_the_function_is_for_each_caller,
    a_wrong_number_of_outputs_is_an_error_that_says_so,
    a_function_without_the_attribute_is_not_known,
    the_function_stays_callable,
    what_waits_while_a_worker_is_busy_forms_the_next_batch,
    a_batch_has_at_most_so_many,
    a_batch_is_held_open_and_goes_when_it_is_full,
    a_batch_that_is_held_open_goes_in_time,
    who_leaves_before_the_start_is_not_computed,
    who_leaves_a_batch_that_runs_harms_nobody,
    the_last_who_leaves_a_batch_ends_it,
    a_panic_fails_only_who_is_to_blame,
    a_crash_fails_only_who_is_to_blame,
    who_crashed_alone_is_quarantined,
    arguments_of_any_size_are_batched,
    options_are_those_of_each_caller,
    snapshots_and_events_know_batches,
}

/// How many items its call has, with each.
#[outboard::task(name = "batches::counted", batch(max = 8))]
fn counted(items: Vec<u64>) -> Vec<(u64, usize)> {
    let count = items.len();
    items.into_iter().map(|item| (item, count)).collect()
}

/// The items, unless one is 13.
#[outboard::task(name = "batches::checked", batch)]
async fn checked(items: Vec<u64>) -> Result<Vec<u64>, String> {
    tokio::task::yield_now().await;
    if items.contains(&13) { Err("unlucky".to_owned()) } else { Ok(items) }
}

/// One too few.
#[outboard::task(name = "batches::short", batch)]
fn short(mut items: Vec<u64>) -> Vec<u64> {
    items.pop();
    items
}

/// Panics or crashes if one of them says so; else what they are, and with how many.
#[outboard::task(name = "batches::fragile", batch)]
fn fragile(items: Vec<String>) -> Vec<(String, usize)> {
    assert!(items.iter().all(|item| item != "panic"), "as it was told");
    if items.iter().any(|item| item == "crash") {
        std::process::abort();
    }
    let count = items.len();
    items.into_iter().map(|item| (item, count)).collect()
}

/// Is held, if one of the directories says so.
#[outboard::task(name = "batches::held", batch)]
fn held(items: Vec<PathBuf>) -> Vec<usize> {
    items.iter().for_each(|at| start(at));
    let count = items.len();
    while items.iter().any(|at| is_held(at)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    items.iter().for_each(|at| note(at, "ends", ""));
    vec![count; count]
}

#[outboard::task(name = "batches::full", batch(max = 3, wait = "3600s"))]
fn full(items: Vec<u64>) -> Vec<usize> {
    vec![items.len(); items.len()]
}

#[outboard::task(name = "batches::soon", batch(wait = "20ms"))]
fn soon(items: Vec<u64>) -> Vec<usize> {
    vec![items.len(); items.len()]
}

#[outboard::task(name = "batches::lengths", batch(max = 16))]
fn lengths(items: Vec<outboard::Bytes>) -> Vec<(usize, outboard::Bytes)> {
    let count = items.len();
    items.into_iter().map(|item| (count, item)).collect()
}

/// A client with one worker, which is held until the directory is released.
async fn busy(engine: Engine, options: &str) -> (Client, Scratch, TaskFuture<u32>) {
    let client = engine.client(&format!("workers=1{options}")).await;
    let scratch = Scratch::new();
    let blocker = client.submit(hold, scratch.path());
    scratch.started(1).await;
    (client, scratch, blocker)
}

/// Whether tasks run together here: with each engine's word for it.
fn batches(engine: Engine) -> bool {
    engine.promises(Promise::Batches)
}

async fn reports<T: serde::de::DeserializeOwned>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
) -> Vec<(T, Report)> {
    let mut all = Vec::new();
    for future in futures {
        all.push(future.with_report().await.unwrap());
    }
    all
}

async fn each_caller_gets_its_own_output(engine: Engine) {
    let client = engine.client("workers=2").await;
    let futures: Vec<_> = (0..500).map(|item| client.batched(counted, item)).collect();
    for (item, ((output, count), report)) in (0..).zip(reports(futures).await) {
        assert_eq!(output, item);
        assert!((1..=8).contains(&count), "{count}");
        assert_eq!(report.attempt, 1);
        assert_eq!(report.batch, count);
    }
}

async fn an_error_of_the_function_is_for_each_caller(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let futures: Vec<_> = [1, 13, 2].map(|item| client.batched(checked, item)).into();
    scratch.release();
    blocker.await.unwrap();
    let outputs = gather(futures).await.unwrap();
    let unlucky = || Err("unlucky".to_owned());
    match batches(engine) {
        true => assert_eq!(outputs, [unlucky(), unlucky(), unlucky()]),
        false => assert_eq!(outputs, [Ok(1), unlucky(), Ok(2)]),
    }
    assert_eq!(client.batched(checked, 3).await.unwrap(), Ok(3));
}

async fn a_wrong_number_of_outputs_is_an_error_that_says_so(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let futures = [1, 2].map(|item| client.batched(short, item));
    scratch.release();
    blocker.await.unwrap();
    let said =
        if batches(engine) { "1 outputs for a batch of 2" } else { "0 outputs for a batch of 1" };
    for future in futures {
        let error = future.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

async fn a_function_without_the_attribute_is_not_known(engine: Engine) {
    let client = engine.client("workers=1").await;
    let error = client.batched(|items: Vec<u64>| items, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask);
    assert!(error.to_string().contains("#[task(batch)]"), "{error}");
}

async fn the_function_stays_callable(engine: Engine) {
    assert_eq!(counted(vec![5, 6]), [(5, 2), (6, 2)]);
    let client = engine.client("workers=1").await;
    let whole = client.submit(counted, vec![5, 6]).await;
    match engine.promises(Promise::RunsUnnamed) {
        true => assert_eq!(whole.unwrap(), [(5, 2), (6, 2)]),
        false => assert_eq!(whole.unwrap_err().kind(), ErrorKind::UnknownTask),
    }
}

async fn what_waits_while_a_worker_is_busy_forms_the_next_batch(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let futures: Vec<_> = (0..5).map(|item| client.batched(counted, item)).collect();
    let other = client.submit(same, 7);
    scratch.release();
    blocker.await.unwrap();
    let size = if batches(engine) { 5 } else { 1 };
    for (item, ((output, count), report)) in (0..).zip(reports(futures).await) {
        assert_eq!((output, count, report.batch), (item, size, size));
    }
    assert_eq!(other.await.unwrap(), 7);
}

async fn a_batch_has_at_most_so_many(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let futures: Vec<_> = (0..20).map(|item| client.batched(counted, item)).collect();
    scratch.release();
    blocker.await.unwrap();
    let sizes: Vec<usize> = reports(futures).await.iter().map(|((_, count), _)| *count).collect();
    let expected = match batches(engine) {
        true => [vec![8; 16], vec![4; 4]].concat(),
        false => vec![1; 20],
    };
    assert_eq!(sizes, expected);
}

async fn a_batch_is_held_open_and_goes_when_it_is_full(engine: Engine) {
    if !batches(engine) {
        let client = engine.client("workers=1").await;
        return assert_eq!(client.batched(full, 1).await.unwrap(), 1);
    }
    let client = engine.client("workers=2").await;
    let mut first = client.batched(full, 1);
    let second = client.batched(full, 2);
    // Idle workers do something else meanwhile.
    assert_eq!(client.submit(same, 1).await.unwrap(), 1);
    assert!(!first.is_finished() && !second.is_finished());
    // One that leaves makes room for another.
    drop(second);
    let more = [3, 4].map(|item| client.batched(full, item));
    assert_eq!((&mut first).await.unwrap(), 3);
    assert_eq!(gather(more).await.unwrap(), [3, 3]);
}

async fn a_batch_that_is_held_open_goes_in_time(engine: Engine) {
    let client = engine.client("workers=1").await;
    let futures = [client.batched(soon, 1), client.batched(soon, 2)];
    let together = if batches(engine) { 2 } else { 1 };
    assert_eq!(gather(futures).await.unwrap(), [together; 2]);
    let alone = client.batched(soon, 3).with_report().await.unwrap();
    assert_eq!((alone.0, alone.1.batch), (1, 1));
}

async fn who_leaves_before_the_start_is_not_computed(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "&window=1").await;
    let mut futures: Vec<_> = (0..4).map(|item| client.batched(counted, item)).collect();
    drop(futures.remove(1));
    futures.remove(1).cancel();
    scratch.release();
    blocker.await.unwrap();
    let outputs = gather(futures).await.unwrap();
    let size = if batches(engine) { 2 } else { 1 };
    assert_eq!(outputs, [(0, size), (3, size)]);
    eventually("two were cancelled", || client.admin().snapshot().cancelled == 2).await;
}

async fn who_leaves_a_batch_that_runs_harms_nobody(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let (one, other) = (Scratch::new(), Scratch::new());
    let leaves = client.batched(held, one.path());
    let stays = client.batched(held, other.path());
    scratch.release();
    blocker.await.unwrap();
    if !batches(engine) {
        return drop((leaves, stays));
    }
    other.started(1).await;
    drop(leaves);
    one.release();
    other.release();
    let (count, report) = stays.with_report().await.unwrap();
    assert_eq!((count, report.attempt, one.notes("ends").len()), (2, 1, 1));
    let now = client.admin().snapshot();
    assert_eq!((now.restarts.killed, now.cancelled, now.done), (0, 1, 2));
}

async fn the_last_who_leaves_a_batch_ends_it(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let (one, other) = (Scratch::new(), Scratch::new());
    let first = client.batched(held, one.path());
    let timed_out = client.timeout(Duration::from_secs(1)).batched(held, other.path());
    scratch.release();
    blocker.await.unwrap();
    if !batches(engine) {
        return drop((first, timed_out));
    }
    other.started(1).await;
    drop(first);
    let error = timed_out.await.unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    if !engine.promises(Promise::StopsWhatRuns) {
        one.release();
        other.release();
    }
    // Whoever ran it is free again.
    assert_eq!(client.submit(same, 1).await.unwrap(), 1);
    if engine.promises(Promise::StopsWhatRuns) {
        assert_eq!(one.notes("ends").len(), 0);
        let killed = || client.admin().snapshot().restarts.killed == 1;
        eventually("its worker is killed once", killed).await;
    }
}

async fn a_panic_fails_only_who_is_to_blame(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let told = ["a", "panic", "b"].map(str::to_owned);
    let [a, panics, b] = told.map(|item| client.batched(fragile, item));
    scratch.release();
    blocker.await.unwrap();
    let error = panics.await.unwrap_err();
    assert_eq!(error.panic().unwrap().message, "as it was told");
    let attempt = if batches(engine) { 2 } else { 1 };
    for (item, future) in [("a", a), ("b", b)] {
        let (output, report) = future.with_report().await.unwrap();
        assert_eq!((output, report.attempt, report.batch), ((item.to_owned(), 1), attempt, 1));
    }
    assert_eq!(client.admin().snapshot().failed, 1);
}

async fn a_crash_fails_only_who_is_to_blame(engine: Engine) {
    if !engine.promises(Promise::SurvivesCrashes) {
        return;
    }
    let (client, scratch, blocker) = busy(engine, "").await;
    let told = ["a", "crash", "b", "c"].map(str::to_owned);
    let [a, crashes, b, c] = told.map(|item| client.batched(fragile, item));
    scratch.release();
    blocker.await.unwrap();
    let error = crashes.await.unwrap_err();
    assert!(error.is_worker_lost(), "{error}");
    for (item, future) in [("a", a), ("b", b), ("c", c)] {
        assert_eq!(future.await.unwrap(), (item.to_owned(), 1));
    }
    assert_eq!(client.admin().snapshot().failed, 1);
    if batches(engine) {
        assert_eq!(client.admin().snapshot().restarts.lost, 2, "together, and alone");
    }
}

async fn who_crashed_alone_is_quarantined(engine: Engine) {
    if !engine.promises(Promise::SurvivesCrashes) || !batches(engine) {
        return;
    }
    let (client, scratch, blocker) = busy(engine, "&quarantine=1").await;
    let [a, crashes] = ["a", "crash"].map(|item| client.batched(fragile, item.to_owned()));
    scratch.release();
    blocker.await.unwrap();
    assert_eq!(crashes.await.unwrap_err().kind(), ErrorKind::WorkerLost);
    assert_eq!(a.await.unwrap(), ("a".to_owned(), 1));
    let again = client.batched(fragile, "crash".to_owned()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Quarantined);
    assert_eq!(client.batched(fragile, "a".to_owned()).await.unwrap(), ("a".to_owned(), 1));
}

async fn arguments_of_any_size_are_batched(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "&window=1").await;
    let sizes = [0, 7, 20_000, 100_000, 1_500_000, 3, 5_000_000, 40_000];
    let item = |n: usize, size: usize| outboard::Bytes::from(vec![n as u8 + 1; size]);
    let futures: Vec<_> =
        (0..).zip(sizes).map(|(n, size)| client.batched(lengths, item(n, size))).collect();
    // Large ones are on their way to the queue for a while.
    eventually("all wait", || client.admin().snapshot().queued == sizes.len()).await;
    scratch.release();
    blocker.await.unwrap();
    let outputs = gather(futures).await.unwrap();
    for (n, ((count, output), size)) in outputs.into_iter().zip(sizes).enumerate() {
        assert!(count >= 1);
        assert_eq!(output, item(n, size), "of {size} bytes");
    }
}

async fn options_are_those_of_each_caller(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "&window=1").await;
    let short = client.timeout(Duration::from_millis(5)).batched(counted, 1);
    assert!(short.await.unwrap_err().is_timed_out());
    let twice = ["a", "b"].map(|tenant| client.tenant(tenant).key("k").batched(counted, 2));
    let shared = client.tenant("a").key("k").batched(counted, 2);
    scratch.release();
    blocker.await.unwrap();
    let size = if batches(engine) { 2 } else { 1 };
    let outputs = gather(twice.into_iter().chain([shared])).await.unwrap();
    assert_eq!(outputs, [(2, size); 3], "one of each tenant");
    assert_eq!(client.admin().snapshot().coalesced, 1);
}

async fn snapshots_and_events_know_batches(engine: Engine) {
    let (client, scratch, blocker) = busy(engine, "").await;
    let mut watch = client.admin().watch();
    let futures: Vec<_> = (0..5).map(|item| client.batched(counted, item)).collect();
    scratch.release();
    blocker.await.unwrap();
    gather(futures).await.unwrap();
    let now = client.admin().snapshot();
    let row = now.per_function.iter().find(|row| row.function == "batches::counted").unwrap();
    if !batches(engine) {
        return assert_eq!(row.batches, None);
    }
    let figures = row.batches.clone().unwrap();
    assert_eq!((figures.calls, figures.tasks, figures.mean_size()), (1, 5, Some(5.0)));
    let sizes: Vec<_> = figures.sizes().filter(|(_, calls)| *calls > 0).collect();
    assert_eq!(sizes, [(8, 1)]);
    let mut ended = Vec::new();
    while ended.len() < 5 {
        let batch = watch.next().await.expect("the engine goes on");
        for event in batch.iter() {
            if let outboard::admin::EventKind::Ended { function, run, .. } = &event.kind
                && *function == "batches::counted"
            {
                ended.push(run.expect("it ran").batch);
            }
        }
    }
    assert_eq!(ended, [5; 5]);
}

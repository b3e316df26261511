//! Batches for functions of Python: a list of items in, a list of outputs back, and each caller
//! has an end of its own.

use std::path::PathBuf;
use std::time::Duration;

use outboard::{Bytes, Client, ErrorKind, PythonBatch, TaskFuture, gather, python};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Place, client, everywhere};
use crate::support::process::Process;
use crate::support::scratch::{Scratch, note};
use crate::support::{eventually, run};

everywhere!(each_caller_gets_its_own_output, a_wrong_number_of_outputs_says_so);

/// A function of lists, whose batches wait for so many.
fn batch<A, R>(name: &'static str, most: u16) -> PythonBatch<A, R>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    python::<(Vec<A>,), Vec<R>>(name).batch(most, Duration::from_secs(3600))
}

/// The same, which waits for nobody.
fn eager<A, R>(name: &'static str) -> PythonBatch<A, R>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    python::<(Vec<A>,), Vec<R>>(name).batch(8, Duration::ZERO)
}

/// Holds the only worker until the directory is released.
async fn busy(client: &Client) -> (Scratch, TaskFuture<u32>) {
    let scratch = Scratch::new();
    let held = client.submit(python::<(PathBuf,), u32>("trouble:hold"), scratch.path());
    scratch.started(1).await;
    (scratch, held)
}

async fn each_caller_gets_its_own_output(place: Place) {
    let client = place.client().await;
    let same = eager::<(i64, String), (i64, String)>("builtins:list");
    let item = |number: i64| (number, number.to_string());
    let futures = (0..200).map(|number| client.batched(same, item(number)));
    assert_eq!(gather(futures).await.unwrap(), (0..200).map(item).collect::<Vec<_>>());
    // The function itself stays callable.
    let same = python::<(Vec<u8>,), Vec<u8>>("builtins:list");
    assert_eq!(client.submit(same, vec![1, 2]).await.unwrap(), [1, 2]);
    client.shutdown().await;
}

async fn a_wrong_number_of_outputs_says_so(place: Place) {
    let client = place.client().await;
    // The names that a list has are far more than one.
    let names = eager::<u8, String>("builtins:dir");
    let error = client.batched(names, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    assert!(error.to_string().contains("outputs for a batch of 1"), "{error}");
    client.shutdown().await;
}

#[test]
fn what_waits_while_a_worker_is_busy_is_one_call() {
    run(async {
        let client = client().await;
        let (scratch, held) = busy(&client).await;
        let counted = eager::<u64, (u64, usize)>("batches:counted");
        let futures: Vec<_> = (0..10).map(|item| client.batched(counted, item)).collect();
        scratch.release();
        held.await.unwrap();
        for (item, future) in (0..).zip(futures) {
            let (output, report) = future.with_report().await.unwrap();
            let size = if item < 8 { 8 } else { 2 };
            assert_eq!((output, report.batch, report.attempt), ((item, size), size, 1));
        }
        let now = client.admin().snapshot();
        let row = now.per_function.iter().find(|row| row.function == "batches:counted").unwrap();
        let figures = row.batches.clone().unwrap();
        assert_eq!((figures.calls, figures.tasks), (2, 10));
        client.shutdown().await;
    });
}

#[test]
fn a_batch_is_held_open_until_it_is_full() {
    run(async {
        let client = client().await;
        let counted = batch::<u64, (u64, usize)>("batches:counted", 2);
        let first = client.batched(counted, 1);
        // The worker does something else meanwhile.
        client.submit(python::<(), u32>("trouble:pid"), ()).await.unwrap();
        assert!(!first.is_finished());
        let second = client.batched(counted, 2);
        assert_eq!(gather([first, second]).await.unwrap(), [(1, 2), (2, 2)]);
        client.shutdown().await;
    });
}

#[test]
fn an_exception_and_a_crash_fail_only_who_is_to_blame() {
    run(async {
        let client = client().await;
        let fragile = batch::<String, (String, usize)>("batches:fragile", 3);
        for (told, kind) in [
            ("raise", ErrorKind::Raised),
            ("crash", ErrorKind::WorkerLost),
            ("grow", ErrorKind::Raised),
        ] {
            let [a, guilty, b] =
                ["a", told, "b"].map(|item| client.batched(fragile, item.to_owned()));
            let error = guilty.await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            for (item, future) in [("a", a), ("b", b)] {
                let (output, report) = future.with_report().await.unwrap();
                assert_eq!((output, report.attempt), ((item.to_owned(), 1), 2), "{told}");
            }
        }
        let now = client.admin().snapshot();
        assert_eq!((now.failed, now.restarts.lost), (3, 2), "the crash: together, and alone");
        client.shutdown().await;
    });
}

#[test]
fn a_wrong_number_of_outputs_is_an_error_of_each_and_nothing_runs_again() {
    run(async {
        let client = client().await;
        let short = batch::<u64, u64>("batches:short", 3);
        for future in [1, 2, 3].map(|item| client.batched(short, item)) {
            let error = future.await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
            let said = "the function returned 2 outputs for a batch of 3";
            assert!(error.to_string().contains(said), "{error}");
        }
        let alone = client.batched(eager::<u64, u64>("batches:short"), 1).await.unwrap_err();
        assert!(alone.to_string().contains("0 outputs for a batch of 1"), "{alone}");
        // What is no list: the call raises, and so each runs again.
        for (name, kind) in
            [("batches:nothing", ErrorKind::Codec), ("batches:slow", ErrorKind::Raised)]
        {
            let both = [1, 2].map(|item| client.batched(batch::<u64, u64>(name, 2), item));
            for future in both {
                let error = future.await.unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
            }
        }
        client.shutdown().await;
    });
}

#[test]
fn an_output_that_is_no_value_fails_only_its_own_caller() {
    run(async {
        let client = client().await;
        let unsendable = batch::<String, String>("batches:unsendable", 2);
        let [file, text] = ["file", "text"].map(|item| client.batched(unsendable, item.to_owned()));
        let error = file.await.unwrap_err();
        assert!(error.to_string().contains("cannot pickle"), "{error}");
        let (output, report) = text.with_report().await.unwrap();
        assert_eq!((output.as_str(), report.attempt), ("text", 1));
        client.shutdown().await;
    });
}

#[test]
fn who_leaves_before_the_start_is_not_in_the_call() {
    run(async {
        let client = client().await;
        let (scratch, held) = busy(&client).await;
        let counted = eager::<u64, (u64, usize)>("batches:counted");
        let mut futures: Vec<_> = (0..4).map(|item| client.batched(counted, item)).collect();
        drop(futures.remove(1));
        scratch.release();
        held.await.unwrap();
        assert_eq!(gather(futures).await.unwrap(), [(0, 3), (2, 3), (3, 3)]);
        client.shutdown().await;
    });
}

#[test]
fn who_leaves_a_call_harms_nobody_and_the_last_ends_it() {
    run(async {
        let client = client().await;
        let held = batch::<PathBuf, usize>("batches:held", 2);
        let (one, other) = (Scratch::new(), Scratch::new());
        let (leaves, stays) =
            (client.batched(held, one.path()), client.batched(held, other.path()));
        other.started(1).await;
        drop(leaves);
        one.release();
        other.release();
        let (size, report) = stays.with_report().await.unwrap();
        assert_eq!((size, report.attempt, one.notes("ends").len()), (2, 1, 1));
        let (one, other) = (Scratch::new(), Scratch::new());
        let both = [&one, &other].map(|scratch| client.batched(held, scratch.path()));
        other.started(1).await;
        let worker = Process::open(other.pid());
        drop(both);
        worker.ends().await;
        client.submit(python::<(), u32>("trouble:pid"), ()).await.unwrap();
        assert_eq!(client.admin().snapshot().restarts.killed, 1);
        client.shutdown().await;
    });
}

#[test]
fn a_call_that_asks_is_told_when_all_have_left() {
    run(async {
        let client = client().await.grace(Duration::from_secs(60));
        let listens = batch::<PathBuf, PathBuf>("batches:listens", 2);
        let (one, other) = (Scratch::new(), Scratch::new());
        let first = client.batched(listens, one.path());
        let second = client.batched(listens, other.path());
        let mut progress = second.progress();
        assert_eq!(progress.next().await.expect("it runs").text, "of 2");
        drop(first);
        note(&other.path(), "asked", "");
        eventually("it is wanted", || other.notes("wanted").len() >= 3).await;
        assert_eq!(other.notes("stopped").len(), 0);
        drop((progress, second));
        eventually("it is told", || one.notes("stopped").len() == 1).await;
        client.submit(python::<(), u32>("trouble:pid"), ()).await.unwrap();
        assert_eq!(client.admin().snapshot().restarts.killed, 0, "it ended by itself");
        client.shutdown().await;
    });
}

#[test]
fn items_of_any_size_are_batched() {
    run(async {
        let client = client().await;
        let (scratch, held) = busy(&client).await;
        let sizes = [0, 7, 20_000, 100_000, 1_500_000, 3, 5_000_000, 40_000];
        let item = |n: usize, size: usize| Bytes::from(vec![n as u8 + 1; size]);
        let sized = eager::<Bytes, (usize, Bytes)>("batches:sized");
        let futures: Vec<_> =
            (0..).zip(sizes).map(|(n, size)| client.batched(sized, item(n, size))).collect();
        // Large ones are on their way to the queue for a while.
        eventually("all wait", || client.admin().snapshot().queued == sizes.len()).await;
        scratch.release();
        held.await.unwrap();
        let outputs = gather(futures).await.unwrap();
        for (n, ((count, output), size)) in outputs.into_iter().zip(sizes).enumerate() {
            // A large one may have been on its way still.
            assert!(count > 1 || size > 20_000, "{count} of {size} bytes");
            assert_eq!(output, item(n, size), "of {size} bytes");
        }
        client.shutdown().await;
    });
}

#[test]
fn the_time_of_a_call_is_counted_once() {
    run(async {
        let client = client().await;
        let spends = batch::<u64, u64>("batches:spends", 4);
        let futures: Vec<_> = (0..4).map(|item| client.batched(spends, item)).collect();
        for future in futures {
            let (_, report) = future.with_report().await.unwrap();
            assert!(report.cpu_time.unwrap() >= Duration::from_millis(50), "{report:?}");
        }
        // What a lost worker used is counted from the CPU time that is known of it.
        let leaves = python::<(), ()>("batches:spend_and_leave");
        let error = client.submit(leaves, ()).await.unwrap_err();
        let lost = error.worker_loss().unwrap();
        assert!(lost.cpu_time.unwrap() >= Duration::from_millis(50), "{lost:?}");
        client.shutdown().await;
    });
}

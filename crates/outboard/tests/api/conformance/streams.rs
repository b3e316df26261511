//! Streams: items in order, with backpressure, until the task ends or nobody reads.

use std::path::PathBuf;
use std::time::Duration;

use outboard::admin::EventKind;
use outboard::{Bytes, SendError, Sender, Status};

use super::{Engine, on_every_engine};
use crate::support::scratch::{Scratch, is_held, note, start};
use crate::support::tasks::{next, same};
use crate::support::{eventually, found};

on_every_engine! {
    every_item_comes_in_order_and_then_the_output,
    a_stream_is_seen_in_snapshots_and_events,
    a_stream_is_an_iterator_or_async_too,
    a_million_small_items_come_in_order,
    items_of_every_size_come_whole,
    a_reader_that_stops_stops_its_task_and_nothing_else,
    a_slow_reader_gets_every_item,
    an_item_arrives_while_the_task_goes_on,
    dropping_the_stream_frees_its_worker,
    sending_fails_when_nobody_reads,
    a_detached_task_sends_to_its_end,
    the_output_can_be_had_without_the_items,
    a_panic_comes_after_the_items_before_it,
    a_timeout_ends_a_stream_after_its_items,
    a_silent_stream_ends_and_a_slow_reader_does_not_end_one,
    retries_end_with_the_first_item,
    an_item_that_cannot_travel_is_an_error_where_it_is_sent,
    a_stream_with_a_key_is_refused,
    several_threads_of_a_task_send,
}

/// The numbers below that, and their sum.
#[outboard::task]
fn count(to: u64, out: Sender<u64>) -> Result<u64, SendError> {
    let mut sum = 0;
    for n in 0..to {
        out.send(n)?;
        sum += n;
    }
    Ok(sum)
}

#[outboard::task]
fn iterate(to: u64) -> impl Iterator<Item = u64> {
    (0..to).map(|n| n * n)
}

#[outboard::task]
async fn count_async(to: u64, out: Sender<String>) -> Result<(), SendError> {
    for n in 0..to {
        tokio::task::yield_now().await;
        out.send_async("x".repeat(n as usize)).await?;
    }
    Ok(())
}

/// Bytes of so many lengths, each told apart by what it is filled with.
#[outboard::task]
fn bytes(lengths: Vec<usize>, out: Sender<Bytes>) -> Result<(), SendError> {
    let fill = |(n, length)| out.send(vec![n as u8; length].into());
    lengths.into_iter().enumerate().try_for_each(fill)
}

/// Notes each KiB after it was sent.
#[outboard::task]
fn flood(at: PathBuf, items: usize, out: Sender<Vec<u8>>) -> usize {
    start(&at);
    for n in 0..items {
        if out.send(vec![n as u8; 1024]).is_err() {
            note(&at, "refused", "");
            return n;
        }
        note(&at, "sent", "");
    }
    items
}

/// Sends what it is told to, then is held, then fails or gives its number of starts.
#[outboard::task]
fn hold_after(at: PathBuf, items: u64, panics: bool, out: Sender<u64>) -> usize {
    start(&at);
    (0..items).for_each(|n| out.send(n).unwrap());
    if items > 0 {
        outboard::progress(items, 0, "sent");
    }
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let starts = std::fs::read_to_string(at.join("starts")).unwrap().lines().count();
    assert!(!panics || starts > 1, "the first start panics");
    starts
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Contrary(#[serde(serialize_with = "never")] u8);

fn never<S: serde::Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("not this one"))
}

#[outboard::task]
fn contrary(out: Sender<Contrary>) -> Vec<String> {
    let mut errors = vec![out.send(Contrary(1)).unwrap_err().to_string()];
    errors.extend(out.send(Contrary(2)).map_err(String::from).err());
    errors
}

#[outboard::task]
fn too_large(bytes: usize, out: Sender<Bytes>) -> Option<String> {
    let large = out.send(vec![0; bytes].into()).err().map(String::from);
    out.send(Bytes::from_static(b"small")).unwrap();
    large
}

#[outboard::task]
fn together(threads: u64, each: u64, out: Sender<(u64, Vec<u64>)>) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let out = &out;
            scope.spawn(move || {
                (0..each).for_each(|n| out.send((thread, vec![n; n as usize % 300])).unwrap());
            });
        }
    });
}

async fn every_item_comes_in_order_and_then_the_output(engine: Engine) {
    let client = engine.client("workers=1").await;
    for to in [0, 1, 1000] {
        let mut stream = client.stream(count, to);
        assert!(stream.id().is_some());
        for n in 0..to {
            assert_eq!(stream.next().await.unwrap().unwrap(), n);
        }
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none(), "it stays ended");
        assert_eq!(stream.status(), Status::Finished);
        assert_eq!(stream.output().await.unwrap(), Ok((0..to).sum()));
    }
    let snapshot = client.admin().snapshot();
    assert_eq!((snapshot.done, snapshot.stream_items), (3, 1001));
    assert!(snapshot.stream_bytes >= 1001);
}

async fn a_stream_is_seen_in_snapshots_and_events(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut watch = client.admin().watch();
    let scratch = Scratch::new();
    let mut stream = client.stream(hold_after, (scratch.path(), 3, false));
    for n in 0..3 {
        assert_eq!(stream.next().await.unwrap().unwrap(), n);
    }
    let running = || {
        let now = client.admin().snapshot();
        let task = now.per_worker.iter().find_map(|worker| worker.task.clone())?;
        Some((task.stream_items, task.stream_bytes))
    };
    let (items, bytes) = found("it runs", running).await;
    assert!(items == 3 && bytes >= 3, "{items} items, {bytes} bytes");
    let mut told = Vec::new();
    while !told.iter().any(|kind| matches!(kind, EventKind::Ended { .. })) {
        let batch = watch.next().await.expect("the engine lives");
        let kinds = batch.iter().map(|event| event.kind);
        told.extend(kinds.filter(|kind| kind.task() == stream.id()));
        if told.iter().any(|kind| matches!(kind, EventKind::Progress { .. })) {
            scratch.release();
        }
    }
    let names: Vec<_> = told.iter().map(EventKind::name).collect();
    assert_eq!(names, ["taken", "started", "streamed", "progress", "streamed", "ended"]);
    let last = told.iter().rev().find(|kind| kind.name() == "streamed").unwrap();
    assert_eq!(
        last.to_string(),
        format!("streamed: {}, 3 items, {bytes} bytes", stream.id().unwrap())
    );
    let progress = told.iter().find(|kind| kind.name() == "progress").unwrap();
    assert_eq!(progress.to_string(), format!("progress: {}, 3, sent", stream.id().unwrap()));
    stream.output().await.unwrap();
}

async fn a_stream_is_an_iterator_or_async_too(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut squares = client.stream(iterate, 100);
    for n in 0..100 {
        assert_eq!(squares.next().await.unwrap().unwrap(), n * n);
    }
    squares.output().await.unwrap();
    // More than the window holds.
    let mut texts = client.stream(count_async, 2000);
    for n in 0..2000 {
        assert_eq!(texts.next().await.unwrap().unwrap().len(), n);
    }
    assert_eq!(texts.output().await.unwrap(), Ok(()));
}

async fn a_million_small_items_come_in_order(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut stream = client.stream(count, 1_000_000);
    let mut expected = 0;
    while let Some(n) = stream.next().await {
        assert_eq!(n.unwrap(), expected);
        expected += 1;
    }
    assert_eq!(stream.output().await.unwrap(), Ok(499_999_500_000));
}

async fn items_of_every_size_come_whole(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut lengths: Vec<usize> = vec![0, 1, 7, 8, 30, 31, 500, 65_535, 65_536, 65_537];
    lengths.extend([262_119, 262_120, 262_121, 1 << 20, 3, (5 << 20) + 1, 70 << 20, 2]);
    let mut stream = client.stream(bytes, lengths.clone());
    for (n, length) in lengths.into_iter().enumerate() {
        let item = stream.next().await.unwrap().unwrap();
        assert_eq!(item.len(), length);
        assert!(item.iter().all(|byte| *byte == n as u8), "item {n} of {length} bytes");
    }
    assert_eq!(stream.output().await.unwrap(), Ok(()));
}

async fn a_reader_that_stops_stops_its_task_and_nothing_else(engine: Engine) {
    let client = engine.client("workers=2").await;
    let scratch = Scratch::new();
    let mut stopped = client.stream(flood, (scratch.path(), 2000));
    assert_eq!(stopped.next().await.unwrap().unwrap(), vec![0; 1024]);
    let sent = || scratch.notes("sent").len();
    // So many fit into 256 KiB; for the one that was read credit comes with the next.
    eventually("the window is full", || sent() == 250).await;
    for n in 0..100 {
        assert_eq!(client.submit(next, n).await.unwrap(), n + 1);
        let other = client.stream(count, 1000);
        assert_eq!(other.output().await.unwrap(), Ok(499_500));
    }
    assert_eq!(sent(), 250, "it goes on without a reader");
    for n in 1..2000 {
        assert_eq!(stopped.next().await.unwrap().unwrap(), vec![n as u8; 1024]);
    }
    assert_eq!(stopped.output().await.unwrap(), 2000);
}

async fn a_slow_reader_gets_every_item(engine: Engine) {
    let client = engine.client("workers=2").await;
    let mut slow = client.stream(count, 50_000);
    let mut large = client.stream(bytes, vec![300_000; 20]);
    for n in 0..50_000 {
        assert_eq!(slow.next().await.unwrap().unwrap(), n);
        if n % 2500 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(large.next().await.unwrap().unwrap().len(), 300_000);
        }
    }
    assert!(large.next().await.is_none());
}

async fn an_item_arrives_while_the_task_goes_on(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let mut stream = client.stream(hold_after, (scratch.path(), 2, false));
    assert_eq!(stream.next().await.unwrap().unwrap(), 0);
    assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    assert_eq!(stream.status(), Status::Running);
    scratch.release();
    assert!(stream.next().await.is_none());
    assert_eq!(stream.output().await.unwrap(), 1);
}

async fn dropping_the_stream_frees_its_worker(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let stream = client.stream(flood, (scratch.path(), 2000));
    eventually("the window is full", || scratch.notes("sent").len() == 250).await;
    drop(stream);
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    assert_eq!(client.admin().snapshot().cancelled, 1);
    assert_eq!(scratch.notes("sent").len(), 250);
}

async fn sending_fails_when_nobody_reads(engine: Engine) {
    let client = engine.client("workers=1&spares=0").await;
    let scratch = Scratch::new();
    let patient = client.grace(Duration::from_secs(60));
    let stream = patient.stream(flood, (scratch.path(), 2000));
    eventually("the window is full", || scratch.notes("sent").len() == 250).await;
    drop(stream);
    eventually("it is told", || scratch.notes("refused").len() == 1).await;
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    assert_eq!(scratch.notes("sent").len(), 250);
}

async fn a_detached_task_sends_to_its_end(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let stream = client.stream(flood, (scratch.path(), 1000));
    eventually("the window is full", || scratch.notes("sent").len() == 250).await;
    stream.detach();
    eventually("it goes on", || scratch.notes("sent").len() == 1000).await;
    eventually("it ends", || client.admin().snapshot().done == 1).await;
}

async fn the_output_can_be_had_without_the_items(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (sum, report) = client.stream(count, 100_000).with_report().await.unwrap();
    assert_eq!((sum, report.attempt), (Ok(4_999_950_000), 1));
}

async fn a_panic_comes_after_the_items_before_it(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    scratch.release();
    let mut stream = client.stream(hold_after, (scratch.path(), 300, true));
    for n in 0..300 {
        assert_eq!(stream.next().await.unwrap().unwrap(), n);
    }
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.is_panicked(), "{error}");
    assert!(stream.next().await.is_none());
    assert!(stream.output().await.unwrap_err().is_panicked());
}

async fn a_timeout_ends_a_stream_after_its_items(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let hasty = client.timeout(Duration::from_millis(300));
    let mut stream = hasty.stream(flood, (scratch.path(), 2000));
    eventually("its time is over", || client.admin().snapshot().timed_out == 1).await;
    // Its reader stood still, and its worker is free all the same.
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    let mut items = 0;
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(_) => items += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_timed_out(), "{error}");
    assert!(items <= 250, "{items}");
    assert!(stream.next().await.is_none());
    scratch.release();
}

async fn a_silent_stream_ends_and_a_slow_reader_does_not_end_one(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (pause, scratch) = (Duration::from_millis(150), Scratch::new());
    let strict = client.idle_timeout(pause);
    let mut slow = strict.stream(flood, (Scratch::new().path(), 300));
    for _ in 0..2 {
        assert!(slow.next().await.unwrap().is_ok());
        tokio::time::sleep(2 * pause).await;
    }
    assert_eq!(slow.output().await.unwrap(), 300);
    let mut silent = strict.stream(hold_after, (scratch.path(), 1, false));
    assert_eq!(silent.next().await.unwrap().unwrap(), 0);
    let error = silent.next().await.unwrap().unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    assert!(error.to_string().contains("sent nothing for 150ms"), "{error}");
    assert!(silent.next().await.is_none());
    scratch.release();
    // One that sends nothing at all.
    let scratch = Scratch::new();
    let mut mute = strict.stream(hold_after, (scratch.path(), 0, false));
    assert!(mute.next().await.unwrap().unwrap_err().is_timed_out());
    scratch.release();
    assert_eq!(client.admin().snapshot().timed_out, 2);
}

async fn retries_end_with_the_first_item(engine: Engine) {
    let client = engine.client("workers=1").await;
    let patient = client.retries(3);
    let (before, after) = (Scratch::new(), Scratch::new());
    before.release();
    after.release();
    let silent = patient.stream(hold_after, (before.path(), 0, true));
    assert_eq!(silent.output().await.unwrap(), 2);
    let mut told = patient.stream(hold_after, (after.path(), 1, true));
    assert_eq!(told.next().await.unwrap().unwrap(), 0);
    assert!(told.next().await.unwrap().unwrap_err().is_panicked());
    assert_eq!(after.starts(), 1);
}

async fn an_item_that_cannot_travel_is_an_error_where_it_is_sent(engine: Engine) {
    let client = engine.client("workers=1&max_payload=1MB").await;
    let errors = client.stream(contrary, ()).output().await.unwrap();
    assert_eq!(errors.len(), 2);
    assert!(errors[0].contains("could not encode the item: ") && errors[0].contains("not this"));
    let mut stream = client.stream(too_large, 1_000_001);
    assert_eq!(stream.next().await.unwrap().unwrap(), "small");
    let error = stream.output().await.unwrap().expect("it is too large");
    assert!(error.starts_with("item is 1000001 bytes; the limit is 1000000"), "{error}");
}

async fn a_stream_with_a_key_is_refused(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut stream = client.key("k").stream(count, 3);
    let error = stream.next().await.unwrap().unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("`key`"), "{error}");
    assert!(stream.next().await.is_none());
    assert_eq!(stream.id(), None);
}

async fn several_threads_of_a_task_send(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut stream = client.stream(together, (4, 1000));
    let mut nexts = [0; 4];
    while let Some(item) = stream.next().await {
        let (thread, numbers) = item.unwrap();
        let next = &mut nexts[thread as usize];
        assert_eq!(numbers, vec![*next; *next as usize % 300]);
        *next += 1;
    }
    assert_eq!(nexts, [1000; 4]);
}

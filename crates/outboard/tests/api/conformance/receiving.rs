//! Streams into a task: items in order, with backpressure, until the task ends or nobody sends.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use outboard::{Bytes, Client, ReceiveError, Receiver, SendError, Sender, Status, gather};
use tokio::sync::mpsc;

use super::{Engine, Promise, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::{Scratch, is_held, note, start};
use crate::support::tasks::{next, same};

on_every_engine! {
    items_go_in_and_out_while_the_task_runs,
    an_upload_of_any_size_comes_whole,
    an_upload_is_read_as_a_file_is,
    items_of_any_type_are_received,
    the_stream_of_a_task_goes_into_another,
    a_task_that_reads_slowly_stops_its_upload_and_nothing_else,
    nothing_is_taken_before_the_task_reads,
    many_uploads_at_once_come_whole,
    dropping_the_future_drops_the_upload_and_frees_the_worker,
    an_upload_that_fails_is_seen_by_its_task_and_is_the_error,
    an_upload_above_its_limit_is_too_large,
    a_task_that_takes_no_more_drops_the_upload,
    a_task_that_received_has_one_attempt,
    a_timeout_ends_a_task_that_waits_for_its_upload,
    a_crash_in_the_middle_is_a_lost_worker,
    a_detached_task_receives_to_the_end,
    what_cannot_receive_is_refused,
}

/// A client of an engine that sends streams into tasks. Of others, what they do instead.
async fn receiving(engine: Engine, options: &str) -> Option<Client> {
    let client = engine.client(options).await;
    if engine.promises(Promise::Receives) {
        return Some(client);
    }
    let error = client.submit(length, Receiver::new(chunks(1, 1))).await.unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("pass its name"), "{error}");
    None
}

/// So many chunks of so many bytes.
fn chunks(count: usize, bytes: usize) -> impl Stream<Item = Result<Bytes, ReceiveError>> {
    stream::iter(0..count).map(move |n| Ok(vec![n as u8; bytes].into()))
}

/// The same, with how many were taken; it is held for as long as the stream is.
fn counted(count: usize, bytes: usize) -> (Receiver<Bytes>, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let held = taken.clone();
    let items = chunks(count, bytes).inspect(move |_| {
        held.fetch_add(1, SeqCst);
    });
    (Receiver::new(items), taken)
}

/// A stream that has what is sent to it.
fn open<T: Send + 'static>() -> (mpsc::Sender<T>, impl Stream<Item = Result<T, String>> + Send) {
    let (sender, receiver) = mpsc::channel(1000);
    let next = |mut receiver: mpsc::Receiver<T>| async move {
        receiver.recv().await.map(|item| (Ok(item), receiver))
    };
    (sender, stream::unfold(receiver, next))
}

#[outboard::task]
fn length(upload: Receiver<Bytes>) -> Result<usize, ReceiveError> {
    upload.map(|piece| piece.map(|piece| piece.len())).sum()
}

/// The length, and the sum of all bytes, each times its place.
#[outboard::task]
fn digest(mut upload: Receiver<Bytes>, at_once: usize) -> (usize, u64) {
    let (mut buffer, mut length, mut sum) = (vec![0; at_once], 0, 0_u64);
    loop {
        match upload.read(&mut buffer).unwrap() {
            0 => return (length, sum),
            read => {
                for byte in &buffer[..read] {
                    length += 1;
                    sum = sum.wrapping_add(length as u64 * u64::from(*byte));
                }
            }
        }
    }
}

#[outboard::task]
fn lines(upload: Receiver<Bytes>) -> Vec<String> {
    BufReader::new(upload).lines().collect::<Result<_, _>>().unwrap()
}

#[outboard::task]
async fn echo(upload: Receiver<Bytes>, out: Sender<usize>) -> Result<(), SendError> {
    for piece in upload {
        out.send(piece.unwrap().len())?;
    }
    Ok(())
}

#[outboard::task]
fn rows(prefix: String, rows: Receiver<(u64, Option<String>)>) -> Result<String, ReceiveError> {
    rows.map(|row| row.map(|(n, name)| format!("{prefix}{n}{}", name.unwrap_or_default())))
        .collect()
}

#[outboard::task]
fn pieces(count: usize, out: Sender<Bytes>) -> Result<(), SendError> {
    (0..count).try_for_each(|n| out.send(vec![n as u8; 1000].into()))
}

/// Reads that many pieces, is held, then reads the rest; gives the length of all.
#[outboard::task]
fn hold_after(at: PathBuf, pieces: usize, mut upload: Receiver<Bytes>) -> usize {
    start(&at);
    let mut length: usize = (0..pieces).map(|_| upload.recv().unwrap().unwrap().len()).sum();
    note(&at, "read", "");
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    for piece in upload {
        length += piece.unwrap().len();
    }
    note(&at, "whole", "");
    length
}

/// Notes why it has no more items, and returns all the same.
#[outboard::task]
fn tolerate(at: PathBuf, upload: Receiver<Bytes>) -> usize {
    start(&at);
    let mut length = 0;
    for piece in upload {
        match piece {
            Ok(piece) => length += piece.len(),
            Err(error) => note(&at, "broken", &error.to_string()),
        }
    }
    length
}

#[outboard::task]
fn refuse(at: PathBuf, mut upload: Receiver<Bytes>, how: String) -> usize {
    start(&at);
    let first = upload.recv().unwrap().unwrap().len();
    match how.as_str() {
        "panics" => panic!("not this"),
        "aborts" => std::process::abort(),
        "returns" => first,
        _ => {
            drop(upload);
            while is_held(&at) {
                std::thread::sleep(Duration::from_millis(1));
            }
            first
        }
    }
}

#[outboard::task(batch)]
fn batched(all: Vec<Receiver<Bytes>>) -> Vec<usize> {
    vec![0; all.len()]
}

async fn items_go_in_and_out_while_the_task_runs(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let (sender, items) = open();
    let mut stream = client.stream(echo, Receiver::new(items));
    for length in [1, 1000, 40_000, 7] {
        sender.send(Bytes::from(vec![7; length])).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), length);
    }
    drop(sender);
    assert!(stream.next().await.is_none());
    assert_eq!(stream.output().await.unwrap(), Ok(()));
    assert_eq!(client.submit(length, Receiver::new(chunks(0, 0))).await.unwrap(), Ok(0));
}

async fn an_upload_of_any_size_comes_whole(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let of = |count: usize, bytes: usize| {
        let all = (0..count).flat_map(|n| std::iter::repeat_n(n as u8, bytes));
        let times = all.zip(1..).map(|(byte, place)| place * u64::from(byte));
        (count * bytes, times.fold(0, u64::wrapping_add))
    };
    for (count, bytes) in [(1, 1), (3, 0), (1000, 17), (40, 65_536), (40, 65_537), (3, 1 << 20)] {
        for at_once in [13, 64 << 10] {
            let upload = Receiver::new(chunks(count, bytes));
            let digest = client.submit(digest, (upload, at_once)).await.unwrap();
            assert_eq!(digest, of(count, bytes), "{count} of {bytes}");
        }
    }
    let upload = Receiver::new(chunks(8, 16 << 20));
    assert_eq!(client.submit(length, upload).await.unwrap(), Ok(128 << 20));
}

async fn an_upload_is_read_as_a_file_is(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let parts = ["one\ntw", "", "o\n", "three"].map(|part| Ok::<_, String>(Bytes::from(part)));
    let lines = client.submit(lines, Receiver::new(stream::iter(parts))).await.unwrap();
    assert_eq!(lines, ["one", "two", "three"]);
}

async fn items_of_any_type_are_received(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let items = [(1, None), (2, Some("b".to_owned())), (3, Some("c".repeat(200_000)))];
    let items = Receiver::new(stream::iter(items.map(Ok::<_, String>)));
    let text = client.submit(rows, ("n".to_owned(), items)).await.unwrap().unwrap();
    assert_eq!((&text[..7], text.len()), ("n1n2bn3", 7 + 200_000));
}

async fn the_stream_of_a_task_goes_into_another(engine: Engine) {
    let Some(client) = receiving(engine, "workers=2").await else { return };
    let upload = Receiver::new(client.stream(pieces, 2000));
    assert_eq!(client.submit(length, upload).await.unwrap(), Ok(2_000_000));
    // It ends with the other, wherever that is: its drop cancels.
    let scratch = Scratch::new();
    let running =
        client.submit(hold_after, (scratch.path(), 1, Receiver::new(client.stream(pieces, 2000))));
    eventually("it has read", || scratch.notes("read").len() == 1).await;
    let waits = client.submit(length, Receiver::new(client.stream(pieces, 2000)));
    drop(waits);
    drop(running);
    scratch.release();
    eventually("all have ended", || client.admin().snapshot().running == 0).await;
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    assert_eq!(client.admin().snapshot().cancelled, 4);
}

async fn a_task_that_reads_slowly_stops_its_upload_and_nothing_else(engine: Engine) {
    let Some(client) = receiving(engine, "workers=2").await else { return };
    for bytes in [1024, 16 << 10] {
        let scratch = Scratch::new();
        let count = (8 << 20) / bytes;
        let (upload, taken) = counted(count, bytes);
        let slow = client.submit(hold_after, (scratch.path(), 1, upload));
        eventually("it has read", || scratch.notes("read").len() == 1).await;
        for n in 0..100 {
            assert_eq!(client.submit(next, n).await.unwrap(), n + 1);
            let other = client.submit(length, Receiver::new(chunks(100, 10_000)));
            assert_eq!(other.await.unwrap(), Ok(1_000_000));
        }
        // The one that was read, the window, and the one that does not fit into it.
        let most = 2 + (256 << 10) / bytes;
        let taken = taken.load(SeqCst);
        assert!(taken > 1 && taken <= most, "{taken} chunks of {bytes} bytes were taken");
        scratch.release();
        assert_eq!(slow.await.unwrap(), count * bytes);
    }
}

async fn nothing_is_taken_before_the_task_reads(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let (first, second) = (Scratch::new(), Scratch::new());
    let (upload, taken) = counted(100, 1000);
    let held = client.submit(hold_after, (first.path(), 0, upload));
    first.started(1).await;
    let (later, not_taken) = counted(100, 1000);
    let waits = client.submit(hold_after, (second.path(), 0, later));
    eventually("it has read nothing", || first.notes("read").len() == 1).await;
    assert_eq!((taken.load(SeqCst), not_taken.load(SeqCst)), (0, 0));
    first.release();
    second.release();
    assert_eq!((held.await.unwrap(), waits.await.unwrap()), (100_000, 100_000));
    // One that never ran takes nothing, and its stream is dropped.
    let (upload, _) = counted(1, 1);
    let scratch = Scratch::new();
    let held = client.submit(hold_after, (scratch.path(), 0, upload));
    scratch.started(1).await;
    let (upload, taken) = counted(100, 1000);
    drop(client.submit(length, upload));
    eventually("the stream is dropped", || Arc::strong_count(&taken) == 1).await;
    assert_eq!(taken.load(SeqCst), 0);
    scratch.release();
    held.await.unwrap();
}

async fn many_uploads_at_once_come_whole(engine: Engine) {
    let Some(client) = receiving(engine, "workers=2").await else { return };
    let upload = |n| client.submit(length, Receiver::new(chunks(n, 3000)));
    let lengths = gather((0..200).map(upload).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(lengths, (0..200).map(|n| Ok(n * 3000)).collect::<Vec<_>>());
}

async fn dropping_the_future_drops_the_upload_and_frees_the_worker(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let scratch = Scratch::new();
    let (sender, items) = open();
    sender.send(Bytes::from_static(b"one")).await.unwrap();
    let waits = client.submit(hold_after, (scratch.path(), 1, Receiver::new(items)));
    eventually("it has read", || scratch.notes("read").len() == 1).await;
    scratch.release();
    assert_eq!(waits.status(), Status::Running);
    drop(waits);
    // A thread that waits for an item is free again as well.
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    sender.closed().await;
    assert_eq!(scratch.notes("whole").len(), 0);
    // With a grace the task is told.
    let scratch = Scratch::new();
    let (sender, items) = open::<Bytes>();
    let patient = client.grace(Duration::from_secs(60));
    let waits = patient.submit(tolerate, (scratch.path(), Receiver::new(items)));
    scratch.started(1).await;
    drop(waits);
    sender.closed().await;
    eventually("it is told", || scratch.notes("broken").len() == 1).await;
    let why = &scratch.notes("broken")[0];
    assert!(why.starts_with("the caller has left"), "{why}");
}

async fn an_upload_that_fails_is_seen_by_its_task_and_is_the_error(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let scratch = Scratch::new();
    let fails = |why: &str| {
        let why = why.to_owned();
        chunks(3, 10)
            .map(|chunk| chunk.map_err(|error| error.to_string()))
            .chain(stream::once(async { Err(why) }))
    };
    let upload = Receiver::new(fails("the browser has gone"));
    let error = client.submit(tolerate, (scratch.path(), upload)).await.unwrap_err();
    assert!(error.is_input_failed(), "{error}");
    assert_eq!(error.to_string(), "input failed: the browser has gone");
    assert_eq!(scratch.notes("broken"), ["the browser has gone"]);
    // Whatever the task makes of it: a panic, or an error of its own.
    let upload = Receiver::new(fails("gone"));
    let error = client.submit(digest, (upload, 10)).await.unwrap_err();
    assert!(error.is_input_failed(), "{error}");
    let error = client.submit(length, Receiver::new(fails("gone"))).await.unwrap_err();
    assert!(error.is_input_failed(), "{error}");
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    assert_eq!(client.admin().snapshot().failed, 3);
}

async fn an_upload_above_its_limit_is_too_large(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let upload = || Receiver::new(chunks(10, 1000));
    assert_eq!(client.submit(length, upload().limit(10_000)).await.unwrap(), Ok(10_000));
    let error = client.submit(length, upload().limit(9_999)).await.unwrap_err();
    assert!(error.is_too_large() && error.is_arguments_too_large(), "{error}");
    let text = "input is too large: 10000 bytes, limit 9999; \
                send less, or raise the `limit` of its `Receiver`";
    assert_eq!(error.to_string(), text);
}

async fn a_task_that_takes_no_more_drops_the_upload(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    for how in ["returns", "drops"] {
        let scratch = Scratch::new();
        let (sender, items) = open();
        sender.send(Bytes::from_static(b"one")).await.unwrap();
        let ends = client.submit(refuse, (scratch.path(), Receiver::new(items), how.to_owned()));
        // It waits for more, and nothing more comes.
        sender.closed().await;
        if how == "drops" {
            assert_eq!(ends.status(), Status::Running);
            scratch.release();
        }
        assert_eq!(ends.await.unwrap(), 3);
    }
    // The rest is not taken, however much it is.
    let scratch = Scratch::new();
    let (upload, taken) = counted(usize::MAX, 1000);
    let ends = client.submit(refuse, (scratch.path(), upload, "returns".to_owned()));
    assert_eq!(ends.await.unwrap(), 1000);
    eventually("the stream is dropped", || Arc::strong_count(&taken) == 1).await;
}

async fn a_task_that_received_has_one_attempt(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let scratch = Scratch::new();
    let upload = Receiver::new(chunks(10, 1000));
    let panics = (scratch.path(), upload, "panics".to_owned());
    let error = client.retries(3).submit(refuse, panics).await.unwrap_err();
    assert!(error.is_panicked(), "{error}");
    assert_eq!(scratch.starts(), 1);
}

async fn a_timeout_ends_a_task_that_waits_for_its_upload(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let (sender, items) = open::<Bytes>();
    let hasty = client.timeout(Duration::from_millis(100));
    let error = hasty.submit(length, Receiver::new(items)).await.unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    sender.closed().await;
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
}

async fn a_crash_in_the_middle_is_a_lost_worker(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    if !engine.promises(Promise::SurvivesCrashes) {
        return;
    }
    let scratch = Scratch::new();
    let (sender, items) = open();
    sender.send(Bytes::from_static(b"one")).await.unwrap();
    let aborts = (scratch.path(), Receiver::new(items), "aborts".to_owned());
    let error = client.retries(3).submit(refuse, aborts).await.unwrap_err();
    assert!(error.is_worker_lost(), "{error}");
    assert_eq!(scratch.starts(), 1);
    sender.closed().await;
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
}

async fn a_detached_task_receives_to_the_end(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let scratch = Scratch::new();
    let (upload, taken) = counted(1000, 1000);
    let goes_on = client.submit(hold_after, (scratch.path(), 1, upload));
    eventually("it has read", || scratch.notes("read").len() == 1).await;
    goes_on.detach();
    scratch.release();
    eventually("it has all", || scratch.notes("whole").len() == 1).await;
    assert_eq!(taken.load(SeqCst), 1000);
}

async fn what_cannot_receive_is_refused(engine: Engine) {
    let Some(client) = receiving(engine, "workers=1").await else { return };
    let refused = |error: &dyn Display, why: &str| {
        assert!(error.to_string().contains(why), "{error}");
    };
    let error = client.batched(batched, Receiver::new(chunks(1, 1))).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    refused(&error, "takes batches");
    // What a task returns is whole.
    let gives = |upload: Receiver<Bytes>| upload;
    let error = client.submit(gives, Receiver::new(chunks(1, 1))).await.unwrap_err();
    refused(&error, "a receiver can only be an argument of a task");
}

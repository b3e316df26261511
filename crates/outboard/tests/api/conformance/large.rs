//! 1, 6: values that take long to encode or decode, which does not happen on the thread
//! that submits and awaits: that may be an event loop's.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use outboard::error::Stage;
use outboard::{Client, TaskFuture};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Engine, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::{Scratch, note};
use crate::support::tasks::{hold, write};

on_every_engine! {
    a_large_value_is_encoded_and_decoded_on_another_thread,
    a_small_value_is_encoded_and_decoded_at_once,
    a_task_keeps_its_place_while_its_arguments_are_encoded,
    a_task_that_is_cancelled_while_it_is_encoded_never_starts,
    time_runs_out_while_arguments_are_encoded,
    what_is_encoded_counts_in_the_bounds,
    arguments_that_turn_out_too_large_are_refused,
    arguments_that_find_the_queue_full_are_refused,
    a_panic_while_a_large_value_is_encoded_is_an_error,
    a_shutdown_does_not_wait_for_what_is_encoded,
    detached_tasks_run_when_they_are_encoded,
}

thread_local! {
    /// How many pieces this thread has encoded and decoded.
    static SEEN: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// A part of a value; notes which thread encodes and decodes it.
#[derive(Clone, Debug, PartialEq)]
struct Piece(u32);

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        SEEN.set((SEEN.get().0 + 1, SEEN.get().1));
        serializer.serialize_str(&format!("{:08}", self.0))
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SEEN.set((SEEN.get().0, SEEN.get().1 + 1));
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[outboard::task]
fn doubled(pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.into_iter().map(|Piece(n)| Piece(2 * n)).collect()
}

/// How many pieces surely have more bytes than are encoded at once.
const MANY: u32 = 100_000;

/// How many pieces this thread has encoded and decoded for a task with so many.
async fn seen_here(engine: Engine, pieces: u32) -> (usize, usize) {
    let client = engine.client("workers=1").await;
    let before = SEEN.get();
    let future = client.submit(doubled, (0..pieces).map(Piece).collect());
    let encoded = SEEN.get().0 - before.0;
    let back = future.await.unwrap();
    assert!(back.into_iter().eq((0..pieces).map(|n| Piece(2 * n))));
    (encoded, SEEN.get().1 - before.1)
}

async fn a_large_value_is_encoded_and_decoded_on_another_thread(engine: Engine) {
    let (encoded, decoded) = seen_here(engine, MANY).await;
    // Eight bytes a piece, until it is seen that there are too many.
    assert!(encoded <= (64 << 10) / 8, "{encoded} encoded");
    assert_eq!(decoded, 0);
}

async fn a_small_value_is_encoded_and_decoded_at_once(engine: Engine) {
    let (encoded, decoded) = seen_here(engine, 100).await;
    // The first of a sequence is looked at twice: it may be a number.
    assert!((100..=102).contains(&encoded), "{encoded} encoded");
    assert_eq!(decoded, 100);
}

/// A value of which the first part is large, and the second stops its encoder.
#[derive(Serialize, Deserialize)]
struct Slow {
    large: String,
    stop: Stop,
}

#[derive(Deserialize)]
struct Stop {
    at: PathBuf,
    panics: bool,
}

impl Stop {
    fn act(&self) {
        note(&self.at, "encoding", "");
        while self.at.exists() && !self.at.join("encoded").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!self.panics, "it does not like to be encoded");
    }
}

impl Serialize for Stop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.act();
        #[derive(Serialize)]
        struct Stop<'a> {
            at: &'a PathBuf,
            panics: bool,
        }
        Stop { at: &self.at, panics: self.panics }.serialize(serializer)
    }
}

impl Slow {
    fn new(scratch: &Scratch, bytes: usize) -> Self {
        let stop = Stop { at: scratch.path(), panics: false };
        Self { large: "x".repeat(bytes), stop }
    }
}

/// Notes a line.
#[outboard::task]
fn slow(value: Slow) -> usize {
    note(&value.stop.at, "lines", "slow");
    value.large.len()
}

/// More than is encoded at once.
const LARGE: usize = 100 << 10;

/// Lets what is being encoded here be encoded.
fn let_encode(scratch: &Scratch) {
    note(&scratch.path(), "encoded", "");
}

/// Submits a value whose encoder is stopped.
async fn stopped(client: &Client, scratch: &Scratch, bytes: usize) -> TaskFuture<usize> {
    let future = client.submit(slow, Slow::new(scratch, bytes));
    eventually("it is being encoded", || !scratch.notes("encoding").is_empty()).await;
    future
}

/// How many tasks could start if there were a worker.
fn ready(client: &Client) -> usize {
    client.admin().snapshot().queue.iter().map(|line| line.queued).sum()
}

async fn a_task_keeps_its_place_while_its_arguments_are_encoded(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let first = stopped(&client, &scratch, LARGE).await;
    let second = client.submit(write, (scratch.path(), "second".into()));
    assert_eq!(client.admin().snapshot().queued, 2);
    assert_eq!(ready(&client), 1, "it has no arguments yet");
    let_encode(&scratch);
    eventually("it is encoded", || ready(&client) == 2).await;
    scratch.release();
    assert_eq!(first.await.unwrap(), LARGE);
    running.await.unwrap();
    second.await.unwrap();
    assert_eq!(scratch.notes("lines"), ["slow", "second"]);
}

async fn a_task_that_is_cancelled_while_it_is_encoded_never_starts(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let cancelled = stopped(&client, &scratch, LARGE).await;
    cancelled.cancel();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    let dropped = client.submit(slow, Slow::new(&scratch, LARGE));
    drop(dropped);
    assert_eq!(client.admin().snapshot().queued, 0);
    let_encode(&scratch);
    let last = client.submit(slow, Slow::new(&scratch, LARGE)).await.unwrap();
    assert_eq!((last, scratch.notes("lines").len()), (LARGE, 1));
}

async fn time_runs_out_while_arguments_are_encoded(engine: Engine) {
    let client = engine.client("workers=1").await.timeout(Duration::from_secs(1));
    let scratch = Scratch::new();
    let error = stopped(&client, &scratch, LARGE).await.await.unwrap_err();
    assert_eq!(error.timed_out_in(), Some(Stage::Queued), "{error}");
    let_encode(&scratch);
    assert!(scratch.notes("lines").is_empty());
}

async fn what_is_encoded_counts_in_the_bounds(engine: Engine) {
    for (bound, of_tenant) in [("queue_tasks=1", false), ("tenant_queue=1", true)] {
        let client = engine.client(&format!("workers=1&window=1&{bound}")).await;
        let scratch = Scratch::new();
        let running = client.submit(hold, scratch.path());
        scratch.started(1).await;
        let first = stopped(&client, &scratch, LARGE).await;
        let small = client.submit(write, (scratch.path(), "no".into()));
        let large = client.submit(slow, Slow::new(&scratch, LARGE));
        assert!(small.is_finished() && large.is_finished(), "they are refused at once");
        for error in [small.await.map(drop).unwrap_err(), large.await.map(drop).unwrap_err()] {
            assert!(error.is_overloaded() && error.is_tenant_limited() == of_tenant, "{error}");
        }
        let_encode(&scratch);
        scratch.release();
        first.await.unwrap();
        running.await.unwrap();
    }
}

async fn arguments_that_turn_out_too_large_are_refused(engine: Engine) {
    let client = engine.client("workers=1&max_payload=200KiB").await;
    let text = |bytes| client.submit(length, "x".repeat(bytes));
    assert_eq!(text(150 << 10).await.unwrap(), 150 << 10);
    let error = text(201 << 10).await.unwrap_err();
    assert!(error.is_too_large(), "{error}");
    assert_eq!(text(1).await.unwrap(), 1);
}

#[outboard::task]
fn length(text: String) -> usize {
    text.len()
}

async fn arguments_that_find_the_queue_full_are_refused(engine: Engine) {
    let client = engine.client("workers=1&window=1&queue_bytes=250KiB").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let fits = client.submit(length, "x".repeat(150 << 10));
    eventually("it is encoded", || ready(&client) == 1).await;
    let error = client.submit(length, "x".repeat(150 << 10)).await.unwrap_err();
    assert!(error.is_overloaded() && error.retry_after().is_some(), "{error}");
    scratch.release();
    assert_eq!(fits.await.unwrap(), 150 << 10);
    running.await.unwrap();
}

async fn a_panic_while_a_large_value_is_encoded_is_an_error(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let_encode(&scratch);
    let mut value = Slow::new(&scratch, LARGE);
    value.stop.panics = true;
    let error = client.submit(slow, value).await.unwrap_err();
    assert!(matches!(error.kind(), outboard::ErrorKind::Codec), "{error}");
    assert!(scratch.notes("lines").is_empty());
    assert_eq!(client.submit(slow, Slow::new(&scratch, LARGE)).await.unwrap(), LARGE);
}

async fn a_shutdown_does_not_wait_for_what_is_encoded(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let future = stopped(&client, &scratch, LARGE).await;
    client.shutdown().await;
    assert!(future.await.unwrap_err().is_closed());
    let_encode(&scratch);
}

async fn detached_tasks_run_when_they_are_encoded(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    stopped(&client, &scratch, LARGE).await.detach();
    let_encode(&scratch);
    client.drain().await;
    assert_eq!(scratch.notes("lines"), ["slow"]);
}

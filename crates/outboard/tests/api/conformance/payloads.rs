//! 1, 6: payloads of every size, with a codec and without one.

use outboard::{Bytes, gather};

use super::{Engine, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::{aborts_before, hold};

on_every_engine! {
    bytes_of_every_size_arrive_whole,
    values_of_every_size_arrive_whole,
    bytes_alone_and_inside_of_something_are_the_same,
    many_large_payloads_at_once_are_not_mixed_up,
    a_large_payload_of_a_cancelled_task_gives_its_room_back,
    a_large_payload_is_there_again_when_its_task_is_retried,
}

/// Around every size at which a payload takes another way.
const SIZES: [usize; 14] = [
    0,
    1,
    (16 << 10) - 1,
    16 << 10,
    32 << 10,
    (32 << 10) + 1,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    1 << 20,
    4 << 20,
    64 << 20,
    (64 << 20) + 1,
    LARGEST,
];

const LARGEST: usize = 65 << 20;

/// Text that is wrong wherever a piece of it is missing, doubled or moved.
fn scrambled(bytes: usize, seed: usize) -> Vec<u8> {
    let lines = (0..).map(|n: usize| format!("{:0>4095}\n", n.wrapping_mul(31) + seed));
    let mut text: Vec<u8> = lines.take(bytes / 4096 + 1).flat_map(String::into_bytes).collect();
    text.truncate(bytes);
    text
}

#[outboard::task]
fn turned(bytes: Bytes) -> Bytes {
    let mut bytes = Vec::from(bytes);
    let by = bytes.len().min(3);
    bytes.rotate_left(by);
    bytes.into()
}

fn is_turned(back: &[u8], sent: &[u8]) -> bool {
    let (end, start) = sent.split_at(sent.len().min(3));
    back.len() == sent.len() && back.starts_with(start) && back.ends_with(end)
}

async fn bytes_of_every_size_arrive_whole(engine: Engine) {
    let client = engine.client(&format!("workers=2&max_payload={LARGEST}")).await;
    for bytes in SIZES {
        let sent = Bytes::from(scrambled(bytes, 7));
        let back = client.submit(turned, sent.clone()).await.unwrap();
        assert!(is_turned(&back, &sent), "{bytes}");
        let back = client.submit(|x: Vec<u8>| x, sent.to_vec()).await.unwrap();
        assert!(back == sent, "{bytes}");
    }
    let beyond = client.submit(turned, vec![0; LARGEST + 1].into()).await;
    assert!(beyond.unwrap_err().is_too_large());
}

async fn values_of_every_size_arrive_whole(engine: Engine) {
    let client = engine.client("workers=2").await;
    for bytes in SIZES {
        let sent = String::from_utf8(scrambled(bytes, 9)).unwrap();
        let back = client.submit(|n: u8, x: String| (x, n), (7, sent.clone())).await.unwrap();
        assert!(back == (sent, 7), "{bytes}");
    }
}

async fn bytes_alone_and_inside_of_something_are_the_same(engine: Engine) {
    let client = engine.client("workers=1").await;
    for bytes in [0, 1, 100, 100_000] {
        let sent = Bytes::from(scrambled(bytes, 3));
        let pair = client.submit(|n: u32, x: Bytes| (x, n), (5, sent.clone())).await.unwrap();
        assert_eq!(pair, (sent.clone(), 5));
        let some = client.submit(|x: Option<Bytes>| x, Some(sent.clone())).await.unwrap();
        assert_eq!(some, Some(sent.clone()));
        let refused: Result<Bytes, String> =
            client.submit(|x: Bytes| Err(x.len().to_string()), sent.clone()).await.unwrap();
        assert_eq!(refused, Err(bytes.to_string()));
        assert_eq!(client.submit(|x: Bytes| x.len(), sent.clone()).await.unwrap(), bytes);
        assert_eq!(client.submit(|x: Vec<u8>| Bytes::from(x), sent.to_vec()).await.unwrap(), sent);
        let later = |x: Bytes| async move { x };
        assert_eq!(client.submit(later, sent.clone()).await.unwrap(), sent);
    }
}

async fn many_large_payloads_at_once_are_not_mixed_up(engine: Engine) {
    let client = engine.client("workers=3").await;
    let sent: Vec<Bytes> =
        (0..60).map(|n| scrambled(40_000 + 70_000 * (n % 7), n).into()).collect();
    let futures = sent.iter().map(|bytes| client.submit(turned, bytes.clone()));
    for (back, sent) in gather(futures).await.unwrap().iter().zip(&sent) {
        assert!(is_turned(back, sent));
    }
}

async fn a_large_payload_of_a_cancelled_task_gives_its_room_back(engine: Engine) {
    let client = engine.client("workers=1").await;
    // Together they need the room three times, were it not given back.
    let sent = Bytes::from(scrambled(12 << 20, 1));
    for _ in 0..8 {
        let scratch = Scratch::new();
        let held = client.submit(hold, scratch.path());
        scratch.started(1).await;
        drop(client.submit(turned, sent.clone()));
        let kept = client.submit(turned, sent.clone());
        scratch.release();
        held.await.unwrap();
        assert!(is_turned(&kept.await.unwrap(), &sent));
    }
}

#[outboard::task]
fn fails_before(at: std::path::PathBuf, times: usize, bytes: Bytes) -> Bytes {
    crate::support::scratch::start(&at);
    let starts = std::fs::read_to_string(at.join("starts")).unwrap().lines().count();
    assert!(starts > times, "start {starts} of {times} that panic");
    bytes
}

async fn a_large_payload_is_there_again_when_its_task_is_retried(engine: Engine) {
    let client = engine.client("workers=1").await.retries(3);
    for bytes in [100_000, 33 << 20] {
        let scratch = Scratch::new();
        let sent = Bytes::from(scrambled(bytes, 5));
        let back = client.submit(fails_before, (scratch.path(), 2, sent.clone())).await.unwrap();
        assert!(back == sent);
        assert_eq!(scratch.starts(), 3);
    }
    if engine.promises(super::Promise::SurvivesCrashes) {
        let scratch = Scratch::new();
        assert_eq!(client.submit(aborts_before, (scratch.path(), 2)).await.unwrap(), 3);
    }
}

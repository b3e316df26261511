//! Large arguments, which go straight to native workers.

use std::path::PathBuf;
use std::time::Duration;

use outboard::{Bytes, Client, gather};

use super::scatter::{both_work, comes_to, known, parent};
use super::{Release, on_every_release};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scratch::{Scratch, is_held, start};

on_every_release!(
    large_arguments_are_with_a_worker_until_their_task_has_ended,
    large_arguments_outlive_the_worker_that_had_them,
    large_arguments_go_to_all_workers,
    large_arguments_wait_until_there_is_room,
);

/// As `hold`, with bytes.
#[outboard::task(name = "tests.hold_large")]
fn hold_large(bytes: Bytes, at: PathBuf) -> (usize, u32) {
    start(&at);
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    (bytes.len(), std::process::id())
}

/// Takes a while; the sum of the bytes, and which process it was.
#[outboard::task(name = "tests.add_up")]
pub(crate) fn add_up(bytes: Bytes, ms: u64) -> (u64, u32) {
    std::thread::sleep(Duration::from_millis(ms));
    (bytes.iter().map(|byte| u64::from(*byte)).sum(), std::process::id())
}

const BYTES: usize = 3 << 19;
const KEYS: &str = "outboard-arguments";

fn large() -> Bytes {
    Bytes::from(vec![1; BYTES])
}

async fn large_arguments_are_with_a_worker_until_their_task_has_ended(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await;
    let scratches = [(); 3].map(|()| Scratch::new());
    let hold = |at: &Scratch| client.submit(hold_large, (large(), at.path()));
    let mut running: Vec<_> = scratches[..2].iter().map(hold).collect();
    scratches[0].started(1).await;
    scratches[1].started(1).await;
    // Only now: arguments that are uploaded at the same time arrive in any order.
    running.push(hold(&scratches[2]));
    comes_to(&cluster, KEYS, 3, 3).await;
    // One waits at the worker, and is cancelled there; one is cancelled while it runs.
    drop(running.pop());
    comes_to(&cluster, KEYS, 2, 2).await;
    drop(running.pop());
    comes_to(&cluster, KEYS, 1, 1).await;
    scratches[0].release();
    assert_eq!(running.pop().unwrap().await.unwrap().0, BYTES);
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

async fn large_arguments_outlive_the_worker_that_had_them(release: Release) {
    let cluster = release.cluster(0).await;
    let mut servers = [cluster.native_worker(1).await, cluster.native_worker(1).await];
    let client = cluster.client().await;
    eventually("both workers are seen", || client.admin().snapshot().workers == 2).await;
    let scratch = Scratch::new();
    let running = client.submit(hold_large, (large(), scratch.path()));
    scratch.started(1).await;
    let first = Process::open(scratch.pid());
    let at = servers.iter().position(|it| it.process().pid.to_string() == parent(first.pid));
    servers[at.unwrap()].kill();
    first.ends().await;
    scratch.started(2).await;
    scratch.release();
    let (bytes, pid) = running.await.unwrap();
    assert!(bytes == BYTES && pid != first.pid);
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

async fn large_arguments_go_to_all_workers(release: Release) {
    let cluster = release.cluster(0).await;
    let _servers = [cluster.native_worker(1).await, cluster.native_worker(1).await];
    let client = cluster.client().await;
    eventually("both workers are seen", || client.admin().snapshot().workers == 2).await;
    let calls = (0..20).map(|_| client.submit(add_up, (large(), 20)));
    let done = gather(calls).await.unwrap();
    assert!(done.iter().all(|(sum, _)| *sum == BYTES as u64));
    both_work(done.iter().map(|(_, pid)| *pid));
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

async fn large_arguments_wait_until_there_is_room(release: Release) {
    let cluster = release.cluster(0).await;
    let server = cluster.native_worker_as("workers=1&held_bytes=8000000");
    server.joined().await;
    let client = Client::connect(&cluster.url()).await.unwrap();
    // A quarter of what it holds is for one client's arguments: one at a time.
    let scratch = Scratch::new();
    let held = client.submit(hold_large, (large(), scratch.path()));
    let others: Vec<_> = (0..10).map(|_| client.submit(add_up, (large(), 0))).collect();
    scratch.started(1).await;
    assert_eq!(known(&cluster, KEYS).await.1, 1, "the others wait here");
    drop(client.submit(add_up, (large(), 0)));
    scratch.release();
    assert_eq!(held.await.unwrap().0, BYTES);
    assert!(gather(others).await.unwrap().iter().all(|(sum, _)| *sum == BYTES as u64));
    // What it would not hold goes along with its task.
    let huge = Bytes::from(vec![1; 6_000_000]);
    assert_eq!(client.submit(add_up, (huge, 0)).await.unwrap().0, 6_000_000);
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

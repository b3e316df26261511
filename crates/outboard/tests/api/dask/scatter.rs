//! Values that were scattered, on clusters of native workers.

use std::path::PathBuf;
use std::time::Duration;

use outboard::dask::python;
use outboard::{Bytes, Client, ErrorKind, Scattered, gather};
use rustix::process::Signal;

use super::cluster::Cluster;
use super::{Release, on_every_release};
use crate::support::eventually;
use crate::support::process::{Process, stat};
use crate::support::scratch::{Scratch, is_held, start};
use crate::support::server::{CLUSTER, Server};

on_every_release!(
    a_value_goes_to_each_worker_and_is_freed_with_its_handle,
    tasks_at_once_spread_the_value,
    a_value_stays_where_it_was_used,
    a_value_outlives_the_worker_that_had_it,
    a_value_moves_when_its_worker_leaves,
    a_value_goes_to_each_scheduler_that_needs_it,
    a_value_is_gone_when_its_scheduler_was_started_again,
    a_killed_clients_values_are_freed,
    a_value_needs_a_native_worker,
    a_value_that_fits_nowhere_is_refused,
);

/// Where the bytes lie in this process, their sum, and which process it is.
#[outboard::task(name = "tests.where_it_lies")]
fn where_it_lies(bytes: Scattered<Bytes>) -> (usize, u64, u32) {
    let sum = bytes.iter().map(|byte| u64::from(*byte)).sum();
    (bytes.as_ptr() as usize, sum, std::process::id())
}

/// Takes a while; the length of the value, and which process it was.
#[outboard::task(name = "tests.measure_slowly")]
fn measure_slowly(bytes: Scattered<Bytes>, ms: u64) -> (usize, u32) {
    std::thread::sleep(Duration::from_millis(ms));
    (bytes.len(), std::process::id())
}

/// As `hold`, with a value.
#[outboard::task(name = "tests.hold_with")]
pub(crate) fn hold_with(bytes: Scattered<Bytes>, at: PathBuf) -> (usize, u32) {
    start(&at);
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    (bytes.len(), std::process::id())
}

const MEBIBYTE: usize = 1 << 20;

fn value() -> Bytes {
    Bytes::from(vec![3; MEBIBYTE])
}

/// The native worker that a process is of.
pub(super) fn parent(process: u32) -> String {
    stat(process).expect("it lives")[1].clone()
}

const KEYS: &str = "outboard-scattered";

/// The keys that the scheduler knows and that begin like this, and how many of
/// such values workers have.
pub(super) async fn known(cluster: &Cluster, begin: &str) -> (Vec<String>, usize) {
    let code = "\
keys = client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])
print(*[key for key in keys if key.startswith(begin)])
held = client.sync(client.scheduler.broadcast, msg={'op': 'keys'})
print(sum(key.startswith(begin) for keys in held.values() for key in keys))
";
    let said = cluster.python(&format!("begin = '{begin}'\n{code}")).await;
    let mut lines = said.lines();
    let keys = lines.next().unwrap().split_whitespace().map(str::to_owned).collect();
    (keys, lines.next().unwrap().parse().unwrap())
}

/// Of 20 tasks, neither of two workers did nearly all.
pub(super) fn both_work(pids: impl Iterator<Item = u32>) {
    let mut workers: Vec<_> = pids.map(parent).collect();
    workers.sort();
    let first = workers.iter().filter(|worker| **worker == workers[0]).count();
    assert!((4..=16).contains(&first), "both work: {workers:?}");
}

/// Waits until there are so many keys and copies.
pub(super) async fn comes_to(cluster: &Cluster, begin: &str, keys: usize, copies: usize) {
    let mut last = Default::default();
    for _ in 0..100 {
        last = known(cluster, begin).await;
        if (last.0.len(), last.1) == (keys, copies) {
            return;
        }
    }
    panic!("{keys} keys and {copies} copies were expected, not {last:?}; {}", cluster.log());
}

async fn a_value_goes_to_each_worker_and_is_freed_with_its_handle(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await;
    let scattered = client.scatter(value()).await.unwrap();
    assert_eq!(known(&cluster, KEYS).await, (vec![], 0), "no task needs it yet");
    let calls = (0..50).map(|_| client.submit(where_it_lies, scattered.clone()));
    let mut found = gather(calls).await.unwrap();
    assert!(found.iter().all(|(_, sum, _)| *sum == 3 * MEBIBYTE as u64));
    found.sort_by_key(|(_, _, pid)| *pid);
    found.dedup();
    let mut pids: Vec<_> = found.iter().map(|(_, _, pid)| *pid).collect();
    pids.dedup();
    assert_eq!(found.len(), pids.len(), "each process has it at one place: {found:?}");
    comes_to(&cluster, KEYS, 1, 1).await;
    let clone = scattered.clone();
    drop(scattered);
    let scratch = Scratch::new();
    let running = client.submit(hold_with, (clone.clone(), scratch.path()));
    scratch.started(1).await;
    drop(clone);
    assert_eq!(known(&cluster, KEYS).await.0.len(), 1, "a task has it");
    scratch.release();
    assert_eq!(running.await.unwrap().0, MEBIBYTE);
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

async fn tasks_at_once_spread_the_value(release: Release) {
    let cluster = release.cluster(0).await;
    let _servers = [cluster.native_worker(1).await, cluster.native_worker(1).await];
    let client = cluster.client().await;
    eventually("both workers are seen", || client.admin().snapshot().workers == 2).await;
    let scattered = client.scatter(value()).await.unwrap();
    let calls = (0..20).map(|_| client.submit(measure_slowly, (scattered.clone(), 20)));
    let done = gather(calls).await.unwrap();
    both_work(done.iter().map(|(_, pid)| *pid));
    comes_to(&cluster, KEYS, 1, 2).await;
    client.shutdown().await;
}

async fn a_value_stays_where_it_was_used(release: Release) {
    let cluster = release.cluster(0).await;
    let _servers = [cluster.native_worker(1).await, cluster.native_worker(1).await];
    let client = cluster.client().await;
    eventually("both workers are seen", || client.admin().snapshot().workers == 2).await;
    let scattered = client.scatter(value()).await.unwrap();
    let calls = (0..8).map(|_| client.submit(measure_slowly, (scattered.clone(), 20)));
    gather(calls).await.unwrap();
    comes_to(&cluster, KEYS, 1, 2).await;
    // The scheduler would have all copies but one removed, to save memory.
    let code = "\
def run(dask_scheduler):
    dask_scheduler.extensions['amm'].run_once()
    return [len(t.who_has) for k, t in dask_scheduler.tasks.items() if 'scattered' in str(k)]
def count(dask_scheduler):
    return [len(t.who_has) for k, t in dask_scheduler.tasks.items() if 'scattered' in str(k)]
print(client.run_on_scheduler(run))
while client.run_on_scheduler(count) != [2]:
    pass
";
    assert_eq!(cluster.python(code).await.trim(), "[1]");
    comes_to(&cluster, KEYS, 1, 2).await;
    drop(scattered);
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

async fn a_value_outlives_the_worker_that_had_it(release: Release) {
    let cluster = release.cluster(0).await;
    let mut servers = [cluster.native_worker(1).await, cluster.native_worker(1).await];
    let client = cluster.client().await;
    eventually("both workers are seen", || client.admin().snapshot().workers == 2).await;
    let scattered = client.scatter(value()).await.unwrap();
    let scratch = Scratch::new();
    let running = client.submit(hold_with, (scattered.clone(), scratch.path()));
    scratch.started(1).await;
    let first = Process::open(scratch.pid());
    let (before, copies) = known(&cluster, KEYS).await;
    assert_eq!((before.len(), copies), (1, 1));
    let at = servers.iter().position(|it| it.process().pid.to_string() == parent(first.pid));
    servers[at.unwrap()].kill();
    first.ends().await;
    // The task runs again, with a value that was uploaded again.
    scratch.started(2).await;
    scratch.release();
    let (bytes, pid) = running.await.unwrap();
    assert!(bytes == MEBIBYTE && pid != first.pid);
    let (after, copies) = known(&cluster, KEYS).await;
    assert_eq!((after.len(), copies), (1, 1));
    assert_ne!(before, after);
    assert_eq!(client.submit(where_it_lies, scattered).await.unwrap().2, pid);
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

async fn a_value_moves_when_its_worker_leaves(release: Release) {
    let cluster = release.cluster(0).await;
    let mut leaves = cluster.native_worker(1).await;
    let client = cluster.client().await;
    let scattered = client.scatter(value()).await.unwrap();
    let (_, _, first) = client.submit(where_it_lies, scattered.clone()).await.unwrap();
    let before = known(&cluster, KEYS).await;
    let _stays = cluster.native_worker(1).await;
    leaves.process().signal(Signal::TERM);
    leaves.succeeds().await;
    let (_, sum, second) = client.submit(where_it_lies, scattered).await.unwrap();
    assert!(sum == 3 * MEBIBYTE as u64 && first != second);
    assert_eq!(before.0.len(), 1);
    comes_to(&cluster, KEYS, 0, 0).await;
    client.shutdown().await;
}

async fn a_value_goes_to_each_scheduler_that_needs_it(release: Release) {
    let clusters = [release.cluster(0).await, release.cluster(0).await];
    let _workers = [clusters[0].native_worker(1).await, clusters[1].native_worker(1).await];
    let [a, b] = [0, 1].map(|at| clusters[at].port());
    let url = format!("dask://127.0.0.1:{a},127.0.0.1:{b}");
    let client = Client::connect(&url).await.unwrap();
    eventually("both are seen", || client.admin().snapshot().workers == 2).await;
    let scattered = client.scatter(value()).await.unwrap();
    let scratches = [Scratch::new(), Scratch::new()];
    let running =
        [0, 1].map(|at| client.submit(hold_with, (scattered.clone(), scratches[at].path())));
    for scratch in &scratches {
        scratch.started(1).await;
        scratch.release();
    }
    let pids: Vec<_> = gather(running).await.unwrap().into_iter().map(|(_, pid)| pid).collect();
    assert_ne!(parent(pids[0]), parent(pids[1]));
    for cluster in &clusters {
        comes_to(cluster, KEYS, 1, 1).await;
    }
    drop(scattered);
    for cluster in &clusters {
        comes_to(cluster, KEYS, 0, 0).await;
    }
    client.shutdown().await;
}

async fn a_value_is_gone_when_its_scheduler_was_started_again(release: Release) {
    let mut cluster = release.cluster(0).await;
    let _server = cluster.native_worker(1).await;
    let client = cluster.client().await;
    let scattered = client.scatter(value()).await.unwrap();
    client.submit(where_it_lies, scattered.clone()).await.unwrap();
    cluster.kill_scheduler();
    eventually("the client sees that", || client.admin().snapshot().workers == 0).await;
    cluster.restart_scheduler();
    eventually("worker and client come back", || client.admin().snapshot().workers == 1).await;
    let (_, sum, _) = client.submit(where_it_lies, scattered.clone()).await.unwrap();
    assert_eq!(sum, 3 * MEBIBYTE as u64);
    comes_to(&cluster, KEYS, 1, 1).await;
    client.shutdown().await;
}

async fn a_killed_clients_values_are_freed(release: Release) {
    let cluster = release.cluster(0).await;
    let _worker = cluster.native_worker(1).await;
    let mut command = crate::support::server::binary();
    command.env(CLUSTER, cluster.url());
    let mut killed = Server::start_as("scattering_client", command);
    killed.scratch.started(1).await;
    let running = Process::open(killed.scratch.pid());
    comes_to(&cluster, KEYS, 1, 1).await;
    killed.kill();
    running.ends().await;
    comes_to(&cluster, KEYS, 0, 0).await;
}

async fn a_value_needs_a_native_worker(release: Release) {
    let cluster = release.shared().await;
    let client = cluster.client().await;
    let scattered = client.scatter(value()).await.unwrap();
    let error = client.submit(where_it_lies, scattered.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("scattered values go to native workers"), "{error}");
    let length = python::<(Scattered<Bytes>,), usize>("builtins:len");
    let error = client.submit(length, scattered).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
    client.shutdown().await;
}

async fn a_value_that_fits_nowhere_is_refused(release: Release) {
    let cluster = release.cluster(0).await;
    let server = cluster.native_worker_as("workers=1&held_bytes=1000000");
    server.joined().await;
    let client = Client::connect(&format!("{}?max_payload=2000000", cluster.url())).await.unwrap();
    let scattered = client.scatter(Bytes::from(vec![0; 1_500_000])).await.unwrap();
    let error = client.submit(where_it_lies, scattered).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("no memory left for more data"), "{error}");
    let error = client.scatter(Bytes::from(vec![0; 2_500_000])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let small = client.scatter(Bytes::from(vec![1; 1000])).await.unwrap();
    assert_eq!(client.submit(where_it_lies, small).await.unwrap().1, 1000);
    client.shutdown().await;
}

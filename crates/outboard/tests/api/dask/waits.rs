//! Tasks on which a scheduler would sit, and clients that leave.

use std::os::unix::fs::PermissionsExt;

use outboard::{Client, gather};

use super::cluster::Cluster;
use super::{Release, on_every_release};
use crate::support::process::{Process, stat};
use crate::support::scratch::Scratch;
use crate::support::tasks::{double, hold};
use crate::support::{eventually, found};

on_every_release!(
    a_task_goes_on_when_its_only_worker_was_killed_and_is_back,
    a_task_makes_an_empty_cluster_grow_and_a_restart_costs_it_nothing,
    clients_leave_no_trace_in_the_schedulers_log,
    a_client_that_is_told_so_asks_no_worker,
    an_adaptive_cluster_that_shrinks_costs_no_request,
);

/// A cluster that lets this program be started beside its workers, and its URL.
pub(crate) async fn cluster(release: Release) -> (Cluster, String) {
    let cluster = release.cluster(0).await;
    let at = cluster.directory().join("program");
    let binary = std::env::current_exe().unwrap();
    let line = format!("exec '{}' outboard_test_worker --exact --nocapture", binary.display());
    std::fs::write(&at, format!("#!/bin/sh\n{line}\n")).unwrap();
    std::fs::set_permissions(&at, PermissionsExt::from_mode(0o755)).unwrap();
    let url = format!("{}?plugin={}&plugin.spares=0", cluster.url(), at.display());
    (cluster, url)
}

/// The parent of a process.
fn parent(pid: u32) -> u32 {
    stat(pid).unwrap()[1].parse().unwrap()
}

async fn a_task_goes_on_when_its_only_worker_was_killed_and_is_back(release: Release) {
    let (mut cluster, url) = cluster(release).await;
    cluster.add_nanny(1, &[]);
    cluster.ready().await;
    let client = Client::connect(&url).await.unwrap();
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let executes = Process::open(scratch.pid());
    Process::open(parent(parent(executes.pid))).kill();
    executes.ends().await;
    scratch.started(2).await;
    scratch.release();
    assert_ne!(running.await.unwrap(), executes.pid);
    client.shutdown().await;
}

async fn a_task_makes_an_empty_cluster_grow_and_a_restart_costs_it_nothing(release: Release) {
    let (mut cluster, url) = cluster(release).await;
    // Dask's own client waits for the scheduler to come.
    cluster.python("").await;
    let client = Client::connect(&url).await.unwrap();
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    let waits = "import time
def look(dask_scheduler):
    return [ts.state for ts in dask_scheduler.tasks.values()], dask_scheduler.adaptive_target()
while client.run_on_scheduler(look)[0] != ['no-worker']:
    time.sleep(0.05)
print(client.run_on_scheduler(look)[1])";
    assert_eq!(cluster.python(waits).await, "1\n", "how many workers it is to have");
    cluster.add_nanny(1, &[]);
    scratch.started(1).await;
    let first = Process::open(scratch.pid());
    cluster.python("client.restart()").await;
    first.ends().await;
    scratch.started(2).await;
    scratch.release();
    assert_ne!(running.await.unwrap(), first.pid);
    client.shutdown().await;
}

/// What Dask's `Adaptive` does when it scales down to one worker.
const SHRINK: &str = "
async def shrink(dask_scheduler):
    leaving = dask_scheduler.workers_to_close(target=1)
    await dask_scheduler.retire_workers(workers=leaving, remove=True, close_workers=True)
    return len(leaving), len(dask_scheduler.workers)
print(*client.run_on_scheduler(shrink))";

#[outboard::task(name = "tests.slow")]
fn slow(number: u64) -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(50));
    number
}

async fn an_adaptive_cluster_that_shrinks_costs_no_request(release: Release) {
    let (mut beside, url) = cluster(release).await;
    (0..2).for_each(|_| beside.add_nanny(1, &[]));
    beside.ready().await;
    shrinks(&beside, Client::connect(&url).await.unwrap()).await;
    let mut native = release.cluster(0).await;
    (0..2).for_each(|_| native.add_native("workers=1&spares=0"));
    native.ready().await;
    shrinks(&native, native.client().await).await;
}

async fn shrinks(cluster: &Cluster, client: Client) {
    eventually("both are there", || client.admin().snapshot().workers == 2).await;
    let scratch = Scratch::new();
    // Both workers are busy when one of them is told to go.
    let held = [(); 2].map(|()| client.submit(hold, scratch.path()));
    scratch.started(2).await;
    let many = gather((0..60).map(|number| client.submit(slow, number)));
    let shrink = cluster.python(SHRINK);
    let released = async {
        eventually("one is left", || client.admin().snapshot().workers == 1).await;
        scratch.release();
    };
    let (shrunk, (), many) = tokio::join!(shrink, released, many);
    assert_eq!(shrunk, "1 1\n");
    assert_eq!(many.unwrap(), (0..60).collect::<Vec<_>>());
    for held in held {
        assert!(held.await.unwrap() > 0);
    }
    client.shutdown().await;
}

async fn clients_leave_no_trace_in_the_schedulers_log(release: Release) {
    let cluster = release.native().await;
    let connected = async || cluster.client().await;
    let clients = futures_util::future::join_all((0..6).map(|_| connected())).await;
    let tasks: Vec<_> = clients.iter().map(|client| client.submit(double, 2)).collect();
    assert_eq!(gather(tasks).await.unwrap(), [4; 6]);
    // All at once.
    futures_util::future::join_all(clients.iter().map(Client::shutdown)).await;
    // Without a word, as where a runtime or a process ends.
    let url = cluster.url();
    let leaves = move || {
        let runtime = crate::support::runtime();
        let clients = runtime.block_on(async {
            futures_util::future::join_all((0..3).map(|_| Client::connect(&url))).await
        });
        drop(runtime);
        drop(clients);
    };
    tokio::task::spawn_blocking(leaves).await.unwrap();
    eventually("the scheduler sees all of them leave", || {
        cluster.log().matches("Remove client Client-outboard").count() >= 9
    })
    .await;
    let log = cluster.log();
    assert!(!log.contains("CRITICAL") && !log.contains("Traceback"), "{log}");
    assert!(log.contains("outboard: joined tcp://127.0.0.1:"), "a worker says so: {log}");
}

async fn a_client_that_is_told_so_asks_no_worker(release: Release) {
    let cluster = release.native().await;
    let client = Client::connect(&format!("{}?direct=0", cluster.url())).await.unwrap();
    let doubled = client.map(double, 0..300).gather().await.unwrap();
    assert_eq!(doubled, (0..300).map(|n| 2 * n).collect::<Vec<u64>>());
    let large = outboard::Bytes::from(vec![1; 3 << 20]);
    let (sum, _) = client.submit(super::large::add_up, (large, 0)).await.unwrap();
    assert_eq!(sum, 3 << 20);
    // This process has no connection to the worker.
    let joined = found("the worker says where it listens", || {
        let log = cluster.log();
        let line = log.lines().find(|line| line.starts_with("outboard: joined "))?;
        line.split(" as tcp://").nth(1)?.split(',').next().map(str::to_owned)
    })
    .await;
    assert!(!is_connected_to(joined.rsplit(':').next().unwrap().parse().unwrap()));
    client.shutdown().await;
}

/// Whether this process has a connection to that port.
fn is_connected_to(port: u16) -> bool {
    !connections_to(port).is_empty()
}

/// The descriptors of this process's connections to that port.
pub(super) fn connections_to(port: u16) -> Vec<i32> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let place = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let there = rows.filter(|row| row[2].ends_with(&place));
    let sockets: Vec<_> = there.map(|row| format!("socket:[{}]", row[9])).collect();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = open.filter(|file| {
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
    });
    open.map(|file| file.file_name().to_str().unwrap().parse().unwrap()).collect()
}

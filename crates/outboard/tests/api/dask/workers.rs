//! Native workers, which are this very binary, driven by Rust clients and by
//! Dask's own.

use std::collections::BTreeMap;
use std::time::Duration;

use outboard::dask::python;
use outboard::error::{Cause, Stage};
use outboard::{Client, Error, ErrorKind, gather};
use rustix::process::Signal;
use serde_bytes::ByteBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cluster::{Certificates, Cluster};
use super::{Release, on_every_release};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::server::{CLUSTER, SECOND, Server};
use crate::support::tasks::{aborts_before, fail, hold, pid, spin, write};

on_every_release!(
    a_result_is_what_the_function_gives,
    a_crash_fails_one_task_and_is_never_run_again,
    what_is_cancelled_or_late_frees_its_cpu,
    a_lost_native_worker_is_made_up_for_by_dask,
    what_no_worker_can_execute_any_more_is_lost,
    a_native_worker_outlives_its_scheduler,
    a_native_worker_finishes_what_runs_before_it_leaves,
    a_second_signal_ends_a_native_worker_at_once,
    dasks_own_client_drives_native_workers,
    a_scheduler_with_python_workers_is_refused,
    strays_go_back_to_pythons_workers,
    pythons_tools_work_beside_a_native_worker,
    a_native_worker_speaks_tls,
    nonsense_does_not_harm_a_native_worker,
    results_that_do_not_fit_are_refused,
    what_ends_a_process_is_told_as_on_one_machine,
    a_killed_clients_tasks_end_with_it,
);

/// Twice as much.
#[outboard::task(name = "double")]
fn double(n: i64) -> i64 {
    2 * n
}

/// All kinds of values, and back.
#[outboard::task(name = "values")]
fn values(
    text: String,
    bytes: ByteBuf,
    numbers: Vec<f64>,
    named: BTreeMap<String, Option<bool>>,
) -> (usize, BTreeMap<String, ByteBuf>, Vec<f64>, Vec<String>) {
    let names = named.into_keys().collect();
    (text.len(), BTreeMap::from([(text, bytes)]), numbers, names)
}

/// Takes its time.
#[outboard::task(name = "nap")]
fn nap(ms: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(ms));
    std::process::id()
}

/// Goes wrong in some way.
#[outboard::task(name = "wrong")]
fn wrong(how: String) {
    match how.as_str() {
        "abort" => std::process::abort(),
        how => panic!("{how}"),
    }
}

/// So many bytes.
#[outboard::task(name = "large")]
pub(super) fn large(bytes: usize) -> ByteBuf {
    ByteBuf::from(vec![7; bytes])
}

async fn a_result_is_what_the_function_gives(release: Release) {
    let cluster = release.cluster(0).await;
    let server = cluster.native_worker(2).await;
    let client = cluster.client().await;
    let here = client.submit(pid, ()).await.unwrap();
    assert!(here != server.process().pid && here != std::process::id(), "a process of its own");
    let doubled = client.map(double, 0..300).gather().await.unwrap();
    assert_eq!(doubled, (0..300).map(|n| 2 * n).collect::<Vec<i64>>());
    let (named, bytes) = (BTreeMap::from([("a".to_owned(), None)]), ByteBuf::from(vec![0, 255]));
    let given = client.submit(values, ("é".into(), bytes.clone(), vec![1.5], named)).await.unwrap();
    assert_eq!(given, (2, BTreeMap::from([("é".to_owned(), bytes)]), vec![1.5], vec!["a".into()]));
    let (_, report) = client.submit(nap, 30).with_report().await.unwrap();
    assert!(report.run_time >= Duration::from_millis(30) && report.memory_bytes > Some(1 << 20));
    let (first, second) = (Scratch::new(), Scratch::new());
    let both = [first.path(), second.path()].map(|path| client.submit(hold, path));
    first.started(1).await;
    second.started(1).await;
    first.release();
    second.release();
    let pids = gather(both).await.unwrap();
    assert_ne!(pids[0], pids[1], "two run at once");
    client.shutdown().await;
}

/// A cluster with one native worker, which runs one task at a time.
async fn one_worker(release: Release) -> (Cluster, Server, Client) {
    let cluster = release.cluster(0).await;
    let server = cluster.native_worker(1).await;
    let client = cluster.client().await;
    (cluster, server, client)
}

async fn a_crash_fails_one_task_and_is_never_run_again(release: Release) {
    let (_cluster, _server, client) = one_worker(release).await;
    let scratch = Scratch::new();
    let error = client.submit(aborts_before, (scratch.path(), usize::MAX)).await.unwrap_err();
    let lost = error.worker_loss().unwrap();
    assert_eq!(lost.cause, Some(Cause::Signal(6)), "{error}");
    assert_eq!(lost.pid, scratch.pid());
    assert!(lost.task.ends_with("aborts_before") && lost.memory_bytes > Some(1 << 20));
    let error = client.submit(fail, "oops".into()).await.unwrap_err();
    let panic = error.panic().unwrap();
    assert_eq!(panic.message, "oops");
    assert!(panic.location.contains("tasks.rs:") && !panic.backtrace.is_empty());
    assert_eq!(client.submit(double, 4).await.unwrap(), 8);
    assert_eq!(scratch.starts(), 1, "Dask does not run it again");
    let again = client.retries(2).submit(aborts_before, (scratch.path(), 2));
    let (starts, report) = again.with_report().await.unwrap();
    assert_eq!((starts, report.attempt), (3, 2), "but the client does, if it is asked to");
    client.shutdown().await;
}

async fn what_is_cancelled_or_late_frees_its_cpu(release: Release) {
    let (_cluster, _server, client) = one_worker(release).await;
    let (dropped, late) = (Scratch::new(), Scratch::new());
    let running = client.submit(spin, dropped.path());
    dropped.started(1).await;
    let process = Process::open(dropped.pid());
    drop(running);
    process.ends().await;
    let error = client.timeout(Duration::from_secs(2)).submit(spin, late.path()).await.unwrap_err();
    assert_eq!(error.timed_out_in(), Some(Stage::Running), "{error}");
    if let Some(process) = Process::find(late.pid()) {
        process.ends().await;
    }
    assert_eq!(client.submit(double, 4).await.unwrap(), 8);
    client.shutdown().await;
}

async fn a_lost_native_worker_is_made_up_for_by_dask(release: Release) {
    let cluster = release.cluster(0).await;
    let mut servers = [cluster.native_worker(1).await, cluster.native_worker(1).await];
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let first = Process::open(scratch.pid());
    let parent = crate::support::process::stat(first.pid).unwrap()[1].clone();
    let at = servers.iter().position(|server| server.process().pid.to_string() == parent).unwrap();
    servers[at].kill();
    first.ends().await;
    scratch.started(2).await;
    scratch.release();
    assert_ne!(running.await.unwrap(), first.pid);
    client.shutdown().await;
}

async fn what_no_worker_can_execute_any_more_is_lost(release: Release) {
    let (cluster, mut server, client) = one_worker(release).await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    // While another knows its function, it goes on.
    let mut next = cluster.native_worker(1).await;
    server.kill();
    scratch.started(2).await;
    next.kill();
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
    let error = ended.expect("it ends").unwrap_err();
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    let _server = cluster.native_worker(1).await;
    assert_eq!(client.submit(double, 4).await.unwrap(), 8);
    assert_eq!(scratch.starts(), 2);
    client.shutdown().await;
}

async fn a_native_worker_outlives_its_scheduler(release: Release) {
    let (mut cluster, server, client) = one_worker(release).await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let process = Process::open(scratch.pid());
    cluster.kill_scheduler();
    // What it ran is not wanted any more.
    process.ends().await;
    assert_eq!(running.await.unwrap_err().worker_loss().unwrap().cause, Some(Cause::Scheduler));
    cluster.restart_scheduler();
    let joins = || {
        let events = server.scratch.notes("events");
        events.iter().filter(|event| event.starts_with("joined ")).count()
    };
    eventually("it joins again", || joins() == 2).await;
    eventually("the client sees it", || client.admin().snapshot().workers == 1).await;
    assert_eq!(client.submit(double, 4).await.unwrap(), 8);
    client.shutdown().await;
}

async fn a_native_worker_finishes_what_runs_before_it_leaves(release: Release) {
    let cluster = release.cluster(0).await;
    let (mut leaves, client) = (cluster.native_worker(1).await, cluster.client().await);
    let (scratch, notes) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let waiting = client.submit(write, (notes.path(), "x".into()));
    let _stays = cluster.native_worker(1).await;
    // To all its processes, as a service manager sends it.
    Process::open(scratch.pid()).signal(Signal::TERM);
    leaves.process().signal(Signal::TERM);
    // What has not started goes elsewhere at once.
    let elsewhere = waiting.await.unwrap();
    assert_ne!(elsewhere, scratch.pid());
    scratch.release();
    assert_eq!(running.await.unwrap(), scratch.pid());
    leaves.succeeds().await;
    assert_eq!(client.submit(pid, ()).await.unwrap(), elsewhere);
    client.shutdown().await;
}

async fn a_second_signal_ends_a_native_worker_at_once(release: Release) {
    let (cluster, mut server, client) = one_worker(release).await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let process = Process::open(scratch.pid());
    server.process().signal(Signal::TERM);
    eventually("it is leaving", || cluster.log().contains("Receive client")).await;
    while !server.process().has_ended() {
        server.process().signal(Signal::TERM);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.ends().await;
    server.succeeds().await;
    drop(running);
    client.shutdown().await;
}

async fn dasks_own_client_drives_native_workers(release: Release) {
    let cluster = release.cluster(0).await;
    let (first, _second) = (cluster.native_worker(1).await, cluster.native_worker(1).await);
    let said = cluster.script("drives_native_workers.py").await;
    assert!(said.trim_end().ends_with("all is well"), "{said}");
    drop(first);
}

async fn a_scheduler_with_python_workers_is_refused(release: Release) {
    let cluster = release.cluster(1).await;
    let mut refused = cluster.native_worker_as("workers=1");
    refused.succeeds().await;
    let error = refused.scratch.notes("error").join("\n");
    assert!(error.contains("P2P shuffles") && error.contains("mixed=1"), "{error}");
    assert!(refused.scratch.notes("events").is_empty());
}

async fn strays_go_back_to_pythons_workers(release: Release) {
    let cluster = release.cluster(1).await;
    let server = cluster.native_worker_as("workers=1&mixed=1");
    server.joined().await;
    let client = cluster.client().await;
    assert_eq!(client.submit(double, 4).await.unwrap(), 8);
    let negate = python::<(i64,), i64>("operator:neg");
    assert_eq!(client.submit(negate, 4).await.unwrap(), -4);
    let said = cluster.script("strays.py").await;
    assert!(said.trim_end().ends_with("all is well"), "{said}");
    client.shutdown().await;
}

async fn pythons_tools_work_beside_a_native_worker(release: Release) {
    let cluster = release.cluster(1).await;
    let server = cluster.native_worker_as("workers=1&mixed=1");
    assert!(server.joined().await.ends_with(", 1 task at once"));
    let said = cluster.script("pythons_tools.py").await;
    assert!(said.trim_end().ends_with("all is well"), "{said}");
}

async fn a_native_worker_speaks_tls(release: Release) {
    let directory = tempfile::tempdir().unwrap();
    for certificates in [
        Certificates::signed(directory.path()),
        Certificates::temporary(directory.path(), "temporary"),
    ] {
        let mut cluster = release.secured(certificates.clone()).await;
        cluster.kill_worker(0);
        let server = loop {
            // Until the scheduler has noticed that its Python worker is gone.
            let mut server = cluster.native_worker_as("workers=1");
            let joined =
                || server.scratch.notes("events").iter().any(|event| event.starts_with("joined "));
            eventually("it joins or is refused", || {
                joined() || !server.scratch.notes("error").is_empty()
            })
            .await;
            if joined() {
                break server;
            }
            server.succeeds().await;
        };
        let url = format!("{}?{}", cluster.address(), certificates.query());
        let client = outboard::Client::connect(&url).await.unwrap();
        assert_eq!(client.submit(double, 4).await.unwrap(), 8);
        client.shutdown().await;
        let said = server.joined().await;
        assert!(said.contains(" as tls://127.0.0.1:"), "{said}");
    }
}

async fn nonsense_does_not_harm_a_native_worker(release: Release) {
    let cluster = release.cluster(0).await;
    let server = cluster.native_worker(1).await;
    let joined = server.joined().await;
    let events = server.scratch.notes("events");
    let place = joined.split("tcp://").nth(2).unwrap().split(',').next().unwrap().to_owned();
    let client = cluster.client().await;
    assert_eq!(client.submit(double, 1).await.unwrap(), 2);
    let hello = b"\x3a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x2a\0\0\0\0\0\0\0\
        \x83\xabcompression\xc0\xa6python\x93\x03\x0b\x07\xafpickle-protocol\x05";
    let framed = |frame: &[u8]| {
        let numbers = [16 + frame.len() as u64, 1, frame.len() as u64].map(u64::to_le_bytes);
        [&numbers.concat(), frame].concat()
    };
    let nonsense = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [0xff; 64].to_vec(),
        [&hello[..], &[0xff; 64]].concat(),
        [&hello[..], &framed(b"\xc1")].concat(),
        [&hello[..], &framed(b"\x81\xa2op\xa8get_data")].concat(),
        [&hello[..], &framed(b"\x81\xa2op\xabupdate_data")].concat(),
        [
            &hello[..],
            &framed(b"\x82\xa2op\xabupdate_data\xa4data\x81\x01\x81\xae__Serialized__\x09"),
        ]
        .concat(),
        [&hello[..], &framed(b"\x81\xa2op\xa7nothing")].concat(),
    ];
    for bytes in nonsense {
        let mut stream = tokio::net::TcpStream::connect(&place).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let (mut answers, mut write) = stream.into_split();
        write.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // It may reset the connection.
        let _ = answers.read_to_end(&mut answer).await;
    }
    assert_eq!(client.submit(double, 4).await.unwrap(), 8);
    assert_eq!(server.scratch.notes("events"), events, "it never left");
    client.shutdown().await;
}

async fn results_that_do_not_fit_are_refused(release: Release) {
    let cluster = release.cluster(0).await;
    let server = cluster.native_worker_as("workers=1&held_bytes=1000000");
    server.joined().await;
    let client = cluster.client().await;
    let error = client.submit(large, 2_000_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Raised, "{error}");
    assert!(error.to_string().contains("MemoryError"), "{error}");
    // What is fetched is freed: far more than fits passes through.
    for _ in 0..20 {
        assert_eq!(client.submit(large, 300_000).await.unwrap().len(), 300_000);
    }
    client.shutdown().await;
}

/// Wants so much memory.
#[outboard::task(name = "hungry")]
pub(super) fn hungry(mebibytes: usize) -> usize {
    let filled = (0..mebibytes).map(|_| std::hint::black_box(vec![1_u8; 1 << 20]));
    filled.collect::<Vec<_>>().len()
}

/// A task that wants more than its process may have, which is that task's end.
pub(super) async fn runs_out_of_memory(client: &Client, limit: u64) -> Error {
    let error = client.submit(hungry, 512).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
    let lost = error.worker_loss().unwrap();
    assert!(lost.shortage.is_some() && lost.pid > 0, "{lost:?}");
    assert_eq!((lost.task, lost.attempt, lost.worker), ("hungry", 1, 1));
    assert!(lost.memory_bytes.is_some_and(|bytes| bytes < 2 * limit), "{lost:?}");
    error
}

async fn what_ends_a_process_is_told_as_on_one_machine(release: Release) {
    let cluster = release.cluster(0).await;
    let limit = 128 << 20;
    let server = cluster.native_worker_as(&format!("workers=1&memory_limit={limit}&quarantine=2"));
    server.joined().await;
    let client = cluster.client().await;
    for _ in 0..2 {
        let error = runs_out_of_memory(&client, limit).await;
        let lost = error.worker_loss().unwrap();
        assert!(lost.run_time.is_some() && lost.cpu_time.is_some(), "{lost:?}");
        assert!(error.to_string().contains("ran out of memory in `hungry`"), "{error}");
    }
    let error = client.submit(hungry, 512).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quarantined, "{error}");
    assert_eq!(client.submit(hungry, 1).await.unwrap(), 1, "other arguments are not");
    let snapshot = client.admin().snapshot();
    assert_eq!((snapshot.failed, snapshot.done), (3, 1));
    let causes: Vec<_> =
        snapshot.crashes.iter().map(|crash| crash.loss.shortage.is_some()).collect();
    assert_eq!(causes, [true, true], "operators see what ended processes over there");
    let [worker] = &snapshot.per_worker[..] else { panic!("one worker: {snapshot:?}") };
    assert_eq!((worker.restarts.lost, worker.done), (2, 4));
    assert!(worker.address.as_ref().is_some_and(|at| at.starts_with("tcp://127.0.0.1:")));
    client.shutdown().await;
}

async fn a_killed_clients_tasks_end_with_it(release: Release) {
    let cluster = release.cluster(0).await;
    let _worker = cluster.native_worker(1).await;
    let second = Scratch::new();
    let mut command = crate::support::server::binary();
    command.env(CLUSTER, cluster.url()).env(SECOND, second.path());
    let mut killed = Server::start_as("cluster_client", command);
    killed.scratch.started(1).await;
    let running = Process::open(killed.scratch.pid());
    killed.kill();
    running.ends().await;
    let client = cluster.client().await;
    assert_eq!(client.submit(double, 4).await.unwrap(), 8, "and others go on");
    client.shutdown().await;
}

//! What breaks: schedulers that die, fall silent or come back, workers that
//! die, connections that are cut, peers that talk nonsense. Every future ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use outboard::dask::python;
use outboard::error::Cause;
use outboard::{Client, ErrorKind, Status, gather};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Release, on_every_release};
use crate::support::eventually;
use crate::support::scratch::Scratch;

on_every_release!(
    a_lost_scheduler_ends_what_it_had_and_is_used_again,
    a_silent_scheduler_is_lost_in_the_time_that_was_said,
    a_lost_worker_is_told_and_the_next_one_goes_on,
    two_schedulers_share_the_work_and_one_may_die,
    a_connection_cut_in_the_middle_is_made_again,
);

/// As long as any error below may take on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

fn hold() -> outboard::dask::PythonFunction<(PathBuf,), u32> {
    python("only_workers:hold")
}

fn negate() -> outboard::dask::PythonFunction<(i64,), i64> {
    python("operator:neg")
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it ends soon")
}

async fn a_lost_scheduler_ends_what_it_had_and_is_used_again(release: Release) {
    let mut cluster = release.cluster(1).await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let running = client.submit(hold(), scratch.path());
    scratch.started(1).await;
    cluster.kill_scheduler();
    let error = soon(running).await.unwrap_err();
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Scheduler), "{error}");
    scratch.release();
    // What is submitted now waits for a while, and is told that nobody comes.
    let error = soon(client.submit(negate(), 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    cluster.kill_worker(0);
    cluster.restart_scheduler();
    cluster.add_worker();
    eventually("it is used again", || client.admin().snapshot().workers == 1).await;
    assert_eq!(client.submit(negate(), 7).await.unwrap(), -7);
    client.shutdown().await;
}

async fn a_silent_scheduler_is_lost_in_the_time_that_was_said(release: Release) {
    let cluster = release.cluster(1).await;
    let client = Client::connect(&format!("{}?silence=2s", cluster.url())).await.unwrap();
    let (scratch, again) = (Scratch::new(), Scratch::new());
    let lost = client.submit(hold(), scratch.path());
    let rerun = client.retries(1).submit(hold(), again.path());
    scratch.started(1).await;
    cluster.scheduler().signal(Signal::STOP);
    let error = soon(lost).await.unwrap_err();
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Scheduler), "{error}");
    scratch.release();
    cluster.scheduler().signal(Signal::CONT);
    again.release();
    assert!(rerun.await.unwrap() > 0);
    client.shutdown().await;
}

async fn a_lost_worker_is_told_and_the_next_one_goes_on(release: Release) {
    let mut cluster = release.cluster(2).await;
    let client = cluster.client().await;
    // Dask itself runs a task again whose worker is lost.
    let scratch = Scratch::new();
    let rerun = client.submit(hold(), scratch.path());
    scratch.started(1).await;
    let first = scratch.pid();
    let at = if cluster.worker(0).pid == first { 0 } else { 1 };
    cluster.kill_worker(at);
    scratch.started(2).await;
    scratch.release();
    assert_ne!(rerun.await.unwrap(), first);
    // Until it has lost a worker too many.
    (0..4).for_each(|_| cluster.add_worker());
    let scratch = Scratch::new();
    let crash = python::<(PathBuf,), ()>("only_workers:crash");
    let error = client.submit(crash, scratch.path()).await.unwrap_err();
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    assert_eq!(scratch.starts(), 4);
    client.shutdown().await;
}

async fn two_schedulers_share_the_work_and_one_may_die(release: Release) {
    let mut first = release.cluster(1).await;
    let second = release.cluster(1).await;
    let hosts = second.url().replace("dask://", ",");
    let client = Client::connect(&format!("{}{hosts}", first.url())).await.unwrap();
    eventually("both are up", || client.admin().snapshot().workers == 2).await;
    let (a, b) = (Scratch::new(), Scratch::new());
    let both = [client.submit(hold(), a.path()), client.submit(hold(), b.path())];
    a.started(1).await;
    b.started(1).await;
    assert_ne!(a.pid(), b.pid());
    first.kill_scheduler();
    let [one, other] = both;
    let (dead, (alive, at)) = match first.worker(0).pid == a.pid() {
        true => (one, (other, &b)),
        false => (other, (one, &a)),
    };
    assert_eq!(soon(dead).await.unwrap_err().kind(), ErrorKind::WorkerLost);
    assert_eq!(alive.status(), Status::Running);
    at.release();
    alive.await.unwrap();
    let results = gather((0..20).map(|n| client.submit(negate(), n))).await.unwrap();
    assert_eq!(results, (0..20).map(|n: i64| -n).collect::<Vec<_>>());
    client.shutdown().await;
}

/// A wire that can be cut: passes bytes on, and then passes on half of what
/// comes and closes.
struct Wire {
    url: String,
    cut: tokio::sync::watch::Sender<usize>,
}

impl Wire {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("dask://{}", listener.local_addr().unwrap());
        let (cut, cuts) = tokio::sync::watch::channel(0);
        tokio::spawn(async move {
            loop {
                let (here, _) = listener.accept().await.unwrap();
                let there = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(pass(here, there, cuts.clone()));
            }
        });
        Self { url, cut }
    }
}

async fn pass(here: TcpStream, there: TcpStream, mut cuts: tokio::sync::watch::Receiver<usize>) {
    let ((mut from, mut back), (mut to, mut forth)) = (here.into_split(), there.into_split());
    let (from, to) = (&mut from, &mut to);
    cuts.mark_unchanged();
    tokio::select! {
        _ = tokio::io::copy(from, &mut forth) => {}
        () = async {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(read @ 1..) = to.read(&mut buffer).await {
                let cut = cuts.has_changed().unwrap_or(true);
                let part = if cut { read / 2 } else { read };
                if back.write_all(&buffer[..part]).await.is_err() || cut {
                    return;
                }
            }
        } => {}
    }
}

async fn a_connection_cut_in_the_middle_is_made_again(release: Release) {
    let cluster = release.cluster(1).await;
    let wire = Wire::to(cluster.port()).await;
    let client = Client::connect(&wire.url).await.unwrap();
    let scratch = Scratch::new();
    let running = client.submit(hold(), scratch.path());
    scratch.started(1).await;
    wire.cut.send_replace(1);
    scratch.release();
    let error = soon(running).await.unwrap_err();
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Scheduler), "{error}");
    eventually("it is connected again", || client.admin().snapshot().workers == 1).await;
    assert_eq!(client.submit(negate(), 7).await.unwrap(), -7);
    client.shutdown().await;
}

/// A peer that answers the same to everyone, and goes on listening.
async fn peer(says: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("dask://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let says = says.clone();
            tokio::spawn(async move {
                let _ = stream.write_all(&says).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    url
}

/// One frame, as Dask frames it.
fn framed(frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u64;
    let mut out: Vec<u8> =
        [16 + length, 1, length].into_iter().flat_map(u64::to_le_bytes).collect();
    out.extend(frame);
    out
}

#[test]
fn peers_that_talk_nonsense_are_unavailable() {
    crate::support::run(async {
        let hello =
            framed(b"\x83\xabcompression\xc0\xa6python\x93\x03\x0b\x07\xafpickle-protocol\x05");
        let versions = |release: &str| {
            let mut out = b"\x81\xa8packages\x81\xabdistributed".to_vec();
            out.push(0xa0 | release.len() as u8);
            out.extend(release.bytes());
            [hello.clone(), framed(&out)].concat()
        };
        let nonsense = [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), ""),
            (vec![0; 100], ""),
            (vec![0xff; 100], "exceeds the limit"),
            ([hello.clone(), vec![0xff; 100]].concat(), "exceeds the limit"),
            ([hello.clone(), framed(&[0xc1; 30])].concat(), "which release"),
            (versions("2025.3.1"), "2025.4.0 is the oldest"),
            (versions("banana"), "no release that is known"),
        ];
        for (says, complaint) in nonsense {
            let start = Instant::now();
            let error = soon(Client::connect(&peer(says.clone()).await)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert!(error.to_string().contains(complaint), "{says:?}: {error}");
            assert!(start.elapsed() < SOON);
        }
    });
}

#[test]
fn a_scheduler_that_says_nothing_after_its_hello_is_unavailable() {
    crate::support::run(async {
        let hello =
            framed(b"\x83\xabcompression\xc0\xa6python\x93\x03\x0b\x07\xafpickle-protocol\x05");
        let url = format!("{}?silence_ms=1000", peer(hello).await);
        let error = soon(Client::connect(&url)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("timed out"), "{error}");
    });
}

#[test]
fn a_peer_that_is_not_there_is_named() {
    crate::support::run(async {
        let error = soon(Client::connect("dask://127.0.0.1:1,127.0.0.1:2")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains("tcp://127.0.0.1:1") && text.contains("127.0.0.1:2"), "{text}");
        for wrong in ["dask://", "dask://host", "tls://127.0.0.1:1?tls_ca=", "tcp://a:1?speed=1"] {
            let error = Client::connect(wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{wrong}: {error}");
        }
    });
}

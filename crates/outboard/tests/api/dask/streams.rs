//! Streams and progress on clusters, beside what the contract's suite has of them: through
//! the scheduler, with workers and schedulers that die, and beside Python's workers.

use std::path::PathBuf;
use std::time::Duration;

use outboard::error::Cause;
use outboard::{Bytes, Client, SendError, Sender, TaskStream, gather, python};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd};
use serde::de::DeserializeOwned;

use super::waits::{self, connections_to};
use super::{Release, on_every_release, plugin};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scratch::{Scratch, is_held, note, start};
use crate::support::tasks::{pid, same};

on_every_release!(
    items_come_through_the_scheduler_where_no_worker_is_asked,
    many_streams_go_through_the_scheduler_at_once,
    a_connection_that_breaks_neither_loses_nor_doubles_an_item,
    a_process_that_dies_ends_its_stream_after_its_items,
    a_worker_that_dies_ends_a_stream_of_which_items_have_arrived,
    a_stream_without_items_runs_again_where_its_worker_dies,
    a_scheduler_that_dies_ends_a_stream_after_its_items,
    streams_and_progress_come_from_beside_pythons_workers,
    what_a_generator_gives_is_sent_by_a_python_worker,
    a_generator_streams_to_a_client_of_rust,
    a_restart_ends_a_stream_that_has_begun_and_begins_another_again,
    a_restart_ends_the_stream_of_a_native_worker,
);

/// Numbers, then what it is told to do.
#[outboard::task(name = "tests.numbers")]
fn numbers(at: PathBuf, to: u64, aborts: bool, out: Sender<u64>) -> Result<u64, SendError> {
    start(&at);
    for n in 0..to {
        outboard::progress(n + 1, to, "counting");
        out.send(n)?;
    }
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    if aborts {
        std::process::abort();
    }
    Ok(to)
}

/// Is held before its first item.
#[outboard::task(name = "tests.late_numbers")]
fn late_numbers(at: PathBuf, to: u64, out: Sender<u64>) -> Result<u64, SendError> {
    start(&at);
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    (0..to).try_for_each(|n| out.send(n))?;
    Ok(to)
}

/// Notes each item after it was sent.
#[outboard::task(name = "tests.kibibytes")]
fn kibibytes(at: PathBuf, items: usize, out: Sender<Bytes>) -> Result<(), SendError> {
    start(&at);
    for n in 0..items {
        out.send(vec![n as u8; 1024].into())?;
        note(&at, "sent", "");
    }
    Ok(())
}

/// The items up to the error of a stream, which are the first so many.
async fn ends_after<R: DeserializeOwned + Send + 'static>(
    mut stream: TaskStream<u64, R>,
    items: u64,
) -> outboard::Error {
    let mut next = 0;
    loop {
        match stream.next().await.expect("an error") {
            Ok(item) => assert_eq!(item, next, "once, and in order"),
            Err(error) => {
                assert_eq!(next, items, "{error}");
                return error;
            }
        }
        next += 1;
    }
}

/// A stream that holds after so many items, all of which have arrived.
async fn held(
    client: &Client,
    scratch: &Scratch,
    items: u64,
) -> TaskStream<u64, Result<u64, SendError>> {
    let arrived = || client.admin().snapshot().stream_items;
    let before = arrived();
    let stream = client.stream(numbers, (scratch.path(), items, false));
    eventually("all items arrive", || arrived() == before + items).await;
    stream
}

async fn items_come_through_the_scheduler_where_no_worker_is_asked(release: Release) {
    let cluster = release.native().await;
    let client = Client::connect(&format!("{}?direct=0", cluster.url())).await.unwrap();
    let scratch = Scratch::new();
    let mut stream = client.stream(kibibytes, (scratch.path(), 1000));
    assert_eq!(stream.next().await.unwrap().unwrap(), vec![0; 1024]);
    let sent = || scratch.notes("sent").len();
    eventually("the window is full", || sent() == 250).await;
    for n in 1..1000 {
        assert_eq!(stream.next().await.unwrap().unwrap(), vec![n as u8; 1024]);
    }
    assert_eq!(stream.output().await.unwrap(), Ok(()));
    let dropped = Scratch::new();
    let stream = held(&client, &dropped, 1).await;
    let process = Process::open(dropped.pid());
    drop(stream);
    process.ends().await;
    let scratch = Scratch::new();
    let task = client.submit(says_how_far, scratch.path());
    let seen = task.progress().next().await.expect("it runs");
    assert_eq!((seen.done, seen.total, seen.text.as_str()), (7, 10, "reading"));
    scratch.release();
    task.await.unwrap();
    client.shutdown().await;
}

#[outboard::task(name = "tests.says_how_far")]
fn says_how_far(at: PathBuf) {
    start(&at);
    outboard::progress(7, 10, "reading");
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// More than are asked for at once.
async fn many_streams_go_through_the_scheduler_at_once(release: Release) {
    let mut cluster = release.cluster(0).await;
    cluster.add_native("workers=20&spares=0");
    cluster.ready().await;
    let client = Client::connect(&format!("{}?direct=0", cluster.url())).await.unwrap();
    let scratches: Vec<_> = (0..20).map(|_| Scratch::new()).collect();
    let streams: Vec<_> =
        scratches.iter().map(|at| client.stream(numbers, (at.path(), 3, false))).collect();
    eventually("each has sent", || client.admin().snapshot().stream_items == 60).await;
    scratches.iter().for_each(Scratch::release);
    for stream in streams {
        assert_eq!(stream.output().await.unwrap(), Ok(3));
    }
    client.shutdown().await;
}

async fn a_connection_that_breaks_neither_loses_nor_doubles_an_item(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await;
    let worker = client.admin().snapshot().per_worker[0].address.clone().unwrap();
    let port = worker.rsplit(':').next().unwrap().parse().unwrap();
    let mut stream = client.stream(large_items, (40, 3 << 20));
    let mut cuts = 0;
    for n in 0..40_u8 {
        let item = stream.next().await.unwrap().unwrap();
        assert!(item.len() == 3 << 20 && item.iter().all(|byte| *byte == n), "item {n}");
        // The next one is under way, or about to be.
        cuts += cut(port);
    }
    assert_eq!(stream.output().await.unwrap(), Ok(()));
    assert!(cuts > 0, "none was open");
    client.shutdown().await;
}

#[outboard::task(name = "tests.large_items")]
fn large_items(items: u8, bytes: usize, out: Sender<Bytes>) -> Result<(), SendError> {
    (0..items).try_for_each(|n| out.send(vec![n; bytes].into()))
}

/// Breaks the connections of this process to a port; how many there were.
fn cut(port: u16) -> usize {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
    let there = connections_to(port).into_iter();
    let broken = there.filter_map(|descriptor| {
        let copy = pidfd_getfd(&own, descriptor, PidfdGetfdFlags::empty()).ok()?;
        shutdown(&copy, Shutdown::Both).ok()
    });
    broken.count()
}

async fn a_process_that_dies_ends_its_stream_after_its_items(release: Release) {
    let cluster = release.shared_native().await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    scratch.release();
    let stream = client.stream(numbers, (scratch.path(), 500, true));
    let error = ends_after(stream, 500).await;
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Signal(6)), "{error}");
    assert_eq!(scratch.starts(), 1);
    client.shutdown().await;
}

async fn a_worker_that_dies_ends_a_stream_of_which_items_have_arrived(release: Release) {
    let mut cluster = release.native().await;
    let client = cluster.client().await.retries(3);
    let scratch = Scratch::new();
    let stream = held(&client, &scratch, 100).await;
    // Dask runs the task again, at the next one.
    cluster.add_native("workers=1&spares=0");
    eventually("another worker joins", || client.admin().snapshot().workers == 2).await;
    cluster.kill_worker(0);
    let error = ends_after(stream, 100).await;
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    client.shutdown().await;
}

async fn a_stream_without_items_runs_again_where_its_worker_dies(release: Release) {
    let mut cluster = release.native().await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let mut stream = client.stream(late_numbers, (scratch.path(), 100));
    scratch.started(1).await;
    cluster.add_native("workers=1&spares=0");
    eventually("another worker joins", || client.admin().snapshot().workers == 2).await;
    cluster.kill_worker(0);
    scratch.started(2).await;
    scratch.release();
    for n in 0..100 {
        assert_eq!(stream.next().await.unwrap().unwrap(), n);
    }
    assert_eq!(stream.output().await.unwrap(), Ok(100));
    client.shutdown().await;
}

async fn a_scheduler_that_dies_ends_a_stream_after_its_items(release: Release) {
    let mut cluster = release.native().await;
    let client = cluster.client().await.retries(3);
    let scratch = Scratch::new();
    let stream = held(&client, &scratch, 100).await;
    cluster.kill_scheduler();
    let error = ends_after(stream, 100).await;
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Scheduler), "{error}");
    assert_eq!(scratch.starts(), 1);
    client.shutdown().await;
}

async fn streams_and_progress_come_from_beside_pythons_workers(release: Release) {
    let cluster = plugin::shared(release).await;
    for options in ["", "&direct=0"] {
        let url = plugin::url(&cluster, &plugin::program(&cluster));
        let client = Client::connect(&format!("{url}{options}")).await.unwrap();
        let scratch = Scratch::new();
        let mut stream = client.stream(kibibytes, (scratch.path(), 1000));
        assert_eq!(stream.next().await.unwrap().unwrap(), vec![0; 1024]);
        let sent = || scratch.notes("sent").len();
        eventually("the window is full", || sent() == 250).await;
        for n in 1..1000 {
            assert_eq!(stream.next().await.unwrap().unwrap(), vec![n as u8; 1024]);
        }
        assert_eq!(stream.output().await.unwrap(), Ok(()));
        assert_eq!(client.admin().snapshot().stream_items, 1000);

        let crash = Scratch::new();
        crash.release();
        let error = ends_after(client.stream(numbers, (crash.path(), 500, true)), 500).await;
        assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Signal(6)), "{error}");

        let dropped = Scratch::new();
        let stream = client.stream(numbers, (dropped.path(), 1, false));
        let seen = stream.progress().next().await.expect("it runs");
        assert_eq!((seen.done, seen.total, seen.text.as_str()), (1, 1, "counting"));
        let process = Process::open(dropped.pid());
        drop(stream);
        process.ends().await;

        // More at once than there are threads.
        let many = (0..20).map(|_| {
            let at = Scratch::new();
            at.release();
            client.stream(numbers, (at.path(), 1000, false)).output()
        });
        let outputs = futures_util::future::join_all(many).await;
        assert!(outputs.into_iter().all(|output| matches!(output, Ok(Ok(1000)))));
        assert!(gather((0..8).map(|_| client.submit(pid, ()))).await.is_ok());
        client.shutdown().await;
    }
}

/// By a client of Python, as one of Rust reads it.
async fn what_a_generator_gives_is_sent_by_a_python_worker(release: Release) {
    let cluster = release.cluster(1).await;
    assert_eq!(cluster.script("generators.py").await.trim(), "fine");
}

async fn a_generator_streams_to_a_client_of_rust(release: Release) {
    let cluster = release.shared().await;
    for options in ["", "?direct=0"] {
        let client = Client::connect(&format!("{}{options}", cluster.url())).await.unwrap();
        let count = python::<(u64,), String>("only_workers:count").items::<u64>();
        let mut stream = client.stream(count, 5000);
        for n in 0..5000 {
            assert_eq!(stream.next().await.unwrap().unwrap(), n, "{options}");
        }
        assert!(stream.next().await.is_none());
        assert_eq!(stream.output().await.unwrap(), "5000 numbers");
        assert_eq!(client.admin().snapshot().stream_items, 5000);

        let fail = python::<(u64,), ()>("only_workers:count_and_fail").items::<u64>();
        let error = ends_after(client.stream(fail, 7), 7).await;
        assert_eq!(error.exception().unwrap().class, "only_workers.CustomError", "{error}");

        let scratch = Scratch::new();
        let endless = python::<(PathBuf,), ()>("only_workers:count_on").items::<u64>();
        let mut stream = client.stream(endless, scratch.path());
        for n in 0..10 {
            assert_eq!(stream.next().await.unwrap().unwrap(), n, "{options}");
        }
        drop(stream);
        eventually("the generator is ended", || scratch.notes("lines") == ["ended"]).await;
        client.shutdown().await;
    }
}

/// Beside Python's workers, which their nannies start again.
async fn a_restart_ends_a_stream_that_has_begun_and_begins_another_again(release: Release) {
    let (mut cluster, url) = waits::cluster(release).await;
    cluster.add_nanny(4, &[]);
    cluster.ready().await;
    let client = Client::connect(&url).await.unwrap();
    let (begun, late, generator) = (Scratch::new(), Scratch::new(), Scratch::new());
    let stream = held(&client, &begun, 100).await;
    let endless = python::<(PathBuf,), ()>("only_workers:count_on").items::<u64>();
    let mut of_python = client.stream(endless, generator.path());
    assert_eq!(of_python.next().await.unwrap().unwrap(), 0);
    let mut again = client.stream(late_numbers, (late.path(), 100));
    late.started(1).await;
    cluster.python("client.restart()").await;
    let error = ends_after(stream, 100).await;
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    let error = loop {
        if let Err(error) = of_python.next().await.expect("an error") {
            break error;
        }
    };
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    late.started(2).await;
    late.release();
    for n in 0..100 {
        assert_eq!(again.next().await.unwrap().unwrap(), n);
    }
    assert_eq!(again.output().await.unwrap(), Ok(100));
    client.shutdown().await;
}

/// It has no nanny that would start it again, of which Dask's own client complains.
async fn a_restart_ends_the_stream_of_a_native_worker(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let stream = held(&client, &scratch, 100).await;
    let restart = "
try:
    client.restart(timeout=5)
except Exception as error:
    print(type(error).__name__)";
    cluster.python(restart).await;
    let error = ends_after(stream, 100).await;
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    client.shutdown().await;
}

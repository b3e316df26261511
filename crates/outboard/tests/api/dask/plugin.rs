//! Functions of Rust on ordinary Python workers: a plugin keeps this program
//! beside each of them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outboard::dask::python;
use outboard::error::{Cause, Stage};
use outboard::{Client, Error, ErrorKind, gather};

use tokio::sync::OnceCell;

use super::cluster::Cluster;
use super::workers::{hungry, large, runs_out_of_memory};
use super::{Release, on_every_release};
use crate::support::process::{Process, children};
use crate::support::scratch::Scratch;
use crate::support::tasks::{aborts_before, fail, hold, hold_with_a_child, pid, spin};
use crate::support::{eventually, found};

on_every_release!(
    values_and_errors_are_those_of_one_machine,
    a_cancel_a_timeout_and_a_client_that_leaves_free_the_cpu,
    what_is_killed_costs_what_it_ran_and_is_started_again,
    what_is_no_program_of_this_build_is_refused,
    native_workers_need_no_program_beside_them,
    a_worker_that_has_the_plugin_needs_no_url,
    what_ends_a_process_beside_a_worker_is_told_as_on_one_machine,
    shuffles_beside_it_go_on,
);

/// A cluster that all tests of this release share: one whose workers none of them
/// harms.
pub(super) async fn shared(release: Release) -> Arc<Cluster> {
    static SHARED: [OnceCell<Arc<Cluster>>; 2] = [OnceCell::const_new(), OnceCell::const_new()];
    let start = async || Arc::new(cluster(release, &[]).await);
    SHARED[release as usize].get_or_init(start).await.clone()
}

/// Two Python workers with nannies and two threads each, and a script by which
/// this binary is started beside them.
async fn cluster(release: Release, more: &[&str]) -> Cluster {
    let mut cluster = release.cluster(0).await;
    script(&program(&cluster), &std::env::current_exe().unwrap());
    (0..2).for_each(|_| cluster.add_nanny(2, more));
    cluster.ready().await;
    cluster
}

pub(super) fn program(cluster: &Cluster) -> PathBuf {
    cluster.directory().join("program")
}

/// Starts a test binary as `test_worker!` needs it.
pub(super) fn script(at: &Path, binary: &Path) {
    let text = format!(
        "#!/bin/sh\nexec '{}' outboard_test_worker --exact --nocapture\n",
        binary.display()
    );
    std::fs::write(at, text).unwrap();
    std::fs::set_permissions(at, PermissionsExt::from_mode(0o755)).unwrap();
}

pub(super) fn url(cluster: &Cluster, program: &Path) -> String {
    format!("{}?plugin={}&plugin.spares=1", cluster.url(), program.display())
}

async fn client(cluster: &Cluster) -> Client {
    let connected = Client::connect(&url(cluster, &program(cluster))).await;
    connected.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log()))
}

/// The parent of a process: of one that executes tasks, the program beside the
/// worker; of that, the worker.
fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The program beside a worker, which has started this process.
#[outboard::task]
fn host() -> u32 {
    std::os::unix::process::parent_id()
}

async fn values_and_errors_are_those_of_one_machine(release: Release) {
    let cluster = shared(release).await;
    let client = client(&cluster).await;
    assert_eq!(client.admin().snapshot().workers, 2);
    // Asked in the task: its process may have been replaced a moment later.
    let hosts = gather((0..300).map(|_| client.submit(host, ()))).await.unwrap();
    let hosts: std::collections::BTreeSet<u32> = hosts.into_iter().collect();
    assert_eq!(hosts.len(), 2, "one program beside each worker");
    let error = client.submit(fail, "on purpose".to_owned()).await.unwrap_err();
    assert_eq!(error.panic().unwrap().message, "on purpose", "{error}");
    let scratch = Scratch::new();
    let error = client.submit(aborts_before, (scratch.path(), 9)).await.unwrap_err();
    let lost = error.worker_loss().unwrap();
    assert_eq!((lost.cause, lost.pid), (Some(Cause::Signal(6)), scratch.pid()), "{error}");
    assert_eq!(scratch.starts(), 1, "Dask runs nothing again");
    let again = Scratch::new();
    assert_eq!(client.retries(2).submit(aborts_before, (again.path(), 2)).await.unwrap(), 3);
    // Python's own tasks run as before.
    let negate = python::<(i64,), i64>("operator:neg");
    assert_eq!(client.submit(negate, 7).await.unwrap(), -7);
    let large = "x".repeat(3 << 20);
    let error = client.submit(fail, large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert_eq!(cluster.log().matches("Register worker").count(), 2, "no worker was lost");
    client.shutdown().await;
}

async fn a_cancel_a_timeout_and_a_client_that_leaves_free_the_cpu(release: Release) {
    let cluster = shared(release).await;
    let client = client(&cluster).await;
    let (dropped, timed, left) = (Scratch::new(), Scratch::new(), Scratch::new());
    let running = client.submit(spin, dropped.path());
    dropped.started(1).await;
    let worker = Process::open(dropped.pid());
    drop(running);
    worker.ends().await;
    let running = client.timeout(Duration::from_secs(2)).submit(spin, timed.path());
    timed.started(1).await;
    let worker = Process::open(timed.pid());
    let error = running.await.unwrap_err();
    assert_eq!(error.timed_out_in(), Some(Stage::Running), "{error}");
    worker.ends().await;
    // More than there are threads: those of Dask are free again, too.
    assert!(gather((0..8).map(|_| client.submit(pid, ()))).await.is_ok());
    client.submit(spin, left.path()).detach();
    left.started(1).await;
    let worker = Process::open(left.pid());
    client.shutdown().await;
    worker.ends().await;
}

async fn what_is_killed_costs_what_it_ran_and_is_started_again(release: Release) {
    let cluster = cluster(release, &[]).await;
    let client = client(&cluster).await;
    a_killed_program_is_lost_with_what_it_ran(&client).await;
    a_killed_worker_takes_its_program_along(&cluster, &client).await;
    client.shutdown().await;
}

async fn a_killed_program_is_lost_with_what_it_ran(client: &Client) {
    let scratch = Scratch::new();
    let running = client.submit(hold_with_a_child, scratch.path());
    scratch.started(1).await;
    let child = found("a task starts a process", || scratch.notes("children").pop()).await;
    let (child, worker) = (Process::open(child.parse().unwrap()), Process::open(scratch.pid()));
    Process::open(parent(worker.pid)).kill();
    let error = running.await.unwrap_err();
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    worker.ends().await;
    child.ends().await;
    // Both workers have a program again.
    let scratches: Vec<Scratch> = (0..4).map(|_| Scratch::new()).collect();
    let held: Vec<_> = scratches.iter().map(|at| client.submit(hold, at.path())).collect();
    for scratch in &scratches {
        scratch.started(1).await;
        scratch.release();
    }
    gather(held).await.unwrap();
}

async fn a_killed_worker_takes_its_program_along(cluster: &Cluster, client: &Client) {
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let executes = Process::open(scratch.pid());
    let program = Process::open(parent(executes.pid));
    let worker = Process::open(parent(program.pid));
    worker.kill();
    program.ends().await;
    executes.ends().await;
    // A worker that is lost is Dask's to make good: the task runs elsewhere.
    scratch.started(2).await;
    scratch.release();
    assert!(running.await.unwrap() > 0);
    // The nanny's next worker is given the plugin, too.
    eventually("the nanny starts another worker", || {
        cluster.log().matches("Register worker").count() == 3
    })
    .await;
    let programs = || {
        let nannies = [cluster.worker(0).pid, cluster.worker(1).pid];
        let workers = nannies.into_iter().flat_map(children);
        let programs =
            workers.flat_map(children).filter(|pid| command(*pid).contains("test_worker"));
        programs.count()
    };
    eventually("a program is beside both", || programs() == 2).await;
}

fn command(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn what_is_no_program_of_this_build_is_refused(release: Release) {
    let cluster = cluster(release, &[]).await;
    let refused = async |program: &Path| -> Error {
        let error = Client::connect(&url(&cluster, program)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        error
    };
    let without = cluster.client().await;
    let error = without.submit(pid, ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask, "{error}");
    assert!(error.to_string().contains("plugin="), "{error}");
    without.shutdown().await;
    let at = cluster.directory().join("other");
    let error = refused(&at).await;
    assert!(error.to_string().contains("cannot be started: No such file"), "{error}");
    std::fs::copy("/bin/true", &at).unwrap();
    let error = refused(&at).await;
    assert!(error.to_string().contains("ended before it was ready"), "{error}");
    // As a build is that differs in one byte.
    let binary = cluster.directory().join("binary");
    std::fs::copy(std::env::current_exe().unwrap(), &binary).unwrap();
    let mut bytes = std::fs::OpenOptions::new().append(true).open(&binary).unwrap();
    std::io::Write::write_all(&mut bytes, b"\0").unwrap();
    drop(bytes);
    script(&at, &binary);
    let error = refused(&at).await;
    assert!(error.to_string().contains("another build"), "{error}");
    // Nothing of that stays in the way of a path that is right.
    let client = client(&cluster).await;
    assert!(client.submit(pid, ()).await.unwrap() > 0);
    client.shutdown().await;
}

async fn native_workers_need_no_program_beside_them(release: Release) {
    let cluster = release.shared_native().await;
    let client = Client::connect(&url(&cluster, Path::new("/no/such/program"))).await.unwrap();
    assert!(client.submit(pid, ()).await.unwrap() > 0);
    client.shutdown().await;
}

async fn a_worker_that_has_the_plugin_needs_no_url(release: Release) {
    let cluster = cluster(release, &["--preload=outboard_dask"]).await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let error = client.submit(aborts_before, (scratch.path(), 9)).await.unwrap_err();
    assert_eq!(
        error.worker_loss().unwrap().cause,
        Some(Cause::Signal(6)),
        "{error}; {}",
        cluster.log()
    );
    assert!(client.submit(pid, ()).await.unwrap() > 0);
    client.shutdown().await;
}

/// Says something on stderr, and ends its process in some way.
#[outboard::task(name = "tests.ends")]
fn ends(how: String) -> u64 {
    eprintln!("last words before {how}");
    match how.as_str() {
        "exit" => std::process::exit(7),
        "overflow" => deeper(u64::MAX),
        // For more CPU time than it may have.
        _ => loop {
            std::hint::black_box(0);
        },
    }
}

/// A call for each number: more than any stack has room for.
#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn deeper(number: u64) -> u64 {
    std::hint::black_box(deeper(std::hint::black_box(number) - 1) + 1)
}

async fn what_ends_a_process_beside_a_worker_is_told_as_on_one_machine(release: Release) {
    let mut cluster = release.cluster(0).await;
    script(&program(&cluster), &std::env::current_exe().unwrap());
    cluster.add_nanny(1, &[]);
    cluster.ready().await;
    let limit = 128 << 20;
    let options = format!(
        "&plugin.memory_limit={limit}&plugin.quarantine=2&plugin.cpu_limit=1s\
         &plugin.max_payload=1MB"
    );
    let url = url(&cluster, &program(&cluster)) + &options;
    let connected = Client::connect(&url).await;
    let client = connected.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log()));
    a_hungry_task_is_out_of_memory_and_then_refused(&client, limit).await;
    for (how, cause) in
        [("exit", Cause::Exited(7)), ("overflow", Cause::Signal(6)), ("time", Cause::Signal(24))]
    {
        let error = client.submit(ends, how.to_owned()).await.unwrap_err();
        let lost = error.worker_loss().unwrap_or_else(|| panic!("{how}: {error}"));
        assert_eq!(lost.cause, Some(cause), "{how}: {error}");
        assert_eq!((lost.task, lost.attempt, lost.worker), ("tests.ends", 1, 1));
        let words = format!("last words before {how}");
        assert!(lost.stderr.contains(&words), "{how}: {lost:?}");
        assert!(lost.run_time.is_some() && lost.cpu_time.is_some(), "{how}: {lost:?}");
    }
    let error = client.submit(large, 2_000_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    let error = client.submit(fail, "x".repeat(2_000_000)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("plugin.max_payload"), "{error}");
    // The program and its worker live on through all of that.
    assert!(client.submit(pid, ()).await.unwrap() > 0);
    assert_eq!(cluster.log().matches("Register worker").count(), 1, "{}", cluster.log());
    client.shutdown().await;
}

async fn a_hungry_task_is_out_of_memory_and_then_refused(client: &Client, limit: u64) {
    for _ in 0..2 {
        runs_out_of_memory(client, limit).await;
    }
    let error = client.submit(hungry, 512).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quarantined, "{error}");
    assert_eq!(client.submit(hungry, 1).await.unwrap(), 1, "other arguments are not");
}

async fn shuffles_beside_it_go_on(release: Release) {
    let cluster = shared(release).await;
    let client = client(&cluster).await;
    let shuffles = cluster.python(
        "import dask, dask.array as da
with dask.config.set({'array.rechunk.method': 'p2p'}):
    for n in range(1, 4):
        x = (n * da.ones((200, 200), chunks=(200, 10))).rechunk((10, 200))
        print(any('p2p' in str(key) for key in dict(x.__dask_graph__())), int(x.sum().compute()))
",
    );
    let computing = async {
        loop {
            gather((0..50).map(|_| client.submit(pid, ()))).await.unwrap();
        }
    };
    let said = tokio::select! {
        said = shuffles => said,
        () = computing => unreachable!("it goes on for as long as the shuffles"),
    };
    assert_eq!(said, "True 40000\nTrue 80000\nTrue 120000\n");
    client.shutdown().await;
}

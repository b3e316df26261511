//! Native workers: functions of Rust on a cluster, called from Rust and from
//! Python.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use outboard::dask::python;
use outboard::error::{Cause, Stage};
use outboard::{Client, ErrorKind, gather};

use super::{Release, on_every_release};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::scratch::{Scratch, is_held, start};
use crate::support::tasks::{aborts_before, fail, hold, panics_before, pid, spin, zeros};

on_every_release!(
    a_function_gives_its_value_and_report,
    a_dropped_future_frees_the_cpu_over_there,
    a_timeout_ends_what_runs_over_there,
    failures_are_as_on_one_machine,
    arguments_above_a_workers_bound_are_told_from_a_result,
    retries_are_those_that_were_asked_for,
    equal_calls_of_two_clients_are_executed_once,
    python_calls_functions_of_rust,
    python_moves_data_between_native_workers,
    what_a_scheduler_cannot_tell_costs_no_task,
    a_worker_outlives_its_scheduler,
    a_cluster_with_python_workers_is_refused_unless_mixed,
    python_functions_need_a_python_worker,
);

/// The sum and the texts, with their lengths.
#[outboard::task(name = "tests.describe")]
fn describe(numbers: Vec<i64>, texts: BTreeMap<String, Option<f64>>) -> (i64, Vec<String>) {
    let texts = texts.into_iter().map(|(name, value)| format!("{name}={value:?}"));
    (numbers.into_iter().sum(), texts.collect())
}

/// As `hold`, and the same for all who call it.
#[outboard::task(pure)]
fn hold_for_all(at: PathBuf) -> u32 {
    start(&at);
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::id()
}

async fn a_function_gives_its_value_and_report(release: Release) {
    let cluster = release.shared_native().await;
    let client = cluster.client().await;
    let texts: BTreeMap<_, _> = [("a".to_owned(), None), ("b".to_owned(), Some(1.5))].into();
    let called = client.submit(describe, (vec![1, 2, -5], texts.clone()));
    let ((sum, described), report) = called.with_report().await.unwrap();
    assert_eq!((sum, described), (-2, vec!["a=None".to_owned(), "b=Some(1.5)".to_owned()]));
    assert!(report.run_time < report.queue_time, "the cluster takes longer: {report:?}");
    let many = (0..500).map(|n| client.submit(describe, (vec![n], texts.clone())));
    let sums: Vec<_> = gather(many).await.unwrap().into_iter().map(|(sum, _)| sum).collect();
    assert_eq!(sums, (0..500).collect::<Vec<i64>>());
    let error = client.submit(|x: u64| x, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask, "{error}");
    client.shutdown().await;
}

async fn a_dropped_future_frees_the_cpu_over_there(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let running = client.submit(spin, scratch.path());
    scratch.started(1).await;
    let worker = Process::open(scratch.pid());
    drop(running);
    worker.ends().await;
    assert!(client.submit(pid, ()).await.unwrap() != worker.pid);
    client.shutdown().await;
}

async fn a_timeout_ends_what_runs_over_there(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let running = client.timeout(Duration::from_secs(2)).submit(spin, scratch.path());
    scratch.started(1).await;
    let worker = Process::open(scratch.pid());
    let error = running.await.unwrap_err();
    assert_eq!(error.timed_out_in(), Some(Stage::Running), "{error}");
    worker.ends().await;
    client.shutdown().await;
}

async fn failures_are_as_on_one_machine(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await;
    let error = client.submit(fail, "on purpose".to_owned()).await.unwrap_err();
    let panic = error.panic().unwrap();
    assert_eq!(panic.message, "on purpose");
    assert!(panic.location.contains("tasks.rs"), "{panic:?}");
    let scratch = Scratch::new();
    let error = client.submit(aborts_before, (scratch.path(), 9)).await.unwrap_err();
    let lost = error.worker_loss().unwrap();
    assert_eq!((lost.cause, lost.pid), (Some(Cause::Signal(6)), scratch.pid()), "{error}");
    assert!(lost.task.ends_with("aborts_before"), "{lost:?}");
    // The cluster does not run it again, for its worker lives.
    assert!(client.submit(pid, ()).await.unwrap() > 0);
    assert_eq!(scratch.starts(), 1);
    client.shutdown().await;
}

async fn retries_are_those_that_were_asked_for(release: Release) {
    let cluster = release.native().await;
    let client = cluster.client().await.retries(2);
    let (aborts, panics) = (Scratch::new(), Scratch::new());
    assert_eq!(client.submit(aborts_before, (aborts.path(), 2)).await.unwrap(), 3);
    assert_eq!(client.submit(panics_before, (panics.path(), 2)).await.unwrap(), 3);
    client.shutdown().await;
}

async fn equal_calls_of_two_clients_are_executed_once(release: Release) {
    let cluster = release.shared_native().await;
    let (one, other) = (cluster.client().await, cluster.client().await);
    let scratch = Scratch::new();
    let first = one.submit(hold_for_all, scratch.path());
    scratch.started(1).await;
    let second = other.submit(hold_for_all, scratch.path());
    let leaves = one.tenant("another").submit(hold_for_all, scratch.path());
    scratch.started(2).await;
    // Whoever leaves does not take the task along.
    drop(leaves);
    scratch.release();
    assert_eq!(first.await.unwrap(), second.await.unwrap());
    assert_eq!(scratch.starts(), 2, "one for each tenant");
    one.shutdown().await;
    other.shutdown().await;
}

async fn python_calls_functions_of_rust(release: Release) {
    let cluster = release.shared_native().await;
    let said = cluster
        .python(
            "name = 'tests.describe'
future = client.submit(function(name), [1, 2], {'b': 0.5, 'a': None}, resources=resource(name))
print(future.result())
many = [client.submit(function(name), [n], {}, resources=resource(name), pure=False)
        for n in range(50)]
print(sum(result[0] for result in client.gather(many)))
wrong = client.submit(function(name), 'x', resources=resource(name))
print(type(wrong.exception()).__name__, 'takes 2 arguments' in str(wrong.exception()))
stray = client.submit(operator.neg, 1)
print(type(stray.exception()).__name__, 'Rust functions only' in str(stray.exception()))
print(client.run(lambda: 1, on_error='return') is not None, len(client.get_versions()['workers']))
",
        )
        .await;
    let expected = "(3, ['a=None', 'b=Some(0.5)'])\n1225\nTypeError True\n\
        NotImplementedError True\nTrue 1\n";
    assert_eq!(said, expected);
}

async fn python_moves_data_between_native_workers(release: Release) {
    let mut cluster = release.native().await;
    cluster.add_native("workers=1&spares=0&name=second");
    cluster.ready().await;
    let said = cluster
        .python(
            "data = client.scatter({'x': b'bytes', 'y': [1, 2]}, broadcast=True)
print(sorted(len(places) for places in client.who_has(list(data.values())).values()))
name = 'tests.describe'
many = [client.submit(function(name), [n], {}, resources=resource(name), pure=False)
        for n in range(20)]
wait(many)
second = next(a for a, w in client.scheduler_info(n_workers=-1)['workers'].items()
              if w['name'] == 'second')
client.retire_workers([second])
print(len(client.scheduler_info(n_workers=-1)['workers']))
print(sum(result[0] for result in client.gather(many)), client.gather(data))
",
        )
        .await;
    assert_eq!(said, "[2, 2]\n1\n190 {'x': b'bytes', 'y': [1, 2]}\n");
    assert!(cluster.worker_ends(1).await.success());
}

async fn what_a_scheduler_cannot_tell_costs_no_task(release: Release) {
    let cluster = release.cluster(0).await;
    let _servers = [cluster.native_worker(1).await, cluster.native_worker(1).await];
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    // It tells all who listen of objects that it cannot serialize, and hangs up.
    cluster.python("client.scatter([7], broadcast=True)").await;
    let _third = cluster.native_worker(1).await;
    eventually("it still hears of workers", || client.admin().snapshot().workers == 3).await;
    scratch.release();
    assert_eq!(running.await.unwrap(), scratch.pid());
    client.shutdown().await;
}

async fn arguments_above_a_workers_bound_are_told_from_a_result(release: Release) {
    let mut cluster = release.cluster(0).await;
    cluster.add_native("workers=1&spares=0&max_payload=1000");
    cluster.ready().await;
    let client = cluster.client().await;
    let error = client.submit(describe, (vec![1; 2000], BTreeMap::new())).await.unwrap_err();
    assert!(error.is_arguments_too_large(), "{error}");
    let error = client.submit(zeros, 2000).await.unwrap_err();
    assert!(error.is_too_large() && !error.is_arguments_too_large(), "{error}");
    client.shutdown().await;
}

async fn a_worker_outlives_its_scheduler(release: Release) {
    let mut cluster = release.native().await;
    let client = cluster.client().await;
    let scratch = Scratch::new();
    let rerun = client.retries(1).submit(hold, scratch.path());
    scratch.started(1).await;
    let first = Process::open(scratch.pid());
    cluster.kill_scheduler();
    // What ran for the scheduler that is gone is stopped.
    first.ends().await;
    cluster.restart_scheduler();
    scratch.started(2).await;
    scratch.release();
    assert!(rerun.await.unwrap() > 0);
    client.shutdown().await;
}

async fn a_cluster_with_python_workers_is_refused_unless_mixed(release: Release) {
    let mut cluster = release.cluster(1).await;
    cluster.add_native("workers=1&spares=0");
    assert_eq!(cluster.worker_ends(1).await.code(), Some(1));
    assert!(cluster.log().contains("mixed=1"), "{}", cluster.log());
    cluster.kill_worker(1);
    cluster.add_native("workers=1&spares=0&mixed=1");
    cluster.ready().await;
    let client = cluster.client().await;
    eventually("both are there", || client.admin().snapshot().workers == 2).await;
    let negate = python::<(i64,), i64>("operator:neg");
    let python = gather((0..60).map(|n| client.submit(negate, n)));
    assert_eq!(python.await.unwrap(), (0..60).map(|n: i64| -n).collect::<Vec<_>>());
    assert!(client.submit(pid, ()).await.unwrap() > 0);
    // Python's own tasks come to the native worker as well, and go back.
    let said = cluster.python("print(sum(client.gather(client.map(operator.neg, range(60)))))\n");
    assert_eq!(said.await, "-1770\n");
    client.shutdown().await;
}

async fn python_functions_need_a_python_worker(release: Release) {
    let cluster = release.shared_native().await;
    let client: Client = cluster.client().await;
    let error = client.submit(python::<(), u32>("os:getpid"), ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask, "{error}");
    client.shutdown().await;
}

//! Servers that a test needs in a process of their own: to kill them, to start
//! them with an environment, to count what they leave behind. What they have
//! to say they note in their directory.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outboard::Client;
use outboard::error::Cause;

use crate::chaos::Left;
use crate::local::wants;
use crate::support::process::children;
use crate::support::scratch::{is_held, note};
use crate::support::server::{SCENARIO, directory};
#[cfg(feature = "dask")]
use crate::support::tasks::{double, hold};
use crate::support::tasks::{hold_with_a_child, pid};
use crate::support::{eventually, run};

/// Plays the scenario that the environment names.
#[test]
#[ignore = "other tests start it, in a process of its own"]
fn play() {
    let Ok(scenario) = std::env::var(SCENARIO) else { return };
    let at = directory();
    match scenario.as_str() {
        "adopts" => play_async(crate::local::adopted::play(at)),
        "abort_in_a_task" => play_async(abort_in_a_task()),
        "blocked_start" => crate::local::blocked::blocked_start(),
        "chaos" => crate::chaos::play(&at),
        #[cfg(feature = "dask")]
        "cluster_client" => play_async(cluster_client(at)),
        #[cfg(feature = "dask")]
        "cluster_worker" => cluster_worker(&at),
        #[cfg(feature = "dask")]
        "scattering_client" => play_async(scattering_client(at)),
        "come_and_go" => play_async(come_and_go()),
        "deaf" => play_async(deaf()),
        "few_descriptors" => play_async(wants::few_descriptors()),
        "fails_to_start" => play_async(crate::local::fails_to_start(at)),
        "forks" => crate::local::forks::play(&at),
        "from_env" => play_async(from_env(at)),
        "held" => play_async(held(at)),
        "hostile" => play_async(crate::local::hostile::play(at)),
        "idle" => play_async(idle()),
        "incomplete_sandbox" => play_async(crate::local::sandbox::incomplete(at)),
        "ignores_signals" => play_async(crate::local::signals::play(at)),
        "leaves_a_child" => play_async(crate::local::orphans::leaves_a_child(at)),
        "leaks" => crate::leaks::play(&at),
        "left" => play_async(wants::left(at)),
        "loud" => play_async(loud()),
        "memory" => play_async(memory(at)),
        "no_address_space" => play_async(wants::no_address_space()),
        "no_thread" => play_async(wants::no_thread()),
        "no_descriptor" => play_async(wants::no_descriptor()),
        "note_variables" => play_async(crate::local::note_variables(at)),
        "out_of_reach" => play_async(crate::local::orphans::out_of_reach(at)),
        "output" => play_async(output()),
        "python" => play_async(crate::python::play(at)),
        "phases" => play_async(crate::local::phases::play(at)),
        "rights" => play_async(wants::rights()),
        "sandbox" => play_async(crate::local::sandbox::play(at)),
        "small_files" => play_async(wants::small_files()),
        "smaller_files" => play_async(wants::smaller_files()),
        "starved" => play_async(crate::local::starved(at)),
        "replaced" => play_async(replaced(at)),
        _ => panic!("no scenario is named `{scenario}`"),
    }
}

fn play_async(scenario: impl Future<Output = ()>) {
    run(scenario);
}

/// Notes the numbers of the client's workers.
fn note_workers(client: &Client, at: &Path) {
    let workers = client.admin().snapshot().per_worker;
    let pids: Vec<_> = workers.iter().map(|worker| worker.pid.to_string()).collect();
    note(at, "workers", &pids.join("\n"));
}

/// An engine without processes ends with its task.
async fn abort_in_a_task() {
    let client = Client::from_env().await.unwrap();
    let result = client.submit(|| -> u8 { std::process::abort() }, ()).await;
    panic!("the task gave {result:?}");
}

/// A client of the cluster that a variable names: has a task held, then another
/// one in a second directory, then one that is quick; notes what each gives.
#[cfg(feature = "dask")]
async fn cluster_client(at: PathBuf) {
    let variable = |name: &str| std::env::var(name).unwrap();
    let client = Client::connect(&variable(crate::support::server::CLUSTER)).await.unwrap();
    let second = PathBuf::from(variable(crate::support::server::SECOND));
    let outcome = |result: Result<u32, outboard::Error>| match result {
        Ok(value) => value.to_string(),
        Err(error) => {
            format!("{:?} {:?}", error.kind(), error.worker_loss().and_then(|lost| lost.cause))
        }
    };
    note(&at, "first", &outcome(client.submit(hold, at.clone()).await));
    note(&at, "second", &outcome(client.submit(hold, second).await));
    let two = || client.admin().snapshot().workers == 2;
    crate::support::eventually("the cluster is there again", two).await;
    note(&at, "third", &client.submit(double, 2).await.unwrap().to_string());
    client.shutdown().await;
}

/// Submits a task with a value to a cluster, and notes how it ends; then with
/// another one, and with large arguments.
#[cfg(feature = "dask")]
async fn scattering_client(at: PathBuf) {
    let variable = |name: &str| std::env::var(name).unwrap();
    let client = Client::connect(&variable(crate::support::server::CLUSTER)).await.unwrap();
    for (name, bytes) in [("first", 100_000), ("second", 200_000)] {
        let value = client.scatter(outboard::Bytes::from(vec![1; bytes])).await.unwrap();
        let ended = client.submit(crate::dask::scatter::hold_with, (value, at.clone())).await;
        note(
            &at,
            name,
            &ended.map_or_else(|error| error.to_string(), |(bytes, _)| bytes.to_string()),
        );
    }
    let large = (outboard::Bytes::from(vec![1; 3 << 20]), 0);
    let ended = client.submit(crate::dask::large::add_up, large).await;
    note(&at, "third", &ended.map_or_else(|error| error.to_string(), |(sum, _)| sum.to_string()));
    let start = std::time::Instant::now();
    for n in 0..5 {
        assert_eq!(client.submit(double, n).await.unwrap(), 2 * n);
    }
    note(&at, "took", &start.elapsed().as_secs_f64().to_string());
    client.shutdown().await;
}

/// Works for the cluster that a variable names, and notes what happens.
#[cfg(feature = "dask")]
fn cluster_worker(at: &Path) {
    let url = std::env::var(crate::support::server::CLUSTER).unwrap();
    let events = at.to_owned();
    let worker = outboard::dask::ClusterWorker::new(&url).unwrap();
    let worked = worker.on_event(move |event| note(&events, "events", &event.to_string())).run();
    if let Err(error) = worked {
        note(at, "error", &error.to_string());
    }
}

/// What `from_env` gives in this environment.
async fn from_env(at: PathBuf) {
    match Client::from_env().await {
        Ok(client) => {
            let snapshot = client.admin().snapshot();
            note(&at, "client", &format!("{} {}", snapshot.engine, snapshot.workers));
            client.shutdown().await;
        }
        Err(error) => note(&at, "client", &format!("{:?}: {error}", error.kind())),
    }
}

/// Two workers, one of them idle, the other busy with a task that has started
/// a process; goes on until it is released or killed.
async fn held(at: PathBuf) {
    let client = Client::local().workers(2).spares(0).await.unwrap();
    eventually("both are up", || client.admin().snapshot().per_worker.len() == 2).await;
    note_workers(&client, &at);
    client.submit(hold_with_a_child, at.clone()).await.unwrap();
    client.shutdown().await;
}

/// No thread of the library wakes while nothing is done, and no worker.
async fn idle() {
    let client = Client::local().workers(2).spares(0).await.unwrap();
    client.submit(pid, ()).await.unwrap();
    eventually("both are up", || client.admin().snapshot().per_worker.len() == 2).await;
    let workers = client.admin().snapshot().per_worker;
    let wakes = || {
        let own = wakes_of(std::process::id(), "outboard-");
        workers.iter().map(|worker| wakes_of(worker.pid, "outboard-")).sum::<u64>() + own
    };
    assert!(wakes() > 0, "it has threads");
    let start = std::time::Instant::now();
    loop {
        assert!(start.elapsed() < crate::support::DEADLINE, "it is never idle");
        let before = wakes();
        // Longer than twice the pause between two looks at busy workers.
        tokio::time::sleep(Duration::from_millis(600)).await;
        if wakes() == before {
            return client.shutdown().await;
        }
    }
}

/// How often the threads of a process whose names start so have gone to sleep.
fn wakes_of(pid: u32, name: &str) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let wakes = threads.filter_map(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let ours = field("Name:").is_some_and(|own| own.trim().starts_with(name));
        let wakes = field("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok()?;
        ours.then_some(wakes)
    });
    wakes.sum()
}

/// Tasks that write, the last one without an end of line.
async fn output() {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    client.submit(|| eprintln!("words of a task"), ()).await.unwrap();
    client.submit(|| eprint!("without an end"), ()).await.unwrap();
    client.shutdown().await;
}

/// Tasks that write far more than is kept of it, and then crash.
async fn loud() {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    let shout = |lines: usize, bytes: usize| -> u8 {
        eprintln!("{}{}last words", "a\n".repeat(lines), "b".repeat(bytes));
        std::process::abort()
    };
    for (lines, bytes) in [(100, 0), (30_000, 0), (5_000, 1 << 20)] {
        let error = client.submit(shout, (lines, bytes)).await.unwrap_err();
        let stderr = &error.worker_loss().unwrap().stderr;
        assert!(stderr.last().unwrap().ends_with("last words"), "{stderr:?}");
        let kept: usize = stderr.iter().map(String::len).sum();
        assert!(stderr.len() <= 200 && kept < 1 << 20, "{} lines, {kept} bytes", stderr.len());
    }
    client.shutdown().await;
}

/// The memory of a lost worker, as the error says, beside what it filled.
async fn memory(at: PathBuf) {
    const FILLED: usize = 150 << 20;
    let fill = |bytes: usize| -> u8 {
        let bytes = std::hint::black_box(vec![1_u8; bytes]);
        std::process::exit(i32::from(bytes[bytes.len() / 2]));
    };
    let client = Client::local().workers(1).spares(0).await.unwrap();
    let error = client.submit(fill, FILLED).await.unwrap_err();
    let lost = error.worker_loss().unwrap();
    assert_eq!(lost.cause, Some(Cause::Exited(1)));
    let bytes = lost.memory_bytes.unwrap();
    let plausible = FILLED as u64..4 * FILLED as u64;
    assert!(plausible.contains(&bytes), "{bytes} bytes");
    note(&at, "memory", &bytes.to_string());
    client.shutdown().await;
}

/// Clients that end in every way; after each, nothing of it is left.
async fn come_and_go() {
    tokio::spawn(async {}).await.unwrap();
    let before = Left::here();
    for round in 0..12 {
        let mut held = None;
        let starting = Client::local().workers(2).spares(0);
        match round % 4 {
            0 => starting.await.unwrap().shutdown().await,
            1 => drop(starting.await.unwrap()),
            2 => {
                let client = starting.await.unwrap();
                held = Some(client.submit(std::thread::park, ()));
                client.shutdown().await;
            }
            _ => {
                let soon = Duration::from_micros(round * 100);
                drop(tokio::time::timeout(soon, starting.into_future()).await);
            }
        }
        drop(held);
        eventually(format_args!("{before:?} is left"), || Left::here() == before).await;
    }
    let own = crate::support::runtime();
    let client =
        own.spawn(Client::local().workers(2).spares(0).into_future()).await.unwrap().unwrap();
    own.shutdown_background();
    assert!(client.submit(pid, ()).await.unwrap_err().is_closed());
    drop(client);
    eventually(format_args!("{before:?} is left"), || Left::here() == before).await;
}

/// A process whose children are reaped by the system.
async fn deaf() {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    let before = client.submit(pid, ()).await.unwrap();
    let error = client.submit(|| -> u8 { std::process::exit(3) }, ()).await.unwrap_err();
    let lost = error.worker_loss().unwrap();
    assert_eq!((lost.pid, lost.cause), (before, None), "{error}");
    assert_ne!(client.submit(pid, ()).await.unwrap(), before);
    client.shutdown().await;
}

/// Waits until its worker is killed, and then expects another one.
async fn replaced(at: PathBuf) {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    let before = client.submit(std::process::id, ()).await.unwrap();
    note_workers(&client, &at);
    eventually("the binary is replaced, and the worker killed", || !is_held(&at)).await;
    eventually("another worker is up", || {
        let workers = client.admin().snapshot().per_worker;
        workers.iter().any(|worker| worker.pid != before)
    })
    .await;
    // One by name, one by address.
    let named = client.submit(pid, ()).await.unwrap();
    assert_eq!(client.submit(std::process::id, ()).await.unwrap(), named);
    assert_ne!(named, before);
    client.shutdown().await;
    assert!(children(std::process::id()).is_empty());
}

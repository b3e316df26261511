//! What blocks threads of the runtime holds up no answers of workers: the runtime's
//! other threads take them, and Outboard's own copy what is large.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use outboard::{Client, Status, as_completed};

use super::client;
use crate::support::process::{Process, children, stat};
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::tasks::{hold, same};
use crate::support::{DEADLINE, eventually, run, run_on};

/// Blocks this thread until a condition holds.
fn block_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "did not happen within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn answers_are_taken_while_a_handler_blocks_its_thread() {
    run(async {
        let client = client(2).await;
        for _ in 0..20 {
            let client = client.clone();
            let handler = tokio::spawn(async move {
                // Answers stream, and the next thing that this thread does is to block.
                let tasks = (0..500).map(|x: u64| client.submit(|x: u64| x + 1, x));
                let mut tasks = as_completed(tasks.collect::<Vec<_>>());
                for _ in 0..100 {
                    tasks.next().await.unwrap().unwrap();
                }
                let scratch = Scratch::new();
                let held = [(); 2].map(|()| client.submit(hold, scratch.path()));
                let running = || held.iter().all(|one| one.status() == Status::Running);
                block_until("both workers are held", running);
                scratch.release();
            });
            handler.await.unwrap();
        }
        client.shutdown().await;
    });
}

#[test]
fn what_a_worker_said_in_time_counts_when_the_runtime_comes_to_it() {
    run(async {
        let mut server = Server::start("blocked_start");
        server.succeeds().await;
    });
}

/// A runtime that is blocked while workers start: in a process of its own, for it looks at
/// its children.
pub(crate) fn blocked_start() {
    let start_timeout = Duration::from_millis(500);
    run_on(&one_thread(), async {
        let builder = Client::local().workers(2).spares(0).start_timeout(start_timeout);
        let client = builder.await.unwrap();
        let pids = || -> BTreeSet<u32> {
            client.admin().snapshot().per_worker.iter().map(|worker| worker.pid).collect()
        };
        eventually("both are up", || client.admin().snapshot().per_worker.len() == 2).await;
        let before = pids();
        before.iter().for_each(|pid| Process::open(*pid).kill());
        let others = || -> BTreeSet<u32> {
            let all = children(std::process::id()).into_iter();
            all.filter(|pid| !before.contains(pid) && sleeps(*pid)).collect()
        };
        block_until("their successors wait for tasks", || others().len() == 2);
        let after = others();
        // The time that passes is what this test is about.
        let blocked = Instant::now();
        block_until("the time for their start is over", || blocked.elapsed() > 3 * start_timeout);
        for n in 0..3 {
            assert_eq!(client.submit(same, n).await.unwrap(), n);
        }
        eventually("the successors serve", || pids() == after).await;
        client.shutdown().await;
    });
}

fn sleeps(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] == "S")
}

#[test]
fn a_slot_is_free_when_its_worker_is_reaped_though_the_runtime_is_blocked() {
    run_on(&one_thread(), async {
        let client = Client::local().workers(1).spares(1).await.unwrap();
        let states = || -> Vec<(u32, bool)> {
            let workers = client.admin().snapshot().per_worker;
            workers.iter().map(|worker| (worker.pid, worker.standby)).collect()
        };
        let standby = |standby: bool| states().into_iter().find(|one| one.1 == standby);
        eventually("one serves, one stands by", || states().len() == 2).await;
        let (serves, spare) = (standby(false).unwrap().0, standby(true).unwrap().0);
        Process::open(serves).kill();
        block_until("the spare has its slot", || states().contains(&(spare, false)));
        client.shutdown().await;
    });
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn large_payloads_need_no_blocking_thread_of_the_runtime() {
    const BYTES: usize = 8 << 20;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let busy = runtime.spawn_blocking(move || released.recv().is_err());
    run_on(&runtime, async {
        let client = client(1).await;
        let made = client.submit(|bytes: usize| vec![7_u8; bytes], BYTES).await.unwrap();
        assert!(made == vec![7; BYTES]);
        let length = client.submit(|bytes: Vec<u8>| bytes.len(), made).await.unwrap();
        assert_eq!(length, BYTES);
        let kept = client.scatter(vec![7_u8; BYTES]).await.unwrap();
        let count = |kept: outboard::Scattered<Vec<u8>>| kept.len();
        assert_eq!(client.submit(count, kept).await.unwrap(), BYTES);
        assert!(!busy.is_finished(), "the only blocking thread is in use");
        drop(release);
        assert!(busy.await.unwrap());
        client.shutdown().await;
    });
}

//! As many workers as were asked for: spares, scaling, recycling, and the bound
//! on what a tenant may have killed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use outboard::{Client, LocalBuilder, gather};

use super::workers;
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, pid, spin};
use crate::support::{eventually, found, run};

/// A client of which so many workers are up or stand by.
async fn client(builder: LocalBuilder, up: usize) -> Client {
    let client = builder.await.unwrap();
    eventually("all are ready", || client.admin().snapshot().per_worker.len() == up).await;
    client
}

fn standby(client: &Client) -> Vec<u32> {
    let workers = client.admin().snapshot().per_worker;
    workers.iter().filter(|worker| worker.standby).map(|worker| worker.pid).collect()
}

#[test]
fn a_spare_takes_the_place_of_a_worker_that_is_killed() {
    run(async {
        let client = client(Client::local().workers(1), 2).await;
        for _ in 0..10 {
            let spare = found("a spare stands by", || standby(&client).first().copied()).await;
            let scratch = Scratch::new();
            let running = client.submit(spin, scratch.path());
            scratch.started(1).await;
            assert_ne!(scratch.pid(), spare);
            drop(running);
            assert_eq!(client.submit(pid, ()).await.unwrap(), spare);
        }
        assert_eq!(client.admin().snapshot().failed, 0);
    });
}

#[test]
fn a_spare_that_dies_is_replaced_and_harms_nobody() {
    run(async {
        let client = client(Client::local().workers(1).spares(2), 3).await;
        let worker = client.submit(pid, ()).await.unwrap();
        let spares = standby(&client);
        assert_eq!(spares.len(), 2);
        for spare in &spares {
            let spare = Process::open(*spare);
            spare.kill();
            spare.ends().await;
        }
        let replaced = || {
            let now = standby(&client);
            now.len() == 2 && now.iter().all(|pid| !spares.contains(pid))
        };
        eventually("both are replaced", replaced).await;
        assert_eq!(client.submit(pid, ()).await.unwrap(), worker);
    });
}

#[test]
fn workers_can_be_more_and_fewer_while_tasks_run() {
    run(async {
        let client = client(Client::local().workers(1), 2).await;
        let scratch = Scratch::new();
        let held: Vec<_> = (0..3).map(|_| client.submit(hold, scratch.path())).collect();
        scratch.started(1).await;
        client.admin().scale(3).unwrap();
        scratch.started(3).await;
        assert_eq!(client.admin().snapshot().workers, 3);
        client.admin().scale(1).unwrap();
        let behind = client.submit(pid, ());
        scratch.release();
        gather(held).await.unwrap();
        behind.await.unwrap();
        let is_small = || {
            let workers = client.admin().snapshot().per_worker;
            workers.len() == 2 && workers.iter().filter(|worker| worker.standby).count() == 1
        };
        eventually("one is left, and its spare", is_small).await;
        let now = client.admin().snapshot();
        assert_eq!((now.workers, now.failed, now.done), (1, 0, 4));
    });
}

#[test]
fn a_worker_is_recycled_after_so_many_tasks_and_none_is_lost() {
    for spares in [0, 1] {
        run(async move {
            let client = Client::local().workers(1).spares(spares).recycle_after_tasks(10);
            let client = client.await.unwrap();
            let (mut pids, mut tasks) = (HashSet::new(), 0);
            while pids.len() < 10 {
                let (at, report) = client.submit(pid, ()).with_report().await.unwrap();
                assert_eq!(report.attempt, 1);
                pids.insert(at);
                tasks += 1;
            }
            assert!(tasks >= 9 * 8, "{tasks} tasks are less than a fifth below the limit");
            let burst = (0..2000).map(|_| client.submit(pid, ()));
            gather(burst).await.unwrap();
            assert_eq!(client.admin().snapshot().failed, 0);
        });
    }
}

#[test]
fn a_replacement_is_ready_before_a_worn_worker_leaves() {
    run(async {
        let client = client(Client::local().workers(1).spares(0).recycle_after_tasks(1), 1).await;
        let first = Process::open(client.submit(pid, ()).await.unwrap());
        let both = || {
            (
                client.admin().snapshot().per_worker.iter().any(|w| w.pid != first.pid),
                first.has_ended(),
            )
        };
        loop {
            match both() {
                (false, false) => tokio::task::yield_now().await,
                (new, _) => break assert!(new, "it left before another one was there"),
            }
        }
        first.ends().await;
    });
}

#[test]
fn an_old_worker_is_recycled_though_it_is_idle() {
    run(async {
        let builder = Client::local().workers(2).recycle_after(Duration::from_secs(1));
        let client = client(builder, 3).await;
        let before = workers(&client);
        for worker in &before {
            worker.ends().await;
        }
        eventually("all are replaced", || client.admin().snapshot().per_worker.len() >= 3).await;
        assert!(client.submit(pid, ()).await.is_ok());
    });
}

#[test]
fn a_worker_that_grew_is_recycled() {
    run(async {
        let builder = Client::local().workers(1).recycle_above(48 << 20);
        let client = client(builder, 2).await;
        let at = client.submit(pid, ()).await.unwrap();
        let small = Process::open(at);
        let hoard = |bytes: usize| {
            Box::leak(vec![1_u8; bytes].into_boxed_slice());
            std::thread::sleep(Duration::from_millis(2));
        };
        client.submit(hoard, 64 << 20).await.unwrap();
        assert_ne!(client.submit(pid, ()).await.unwrap(), at, "no task starts in a large worker");
        small.ends().await;
    });
}

#[test]
fn a_tenant_cannot_have_workers_killed_without_end() {
    run(async {
        let client = client(Client::local().workers(3).spares(0).tenant_kills(1), 3).await;
        let spin = async |tenant: &str| {
            let scratch = Scratch::new();
            let future = client.tenant(tenant).submit(spin, scratch.path());
            scratch.started(1).await;
            (Process::open(scratch.pid()), future, scratch)
        };
        let (one, two) = (spin("reloads").await, spin("reloads").await);
        let other = spin("other").await;
        let dropped = Instant::now();
        drop((one.1, two.1, other.1));
        one.0.ends().await;
        other.0.ends().await;
        two.0.ends().await;
        assert!(
            dropped.elapsed() >= Duration::from_millis(900),
            "the second kill had to be earned"
        );
        assert!(client.submit(pid, ()).await.is_ok());
    });
}

#[test]
fn a_tenant_without_a_worker_starts_on_the_spare_while_others_hold_all() {
    run(async {
        let client = client(Client::local().workers(2), 3).await;
        let scratch = Scratch::new();
        let naps = (0..4).map(|_| client.submit(std::thread::sleep, Duration::from_millis(20)));
        gather(naps).await.unwrap();
        let held = ["one", "other"].map(|name| client.tenant(name).submit(hold, scratch.path()));
        scratch.started(2).await;
        let late = client.tenant("late").submit(pid, ()).await.unwrap();
        assert_eq!(scratch.starts(), 2);
        let processes = client.admin().snapshot().per_worker;
        assert!(processes.iter().any(|worker| worker.pid == late && worker.number <= 3));
        scratch.release();
        gather(held).await.unwrap();
        let is_back =
            || client.admin().snapshot().per_worker.iter().filter(|w| w.standby).count() == 1;
        eventually("one stands by again", is_back).await;
        assert_eq!(client.admin().snapshot().per_worker.len(), 3, "none was started for it");
    });
}

/// Whether the one or the other is dismissed is chance: each number has pauses of its own.
#[test]
fn starts_that_are_dismissed_pause_like_starts_that_fail() {
    run(async {
        let mut start = Instant::now();
        let client = client(Client::local().workers(1).spares(0), 1).await;
        let numbers = || -> HashSet<usize> {
            client.admin().snapshot().per_worker.iter().map(|worker| worker.number).collect()
        };
        let mut started: HashMap<usize, Instant> =
            numbers().into_iter().map(|n| (n, start)).collect();
        let mut dismissed: HashMap<usize, (u32, Instant)> = HashMap::new();
        for _ in 0..12 {
            let before = numbers();
            start = Instant::now();
            client.admin().scale(2).unwrap();
            eventually("another one is up", || numbers().len() == 2).await;
            let both = numbers();
            let number = *both.difference(&before).next().unwrap();
            if let Some((vain, gone)) = dismissed.get(&number).filter(|(vain, _)| *vain > 0) {
                let pause = Duration::from_millis(10) * 2_u32.pow(vain - 1);
                assert!(gone.elapsed() >= pause, "{:?} after {vain} starts", gone.elapsed());
            }
            started.insert(number, start);
            let gone = Instant::now();
            client.admin().scale(1).unwrap();
            eventually("one is gone", || numbers().len() == 1).await;
            let number = *both.difference(&numbers()).next().unwrap();
            let (vain, at) = dismissed.entry(number).or_insert((0, gone));
            // One that had been up for a second was no start in vain.
            *vain = if started[&number].elapsed() < Duration::from_secs(1) { *vain + 1 } else { 0 };
            *at = gone;
        }
    });
}

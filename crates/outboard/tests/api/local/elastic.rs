//! Elastic pools of processes: workers start for tasks that wait, and end without any.

use std::time::Duration;

use outboard::admin::Snapshot;
use outboard::{Client, ErrorKind, LocalBuilder, gather};

use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, pid, same, sleep};
use crate::support::{eventually, found, run};

/// For tests in which no worker is to end by itself.
const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(300);
const MS: Duration = Duration::from_millis(1);

fn local() -> LocalBuilder {
    Client::local().workers(1).spares(0)
}

fn elastic(client: &Client) -> Snapshot {
    client.admin().pool("elastic").unwrap().snapshot()
}

fn up(client: &Client) -> usize {
    elastic(client).per_worker.iter().filter(|worker| !worker.standby).count()
}

/// How slow a model is to load, where a test says so.
#[outboard::on_start(pool = "elastic")]
fn load(config: (Duration, bool)) -> Result<(), String> {
    let (takes, fails) = config;
    std::thread::sleep(takes);
    if fails { Err("no such model".into()) } else { Ok(()) }
}

#[test]
fn from_none_the_first_task_waits_for_a_start_and_idle_workers_end() {
    run(async {
        for exclusive in [false, true] {
            let client = local().pool("elastic", |pool| {
                let pool = pool.workers(0..=3).spares(1).idle(SHORT);
                let pool = pool.start_with((Duration::ZERO, false));
                pool.exclusive(exclusive).tenant_reserve(false)
            });
            let client = client.await.unwrap();
            let now = elastic(&client);
            assert_eq!((now.workers, now.least_workers, now.most_workers), (0, 0, 3));
            assert_eq!(now.per_worker.len(), 0, "none stands by either");
            let task = client.pool("elastic");
            for _ in 0..2 {
                let worker = Process::open(task.submit(pid, ()).await.unwrap());
                worker.ends().await;
                eventually("none is left", || elastic(&client).per_worker.is_empty()).await;
                assert_eq!(elastic(&client).workers, 0);
            }
            let now = elastic(&client);
            assert_eq!((now.failed, now.restarts.lost, now.open), (0, 0, true));
            client.shutdown().await;
        }
    });
}

#[test]
fn tasks_that_go_on_waiting_have_a_worker_each_up_to_the_bound() {
    run(async {
        for exclusive in [false, true] {
            let client = local().pool("elastic", |pool| {
                let pool = pool.workers(1..=3).idle(LONG).start_with((Duration::ZERO, false));
                pool.exclusive(exclusive).tenant_reserve(false)
            });
            let client = client.await.unwrap();
            let scratch = Scratch::new();
            let held: Vec<_> =
                (0..5).map(|_| client.pool("elastic").submit(hold, scratch.path())).collect();
            scratch.started(3).await;
            assert_eq!((elastic(&client).workers, elastic(&client).queued), (3, 2));
            scratch.release();
            gather(held).await.unwrap();
            let mut slots: Vec<_> =
                elastic(&client).per_worker.iter().filter_map(|worker| worker.slot).collect();
            slots.sort_unstable();
            assert_eq!(slots, [0, 1, 2]);
        }
    });
}

#[test]
fn those_that_idle_end_while_others_work_and_the_lower_bound_stays() {
    run(async {
        let client = local().pool("elastic", |pool| {
            let pool = pool.workers(1..=3).idle(SHORT).start_with((Duration::ZERO, false));
            pool.exclusive(true).tenant_reserve(false)
        });
        let client = client.await.unwrap();
        let (all, one) = (Scratch::new(), Scratch::new());
        let held: Vec<_> =
            (0..2).map(|_| client.pool("elastic").submit(hold, all.path())).collect();
        let stays = client.pool("elastic").submit(hold, one.path());
        all.started(2).await;
        one.started(1).await;
        all.release();
        gather(held).await.unwrap();
        eventually("two have ended", || up(&client) == 1).await;
        one.release();
        let worker = stays.await.unwrap();
        // Longer than it may idle: the last one stays all the same.
        client.pool("elastic").submit(sleep, SHORT).await.unwrap();
        tokio::time::sleep(2 * SHORT).await;
        assert_eq!(client.pool("elastic").submit(pid, ()).await.unwrap(), worker);
    });
}

#[test]
fn a_timeout_below_the_time_of_a_start_is_refused_with_that_and_a_worker_starts() {
    run(async {
        let start = 300 * MS;
        let client = local()
            .pool("elastic", |pool| pool.workers(0..=2).idle(SHORT).start_with((start, false)));
        let client = client.await.unwrap();
        let pool = client.pool("elastic");
        pool.submit(same, 1).await.unwrap();
        eventually("none is left", || elastic(&client).per_worker.is_empty()).await;
        assert!(elastic(&client).predicted_wait >= start, "{:?}", elastic(&client).predicted_wait);
        let refused = pool.timeout(20 * MS).submit(same, 1).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        let text = refused.to_string();
        assert!(text.contains("no worker is up") && text.contains("timeout is 20ms"), "{text}");
        assert!(refused.retry_after().unwrap() > start / 2, "{text}");
        eventually("it starts all the same", || up(&client) == 1).await;
        assert_eq!(pool.timeout(LONG).submit(same, 2).await.unwrap(), 2);
    });
}

#[test]
fn where_nothing_may_wait_a_refusal_or_a_caller_starts_a_worker() {
    run(async {
        let client = local().pool("elastic", |pool| {
            let pool = pool.workers(0..=2).idle(LONG).queue_tasks(0);
            pool.start_with((Duration::ZERO, false))
        });
        let client = client.await.unwrap();
        client.pool("elastic").ready().await.unwrap();
        assert_eq!(client.pool("elastic").submit(same, 1).await.unwrap(), 1);
        let other = local().pool("elastic", |pool| {
            let pool = pool.workers(0..=2).idle(LONG).queue_tasks(0);
            pool.start_with((Duration::ZERO, false))
        });
        let other = other.await.unwrap();
        assert!(other.pool("elastic").submit(same, 1).await.unwrap_err().is_overloaded());
        eventually("one is up", || up(&other) == 1).await;
        assert_eq!(other.pool("elastic").submit(same, 1).await.unwrap(), 1);
    });
}

#[test]
fn a_start_that_fails_ends_in_errors_and_the_next_task_tries_anew() {
    run(async {
        let client = local().pool("elastic", |pool| {
            pool.workers(0..=4).idle(SHORT).start_with((Duration::ZERO, true))
        });
        let client = client.await.unwrap();
        for _ in 0..2 {
            let tasks: Vec<_> = (0..4).map(|_| client.pool("elastic").submit(same, 1)).collect();
            for task in tasks {
                let error = task.await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.to_string().contains("no such model"), "{error}");
            }
            assert!(elastic(&client).workers <= 1, "of starts that fail there are no more");
            eventually("it gives up", || elastic(&client).workers == 0).await;
            assert!(elastic(&client).open);
        }
    });
}

#[test]
fn a_pool_is_made_elastic_and_fixed_while_it_serves() {
    run(async {
        let client = local().pool("elastic", |pool| {
            pool.workers(2).idle(SHORT).start_with((Duration::ZERO, false))
        });
        let client = client.await.unwrap();
        let admin = client.admin().pool("elastic").unwrap();
        eventually("both are up", || up(&client) == 2).await;
        admin.scale(0..=2).unwrap();
        eventually("none is left", || elastic(&client).per_worker.is_empty()).await;
        assert_eq!(client.pool("elastic").submit(same, 1).await.unwrap(), 1);
        admin.scale(2).unwrap();
        eventually("both are up", || up(&client) == 2).await;
        tokio::time::sleep(2 * SHORT).await;
        assert_eq!(up(&client), 2);
    });
}

#[test]
fn a_kill_a_drain_and_a_drop_while_it_starts_leave_nothing_behind() {
    run(async {
        let slow = || {
            local().pool("elastic", |pool| {
                pool.workers(0..=2).idle(SHORT).start_with((200 * MS, false))
            })
        };
        let client = slow().await.unwrap();
        drop(client.pool("elastic").submit(same, 1));
        eventually("the one that came in vain has gone", || {
            let now = elastic(&client);
            now.restarts.dismissed == 1 && now.per_worker.is_empty()
        })
        .await;
        let waits = client.pool("elastic").submit(same, 1);
        client.drain().await;
        assert_eq!(waits.await.unwrap(), 1, "what waits has its worker");
        client.shutdown().await;
        let client = slow().await.unwrap();
        let waits = client.pool("elastic").submit(same, 1);
        client.shutdown().await;
        assert_eq!(waits.await.unwrap_err().kind(), ErrorKind::Closed);
        let client = slow().await.unwrap();
        let scratch = Scratch::new();
        let held = client.pool("elastic").submit(hold, scratch.path());
        scratch.started(1).await;
        let worker = found("its process", || Some(Process::open(scratch.pid()))).await;
        drop(held);
        worker.ends().await;
        scratch.release();
        assert_eq!(client.pool("elastic").submit(same, 3).await.unwrap(), 3);
    });
}

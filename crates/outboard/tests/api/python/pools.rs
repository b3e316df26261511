//! Pools of Python under names of their own: slots, environments, and workers that come and go.

use std::path::PathBuf;
use std::time::Duration;

use outboard::{Client, LocalBuilder, Python, gather, python};

use super::interpreter;
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::{eventually, run};

/// The slot, that at the import, the variable of the slot, and the process.
type Met = (Option<u32>, Option<u32>, Option<String>, u32);

/// A client with one worker of Rust, and two of Python in the pool `gpu`.
async fn pool(set: impl FnOnce(LocalBuilder) -> LocalBuilder) -> (Client, Client) {
    let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/python/modules");
    let python = Python::new(interpreter()).path(modules).preload("slots");
    let client = Client::local().workers(1).spares(0);
    let client = client.pool("gpu", |pool| set(pool.workers(2).python(python))).await.unwrap();
    let pool = client.pool("gpu");
    (client, pool)
}

/// What all workers know, by slot.
async fn meet(pool: &Client, workers: usize) -> Vec<Met> {
    let scratch = Scratch::new();
    let meet = python::<(PathBuf, usize), Met>("slots:meet");
    let met = (0..workers).map(|_| pool.submit(meet, (scratch.path(), workers)));
    let mut met = gather(met).await.unwrap();
    met.sort_unstable();
    met
}

/// The process of a task that never ends, whose future is dropped.
async fn kill_one(pool: &Client) -> Process {
    let scratch = Scratch::new();
    let running = pool.submit(python::<(PathBuf,), ()>("slots:own"), scratch.path());
    scratch.started(1).await;
    let killed = Process::open(scratch.pid());
    drop(running);
    killed
}

#[test]
fn a_worker_knows_its_slot_and_so_does_its_replacement() {
    run(async {
        let (client, gpu) = pool(|pool| pool.spares(1).tenant_reserve(false)).await;
        for _ in 0..3 {
            let slots: Vec<_> = meet(&gpu, 2).await.into_iter().map(|(slot, ..)| slot).collect();
            assert_eq!(slots, [Some(0), Some(1)]);
            kill_one(&gpu).await.ends().await;
        }
        client.shutdown().await;
    });
}

#[test]
fn a_slot_has_its_environment_and_one_process_at_a_time() {
    run(async {
        let env = |slot: usize| [("DEVICE", format!("cuda:{slot}"))];
        let (client, gpu) = pool(|pool| pool.env(env).tenant_reserve(false)).await;
        let expected = [0, 1].map(|slot| (Some(slot), Some(slot), Some(format!("cuda:{slot}"))));
        for _ in 0..2 {
            let met = meet(&gpu, 2).await;
            let known = met.iter().map(|(slot, early, device, _)| (*slot, *early, device.clone()));
            assert_eq!(known.collect::<Vec<_>>(), expected);
            kill_one(&gpu).await.ends().await;
            let others = client.admin().pool("gpu").unwrap().snapshot().per_worker;
            assert!(others.iter().all(|worker| !worker.standby), "{others:?}");
        }
        client.shutdown().await;
    });
}

#[test]
fn workers_start_when_there_is_a_task_and_end_without_one() {
    run(async {
        let idle = Duration::from_millis(30);
        let (client, gpu) = pool(|pool| pool.workers(0..=2).idle(idle)).await;
        let admin = client.admin().pool("gpu").unwrap();
        for _ in 0..2 {
            eventually("none is left", || admin.snapshot().per_worker.is_empty()).await;
            let met = meet(&gpu, 1).await;
            assert_eq!(met[0].0, Some(0));
        }
        client.shutdown().await;
    });
}

#[test]
fn options_of_a_pool_hold_for_its_python() {
    run(async {
        let (client, gpu) = pool(|pool| pool.workers(1).recycle_after_tasks(1)).await;
        let pid = python::<(), u32>("trouble:pid");
        let first = gpu.submit(pid, ()).await.unwrap();
        eventually("its worker is replaced", || Process::find(first).is_none()).await;
        assert_ne!(gpu.submit(pid, ()).await.unwrap(), first);
        // Without a pool named `python` such a function needs its pool's name.
        let error = client.submit(pid, ()).await.unwrap_err();
        assert!(error.to_string().contains("needs workers that are Python"), "{error}");
        client.shutdown().await;
    });
}

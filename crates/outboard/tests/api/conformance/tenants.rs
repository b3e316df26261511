//! Tenants: one that wants much does not slow the others.

use std::path::PathBuf;

use outboard::gather;

use super::{Engine, named, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, next, same, sleep, write};

on_every_engine! {
    a_tenant_alone_has_all_workers,
    the_worker_that_is_kept_free_can_be_given_up,
    a_tenant_that_comes_late_does_not_wait_behind_a_backlog,
    weights_divide_what_tenants_get,
    a_tenants_part_of_the_queue_is_bounded,
    a_flood_leaves_a_worker_to_the_others,
    a_flood_does_not_fill_an_idle_worker_past_the_bounds,
}

async fn a_tenant_alone_has_all_workers(engine: Engine) {
    let client = engine.client("workers=2").await.tenant("alone");
    let scratch = Scratch::new();
    let held: Vec<_> = (0..3).map(|_| client.submit(hold, scratch.path())).collect();
    scratch.started(2).await;
    scratch.release();
    gather(held).await.unwrap();
}

async fn a_flood_leaves_a_worker_to_the_others(engine: Engine) {
    let client = engine.client("workers=2&window=2").await;
    let (many, few) = (client.tenant("many"), client.tenant("few"));
    // So long that nothing is sent ahead, where it would not count as queued.
    few.submit(sleep, std::time::Duration::from_millis(5)).await.unwrap();
    let flood = Scratch::new();
    let held: Vec<_> = (0..8).map(|_| many.submit(hold, flood.path())).collect();
    flood.started(1).await;
    for n in 0..50 {
        assert_eq!(few.submit(next, n).await.unwrap(), n + 1);
    }
    assert_eq!(flood.starts(), 1, "it has one worker of two");
    flood.release();
    gather(held).await.unwrap();
}

async fn the_worker_that_is_kept_free_can_be_given_up(engine: Engine) {
    let client = engine.client("workers=2&tenant_reserve=0").await;
    client.tenant("few").submit(same, 1).await.unwrap();
    let (many, flood) = (client.tenant("many"), Scratch::new());
    let held: Vec<_> = (0..3).map(|_| many.submit(hold, flood.path())).collect();
    flood.started(2).await;
    flood.release();
    gather(held).await.unwrap();
}

async fn a_tenant_that_comes_late_does_not_wait_behind_a_backlog(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (held, scratch) = (Scratch::new(), Scratch::new());
    let running = client.tenant("many").submit(hold, held.path());
    held.started(1).await;
    let submit = |tenant: &'static str, times: usize| {
        let client = client.tenant(tenant);
        let one = |_| client.submit(write, (scratch.path(), tenant.to_owned()));
        (0..times).map(one).collect::<Vec<_>>()
    };
    let (many, few) = (submit("many", 100), submit("few", 10));
    held.release();
    running.await.unwrap();
    gather(many.into_iter().chain(few)).await.unwrap();
    let lines = scratch.notes("lines");
    // A hiccup of the machine during one of the ten is charged like work, so the
    // rest may come later.
    let first = lines.iter().position(|line| line == "few").unwrap();
    assert!(first < 10, "the first of 10 came as number {first} of {}", lines.len());
}

async fn weights_divide_what_tenants_get(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (held, scratch) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold, held.path());
    held.started(1).await;
    let submit = |tenant: &'static str, weight: u32| {
        let client = client.tenant(tenant).weight(weight);
        let nap = named!("contract.37", |at: PathBuf, line: String| -> u32 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            write(at, line)
        });
        let one = |_| client.submit(nap, (scratch.path(), tenant.to_owned()));
        (0..40).map(one).collect::<Vec<_>>()
    };
    let (light, heavy) = (submit("light", 1), submit("heavy", 4));
    held.release();
    running.await.unwrap();
    eventually("half of it is done", || scratch.notes("lines").len() >= 30).await;
    let lines = scratch.notes("lines");
    let heavies = lines[..30].iter().filter(|line| *line == "heavy").count();
    assert!(heavies > 30 / 2, "{heavies} of the first 30 are of the tenant with weight 4");
    gather(light.into_iter().chain(heavy)).await.unwrap();
}

async fn a_flood_does_not_fill_an_idle_worker_past_the_bounds(engine: Engine) {
    let client = engine.client("workers=2&window=2&queue_tasks=5").await;
    let (many, few) = (client.tenant("many"), client.tenant("few"));
    // So long that nothing is sent ahead, where it would not count as queued.
    few.submit(sleep, std::time::Duration::from_millis(5)).await.unwrap();
    let flood = Scratch::new();
    let first = many.submit(hold, flood.path());
    flood.started(1).await;
    let more: Vec<_> = (0..20).map(|_| many.submit(hold, flood.path())).collect();
    let refused = more.iter().filter(|future| future.is_finished()).count();
    assert_eq!(refused, 15, "the idle worker is not for this tenant");
    assert_eq!(few.submit(next, 1).await.unwrap(), 2);
    drop(more);
    flood.release();
    first.await.unwrap();
}

async fn a_tenants_part_of_the_queue_is_bounded(engine: Engine) {
    let client = engine.client("workers=1&window=1&tenant_queue=2").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let many = client.tenant("many");
    let held: Vec<_> = (0..2).map(|_| many.submit(hold, scratch.path())).collect();
    let error = many.submit(hold, scratch.path()).await.unwrap_err();
    assert!(error.is_overloaded() && error.is_tenant_limited(), "{error}");
    let other = client.tenant("few").submit(hold, scratch.path());
    scratch.release();
    gather(held.into_iter().chain([running, other])).await.unwrap();
}

//! Pools: workers, queues and bounds of their own, of one client.

use std::sync::OnceLock;

use outboard::admin::EventKind;
use outboard::{Client, ErrorKind, TaskFuture};

use super::{Engine, Promise, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, same};

on_every_engine!(
    a_task_runs_in_the_pool_that_is_named,
    a_pool_is_not_held_up_by_another,
    bounds_are_those_of_the_pool,
    a_pool_that_is_lacking_is_an_error_that_lists_those_there_are,
    a_snapshot_has_each_pool_and_their_sum,
    a_pool_is_scaled_alone,
    events_stories_and_cancels_know_pools,
    a_shutdown_ends_all_pools,
    an_elastic_pool_follows_its_load,
);

#[outboard::task(name = "pools::of_gpu", pool = "gpu")]
fn of_gpu(x: u64) -> u64 {
    x + 1
}

/// Set in the workers of the pool, where these are processes.
static POOL: OnceLock<&str> = OnceLock::new();

#[outboard::on_start(pool = "gpu")]
fn note_pool() {
    POOL.get_or_init(|| "gpu");
}

#[outboard::task(name = "pools::here")]
fn here() -> String {
    POOL.get().copied().unwrap_or("default").to_owned()
}

#[outboard::task(name = "pools::here_of_gpu", pool = "gpu")]
fn here_of_gpu() -> String {
    here()
}

/// A client with two workers, and one in the pool `gpu`.
async fn any_client(engine: Engine, more: &str) -> Client {
    engine.client(&format!("workers=2&pool.gpu.workers=1{more}")).await
}

/// The same; none where pools are those of a cluster's workers.
async fn client(engine: Engine, more: &str) -> Option<Client> {
    if engine.promises(Promise::OwnsItsWorkers) {
        return Some(any_client(engine, more).await);
    }
    let url = format!("{}://127.0.0.1:1?pool.gpu.workers=1", engine.name);
    let error = Client::connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidUrl);
    assert!(
        error.to_string().contains("the pools of a cluster are those of its workers"),
        "{error}"
    );
    None
}

/// The pool of the worker that executed a task.
async fn ran_in(client: &Client, future: TaskFuture<u64>) -> String {
    let worker = future.with_report().await.unwrap().1.worker;
    let workers = client.admin().snapshot().per_worker;
    let row = workers.iter().find(|row| row.number == worker).unwrap();
    row.pool.to_string()
}

async fn a_task_runs_in_the_pool_that_is_named(engine: Engine) {
    let client = any_client(engine, "").await;
    let (gpu, default) = (client.pool("gpu"), client.pool("default"));
    let all = gpu.tenant("a").map(same, 0..2_000).gather().await.unwrap();
    assert_eq!(all, (0..2_000).collect::<Vec<_>>());
    if !engine.promises(Promise::OwnsItsWorkers) {
        let asked = [
            client.submit(here, ()),
            client.submit(here_of_gpu, ()),
            gpu.submit(here, ()),
            default.submit(here_of_gpu, ()),
        ];
        let ran = outboard::gather(asked).await.unwrap();
        assert_eq!(ran, ["default", "gpu", "gpu", "default"]);
        return;
    }
    assert_eq!(ran_in(&client, client.submit(of_gpu, 1)).await, "gpu");
    assert_eq!(ran_in(&client, client.submit(same, 1)).await, "default");
    assert_eq!(ran_in(&client, gpu.submit(same, 1)).await, "gpu");
    assert_eq!(ran_in(&client, default.submit(of_gpu, 1)).await, "default");
    let gpu = client.admin().pool("gpu").unwrap().snapshot();
    assert_eq!((gpu.submitted, gpu.done), (2_002, 2_002));
}

async fn a_pool_is_not_held_up_by_another(engine: Engine) {
    let client = any_client(engine, "&tenant_reserve=0").await;
    let scratch = Scratch::new();
    let held: Vec<_> = (0..3).map(|_| client.submit(hold, scratch.path())).collect();
    scratch.started(2).await;
    assert_eq!(client.submit(of_gpu, 1).await.unwrap(), 2);
    client.pool("gpu").ready().await.unwrap();
    scratch.release();
    outboard::gather(held).await.unwrap();
}

async fn bounds_are_those_of_the_pool(engine: Engine) {
    let Some(client) = client(engine, "&queue_tasks=8&pool.gpu.queue_tasks=1").await else {
        return;
    };
    let (scratch, gpu) = (Scratch::new(), client.pool("gpu"));
    let held = gpu.submit(hold, scratch.path());
    scratch.started(1).await;
    let waits = gpu.submit(hold, scratch.path());
    let refused = client.submit(of_gpu, 1).await.unwrap_err();
    assert!(refused.is_overloaded(), "{refused}");
    assert_eq!(client.submit(same, 1).await.unwrap(), 1);
    scratch.release();
    outboard::gather([held, waits]).await.unwrap();
    let now = client.admin().snapshot();
    assert_eq!((now.queue_limit, now.refused), (9, 1));
}

async fn a_pool_that_is_lacking_is_an_error_that_lists_those_there_are(engine: Engine) {
    let client = any_client(engine, "&pool.cpu.workers=1").await;
    let tpu = client.pool("tpu");
    let mut errors = vec![
        tpu.submit(of_gpu, 1).await.unwrap_err(),
        tpu.map(same, [1]).gather().await.unwrap_err(),
    ];
    let own = engine.promises(Promise::OwnsItsWorkers);
    if own {
        errors.push(tpu.ready().await.unwrap_err());
    }
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::UnknownTask);
        let says = match own {
            true => "this client has no pool `tpu`, only `default`, `gpu`, `cpu`",
            false => "the cluster's workers have no pool `tpu`, only `default`, `cpu`, `gpu`: ",
        };
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(client.admin().pool("tpu").is_none());
    let alone = engine.client("workers=1").await;
    let error = alone.submit(of_gpu, 1).await.unwrap_err().to_string();
    assert!(error.contains("`pools::of_gpu`") && error.contains("only `default`"), "{error}");
}

async fn a_snapshot_has_each_pool_and_their_sum(engine: Engine) {
    let Some(client) = client(engine, "").await else { return };
    for x in 0..3 {
        client.submit(same, x).await.unwrap();
        client.pool("gpu").tenant("a").submit(same, x).await.unwrap();
    }
    client.submit(of_gpu, 1).await.unwrap();
    let now = client.admin().snapshot();
    assert_eq!((now.workers, now.submitted, now.done), (3, 7, 7));
    let pools: Vec<_> = (now.per_pool.iter())
        .map(|pool| (&*pool.pool, pool.snapshot.workers, pool.snapshot.done))
        .collect();
    assert_eq!(pools, [("default", 2, 3), ("gpu", 1, 4)]);
    let row = |name: &str| {
        let mut rows = now.per_function.iter().filter(|row| row.function.ends_with(name));
        let row = rows.next().unwrap();
        assert!(rows.next().is_none(), "one row for each function");
        (row.figures.done, row.run_times.count())
    };
    assert_eq!((row("same"), row("of_gpu")), ((6, 6), (1, 1)));
    let tenants: Vec<_> = now.per_tenant.iter().map(|row| row.figures.done).collect();
    assert_eq!(tenants.iter().sum::<u64>(), 7);
    let mut numbers: Vec<_> = now.per_worker.iter().map(|worker| worker.number).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), now.per_worker.len(), "no two have the same number");
    let alone = engine.client("workers=1").await.admin().snapshot();
    assert!(alone.per_pool.is_empty() && &*alone.per_worker[0].pool == "default");
}

async fn a_pool_is_scaled_alone(engine: Engine) {
    let Some(client) = client(engine, "").await else { return };
    let gpu = client.admin().pool("gpu").unwrap();
    gpu.scale(2).unwrap();
    let up = |pool: &str| {
        let workers = client.admin().snapshot().per_worker;
        workers.iter().filter(|worker| &*worker.pool == pool && !worker.standby).count()
    };
    eventually("there is one more", || (up("default"), up("gpu")) == (2, 2)).await;
    client.admin().scale(1).unwrap();
    eventually("there is one fewer", || (up("default"), up("gpu")) == (1, 2)).await;
    assert_eq!(client.admin().snapshot().workers, 3);
}

async fn events_stories_and_cancels_know_pools(engine: Engine) {
    let Some(client) = client(engine, "").await else { return };
    let (admin, scratch) = (client.admin(), Scratch::new());
    let mut watch = admin.watch();
    let mut of_one = admin.pool("gpu").unwrap().watch();
    client.submit(same, 1).await.unwrap();
    let held = client.pool("gpu").submit(hold, scratch.path());
    scratch.started(1).await;
    let waits = client.submit(of_gpu, 1);
    let (task, waiting) = (held.id().unwrap(), waits.id().unwrap());
    assert!(admin.story(task).is_some() && admin.story(waiting).is_some());
    assert!(admin.cancel_task(waiting) && waits.await.unwrap_err().is_cancelled());
    scratch.release();
    held.await.unwrap();
    let mut ended = Vec::new();
    while ended.len() < 3 {
        let batch = watch.next().await.unwrap();
        ended.extend(batch.iter().filter(|it| matches!(it.kind, EventKind::Ended { .. })));
        let times: Vec<_> = batch.iter().map(|event| event.at).collect();
        assert!(times.is_sorted(), "{times:?}");
    }
    let mut pools: Vec<_> = ended.iter().map(|event| &*event.pool).collect();
    pools.sort_unstable();
    assert_eq!(pools, ["default", "gpu", "gpu"]);
    let of_one = of_one.take();
    assert!(!of_one.is_empty() && of_one.iter().all(|event| &*event.pool == "gpu"));
}

async fn a_shutdown_ends_all_pools(engine: Engine) {
    let Some(client) = client(engine, "").await else { return };
    client.shutdown().await;
    for error in
        [client.submit(same, 1).await.unwrap_err(), client.submit(of_gpu, 1).await.unwrap_err()]
    {
        assert!(error.is_closed(), "{error}");
    }
    let now = client.admin().snapshot();
    assert!(!now.open && now.per_worker.is_empty(), "{now:?}");
}

async fn an_elastic_pool_follows_its_load(engine: Engine) {
    if !engine.promises(Promise::OwnsItsWorkers) {
        return;
    }
    let options = "workers=1&tenant_reserve=0&pool.gpu.workers=0..=2&pool.gpu.idle=300ms";
    let client = engine.client(options).await;
    let gpu = client.admin().pool("gpu").unwrap();
    let now = gpu.snapshot();
    assert_eq!((now.workers, now.least_workers, now.most_workers), (0, 0, 2));
    assert_eq!((now.per_worker.len(), now.open), (0, true));
    for _ in 0..2 {
        let scratch = Scratch::new();
        let held = [(); 3].map(|()| client.pool("gpu").submit(hold, scratch.path()));
        scratch.started(2).await;
        assert_eq!((gpu.snapshot().workers, gpu.snapshot().queued), (2, 1));
        scratch.release();
        outboard::gather(held).await.unwrap();
        eventually("none is left", || gpu.snapshot().per_worker.is_empty()).await;
        assert_eq!(gpu.snapshot().workers, 0);
    }
    let sum = client.admin().snapshot();
    assert_eq!((sum.failed, sum.least_workers, sum.most_workers), (0, 1, 3));
}

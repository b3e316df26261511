//! Pools of a cluster: what its workers have, native ones and Python's, and what follows where
//! none has one.

use std::collections::BTreeSet;
use std::time::Duration;

use outboard::dask::python;
use outboard::error::Cause;
use outboard::{Client, ErrorKind, Scattered, gather};

use super::cluster::Cluster;
use super::plugin::{program, script, url};
use super::{Release, on_every_release};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, pid};

on_every_release!(
    a_task_goes_to_a_worker_that_has_its_pool,
    equal_calls_of_two_pools_are_two,
    a_pool_that_comes_later_is_found_and_one_that_left_is_lost,
    a_pool_without_workers_starts_one_for_a_task,
    a_python_worker_has_the_pools_of_its_resources,
    pythons_client_names_pools,
);

#[outboard::task(name = "pools::host", pool = "gpu")]
fn host() -> u32 {
    std::os::unix::process::parent_id()
}

#[outboard::task(name = "pools::length")]
fn length(values: Scattered<Vec<u64>>) -> usize {
    values.len()
}

#[outboard::task(name = "pools::pure_pid", pure)]
fn pure_pid(at: std::path::PathBuf) -> u32 {
    hold(at)
}

/// Where so many tasks ran.
async fn pids(client: &Client, tasks: usize) -> BTreeSet<u32> {
    let pids = gather((0..tasks).map(|_| client.submit(pid, ()))).await.unwrap();
    pids.into_iter().collect()
}

async fn a_task_goes_to_a_worker_that_has_its_pool(release: Release) {
    let cluster = release.cluster(0).await;
    let _without = cluster.native_worker(1).await;
    let with = cluster.native_worker_as("workers=1&pool.gpu.workers=1&pool.b.workers=2");
    with.joined().await;
    let client = cluster.client().await;
    let hosts = gather((0..40).map(|_| client.submit(host, ()))).await.unwrap();
    assert_eq!(BTreeSet::from_iter(hosts), BTreeSet::from([with.process().pid]));
    let (gpu, rest) = (pids(&client.pool("gpu"), 40).await, pids(&client, 40).await);
    assert_eq!((gpu.len(), gpu.intersection(&rest).count()), (1, 0));
    // What goes straight to a worker, and what is scattered, goes to one that has the pool.
    let values: Vec<u64> = (0..300_000).collect();
    let scattered = client.scatter(values).await.unwrap();
    assert_eq!(client.pool("b").submit(length, scattered.clone()).await.unwrap(), 300_000);
    for error in [
        client.pool("tpu").submit(length, scattered).await.unwrap_err(),
        client.pool("tpu").submit(host, ()).await.unwrap_err(),
        client.pool("tpu").submit(python::<(i64,), i64>("operator:neg"), 7).await.unwrap_err(),
    ] {
        let says = "the cluster's workers have no pool `tpu`, only `default`, `b`, `gpu`: start \
                    one with `outboard worker --pool tpu`, or Dask's own with `--resources \
                    pool-tpu=1`";
        assert_eq!(error.kind(), ErrorKind::UnknownTask);
        assert!(error.to_string().contains(says), "{error}");
    }
    client.shutdown().await;
}

async fn equal_calls_of_two_pools_are_two(release: Release) {
    let cluster = release.cluster(0).await;
    let worker = cluster.native_worker_as("workers=1&pool.gpu.workers=1&pool.b.workers=1");
    worker.joined().await;
    let (client, scratch) = (cluster.client().await, Scratch::new());
    let pools = ["gpu", "b", "gpu"].map(|name| client.pool(name));
    let calls = pools.map(|pool| pool.submit(pure_pid, scratch.path()));
    scratch.started(2).await;
    scratch.release();
    let ran = gather(calls).await.unwrap();
    assert!(ran[0] == ran[2] && ran[0] != ran[1], "{ran:?}");
    client.shutdown().await;
}

async fn a_pool_that_comes_later_is_found_and_one_that_left_is_lost(release: Release) {
    let cluster = release.cluster(0).await;
    let _without = cluster.native_worker(1).await;
    let client = cluster.client().await;
    let error = client.submit(host, ()).await.unwrap_err().to_string();
    assert!(error.contains("`pools::host`") && error.contains("only `default`: "), "{error}");
    let mut with = cluster.native_worker_as("workers=1&pool.gpu.workers=1");
    with.joined().await;
    assert_eq!(client.submit(host, ()).await.unwrap(), with.process().pid);
    let scratch = Scratch::new();
    let running = client.pool("gpu").submit(hold, scratch.path());
    scratch.started(1).await;
    with.kill();
    // Others know its function, and do not have its pool.
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
    let error = ended.expect("it ends").unwrap_err();
    assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Cluster), "{error}");
    assert_eq!(scratch.starts(), 1);
    client.submit(pid, ()).await.unwrap();
    client.shutdown().await;
}

async fn a_pool_without_workers_starts_one_for_a_task(release: Release) {
    let cluster = release.cluster(0).await;
    let worker =
        cluster.native_worker_as("workers=1&spares=0&pool.gpu.workers=0..=2&pool.gpu.idle=100ms");
    worker.joined().await;
    let (client, scratch) = (cluster.client().await, Scratch::new());
    let held = [(); 2].map(|()| client.pool("gpu").submit(hold, scratch.path()));
    scratch.started(2).await;
    let running = crate::support::process::children(worker.process().pid).len();
    scratch.release();
    let ran = gather(held).await.unwrap();
    assert_ne!(ran[0], ran[1]);
    eventually("they end", || {
        crate::support::process::children(worker.process().pid).len() + 2 <= running
    })
    .await;
    client.shutdown().await;
}

/// Two Python workers with two threads each, of which one has a pool.
async fn with_plugin(release: Release) -> Cluster {
    let mut cluster = release.cluster(0).await;
    script(&program(&cluster), &std::env::current_exe().unwrap());
    cluster.add_nanny(2, &[]);
    cluster.add_nanny(2, &["--resources", "pool-gpu=1"]);
    cluster.ready().await;
    cluster
}

async fn a_python_worker_has_the_pools_of_its_resources(release: Release) {
    let cluster = with_plugin(release).await;
    let connected = Client::connect(&url(&cluster, &program(&cluster))).await;
    let client = connected.unwrap_or_else(|error| panic!("{error}\n{}", cluster.log()));
    let gpu = client.pool("gpu");
    let (of_gpu, rest) = (pids(&gpu, 30).await, pids(&client, 30).await);
    assert_eq!((of_gpu.len(), of_gpu.intersection(&rest).count()), (1, 0));
    // The function's own pool, and that of the handle before it.
    let hosts = gather((0..10).map(|_| client.submit(host, ()))).await.unwrap();
    assert_eq!(BTreeSet::from_iter(hosts).len(), 1);
    client.pool("default").submit(host, ()).await.unwrap();
    // One at a time, as the operator says.
    let (first, second) = (Scratch::new(), Scratch::new());
    let held = [&first, &second].map(|at| gpu.submit(hold, at.path()));
    eventually("one starts", || first.starts() + second.starts() == 1).await;
    pids(&client, 4).await;
    assert_eq!(first.starts() + second.starts(), 1);
    first.release();
    second.release();
    gather(held).await.unwrap();
    // Python's own functions go there too.
    let getpid = || gpu.submit(python::<(), u32>("os:getpid"), ());
    let workers = gather((0..10).map(|_| getpid())).await.unwrap();
    assert_eq!(BTreeSet::from_iter(workers).len(), 1);
    let error = client.pool("tpu").submit(pid, ()).await.unwrap_err();
    assert!(error.to_string().contains("no pool `tpu`, only `default`, `gpu`: "), "{error}");
    client.shutdown().await;
}

async fn pythons_client_names_pools(release: Release) {
    let cluster = release.cluster(0).await;
    let _without = cluster.native_worker(1).await;
    let with = cluster.native_worker_as("workers=1&pool.gpu.workers=1");
    with.joined().await;
    let says = "sys.path.insert(0, sys.argv[2])\n\
        import outboard_dask\n\
        host = outboard_dask.function('pools::host')\n\
        needs = outboard_dask.resources(client, host, pool='gpu')\n\
        asked = [client.submit(host, resources=needs, pure=False) for _ in range(20)]\n\
        print(*set(client.gather(asked)))\n\
        try:\n\
        \x20   worker = next(w for w, it in client.scheduler_info(n_workers=-1)['workers'].items()\n\
        \x20       if 'pool-gpu' not in it['resources'])\n\
        \x20   print(client.submit(host, workers=[worker], pure=False).result())\n\
        except Exception as error:\n\
        \x20   print(error)\n";
    let printed = cluster.python(says).await;
    let (hosts, refused) = printed.split_once('\n').unwrap();
    assert_eq!(hosts, with.process().pid.to_string());
    let advice = "does not have its pool `gpu`: submit it with resources={\"pool-gpu\": 1}";
    assert!(refused.contains(advice), "{refused}");
}

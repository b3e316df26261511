//! The client: options, clones, counters, and what URLs may say.

use std::time::Duration;

use outboard::{Client, ErrorKind};

use super::{Engine, Promise, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{double, fail, hold, next, pid, same_byte};

on_every_engine! {
    a_client_inside_a_task_works,
    options_belong_to_the_derived_client_alone,
    handles_fit_into_a_server,
    clones_share_one_engine,
    inside_a_task_the_environment_means_inline,
    many_clients_live_side_by_side,
    a_client_shows_what_it_has,
    workers_can_be_more_and_fewer,
    a_snapshot_counts,
    a_wrong_url_says_what_is_wrong_with_it,
}

async fn options_belong_to_the_derived_client_alone(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let hasty = client.timeout(Duration::from_millis(10));
    let patient = hasty.timeout(Duration::from_secs(60)).tenant("alice").priority(3).key("k");
    let late = [hasty.submit(same_byte, 1), hasty.clone().submit(same_byte, 1)];
    let in_time = [client.submit(same_byte, 2), patient.submit(same_byte, 2)];
    for future in late {
        assert!(future.await.unwrap_err().is_timed_out());
    }
    scratch.release();
    running.await.unwrap();
    for future in in_time {
        assert_eq!(future.await.unwrap(), 2);
    }
}

/// What a web framework asks of state and of handlers' futures.
fn fits_into_a_server<T: Send + Sync + 'static>(_: &T) {}

async fn handles_fit_into_a_server(engine: Engine) {
    let client = engine.client("workers=1").await;
    let future = client.submit(same_byte, 1);
    fits_into_a_server(&client);
    fits_into_a_server(&future);
    fits_into_a_server(&client.timeout(Duration::ZERO).submit(pid, ()).await.err());
    let (ready, drain) = (client.clone(), client.clone());
    tokio::spawn(async move { ready.ready().await }).await.unwrap().unwrap();
    assert_eq!(tokio::spawn(future).await.unwrap().unwrap(), 1);
    tokio::spawn(async move { drain.drain().await }).await.unwrap();
    tokio::spawn(async move { client.shutdown().await }).await.unwrap();
}

async fn clones_share_one_engine(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (clone, derived) = (client.clone(), client.retries(1));
    let first = client.submit(pid, ()).await.unwrap();
    drop(client);
    assert_eq!(clone.submit(pid, ()).await.unwrap(), first);
    assert_eq!(derived.submit(pid, ()).await.unwrap(), first);
    assert_eq!(clone.admin().snapshot().done, 3);
}

async fn a_client_shows_what_it_has(engine: Engine) {
    let client = engine.client("workers=3").await;
    let text = client.to_string();
    let lines: Vec<Vec<_>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["Client"]);
    assert_eq!(lines[1], ["Engine:", engine.name]);
    let (workers, cores) = match engine.promises(Promise::OwnsItsWorkers) {
        true => (3, std::thread::available_parallelism().unwrap().get()),
        // One native worker, which has three processes.
        false => (1, 3),
    };
    assert_eq!(lines[2], ["Workers:", &workers.to_string()]);
    assert_eq!(lines[3], ["Cores:", &cores.to_string()]);
    assert_eq!((lines[4][0], lines[4][2], lines.len()), ("Memory:", "GB", 5));
    assert!(lines[4][1].parse::<f64>().unwrap() > 0.0, "{text}");
    assert!(format!("{client:?}").contains(engine.name), "{client:?}");
}

async fn workers_can_be_more_and_fewer(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    if !engine.promises(Promise::OwnsItsWorkers) {
        let error = client.admin().scale(3).unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains("cluster"), "{error}");
        assert_eq!(client.admin().snapshot().workers, 1, "it is not for a client to say");
        client.submit(pid, ()).await.unwrap();
        return;
    }
    let held: Vec<_> = (0..3).map(|_| client.submit(hold, scratch.path())).collect();
    scratch.started(1).await;
    client.admin().scale(3).unwrap();
    scratch.started(3).await;
    client.admin().scale(1).unwrap();
    let (last, other) = (Scratch::new(), client.submit(hold, scratch.path()));
    scratch.release();
    outboard::gather(held).await.unwrap();
    other.await.unwrap();
    let held: Vec<_> = (0..2).map(|_| client.submit(hold, last.path())).collect();
    last.started(1).await;
    eventually("the other one waits", || client.admin().snapshot().queued == 1).await;
    assert_eq!((last.starts(), client.admin().snapshot().workers), (1, 1));
    last.release();
    outboard::gather(held).await.unwrap();
    client.shutdown().await;
    assert_eq!(client.admin().scale(2).unwrap_err().kind(), ErrorKind::Closed);
}

async fn a_snapshot_counts(engine: Engine) {
    let client = engine.client("workers=2&window=2&queue_tasks=1").await;
    let scratch = Scratch::new();
    let mut running = [(); 2].map(|()| client.submit(hold, scratch.path()));
    scratch.started(2).await;
    let cancelled = client.submit(hold, scratch.path());
    drop(cancelled);
    let late = client.timeout(Duration::from_millis(1)).submit(hold, scratch.path());
    assert!(late.await.unwrap_err().is_timed_out());
    let queued = client.submit(fail, "counted as failed".into());
    assert!(client.submit(hold, scratch.path()).await.unwrap_err().is_overloaded());
    let now = client.admin().snapshot();
    assert_eq!((now.engine, now.queued, now.running), (engine.name, 1, 2));
    if engine.promises(Promise::KnowsProcesses) {
        let up: Vec<_> = now.per_worker.iter().filter(|worker| !worker.standby).collect();
        assert!(now.workers == 2 && up.len() == 2 && up[0].number < up[1].number, "{up:?}");
        assert!(up.iter().all(|worker| worker.busy && worker.pid > 0));
    } else {
        let busy = || client.admin().snapshot().per_worker.iter().all(|worker| worker.busy);
        eventually("its heartbeat says so", busy).await;
    }
    scratch.release();
    for future in &mut running {
        future.await.unwrap();
    }
    assert!(queued.await.unwrap_err().is_panicked());
    let end = client.admin().snapshot();
    assert_eq!((end.queued, end.running, end.submitted), (0, 0, 5));
    assert_eq!((end.done, end.failed, end.cancelled, end.timed_out), (2, 1, 1, 1));
    assert_eq!((end.refused, end.coalesced), (1, 0));
    if engine.promises(Promise::KnowsProcesses) {
        assert_eq!(end.per_worker.iter().map(|worker| worker.done).sum::<u64>(), 3);
    }
}

async fn a_wrong_url_says_what_is_wrong_with_it(engine: Engine) {
    let place = if engine.name == "dask" { "127.0.0.1:80" } else { "" };
    let wrong = [
        (
            "?workers=0",
            "`workers` wants a whole number, at least 1, or a range such as `0..=8`, not `0`",
        ),
        (
            "?workers=many",
            "wants a whole number, at least 1, or a range such as `0..=8`, not `many`; for example `workers=4`",
        ),
        ("?workers=-1", "not `-1`; for example `workers=4`"),
        ("?workers", "`workers` wants a whole number, at least 1, or a range such as `0..=8`; for"),
        ("?workers=1&workers=2", "`workers` is given twice"),
        ("?queue_bytes=99999999TiB", "`queue_bytes=99999999TiB` is too large"),
        ("?max_wait=20", "`max_wait` wants a duration, not `20`; for example `max_wait=1s`"),
        ("?speed=9", "no option is named `speed`"),
        ("?queue_task=9", "did you mean `queue_tasks`?"),
    ];
    let of_hosts: &[(&str, &str)] = match engine.name {
        "dask" => &[
            (",", "has no host"),
            (",127.0.0.1:80", "named twice"),
            ("?window=0", "`window` must be at least 1"),
        ],
        _ => &[("127.0.0.1:80", "`127.0.0.1:80` is a host")],
    };
    for (rest, says) in wrong.iter().chain(of_hosts) {
        let url = format!("{}://{place}{rest}", engine.name);
        let error = Client::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains(says), "{text}");
    }
    for url in [engine.name, "", "://", "redis://localhost"] {
        let error = Client::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        let text = error.to_string();
        assert!(text.contains("inline://") && text.contains("local://"), "{text}");
    }
}

#[outboard::task]
async fn engine_inside() -> Result<String, String> {
    let client = Client::from_env().await.map_err(|error| error.to_string())?;
    Ok(client.admin().snapshot().engine.into())
}

async fn inside_a_task_the_environment_means_inline(engine: Engine) {
    let client = engine.client("workers=1").await;
    assert_eq!(client.submit(engine_inside, ()).await.unwrap(), Ok("inline".into()));
}

#[outboard::task]
async fn double_inside(n: u64) -> Result<u64, String> {
    let inner = Client::from_env().await.map_err(|error| error.to_string())?;
    let result = inner.submit(double, n).await;
    inner.shutdown().await;
    result.map_err(|error| error.to_string())
}

async fn a_client_inside_a_task_works(engine: Engine) {
    let client = engine.client("workers=1").await;
    for n in 0..3 {
        assert_eq!(client.submit(double_inside, n).await.unwrap(), Ok(2 * n));
    }
}

async fn many_clients_live_side_by_side(engine: Engine) {
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(engine.client("workers=1").await);
    }
    let futures: Vec<_> =
        clients.iter().zip(0_u64..).map(|(client, n)| client.submit(next, n)).collect();
    clients[0].shutdown().await;
    for (n, future) in (0..).zip(futures).skip(1) {
        assert_eq!(future.await.unwrap(), n + 1);
    }
}

//! What a client costs that has nothing to do: memory of its workers, and how
//! often anything of it wakes up.

use std::time::Duration;

use anyhow::Context;
use outboard::{Client, gather};
use tokio::runtime::Runtime;

use super::figure::Figure;
use super::peer::{MESSAGE_BYTES, Peer, Role};
use super::plan::Plan;
use super::process::{bytes, wait_until, wake_ups};
use super::row::{Goal, Row, Unit};

/// What an idle worker may have resident, in bytes.
const LIMIT: f64 = 4.0 * 1024.0 * 1024.0;

/// What the threads of an engine are called.
const ENGINE: &str = "outboard-";

/// How long the workers were left alone before it counts.
const SETTLED: Duration = Duration::from_millis(500);

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().await })?;
    runtime.block_on(gather((0..1000).map(|x| client.submit(|x: u64| x + 1, x))))?;
    let workers = all_workers(&client)?;
    std::thread::sleep(SETTLED);
    let memory = memory(&workers)?;
    let window = Duration::from_secs(if plan.quick { 1 } else { 5 });
    let before = [of_workers(&workers)?, of_engine()?];
    std::thread::sleep(window);
    let after = [of_workers(&workers)?, of_engine()?];
    runtime.block_on(client.shutdown());
    let woken = |index: usize| (after[index] - before[index]) as f64;
    let what = |who: &str| format!("{who} in {} s", window.as_secs());
    Ok(vec![
        memory,
        never(what("wake-ups of all workers"), woken(0)),
        never(what("wake-ups of the engine's threads"), woken(1)),
    ])
}

/// The processes of all workers, once the spare is there as well.
fn all_workers(client: &Client) -> anyhow::Result<Vec<u32>> {
    let mut workers = Vec::new();
    wait_until("all workers are up", || {
        let snapshot = client.admin().snapshot();
        workers = snapshot.per_worker.iter().map(|worker| worker.pid).collect();
        workers.len() == snapshot.workers + 1
    })?;
    Ok(workers)
}

/// Of the worker that has most. Resident is all that is mapped and present: the
/// worker's own pages, and those of the program's file, which its processes
/// share. So this is the most that can be said against it; the share of what is
/// shared (`Pss`) is beside it.
fn memory(workers: &[u32]) -> anyhow::Result<Row> {
    let most = |file, field| {
        let of = |pid: &u32| bytes(*pid, file, field);
        let all = workers.iter().map(of).collect::<anyhow::Result<Vec<_>>>()?;
        let most = all.into_iter().max().context("there is no worker")?;
        anyhow::Ok(Figure::exactly(most as f64))
    };
    let mut bare = Peer::start(Role::Echo, MESSAGE_BYTES as u64)?;
    bare.exchange(&[7; MESSAGE_BYTES], &mut [0; MESSAGE_BYTES])?;
    let bare = Figure::exactly(bytes(bare.pid(), "status", "VmRSS")? as f64);
    let row = Row::within("resident memory", Unit::Bytes, most("status", "VmRSS")?, LIMIT)
        .beside("of that its own", most("status", "RssAnon")?)
        .beside("proportional share", most("smaps_rollup", "Pss")?)
        .beside("resident, a bare process", bare);
    Ok(row)
}

fn of_workers(workers: &[u32]) -> anyhow::Result<u64> {
    workers.iter().map(|pid| wake_ups(*pid, |_| true)).sum()
}

/// Of this process only the threads that the engine started: the runtime is
/// the program's own.
fn of_engine() -> anyhow::Result<u64> {
    wake_ups(std::process::id(), |name| name.starts_with(ENGINE))
}

/// None at all: the first would be one too many.
fn never(name: String, count: f64) -> Row {
    let reference = ("a single one", Figure::exactly(1.0));
    Row::new(name, Unit::WakeUps, Figure::exactly(count), reference, Goal::AtMost(0.0))
}

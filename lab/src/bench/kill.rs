//! A task that is dropped while it runs: how soon the CPU is free, and how soon
//! there is the next result.

use std::hint::black_box;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use outboard::{Client, Status, TaskFuture};
use tokio::runtime::Runtime;

use super::peer::{Peer, Role};
use super::plan::Plan;
use super::process::{Watched, bytes, wait_until};
use super::row::{Row, Unit};
use super::slices::{Subject, take_turns};

/// Name, MiB that the task holds, and the seconds that the contract allows:
/// 2 ms, and 0.1 ms for each MiB held.
const SIZES: [(&str, u64, f64); 3] = [
    ("drop to CPU free, a small worker", 0, 0.002),
    ("drop to CPU free, 64 MiB held", 64, 0.002 + 64.0 * 0.000_1),
    ("drop to CPU free, 256 MiB held", 256, 0.002 + 256.0 * 0.000_1),
];

/// What a spare's first result may take after a kill, in seconds.
const SPARE_LIMIT: f64 = 0.001;

/// How often a bare process that computes looks whether its parent is there.
const ROUNDS: u64 = 1 << 20;

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().workers(1).spares(1).await })?;
    let sizes = SIZES.iter().map(|size| free(plan, &client, *size));
    let mut rows = sizes.collect::<anyhow::Result<Vec<_>>>()?;
    rows.push(spare(plan, &runtime, &client)?);
    runtime.block_on(client.shutdown());
    Ok(rows)
}

fn free(plan: Plan, client: &Client, (name, mib, limit): (&str, u64, f64)) -> anyhow::Result<Row> {
    let [ours, bare] = take_turns(
        plan.time(),
        [
            Subject::single(|| {
                let (future, worker) = start(client, mib)?;
                let start = Instant::now();
                drop(future);
                worker.wait()?;
                Ok(start.elapsed().as_secs_f64())
            }),
            Subject::single(|| bare_kill(mib)),
        ],
    )?
    .map(|one| one.column(0));
    Ok(Row::within(name, Unit::Seconds, ours, limit).beside("SIGKILL of a bare process", bare))
}

fn spare(plan: Plan, runtime: &Runtime, client: &Client) -> anyhow::Result<Row> {
    let [ours, plain] = take_turns(
        plan.time(),
        [
            Subject::single(|| {
                let (future, _worker) = start(client, 0)?;
                let start = Instant::now();
                drop(future);
                result(runtime, client)?;
                Ok(start.elapsed().as_secs_f64())
            }),
            Subject::single(|| {
                settle(client)?;
                let start = Instant::now();
                result(runtime, client)?;
                Ok(start.elapsed().as_secs_f64())
            }),
        ],
    )?
    .map(|one| one.column(0));
    let name = "drop to the spare's first result";
    let row = Row::within(name, Unit::Seconds, ours, SPARE_LIMIT);
    Ok(row.beside("a result without a kill", plain))
}

fn result(runtime: &Runtime, client: &Client) -> anyhow::Result<()> {
    let result = runtime.block_on(client.submit(|x: u64| x + 1, 10))?;
    ensure!(result == 11, "x + 1 of 10 gave {result}");
    Ok(())
}

/// A task that runs, holds its memory, and never ends; and its worker.
fn start(client: &Client, mib: u64) -> anyhow::Result<(TaskFuture<()>, Watched)> {
    settle(client)?;
    let future = client.submit(hold, mib);
    wait_until("the task runs", || future.status() == Status::Running)?;
    let workers = client.admin().snapshot().per_worker;
    let pid = workers.iter().find(|worker| worker.busy).context("no worker is busy")?.pid;
    wait_until("the task has its memory", || {
        bytes(pid, "status", "RssAnon").is_ok_and(|bytes| bytes >= mib << 20)
    })?;
    Ok((future, Watched::open(pid)?))
}

/// Waits until a worker and its spare are there, with nothing to do, and nobody
/// else: one that was killed is listed, and counts as busy, until it is reaped, and
/// must not be taken for the one that has the next task.
fn settle(client: &Client) -> anyhow::Result<()> {
    wait_until("only a worker and a spare are up", || {
        let workers = client.admin().snapshot().per_worker;
        let idle = workers.iter().all(|worker| !worker.busy);
        let standby = workers.iter().filter(|worker| worker.standby).count();
        idle && (workers.len(), standby) == (2, 1)
    })
}

/// What the kernel needs for it, with nothing of ours.
fn bare_kill(mib: u64) -> anyhow::Result<f64> {
    let mut peer = Peer::start(Role::Hold, mib)?;
    peer.wait_until_ready()?;
    let process = Watched::open(peer.pid())?;
    let start = Instant::now();
    peer.kill()?;
    process.wait()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Holds so many MiB, and computes for ever.
#[outboard::task]
fn hold(mib: u64) {
    let memory = touched(mib);
    loop {
        black_box(&memory);
    }
}

/// The same as a bare process.
pub(super) fn serve(mut socket: UnixStream, mib: u64) -> anyhow::Result<()> {
    let memory = touched(mib);
    socket.write_all(b".")?;
    socket.set_nonblocking(true)?;
    loop {
        for _ in 0..ROUNDS {
            black_box(&memory);
        }
        match std::io::Read::read(&mut socket, &mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) => return Ok(()),
            _ => bail!("the parent said something"),
        }
    }
}

fn touched(mib: u64) -> Vec<u8> {
    black_box(vec![1; (mib << 20) as usize])
}

//! Trivial tasks, as many as can be, against `spawn_blocking`.

use std::io::{Read, Write};
use std::time::Instant;

use anyhow::ensure;
use outboard::Client;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::peer::{MESSAGE_BYTES, Peer, Role};
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{SLICE, Subject, take_turns};

/// How many tasks are submitted before the first result is awaited.
const BATCH: usize = 10 * SLICE;

/// How many messages of a bare stream are under way to one process.
const STREAM: usize = 50;

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().await })?;
    let cores = std::thread::available_parallelism()?.get();
    let few = Builder::new_multi_thread().enable_all().max_blocking_threads(cores).build()?;
    let start = |_| Peer::start(Role::Answer, 0);
    let mut bare = (0..cores).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let [ours, threads, few_threads, rayon, bare] = take_turns(
        plan.time(),
        [
            Subject::single(|| runtime.block_on(runtime.spawn(by(client.clone())))?),
            Subject::single(|| runtime.block_on(runtime.spawn(by_threads()))?),
            Subject::single(|| few.block_on(few.spawn(by_threads()))?),
            Subject::single(|| runtime.block_on(runtime.spawn(by_rayon()))?),
            Subject::single(|| stream(&mut bare)),
        ],
    )?
    .map(|one| one.column(0));
    runtime.block_on(client.shutdown());
    let reference = ("spawn_blocking", threads);
    let name = format!("x + 1, {BATCH} at once");
    let row = Row::new(name, Unit::PerSecond, ours, reference, Goal::AtLeast(3.0))
        .beside("spawn_blocking with a thread for each core", few_threads)
        .beside("rayon + oneshot", rayon)
        .beside("bare processes that answer one by one", bare);
    Ok(vec![row])
}

async fn by(client: Client) -> anyhow::Result<f64> {
    let start = Instant::now();
    let submit = |x| client.submit(|x: u64| x + 1, x);
    let futures: Vec<_> = (0..BATCH as u64).map(submit).collect();
    let mut sum = 0;
    for future in futures {
        sum += future.await?;
    }
    rate(start, sum)
}

async fn by_threads() -> anyhow::Result<f64> {
    let start = Instant::now();
    let spawn = |x: u64| tokio::task::spawn_blocking(move || x + 1);
    let handles: Vec<_> = (0..BATCH as u64).map(spawn).collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.await?;
    }
    rate(start, sum)
}

async fn by_rayon() -> anyhow::Result<f64> {
    let start = Instant::now();
    let spawn = |x: u64| {
        let (sender, receiver) = oneshot::channel();
        rayon::spawn(move || sender.send(x + 1).expect("the result is awaited"));
        receiver
    };
    let receivers: Vec<_> = (0..BATCH as u64).map(spawn).collect();
    let mut sum = 0;
    for receiver in receivers {
        sum += receiver.await?;
    }
    rate(start, sum)
}

fn rate(start: Instant, sum: u64) -> anyhow::Result<f64> {
    let tasks = BATCH as u64;
    ensure!(sum == tasks * (tasks + 1) / 2, "the results add up to {sum}");
    Ok(BATCH as f64 / start.elapsed().as_secs_f64())
}

/// As many messages, to all processes by turns, each of which writes every
/// answer before it looks at the next message.
fn stream(bare: &mut [Peer]) -> anyhow::Result<f64> {
    let (out, mut back) = ([7; STREAM * MESSAGE_BYTES], [0; STREAM * MESSAGE_BYTES]);
    let start = Instant::now();
    let mut messages = 0;
    while messages < BATCH {
        for peer in &mut *bare {
            peer.socket.write_all(&out)?;
            messages += STREAM;
        }
        for peer in &mut *bare {
            peer.socket.read_exact(&mut back)?;
        }
    }
    Ok(messages as f64 / start.elapsed().as_secs_f64())
}

//! Items of a task that runs: the first one, small ones and large ones, against what a
//! program has without worker processes.

use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use outboard::{Client, SendError, Sender};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::figure::Figure;
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{Series, Subject, take_turns};
use crate::tasks::add_one;

/// First items in a slice.
const FIRSTS: usize = 100;

/// Small items in a slice: text of a few bytes, as a model's tokens are.
const TOKENS: u64 = 50_000;

/// How many of them a channel holds: about as many as the window of a stream does.
const CHANNEL: usize = 8192;

/// Large items in a slice.
const LARGE: usize = 20;
const MIB: usize = 1 << 20;

#[outboard::task]
fn tokens(count: u64, out: Sender<u64>) -> Result<(), SendError> {
    (0..count).try_for_each(|n| out.send(n))
}

#[outboard::task]
fn blocks(count: usize, out: Sender<Bytes>) -> Result<(), SendError> {
    (0..count).try_for_each(|_| out.send(vec![7; MIB].into()))
}

#[outboard::task]
fn block() -> Bytes {
    vec![7; MIB].into()
}

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().await })?;
    let rows = vec![
        first_item(plan, &runtime, &client)?,
        small_items(plan, &runtime, &client)?,
        large_items(plan, &runtime, &client)?,
    ];
    runtime.block_on(client.shutdown());
    Ok(rows)
}

fn first_item(plan: Plan, runtime: &Runtime, client: &Client) -> anyhow::Result<Row> {
    let [ours, round_trip] = medians(take_turns(
        plan.time(),
        [
            Subject::new(|| runtime.block_on(runtime.spawn(firsts(client.clone())))?),
            Subject::new(|| runtime.block_on(runtime.spawn(round_trips(client.clone())))?),
        ],
    )?);
    let reference = ("round trip", round_trip);
    Ok(Row::new("first item", Unit::Seconds, ours, reference, Goal::AtMost(1.2)))
}

async fn firsts(client: Client) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(FIRSTS);
    for _ in 0..FIRSTS {
        let start = Instant::now();
        let mut stream = client.stream(tokens, 1);
        ensure!(matches!(stream.next().await, Some(Ok(0))), "the first item is 0");
        times.push(start.elapsed().as_secs_f64());
        ensure!(stream.output().await?.is_ok(), "it is read to its end");
    }
    Ok(times)
}

async fn round_trips(client: Client) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(FIRSTS);
    for n in 0..FIRSTS as u64 {
        let start = Instant::now();
        ensure!(client.submit(add_one, n).await? == n + 1, "one more");
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}

fn small_items(plan: Plan, runtime: &Runtime, client: &Client) -> anyhow::Result<Row> {
    let [ours, channel] = medians(take_turns(
        plan.time(),
        [
            Subject::new(|| runtime.block_on(runtime.spawn(by_stream(client.clone())))?),
            Subject::new(|| runtime.block_on(runtime.spawn(by_channel()))?),
        ],
    )?);
    let reference = ("mpsc from spawn_blocking", channel);
    Ok(Row::new("small items", Unit::PerSecond, ours, reference, Goal::AtLeast(0.5)))
}

async fn by_stream(client: Client) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    let mut stream = client.stream(tokens, TOKENS);
    let mut expected = 0;
    while let Some(n) = stream.next().await {
        ensure!(n? == expected, "items come in order");
        expected += 1;
    }
    ensure!(expected == TOKENS, "all of them come");
    Ok(vec![TOKENS as f64 / start.elapsed().as_secs_f64()])
}

async fn by_channel() -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    let (sender, mut receiver) = mpsc::channel(CHANNEL);
    let sending =
        tokio::task::spawn_blocking(move || (0..TOKENS).try_for_each(|n| sender.blocking_send(n)));
    let mut expected = 0;
    while let Some(n) = receiver.recv().await {
        ensure!(n == expected, "items come in order");
        expected += 1;
    }
    sending.await??;
    Ok(vec![TOKENS as f64 / start.elapsed().as_secs_f64()])
}

fn large_items(plan: Plan, runtime: &Runtime, client: &Client) -> anyhow::Result<Row> {
    let [ours, results] = medians(take_turns(
        plan.time(),
        [
            Subject::new(|| runtime.block_on(runtime.spawn(large_stream(client.clone())))?),
            Subject::new(|| runtime.block_on(runtime.spawn(large_results(client.clone())))?),
        ],
    )?);
    let reference = ("results of 1 MiB", results);
    Ok(Row::new("items of 1 MiB", Unit::Seconds, ours, reference, Goal::AtMost(1.0)))
}

/// How long one item takes.
async fn large_stream(client: Client) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    let mut stream = client.stream(blocks, LARGE);
    let mut items = 0;
    while let Some(item) = stream.next().await {
        ensure!(item?.len() == MIB, "an item is whole");
        items += 1;
    }
    ensure!(items == LARGE, "all of them come");
    Ok(vec![start.elapsed().as_secs_f64() / LARGE as f64])
}

async fn large_results(client: Client) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    for _ in 0..LARGE {
        ensure!(client.submit(block, ()).await?.len() == MIB, "a result is whole");
    }
    Ok(vec![start.elapsed().as_secs_f64() / LARGE as f64])
}

fn medians<const N: usize>(series: [Series; N]) -> [Figure; N] {
    series.map(|one| one.percentile(0.5))
}

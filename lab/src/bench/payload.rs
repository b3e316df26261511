//! Large arguments and results, against the same bytes over a bare socket pair,
//! and against what the codec takes.

use std::hint::black_box;
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use outboard::__private::{read_from, write_to};
use outboard::Client;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::figure::Figure;
use super::peer::{Peer, Role};
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{SLICE, Subject, take_turns, time_each};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Name, bytes, and how much of a bare echo's time the goal allows.
const SIZES: [(&str, usize, f64); 3] = [
    ("Bytes of 64 KiB", 64 * KIB, 1.2),
    ("Bytes of 1 MiB", MIB, 0.8),
    ("Bytes of 64 MiB", 64 * MIB, 1.0),
];

/// The most bytes that a slice moves in one direction.
const SLICE_BYTES: usize = 64 * MIB;

/// A table as a model or a report has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Column {
    name: String,
    values: Vec<f64>,
}

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().await })?;
    let bytes = SIZES.iter().map(|size| of_bytes(plan, &runtime, &client, *size));
    let mut rows = bytes.collect::<anyhow::Result<Vec<_>>>()?;
    rows.push(of_a_column(plan, &runtime, &client)?);
    runtime.block_on(client.shutdown());
    Ok(rows)
}

fn of_bytes(
    plan: Plan,
    runtime: &Runtime,
    client: &Client,
    (name, size, goal): (&str, usize, f64),
) -> anyhow::Result<Row> {
    let bytes: Bytes = (0..size).map(|index| index as u8).collect();
    let calls = SLICE.min(SLICE_BYTES / size);
    let mut bare = Peer::start(Role::Echo, size as u64)?;
    let (mut back, mut copy) = (vec![0; size], vec![0_u8; size]);
    let [ours, bare, memcpy] = take_turns(
        plan.time(),
        [
            Subject::new(|| {
                runtime.block_on(runtime.spawn(echo(client.clone(), bytes.clone(), calls)))?
            }),
            Subject::new(|| time_each(calls, || bare.exchange(&bytes, &mut back))),
            Subject::new(|| {
                time_each(calls, || {
                    copy.copy_from_slice(black_box(&bytes));
                    black_box(&mut copy);
                    Ok(())
                })
            }),
        ],
    )?
    .map(|one| one.percentile(0.5));
    ensure!(back == bytes, "a bare socket pair changed its bytes");
    let reference = ("bare echo", bare);
    Ok(Row::new(name, Unit::Seconds, ours, reference, Goal::AtMost(goal)).beside("memcpy", memcpy))
}

async fn echo(client: Client, bytes: Bytes, calls: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let start = Instant::now();
        let back = client.submit(give_back, bytes.clone()).await?;
        times.push(start.elapsed().as_secs_f64());
        ensure!(back == bytes, "a task changed its bytes");
    }
    Ok(times)
}

#[outboard::task]
fn give_back(bytes: Bytes) -> Bytes {
    bytes
}

fn of_a_column(plan: Plan, runtime: &Runtime, client: &Client) -> anyhow::Result<Row> {
    let values = (0..MIB / size_of::<f64>()).map(|index| (index as f64).sqrt()).collect();
    let column = Column { name: "square roots".to_owned(), values };
    let calls = SLICE / 10;
    let [ours, codec] = take_turns(
        plan.time(),
        [
            Subject::new(|| {
                runtime.block_on(runtime.spawn(echo_column(
                    client.clone(),
                    column.clone(),
                    calls,
                )))?
            }),
            Subject::new(|| codec_twice(&column, calls)),
        ],
    )?
    .map(|one| one.percentile(0.5));
    let reference = ("encode + decode, twice", codec);
    let name = "a struct with a Vec<f64> of 1 MiB";
    let crossing = bare_crossing(plan)?;
    Ok(Row::new(name, Unit::Seconds, ours, reference, Goal::AtMost(2.0))
        .beside("bare echo", crossing))
}

async fn echo_column(client: Client, column: Column, calls: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        // A caller moves its value in; the copy is not part of it.
        let argument = column.clone();
        let start = Instant::now();
        let back = client.submit(give_back_column, argument).await?;
        times.push(start.elapsed().as_secs_f64());
        ensure!(back == column, "a task changed its column");
    }
    Ok(times)
}

#[outboard::task]
fn give_back_column(column: Column) -> Column {
    column
}

/// What the library's codec takes for arguments and result, at both ends.
fn codec_twice(column: &Column, calls: usize) -> anyhow::Result<Vec<f64>> {
    time_each(calls, || {
        let argument = through_codec(black_box(column))?;
        black_box(through_codec(black_box(&argument))?);
        Ok(())
    })
}

fn through_codec(column: &Column) -> anyhow::Result<Column> {
    let mut bytes = Vec::new();
    write_to(column, &mut bytes)?;
    Ok(read_from(&bytes)?)
}

/// 1 MiB there and back over a bare socket pair.
fn bare_crossing(plan: Plan) -> anyhow::Result<Figure> {
    let mut bare = Peer::start(Role::Echo, MIB as u64)?;
    let (bytes, mut back) = (vec![7; MIB], vec![0; MIB]);
    let calls = SLICE / 10;
    let exchange = || time_each(calls, || bare.exchange(&bytes, &mut back));
    let [series] = take_turns(plan.time() / 10, [Subject::new(exchange)])?;
    Ok(series.percentile(0.5))
}

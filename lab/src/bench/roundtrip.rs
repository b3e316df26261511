//! A trivial task, one after the other, against a bare ping-pong: wherever the
//! system puts them, and where both are told to run (`cores`).

use anyhow::ensure;
use outboard::Client;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::cores::{Bound, Place};
use super::figure::Figure;
use super::peer::{MESSAGE_BYTES, Peer, Role};
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{SLICE, Series, Subject, take_turns, time_each, time_each_future};

/// A percentile's name and share, and how far it may be from the reference's.
type Rank = (&'static str, f64, f64);

/// Of two hundred, the p99 is the third longest.
const RANKS: [Rank; 2] = [("p50", 0.50, 1.5), ("p99", 0.99, 2.0)];

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().await })?;
    let lone = Builder::new_current_thread().enable_all().build()?;
    let lone_client = lone.block_on(async { Client::local().await })?;
    let mut bare = Peer::start(Role::Echo, MESSAGE_BYTES as u64)?;
    let series = take_turns(
        plan.time(),
        [
            Subject::new(|| runtime.block_on(runtime.spawn(by(client.clone())))?),
            Subject::new(|| time_each(SLICE, || ping(&mut bare))),
            Subject::new(|| runtime.block_on(runtime.spawn(by_thread()))?),
            Subject::new(|| runtime.block_on(runtime.spawn(by_rayon()))?),
            Subject::new(|| lone.block_on(by(lone_client.clone()))),
        ],
    )?;
    runtime.block_on(client.shutdown());
    lone.block_on(lone_client.shutdown());
    let mut rows: Vec<Row> = RANKS.map(|rank| free(rank, &series)).into();
    for place in [Place::OneCore, Place::TwoCores] {
        rows.extend(placed(plan, place)?);
    }
    Ok(rows)
}

/// Wherever the system puts them.
fn free(rank: Rank, series: &[Series; 5]) -> Row {
    let [ours, bare, thread, rayon, lone] = series.each_ref().map(|one| one.percentile(rank.1));
    row(rank, "", ours, bare)
        .beside("on a current_thread runtime", lone)
        .beside("spawn_blocking", thread)
        .beside("rayon + oneshot", rayon)
}

/// Server and worker where they are told to run, and those of the ping-pong there
/// too; no rows if there are not so many cores.
fn placed(plan: Plan, place: Place) -> anyhow::Result<Vec<Row>> {
    let Some(bound) = Bound::new(place)? else { return Ok(Vec::new()) };
    // Its threads are started by this one, and so stay with it.
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().workers(1).await })?;
    for worker in client.admin().snapshot().per_worker {
        bound.send(worker.pid)?;
    }
    let mut bare = Peer::start(Role::Echo, MESSAGE_BYTES as u64)?;
    bound.send(bare.pid())?;
    let [ours, bare] = take_turns(
        plan.time(),
        [
            Subject::new(|| runtime.block_on(runtime.spawn(by(client.clone())))?),
            Subject::new(|| time_each(SLICE, || ping(&mut bare))),
        ],
    )?;
    runtime.block_on(client.shutdown());
    let suffix = format!(", {}", place.name());
    let of = |rank: Rank| row(rank, &suffix, ours.percentile(rank.1), bare.percentile(rank.1));
    Ok(RANKS.map(of).into())
}

fn row((rank, _, goal): Rank, place: &str, ours: Figure, bare: Figure) -> Row {
    let reference = ("bare ping-pong", bare);
    let goal = Goal::AtMost(goal);
    Row::new(format!("{rank} of x + 1{place}"), Unit::Seconds, ours, reference, goal)
}

fn ping(bare: &mut Peer) -> anyhow::Result<()> {
    bare.exchange(&[7; MESSAGE_BYTES], &mut [0; MESSAGE_BYTES])
}

async fn by(client: Client) -> anyhow::Result<Vec<f64>> {
    time_each_future(SLICE, || async { check(client.submit(|x: u64| x + 1, 10).await?) }).await
}

async fn by_thread() -> anyhow::Result<Vec<f64>> {
    let task = |x: u64| x + 1;
    time_each_future(SLICE, || async {
        check(tokio::task::spawn_blocking(move || task(10)).await?)
    })
    .await
}

async fn by_rayon() -> anyhow::Result<Vec<f64>> {
    let task = |x: u64| x + 1;
    time_each_future(SLICE, || async {
        let (sender, receiver) = oneshot::channel();
        rayon::spawn(move || sender.send(task(10)).expect("the result is awaited"));
        check(receiver.await?)
    })
    .await
}

fn check(result: u64) -> anyhow::Result<()> {
    ensure!(result == 11, "x + 1 of 10 gave {result}");
    Ok(())
}

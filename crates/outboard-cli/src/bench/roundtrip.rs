//! A trivial task, one after the other, against a bare ping-pong.

use anyhow::ensure;
use outboard::Client;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::Plan;
use super::peer::{MESSAGE_BYTES, Peer, Role};
use super::row::{Goal, Row, Unit};
use super::slices::{SLICE, Series, Subject, take_turns, time_each, time_each_future};

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
    Ok(vec![row("p50", 0.50, 1.5, &series), row("p99", 0.99, 2.0, &series)])
}

/// Of two hundred, the p99 is the third longest.
fn row(name: &str, share: f64, goal: f64, series: &[Series; 5]) -> Row {
    let [ours, bare, thread, rayon, lone] = series.each_ref().map(|one| one.percentile(share));
    let reference = ("bare ping-pong", bare);
    Row::new(format!("{name} of x + 1"), Unit::Seconds, ours, reference, Goal::AtMost(goal))
        .beside("on a current_thread runtime", lone)
        .beside("spawn_blocking", thread)
        .beside("rayon + oneshot", rayon)
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

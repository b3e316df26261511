//! A function whose call costs much, however many items it has: one call for several callers,
//! against a call for each.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::ensure;
use outboard::Client;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::figure::Figure;
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{Subject, take_turns};
use super::work::{rounds_of, work};

/// What a call costs, and what each item costs beside that: as a small model on one core.
const CALL: Duration = Duration::from_micros(1_000);
const ITEM: Duration = Duration::from_micros(20);

/// Callers that each have one item under way, and how many items each has in a slice.
const CALLERS: u64 = 64;
const ITEMS: u64 = 8;

/// How many items come in a slice at half load.
const ARRIVALS: u64 = 300;

/// Computes for so many rounds once, and for so many for each item.
fn compute(items: &[u64], (call, item): (u64, u64)) -> Vec<u64> {
    black_box(work(call));
    let each = |one: &u64| {
        black_box(work(item));
        one + 1
    };
    items.iter().map(each).collect()
}

/// How long it is to compute travels with each item.
type Item = (u64, (u64, u64));

#[outboard::task(batch(max = 32))]
fn together(items: Vec<Item>) -> Vec<u64> {
    let rounds = items.first().map_or((0, 0), |(_, rounds)| *rounds);
    let items: Vec<u64> = items.into_iter().map(|(item, _)| item).collect();
    compute(&items, rounds)
}

#[outboard::task]
fn one_by_one((item, rounds): Item) -> u64 {
    compute(&[item], rounds)[0]
}

/// Which of the two.
#[derive(Clone, Copy)]
enum Way {
    Together,
    OneByOne,
}

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().workers(1).await })?;
    let rounds = (rounds_of(CALL), rounds_of(ITEM));
    let full = |way| runtime.block_on(throughput(client.clone(), way, rounds));
    let [batched, single] = take_turns(
        plan.time(),
        [Subject::single(|| full(Way::Together)), Subject::single(|| full(Way::OneByOne))],
    )?
    .map(|one| one.column(0));
    // Half of what a call for each can do: a load that both bear.
    let pause = Duration::from_secs_f64(2.0 / single.median);
    let half = |way| runtime.block_on(p99(client.clone(), way, rounds, pause));
    let [batched_p99, single_p99] = take_turns(
        plan.time(),
        [Subject::single(|| half(Way::Together)), Subject::single(|| half(Way::OneByOne))],
    )?
    .map(|one| one.column(0));
    runtime.block_on(client.shutdown());
    Ok(rows((batched, single), (batched_p99, single_p99)))
}

fn rows((batched, single): (Figure, Figure), (p99, single_p99): (Figure, Figure)) -> Vec<Row> {
    let reference = |figure| ("a call for each item", figure);
    let name = format!("items of {CALLERS} callers in batches");
    vec![
        Row::new(name, Unit::PerSecond, batched, reference(single), Goal::AtLeast(4.0)),
        Row::new(
            "p99 at half load in batches",
            Unit::Seconds,
            p99,
            reference(single_p99),
            Goal::AtMost(1.5),
        ),
    ]
}

async fn ask(client: &Client, way: Way, item: u64, rounds: (u64, u64)) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let output = match way {
        Way::Together => client.batched(together, (item, rounds)).await?,
        Way::OneByOne => client.submit(one_by_one, (item, rounds)).await?,
    };
    ensure!(output == item + 1, "the output of {item} is {output}");
    Ok(start.elapsed())
}

/// Items in a second, while each caller has one under way.
async fn throughput(client: Client, way: Way, rounds: (u64, u64)) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            for item in 0..ITEMS {
                ask(&client, way, caller * ITEMS + item, rounds).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok((CALLERS * ITEMS) as f64 / start.elapsed().as_secs_f64())
}

/// The time that 99 of 100 items take which come at that pace, in seconds.
async fn p99(client: Client, way: Way, rounds: (u64, u64), pause: Duration) -> anyhow::Result<f64> {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut items = JoinSet::new();
    for item in 0..ARRIVALS {
        ticks.tick().await;
        let client = client.clone();
        items.spawn(async move { ask(&client, way, item, rounds).await });
    }
    let mut times = items.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[(times.len() * 99).div_ceil(100) - 1].as_secs_f64())
}

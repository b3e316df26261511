//! Functions that take the items of several callers in one call, against a call for each: the
//! network of `examples/digits`, and one whose call costs much, however many items it has.

use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use outboard::Client;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::figure::Figure;
use super::network::{Network, TWO};
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{Subject, take_turns};
use super::work::{rounds_of, work};

/// What a call of the second one costs, and what each item costs beside that: as a model of some
/// megabytes on one core, or a small one on a device.
const CALL: Duration = Duration::from_micros(1_000);
const ITEM: Duration = Duration::from_micros(20);

/// Callers that each have one item under way.
const CALLERS: u64 = 64;

static NETWORK: LazyLock<Network> = LazyLock::new(|| Network::load().expect("it is the example's"));

#[outboard::task(batch(max = 32))]
fn recognize_together(drawings: Vec<Bytes>) -> Vec<u8> {
    NETWORK.recognize(&drawings)
}

#[outboard::task]
fn recognize(drawing: Bytes) -> u8 {
    NETWORK.recognize(&[drawing])[0]
}

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

/// What is computed.
#[derive(Clone, Copy)]
enum Model {
    /// A digit is recognized.
    Digits,
    /// So many rounds for a call, and for an item.
    Costly((u64, u64)),
}

impl Model {
    fn name(self) -> &'static str {
        match self {
            Self::Digits => "drawings",
            Self::Costly(_) => "items of a costly call",
        }
    }

    /// How many items each caller has in a slice, and how many come in one at half load.
    fn items(self) -> (u64, u64) {
        match self {
            Self::Digits => (100, 3_000),
            Self::Costly(_) => (8, 300),
        }
    }

    /// How much more batches are to do than a call for each.
    fn goal(self) -> Goal {
        match self {
            Self::Digits => Goal::AtLeast(1.0),
            Self::Costly(_) => Goal::AtLeast(4.0),
        }
    }
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
    let costly = Model::Costly((rounds_of(CALL), rounds_of(ITEM)));
    let mut rows = Vec::new();
    for model in [Model::Digits, costly] {
        rows.extend(compare(plan, &runtime, &client, model)?);
    }
    runtime.block_on(client.shutdown());
    Ok(rows)
}

/// One model, by throughput and by the 99th percentile.
fn compare(
    plan: Plan,
    runtime: &Runtime,
    client: &Client,
    model: Model,
) -> anyhow::Result<[Row; 2]> {
    let full = |way| runtime.block_on(throughput(client, way, model));
    let [batched, single] = take_turns(
        plan.time(),
        [Subject::single(|| full(Way::Together)), Subject::single(|| full(Way::OneByOne))],
    )?
    .map(|one| one.column(0));
    // Half of what a call for each can do: a load that both bear.
    let pause = Duration::from_secs_f64(2.0 / single.median);
    let half = |way| runtime.block_on(p99(client, way, model, pause));
    let [batched_p99, single_p99] = take_turns(
        plan.time(),
        [Subject::single(|| half(Way::Together)), Subject::single(|| half(Way::OneByOne))],
    )?
    .map(|one| one.column(0));
    Ok(rows(model, (batched, single), (batched_p99, single_p99)))
}

fn rows(
    model: Model,
    (batched, single): (Figure, Figure),
    (p99, single_p99): (Figure, Figure),
) -> [Row; 2] {
    let reference = |figure| ("a call for each", figure);
    let name = format!("{} of {CALLERS} callers in batches", model.name());
    let late = format!("{}: p99 at half load in batches", model.name());
    [
        Row::new(name, Unit::PerSecond, batched, reference(single), model.goal()),
        Row::new(late, Unit::Seconds, p99, reference(single_p99), Goal::AtMost(1.5)),
    ]
}

async fn ask(client: &Client, way: Way, model: Model, item: u64) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let (output, expected) = match (model, way) {
        (Model::Digits, Way::Together) => {
            (client.batched(recognize_together, Bytes::from_static(&TWO)).await?.into(), 2)
        }
        (Model::Digits, Way::OneByOne) => {
            (client.submit(recognize, Bytes::from_static(&TWO)).await?.into(), 2)
        }
        (Model::Costly(rounds), Way::Together) => {
            (client.batched(together, (item, rounds)).await?, item + 1)
        }
        (Model::Costly(rounds), Way::OneByOne) => {
            (client.submit(one_by_one, (item, rounds)).await?, item + 1)
        }
    };
    ensure!(output == expected, "the output of {item} is {output}, not {expected}");
    Ok(start.elapsed())
}

/// Items in a second, while each caller has one under way.
async fn throughput(client: &Client, way: Way, model: Model) -> anyhow::Result<f64> {
    let start = Instant::now();
    let (items, _) = model.items();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            for item in 0..items {
                ask(&client, way, model, caller * items + item).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok((CALLERS * items) as f64 / start.elapsed().as_secs_f64())
}

/// The time that 99 of 100 items take which come at that pace, in seconds.
async fn p99(client: &Client, way: Way, model: Model, pause: Duration) -> anyhow::Result<f64> {
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut items = JoinSet::new();
    for item in 0..model.items().1 {
        ticks.tick().await;
        let client = client.clone();
        items.spawn(async move { ask(&client, way, model, item).await });
    }
    let mut times = items.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[(times.len() * 99).div_ceil(100) - 1].as_secs_f64())
}

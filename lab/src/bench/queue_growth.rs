//! What a task costs behind a million others, against behind a thousand; and
//! how much memory it takes while it waits.
//!
//! In a process of its own, so that its memory is that of the queue: what the
//! process has more of resident (`RssAnon`), the caller's futures among it,
//! after the arguments' own bytes are taken off.
//!
//! The caller awaits the oldest task and submits another, so that the queue stays
//! as long as it is; but where many wait, the workers run ahead of the caller. So the
//! time is divided by how many tasks were done in it, and those that were not submitted
//! in it are charged with what a submit took when the queue was filled.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use outboard::{Client, Status, TaskFuture};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use super::figure::Figure;
use super::peer::{Peer, Role, end_with_parent, say};
use super::plan::Plan;
use super::process::{bytes, wait_until};
use super::row::{Goal, Row, Unit};
use super::slices::SLICE;
use super::work::wait_until_cancelled;
use crate::figure;

/// How many wait in the short queue.
const SHORT: usize = 1000;

/// How many waiting tasks the long queue has at most.
const LONG: usize = 1_000_000;

/// How many tasks are timed together.
const TIMED: usize = 10 * SLICE;

/// How often, for each filling of a queue.
const TIMES: usize = 20;

/// What a waiting task may take beyond its arguments.
const LIMIT_BYTES: f64 = 400.0;

/// How long a task has that is to end by itself.
const GRACE: Duration = Duration::from_secs(30);

/// What the process found out.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    /// Seconds to submit and execute one task, of each slice.
    short: Vec<f64>,
    long: Vec<f64>,
    /// Each time that the long queue was filled.
    submit: Vec<f64>,
    bytes_per_task: f64,
}

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let long = if plan.quick { LONG / 10 } else { LONG };
    let Found { short, long: deep, submit, bytes_per_task } =
        Peer::start(Role::Queue, long as u64)?.hear()?;
    let (short, deep) = (Figure::of(short), Figure::of(deep));
    let waiting = figure::count(long);
    let name = format!("a task behind {waiting} others");
    let cost = Row::new(name, Unit::Seconds, deep, ("behind 1,000", short), Goal::AtMost(1.3))
        .beside("of that the submit alone", Figure::of(submit));
    if plan.spinners {
        return Ok(vec![cost]);
    }
    let name = format!("memory of one of {waiting} that wait");
    let memory = Figure::exactly(bytes_per_task);
    let memory = Row::within(name, Unit::Bytes, memory, LIMIT_BYTES).beside(
        "of that the caller's future",
        Figure::exactly(size_of::<TaskFuture<u64>>() as f64),
    );
    Ok(vec![cost, memory])
}

/// The process that has the queues.
pub(super) fn serve(mut socket: UnixStream, long: usize) -> anyhow::Result<()> {
    end_with_parent(&socket)?;
    let runtime = Runtime::new()?;
    let found = runtime.block_on(runtime.spawn(find(long)))??;
    say(&mut socket, &found)
}

async fn find(long: usize) -> anyhow::Result<Found> {
    let client = Client::local().queue_tasks(2 * long).await?;
    let rounds = if long < LONG { 1 } else { 3 };
    let mut found =
        Found { short: Vec::new(), long: Vec::new(), submit: Vec::new(), bytes_per_task: 0.0 };
    // The first queue pays for what happens only once.
    Queue::fill(&client, SHORT)?.turn_over().await?;
    for round in 0..rounds {
        let short = Queue::fill(&client, SHORT)?;
        found.short.extend(short.turn_over().await?);
        let deep = Queue::fill(&client, long)?;
        found.submit.push(deep.submit_seconds);
        if round == 0 {
            found.bytes_per_task = deep.bytes_per_task;
        }
        found.long.extend(deep.turn_over().await?);
    }
    client.shutdown().await;
    Ok(found)
}

/// Tasks that wait, because all workers are held.
struct Queue {
    client: Client,
    holding: Vec<TaskFuture<()>>,
    waiting: VecDeque<TaskFuture<u64>>,
    submit_seconds: f64,
    bytes_per_task: f64,
}

impl Queue {
    fn fill(client: &Client, length: usize) -> anyhow::Result<Self> {
        let patient = client.grace(GRACE);
        let workers = client.admin().snapshot().workers;
        let holding: Vec<_> =
            (0..workers).map(|_| patient.submit(wait_until_cancelled, ())).collect();
        let held = |one: &TaskFuture<()>| one.status() == Status::Running;
        wait_until("all workers are held", || holding.iter().all(held))?;
        let (before, start) = (own_bytes()?, Instant::now());
        let waiting: VecDeque<_> = (0..length as u64).map(|x| submit(client, x)).collect();
        let submit_seconds = start.elapsed().as_secs_f64() / length as f64;
        let grown = own_bytes()?.saturating_sub(before) as f64 / length as f64;
        let client = client.clone();
        let bytes_per_task = grown - argument_bytes(length);
        Ok(Self { client, holding, waiting, submit_seconds, bytes_per_task })
    }

    /// Has the oldest task done and submits a new one, again and again; the seconds
    /// for each that was done, of each slice.
    async fn turn_over(mut self) -> anyhow::Result<Vec<f64>> {
        self.holding.clear();
        let mut times = Vec::new();
        self.one_slice().await?;
        for _ in 0..TIMES {
            let done = self.client.admin().snapshot().done;
            let start = Instant::now();
            self.one_slice().await?;
            let took = start.elapsed().as_secs_f64();
            let done = (self.client.admin().snapshot().done - done).max(1);
            let ahead = done.saturating_sub(TIMED as u64) as f64;
            times.push((took + ahead * self.submit_seconds) / done as f64);
        }
        Ok(times)
    }

    async fn one_slice(&mut self) -> anyhow::Result<()> {
        for x in 0..TIMED as u64 {
            if let Some(oldest) = self.waiting.pop_front() {
                oldest.await?;
            }
            self.waiting.push_back(submit(&self.client, x));
        }
        Ok(())
    }
}

fn submit(client: &Client, x: u64) -> TaskFuture<u64> {
    client.submit(|x: u64| x + 1, x)
}

fn own_bytes() -> anyhow::Result<u64> {
    bytes(std::process::id(), "status", "RssAnon")
}

/// What the arguments of `0..length` have on average, encoded: seven bits in
/// each byte.
fn argument_bytes(length: usize) -> f64 {
    let of = |x: usize| (usize::BITS - x.leading_zeros()).div_ceil(7).max(1) as usize;
    (0..length).map(of).sum::<usize>() as f64 / length as f64
}

#[cfg(test)]
mod tests {
    use super::argument_bytes;

    #[test]
    fn small_numbers_are_short() {
        assert_eq!(argument_bytes(128), 1.0);
        assert_eq!(argument_bytes(384), (128.0 + 512.0) / 384.0);
    }
}

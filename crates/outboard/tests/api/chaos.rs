//! Workers are killed at random while tasks flow. Every future ends, every
//! result is right, and nothing is left behind.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use outboard::{Client, SendError, Sender};

use crate::support::process::{Process, children};
use crate::support::scratch::note;
use crate::support::server::Server;
use crate::support::{eventually, run};

const TASKS: usize = 2_000;
const WORKERS: usize = 3;

/// Of so many tasks, one may be rerun.
const RETRIED: usize = 4;

#[test]
fn workers_killed_at_random_cost_only_what_they_ran() {
    run(async {
        let mut server = Server::start("chaos");
        server.succeeds().await;
        println!("{}", server.says("outcome").await.join("\n"));
    });
}

#[test]
fn running_tasks_dropped_at_random_cost_no_other_task() {
    run(async {
        let client = Client::local().workers(2).await.unwrap();
        let mut random = Random::seeded();
        for _ in 0..40 {
            let submit = |n: usize| client.submit(churn, (n, padding(n)));
            let mut dropped: Vec<_> = (0..6).map(|_| submit(random.below(TASKS))).collect();
            let kept: Vec<_> =
                (0..6).map(|_| random.below(TASKS)).map(|n| (n, submit(n))).collect();
            while let Some(future) = dropped.pop() {
                for _ in 0..random.below(2_000) {
                    std::hint::spin_loop();
                }
                drop(future);
            }
            for (n, future) in kept {
                let (result, report) = future.with_report().await.unwrap();
                assert_eq!((result, report.attempt), (churn(n, padding(n)), 1), "{random:?}");
            }
        }
        assert_eq!(client.admin().snapshot().failed, 0);
    });
}

/// The scenario: in a process of its own, because it counts what is left.
pub(crate) fn play(at: &Path) {
    run(async {
        // The runtime has its threads and descriptors from here on.
        tokio::spawn(async {}).await.unwrap();
        let before = Left::here();
        let client = Client::local().workers(WORKERS).await.unwrap();
        let mut outcome = storm(&client).await;
        outcome += &storm_of_streams(&client).await;
        outcome += &storm_of_batches(&client).await;
        client.shutdown().await;
        assert!(children(std::process::id()).is_empty(), "when shutdown returns");
        drop(client);
        eventually(format_args!("{before:?} is left"), || Left::here() == before).await;
        note(at, "outcome", &outcome);
    });
}

/// What this process has of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    descriptors: usize,
    threads: usize,
    /// With those that wait to be reaped.
    children: Vec<u32>,
}

impl Left {
    pub(crate) fn here() -> Self {
        let count = |path: &str| std::fs::read_dir(path).unwrap().count();
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: children(std::process::id()),
        }
    }
}

/// What a task of the storm computes: short and long, small and large.
#[outboard::task]
fn churn(n: usize, padding: Vec<u8>) -> (usize, u64, Vec<u8>) {
    let rounds = [10, 100, 1_000, 50_000][n % 4];
    let sum = (0..rounds).fold(n as u64, |sum, k| std::hint::black_box(sum.wrapping_mul(31) + k));
    (n, sum, padding.into_iter().rev().collect())
}

fn padding(n: usize) -> Vec<u8> {
    let bytes = if n.is_multiple_of(50) { 300_000 } else { n % 100 };
    (0..bytes).map(|k| (k + n) as u8).collect()
}

/// How many tasks are under way at once.
const WINDOW: usize = 100;

/// Submits all, kills workers as results come in, and checks each result.
async fn storm(client: &Client) -> String {
    let mut random = Random::seeded();
    let patient = client.retries(100);
    let mut futures = (0..TASKS).map(|n| {
        let client = if n % RETRIED == 0 { &patient } else { client };
        client.submit(churn, (n, padding(n)))
    });
    let mut under_way: FuturesUnordered<_> = futures.by_ref().take(WINDOW).collect();
    let (mut seen, mut lost, mut killed, mut next_kill) = (HashSet::new(), 0, 0, 10);
    while let Some(result) = under_way.next().await {
        under_way.extend(futures.next());
        match result {
            Ok((n, sum, back)) => {
                assert_eq!((n, sum, back), churn(n, padding(n)));
                assert!(seen.insert(n), "{n} has ended before; {random:?}");
            }
            Err(error) => {
                assert!(error.is_worker_lost(), "{error}; {random:?}");
                lost += 1;
            }
        }
        if seen.len() + lost >= next_kill && kill_one(client, &mut random) {
            killed += 1;
            next_kill = seen.len() + lost + 1 + random.below(TASKS / 50);
        }
    }
    assert_eq!(seen.len() + lost, TASKS, "every future ends; {random:?}");
    assert!((0..TASKS).step_by(RETRIED).all(|n| seen.contains(&n)), "{random:?}");
    assert!(killed >= 20 && lost <= killed, "{lost} lost by {killed} kills; {random:?}");
    format!("{killed} workers killed, {lost} tasks lost, {random:?}")
}

/// How many streams there are in all.
const STREAMS: usize = 120;

/// Sends items that can be told from those of other streams, small and large.
#[outboard::task]
fn pour(stream: usize, items: usize, out: Sender<Vec<usize>>) -> Result<usize, SendError> {
    for n in 0..items {
        out.send(item(stream, n))?;
    }
    Ok(items)
}

fn item(stream: usize, n: usize) -> Vec<usize> {
    let words = if n % 50 == 49 { 30_000 } else { n % 40 };
    (0..words + 2).map(|k| if k == 0 { stream } else { n + k - 1 }).collect()
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    Lost,
    Dropped,
}

/// Reads one stream to its end, or drops it in the middle; some readers stand still now and
/// then. What comes is whole and in order.
async fn read_one(client: Client, stream: usize, items: usize, leaves_at: usize) -> Ending {
    let mut poured = client.stream(pour, (stream, items));
    let mut next = 0;
    while let Some(read) = poured.next().await {
        match read {
            Ok(read) => assert_eq!(read, item(stream, next), "item {next} of stream {stream}"),
            Err(error) => {
                assert!(error.is_worker_lost(), "{error}");
                return Ending::Lost;
            }
        }
        next += 1;
        if next == leaves_at {
            return Ending::Dropped;
        }
        if stream.is_multiple_of(3) && next % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(next, items);
    assert_eq!(poured.output().await.unwrap(), Ok(items));
    Ending::Whole
}

/// Streams while workers are killed in mid-item.
async fn storm_of_streams(client: &Client) -> String {
    let mut random = Random::seeded();
    let start = |stream| {
        let items = 200 + random.below(400);
        let leaves_at = if stream % 5 == 4 { 1 + random.below(items) } else { usize::MAX };
        tokio::spawn(read_one(client.clone(), stream, items, leaves_at))
    };
    let mut under_way: FuturesUnordered<_> = (0..STREAMS).map(start).collect();
    let (mut endings, mut killed) = (Vec::new(), 0);
    while let Some(ending) = under_way.next().await {
        endings.push(ending.unwrap());
        killed += usize::from(endings.len() % 4 == 0 && kill_one(client, &mut random));
    }
    let count = |ending| endings.iter().filter(|one| **one == ending).count();
    let (whole, lost) = (count(Ending::Whole), count(Ending::Lost));
    assert_eq!(endings.len(), STREAMS);
    assert!(whole > 0 && lost <= killed, "{lost} lost by {killed} kills; {random:?}");
    format!("; of {STREAMS} streams {whole} were whole and {lost} lost by {killed} kills")
}

/// How many tasks of batches there are in all, and which of them take their workers down.
const BATCHED: usize = 1_000;
const GUILTY: usize = 50;

/// Takes its worker down if one of them is to; else twice each.
#[outboard::task(batch(max = 8, wait = "1ms"))]
fn double_all(items: Vec<usize>) -> Vec<usize> {
    if items.iter().any(|item| item % GUILTY == GUILTY - 1) {
        std::process::abort();
    }
    items.into_iter().map(|item| 2 * item).collect()
}

/// Batches that crash, while workers are killed: those who are to blame fail, and of the others
/// those at most whose worker was killed when they ran alone.
async fn storm_of_batches(client: &Client) -> String {
    let mut random = Random::seeded();
    let mut items = (0..BATCHED).map(|item| {
        let future = client.batched(double_all, item);
        async move { (item, future.with_report().await) }
    });
    let mut under_way: FuturesUnordered<_> = items.by_ref().take(WINDOW).collect();
    let (mut ended, mut killed, mut lost, mut together) = (0, 0, 0, 0);
    while let Some((item, result)) = under_way.next().await {
        under_way.extend(items.next());
        ended += 1;
        match result {
            Ok((output, report)) => {
                assert!(item % GUILTY != GUILTY - 1, "{item} took no worker down; {random:?}");
                assert_eq!(output, 2 * item, "{random:?}");
                assert!((1..=2).contains(&report.attempt), "{report:?}");
                together += usize::from(report.batch > 1);
            }
            Err(error) => {
                assert!(error.is_worker_lost(), "{error}; {random:?}");
                lost += usize::from(item % GUILTY != GUILTY - 1);
            }
        }
        killed += usize::from(ended % 40 == 0 && kill_one(client, &mut random));
    }
    assert_eq!(ended, BATCHED, "every future ends; {random:?}");
    assert!(together > 0 && lost <= killed, "{lost} lost by {killed} kills; {random:?}");
    format!("; of {BATCHED} in batches {together} ran with others, {lost} lost by {killed} kills")
}

/// Kills one of the workers that are up; `false` if there is none.
fn kill_one(client: &Client, random: &mut Random) -> bool {
    let workers = client.admin().snapshot().per_worker;
    let worker = workers.get(random.below(workers.len().max(1)));
    let process = worker.and_then(|worker| Process::find(worker.pid));
    let ours = process.filter(|process| children(std::process::id()).contains(&process.pid));
    ours.as_ref().inspect(|process| process.kill()).is_some()
}

/// A small generator of random numbers (xorshift), to be repeated by its seed.
#[derive(Debug)]
struct Random {
    #[expect(dead_code, reason = "printed, to repeat a failure")]
    seed: u64,
    state: u64,
}

impl Random {
    /// Seeded by `OUTBOARD_TEST_SEED`, or by the time.
    fn seeded() -> Self {
        let given = std::env::var("OUTBOARD_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = given.unwrap_or(now.unwrap_or(Duration::ZERO).as_nanos() as u64);
        Self { seed, state: seed | 1 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % bound as u64) as usize
    }
}

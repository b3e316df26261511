//! A trivial task now and then: how long a caller waits for it, and what CPU time it costs
//! server and workers together, beside a thread of `spawn_blocking`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use outboard::Client;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use super::figure::percentile;
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{Series, Subject, take_turns};

/// How far apart two tasks are, and how many a slice has.
const PACES: [(&str, Duration, usize); 4] = [
    ("one after the other", Duration::ZERO, 500),
    ("every 100 us", Duration::from_micros(100), 200),
    ("every 1 ms", Duration::from_millis(1), 60),
    ("every 10 ms", Duration::from_millis(10), 12),
];

/// What a slice gives.
const COLUMNS: [(&str, f64); 3] = [("p50", 1.0), ("p99", 1.0), ("CPU time", 1.2)];

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let multi = Runtime::new()?;
    let lone = Builder::new_current_thread().enable_all().build()?;
    for (kind, runtime) in [("", &multi), (", current_thread", &lone)] {
        let client = runtime.block_on(async { Client::local().await })?;
        let spinning = Client::local().spin(Duration::from_micros(50));
        let spinning = runtime.block_on(async { spinning.await })?;
        for (name, gap, tasks) in PACES {
            let ours = || runtime.block_on(runtime.spawn(by_client(client.clone(), gap, tasks)))?;
            let spins =
                || runtime.block_on(runtime.spawn(by_client(spinning.clone(), gap, tasks)))?;
            let threads = || runtime.block_on(runtime.spawn(by_thread(gap, tasks)))?;
            let series = take_turns(
                plan.time() / 4,
                [Subject::new(ours), Subject::new(spins), Subject::new(threads)],
            )?;
            rows.extend(rows_of(&format!("{name}{kind}"), &series));
        }
        runtime.block_on(client.shutdown());
        runtime.block_on(spinning.shutdown());
    }
    Ok(rows)
}

fn rows_of(name: &str, [ours, spins, threads]: &[Series; 3]) -> Vec<Row> {
    let row = |(column, (statistic, goal)): (usize, (&str, f64))| {
        let reference = ("spawn_blocking", threads.column(column));
        let name = format!("{statistic}, {name}");
        Row::new(name, Unit::Seconds, ours.column(column), reference, Goal::AtMost(goal))
            .beside("with spin=50us", spins.column(column))
    };
    COLUMNS.into_iter().enumerate().map(row).collect()
}

async fn by_client(client: Client, gap: Duration, tasks: usize) -> anyhow::Result<Vec<f64>> {
    let workers: Vec<u32> =
        client.admin().snapshot().per_worker.iter().map(|worker| worker.pid).collect();
    let task = || {
        let client = client.clone();
        async move { Ok(client.submit(|x: u64| x + 1, 10).await?) }
    };
    paced(gap, tasks, &workers, task).await
}

async fn by_thread(gap: Duration, tasks: usize) -> anyhow::Result<Vec<f64>> {
    paced(gap, tasks, &[], || async { Ok(tokio::task::spawn_blocking(|| 10 + 1).await?) }).await
}

/// The columns of one slice, in a task of the runtime.
async fn paced<F, T>(
    gap: Duration,
    tasks: usize,
    workers: &[u32],
    task: F,
) -> anyhow::Result<Vec<f64>>
where
    F: Fn() -> T + Send + Sync,
    T: Future<Output = anyhow::Result<u64>> + Send,
{
    let before = cpu(workers)?;
    let mut times = Vec::with_capacity(tasks);
    for _ in 0..tasks {
        pause(gap).await;
        let start = Instant::now();
        let result = task().await?;
        times.push(start.elapsed().as_secs_f64());
        ensure!(result == 11, "x + 1 of 10 gave {result}");
    }
    let cpu = (cpu(workers)? - before).max(0.0) / tasks as f64;
    Ok(vec![percentile(&times, 0.50), percentile(&times, 0.99), cpu])
}

/// Waits, without the CPU where the timer is good enough for that.
async fn pause(gap: Duration) {
    if gap >= Duration::from_millis(1) {
        return tokio::time::sleep(gap).await;
    }
    let until = Instant::now() + gap;
    while Instant::now() < until {
        tokio::task::yield_now().await;
    }
}

/// The CPU time of this process and of the workers, in seconds.
fn cpu(workers: &[u32]) -> anyhow::Result<f64> {
    let own = clock_gettime(ClockId::ProcessCPUTime);
    let mut seconds = own.tv_sec as f64 + own.tv_nsec as f64 / 1e9;
    for pid in workers {
        let path = format!("/proc/{pid}/schedstat");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let ns = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
        seconds += ns.with_context(|| format!("{path} has no time"))? / 1e9;
    }
    Ok(seconds)
}

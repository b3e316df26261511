//! `lab chaos`: the server `after` under load, while its workers are hit
//! at random, and what that leaves behind.
//!
//! Server and browsers are in this process, so that what is leaked can be
//! counted when the server has ended: the kernel clears nothing away before.

mod batch;
mod deep;
mod hit;
mod leftover;
mod raw;
mod report;
mod storm;
mod verdict;

use std::collections::HashSet;
use std::time::Duration;

use anyhow::anyhow;
use outboard::Client;
use tokio::runtime::Runtime;

use crate::engine::EngineArgs;
use crate::failure::Failure;
use crate::signals::Signals;
use crate::site::{Server, start_after};
use crate::{figure, limits, output, progress};

use report::Report;
use storm::{Outcome, Storm};

/// When the server gives a request up: far longer than any should take, with a
/// worker that is stopped for a second now and then.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The memory that a worker may have, so that the machine survives a task that
/// takes all of it.
const MEMORY_BYTES: u64 = 192 << 20;

/// How long things must stay as they are to be called steady.
const STEADY: Duration = Duration::from_millis(300);

/// How long workers may take to be back at full strength.
const RECOVERY: Duration = Duration::from_secs(20);

/// The arguments of `lab chaos`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long it runs (seconds, or 2m); longer if a kind of crash has not happened yet
    #[arg(long, value_name = "TIME", default_value = "20", value_parser = figure::parse_time)]
    seconds: Duration,
    /// Repeat the crashes and requests of an earlier run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What there is of this process too much, after the storm and after the end.
#[derive(Debug, Default)]
struct Left {
    full_again: bool,
    zombies: usize,
    orphans: usize,
    descriptors: usize,
}

/// Lets the storm rage, prints what came of it, and fails if anything was lost,
/// wrong or left behind.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    limits::raise_open_files();
    let runtime = Runtime::new()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let descriptors = leftover::descriptors();
    let (server, client) = start_after(&limited(&args.engine), TIMEOUT, hit::pages())?;
    if client.admin().snapshot().engine != "local" {
        return Err(Failure::Usage("chaos needs worker processes: use --url local://".to_owned()));
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let storm =
        Storm { address: server.address(), client: client.clone(), seed, length: args.seconds };

    let survived = runtime.block_on(async {
        tokio::select! {
            survived = survive(&storm) => survived.map(Some),
            () = signals.next() => Ok(None),
        }
    });
    let snapshot = client.admin().snapshot();
    drop((storm, client));
    let (orphans, kept) = runtime.block_on(end(server, descriptors));
    let Some((outcome, mut left)) = survived? else {
        return Err(anyhow!("interrupted").into());
    };
    left.orphans = orphans;
    left.descriptors = left.descriptors.max(kept);
    let report = Report::new(&snapshot, seed, outcome, &left);
    output::print(&report, args.json)?;
    match report.failures() {
        failures if failures.is_empty() => Ok(()),
        failures => Err(anyhow!("chaos (--seed {seed}) left: {}", failures.join("; ")).into()),
    }
}

/// The engine that was asked for, with a limit of memory unless it has one.
fn limited(engine: &EngineArgs) -> EngineArgs {
    let from_env = || std::env::var("OUTBOARD_URL").ok().filter(|url| !url.is_empty());
    let url = engine.url().or_else(from_env).unwrap_or_else(|| "local://".to_owned());
    if !url.starts_with("local://") || url.contains("memory_limit=") {
        return EngineArgs { url: Some(url), workers: None };
    }
    let sign = if url.contains('?') { '&' } else { '?' };
    EngineArgs { url: Some(format!("{url}{sign}memory_limit={MEMORY_BYTES}")), workers: None }
}

/// The storm, and what is left of it while the server still runs.
async fn survive(storm: &Storm) -> anyhow::Result<(Outcome, Left)> {
    let before = steady_descriptors(&storm.client).await;
    let bar = progress::bar(storm.length.as_millis() as u64);
    let outcome = storm.rage(&bar).await;
    bar.finish_and_clear();
    let outcome = outcome?;
    // Those that were idle when they were stopped; nobody else will notice them.
    outcome.stopped.iter().for_each(|pid| hit::go_on(*pid));
    let full_again = recovered(&storm.client).await;
    let descriptors = leftover::excess(before, leftover::descriptors).await;
    let zombies = leftover::excess(0, leftover::zombies).await;
    Ok((outcome, Left { full_again, descriptors, zombies, orphans: 0 }))
}

/// How many descriptors are open when all workers, and spares, are there.
async fn steady_descriptors(client: &Client) -> usize {
    let look = || (client.admin().snapshot().per_worker.len(), leftover::descriptors());
    let mut seen = look();
    loop {
        tokio::time::sleep(STEADY).await;
        let now = look();
        if now == seen && storm::is_full(&client.admin().snapshot(), &HashSet::new()) {
            return now.1;
        }
        seen = now;
    }
}

/// Whether all workers come back, and nothing is left to be done.
async fn recovered(client: &Client) -> bool {
    let full = async {
        loop {
            let now = client.admin().snapshot();
            if now.running + now.queued == 0 && storm::is_full(&now, &HashSet::new()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(RECOVERY, full).await.is_ok()
}

/// Ends the server; how many processes and descriptors there are too many then.
async fn end(server: Server, descriptors: usize) -> (usize, usize) {
    server.stop().ended().await;
    let orphans = leftover::excess(0, leftover::workers_and_theirs).await;
    (orphans, leftover::excess(descriptors, leftover::descriptors).await)
}

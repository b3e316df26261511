//! `lab fairness`: what one tenant's flood of long tasks does to the short
//! tasks of nine others.
//!
//! Each round has, for each arrangement, a slice without and one with the flood,
//! next to each other; ratios are within a round, and figures are medians over
//! the rounds, because a machine is not equally busy all the time.

mod carrier;
mod report;
mod slice;

use std::time::Duration;

use anyhow::anyhow;
use tokio::runtime::Runtime;

use crate::failure::Failure;
use crate::signals::Signals;
use crate::{figure, output, progress, tour};

use carrier::{Arrangement, Carrier};
use report::{Host, Pair, Report};
use slice::Plan;

/// The arguments of `lab fairness`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds: how often each setup is measured, without and with the flood
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each measurement lasts (2s, 500ms)
    #[arg(long, value_name = "TIME", default_value = "1500ms", value_parser = figure::parse_time)]
    slice: Duration,
    /// Worker processes on this machine, two or more (default: one for each core)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    workers: Option<u16>,
    /// Measure in a pool of each client, beside another one
    #[arg(long)]
    pool: bool,
    /// Print one JSON object instead of the table; a missed goal is not a failure
    #[arg(long)]
    json: bool,
}

/// How long a short task and a long one take, about.
const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(100);

/// Runs all rounds and prints what they showed. A goal that is not met is no
/// failure: it is a figure, and the machine may be busy.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let host = Host::now();
    let plan = Plan {
        workers: args.workers.map_or(host.cores().max(2), usize::from),
        length: args.slice,
        short_n: tour::n_that_takes(SHORT),
        long_n: tour::n_that_takes(LONG),
    };
    let runtime = Runtime::new()?;
    let pairs = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let carriers = start_all(plan.workers, args.pool).await?;
        let pairs = tokio::select! {
            pairs = rounds(&plan, &carriers, args.rounds) => pairs,
            () = signals.next() => Err(anyhow!("interrupted")),
        };
        for carrier in carriers {
            carrier.end().await;
        }
        pairs
    });
    // Threads may still compute, after an interrupt; nothing can stop them.
    runtime.shutdown_background();
    let report = Report::new(&plan, host, &pairs?);
    Ok(output::print(&report, args.json)?)
}

async fn start_all(workers: usize, in_pool: bool) -> anyhow::Result<Vec<Carrier>> {
    let mut carriers = Vec::new();
    for arrangement in Arrangement::ALL {
        carriers.push(Carrier::start(arrangement, workers, in_pool).await?);
    }
    Ok(carriers)
}

async fn rounds(
    plan: &Plan,
    carriers: &[Carrier],
    rounds: u32,
) -> anyhow::Result<Vec<(Arrangement, Vec<Pair>)>> {
    let bar = progress::bar(u64::from(rounds) * carriers.len() as u64);
    let mut all: Vec<_> = carriers.iter().map(|of| (of.arrangement, Vec::new())).collect();
    for round in 0..rounds {
        for (carrier, (_, pairs)) in carriers.iter().zip(&mut all) {
            bar.set_message(format!("round {} of {rounds}: {}", round + 1, carrier.arrangement));
            pairs.push(pair(plan, carrier, round).await?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(all)
}

/// The two slices; which comes first changes from round to round.
async fn pair(plan: &Plan, carrier: &Carrier, round: u32) -> anyhow::Result<Pair> {
    if round.is_multiple_of(2) {
        let alone = plan.run(carrier, false).await?;
        Ok(Pair { alone, flooded: plan.run(carrier, true).await? })
    } else {
        let flooded = plan.run(carrier, true).await?;
        Ok(Pair { alone: plan.run(carrier, false).await?, flooded })
    }
}

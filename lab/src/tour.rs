//! `lab tour`: every experiment of the notebook, on all three servers.

mod calibration;
mod conclusion;
mod experiment;
mod html;
mod lines;
mod notebook;
mod plot;
mod progress;
mod report;
mod roundtrip;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;

use crate::engine::EngineArgs;
use crate::failure::Failure;
use crate::site::{Places, Site};
use crate::{limits, output};

pub(crate) use calibration::{Calibration, n_that_takes};
pub(crate) use experiment::{Choice, Outcome, chosen, warm_up};

use progress::Progress;
use report::Report;

/// The share of the notebook's work that `--quick` does at equal work.
const QUICK_SHARE: f64 = 0.2;

/// When a request, or a task, is given up: far longer than any should take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The arguments of `lab tour`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do a fifth of the work in the rows at equal work: under 20 s in all
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Write the report to a file as well: one page, with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Takes the tour, prints it, and fails if an experiment did.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    limits::raise_open_files();
    let page = args.html.as_deref().map(html::File::open).transpose()?;
    let site = Site::start(&args.engine, TIMEOUT)?;
    let progress = Progress::start();
    progress.say("calibrating: how long does fib take here?");
    let share = if args.quick { QUICK_SHARE } else { 1.0 };
    let calibration = Calibration::find(share);

    let runtime = Runtime::new()?;
    let outcomes = runtime.block_on(experiments(&site.places(), &calibration, &progress));
    progress.finish();
    let report = Report::new(&site.client, calibration, outcomes?);
    runtime.block_on(async {
        for mut server in site.stop() {
            server.ended().await;
        }
    });

    output::print(&report, args.json)?;
    if let Some(page) = page {
        page.write(&report)?;
    }
    match report.failures() {
        failures if failures.is_empty() => Ok(()),
        failures => Err(anyhow!("experiments failed: {}", failures.join("; ")).into()),
    }
}

async fn experiments(
    places: &Places,
    calibration: &Calibration,
    progress: &Progress,
) -> anyhow::Result<Vec<Outcome>> {
    experiment::warm_up(places).await?;
    let steps = experiment::plan(calibration);
    progress.expect(steps.len());
    let mut outcomes = Vec::new();
    for step in &steps {
        progress.next(&step.to_string());
        outcomes.extend(step.run(places).await.with_context(|| step.to_string())?);
    }
    Ok(outcomes)
}

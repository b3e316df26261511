//! `lab bench`: what Outboard costs, beside what this machine can do at
//! best and beside what a program would do without it.
//!
//! Every figure is judged as a ratio to a reference that was measured in the
//! same run and by turns with it (`slices`), for a machine's own speed wanders.
//! All is measured twice: as the machine is, and with spinners that keep its
//! cores from halting (`spinners`).

mod batches;
mod browsers;
mod cluster;
mod cold_start;
mod cores;
mod fast_under_load;
mod figure;
mod http;
mod idle;
mod kill;
mod load;
mod network;
mod pace;
mod pauses;
mod payload;
mod peer;
mod plan;
mod process;
mod python;
mod queue_growth;
mod report;
mod roundtrip;
mod row;
mod scaling;
mod section;
mod slices;
mod spinners;
mod streams;
mod throughput;
mod work;

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;

use crate::failure::Failure;
use crate::{limits, output, progress};

use peer::Role;
use plan::Plan;
use report::Report;
use row::Row;
use section::Section;
use spinners::Spinners;

/// The arguments of `lab bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measure briefly and roughly: under half a minute in all
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Measure only these, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<Section>,
    /// Measure this Dask cluster instead: dask://host:port of a scheduler without workers
    #[arg(long, value_name = "URL", conflicts_with = "only")]
    url: Option<String>,
    /// A Python that has distributed (default: target/python/newest, then python3)
    #[arg(long, value_name = "PATH", requires = "url")]
    python: Option<PathBuf>,
}

/// The arguments of `lab peer`.
#[derive(Debug, clap::Args)]
pub(crate) struct PeerArgs {
    role: Role,
    number: u64,
}

/// Measures, prints the report, and succeeds whether goals are met or not.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    limits::raise_open_files();
    let steps = steps(args);
    let bar = progress::bar(steps.len() as u64);
    bar.tick();
    let mut report = Report::new(args.quick);
    for spinning in [false, true] {
        let mut steps = steps.iter().filter(|step| step.1.spinners == spinning).peekable();
        let _spinners = match (spinning, steps.peek()) {
            (true, Some(_)) => Some(Spinners::start()?),
            _ => None,
        };
        for (section, plan) in steps {
            let name = section.name();
            bar.set_message(if spinning { format!("{name}, with spinners") } else { name });
            let rows = measure(*section, *plan, args).with_context(|| section.name())?;
            report.add(*section, rows);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(output::print(&report, args.json)?)
}

/// What is measured, in order: all without spinners first.
fn steps(args: &Args) -> Vec<(Section, Plan)> {
    if args.url.is_some() {
        return vec![(Section::Cluster, Plan { quick: args.quick, spinners: false })];
    }
    let asked = |section: &Section| args.only.is_empty() || args.only.contains(section);
    let of = |spinners| {
        let plan = Plan { quick: args.quick, spinners };
        let sections = Section::value_variants().iter().copied().filter(asked);
        sections.filter(move |section| applies(*section, plan)).map(move |section| (section, plan))
    };
    of(false).chain(of(true)).collect()
}

/// What is idle does nothing that a spinner could make quicker; a hundred texts keep all
/// cores awake.
fn applies(section: Section, plan: Plan) -> bool {
    !plan.spinners || !matches!(section, Section::Idle | Section::Browsers)
}

fn measure(section: Section, plan: Plan, args: &Args) -> anyhow::Result<Vec<Row>> {
    let mut rows = match section {
        Section::Roundtrip => roundtrip::measure(plan)?,
        Section::Throughput => throughput::measure(plan)?,
        Section::Http => http::measure(plan)?,
        Section::Payload => payload::measure(plan)?,
        Section::Pace => pace::measure(plan)?,
        Section::Streams => streams::measure(plan)?,
        Section::Browsers => browsers::measure(plan)?,
        Section::Batches => batches::measure(plan)?,
        Section::Pauses => pauses::measure(plan)?,
        Section::FastUnderLoad => fast_under_load::measure(plan)?,
        Section::Scaling => scaling::measure(plan)?,
        Section::QueueGrowth => queue_growth::measure(plan)?,
        Section::ColdStart => cold_start::measure(plan)?,
        Section::Idle => idle::measure(plan)?,
        Section::Kill => kill::measure(plan)?,
        Section::Python => python::measure(plan)?,
        Section::Cluster => {
            let url = args.url.as_deref().context("a cluster has a URL")?;
            cluster::measure(plan, url, args.python.as_deref())?
        }
    };
    rows.iter_mut().for_each(|row| row.spinners = plan.spinners);
    Ok(rows)
}

/// Is a second process of the bench, until the parent's end of the socket closes.
pub(crate) fn be_peer(args: &PeerArgs) -> anyhow::Result<()> {
    let (socket, number) = (peer::parent()?, args.number);
    match args.role {
        Role::Echo => peer::echo(socket, number as usize),
        Role::Answer => peer::answer(socket),
        Role::Work => peer::work_as_told(socket),
        Role::Spin => spinners::serve(socket),
        Role::Hold => kill::serve(socket, number),
        Role::Load => load::serve(socket),
        Role::Browsers => browsers::serve(socket),
        Role::FirstResult => cold_start::serve(socket),
        Role::Queue => queue_growth::serve(socket, number as usize),
    }
}

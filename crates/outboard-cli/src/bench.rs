//! `outboard bench`: what Outboard costs, beside what this machine can do at
//! best and beside what a program would do without it.
//!
//! Every figure is judged as a ratio to a reference that was measured in the
//! same run and by turns with it (`slices`), for a machine's own speed wanders.
//! All is measured twice: as the machine is, and with spinners that keep its
//! cores from halting (`spinners`).

mod cluster;
mod cold_start;
mod cores;
mod fast_under_load;
mod figure;
mod http;
mod idle;
mod kill;
mod load;
mod payload;
mod peer;
mod process;
mod queue_growth;
mod report;
mod roundtrip;
mod row;
mod scaling;
mod slices;
mod spinners;
mod throughput;
mod work;

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::{limits, output, progress};

use report::Report;
use row::Row;
use spinners::Spinners;

pub(crate) use peer::{Role, serve as serve_as_peer};

/// What is measured; the names are the report's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Section {
    /// A trivial task, one after the other
    Roundtrip,
    /// Trivial tasks, as many as can be
    Throughput,
    /// A page that submits a task
    Http,
    /// Large arguments and results
    Payload,
    /// A quick page while all workers compute
    FastUnderLoad,
    /// 20 tasks on all workers
    Scaling,
    /// A million tasks in the queue
    QueueGrowth,
    /// The first result of a new client
    ColdStart,
    /// What a client costs that has nothing to do
    Idle,
    /// A task that is dropped while it runs
    Kill,
    /// A Dask cluster; measured alone, by its URL
    #[value(skip)]
    Cluster,
}

/// How a section is to measure.
#[derive(Clone, Copy, Debug)]
struct Plan {
    quick: bool,
    /// Whether spinners keep the cores awake meanwhile.
    spinners: bool,
}

/// Measures, prints the report, and succeeds whether goals are met or not.
pub(crate) fn run(args: &BenchArgs) -> Result<(), Failure> {
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
            let rows = section.measure(*plan, args).with_context(|| section.name())?;
            report.add(*section, rows);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(output::print(&report, args.json)?)
}

/// What is measured, in order: all without spinners first.
fn steps(args: &BenchArgs) -> Vec<(Section, Plan)> {
    if args.url.is_some() {
        return vec![(Section::Cluster, Plan { quick: args.quick, spinners: false })];
    }
    let asked = |section: &Section| args.only.is_empty() || args.only.contains(section);
    let of = |spinners| {
        let plan = Plan { quick: args.quick, spinners };
        let sections = Section::value_variants().iter().copied().filter(asked);
        sections.filter(move |section| section.applies(plan)).map(move |section| (section, plan))
    };
    of(false).chain(of(true)).collect()
}

impl Section {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or("cluster".to_owned(), |value| value.get_name().to_owned())
    }

    /// What is idle does nothing that a spinner could make quicker.
    fn applies(self, plan: Plan) -> bool {
        self != Self::Idle || !plan.spinners
    }

    fn measure(self, plan: Plan, args: &BenchArgs) -> anyhow::Result<Vec<Row>> {
        let mut rows = match self {
            Self::Roundtrip => roundtrip::measure(plan)?,
            Self::Throughput => throughput::measure(plan)?,
            Self::Http => http::measure(plan)?,
            Self::Payload => payload::measure(plan)?,
            Self::FastUnderLoad => fast_under_load::measure(plan)?,
            Self::Scaling => scaling::measure(plan)?,
            Self::QueueGrowth => queue_growth::measure(plan)?,
            Self::ColdStart => cold_start::measure(plan)?,
            Self::Idle => idle::measure(plan)?,
            Self::Kill => kill::measure(plan)?,
            Self::Cluster => cluster::measure(plan, args)?,
        };
        rows.iter_mut().for_each(|row| row.spinners = plan.spinners);
        Ok(rows)
    }
}

impl Plan {
    /// How long subjects take turns, at least.
    fn time(self) -> Duration {
        if self.quick { Duration::from_millis(300) } else { Duration::from_secs(6) }
    }
}

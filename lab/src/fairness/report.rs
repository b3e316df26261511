//! What the rounds showed, as one table or one JSON object, and which goals
//! they met.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::carrier::Arrangement;
use super::slice::{FLOOD_DEPTH, GAP, NINE, Plan, Slice};
use crate::figure;

/// What the table's words mean.
const LEGEND: &str = "\
From submit to result, of nine tenants' short tasks, medians over the rounds; alone, and while a
tenth tenant floods with long ones. capped: fair shares, and the flood has all workers but one at
most. uncapped: fair shares. shares off: no tenants. threads: tokio's spawn_blocking.
";

/// All figures; `Display` is the table.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    workers: usize,
    cores: usize,
    /// Of the machine when it began, where that is known: with others' load,
    /// none of these figures is what it would be alone.
    load_average: Option<f64>,
    rounds: usize,
    slice_seconds: f64,
    tenants: usize,
    gap_ms: f64,
    /// How many long tasks wait or run at any time in a flood.
    flood_depth: usize,
    short_n: u64,
    long_n: u64,
    arrangements: Vec<Figures>,
    goals: Vec<Goal>,
}

/// The machine when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    cores: usize,
    load_average: Option<f64>,
}

impl Host {
    pub(super) fn now() -> Self {
        let averages = std::fs::read_to_string("/proc/loadavg").ok();
        let last_minute = averages.and_then(|text| text.split(' ').next()?.parse().ok());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { cores, load_average: last_minute }
    }

    pub(super) fn cores(self) -> usize {
        self.cores
    }
}

/// The two slices of one arrangement in one round.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) alone: Slice,
    pub(super) flooded: Slice,
}

/// Of one arrangement.
#[derive(Debug, Serialize)]
struct Figures {
    name: Arrangement,
    alone: Latency,
    flooded: Latency,
    /// Medians over the rounds of flooded to alone.
    p50_ratio: f64,
    p99_ratio: f64,
    /// The flood's tasks that ended.
    long_tasks: usize,
    /// How long such a task ran.
    long_ms: f64,
}

#[derive(Debug, Serialize)]
struct Latency {
    tasks: usize,
    p50_ms: f64,
    p99_ms: f64,
}

/// What was to be shown, and whether it was.
#[derive(Debug, Serialize)]
struct Goal {
    name: &'static str,
    /// Milliseconds, as the reference is.
    value: f64,
    reference: f64,
    /// Median over the rounds of value to reference.
    ratio: f64,
    /// The most that the ratio may be.
    goal: f64,
    met: bool,
    #[serde(skip)]
    words: &'static str,
}

impl Report {
    /// Of all rounds, by arrangement.
    pub(super) fn new(plan: &Plan, host: Host, pairs: &[(Arrangement, Vec<Pair>)]) -> Self {
        let of = |arrangement| {
            let found = pairs.iter().find(|(of, _)| *of == arrangement);
            found.map_or(&[][..], |(_, pairs)| pairs)
        };
        Self {
            workers: plan.workers,
            cores: host.cores,
            load_average: host.load_average,
            rounds: pairs.first().map_or(0, |(_, pairs)| pairs.len()),
            slice_seconds: plan.length.as_secs_f64(),
            tenants: NINE.len(),
            gap_ms: GAP.as_secs_f64() * 1e3,
            flood_depth: FLOOD_DEPTH * plan.workers,
            short_n: plan.short_n,
            long_n: plan.long_n,
            arrangements: pairs.iter().map(|(name, pairs)| Figures::new(*name, pairs)).collect(),
            goals: vec![capped(of(Arrangement::Capped)), uncapped(of(Arrangement::Uncapped))],
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let header = ["", "alone p50", "p99", "flooded p50", "p99", "p99 ratio", "long tasks"];
        table.set_header(header);
        let time = |ms: f64| figure::time(ms / 1e3);
        for Figures { name, alone, flooded, p99_ratio, long_tasks, long_ms, .. } in
            &self.arrangements
        {
            table.add_row([
                name.to_string(),
                time(alone.p50_ms),
                time(alone.p99_ms),
                time(flooded.p50_ms),
                time(flooded.p99_ms),
                format!("{p99_ratio:.1}"),
                format!("{} of {}", figure::count(*long_tasks), time(*long_ms)),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, rounds, flood_depth, tenants, gap_ms, .. } = self;
        writeln!(
            f,
            "{} on {workers} workers and {}:",
            figure::counted(*rounds, "round"),
            figure::counted(self.cores, "core")
        )?;
        writeln!(f, "  {tenants} tenants send fib({}) every {gap_ms} ms in turn,", self.short_n)?;
        writeln!(f, "  a tenth keeps {flood_depth} × fib({}) waiting", self.long_n)?;
        if let Some(load) = self.load_average {
            writeln!(f, "  load average of the machine when it began: {load}")?;
        }
        writeln!(f, "\n{}\n\n{LEGEND}", self.table().trim_fmt())?;
        self.goals.iter().try_for_each(|goal| writeln!(f, "{goal}"))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, words, ratio, goal, .. } = self;
        let met = if self.met { "met" } else { "not met" };
        let time = |ms: f64| figure::time(ms / 1e3);
        let (value, reference) = (time(self.value), time(self.reference));
        write!(f, "{name}: {words}: {value} to {reference}, ratio {ratio:.2} of {goal}: {met}")
    }
}

impl Figures {
    fn new(name: Arrangement, pairs: &[Pair]) -> Self {
        let long = pairs.iter().map(|pair| pair.flooded.long.requests).sum();
        Self {
            name,
            alone: Latency::of(pairs, |pair| &pair.alone),
            flooded: Latency::of(pairs, |pair| &pair.flooded),
            p50_ratio: median(pairs, |pair| pair.flooded.ms(0.50) / pair.alone.ms(0.50)),
            p99_ratio: median(pairs, |pair| pair.flooded.ms(0.99) / pair.alone.ms(0.99)),
            long_tasks: long,
            long_ms: median(pairs, |pair| pair.flooded.long_ms()),
        }
    }
}

impl Latency {
    fn of(pairs: &[Pair], slice: impl Fn(&Pair) -> &Slice) -> Self {
        Self {
            tasks: pairs.iter().map(|pair| slice(pair).latencies.requests).sum(),
            p50_ms: median(pairs, |pair| slice(pair).ms(0.50)),
            p99_ms: median(pairs, |pair| slice(pair).ms(0.99)),
        }
    }
}

impl Slice {
    /// The time within which this share of the nine's tasks had their results.
    fn ms(&self, share: f64) -> f64 {
        ms(self.latencies.percentile(share))
    }

    fn long_ms(&self) -> f64 {
        ms(self.long.percentile(0.50))
    }
}

fn capped(pairs: &[Pair]) -> Goal {
    let alone = |pair: &Pair| pair.alone.ms(0.99);
    let words = "p99 flooded, with one worker out of the flood's reach, to p99 alone";
    goal("capped", words, 2.0, pairs, alone)
}

fn uncapped(pairs: &[Pair]) -> Goal {
    let alone_and_one_long = |pair: &Pair| pair.alone.ms(0.99) + pair.flooded.long_ms();
    let words = "p99 flooded to p99 alone and one long task";
    goal("uncapped", words, 1.0, pairs, alone_and_one_long)
}

fn goal(
    name: &'static str,
    words: &'static str,
    goal: f64,
    pairs: &[Pair],
    reference: impl Fn(&Pair) -> f64,
) -> Goal {
    let value = |pair: &Pair| pair.flooded.ms(0.99);
    let ratio = median(pairs, |pair| value(pair) / reference(pair));
    Goal {
        name,
        value: median(pairs, value),
        reference: median(pairs, reference),
        ratio,
        goal,
        met: ratio <= goal,
        words,
    }
}

fn ms(time: Option<Duration>) -> f64 {
    time.unwrap_or_default().as_secs_f64() * 1e3
}

/// The median over the rounds; 0 if there was none.
fn median(pairs: &[Pair], figure: impl Fn(&Pair) -> f64) -> f64 {
    let mut figures: Vec<f64> = pairs.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

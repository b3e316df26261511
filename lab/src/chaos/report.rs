//! What the storm left, as one table or one JSON object, and what of it fails.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use outboard::admin::Snapshot;
use serde::Serialize;

use super::Left;
use super::storm::Outcome;
use crate::figure;

/// What the table's words mean.
const LEGEND: &str = "\
right: the value that it has to be. typed errors: problem details of a kind that a hit may cause.
Of streams and jobs each item is compared, and what was sent before a crash has to arrive.
collateral: requests that failed although their own worker was not hit. below full: how long fewer
workers could work than there should be; one that SIGSTOP holds counts as missing. A pool with two
exclusive workers and an elastic one with up to two are hit as well. shared slots: two processes of
one exclusive slot.
";

/// All figures; `Display` is the table.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    engine: &'static str,
    workers: usize,
    cores: usize,
    seed: u64,
    seconds: f64,
    requests: usize,
    streams: usize,
    jobs: usize,
    items: usize,
    right: usize,
    typed_errors: usize,
    lost: usize,
    wrong: usize,
    collateral: usize,
    zombies: usize,
    orphans: usize,
    leaked_descriptors: usize,
    shared_slots: usize,
    seconds_below_full: f64,
    full_again: bool,
    hits: BTreeMap<&'static str, usize>,
    errors_by_kind: BTreeMap<&'static str, usize>,
    #[serde(skip)]
    complaints: Vec<String>,
}

impl Report {
    /// Of a storm, and of what was left after it.
    pub(super) fn new(client: &Snapshot, seed: u64, outcome: Outcome, left: &Left) -> Self {
        let Outcome { tally, hits, length, below_full, .. } = outcome;
        let outside: usize = ["sigkill", "sigsegv", "sigstop"].iter().map(|hit| hits[hit]).sum();
        let collateral = tally.innocent.len().saturating_sub(outside);
        let innocent = if collateral > 0 { &tally.innocent[..] } else { &[] };
        let complaints = tally.complaints.iter().chain(innocent).chain(&left.complaint).cloned();
        Self {
            complaints: complaints.collect(),
            engine: client.engine,
            // Those of the default pool; the others have as many in each run.
            workers: client.per_pool.first().map_or(client.workers, |pool| pool.snapshot.workers),
            cores: client.cores,
            seed,
            seconds: length.as_secs_f64(),
            requests: tally.requests,
            streams: tally.streams,
            jobs: tally.jobs,
            items: tally.items,
            right: tally.right,
            typed_errors: tally.typed_errors(),
            lost: tally.lost,
            wrong: tally.wrong,
            // A worker executes one task at a time, so a hit costs one request at most.
            collateral,
            zombies: left.zombies,
            orphans: left.orphans,
            leaked_descriptors: left.descriptors,
            shared_slots: left.shared_slots,
            seconds_below_full: below_full.as_secs_f64(),
            full_again: left.full_again,
            hits,
            errors_by_kind: tally.typed,
        }
    }

    /// A phrase for each figure that must be another.
    pub(super) fn failures(&self) -> Vec<String> {
        let none = [
            ("lost", self.lost),
            ("wrong", self.wrong),
            ("collateral", self.collateral),
            ("zombies", self.zombies),
            ("orphans", self.orphans),
            ("leaked descriptors", self.leaked_descriptors),
            ("shared slots", self.shared_slots),
        ];
        let some = none.into_iter().filter(|(_, count)| *count > 0);
        let mut failures: Vec<_> = some.map(|(name, count)| format!("{count} {name}")).collect();
        let sum = self.right + self.typed_errors + self.lost + self.wrong;
        if sum != self.requests {
            failures.push(format!("{} requests, but {sum} are accounted for", self.requests));
        }
        if !self.full_again {
            failures.push("not back at full strength".to_owned());
        }
        failures.extend(self.complaints.iter().cloned());
        failures
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["what", "count"]);
        for (name, count) in [
            ("requests", self.requests),
            ("of them streams", self.streams),
            ("of them jobs", self.jobs),
            ("their items", self.items),
            ("right", self.right),
            ("typed errors", self.typed_errors),
            ("lost", self.lost),
            ("wrong", self.wrong),
            ("collateral", self.collateral),
            ("zombies", self.zombies),
            ("orphans", self.orphans),
            ("leaked descriptors", self.leaked_descriptors),
            ("shared slots", self.shared_slots),
        ] {
            table.add_row([name.to_owned(), figure::count(count)]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, seed, .. } = self;
        let (length, below) = (figure::time(self.seconds), figure::time(self.seconds_below_full));
        let total = figure::counted(self.hits.values().sum(), "hit");
        let workers = figure::counted(*workers, "worker");
        writeln!(f, "{total} on {workers} in {length} (--seed {seed})")?;
        writeln!(f, "  {}", listed(&self.hits))?;
        writeln!(f, "\n{}\n", self.table().trim_fmt())?;
        writeln!(f, "errors: {}", listed(&self.errors_by_kind))?;
        writeln!(f, "below full strength for {below} of {length}\n\n{LEGEND}")
    }
}

fn listed(counts: &BTreeMap<&'static str, usize>) -> String {
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} × {name}")).collect();
    parts.join(", ")
}

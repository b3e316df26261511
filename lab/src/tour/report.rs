//! The tour's result, as one table or one JSON object.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use outboard::Client;
use serde::Serialize;

use super::calibration::Calibration;
use super::experiment::Outcome;
use crate::figure;
use crate::site::Host;

/// What the table's words mean.
pub(super) const LEGEND: &str = "\
before: one event-loop thread that computes in the handler; threads: tokio's spawn_blocking;
after: client.submit to worker processes. Times are from the first request sent to the last answer.
notebook: Tornado before → Tornado with Dask after. Its 20 in parallel after were coalesced.
_equal_work: at the n that takes this machine as long as the notebook's n took Python.
";

/// All that the tour found out, as JSON has it; `Display` is the table.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    client: ClientFigures,
    pub(super) calibration: Calibration,
    experiments: Vec<Outcome>,
    /// The client as it shows itself.
    #[serde(skip)]
    pub(super) client_text: String,
}

#[derive(Debug, Serialize)]
struct ClientFigures {
    engine: &'static str,
    workers: usize,
    cores: usize,
    memory_bytes: u64,
}

impl Report {
    pub(super) fn new(
        client: &Client,
        calibration: Calibration,
        experiments: Vec<Outcome>,
    ) -> Self {
        let snapshot = client.admin().snapshot();
        let figures = ClientFigures {
            engine: snapshot.engine,
            workers: snapshot.workers,
            cores: snapshot.cores,
            memory_bytes: snapshot.memory_bytes,
        };
        Self { client: figures, calibration, experiments, client_text: client.to_string() }
    }

    /// A phrase for each experiment that failed.
    pub(super) fn failures(&self) -> Vec<String> {
        let failed = self.experiments.iter().filter(|outcome| outcome.errors > 0);
        failed
            .map(|outcome| {
                let faults = outcome.faults.join(", ");
                format!("{} on {} ({faults})", outcome.name, outcome.server)
            })
            .collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["experiment", "requests", "notebook", "before", "threads", "after"]);
        for outcomes in self.rows() {
            table.add_row(row(&outcomes));
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// The outcomes that stand side by side: one experiment, all its servers.
    pub(super) fn rows(&self) -> Vec<Vec<&Outcome>> {
        let mut rows: Vec<Vec<&Outcome>> = Vec::new();
        for outcome in &self.experiments {
            let same = |row: &&mut Vec<&Outcome>| {
                (&row[0].name, &row[0].asked) == (&outcome.name, &outcome.asked)
            };
            match rows.iter_mut().find(same) {
                Some(row) => row.push(outcome),
                None => rows.push(vec![outcome]),
            }
        }
        rows
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.client_text)?;
        writeln!(f, "{}", self.calibration)?;
        writeln!(f, "\n{}\n\n{LEGEND}", self.table().trim_fmt())?;
        for outcome in self.experiments.iter().filter(|outcome| outcome.name == "roundtrip") {
            writeln!(f, "{}", round_trip(outcome))?;
        }
        Ok(())
    }
}

fn row(outcomes: &[&Outcome]) -> Vec<String> {
    let first = outcomes[0];
    let mut cells = vec![first.name.clone(), first.asked.clone()];
    cells.push(notebook(outcomes));
    cells.extend(Host::ALL.map(|host| {
        let found = outcomes.iter().find(|outcome| outcome.server == host);
        found.map_or_else(|| "-".to_owned(), |outcome| cell(outcome))
    }));
    cells
}

/// The notebook's figures of a row: `3.44 s → 5.80 ms`.
pub(super) fn notebook(outcomes: &[&Outcome]) -> String {
    let figure_of = |host| {
        let outcome = outcomes.iter().find(|outcome| outcome.server == host)?;
        outcome.notebook_seconds.map(figure::time)
    };
    match (figure_of(Host::Before), figure_of(Host::After)) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (Some(before), None) => before,
        (None, Some(after)) => format!("→ {after}"),
        (None, None) => "-".to_owned(),
    }
}

pub(super) fn cell(outcome: &Outcome) -> String {
    match outcome.errors {
        0 => figure::time(outcome.seconds),
        errors => format!("{errors} failed"),
    }
}

fn round_trip(outcome: &Outcome) -> String {
    let time = |milliseconds: Option<f64>| figure::time(milliseconds.unwrap_or_default() / 1e3);
    format!(
        "round trip of {} on {}: p50 {}, p99 {} over {} in a row",
        outcome.path,
        outcome.server,
        time(outcome.p50_ms),
        time(outcome.p99_ms),
        figure::count(outcome.requests),
    )
}

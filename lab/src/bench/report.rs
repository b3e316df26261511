//! The report, as one table or one JSON object.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::figure::Spread;
use super::row::{Row, Unit};
use super::section::Section;
use crate::figure;

/// What the table's words mean.
const LEGEND: &str = "\
Each figure is the median over slices, with their quartiles in brackets; it took turns with its
reference. spinning: threads of the idle class kept the cores from halting. Below a row, with a dash:
who else does the same, or what part of it must cost.
";

/// The profile that published figures are built with.
const PUBLISHED: &str = "dist";

/// All that was measured; `Display` is the table.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    quick: bool,
    /// The goals that were missed: section and name of each row.
    missed: Vec<String>,
    #[serde(flatten)]
    sections: BTreeMap<Section, Vec<Row>>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    /// Whether the program was built without optimisation, which no figure is worth much after.
    debug_build: bool,
    /// The name of cargo's directory for the profile that the program was built with.
    profile: Option<String>,
}

impl Report {
    pub(super) fn new(quick: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let machine = Machine { cores, debug_build: cfg!(debug_assertions), profile: profile() };
        Self { machine, quick, missed: Vec::new(), sections: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, section: Section, rows: Vec<Row>) {
        for row in rows.iter().filter(|row| !row.met) {
            let spinning = if row.spinners { ", spinning" } else { "" };
            self.missed.push(format!("{}: {}{spinning}", section.name(), row.name));
        }
        self.sections.entry(section).or_default().extend(rows);
    }

    fn rows(&self) -> impl Iterator<Item = (Section, &Row)> {
        let sections = self.sections.iter();
        sections.flat_map(|(section, rows)| rows.iter().map(|row| (*section, row)))
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let header =
            ["section", "what", "spinning", "figure", "reference", "", "ratio", "goal", "met"];
        table.set_header(header);
        for (section, row) in self.rows() {
            table.add_row(cells(section, row));
            for beside in &row.beside {
                let figure = with_spread(row.unit, beside.value, beside.spread);
                table.add_row(["", &format!("- {}", beside.name), "", &figure]);
            }
        }
        for index in [3, 5, 6, 7] {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{LEGEND}", self.table().trim_fmt())?;
        if self.quick || self.machine.debug_build {
            writeln!(f, "A quick run, or a debug build: the figures are rough.")?;
        }
        let profile = self.machine.profile.as_deref();
        if profile != Some(PUBLISHED) {
            let name = profile.unwrap_or("unknown");
            writeln!(
                f,
                "Built in {name}; published figures are built with --profile {PUBLISHED}."
            )?;
        }
        let all = self.rows().count();
        let met = all - self.missed.len();
        writeln!(f, "{met} of {all} goals are met on {} cores.", self.machine.cores)?;
        self.missed.iter().try_for_each(|missed| writeln!(f, "missed: {missed}"))
    }
}

fn profile() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    Some(program.parent()?.file_name()?.to_str()?.to_owned())
}

fn cells(section: Section, row: &Row) -> [String; 9] {
    [
        section.name(),
        row.name.clone(),
        if row.spinners { "yes" } else { "no" }.to_owned(),
        with_spread(row.unit, row.value, row.spread),
        row.reference_name.to_owned(),
        with_spread(row.unit, row.reference, row.reference_spread),
        format!("{:.2}", row.ratio),
        format!("{} {}", if row.goal_is == "at most" { "≤" } else { "≥" }, row.goal),
        if row.met { "yes" } else { "NO" }.to_owned(),
    ]
}

fn with_spread(unit: Unit, value: f64, spread: Spread) -> String {
    if spread.low == spread.high {
        return text(unit, value);
    }
    format!("{} ({} to {})", text(unit, value), text(unit, spread.low), text(unit, spread.high))
}

fn text(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Seconds => figure::time(value),
        Unit::PerSecond => format!("{}/s", figure::count(value.round() as usize)),
        Unit::Bytes if value >= 1024.0 * 1024.0 => format!("{:.2} MiB", value / 1024.0 / 1024.0),
        Unit::Bytes if value >= 10_240.0 => format!("{:.0} KiB", value / 1024.0),
        Unit::Bytes => format!("{value:.0} bytes"),
        Unit::WakeUps => format!("{value:.0}"),
    }
}

//! `--html`: the tour's report as one page that needs no other file.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context;
use askama::Template;

use super::experiment::Outcome;
use super::plot::{Bar, plot};
use super::report::{self, LEGEND, Report};
use crate::site::Host;

/// A file that a report can be written to.
#[derive(Debug)]
pub(super) struct File(PathBuf);

/// The page.
#[derive(Debug, Template)]
#[template(path = "tour.html")]
struct Page<'a> {
    client: &'a str,
    calibration: String,
    legend: &'a str,
    rows: Vec<Row>,
}

/// One experiment on all servers that it makes sense for.
#[derive(Debug)]
struct Row {
    name: String,
    asked: String,
    notebook: String,
    /// What `before`, `threads` and `after` took.
    cells: [String; 3],
    /// As SVG.
    plot: String,
}

impl File {
    /// Makes sure that the file can be written, and leaves what it has.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes the page.
    pub(super) fn write(self, report: &Report) -> anyhow::Result<()> {
        let page = Page::new(report)?.render().context("the page cannot be made")?;
        fs::write(&self.0, page).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

impl<'a> Page<'a> {
    fn new(report: &'a Report) -> anyhow::Result<Self> {
        let rows = report.rows();
        Ok(Self {
            client: &report.client_text,
            calibration: report.calibration.to_string(),
            legend: LEGEND,
            rows: rows.iter().map(|outcomes| row(outcomes)).collect::<anyhow::Result<_>>()?,
        })
    }
}

fn row(outcomes: &[&Outcome]) -> anyhow::Result<Row> {
    let found = |host| outcomes.iter().find(|outcome| outcome.server == host);
    let cell = |host| found(host).map_or_else(|| "–".to_owned(), |outcome| report::cell(outcome));
    Ok(Row {
        name: outcomes[0].name.clone(),
        asked: outcomes[0].asked.clone(),
        notebook: report::notebook(outcomes),
        cells: Host::ALL.map(cell),
        plot: plot(&bars(outcomes))?,
    })
}

/// The notebook's figures, then those of this machine.
fn bars(outcomes: &[&Outcome]) -> Vec<Bar> {
    let notebook = outcomes.iter().filter_map(|outcome| {
        let seconds = outcome.notebook_seconds?;
        Some(Bar { label: format!("notebook, {}", outcome.server), seconds, host: None })
    });
    let good = outcomes.iter().filter(|outcome| outcome.errors == 0);
    let here = good.map(|outcome| Bar {
        label: outcome.server.to_string(),
        seconds: outcome.seconds,
        host: Some(outcome.server),
    });
    notebook.chain(here).collect()
}

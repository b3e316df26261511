//! `--html`: the tour's report as one page that needs no other file.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::Context;
use askama::Template;

use super::conclusion::{self, Point};
use super::experiment::Outcome;
use super::plot::{Bar, Plot, plot};
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
    points: Vec<Point>,
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
    plot: Plot,
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
        let page = Page::new(report).render().context("the page cannot be made")?;
        fs::write(&self.0, page).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

impl<'a> Page<'a> {
    fn new(report: &'a Report) -> Self {
        let rows = report.rows();
        Self {
            client: &report.client_text,
            calibration: report.calibration.to_string(),
            legend: LEGEND,
            points: conclusion::of(report),
            rows: rows.iter().map(|outcomes| row(outcomes)).collect(),
        }
    }
}

fn row(outcomes: &[&Outcome]) -> Row {
    let found = |host| outcomes.iter().find(|outcome| outcome.server == host);
    let cell = |host| found(host).map_or_else(|| "–".to_owned(), |outcome| report::cell(outcome));
    Row {
        name: outcomes[0].name.clone(),
        asked: outcomes[0].asked.clone(),
        notebook: report::notebook(outcomes),
        cells: Host::ALL.map(cell),
        plot: plot(&bars(outcomes)),
    }
}

/// The notebook's figures, then those of this machine.
fn bars(outcomes: &[&Outcome]) -> Vec<Bar> {
    let notebook = outcomes.iter().filter_map(|outcome| {
        let seconds = outcome.notebook_seconds?;
        let label = format!("notebook, {}", outcome.server);
        Some(Bar { label, took: Ok(seconds), host: None })
    });
    let here = outcomes.iter().map(|outcome| Bar {
        label: outcome.server.to_string(),
        took: match outcome.errors {
            0 => Ok(outcome.seconds),
            _ => Err(report::cell(outcome)),
        },
        host: Some(outcome.server),
    });
    notebook.chain(here).collect()
}

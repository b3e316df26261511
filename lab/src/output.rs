//! Prints what a command found out: for people, or for programs.

use std::fmt::Display;
use std::io::{self, Write};

use serde::Serialize;

/// Prints a report as it shows itself, or as one JSON object.
pub(crate) fn print(report: &(impl Display + Serialize), json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)
    } else {
        write!(out, "{report}")
    }
}

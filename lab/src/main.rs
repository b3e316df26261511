//! What a reader of Outboard's story runs: the demo servers, the load measurement,
//! the tour of the experiments that Outboard is there for, its own benchmark, and
//! two trials: workers that are hit, and one tenant that floods.
//!
//! `lab` alone takes the tour. Exit codes: 0 for success, 1 for a
//! failure, 2 for arguments that make no sense; what went wrong is one line on
//! stderr.

#![cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "much is for `bench` and `chaos`, which need Linux")
)]

#[cfg(unix)]
mod args;
#[cfg(target_os = "linux")]
mod bench;
#[cfg(unix)]
mod browser;
#[cfg(target_os = "linux")]
mod chaos;
/// Commands that need Linux, on another Unix.
#[cfg(all(unix, not(target_os = "linux")))]
mod elsewhere;
#[cfg(unix)]
mod engine;
#[cfg(unix)]
mod failure;
#[cfg(unix)]
mod fairness;
#[cfg(unix)]
mod figure;
#[cfg(unix)]
mod limits;
#[cfg(unix)]
mod live;
#[cfg(unix)]
mod measure;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod progress;
#[cfg(unix)]
mod serve;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod site;
#[cfg(unix)]
mod tasks;
#[cfg(unix)]
mod tour;
#[cfg(target_os = "linux")]
mod worker;

use std::process::ExitCode;

#[cfg(unix)]
use args::Command;
#[cfg(all(unix, not(target_os = "linux")))]
use elsewhere::{bench, chaos, worker};
#[cfg(unix)]
use failure::Failure;

#[cfg(not(unix))]
fn main() -> ExitCode {
    eprintln!("lab: the demo starts worker processes, which need a Unix system");
    ExitCode::FAILURE
}

#[cfg(unix)]
fn main() -> ExitCode {
    outboard::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(unix)]
fn run() -> Result<(), Failure> {
    let command = args::parse()?;
    log_to_stderr(&command);
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Measure(args) => measure::run(&args),
        Command::Tour(args) => tour::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Apart(args) => site::be_apart(&args),
        Command::Peer(args) => Ok(bench::be_peer(&args)?),
        Command::Chaos(args) => chaos::run(&args),
        Command::Fairness(args) => fairness::run(&args),
    }
}

/// Shows warnings, or what `RUST_LOG` asks for (`outboard=debug`), on stderr;
/// no warnings of what is done on purpose.
#[cfg(unix)]
fn log_to_stderr(command: &Command) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::prelude::*;

    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let level = match command {
        Command::Chaos(_) => LevelFilter::OFF,
        _ => LevelFilter::WARN,
    };
    let targets = wanted.unwrap_or_else(|| Targets::new().with_default(level));
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    tracing_subscriber::registry().with(lines).with(targets).init();
}

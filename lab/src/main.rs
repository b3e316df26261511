//! What a reader of Outboard's story runs: the demo servers, the load measurement,
//! the tour of the experiments that Outboard is there for, its own benchmark, and
//! two trials: workers that are hit, and one tenant that floods.
//!
//! `lab` alone takes the tour. Exit codes: 0 for success, 1 for a
//! failure, 2 for arguments that make no sense; what went wrong is one line on
//! stderr.

mod args;
mod bench;
mod browser;
mod chaos;
mod engine;
mod failure;
mod fairness;
mod figure;
mod limits;
mod live;
mod measure;
mod output;
mod progress;
mod serve;
mod signals;
mod site;
mod tasks;
mod tour;
mod worker;

use std::process::ExitCode;

use args::Command;
use failure::Failure;

fn main() -> ExitCode {
    outboard::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

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

//! The `outboard` program: the demo servers, the load measurement, the tour of
//! the experiments that Outboard is there for, and two trials: workers that are
//! hit, and one tenant that floods.
//!
//! `outboard` alone takes the tour. Exit codes: 0 for success, 1 for a
//! failure, 2 for arguments that make no sense; what went wrong is one line on
//! stderr.

mod args;
mod bench;
mod browser;
mod chaos;
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
mod status;
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
        Command::Status(args) => status::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Apart(args) => serve::be_apart(&args),
        Command::Peer(args) => Ok(bench::serve_as_peer(args.role, args.number)?),
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
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(targets).init();
}

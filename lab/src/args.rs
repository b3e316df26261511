//! The command line, as typed.

use clap::Parser;

#[cfg(not(target_os = "linux"))]
use crate::elsewhere::{bench, chaos, worker};
use crate::failure::Failure;
#[cfg(target_os = "linux")]
use crate::{bench, chaos, worker};
use crate::{fairness, measure, serve, site, tour};

/// What the user asked for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start the three demo servers: before, threads and after
    Serve(serve::Args),
    /// Send requests to a URL, all at the same instant, and time them
    Measure(measure::Args),
    /// Run every experiment on all three servers and print one table (the default)
    Tour(tour::Args),
    /// Join a Dask cluster, with worker processes on this machine
    Worker(worker::Args),
    /// Crash the workers of `after` at random under load, and check every answer
    Chaos(chaos::Args),
    /// Time short tasks of nine tenants while a tenth floods, with fair shares and without
    Fairness(fairness::Args),
    /// Measure what Outboard costs, compared with the best this machine can do
    Bench(bench::Args),
    /// Be the process of `before` or `threads`, which serve starts
    #[command(hide = true)]
    Apart(site::ApartArgs),
    /// Be a second process of the bench, which starts it
    #[command(hide = true)]
    Peer(bench::PeerArgs),
}

/// The demo of Outboard: three servers, a tour of the experiments, a benchmark, and
/// tests of crashes and fairness
#[derive(Debug, Parser)]
#[command(name = "lab", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tour: tour::Args,
}

/// Reads the command line; no subcommand means the tour.
pub(crate) fn parse() -> Result<Command, Failure> {
    let args = CommandLine::try_parse()?;
    Ok(args.command.unwrap_or(Command::Tour(args.tour)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::CommandLine;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }
}

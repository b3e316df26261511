//! The command line, as typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use hyper::header::{HeaderName, HeaderValue};

use crate::bench::{Role, Section};
use crate::failure::Failure;
use crate::measure::Target;
use crate::serve::Role as ServeRole;

/// What the user asked for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start the three demo servers: before, threads and after
    Serve(ServeArgs),
    /// Send requests to a URL, all at the same instant, and time them
    Measure(MeasureArgs),
    /// Run every experiment on all three servers and print one table (the default)
    Tour(TourArgs),
    /// Work for a Dask cluster, with worker processes on this machine
    Worker(WorkerArgs),
    /// Hit the workers of `after` at random while browsers ask, and check every answer
    Chaos(ChaosArgs),
    /// Time short tasks of nine tenants while a tenth floods, by fair shares and without
    Fairness(FairnessArgs),
    /// Show a status page in this terminal, live
    Status(StatusArgs),
    /// Measure what Outboard costs, beside what this machine can do at best
    Bench(BenchArgs),
    /// Be the process of `before` or `threads`, which serve starts
    #[command(hide = true)]
    Apart(ApartArgs),
    /// Be a second process of the bench, which starts it
    #[command(hide = true)]
    Peer(PeerArgs),
}

/// The arguments of `outboard worker`.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// The cluster's scheduler: dask://host:port, with options such as ?workers=2
    #[arg(value_name = "URL")]
    pub(crate) url: String,
}

/// The arguments of `outboard serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Port of `before`, which computes in the handler (0 takes any free port)
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) before_port: u16,
    /// Port of `threads`, which computes on spawn_blocking threads
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    pub(crate) threads_port: u16,
    /// Port of `after`, which submits the computation to the engine
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    pub(crate) after_port: u16,
    /// How long a computation of `after` may take, queue included (30s, 500ms)
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Which engine carries tasks to workers.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct EngineArgs {
    /// Engine of `after`: local://, inline:// … (otherwise OUTBOARD_URL, otherwise local://)
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Worker processes on this machine (one per core unless told otherwise)
    #[arg(long, value_name = "N", conflicts_with = "url",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
}

/// The arguments of `outboard measure`.
#[derive(Debug, clap::Args)]
pub(crate) struct MeasureArgs {
    /// What to get: an http:// URL
    #[arg(value_parser = target)]
    pub(crate) url: Target,
    /// How many requests to send at the same instant
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests: u32,
    /// A slow page to request just before, and to report as well
    #[arg(long = "while", value_name = "URL2", value_parser = target)]
    pub(crate) slow: Option<Target>,
    /// When to give a request up (30s, 2m)
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// The arguments of `outboard tour`.
#[derive(Debug, clap::Args)]
pub(crate) struct TourArgs {
    /// Do a fifth of the work in the rows at equal work: under 20 seconds in all
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the report to a file as well: one page, with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// The arguments of `outboard bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Measure briefly and roughly: under half a minute in all
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure only these, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) only: Vec<Section>,
    /// Measure this Dask cluster instead: dask://host:port of a scheduler without workers
    #[arg(long, value_name = "URL", conflicts_with = "only")]
    pub(crate) url: Option<String>,
    /// A Python that has distributed (otherwise target/python/newest, otherwise python3)
    #[arg(long, value_name = "PATH", requires = "url")]
    pub(crate) python: Option<PathBuf>,
}

/// The arguments of `outboard status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Where the page is: an http:// URL, as http://127.0.0.1:9000/status
    #[arg(value_parser = target)]
    pub(crate) url: Target,
    /// Print one snapshot as JSON, and end
    #[arg(long)]
    pub(crate) json: bool,
    /// A header to send, for a login that wants one ("Authorization: Bearer …")
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The arguments of `outboard apart`.
#[derive(Debug, clap::Args)]
pub(crate) struct ApartArgs {
    pub(crate) role: ServeRole,
}

/// The arguments of `outboard peer`.
#[derive(Debug, clap::Args)]
pub(crate) struct PeerArgs {
    pub(crate) role: Role,
    pub(crate) number: u64,
}

/// The arguments of `outboard chaos`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChaosArgs {
    /// How long the storm lasts (plain seconds, or 2m); longer until every kind of hit happened
    #[arg(long, value_name = "TIME", default_value = "20", value_parser = duration)]
    pub(crate) seconds: Duration,
    /// Repeats the hits and pages of another run, as far as the machine does
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// The arguments of `outboard fairness`.
#[derive(Debug, clap::Args)]
pub(crate) struct FairnessArgs {
    /// How often each arrangement is measured without and with the flood
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long each measurement lasts (2s, 500ms)
    #[arg(long, value_name = "TIME", default_value = "1500ms", value_parser = duration)]
    pub(crate) slice: Duration,
    /// Worker processes on this machine, two or more (one per core unless told otherwise)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    pub(crate) workers: Option<u16>,
    /// Print one JSON object instead of the table; goals that are not met are no failure
    #[arg(long)]
    pub(crate) json: bool,
}

/// Heavy work outside your web server: the demo servers, a load measurement,
/// a tour of the experiments, and trials of crashes and of one who floods
#[derive(Debug, Parser)]
#[command(name = "outboard", version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    tour: TourArgs,
}

impl EngineArgs {
    /// The engine's URL, where one was asked for on the command line.
    pub(crate) fn url(&self) -> Option<String> {
        match self.workers {
            Some(workers) => Some(format!("local://?workers={workers}")),
            None => self.url.clone(),
        }
    }

    /// The same with a limit on the memory of workers, unless a URL was asked
    /// for, here or in the environment.
    pub(crate) fn limited(&self, memory_bytes: u64) -> Self {
        let limit = format!("memory_limit={memory_bytes}");
        let url = match self.workers {
            Some(workers) => Some(format!("local://?workers={workers}&{limit}")),
            None if self.url.is_some() => self.url.clone(),
            None if std::env::var_os("OUTBOARD_URL").is_some() => None,
            None => Some(format!("local://?{limit}")),
        };
        Self { url, workers: None }
    }
}

/// Reads the command line; no subcommand means the tour.
pub(crate) fn parse() -> Result<Command, Failure> {
    let args = Args::try_parse()?;
    Ok(args.command.unwrap_or(Command::Tour(args.tour)))
}

/// `30s`, `500ms`, `1m 30s`, or plain seconds: `30`, `0.5`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    match parsed {
        Some(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Some(duration) => Ok(duration),
        None => Err("write it as 30s, 500ms or 1m30s".to_owned()),
    }
}

/// `Name: value`.
fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as Name: value")?;
    let name = name.trim().parse().map_err(|_| "that is no name of a header")?;
    let mut value: HeaderValue =
        value.trim().parse().map_err(|_| "that is no value of a header")?;
    // It may be a secret, which no log has to show.
    value.set_sensitive(true);
    Ok((name, value))
}

fn target(text: &str) -> Result<Target, String> {
    Target::parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn durations_are_human_or_plain_seconds() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "0", "0s", "-1", "nan", "inf", "1e300", "soon"] {
            assert!(duration(bad).is_err(), "{bad:?} was taken");
        }
    }
}

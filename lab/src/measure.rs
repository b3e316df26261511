//! `lab measure`: how a page answers many visitors at once.

mod load;
mod request;
mod target;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;
use crate::{figure, limits};

pub(crate) use load::{Load, Measurement};
pub(crate) use request::{Fault, connect, get};
pub(crate) use target::Target;

/// A load that takes longer than this shows a progress bar, on a terminal.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// The arguments of `lab measure`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The page to request: an http:// URL
    #[arg(value_parser = Target::parse)]
    url: Target,
    /// How many requests to send at the same instant
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// A slow page to request just before; its time is reported too
    #[arg(long = "while", value_name = "URL2", value_parser = Target::parse)]
    slow: Option<Target>,
    /// Timeout of each request (30s, 2m)
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = figure::parse_time)]
    timeout: Duration,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Measures, prints the report, and fails if a request did.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let slow = usize::from(args.slow.is_some());
    limits::allow_connections(args.requests as usize + slow)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let reports = runtime.block_on(measure(args))?;
    print(args, &reports)?;

    let requests: usize = reports.iter().map(|report| report.measurement.requests).sum();
    match reports.iter().map(|report| report.measurement.errors()).sum::<usize>() {
        0 => Ok(()),
        errors => {
            let requests = figure::counted(requests, "request");
            Err(anyhow!("{errors} of {requests} failed").into())
        }
    }
}

/// A measurement and the page that it is of.
struct Report<'a> {
    target: &'a Target,
    measurement: Measurement,
}

impl Report<'_> {
    /// The notebook's line, and what it leaves out.
    fn line(&self) -> String {
        let measurement = &self.measurement;
        let total = figure::time(measurement.total.as_secs_f64());
        let requests = figure::count(measurement.requests);
        let mut line =
            format!("{}, {requests} simultaneous requests, total time: {total}", self.target);
        if let (Some(p50), Some(p99)) = (measurement.percentile(0.50), measurement.percentile(0.99))
        {
            let (p50, p99) = (figure::time(p50.as_secs_f64()), figure::time(p99.as_secs_f64()));
            line += &format!(", p50 {p50}, p99 {p99}");
        }
        if measurement.faults.is_empty() {
            return line + ", no errors";
        }
        let faults = measurement.faults.iter();
        let kinds: Vec<_> = faults.map(|(fault, count)| format!("{count} × {fault}")).collect();
        format!("{line}, errors: {}", kinds.join(", "))
    }

    fn json(&self) -> Json {
        let measurement = &self.measurement;
        let faults = measurement.faults.iter();
        Json {
            url: self.target.to_string(),
            requests: measurement.requests,
            seconds: measurement.total.as_secs_f64(),
            p50_ms: milliseconds(measurement.percentile(0.50)),
            p99_ms: milliseconds(measurement.percentile(0.99)),
            errors: measurement.errors(),
            errors_by_kind: faults.map(|(fault, count)| (fault.to_string(), *count)).collect(),
            slow: None,
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Json {
    url: String,
    requests: usize,
    seconds: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    errors: usize,
    errors_by_kind: BTreeMap<String, usize>,
    #[serde(rename = "while", skip_serializing_if = "Option::is_none")]
    slow: Option<Box<Json>>,
}

/// A time as JSON has it: a number of milliseconds.
pub(crate) fn milliseconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64() * 1e3)
}

/// The report on the URL, then the one on the slow page, if there is one.
async fn measure(args: &Args) -> anyhow::Result<Vec<Report<'_>>> {
    let load = |target: &Target, requests| Load {
        target: target.clone(),
        requests,
        timeout: args.timeout,
        expected: None,
    };
    let quick = load(&args.url, args.requests as usize);
    let bar =
        ProgressBar::with_draw_target(Some(u64::from(args.requests)), ProgressDrawTarget::hidden());
    let measurements = async {
        let Some(slow) = &args.slow else {
            let measurement = quick.run(&bar).await?;
            return Ok(vec![Report { target: &args.url, measurement }]);
        };
        let (measurement, behind) = quick.run_behind(&load(slow, 1), &bar).await?;
        let quick = Report { target: &args.url, measurement };
        Ok(vec![quick, Report { target: slow, measurement: behind }])
    };
    let result = tokio::select! {
        result = measurements => result,
        never = show_later(&bar) => never,
    };
    bar.finish_and_clear();
    result
}

/// Shows the bar on stderr, if that is a terminal, when the load takes long.
async fn show_later<T>(bar: &ProgressBar) -> T {
    tokio::time::sleep(BAR_AFTER).await;
    let template = "{wide_bar} {pos} of {len} answered, {elapsed}";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(200));
    std::future::pending().await
}

fn print(args: &Args, reports: &[Report<'_>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !args.json {
        return reports.iter().try_for_each(|report| writeln!(out, "{}", report.line()));
    }
    let mut object = reports[0].json();
    object.slow = reports.get(1).map(|report| Box::new(report.json()));
    writeln!(out, "{}", serde_json::to_string_pretty(&object)?)
}

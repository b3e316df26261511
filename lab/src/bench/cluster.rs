//! A Dask cluster: our client and native workers beside Dask's own client and
//! workers, on one scheduler.
//!
//! The scheduler is to have no workers: the bench brings its own. Python's stay,
//! one for each core. A native worker, with as many processes, joins for each of
//! our turns and leaves after it, for a scheduler sends it Python's tasks as well.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use outboard::Client;
use tokio::runtime::Runtime;

use super::plan::Plan;
use super::process::wait_until;
use super::row::{Goal, Row, Unit};
use super::slices::{Subject, take_turns, time_each_future};
use crate::figure;
use crate::tasks::add_one;

/// How many tasks, one after the other, a slice of round trips has; a quick one.
const SLICE: usize = 25;
const QUICK_SLICE: usize = 10;

/// How many tasks are submitted at once, and of a quick batch.
const BATCH: usize = 2000;
const QUICK_BATCH: usize = 400;

/// Where `script/bootstrap` puts a Python with Dask.
const PYTHON: &str = "target/python/newest/bin/python";

/// Ends a worker of Dask's own with this process: then its stdin ends.
const WORKER: &str = "import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from distributed.cli.dask_worker import main
main()";

/// What Dask's own client does, asked over pipes.
const CLIENT: &str = include_str!("cluster.py");

pub(super) fn measure(plan: Plan, url: &str, python: Option<&Path>) -> anyhow::Result<Vec<Row>> {
    let runtime = Runtime::new()?;
    let ours = runtime.block_on(Client::connect(url))?;
    let found = ours.admin().snapshot().workers;
    ensure!(
        found == 0,
        "the cluster has {}: start a scheduler without workers, for the bench brings its own",
        figure::counted(found, "worker")
    );
    let mut cluster = Cluster::start(url, find_python(python)?, &ours)?;
    let beside = runtime.block_on(Client::connect(&cluster.with_plugin()?))?;
    cluster.clients.push(&beside);
    let mut python = Python::start(&cluster)?;
    let (slice, tasks) = if plan.quick { (QUICK_SLICE, QUICK_BATCH) } else { (SLICE, BATCH) };
    let one_by_one = |client: &Client| runtime.block_on(roundtrips(client.clone(), slice));
    let at_once = |client: &Client| runtime.block_on(batch(client.clone(), tasks));
    let [native, dask, plugin] = take_turns(
        plan.time(),
        [
            Subject::new(|| cluster.natively(|| one_by_one(&ours))),
            Subject::new(|| python.ask("roundtrips", slice)),
            Subject::new(|| one_by_one(&beside)),
        ],
    )?
    .map(|one| one.percentile(0.5));
    let name = "p50 of x + 1";
    let reference = ("Python client and workers", dask);
    let roundtrip = Row::new(name, Unit::Seconds, native, reference, Goal::AtMost(0.6))
        .beside("the plugin on Python workers", plugin);
    let [native, dask, plugin] = take_turns(
        plan.time(),
        [
            Subject::new(|| cluster.natively(|| at_once(&ours))),
            Subject::new(|| python.ask("batch", tasks)),
            Subject::new(|| at_once(&beside)),
        ],
    )?
    .map(|one| one.column(0));
    let name = format!("x + 1, {tasks} at once");
    let reference = ("Python client and workers", dask);
    let batch = Row::new(name, Unit::PerSecond, native, reference, Goal::AtLeast(6.0))
        .beside("the plugin on Python workers", plugin);
    runtime.block_on(async { tokio::join!(ours.shutdown(), beside.shutdown()) });
    Ok(vec![roundtrip, batch])
}

async fn roundtrips(client: Client, tasks: usize) -> anyhow::Result<Vec<f64>> {
    time_each_future(tasks, || async {
        let value = client.submit(add_one, 10).await?;
        ensure!(value == 11, "x + 1 of 10 gave {value}");
        Ok(())
    })
    .await
}

async fn batch(client: Client, tasks: usize) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    let submitted = (0..tasks as u64).map(|x| client.submit(add_one, x));
    let values = outboard::gather(submitted.collect::<Vec<_>>()).await?;
    let rate = tasks as f64 / start.elapsed().as_secs_f64();
    ensure!(values.iter().copied().eq(1..=tasks as u64), "the results are wrong");
    Ok(vec![rate])
}

/// The workers that the bench brings.
struct Cluster<'a> {
    /// Ours; each learns of workers for itself.
    clients: Vec<&'a Client>,
    url: &'a str,
    python: PathBuf,
    workers: Vec<Running>,
}

/// A process, killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl<'a> Cluster<'a> {
    fn start(url: &'a str, python: PathBuf, client: &'a Client) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        let mut cluster = Self { clients: vec![client], url, python, workers: Vec::new() };
        for _ in 0..cores {
            let args = ["--nthreads=1", "--no-nanny", "--dashboard-address=127.0.0.1:0"];
            let mut command = Command::new(&cluster.python);
            command.args(["-c", WORKER, &cluster.address()?]).args(args);
            let worker = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            cluster.workers.push(Running(worker.spawn()?));
        }
        cluster.has_joined(cores)?;
        Ok(cluster)
    }

    /// The scheduler as Dask's own programs name it.
    fn address(&self) -> anyhow::Result<String> {
        let (scheme, rest) = self.url.split_once("://").context("the URL has no scheme")?;
        ensure!(scheme != "tls", "the bench needs a cluster without TLS");
        Ok(format!("tcp://{}", rest.split(['?', '/']).next().unwrap_or(rest)))
    }

    /// The URL by which this program runs beside Python's workers.
    fn with_plugin(&self) -> anyhow::Result<String> {
        let program = std::env::current_exe()?;
        Ok(self.with_options(&format!("plugin={}&plugin.spares=0", program.display())))
    }

    fn with_options(&self, options: &str) -> String {
        let sign = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{sign}{options}", self.url)
    }

    fn has_joined(&self, workers: usize) -> anyhow::Result<()> {
        let what = format!("the cluster has {workers} workers");
        let knows = |client: &&Client| client.admin().snapshot().workers == workers;
        wait_until(&what, || self.clients.iter().all(knows))
    }

    /// Does something while a native worker is there.
    fn natively<T>(&self, measure: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let cores = self.workers.len();
        let native = self.with_options(&format!("mixed=1&spares=0&workers={cores}"));
        let mut command = Command::new(std::env::current_exe()?);
        let worker = command.env("OUTBOARD_WORKER", native).stdin(Stdio::null());
        let worker = Running(worker.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        self.has_joined(cores + 1)?;
        let measured = measure();
        drop(worker);
        self.has_joined(cores)?;
        measured
    }
}

/// Dask's own client, in a process of its own.
struct Python {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Running,
}

impl Python {
    fn start(cluster: &Cluster<'_>) -> anyhow::Result<Self> {
        let mut command = Command::new(&cluster.python);
        let command = command.args(["-c", CLIENT, &cluster.address()?]).stdin(Stdio::piped());
        let mut process = Running(command.stdout(Stdio::piped()).spawn()?);
        let stdin = process.0.stdin.take().expect("it is a pipe");
        let stdout = BufReader::new(process.0.stdout.take().expect("it is a pipe"));
        let mut python = Self { stdin, stdout, _process: process };
        python.answer()?;
        Ok(python)
    }

    fn ask(&mut self, what: &str, tasks: usize) -> anyhow::Result<Vec<f64>> {
        writeln!(self.stdin, "{what} {tasks}")?;
        self.answer()
    }

    fn answer(&mut self) -> anyhow::Result<Vec<f64>> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).context("Dask's own client ended")
    }
}

/// The Python that was asked for, or one that has Dask.
fn find_python(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    let newest = Some(Path::new(PYTHON)).filter(|path| path.exists());
    let python = asked.or(newest).unwrap_or(Path::new("python3"));
    let mut command = Command::new(python);
    match command.args(["-c", "import distributed"]).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(python.to_owned()),
        Ok(_) => bail!(
            "{} has no distributed: name a Python that has it with --python PATH",
            python.display()
        ),
        Err(error) => bail!("{}: {error}: name a Python with --python PATH", python.display()),
    }
}

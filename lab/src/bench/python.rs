//! A trivial function of Python, one after the other, against a bare ping-pong with a Python
//! process, and against Python's own pool of processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};
use outboard::{Client, Python, python};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::runtime::Runtime;

use super::peer::MESSAGE_BYTES;
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{SLICE, Subject, take_turns, time_each, time_each_future};

/// Where `script/bootstrap` puts a Python; otherwise that in `PATH`.
const INTERPRETER: &str = "target/python/newest/bin/python";

/// The other ways.
const OTHERS: &str = include_str!("python.py");

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let program = if Path::new(INTERPRETER).exists() { INTERPRETER } else { "python3" };
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async {
        Client::local().workers(1).spares(0).python(Python::new(program)).await
    })?;
    let mut bare = Echo::start(program)?;
    let mut pool = Pool::start(program)?;
    let [ours, bare, pool] = take_turns(
        plan.time(),
        [
            Subject::new(|| runtime.block_on(runtime.spawn(by(client.clone())))?),
            Subject::new(|| time_each(SLICE, || bare.exchange())),
            Subject::new(|| pool.ask(SLICE)),
        ],
    )?;
    runtime.block_on(client.shutdown());
    let row = |name: &str, reference, goal| {
        let ours = ours.percentile(0.5);
        Row::new(name.to_owned(), Unit::Seconds, ours, reference, Goal::AtMost(goal))
    };
    Ok(vec![
        row("p50 of abs(x)", ("bare ping-pong with Python", bare.percentile(0.5)), 1.5),
        row("p50 of abs(x), to its pool", ("ProcessPoolExecutor", pool.percentile(0.5)), 0.2),
    ])
}

async fn by(client: Client) -> anyhow::Result<Vec<f64>> {
    let abs = python::<(i64,), u64>("builtins:abs");
    time_each_future(SLICE, || async {
        let result = client.submit(abs, -11).await?;
        ensure!(result == 11, "abs(-11) gave {result}");
        Ok(())
    })
    .await
}

/// A Python process, killed when it is dropped, with the processes that it has started.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        Ok(Self(command.process_group(0).spawn().context("cannot start Python")?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A worker of ProcessPoolExecutor does not notice that its parent is gone.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// One that gives back what it is sent.
struct Echo {
    socket: UnixStream,
    _process: Running,
}

impl Echo {
    fn start(program: &str) -> anyhow::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = Command::new(program);
        command.args(["-c", OTHERS, "echo", &MESSAGE_BYTES.to_string()]);
        let process = Running::start(command.stdin(OwnedFd::from(theirs)))?;
        let mut echo = Self { socket, _process: process };
        echo.exchange()?;
        Ok(echo)
    }

    fn exchange(&mut self) -> anyhow::Result<()> {
        self.socket.write_all(&[7; MESSAGE_BYTES])?;
        Ok(self.socket.read_exact(&mut [0; MESSAGE_BYTES])?)
    }
}

/// One that asks a pool of its own.
struct Pool {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Running,
}

impl Pool {
    fn start(program: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(["-c", OTHERS, "pool"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Running::start(&mut command)?;
        let stdin = process.0.stdin.take().context("it is a pipe")?;
        let stdout = BufReader::new(process.0.stdout.take().context("it is a pipe")?);
        let mut pool = Self { stdin, stdout, _process: process };
        pool.ask(1)?;
        Ok(pool)
    }

    fn ask(&mut self, tasks: usize) -> anyhow::Result<Vec<f64>> {
        writeln!(self.stdin, "{tasks}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let times: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(times.len() == tasks, "ProcessPoolExecutor ended");
        Ok(times)
    }
}

//! What the status page shows, as JSON. It is made of a snapshot, and read by the
//! page, by `outboard status` and by whatever else asks for it.
//!
//! Times end in `_ms` and are milliseconds with three decimals; instants are
//! such times since the engine was started, on the clock of
//! [`View::uptime_ms`]. Sizes end in `_bytes`. What is not known is `null`. Fields
//! may be added; none is renamed or taken away within a version of the crate.

pub(super) mod of;

use serde::{Deserialize, Serialize};

/// The most lines of the queue, and the most tenants, that are shown.
pub const LINES: usize = 50;

/// The most workers that are shown.
pub const WORKERS: usize = 256;

/// All that is shown of a client and its engine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct View {
    /// What makes this JSON known as that of a status page: `outboard`.
    pub product: String,
    /// The engine's name: `local`, `inline` or `dask`.
    pub engine: String,
    /// Time since the engine was started.
    pub uptime_ms: f64,
    /// Whether tasks are accepted.
    pub open: bool,
    /// Whether this page may cancel, recycle and drain.
    pub controls: bool,
    /// How many workers there are to be.
    pub wanted_workers: usize,
    /// How many there are to be at least; fewer than `wanted_workers` in an elastic pool only.
    #[serde(default)]
    pub least_workers: usize,
    /// How many there are to be at most; more than `wanted_workers` in an elastic pool only.
    #[serde(default)]
    pub most_workers: usize,
    /// How many cores the server may use.
    pub cores: usize,
    /// The memory that the server may use; 0 where that is not known.
    pub memory_bytes: u64,
    /// What needs attention, the worst first; empty if all is well.
    pub alerts: Vec<Alert>,
    /// How many tasks there are and were.
    pub tasks: Tasks,
    /// Bounds of the queue, and refusals.
    pub admission: Admission,
    /// How often workers' processes came to an end, and why.
    pub restarts: Ends,
    /// The pools; empty if there is only the default one.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// The workers that are up and those that stand by, by number: [`WORKERS`] at
    /// most.
    pub workers: Vec<Worker>,
    /// How many more workers there are.
    pub more_workers: usize,
    /// Who waits, by priority (the highest first) and tenant: the [`LINES`] longest.
    pub queue: Vec<Line>,
    /// How many more lines there are.
    pub more_lines: usize,
    /// The [`LINES`] tenants that took most of the workers' time, of those that were
    /// active recently.
    pub tenants: Vec<Tenant>,
    /// How many more tenants there are.
    pub more_tenants: usize,
    /// What each task function cost since the start.
    pub functions: Vec<Function>,
    /// The last workers that crashed, the oldest first. Empty in the events of
    /// the page, where each has one of its own.
    pub crashes: Vec<Crash>,
    /// The last panics, the oldest first. Empty in the events of the page likewise.
    pub panics: Vec<Panic>,
}

/// Something that needs attention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// What it is about, the same for as long as it lasts: what was acknowledged is
    /// known again by it.
    #[serde(default)]
    pub key: String,
    /// Whether requests fail of it, or soon will.
    pub severe: bool,
    /// What it is, in a sentence.
    pub text: String,
}

/// How many tasks there are and were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tasks {
    /// Those that a worker has, running or next in line there.
    pub running: usize,
    /// Those that wait for a worker.
    pub queued: usize,
    /// Those taken since the start.
    pub submitted: u64,
    /// Submits that shared the task of an earlier one.
    pub coalesced: u64,
    /// Those that gave a result.
    pub done: u64,
    /// Those that ended with an error of their own.
    pub failed: u64,
    /// Callers that left before the result.
    pub cancelled: u64,
    /// Callers whose time ran out.
    pub timed_out: u64,
}

/// Bounds of the queue, and refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Admission {
    /// How many tasks may wait.
    pub queue_limit: usize,
    /// How long all that waits needs to start, as far as can be predicted.
    pub predicted_wait_ms: f64,
    /// Submits that were refused since the start.
    pub refused: u64,
}

/// How often a worker's process came to an end, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ends {
    /// It was killed because its task was cancelled.
    pub killed: u64,
    /// It crashed, or did something that it was killed for.
    pub lost: u64,
    /// It was recycled.
    pub recycled: u64,
    /// It was not needed any more.
    pub dismissed: u64,
}

/// The state of one pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pool {
    /// Its name.
    pub pool: String,
    /// Whether tasks are accepted.
    pub open: bool,
    /// How many workers there are to be.
    pub wanted_workers: usize,
    /// How many there are to be at least.
    #[serde(default)]
    pub least_workers: usize,
    /// How many there are to be at most.
    #[serde(default)]
    pub most_workers: usize,
    /// How many workers are up.
    #[serde(default)]
    pub up: usize,
    /// How many of those have a task.
    #[serde(default)]
    pub busy: usize,
    /// How many workers stand by.
    #[serde(default)]
    pub standby: usize,
    /// The memory of its workers, with each page divided by how many processes have it. Where
    /// that is not known, it is their resident memory.
    #[serde(default)]
    pub memory_bytes: u64,
    /// How many tasks there are and were.
    pub tasks: Tasks,
    /// Bounds of the queue, and refusals.
    pub admission: Admission,
    /// How often workers' processes came to an end, and why.
    pub restarts: Ends,
}

/// What one worker does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Worker {
    /// Its number; a replacement keeps it.
    pub number: usize,
    /// Its pool; `default` unless the client has others.
    #[serde(default)]
    pub pool: String,
    /// Its slot in the pool.
    #[serde(default)]
    pub slot: Option<usize>,
    /// Its process.
    pub pid: u32,
    /// Where it listens, if it is a cluster's.
    #[serde(default)]
    pub address: Option<String>,
    /// `idle`, `busy`, `stopping` (its task was cancelled) or
    /// `standby` (ready to take the place of another).
    pub state: String,
    /// The task that it executes, unless that was cancelled; of a cluster's worker, the
    /// oldest of this client that it has.
    pub task: Option<Current>,
    /// How many tasks were sent ahead to it, or a cluster's worker has besides.
    pub next_in_line: usize,
    /// How many tasks this process has executed.
    pub done: u64,
    /// Resident memory.
    pub memory_bytes: Option<u64>,
    /// The same, with each page divided by how many processes have it.
    #[serde(default)]
    pub proportional_bytes: Option<u64>,
    /// CPU time that this process has used.
    pub cpu_ms: Option<f64>,
    /// Why it is to be replaced, if it is: `tasks`, `age`, `memory` or `asked`.
    pub worn: Option<String>,
    /// How often its process came to an end, and why.
    pub restarts: Ends,
}

/// What a worker executes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Current {
    /// The task, as [`outboard::TaskId`] reads it.
    pub task: String,
    /// The task function's name.
    pub function: String,
    /// Which execution of the task it is, counting from 1.
    pub attempt: u32,
    /// The tenant that it is charged to.
    pub tenant: Option<String>,
    /// When it started.
    pub since_ms: f64,
    /// For how long it has been running.
    pub run_ms: f64,
    /// How many items of its stream have arrived.
    #[serde(default)]
    pub items: u64,
    /// How many bytes these items have.
    #[serde(default)]
    pub bytes: u64,
    /// How far it says that it is.
    #[serde(default)]
    pub progress: Option<String>,
}

/// The tasks of one tenant and priority that wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Line {
    /// Their priority.
    pub priority: i32,
    /// Their tenant; `null` stands for all submits that name none.
    pub tenant: Option<String>,
    /// How many they are.
    pub queued: usize,
    /// How long the oldest of them has waited.
    pub oldest_ms: f64,
}

/// What the tasks of one tenant cost since it was first seen, or forgotten last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tenant {
    /// Its name; `null` stands for all submits that name none.
    pub tenant: Option<String>,
    /// Its tasks that wait.
    pub queued: usize,
    /// How its tasks ended.
    pub outcomes: Outcomes,
    /// The sum of the run times of tasks that gave a result.
    pub run_ms: f64,
}

/// How many tasks ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcomes {
    /// Taken.
    pub submitted: u64,
    /// They gave a result.
    pub done: u64,
    /// They ended with an error of their own.
    pub failed: u64,
    /// Those of them that panicked.
    pub panicked: u64,
    /// Those of them whose worker was lost.
    pub lost: u64,
    /// Callers that left before the result.
    pub cancelled: u64,
    /// Callers whose time ran out.
    pub timed_out: u64,
    /// Submits that were refused.
    pub refused: u64,
}

/// What one task function cost since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Function {
    /// Its name.
    pub function: String,
    /// How its tasks ended.
    pub outcomes: Outcomes,
    /// Run times of tasks that gave a result, by the worker's clock.
    pub run: Times,
    /// What else those took: in the queue, and to the worker and back.
    pub wait: Times,
    /// The sum of the CPU times that were measured: of tasks of a millisecond or
    /// more.
    pub cpu_ms: f64,
    /// The most resident memory that a worker had at the end of one of them.
    pub peak_memory_bytes: Option<u64>,
    /// Its batches, if it takes any.
    #[serde(default)]
    pub batches: Option<Batches>,
}

/// How large the batches of one task function were since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Batches {
    /// Calls, each for one task or more.
    pub calls: u64,
    /// The tasks of these calls.
    pub tasks: u64,
    /// How many calls had no more tasks than 1, 2, 4 and so on up to 64, and more than the bound
    /// before.
    pub sizes: Vec<u64>,
    /// How long batches were held open for more tasks, where the function asks for that.
    pub held: Times,
}

/// How many durations were how long.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Times {
    /// How many were no longer than 1 µs, 2 µs, 4 µs and so on, and longer than the
    /// bound before; without the zeros at the end. The 33rd is what is longer than
    /// 36 minutes.
    pub counts: Vec<u64>,
    /// The bound that half of them did not exceed.
    pub p50_ms: Option<f64>,
    /// The bound that 90 % of them did not exceed.
    pub p90_ms: Option<f64>,
    /// The bound that 99 % of them did not exceed.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: f64,
    /// Their sum.
    pub sum_ms: f64,
}

/// The end of a worker that crashed: all that is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Crash {
    /// When.
    pub at_ms: f64,
    /// One line that says it.
    pub summary: String,
    /// The worker's number.
    pub worker: usize,
    /// The process that it was.
    pub pid: u32,
    /// What ended it, in words.
    pub cause: Option<String>,
    /// What memory it wanted and could not have, in words, if that ended it.
    pub shortage: Option<String>,
    /// The task function that it executed; empty if none.
    pub function: String,
    /// Which execution of the task it was, counting from 1.
    pub attempt: u32,
    /// How long it had been executing the task.
    pub run_ms: Option<f64>,
    /// CPU time that it used for the task.
    pub cpu_ms: Option<f64>,
    /// The most resident memory that was seen of it.
    pub memory_bytes: Option<u64>,
    /// Resident memory before the task.
    pub memory_at_start_bytes: Option<u64>,
    /// How many bytes the encoded arguments had. They are not kept themselves.
    pub argument_bytes: usize,
    /// A digest of them, in hexadecimal: equal for equal arguments of one build.
    pub argument_digest: String,
    /// The last lines that it wrote to stderr, the oldest first.
    pub stderr: Vec<String>,
}

/// A panic of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Panic {
    /// When.
    pub at_ms: f64,
    /// The task.
    pub task: String,
    /// The task function's name.
    pub function: String,
    /// The worker's number.
    pub worker: usize,
    /// Its message.
    pub message: String,
    /// `file:line:column`, or empty.
    pub location: String,
    /// The backtrace as text, or empty.
    pub backtrace: String,
}

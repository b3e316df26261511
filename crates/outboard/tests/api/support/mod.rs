//! What several tests need.

/// What a server says in its log.
#[cfg(target_os = "linux")]
pub(crate) mod log;
/// Processes: signals to them, and their end.
#[cfg(target_os = "linux")]
pub(crate) mod process;
/// What C libraries do in tasks: forks, signals, alarms.
#[cfg(target_os = "linux")]
pub(crate) mod raw;
/// A directory through which a test and its tasks, wherever they run, talk.
pub(crate) mod scratch;
/// Another server process: this binary, playing a scenario.
#[cfg(target_os = "linux")]
pub(crate) mod server;
/// Task functions that several tests use.
pub(crate) mod tasks;
/// Values of every shape.
pub(crate) mod zoo;

use std::fmt::Display;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// How long a whole test may take before something in it counts as hung.
const HUNG: Duration = Duration::from_secs(180);

/// Runs an async test; what never ends fails it.
pub(crate) fn run(test: impl Future<Output = ()>) {
    run_on(&runtime(), test);
}

/// As `run`, on a runtime of the test's own.
pub(crate) fn run_on(runtime: &tokio::runtime::Runtime, test: impl Future<Output = ()>) {
    let start = Instant::now();
    runtime.block_on(async {
        tokio::time::timeout(HUNG, test).await.expect("the test does not hang");
    });
    note_time(start.elapsed());
}

/// Appends how long a test took to the file that a variable names: the harness, which
/// names its threads after their tests, does not tell.
fn note_time(time: Duration) {
    let Some(file) = std::env::var_os("OUTBOARD_TEST_TIMES") else { return };
    let thread = std::thread::current();
    let line = format!("{:.3} {}\n", time.as_secs_f64(), thread.name().unwrap_or("?"));
    let mut file = File::options().create(true).append(true).open(file).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// A runtime as a server has it.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: impl Display, mut condition: impl FnMut() -> bool) {
    found(what, || condition().then_some(())).await;
}

/// Waits until something is there, and gives it.
pub(crate) async fn found<T>(what: impl Display, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = find() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "did not happen within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

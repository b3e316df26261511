//! CPU time of all processes of one run. `bench/peers/cpu.py` does the same.

use std::fs;
use std::path::{Path, PathBuf};

use crate::peer::Outcome;

/// What every process of a run has in its environment.
const MARK: &str = "BENCH_RUN";

/// The processes with this run's mark: the server, its workers, and whatever else was started for
/// them. To find them takes a while, and is not to be measured.
pub(crate) fn processes() -> Outcome<Vec<PathBuf>> {
    let mark = std::env::var(MARK).map_err(|_| format!("{MARK} is not set: use script/bench"))?;
    let mark = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").map_err(|error| error.to_string())?.flatten();
    let ours = processes.filter(|process| {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    });
    Ok(ours.map(|process| process.path()).collect())
}

/// What they have used so far, in nanoseconds.
pub(crate) fn used_ns(processes: &[PathBuf]) -> u64 {
    processes.iter().map(|process| of_process(process)).sum()
}

/// That of its threads; what has ended meanwhile counts no more.
fn of_process(process: &Path) -> u64 {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let used = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(used).sum()
}

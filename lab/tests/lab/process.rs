use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::program::eventually;

/// A process that computes alone gains ten ticks of 10 ms in this time.
const WINDOW: Duration = Duration::from_millis(100);

/// One that computes gains so many even when the machine is busy.
const BUSY_TICKS: u64 = 3;

/// Processes, and the CPU time, in ticks, that each has used.
pub(crate) type Workers = BTreeMap<u32, u64>;

/// The worker processes of a server; not the servers that it has as processes.
pub(crate) fn workers(parent: u32) -> Workers {
    let mut workers = children(parent);
    workers.retain(|pid, _| !is_server(*pid));
    workers
}

/// All processes that a process has started.
pub(crate) fn children(parent: u32) -> Workers {
    let processes = fs::read_dir("/proc").expect("there is a /proc");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, ticks_if_child(pid, parent)?))).collect()
}

/// Waits until a worker of the server has computed for a while; on a machine
/// that is busy itself, that takes long, for workers stand back.
pub(crate) fn wait_until_busy(server: u32) {
    let earlier = workers(server);
    eventually("a worker computes", || {
        std::thread::sleep(WINDOW / 5);
        most_used(&earlier, &workers(server)) >= BUSY_TICKS
    });
}

/// Waits until no worker of the server computes, for a while.
pub(crate) fn wait_until_idle(server: u32) {
    eventually("all workers are idle", || (0..5).all(|_| ticks_in_window(server) < BUSY_TICKS));
}

/// The most CPU time that a worker uses in a window.
fn ticks_in_window(server: u32) -> u64 {
    let earlier = workers(server);
    std::thread::sleep(WINDOW);
    most_used(&earlier, &workers(server))
}

/// The most CPU time that a worker which was there all along has used.
fn most_used(earlier: &Workers, later: &Workers) -> u64 {
    let used = later.iter().filter_map(|(pid, ticks)| Some(ticks - earlier.get(pid)?));
    used.max().unwrap_or(0)
}

/// Whether a process is `before` or `threads`.
fn is_server(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).nth(1) == Some(b"apart")
}

fn ticks_if_child(pid: u32, parent: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state, parent, …, user and system time.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    (number(1)? == u64::from(parent)).then_some(number(11)? + number(12)?)
}

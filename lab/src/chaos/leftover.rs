//! What is left behind: processes that nobody reaped or that nobody owns, and
//! descriptors that nobody closed.

use std::fs;
use std::time::{Duration, Instant};

/// What the engine tells its workers, and they their children: whose they are.
const WORKER_VARIABLE: &str = "OUTBOARD_WORKER_OF";

/// How long what has ended may take to be cleared away.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(10);

/// Open descriptors of this process.
pub(super) fn descriptors() -> usize {
    // One of them is the directory itself, each time.
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Children of this process that have ended and were not reaped.
pub(super) fn zombies() -> usize {
    let own = std::process::id();
    let states = pids().filter_map(state_and_parent);
    states.filter(|(state, parent)| *parent == own && *state == 'Z').count()
}

/// Processes that live and were started by a worker of this process, or are one.
pub(super) fn workers_and_theirs() -> usize {
    let mark = format!("{WORKER_VARIABLE}={}", std::process::id());
    let marked = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    };
    pids().filter(marked).count()
}

/// Whether there is such a process, a child of ours that has not ended.
pub(super) fn is_live_child(pid: u32) -> bool {
    let own = std::process::id();
    state_and_parent(pid).is_some_and(|(state, parent)| parent == own && state != 'Z')
}

/// Waits until `count` is not above `allowed`, for a while; by how much it is.
pub(super) async fn excess(allowed: usize, mut count: impl FnMut() -> usize) -> usize {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let excess = count().saturating_sub(allowed);
        if excess == 0 || Instant::now() > deadline {
            return excess;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn eventually(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + 6 * PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "it does not happen");
            std::thread::sleep(INTERVAL);
        }
    }

    #[test]
    fn what_is_left_behind_is_seen() {
        let mark = (WORKER_VARIABLE, std::process::id().to_string());
        let mut child = Command::new("sleep").arg("600").env(mark.0, mark.1).spawn().unwrap();
        eventually(|| workers_and_theirs() == 1);
        assert!(is_live_child(child.id()) && zombies() == 0);
        child.kill().unwrap();
        eventually(|| zombies() == 1);
        assert!(!is_live_child(child.id()) && workers_and_theirs() == 0);
        child.wait().unwrap();
        assert_eq!(zombies(), 0);

        let before = descriptors();
        let file = fs::File::open("/proc/self/stat").unwrap();
        assert_eq!(descriptors(), before + 1);
        drop(file);
        assert_eq!(descriptors(), before);
    }
}

//! What a worker says of itself with each sign of life: memory, and counts for
//! Dask's dashboard.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use dask_protocol::message::Metrics;

use super::Stay;
use super::messages::unix_now;

/// The metrics of this moment.
pub(super) fn metrics(stay: &Stay) -> Metrics {
    let snapshot = stay.client.admin().snapshot();
    let times =
        snapshot.per_worker.iter().filter_map(|worker| Some((worker.pid, worker.cpu_time?)));
    let mut cpu = stay.cpu.lock().unwrap_or_else(PoisonError::into_inner);
    let cpu = cpu.percent(Instant::now(), times.collect());
    let workers: u64 = snapshot.per_worker.iter().filter_map(|worker| worker.memory_bytes).sum();
    let ((executing, ready, fetching), held, bytes) = stay.counts();
    let own = resident_bytes().unwrap_or(bytes as u64);
    Metrics {
        time: unix_now(),
        memory: own.saturating_add(workers),
        managed_bytes: bytes as u64,
        cpu,
        num_fds: open_files() as u64,
        executing: executing as u64,
        ready: ready as u64,
        waiting: fetching as u64,
        in_memory: held as u64,
    }
}

/// How busy the worker processes keep the cores, between two signs of life.
#[derive(Debug)]
pub(super) struct Cpu {
    since: Instant,
    /// What each process had used then.
    times: HashMap<u32, Duration>,
}

impl Cpu {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, times: HashMap::new() }
    }

    /// Of one core, in percent; a process that is gone counts no more.
    fn percent(&mut self, now: Instant, times: HashMap<u32, Duration>) -> f64 {
        let before = |pid| self.times.get(pid).copied().unwrap_or_default();
        let used: Duration = times.iter().map(|(pid, time)| time.saturating_sub(before(pid))).sum();
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64();
        *self = Self { since: now, times };
        if elapsed > 0.0 { 100.0 * used.as_secs_f64() / elapsed } else { 0.0 }
    }
}

/// How many files this process has open, where the system tells.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// This process's resident memory, where the system tells.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_what_was_used_since_the_last_time() {
        let start = Instant::now();
        let (second, ms) = (Duration::from_secs(1), Duration::from_millis);
        let mut cpu = Cpu::new(start);
        assert_eq!(cpu.percent(start + second, HashMap::from([(7, ms(500)), (8, second)])), 150.0);
        // One was replaced, the other had nothing to do.
        let times = HashMap::from([(8, second), (9, ms(250))]);
        assert_eq!(cpu.percent(start + 2 * second, times.clone()), 25.0);
        assert_eq!(cpu.percent(start + 2 * second, times), 0.0);
    }
}

//! What the servers use of the machine, CPU and memory, and what others use.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Shared;

/// A process as it is now.
struct Used {
    pid: u32,
    cpu_time: Duration,
    memory_bytes: u64,
}

/// Tells the CPU use since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Meter {
    before: Option<(Instant, BTreeMap<u32, Duration>, Duration)>,
    /// How many cores this machine has.
    pub(super) machine_cores: usize,
    /// How many of them programs used that are none of the demo's, when it was last asked.
    pub(super) others: f64,
    /// The resident memory of `before`, of `threads` and of all workers of
    /// `after`, in bytes, when it was last asked.
    pub(super) memory_bytes: [u64; 3],
}

impl Meter {
    /// How many cores `before`, `threads` and all workers of `after` used, on the
    /// average, since the last call; 0 at the first.
    pub(super) fn cores(&mut self, shared: &Shared) -> [f64; 3] {
        let now = Instant::now();
        let used = measure(shared);
        self.memory_bytes = used.each_ref().map(|all| all.iter().map(|it| it.memory_bytes).sum());
        let own = of_process(std::process::id());
        let all = used.iter().flatten().chain(&own);
        let times = all.clone().map(|it| (it.pid, it.cpu_time)).collect();
        let (machine_cores, busy) = read_machine().unwrap_or_default();
        self.machine_cores = machine_cores;
        let before = self.before.replace((now, times, busy));
        let Some((then, earlier, busy_before)) = before else { return [0.0; 3] };
        let wall = now.duration_since(then).as_secs_f64().max(1e-3);
        // A process that is new has used all its time since.
        let since = |it: &Used| {
            let earlier = earlier.get(&it.pid).copied().unwrap_or_default();
            it.cpu_time.saturating_sub(earlier).as_secs_f64()
        };
        let own: f64 = all.map(since).sum();
        let busy = busy.saturating_sub(busy_before).as_secs_f64();
        self.others = ((busy - own) / wall).max(0.0);
        used.each_ref().map(|all| all.iter().map(since).sum::<f64>() / wall)
    }
}

/// The processes that compute, by server.
fn measure(shared: &Shared) -> [Vec<Used>; 3] {
    let server = |at: usize| shared.pulses[at].pid().and_then(of_process).into_iter().collect();
    let workers =
        shared.places.client.admin().snapshot().per_worker.into_iter().filter_map(|worker| {
            let cpu_time = worker.cpu_time?;
            let memory_bytes = worker.memory_bytes.unwrap_or(0);
            Some(Used { pid: worker.pid, cpu_time, memory_bytes })
        });
    [server(0), server(1), workers.collect()]
}

/// How many cores the machine has, and how long all of them were busy since its start.
fn read_machine() -> Option<(usize, Duration)> {
    machine(&std::fs::read_to_string("/proc/stat").ok()?)
}

/// The same, as the text of /proc/stat has it (proc_stat(5)): user, nice and system time,
/// and interrupts.
fn machine(stat: &str) -> Option<(usize, Duration)> {
    let cores = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = all.split_ascii_whitespace().map_while(|it| it.parse().ok()).collect();
    let ticks: u64 = [0, 1, 2, 5, 6].iter().filter_map(|field| fields.get(*field)).sum();
    Some((cores.count(), duration(ticks)))
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// User and system time and resident memory, as /proc has them (proc_pid_stat(5),
/// fields 14, 15 and 24).
fn of_process(pid: u32) -> Option<Used> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in brackets, and may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let cpu_time = duration(number(14)? + number(15)?);
    let memory_bytes = number(24)? * rustix::param::page_size() as u64;
    Some(Used { pid, cpu_time, memory_bytes })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{machine, of_process};

    #[test]
    fn a_machine_is_busy_with_what_is_neither_idle_nor_waiting_for_a_disk() {
        let stat = "cpu  300 50 40 9000 800 6 4 7 20 0\ncpu0 150 25 20 4500 400 3 2 3 0 0\n\
                    cpu1 150 25 20 4500 400 3 2 4 0 0\nintr 5\nctxt 9\n";
        let ticks = rustix::param::clock_ticks_per_second();
        let busy = Duration::from_secs_f64(400.0 / ticks as f64);
        assert_eq!(machine(stat), Some((2, busy)));
        assert_eq!(machine("intr 5\n"), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let used = of_process(std::process::id()).expect("there is a /proc");
        assert!(used.memory_bytes > 1 << 20, "{} bytes", used.memory_bytes);
        let mut sum = 0_u64;
        while of_process(std::process::id()).expect("there is a /proc").cpu_time <= used.cpu_time {
            sum = (0..1_000_000).fold(sum, |sum, it| std::hint::black_box(sum ^ it));
        }
        assert!(of_process(u32::MAX).is_none());
    }
}

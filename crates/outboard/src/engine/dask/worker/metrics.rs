//! What a worker says of itself with each sign of life: memory, and counts for
//! Dask's dashboard.

use rmpv::Value;

use super::messages::unix_now;
use super::stay::Stay;
use crate::engine::dask::message::map;

/// What Dask takes a network for before it has measured one, in bytes a second.
const BANDWIDTH: u64 = 100_000_000;

/// The metrics of this moment.
pub(super) fn metrics(stay: &Stay) -> Value {
    let empty = || Value::Map(Vec::new());
    let snapshot = stay.client.snapshot();
    let workers: u64 = snapshot.per_worker.iter().filter_map(|worker| worker.memory_bytes).sum();
    let ((executing, ready, fetching), held, bytes) = stay.counts();
    let own = resident_bytes().unwrap_or(bytes as u64);
    let counts =
        [("executing", executing), ("ready", ready), ("waiting", fetching), ("memory", held)];
    let none = ["incoming", "outgoing"].into_iter().flat_map(|way| {
        ["bytes", "count", "count_total"].map(|what| (format!("{way}_{what}").into(), 0.into()))
    });
    let rates = || map([("read_bps", 0.0.into()), ("write_bps", 0.0.into())]);
    map([
        ("bandwidth", map([("total", BANDWIDTH.into()), ("workers", empty()), ("types", empty())])),
        ("digests_total_since_heartbeat", empty()),
        ("memory", own.saturating_add(workers).into()),
        ("spilled_bytes", map([("memory", 0.into()), ("disk", 0.into())])),
        ("managed_bytes", bytes.into()),
        // As many as are busy; Dask has no other figure for processes' processes.
        ("cpu", (100.0 * executing as f64).into()),
        ("time", unix_now().into()),
        ("num_fds", 0.into()),
        ("task_counts", map(counts.map(|(name, count)| (name, count.into())))),
        ("event_loop_interval", 0.02.into()),
        ("transfer", Value::Map(none.collect())),
        ("host_net_io", rates()),
        ("host_disk_io", rates()),
    ])
}

/// This process's resident memory, where the system tells.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

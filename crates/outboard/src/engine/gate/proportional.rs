//! What of memory is each worker's own part, as far as it was measured of late.
//!
//! To measure it, the system walks all pages of a process, which takes long for a large model.
//! So that is done seldom, on a thread of `offload`, and a snapshot has what was measured last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::snapshot::WorkerSnapshot;
use crate::offload;

/// How old a figure may be.
const OLD: Duration = Duration::from_secs(10);

/// How long ago the others must have been measured at least, where there is none of a worker.
const SOON: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Proportional(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_pid: HashMap<u32, Option<u64>>,
    measured: Option<Instant>,
    measuring: bool,
}

impl Known {
    /// Whether all are to be measured now.
    fn is_due(&self, workers: &[WorkerSnapshot], now: Instant) -> bool {
        let lacks = || workers.iter().any(|worker| !self.by_pid.contains_key(&worker.pid));
        let older = |at: Instant, than| now.saturating_duration_since(at) >= than;
        let old = |at| older(at, OLD) || older(at, SOON) && lacks();
        !self.measuring && self.measured.is_none_or(old)
    }
}

impl Proportional {
    /// Adds what is known, and has it measured if that is old.
    pub(super) fn fill(self: &Arc<Self>, workers: &mut [WorkerSnapshot]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.iter_mut() {
            worker.proportional_bytes = known.by_pid.get(&worker.pid).copied().flatten();
        }
        if !known.is_due(workers, Instant::now()) {
            return;
        }
        known.measuring = true;
        drop(known);
        let pids: Vec<_> = workers.iter().map(|worker| worker.pid).collect();
        let this = self.clone();
        offload::spawn(move || {
            let measure = |pid| (pid, WorkerSnapshot::proportional_bytes_of(pid));
            let by_pid = pids.into_iter().map(measure).collect();
            let measured = Some(Instant::now());
            let known = Known { by_pid, measured, measuring: false };
            *this.0.lock().unwrap_or_else(PoisonError::into_inner) = known;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_measured_when_it_is_old_or_a_worker_is_new() {
        let now = Instant::now();
        let worker = |pid| WorkerSnapshot::new(1, pid, 0, false);
        let of =
            |age| Known { by_pid: [(7, None)].into(), measured: Some(now - age), measuring: false };
        assert!(Known::default().is_due(&[], now));
        assert!(!of(OLD / 2).is_due(&[worker(7)], now), "not known, but measured");
        assert!(of(OLD).is_due(&[worker(7)], now));
        assert!(of(SOON).is_due(&[worker(7), worker(8)], now));
        assert!(!of(SOON / 2).is_due(&[worker(8)], now));
        assert!(!Known { measuring: true, ..of(OLD) }.is_due(&[worker(7)], now));
    }
}

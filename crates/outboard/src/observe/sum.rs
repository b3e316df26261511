//! Adds up what several pools of one client did. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observe::figures::{Figures, FunctionSnapshot, TenantSnapshot};
use crate::observe::roster::Restarts;
use crate::observe::snapshot::{LineSnapshot, PoolSnapshot, Snapshot};

impl Snapshot {
    /// All pools together, and each.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub(crate) fn sum(pools: Vec<PoolSnapshot>) -> Self {
        let mut each = pools.iter().map(|pool| &pool.snapshot);
        let mut sum = each.next().expect("a client has a pool").clone();
        each.for_each(|one| sum.add(one));
        sum.crashes.sort_by_key(|crash| crash.at);
        sum.panics.sort_by_key(|panic| panic.at);
        // The highest priority first, as in each of them.
        sum.queue.sort_by_key(|line| std::cmp::Reverse(line.priority));
        sum.per_pool = pools;
        sum
    }

    fn add(&mut self, other: &Self) {
        self.uptime = self.uptime.max(other.uptime);
        self.open &= other.open;
        self.workers += other.workers;
        self.queued += other.queued;
        self.queue_limit = self.queue_limit.saturating_add(other.queue_limit);
        self.predicted_wait = self.predicted_wait.max(other.predicted_wait);
        self.running += other.running;
        self.submitted += other.submitted;
        self.coalesced += other.coalesced;
        self.stream_items += other.stream_items;
        self.stream_bytes += other.stream_bytes;
        self.done += other.done;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.timed_out += other.timed_out;
        self.refused += other.refused;
        self.restarts.add(other.restarts);
        self.per_worker.extend(other.per_worker.iter().cloned());
        self.crashes.extend(other.crashes.iter().cloned());
        self.panics.extend(other.panics.iter().cloned());
        add_rows(&mut self.queue, &other.queue, |row| (row.priority, row.tenant.clone()));
        add_rows(&mut self.per_function, &other.per_function, |row| row.function);
        add_rows(&mut self.per_tenant, &other.per_tenant, |row| row.tenant.clone());
    }
}

/// A row of a snapshot, of which another pool may have one of the same key.
trait Row: Clone {
    fn add(&mut self, other: &Self);
}

/// Adds the rows of another pool: to that of the same key, or at the end.
fn add_rows<R: Row, K: Ord>(rows: &mut Vec<R>, others: &[R], key: impl Fn(&R) -> K) {
    let places: BTreeMap<K, usize> = rows.iter().map(&key).zip(0..).collect();
    for other in others {
        match places.get(&key(other)) {
            Some(at) => rows[*at].add(other),
            None => rows.push(other.clone()),
        }
    }
}

impl Row for LineSnapshot {
    fn add(&mut self, other: &Self) {
        self.queued += other.queued;
        self.oldest = self.oldest.max(other.oldest);
    }
}

impl Row for FunctionSnapshot {
    fn add(&mut self, other: &Self) {
        self.figures.add(&other.figures);
        self.queue_times.add(&other.queue_times);
        self.run_times.add(&other.run_times);
        if let Some(other) = &other.batches {
            self.batches.get_or_insert_default().add(other);
        }
    }
}

impl Row for TenantSnapshot {
    fn add(&mut self, other: &Self) {
        self.queued += other.queued;
        self.figures.add(&other.figures);
    }
}

impl Restarts {
    fn add(&mut self, other: Self) {
        self.killed += other.killed;
        self.lost += other.lost;
        self.recycled += other.recycled;
        self.dismissed += other.dismissed;
    }
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.submitted += other.submitted;
        self.done += other.done;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.lost += other.lost;
        self.cancelled += other.cancelled;
        self.timed_out += other.timed_out;
        self.refused += other.refused;
        self.measured += other.measured;
        let longest = |one: &mut Duration, other: Duration| *one = (*one).max(other);
        self.queue_time = self.queue_time.saturating_add(other.queue_time);
        longest(&mut self.max_queue_time, other.max_queue_time);
        self.run_time = self.run_time.saturating_add(other.run_time);
        longest(&mut self.max_run_time, other.max_run_time);
        self.cpu_time = self.cpu_time.saturating_add(other.cpu_time);
        longest(&mut self.max_cpu_time, other.max_cpu_time);
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_key_are_added_and_others_kept() {
        let line = |priority, tenant: &str, queued, oldest| LineSnapshot {
            priority,
            tenant: Some(tenant.to_owned()),
            queued,
            oldest: Duration::from_secs(oldest),
        };
        let mut rows = vec![line(1, "a", 2, 9), line(0, "a", 1, 1)];
        add_rows(&mut rows, &[line(0, "a", 3, 4), line(0, "b", 5, 2)], |row| {
            (row.priority, row.tenant.clone())
        });
        assert_eq!(rows, [line(1, "a", 2, 9), line(0, "a", 4, 4), line(0, "b", 5, 2)]);
    }

    #[test]
    fn sums_are_added_and_the_longest_stays() {
        let second = Duration::from_secs(1);
        let one = Figures { done: 2, run_time: second, max_run_time: second, ..Figures::default() };
        let mut sum = Figures { done: 1, run_time: 3 * second, ..one.clone() };
        sum.max_run_time = 2 * second;
        sum.add(&one);
        assert_eq!((sum.done, sum.run_time, sum.max_run_time), (3, 4 * second, 2 * second));
    }
}

//! Pure: how many tasks a scheduler may hold at once.
//!
//! Enough to keep its workers busy while answers and new tasks are on their
//! way, and no more: what waits here is shared fairly between tenants and can
//! be cancelled for nothing, what waits there is neither. The time from sending
//! a task to its end tells: while it is short, the window was too narrow if it
//! was full, and each end widens it by one, so that it doubles in one round trip
//! (as TCP's slow start, RFC 5681); where it is long, tasks queue there, and each
//! end narrows it by one.

use std::time::Duration;

/// What a scheduler holds at first.
const FIRST: usize = 256;

/// The most that one scheduler holds.
const MOST: usize = 4096;

/// The least, whatever the cluster: graphs of one task are slow.
const LEAST: usize = 8;

/// The most threads that count: a window is memory here, whatever a cluster says.
const THREADS: usize = 1 << 16;

/// Below this a task came back quickly, above that one slowly.
const QUICK: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_millis(400);

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    size: usize,
    threads: usize,
    limit: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: FIRST, threads: 0, limit: usize::MAX }
    }
}

impl Window {
    /// One that never holds more than that.
    pub(crate) fn limited(limit: usize) -> Self {
        Self { size: FIRST.min(limit), limit, ..Self::default() }
    }

    /// The cluster has so many threads from now on.
    pub(crate) fn threads(&mut self, threads: usize) {
        self.threads = threads.min(THREADS);
        self.size = self.size.clamp(self.least(), self.most());
    }

    /// Two tasks for each thread: one that runs, and the next.
    fn least(&self) -> usize {
        (2 * self.threads).max(LEAST).min(self.limit)
    }

    fn most(&self) -> usize {
        MOST.max(self.least()).min(self.limit)
    }

    /// A task has ended so long after it was sent, when so many were there.
    pub(crate) fn ended(&mut self, after: Duration, held: usize) {
        if after < QUICK && held * 4 >= self.size * 3 {
            self.size = (self.size + 1).min(self.most());
        } else if after > SLOW {
            self.size = (self.size - 1).max(self.least());
        }
    }

    /// How many tasks it may hold.
    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_tasks_widen_a_window_that_is_full() {
        let mut window = Window::default();
        (0..FIRST).for_each(|_| window.ended(Duration::from_millis(5), FIRST));
        assert!(window.size() > FIRST * 5 / 4, "{window:?}");
        (0..MOST * 2).for_each(|_| window.ended(Duration::from_millis(5), MOST));
        assert_eq!(window.size(), MOST);
    }

    #[test]
    fn quick_tasks_leave_a_window_that_is_not_full() {
        let mut window = Window::default();
        (0..1000).for_each(|_| window.ended(Duration::from_millis(5), 1));
        assert_eq!(window.size(), FIRST);
    }

    #[test]
    fn a_limit_is_never_exceeded() {
        let mut window = Window::limited(2);
        assert_eq!(window.size(), 2);
        window.threads(10);
        (0..1000).for_each(|_| window.ended(Duration::from_millis(5), 2));
        assert_eq!(window.size(), 2);
    }

    #[test]
    fn slow_tasks_narrow_it_to_two_for_each_thread() {
        let mut window = Window::default();
        window.threads(10);
        (0..1000).for_each(|_| window.ended(Duration::from_secs(1), 20));
        assert_eq!(window.size(), 20);
        window.threads(5000);
        assert_eq!(window.size(), 10_000);
        window.threads(usize::MAX);
        assert_eq!(window.size(), 2 * THREADS);
    }
}

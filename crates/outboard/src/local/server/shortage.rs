//! Whether a worker died for want of memory: pure.
//!
//! Three signs are known. The runtime says that an allocation failed, and aborts; the
//! worker's own control group counts a kill. Or an unexplained SIGKILL comes with a kill
//! that the server's control group has counted.

use std::time::{Duration, Instant};

use crate::error::{Cause, Shortage};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// What a line of stderr says about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// An allocation failed; of so many bytes, where that is said.
    Failed {
        bytes: Option<u64>,
    },
    /// What a runtime writes after that: a backtrace, a note.
    Trace,
    Other,
}

impl Line {
    pub(super) fn of(line: &str) -> Self {
        let failed = line.strip_prefix("memory allocation of ");
        let failed = failed.and_then(|rest| rest.strip_suffix(" bytes failed"));
        if let Some(bytes) = failed.and_then(|bytes| bytes.parse().ok()) {
            return Self::Failed { bytes: Some(bytes) };
        }
        if line.starts_with("terminate called after throwing an instance of 'std::bad_alloc'") {
            return Self::Failed { bytes: None };
        }
        let trace = ["stack backtrace:", "note: ", "skipping backtrace"];
        let trace = line.starts_with(' ') || trace.iter().any(|start| line.starts_with(start));
        if trace { Self::Trace } else { Self::Other }
    }
}

/// What stderr ended with: the first of the failed allocations that nothing else
/// followed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastAllocation {
    failed: Option<(u64, Option<u64>)>,
}

impl LastAllocation {
    /// A line came, which begins at a place in all that came. What begins before `since`
    /// is no longer of interest.
    pub(super) fn take(&mut self, begins: u64, since: u64, line: &str) {
        self.failed = self.failed.filter(|(begins, _)| *begins >= since);
        match Line::of(line) {
            // The one that failed while the first was told of says less.
            Line::Failed { bytes } => drop(self.failed.get_or_insert((begins, bytes))),
            Line::Trace => {}
            Line::Other => self.failed = None,
        }
    }

    /// The allocation that failed since that place.
    pub(super) fn since(self, since: u64) -> Option<Shortage> {
        let (_, bytes) = self.failed.filter(|(begins, _)| *begins >= since)?;
        Some(Shortage::Allocation { bytes })
    }
}

/// The shortage that ended a worker, if one did. `said` is what its runtime
/// wrote last, `limit` whether its own control group counts a kill; `system` asks
/// whether the server's does, and is asked only if nothing else explains the end.
pub(super) fn shortage(
    cause: Option<Cause>,
    said: Option<Shortage>,
    limit: bool,
    system: impl FnOnce() -> bool,
) -> Option<Shortage> {
    match cause {
        Some(Cause::Signal(SIGABRT)) => said,
        Some(Cause::Signal(SIGKILL)) if limit => Some(Shortage::Limit),
        Some(Cause::Signal(SIGKILL)) if system() => Some(Shortage::System),
        _ => None,
    }
}

/// How long after the system has killed a process of the server's control group
/// an unexplained end is put down to that.
const FRESH: Duration = Duration::from_secs(2);

/// What the server's control group counts: processes that the system killed for
/// want of memory, ours or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    seen: Option<u64>,
    /// Kills that no worker's end was put down to, and when they were noticed.
    unclaimed: u64,
    noticed: Option<Instant>,
}

impl Kills {
    /// The counter stands there now.
    pub(super) fn look(&mut self, now: Instant, count: Option<u64>) {
        let Some(count) = count else { return };
        let new = count.saturating_sub(self.seen.unwrap_or(count));
        self.seen = Some(count);
        if new > 0 {
            self.unclaimed += new;
            self.noticed = Some(now);
        }
        if self.noticed.is_none_or(|at| now.saturating_duration_since(at) > FRESH) {
            self.unclaimed = 0;
        }
    }

    /// Whether one of them, of late, is the end of a worker that nothing else
    /// explains; each is of one.
    pub(super) fn claim(&mut self, now: Instant, count: Option<u64>) -> bool {
        self.look(now, count);
        let any = self.unclaimed > 0;
        self.unclaimed = self.unclaimed.saturating_sub(1);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(lines: &[&str]) -> Option<Shortage> {
        let mut last = LastAllocation::default();
        lines.iter().for_each(|line| last.take(7, 0, line));
        last.since(7)
    }

    #[test]
    fn the_first_failed_allocation_counts_if_only_its_trace_follows() {
        let trace = [
            "words before",
            "memory allocation of 10485760 bytes failed",
            "stack backtrace:",
            "   0: std::alloc::rust_oom",
            "             at /rustc/library/std/src/alloc.rs:424:5",
            "memory allocation of 5795635 bytes failed",
            "skipping backtrace printing to avoid potential recursion",
            "note: run with `RUST_BACKTRACE=1`",
        ];
        assert_eq!(last(&trace), Some(Shortage::Allocation { bytes: Some(10_485_760) }));
        let thrown = [
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "  what():  std::bad_alloc",
        ];
        assert_eq!(last(&thrown), Some(Shortage::Allocation { bytes: None }));
    }

    #[test]
    fn a_program_that_went_on_did_not_die_of_it() {
        let survived = ["memory allocation of 5 bytes failed", "and yet it goes on"];
        assert_eq!(last(&survived), None);
        for text in ["memory allocation of many bytes failed", "my memory allocation failed", ""] {
            assert_eq!(last(&[text]), None, "{text}");
        }
    }

    #[test]
    fn what_an_earlier_task_said_does_not_count() {
        let mut last = LastAllocation::default();
        last.take(7, 0, "memory allocation of 5 bytes failed");
        assert_eq!(last.since(8), None);
    }

    #[test]
    fn a_shortage_needs_the_end_that_it_brings() {
        let said = Some(Shortage::Allocation { bytes: None });
        let signal = |number| Some(Cause::Signal(number));
        let never = || panic!("not asked");
        assert_eq!(shortage(signal(SIGABRT), said, true, never), said);
        assert_eq!(shortage(signal(SIGABRT), None, true, never), None);
        assert_eq!(shortage(Some(Cause::Exited(1)), said, true, never), None);
        assert_eq!(shortage(signal(11), said, false, never), None);
        assert_eq!(shortage(signal(SIGKILL), None, true, never), Some(Shortage::Limit));
        assert_eq!(shortage(signal(SIGKILL), None, false, || true), Some(Shortage::System));
        assert_eq!(shortage(signal(SIGKILL), said, false, || false), None);
        assert_eq!(shortage(None, said, true, never), None);
    }

    #[test]
    fn each_kill_of_the_system_is_the_end_of_one_worker() {
        let (mut kills, now) = (Kills::default(), Instant::now());
        kills.look(now, Some(5));
        assert!(!kills.claim(now, Some(5)), "those before the start are others'");
        assert!(kills.claim(now, Some(7)));
        assert!(kills.claim(now, Some(7)));
        assert!(!kills.claim(now, Some(7)));
        assert!(!kills.claim(now, None), "where nothing is counted, nothing is known");
    }

    #[test]
    fn a_kill_of_long_ago_is_not_put_down_to_a_worker_of_today() {
        let (mut kills, now) = (Kills::default(), Instant::now());
        kills.look(now, Some(0));
        kills.look(now, Some(1));
        let later = now + FRESH + Duration::from_millis(1);
        assert!(!kills.claim(later, Some(1)));
        kills.look(later, Some(2));
        assert!(kills.claim(later + FRESH, Some(2)));
    }
}

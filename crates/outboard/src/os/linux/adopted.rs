//! Processes that outlived a worker, and that its server adopts: by a mark.
//!
//! The mark is a limit that each worker gives itself: RLIMIT_LOCKS, which Linux has not used
//! since 2.4.25. Children inherit it, an exec keeps it, and it can be read of a process that
//! has ended.

use std::os::fd::AsFd;

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, pidfd_open, setrlimit,
    waitid,
};

/// How many servers may be below one another, each in a worker of the one above.
const DEEPEST: u64 = 255;

/// Marks this process, which is a worker, and all that it will start. Where the limit is
/// lower already, nothing is marked, and nothing outside of its group is reaped.
pub(crate) fn mark() {
    let before = getrlimit(Resource::Locks);
    let current = Some(of_depth(depth(before.current) + 1));
    let _ = setrlimit(Resource::Locks, Rlimit { current, ..before });
}

/// Reaps what has ended of the children that this process has adopted, but no worker of its
/// own.
pub(crate) fn reap(workers: &[u32]) {
    let own = depth(getrlimit(Resource::Locks).current);
    for child in children().filter(|child| !workers.contains(child)) {
        reap_marked(child, own);
    }
}

/// Reaps that child if it has ended, and comes from a worker of a server at this depth. The
/// number may be another process's by now; the descriptor is of one.
fn reap_marked(child: u32, own: u64) -> Option<()> {
    const ENDED: WaitIdOptions = WaitIdOptions::EXITED.union(WaitIdOptions::NOHANG);
    let process = pidfd_open(Pid::from_raw(child as i32)?, PidfdFlags::empty()).ok()?;
    let by_descriptor = || WaitId::PidFd(process.as_fd());
    waitid(by_descriptor(), ENDED | WaitIdOptions::NOWAIT).ok()??;
    if depth(limit_of(child)) > own {
        let _ = waitid(by_descriptor(), ENDED);
    }
    Some(())
}

/// This process's children, of all its threads.
fn children() -> impl Iterator<Item = u32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.flat_map(|thread| {
        let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
    })
}

/// The limit that is the mark, of a process that may have ended.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max file locks"))?;
    limit.split_whitespace().next()?.parse().ok()
}

/// How many workers a process is below, by its limit.
fn depth(limit: Option<u64>) -> u64 {
    let below = limit.and_then(|limit| of_depth(0).checked_sub(limit));
    below.filter(|depth| *depth <= DEEPEST).unwrap_or(0)
}

/// The limit at that depth. Each version of this library has its own, and its own list of
/// workers.
fn of_depth(depth: u64) -> u64 {
    let version = env!("CARGO_PKG_VERSION").bytes();
    let version = version.fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
    (1 << 48 | u64::from(version) << 8 | DEEPEST) - depth.min(DEEPEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_a_worker_is_deep() {
        for limit in [None, Some(0), Some(64), Some(u64::MAX), Some(of_depth(0) + 1)] {
            assert_eq!(depth(limit), 0, "{limit:?}");
        }
        for deep in 0..=DEEPEST {
            assert_eq!(depth(Some(of_depth(deep))), deep);
        }
        assert_eq!(depth(Some(of_depth(DEEPEST) - 1)), 0);
        assert_eq!(of_depth(DEEPEST + 1), of_depth(DEEPEST), "no deeper than that");
    }

    #[test]
    fn the_limit_of_a_process_is_read() {
        assert_eq!(limit_of(std::process::id()), getrlimit(Resource::Locks).current);
    }
}

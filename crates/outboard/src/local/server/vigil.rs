//! What is looked at, four times a second, of a worker that is busy.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::life::Reason;
use super::link::Link;
use crate::error::Cause;
use crate::task::system;

/// How long a signal may hold a worker, or unwanted work keep it, before it is
/// lost.
const STOPPED: Duration = Duration::from_secs(1);

/// A worker that is looked after, and what was seen of it.
#[derive(Debug)]
pub(super) struct Vigil {
    pub(super) link: Arc<Link>,
    seen: RefCell<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    stopped_since: Option<Instant>,
    /// Which task it has owed the answer to since when, that nobody wants.
    stuck: Option<(u64, Instant)>,
    /// Which task it has owed a step to since when, while it sleeps.
    mute: Option<(u64, Instant)>,
    /// The most resident memory.
    most_bytes: u64,
}

impl Vigil {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, seen: RefCell::default() }
    }

    /// Notices a stop by a signal, work that nobody wants and that does not end,
    /// a worker that sleeps instead, and how much memory there is.
    pub(super) fn look(&self, now: Instant) {
        let seen = &mut *self.seen.borrow_mut();
        if lasts(&mut seen.stuck, self.link.stuck_at(), now) {
            self.link.kill(Reason::Blame(Cause::Stuck));
        }
        if lasts(&mut seen.mute, self.link.mute_at(), now) {
            self.link.kill(Reason::Blame(Cause::Protocol));
        }
        if let Some(now) = system::memory(&format!("/proc/{}/statm", self.link.pid)) {
            seen.most_bytes = seen.most_bytes.max(now.resident_bytes);
        }
        if !self.is_stopped() {
            seen.stopped_since = None;
            return;
        }
        let since = *seen.stopped_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= STOPPED {
            self.link.kill(Reason::Blame(Cause::Stopped));
        }
    }

    /// Whether a signal holds it; a debugger does not count.
    fn is_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::PidFd(self.link.pidfd()), options), Ok(Some(_)))
    }

    /// The most resident memory that was seen.
    pub(super) fn most_bytes(&self) -> u64 {
        self.seen.borrow().most_bytes
    }
}

/// Whether the same task has been seen at each look for as long as a stopped
/// worker is waited for.
fn lasts(seen: &mut Option<(u64, Instant)>, seq: Option<u64>, now: Instant) -> bool {
    *seen = seq.map(|seq| match *seen {
        Some((before, since)) if before == seq => (seq, since),
        _ => (seq, now),
    });
    seen.is_some_and(|(_, since)| now.saturating_duration_since(since) >= STOPPED)
}

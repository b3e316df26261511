//! What is looked at, four times a second, of a worker that is busy.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Link;
use super::life::{Life, Reason, Stage};
use crate::error::Cause;
use crate::local::shm::arena::{Half, WARM};
use crate::local::shm::page::Word;
use crate::os::{process, usage};

/// How long a signal may hold a worker, or unwanted work keep it, before it is
/// lost.
const STOPPED: Duration = Duration::from_secs(1);

/// A worker that is looked after, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Vigil {
    link: Arc<Link>,
    seen: RefCell<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    stopped_since: Option<Instant>,
    /// Which task it has owed the answer to since when, that nobody wants.
    stuck: Option<(u64, Instant)>,
    /// Which task it has owed a step to since when, while it sleeps.
    mute: Option<(u64, Instant)>,
    /// How often its reader had looked.
    looks: u64,
    /// Since when it is killed and has not ended; it was said if there is none.
    killed: Option<Option<Instant>>,
    /// The most resident memory.
    most_bytes: u64,
    idle: Option<Idle>,
}

/// A worker with nothing to do, and what it does nevertheless.
#[derive(Clone, Copy, Debug)]
struct Idle {
    /// The last task that it had.
    last_seq: u64,
    since: Instant,
    /// CPU time that it has wanted, and when that was read.
    cpu_ns: u64,
    read: Instant,
}

/// How an idle worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It is busy, or has not been idle for long enough to say.
    Unknown,
    Quiet,
    /// A thread of it computes.
    Computing,
}

/// How long an idle worker is looked at after its last task. So much of that has to pass
/// before its CPU time says something.
const RESTING: Duration = Duration::from_secs(1);
const READ_AFTER: Duration = Duration::from_millis(450);

/// An idle worker computes that wants one of so many parts of a core.
const PART_OF_A_CORE: u64 = 2;

impl Vigil {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, seen: RefCell::default() }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.link.is_busy()
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Notices a stop by a signal, work that nobody wants and that does not end,
    /// a worker that sleeps instead, and how much memory there is. Whether it was killed
    /// before, and lives.
    pub(crate) fn look(&self, now: Instant) -> bool {
        let late = matches!(self.link.life(), Life::Killed(_));
        if late {
            self.see_it_end(now);
        }
        self.judge(now);
        late
    }

    fn judge(&self, now: Instant) {
        let seen = &mut *self.seen.borrow_mut();
        // What is not read yet may be the answer: the client's runtime may be blocked.
        let looks = self.link.heard.looks.load(Relaxed);
        let read = std::mem::replace(&mut seen.looks, looks) != looks || !self.link.has_unread();
        if lasts(&mut seen.stuck, self.link.stuck_at().filter(|_| read), now) {
            self.link.end(Reason::Blame(Cause::Stuck));
        }
        if lasts(&mut seen.mute, self.link.mute_at(), now) {
            self.link.end(Reason::Blame(Cause::Protocol));
        }
        if let Some(now) = usage::memory(self.link.pid) {
            seen.most_bytes = seen.most_bytes.max(now.resident_bytes);
        }
        if !self.link.handle.is_stopped() {
            seen.stopped_since = None;
            return;
        }
        let since = *seen.stopped_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= STOPPED {
            self.link.end(Reason::Blame(Cause::Stopped));
        }
    }

    /// Says, once, of a worker that is killed that it does not end.
    fn see_it_end(&self, now: Instant) {
        let since = *self.seen.borrow_mut().killed.get_or_insert(Some(now));
        if since.is_some_and(|since| now.saturating_duration_since(since) >= STOPPED) {
            self.say_it_is_left();
        }
    }

    /// Says that it does not end although it was killed, unless that was said.
    pub(crate) fn say_it_is_left(&self) {
        if self.seen.borrow_mut().killed.replace(None) != Some(None) {
            self.link.say_it_is_left();
        }
    }

    /// What an idle worker does; to be asked again while that is not known.
    pub(crate) fn rest(&self, now: Instant) -> Rest {
        let idle = &mut self.seen.borrow_mut().idle;
        let link = &self.link;
        let (last_seq, busy) = {
            let outgoing = &link.locked().outgoing;
            (outgoing.last_seq, !outgoing.sent.is_empty())
        };
        // Before its first task nothing was left behind.
        let idles = !busy && link.is_ready() && link.life() == Life::Up;
        let Some(cpu_ns) = idles.then(|| process::wanted_cpu_ns(link.pid)).flatten() else {
            *idle = None;
            return if busy { Rest::Unknown } else { Rest::Quiet };
        };
        let fresh = Idle { last_seq, since: now, cpu_ns, read: now };
        let seen = idle.get_or_insert(fresh);
        if seen.last_seq != last_seq {
            *seen = fresh;
        }
        let passed = now.saturating_duration_since(seen.read);
        if passed >= READ_AFTER {
            let used_ns = cpu_ns.saturating_sub(seen.cpu_ns);
            (seen.cpu_ns, seen.read) = (cpu_ns, now);
            if used_ns * PART_OF_A_CORE >= passed.as_nanos() as u64 {
                return Rest::Computing;
            }
        }
        match now.saturating_duration_since(seen.since) >= RESTING {
            true => Rest::Quiet,
            false => Rest::Unknown,
        }
    }

    /// Gives the pages of its arena back to the system, if it has had nothing to do [for a
    /// while](WARM). Gives whether it is to be asked again.
    pub(crate) fn give_back(&self, now: Instant) -> bool {
        loop {
            // The mutex is held for one step at a time: others wait for it.
            let mut locked = self.link.locked();
            let outgoing = &mut locked.outgoing;
            let used = (outgoing.arguments.idle_used(), outgoing.results_used);
            let (idle, last) = (outgoing.sent.is_empty(), outgoing.last_seq);
            let quiet = outgoing.quiet.filter(|(since, _)| idle && *since == last);
            let (_, since) = *outgoing.quiet.insert(quiet.unwrap_or((last, now)));
            if !idle || (used != (0, 0) && now < since + WARM) {
                return true;
            }
            match used {
                (0, 0) => return false,
                (0, used) => outgoing.results_used = self.link.arena.give_back(Half::Results, used),
                (used, _) => {
                    let left = self.link.arena.give_back(Half::Arguments, used);
                    outgoing.arguments.gave_back(left);
                }
            }
        }
    }

    /// The most resident memory that was seen.
    pub(super) fn most_bytes(&self) -> u64 {
        self.seen.borrow().most_bytes
    }
}

impl Link {
    /// The number of the task whose answer is due next, if all of this worker's
    /// tasks are cancelled. `None` while that task was only asked to stop, for
    /// it may go on.
    fn stuck_at(&self) -> Option<u64> {
        let locked = self.locked();
        let outgoing = &locked.outgoing;
        let unwanted = outgoing.sent.iter().all(|sent| sent.unwanted);
        let first = outgoing.sent.front().filter(|_| unwanted)?.seq;
        // Of a batch, one that was taken back may be the first.
        (!outgoing.is_running(&self.page, &[Word::Stopping])).then_some(first)
    }

    /// The number of the task that it owes the next step to, if its thread sleeps all
    /// the same, with nothing to be read on either side and no task running: it
    /// takes no further task, or a task wrote to its page. So it is if a task ended that
    /// thread and not its process. Has the reader look for an answer whose bell was lost.
    fn mute_at(&self) -> Option<u64> {
        let (first, thread, runs) = {
            let locked = self.locked();
            let outgoing = &locked.outgoing;
            let first = outgoing.sent.front().filter(|_| outgoing.outbox.is_idle())?.seq;
            let Stage::Serving { thread } = self.stage() else { return None };
            let runs = outgoing.is_running(&self.page, &[Word::Running, Word::Stopping]);
            let lives = locked.life == Life::Up || locked.life == Life::Leaving;
            lives.then_some((first, thread, runs))?
        };
        // Files are read without the mutex: the gate waits for that.
        let asleep = !runs && process::is_asleep(self.pid, thread);
        let mute = asleep || process::is_over(self.pid, thread);
        if mute {
            self.heard.poked.notify_one();
        }
        (mute && !self.has_unread()).then_some(first)
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

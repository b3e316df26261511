//! The last events, in order and bounded, for whoever reads them at their own
//! pace.
//!
//! Pure, and under the gate's mutex. Events are appended to a chunk; full chunks
//! are shared, so that a reader takes many events under the mutex without
//! copying them. There is no record where nobody asked for one: then each place
//! where something happens costs one branch.
//!
//! A flood of short tasks makes more events than anyone can look at, and writing them down
//! would cost more than the tasks can spare. So a record that is only there for watches
//! writes [`PER_SECOND`] of them at most, on average, and counts the others. They are a
//! gap, of which every reader is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::ids::TaskId;
use crate::observe::event::{Event, EventKind, RunUsage};
use crate::task::outcome::Usage;
use crate::task::registry::Function;

/// How many events are kept for a watch that is slow.
pub(crate) const KEPT: usize = 32_768;

/// How many events are shared at once; fewer are copied.
const CHUNK: usize = 512;

/// The most events of tasks in a second, on average, while there are only watches.
pub(crate) const PER_SECOND: u64 = 100_000;

/// What each of them takes from the credit, which grows with time.
const COST_NS: u64 = 1_000_000_000 / PER_SECOND;

/// How much credit there must be again after it ran out: gaps are few and large.
const RESUMED_NS: u64 = 1_024 * COST_NS;

/// An event as it is kept: what each task has is packed, for it is written while others
/// wait for the mutex. The rest is seldom.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    Taken {
        task: TaskId,
        function: &'static Function,
        tenant: Option<Arc<str>>,
        priority: i32,
        waiting: u32,
        argument_bytes: u32,
    },
    Ahead {
        task: TaskId,
        worker: u32,
        behind: u32,
    },
    Started {
        task: TaskId,
        function: &'static Function,
        attempt: u32,
        worker: u32,
    },
    Ended {
        task: TaskId,
        function: &'static Function,
        attempt: u32,
        /// 0 if it did not run to its end.
        worker: u32,
        queue_ns: u64,
        run_ns: u64,
        /// Only of runs of a millisecond or more, and of batches.
        measured: Option<Box<Usage>>,
        error: Option<Error>,
    },
    Other(Box<EventKind>),
    /// So many were not written down.
    Gap(u64),
}

#[derive(Clone, Debug)]
struct Noted {
    at_ns: u64,
    fact: Fact,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Record {
    start: Instant,
    now_ns: u64,
    /// Full chunks, the oldest first.
    chunks: VecDeque<Arc<Vec<Noted>>>,
    current: Vec<Noted>,
    /// How many events there were before those in `chunks` and `current`.
    before: u64,
    /// How many chunks are kept.
    most: usize,
    /// Whether everything is written down.
    complete: bool,
    credit_ns: u64,
    /// The credit has run out.
    dry: bool,
    /// The last of `current` is a gap that nobody has read.
    gaping: bool,
    /// Someone waits for an event after that number.
    awaited: Option<u64>,
}

/// Some of the last events, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excerpt {
    chunks: Vec<Arc<Vec<Noted>>>,
    /// How many events at the front of the first chunk do not belong to it.
    skip: usize,
    rest: Vec<Noted>,
    /// How many events of those asked for were gone.
    dropped: u64,
    /// The number of the event after it.
    pub(crate) end: u64,
    /// The pool that it tells of.
    pool: Arc<str>,
}

impl Record {
    /// A record whose clock begins at `start`; it keeps one chunk.
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            now_ns: 0,
            chunks: VecDeque::new(),
            current: Vec::new(),
            before: 0,
            most: 1,
            complete: false,
            credit_ns: 0,
            dry: false,
            gaping: false,
            awaited: None,
        }
    }

    /// Keeps so many events from now on, or up to two chunks more.
    /// `complete` is whether all are written down.
    pub(crate) fn keep(&mut self, events: usize, complete: bool) {
        self.most = events.div_ceil(CHUNK);
        self.complete = complete;
        self.credit_ns = self.most_credit_ns();
    }

    fn most_credit_ns(&self) -> u64 {
        (self.most * CHUNK) as u64 * COST_NS
    }

    /// What is appended next happens now. Whoever comes late to the mutex has an
    /// older time, but time does not go back.
    pub(crate) fn set_now(&mut self, now: Instant) {
        let now_ns = now.saturating_duration_since(self.start).as_nanos() as u64;
        let passed_ns = now_ns.saturating_sub(self.now_ns);
        self.now_ns += passed_ns;
        self.credit_ns = (self.credit_ns + passed_ns).min(self.most_credit_ns());
    }

    /// How long ago that was, in nanoseconds.
    pub(crate) fn ns_since(&self, at: Instant) -> u64 {
        let at_ns = at.saturating_duration_since(self.start).as_nanos() as u64;
        self.now_ns.saturating_sub(at_ns)
    }

    /// Appends what each task has, unless there was too much of late.
    pub(crate) fn push_often(&mut self, fact: impl FnOnce() -> Fact) {
        let needed_ns = if self.dry { RESUMED_NS } else { COST_NS };
        self.dry = !self.complete && self.credit_ns < needed_ns;
        if self.dry {
            return self.skip();
        }
        self.credit_ns = self.credit_ns.saturating_sub(COST_NS);
        self.push(fact());
    }

    /// Whether what each task has is skipped for now; then it is counted.
    pub(crate) fn skips(&mut self) -> bool {
        if self.dry {
            self.skip();
        }
        self.dry
    }

    fn skip(&mut self) {
        match self.current.last_mut() {
            Some(Noted { fact: Fact::Gap(count), .. }) if self.gaping => *count += 1,
            _ => {
                self.push(Fact::Gap(1));
                self.gaping = true;
            }
        }
    }

    pub(crate) fn push(&mut self, fact: Fact) {
        self.gaping = false;
        if self.current.len() == CHUNK {
            self.turn();
        }
        self.current.push(Noted { at_ns: self.now_ns, fact });
    }

    /// Shares the chunk that is full, and forgets the oldest, whose memory serves
    /// again unless it is still being read.
    fn turn(&mut self) {
        let mut empty = None;
        while self.chunks.len() >= self.most
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.before += oldest.len() as u64;
            empty = Arc::into_inner(oldest);
        }
        let mut empty = empty.unwrap_or_else(|| Vec::with_capacity(CHUNK));
        empty.clear();
        self.chunks.push_back(Arc::new(std::mem::replace(&mut self.current, empty)));
    }

    /// The number of the next event.
    pub(crate) fn end(&self) -> u64 {
        self.before + (self.chunks.len() * CHUNK + self.current.len()) as u64
    }

    /// All events from that number on that are still there.
    pub(crate) fn since(&mut self, number: u64, pool: Arc<str>) -> Excerpt {
        self.gaping = false;
        let from = (number.max(self.before) - self.before) as usize;
        let dropped = self.before.saturating_sub(number);
        let (whole, part) = (from / CHUNK, from % CHUNK);
        let in_chunks = whole < self.chunks.len();
        let chunks = self.chunks.iter().skip(whole).cloned().collect();
        let skip = if in_chunks { part } else { 0 };
        let copied = if in_chunks { 0 } else { part.min(self.current.len()) };
        let rest = self.current[copied..].to_vec();
        Excerpt { chunks, skip, rest, dropped, end: self.end(), pool }
    }

    /// Someone waits for the event of that number, unless it is there.
    pub(crate) fn wait(&mut self, number: u64) {
        if self.end() <= number {
            self.awaited = Some(self.awaited.map_or(number, |other| other.min(number)));
        }
    }

    /// Whether what someone waits for is there; said once.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.awaited.is_some_and(|number| self.end() > number);
        self.awaited = self.awaited.filter(|_| !due);
        due
    }
}

impl Excerpt {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Event> {
        self.noted().filter(|noted| !noted.is_gap()).map(|noted| self.event(noted))
    }

    /// How many tasks gave a result.
    pub(crate) fn results(&self) -> usize {
        self.noted().filter(|noted| noted.fact.is_result()).count()
    }

    /// Of the ends of tasks with a result every so many-th, and all that is rare.
    pub(crate) fn ends(&self, step: usize) -> impl Iterator<Item = Event> {
        let mut number = 0;
        let chosen = move |noted: &&Noted| match &noted.fact {
            Fact::Taken { .. } | Fact::Ahead { .. } | Fact::Gap(_) => false,
            // Nobody can tell what ran between two ends that are far apart.
            Fact::Started { .. } => step == 1,
            fact if fact.is_result() => {
                number += 1;
                number % step == 0
            }
            _ => true,
        };
        self.noted().filter(chosen).map(|noted| self.event(noted))
    }

    /// How many events of those asked for are not there.
    pub(crate) fn dropped(&self) -> u64 {
        let gaps = self.noted().map(|noted| match noted.fact {
            Fact::Gap(count) => count,
            _ => 0,
        });
        self.dropped + gaps.sum::<u64>()
    }

    /// The events that could belong to a task's story.
    pub(crate) fn of(&self, task: TaskId) -> impl Iterator<Item = Event> {
        let may = move |noted: &&Noted| {
            !noted.is_gap() && noted.fact.task().is_none_or(|other| other == task)
        };
        self.noted().filter(may).map(|noted| self.event(noted))
    }

    fn event(&self, noted: &Noted) -> Event {
        let (at, kind) = (Duration::from_nanos(noted.at_ns), noted.fact.clone().into());
        Event { at, pool: self.pool.clone(), kind }
    }

    fn noted(&self) -> impl Iterator<Item = &Noted> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).skip(self.skip).chain(&self.rest)
    }

    pub(crate) fn len(&self) -> usize {
        self.noted().filter(|noted| !noted.is_gap()).count()
    }
}

/// Appends an event of a task where there is a record.
pub(crate) fn tell(record: &mut Option<Box<Record>>, kind: impl FnOnce() -> EventKind) {
    if let Some(record) = record {
        record.push_often(|| Fact::Other(Box::new(kind())));
    }
}

impl Fact {
    /// Whether it is the end of a task that gave a result.
    fn is_result(&self) -> bool {
        matches!(self, Self::Ended { error: None, .. })
    }

    fn task(&self) -> Option<TaskId> {
        match self {
            Self::Taken { task, .. }
            | Self::Ahead { task, .. }
            | Self::Started { task, .. }
            | Self::Ended { task, .. } => Some(*task),
            Self::Other(kind) => kind.task(),
            Self::Gap(_) => None,
        }
    }
}

impl Noted {
    fn is_gap(&self) -> bool {
        matches!(self.fact, Fact::Gap(_))
    }
}

impl From<Fact> for EventKind {
    fn from(fact: Fact) -> Self {
        match fact {
            Fact::Taken { task, function, tenant, priority, waiting, argument_bytes } => {
                Self::Taken {
                    task,
                    function: function.name,
                    tenant,
                    priority,
                    argument_bytes: argument_bytes as usize,
                    waiting: waiting as usize,
                }
            }
            Fact::Ahead { task, worker, behind } => {
                Self::Ahead { task, worker: worker as usize, behind: behind as usize }
            }
            Fact::Started { task, function, attempt, worker } => {
                Self::Started { task, attempt, function: function.name, worker: worker as usize }
            }
            Fact::Ended { task, function, attempt, worker, queue_ns, run_ns, measured, error } => {
                let usage = measured.map_or(Usage { run_ns, ..Usage::default() }, |usage| *usage);
                Self::Ended {
                    task,
                    attempt,
                    function: function.name,
                    error,
                    queue_time: Duration::from_nanos(queue_ns),
                    run: (worker > 0).then(|| RunUsage::from((usage, worker as usize))),
                }
            }
            Fact::Other(kind) => *kind,
            Fact::Gap(_) => unreachable!("a gap is no event, and readers leave it out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::function::TaskFunction;

    /// A record of `keep` events, after so many that are told apart by number.
    fn record(keep: usize, events: usize) -> Record {
        let mut record = Record::new(Instant::now());
        record.keep(keep, false);
        (0..events).for_each(|worker| push(&mut record, worker));
        record
    }

    fn push(record: &mut Record, worker: usize) {
        record.push(Fact::Other(Box::new(EventKind::WorkerServes { worker })));
    }

    fn numbers(excerpt: &Excerpt) -> Vec<usize> {
        let numbers: Vec<_> = excerpt.iter().filter_map(|event| event.kind.worker()).collect();
        assert_eq!(numbers.len(), excerpt.len());
        numbers
    }

    fn known<F: TaskFunction<M>, M>(_: F) -> &'static Function {
        crate::task::registry::function::<F, M>().expect("a closure without captures is known")
    }

    #[test]
    fn a_reader_gets_each_event_once_and_in_order() {
        let mut record = record(10 * CHUNK, 0);
        let (mut cursor, mut read) = (0, Vec::new());
        for worker in 0..4 * CHUNK {
            push(&mut record, worker);
            if worker % 7 == 0 || worker % CHUNK < 2 {
                let excerpt = record.since(cursor, Arc::default());
                assert_eq!(excerpt.dropped(), 0);
                read.extend(numbers(&excerpt));
                cursor = record.end();
            }
        }
        read.extend(numbers(&record.since(cursor, Arc::default())));
        assert_eq!(read, Vec::from_iter(0..4 * CHUNK));
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_a_reader_missed_is_counted() {
        let mut record = record(2 * CHUNK, 5 * CHUNK);
        let excerpt = record.since(7, Arc::default());
        let kept = numbers(&excerpt);
        assert!(kept.len() >= 2 * CHUNK && kept.len() <= 3 * CHUNK, "{}", kept.len());
        assert_eq!(kept.last(), Some(&(5 * CHUNK - 1)));
        assert_eq!(excerpt.dropped(), (kept[0] - 7) as u64);
    }

    #[test]
    fn a_flood_is_written_down_in_part_and_the_rest_is_counted() {
        let (start, keep) = (Instant::now(), 4 * CHUNK);
        let started = || Fact::Ahead { task: TaskId::for_test(1), worker: 1, behind: 1 };
        for complete in [false, true] {
            let mut record = Record::new(start);
            record.keep(keep, complete);
            let (mut told, mut dropped, mut cursor) = (0, 0, 0);
            let second = Duration::from_secs(1);
            for step in 0..1_000 {
                record.set_now(start + second * step / 1_000);
                (0..400).for_each(|_| record.push_often(started));
                push(&mut record, 7);
                let excerpt = record.since(cursor, Arc::default());
                (told, dropped) = (told + excerpt.len() as u64, dropped + excerpt.dropped());
                cursor = excerpt.end;
            }
            assert_eq!(told + dropped, 401_000);
            let expected = if complete { 401_000 } else { PER_SECOND + 1_000 };
            assert!(told.abs_diff(expected) <= keep as u64, "{told}");
        }
    }

    #[test]
    fn some_ends_stand_for_all_and_what_is_rare_is_always_there() {
        let ended = |error| Fact::Ended {
            task: TaskId::for_test(1),
            function: known(|| ()),
            attempt: 1,
            worker: 1,
            queue_ns: 0,
            run_ns: 1,
            measured: None,
            error,
        };
        let mut record = record(10 * CHUNK, 3);
        for _ in 0..1_000 {
            record.push(Fact::Ahead { task: TaskId::for_test(1), worker: 1, behind: 1 });
            record.push(ended(None));
        }
        record.push(ended(Some(Error::closed("it ended"))));
        let excerpt = record.since(0, Arc::default());
        assert_eq!(excerpt.results(), 1_000);
        assert_eq!(excerpt.ends(10).count(), 3 + 100 + 1);
        assert_eq!(excerpt.ends(1).count(), 3 + 1_000 + 1);
    }

    #[test]
    fn an_event_of_a_task_is_small() {
        assert!(size_of::<Noted>() <= 72, "{}", size_of::<Noted>());
    }

    #[test]
    fn whoever_waits_is_told_once() {
        let mut record = record(CHUNK, 1);
        record.wait(0);
        assert!(!record.is_due(), "it was there already");
        record.wait(1);
        assert!(!record.is_due(), "nothing came");
        push(&mut record, 9);
        assert!(record.is_due() && !record.is_due());
    }
}

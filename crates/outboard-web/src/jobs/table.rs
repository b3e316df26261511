//! The jobs that are kept, within bounds of number, bytes and age. Pure: the time comes in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::id::Id;

/// What a job counts beside its own bytes.
const JOB_BYTES: usize = 1024;

/// What an item counts beside its own bytes.
const ITEM_BYTES: usize = 48;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) jobs: usize,
    pub(super) tenant_jobs: usize,
    pub(super) bytes: usize,
    pub(super) replay_bytes: usize,
    pub(super) age: Duration,
}

/// A moment by both clocks: one that nobody sets, and the one that people read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) instant: Instant,
    /// Milliseconds since 1970.
    pub(super) unix_ms: u64,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// The output, as JSON, and the times in the queue and of the run.
    Done {
        output: Bytes,
        queue: Duration,
        run: Duration,
    },
    /// Problem details, as JSON.
    Failed(Bytes),
    Cancelled(Bytes),
}

/// A job; `H` is what holds its task.
#[derive(Debug)]
pub(super) struct Job<H> {
    pub(super) tenant: Option<Arc<str>>,
    pub(super) submitted: Moment,
    pub(super) handle: H,
    /// As JSON, the last that were sent; the first of them has the number `first`.
    pub(super) items: VecDeque<Bytes>,
    pub(super) first: u64,
    pub(super) end: Option<(Moment, Outcome)>,
    item_bytes: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Table<H> {
    limits: Limits,
    jobs: HashMap<Id, Job<H>>,
    bytes: usize,
}

/// Why there is no place for another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// As many jobs as are kept have not ended.
    AtAll,
    /// Of this tenant.
    OfTenant,
}

impl<H> Job<H> {
    /// How many items were sent.
    pub(super) fn sent(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    fn bytes(&self) -> usize {
        let outcome = self.end.as_ref().map_or(0, |(_, outcome)| outcome.bytes());
        JOB_BYTES + self.item_bytes + outcome
    }

    fn is_over_age(&self, age: Duration, now: Instant) -> bool {
        let ended = self.end.as_ref().map(|(at, _)| at.instant);
        ended.is_some_and(|at| now.saturating_duration_since(at) >= age)
    }

    /// Drops the oldest item; how many bytes that gives.
    fn drop_item(&mut self) -> usize {
        let Some(item) = self.items.pop_front() else { return 0 };
        let bytes = item.len() + ITEM_BYTES;
        self.first += 1;
        self.item_bytes -= bytes;
        bytes
    }
}

impl Outcome {
    /// What it counts; details of a problem are among those of the job.
    fn bytes(&self) -> usize {
        match self {
            Self::Done { output, .. } => output.len(),
            Self::Failed(_) | Self::Cancelled(_) => 0,
        }
    }
}

impl<H> Table<H> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, jobs: HashMap::new(), bytes: 0 }
    }

    /// For another bound, before there are jobs.
    pub(super) fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Makes a place for a job of this tenant.
    ///
    /// # Errors
    ///
    /// There is none: only jobs that have ended are dropped.
    pub(super) fn admit(&mut self, tenant: Option<&str>, now: Instant) -> Result<(), NoPlace> {
        self.expire(now);
        let unfinished = self.jobs.values().filter(|job| job.end.is_none());
        let of_tenant = unfinished.filter(|job| job.tenant.as_deref() == tenant).count();
        if of_tenant >= self.limits.tenant_jobs {
            return Err(NoPlace::OfTenant);
        }
        while self.jobs.len() >= self.limits.jobs {
            if !self.evict() {
                return Err(NoPlace::AtAll);
            }
        }
        match self.make_room(JOB_BYTES) {
            true => Ok(()),
            false => Err(NoPlace::AtAll),
        }
    }

    /// Keeps a job that was admitted under the same lock.
    pub(super) fn insert(&mut self, id: Id, tenant: Option<Arc<str>>, now: Moment, handle: H) {
        let (items, first, item_bytes) = (VecDeque::new(), 0, 0);
        let job = Job { tenant, submitted: now, handle, items, first, end: None, item_bytes };
        self.bytes += job.bytes();
        self.jobs.insert(id, job);
    }

    pub(super) fn get(&self, id: Id, now: Instant) -> Option<&Job<H>> {
        self.jobs.get(&id).filter(|job| !job.is_over_age(self.limits.age, now))
    }

    /// Keeps an item, if its job goes on; gives the job.
    pub(super) fn push(&mut self, id: Id, item: Bytes) -> Option<&Job<H>> {
        let cost = item.len() + ITEM_BYTES;
        let replay = self.limits.replay_bytes;
        let job = self.jobs.get_mut(&id).filter(|job| job.end.is_none())?;
        let mut freed = 0;
        while job.item_bytes + cost > replay && !job.items.is_empty() {
            freed += job.drop_item();
        }
        self.bytes -= freed;
        let fits = cost <= replay && self.make_room(cost);
        let job = self.jobs.get_mut(&id)?;
        if fits {
            job.items.push_back(item);
            job.item_bytes += cost;
            self.bytes += cost;
        } else {
            // Nothing is kept before it either. It has a number, so that readers learn of it.
            job.first += 1;
        }
        Some(job)
    }

    /// Keeps how a job ended, if it has not ended before; gives the job.
    ///
    /// # Errors
    ///
    /// There is no room for the output. The job has not ended then.
    pub(super) fn end(
        &mut self,
        id: Id,
        now: Moment,
        outcome: Outcome,
    ) -> Result<Option<&Job<H>>, NoRoom> {
        self.expire(now.instant);
        if self.jobs.get(&id).is_none_or(|job| job.end.is_some()) {
            return Ok(None);
        }
        let bytes = outcome.bytes();
        if !self.make_room(bytes) {
            return Err(NoRoom);
        }
        self.bytes += bytes;
        Ok(self.jobs.get_mut(&id).map(|job| {
            job.end = Some((now, outcome));
            &*job
        }))
    }

    /// Drops what has ended so long ago.
    fn expire(&mut self, now: Instant) {
        let (age, bytes) = (self.limits.age, &mut self.bytes);
        self.jobs.retain(|_, job| {
            let over_age = job.is_over_age(age, now);
            *bytes -= if over_age { job.bytes() } else { 0 };
            !over_age
        });
    }

    /// Drops jobs that have ended, and then the oldest items of others, until there is room for
    /// so many bytes; whether there is.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.bytes + bytes > self.limits.bytes {
            if self.evict() {
                continue;
            }
            let largest = self.jobs.values_mut().max_by_key(|job| job.item_bytes);
            let freed = largest.map_or(0, Job::drop_item);
            if freed == 0 {
                return false;
            }
            self.bytes -= freed;
        }
        true
    }

    /// Drops the job that ended first, of the tenant whose ended jobs are the most bytes; whether
    /// there was one.
    fn evict(&mut self) -> bool {
        let ended = || self.jobs.iter().filter(|(_, job)| job.end.is_some());
        let mut held: HashMap<_, usize> = HashMap::new();
        ended().for_each(|(_, job)| *held.entry(&job.tenant).or_default() += job.bytes());
        let age = |job: &Job<H>| job.end.as_ref().map(|(at, _)| std::cmp::Reverse(at.instant));
        let victim = ended().max_by_key(|(_, job)| (held[&job.tenant], age(job)));
        let Some(id) = victim.map(|(id, _)| *id) else { return false };
        self.bytes -= self.jobs.remove(&id).map_or(0, |job| job.bytes());
        true
    }
}

/// An output is larger than all that is kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        jobs: 3,
        tenant_jobs: 2,
        bytes: 3 * JOB_BYTES + 4000,
        replay_bytes: 1000,
        age: Duration::from_secs(60),
    };

    /// A table, and a clock that only it moves.
    struct Desk {
        table: Table<()>,
        now: Moment,
    }

    impl Desk {
        fn new() -> Self {
            let now = Moment { instant: Instant::now(), unix_ms: 0 };
            Self { table: Table::new(LIMITS), now }
        }

        fn wait(&mut self, seconds: u64) {
            self.now.instant += Duration::from_secs(seconds);
        }

        fn submit(&mut self, tenant: &str) -> Result<Id, NoPlace> {
            self.table.admit(Some(tenant), self.now.instant)?;
            let id = Id::random();
            self.table.insert(id, Some(tenant.into()), self.now, ());
            self.check();
            Ok(id)
        }

        fn end(&mut self, id: Id, bytes: usize) -> Result<bool, NoRoom> {
            let output = vec![b'1'; bytes].into();
            let outcome = Outcome::Done { output, queue: Duration::ZERO, run: Duration::ZERO };
            let ended = self.table.end(id, self.now, outcome).map(|job| job.is_some());
            self.check();
            ended
        }

        fn push(&mut self, id: Id, bytes: usize) -> bool {
            let pushed = self.table.push(id, vec![b'1'; bytes].into()).is_some();
            self.check();
            pushed
        }

        /// The numbers of the items that are kept.
        fn items(&self, id: Id) -> std::ops::Range<u64> {
            let job = self.table.get(id, self.now.instant).expect("it is kept");
            job.first..job.sent()
        }

        fn keeps(&self, id: Id) -> bool {
            self.table.get(id, self.now.instant).is_some()
        }

        fn check(&self) {
            let sum: usize = self.table.jobs.values().map(Job::bytes).sum();
            assert_eq!(sum, self.table.bytes);
            assert!(sum <= LIMITS.bytes, "{sum}");
            assert!(self.table.jobs.len() <= LIMITS.jobs);
            for job in self.table.jobs.values() {
                let items: usize = job.items.iter().map(|item| item.len() + ITEM_BYTES).sum();
                assert_eq!(items, job.item_bytes);
                assert!(items <= LIMITS.replay_bytes);
            }
        }
    }

    #[test]
    fn a_job_that_goes_on_is_never_dropped_for_another() {
        let mut desk = Desk::new();
        let first = desk.submit("ann").unwrap();
        desk.submit("ann").unwrap();
        assert_eq!(desk.submit("ann"), Err(NoPlace::OfTenant));
        desk.submit("bob").unwrap();
        assert_eq!(desk.submit("bob"), Err(NoPlace::AtAll));
        desk.wait(1000);
        assert!(desk.keeps(first), "however old");
        desk.end(first, 10).unwrap();
        desk.submit("bob").unwrap();
        assert!(!desk.keeps(first));
    }

    #[test]
    fn the_tenant_that_holds_most_loses_its_oldest() {
        let mut desk = Desk::new();
        let [a, b, c] = ["ann", "bob", "bob"].map(|tenant| desk.submit(tenant).unwrap());
        for id in [a, b, c] {
            desk.end(id, 10).unwrap();
            desk.wait(1);
        }
        desk.submit("ann").unwrap();
        assert!(desk.keeps(a) && !desk.keeps(b) && desk.keeps(c));
    }

    #[test]
    fn what_ended_long_ago_is_dropped() {
        let mut desk = Desk::new();
        let id = desk.submit("ann").unwrap();
        desk.wait(100);
        desk.end(id, 10).unwrap();
        desk.wait(59);
        assert!(desk.keeps(id));
        desk.wait(1);
        assert!(!desk.keeps(id));
    }

    #[test]
    fn the_last_items_are_kept_and_all_are_numbered() {
        let mut desk = Desk::new();
        let id = desk.submit("ann").unwrap();
        for _ in 0..10 {
            assert!(desk.push(id, 200));
        }
        assert_eq!(desk.items(id), 6..10);
        assert!(desk.push(id, 5000), "it is counted, and not kept");
        assert_eq!(desk.items(id), 11..11);
        assert!(desk.push(id, 1));
        assert_eq!(desk.items(id), 11..12);
        desk.end(id, 0).unwrap();
        assert!(!desk.push(id, 1), "it has ended");
    }

    #[test]
    fn an_output_makes_room_for_itself_or_is_refused() {
        let mut desk = Desk::new();
        let [old, other, id] = ["ann", "bob", "cyd"].map(|tenant| desk.submit(tenant).unwrap());
        desk.end(old, 2000).unwrap();
        for job in [other, id] {
            (0..4).for_each(|_| assert!(desk.push(job, 200)));
        }
        assert_eq!(desk.end(id, 4500), Ok(true));
        assert!(!desk.keeps(old), "what has ended goes first");
        assert_eq!(desk.items(other), 3..4, "then items");
        assert_eq!(desk.end(other, 20_000), Err(NoRoom));
        assert!(!desk.keeps(id), "it has ended");
        assert_eq!(desk.end(other, 1), Ok(true), "it had not ended");
        assert_eq!(desk.end(other, 1), Ok(false), "it ends once");
    }
}

//! The ledger's rules, one by one.

use super::*;
use crate::TaskFunction;
use crate::error::ErrorKind;
use crate::sched::placement::Placement;
use crate::task::registry::function;

thread_local! {
    /// How often a task was looked up by its number.
    pub(crate) static LOOKUPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

const MS: Duration = Duration::from_millis(1);

fn bounds(tasks: usize, bytes: usize) -> Bounds {
    Bounds { tasks, bytes }
}

fn known<F: TaskFunction<M>, M>(_: F) -> &'static Function {
    function::<F, M>().unwrap()
}

impl TaskId {
    pub(crate) fn for_test(index: u32) -> Self {
        Self(Tagged::new(index as usize, NonZeroU32::MIN.saturating_add(index)))
    }
}

impl<W> Ledger<W> {
    /// Re-checks the invariants of the module's documentation.
    pub(crate) fn check_invariants(&self) {
        let mut waiters = 0;
        for (key, task) in &self.tasks {
            let id = TaskId(Tagged::new(key, task.tag));
            for waiter in task.waiters.iter() {
                assert_eq!(self.waiter(*waiter).expect("a listed waiter lives").task, id);
                waiters += 1;
            }
            assert!(task.waiters.iter().next().is_some(), "a task without a waiter");
            if let Some(key) = task.key() {
                assert_eq!(self.keys.get(key), Some(&id), "a key leads to its task");
            }
        }
        assert_eq!(waiters, self.waiters.len(), "every waiter is listed once");
        assert_eq!(self.keys.len(), self.tasks.iter().filter(|(_, t)| t.key().is_some()).count());
        assert_eq!(self.bytes, self.tasks.iter().map(|(_, t)| t.held_bytes()).sum::<usize>());
        let queued = |task: &Task| !matches!(task.position, Position::Placed(..));
        assert_eq!(self.queued, self.tasks.iter().filter(|(_, task)| queued(task)).count());
        for (deadline, id) in &self.deadlines {
            let waiter = self.waiter(*id).expect("a deadline's waiter lives");
            assert_eq!(waiter.deadline(), Some(*deadline));
        }
        let rests = |task: &Task| matches!(task.position, Position::Resting(..));
        assert_eq!(self.resting.len(), self.tasks.iter().filter(|(_, task)| rests(task)).count());
        for (until, id) in &self.resting {
            let task = self.task(*id).expect("what rests lives");
            assert!(rests(task));
            assert_eq!(task.until(), Some(*until));
        }
        let timed = self.waiters.iter().filter(|(_, waiter)| waiter.timeout.is_some()).count();
        assert_eq!(timed, self.deadlines.len());
    }

    /// Every task is where placement has it, and nowhere else.
    pub(crate) fn check_agrees_with(&self, placement: &crate::sched::placement::Placement) {
        let all: HashMap<_, _> = placement.all().collect();
        let mut preparing = 0;
        for (key, task) in &self.tasks {
            let id = TaskId(Tagged::new(key, task.tag));
            let there = match task.position {
                Position::Preparing(_) | Position::Resting(..) => {
                    assert!(!all.contains_key(&id), "{id:?} has no arguments, or rests");
                    preparing += 1;
                    continue;
                }
                Position::Queued(place) => Ok(place),
                Position::Placed(_, slot) => Err(slot),
            };
            assert_eq!(all.get(&id), Some(&there), "{id:?}");
        }
        let waiting = all.values().filter(|there| there.is_ok()).count();
        assert_eq!(waiting + preparing, self.queued, "the queue holds dead tasks");
    }
}

impl Waiters {
    fn iter(&self) -> Box<dyn Iterator<Item = &WaiterId> + '_> {
        match self {
            Self::One(id) => Box::new(std::iter::once(id)),
            Self::Many(all) => Box::new(all.iter()),
        }
    }
}

/// A ledger whose handles are numbers, and what its waiters were given.
struct Fixture {
    ledger: Ledger<u32>,
    placement: Placement,
    now: Instant,
    settled: Vec<Settled<u32>>,
}

impl Fixture {
    fn new(bounds: Bounds) -> Self {
        let (placement, now) =
            (Placement::new(crate::sched::placement::Rules::default()), Instant::now());
        Self { ledger: Ledger::new(bounds, Tags::default()), placement, now, settled: Vec::new() }
    }

    /// Takes a submit if there is room; whether its task is a new one.
    fn submit(
        &mut self,
        handle: u32,
        options: &Options,
    ) -> Result<(WaiterId, TaskId, bool), Bound> {
        let args = vec![handle as u8; 10].into();
        let submitted = self.submit_args(handle, options, args);
        self.ledger.check_invariants();
        submitted
    }

    fn submit_args(
        &mut self,
        handle: u32,
        options: &Options,
        args: Args,
    ) -> Result<(WaiterId, TaskId, bool), Bound> {
        let function = known(|x: u8| x);
        let args = Some(args);
        let request = Request { function, args, options, steady_ns: None, origin: None };
        let tenant = self.placement.seen(options.tenant.as_ref(), 1, self.now);
        let key = Key::of(&request).map(Arc::new);
        let shared = key.as_ref().map_or(Ok(None), |key| self.ledger.shared(key, None))?;
        if let Some(task) = shared {
            let (waiter, _) = self.ledger.join(self.now, task, options, handle);
            return Ok((waiter, task, false));
        }
        let bytes = self.ledger.asks_for(&request, Key::of(&request).as_ref());
        if let Some(bound) = self.ledger.full(bytes, Part::WHOLE) {
            return Err(bound);
        }
        let place = self.placement.place(options.priority, tenant);
        let (waiter, task, _) = self.ledger.insert(self.now, request, key, place, handle);
        Ok((waiter, task, true))
    }

    /// Takes a submit whose arguments come later.
    fn announce(&mut self, handle: u32, options: &Options) -> (WaiterId, TaskId) {
        let function = known(|x: u8| x);
        let request = Request { function, args: None, options, steady_ns: None, origin: None };
        let tenant = self.placement.seen(options.tenant.as_ref(), 1, self.now);
        let place = self.placement.place(options.priority, tenant);
        let (waiter, task, queued) = self.ledger.insert(self.now, request, None, place, handle);
        assert!(queued.is_none());
        self.ledger.check_invariants();
        (waiter, task)
    }

    fn new_task(&mut self, handle: u32, options: &Options) -> (WaiterId, TaskId) {
        match self.submit(handle, options) {
            Ok((waiter, task, true)) => (waiter, task),
            other => panic!("{other:?}"),
        }
    }

    fn place(&mut self, task: TaskId) -> SlotId {
        let slot = self.placement.slot_up(self.now);
        self.ledger.placed(task, slot);
        self.ledger.check_invariants();
        slot
    }

    fn finish(&mut self, task: TaskId, attempt: u32, outcome: Result<Vec<u8>, Error>) -> Next {
        let used = (Usage::default(), 1);
        let settled = &mut self.settled;
        let outcome = outcome.map(Payload::from);
        let next = self.ledger.finished(self.now, (task, attempt), outcome, used, settled);
        self.ledger.check_invariants();
        next
    }

    fn leave(&mut self, waiter: WaiterId, why: Leave, stage: Stage) -> Next {
        let next = self.ledger.leave(waiter, why, stage, &mut self.settled);
        self.ledger.check_invariants();
        next
    }

    /// Who was given what since the last look.
    fn given(&mut self) -> Vec<(u32, Result<Vec<u8>, ErrorKind>)> {
        let settled = self.settled.drain(..);
        let short = |result: Result<Reply, Error>| {
            result.map(|reply| reply.payload.to_vec()).map_err(|error| error.kind())
        };
        settled.map(|(handle, result)| (handle, short(result))).collect()
    }
}

fn keyed(key: &str) -> Options {
    Options { key: Some(key.into()), ..Options::default() }
}

fn requeues(next: &Next, task: TaskId) -> bool {
    matches!(next, Next::Requeue(_, queued) if queued.task == task)
}

fn panic() -> Error {
    let text = String::new;
    let panic = crate::error::Panic { message: text(), location: text(), backtrace: text() };
    Error::new(Repr::Panicked(panic))
}

#[test]
fn the_queue_is_bounded_by_number_and_by_bytes() {
    let mut by_number = Fixture::new(bounds(1, 100));
    by_number.new_task(1, &Options::default());
    assert_eq!(by_number.submit(2, &Options::default()), Err(Bound::Tasks(1)));
    let mut by_bytes = Fixture::new(bounds(9, 19));
    by_bytes.new_task(1, &Options::default());
    assert_eq!(by_bytes.submit(2, &Options::default()), Err(Bound::Bytes(19)));
}

#[test]
fn a_placed_task_leaves_room_in_the_queue_and_keeps_its_bytes() {
    let mut fixture = Fixture::new(bounds(1, 19));
    let (_, task) = fixture.new_task(1, &Options::default());
    fixture.place(task);
    let full = |bytes| fixture.ledger.full(bytes, Part::WHOLE);
    assert_eq!((full(9), full(10)), (None, Some(Bound::Bytes(19))));
    assert_eq!(fixture.ledger.places(Part::WHOLE), 1);
}

#[test]
fn a_task_that_is_being_prepared_counts_and_cannot_start() {
    let mut fixture = Fixture::new(bounds(2, 19));
    let (first, task) = fixture.announce(1, &Options::default());
    assert_eq!(fixture.submit(2, &Options::default()).map(|(.., new)| new), Ok(true));
    assert_eq!(fixture.submit(3, &Options::default()), Err(Bound::Tasks(2)));
    let next = fixture.ledger.prepared(task, vec![7; 12].into(), None);
    assert!(requeues(&next, task));
    fixture.ledger.check_invariants();
    assert_eq!(fixture.ledger.over(1), Some(Bound::Bytes(19)));
    assert!(matches!(fixture.ledger.prepared(task, vec![].into(), None), Next::Nothing), "once");
    fixture.leave(first, Leave::Cancelled, Stage::Queued);
    assert!(matches!(fixture.ledger.prepared(task, vec![].into(), None), Next::Nothing), "gone");
}

#[test]
fn a_task_that_is_prepared_late_joins_the_one_that_has_its_key() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let (waiter, task) = fixture.announce(1, &Options::default());
    let (_, other) = fixture.new_task(2, &keyed("a"));
    let key = fixture.ledger.task(other).and_then(|task| task.seldom.as_ref()?.key.clone());
    let key = key.unwrap();
    assert_eq!(fixture.ledger.shared(&key, Some(other)), Ok(None), "its own");
    assert_eq!(fixture.ledger.shared(&key, Some(task)), Ok(Some(other)));
    let (next, better) = fixture.ledger.merge(task, other);
    assert!(matches!(next, Next::Ended(_)) && better.is_none());
    assert_eq!(fixture.ledger.counts.coalesced, 1);
    fixture.ledger.check_invariants();
    assert_eq!(fixture.ledger.waits_for(waiter), Some((other, false)));
    fixture.place(other);
    fixture.finish(other, 1, Ok(vec![7]));
    let mut given = fixture.given();
    given.sort_unstable_by_key(|(handle, _)| *handle);
    assert_eq!(given, [(1, Ok(vec![7])), (2, Ok(vec![7]))]);
}

#[test]
fn equal_keys_share_one_task_and_each_gets_its_result() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let (_, task) = fixture.new_task(1, &keyed("a"));
    assert!(matches!(fixture.submit(2, &keyed("a")), Ok((_, t, false)) if t == task));
    assert!(matches!(fixture.submit(3, &keyed("b")), Ok((.., true))));
    let other = Options { tenant: Some("t".into()), ..keyed("a") };
    assert!(matches!(fixture.submit(4, &other), Ok((.., true))));
    fixture.place(task);
    fixture.finish(task, 1, Ok(vec![7]));
    assert_eq!(fixture.given(), [(1, Ok(vec![7])), (2, Ok(vec![7]))]);
    assert!(matches!(fixture.submit(5, &keyed("a")), Ok((.., true))));
}

#[test]
fn a_waiter_leaves_alone_and_the_last_takes_the_task_along() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let (first, task) = fixture.new_task(1, &keyed("a"));
    let Ok((second, _, false)) = fixture.submit(2, &keyed("a")) else { panic!() };
    assert_eq!(fixture.ledger.waits_for(first), Some((task, false)));
    assert!(matches!(fixture.leave(first, Leave::TimedOut, Stage::Queued), Next::Nothing));
    assert_eq!(fixture.given(), [(1, Err(ErrorKind::TimedOut))]);
    assert_eq!(fixture.ledger.waits_for(second), Some((task, true)));
    let place = fixture.ledger.task(task).unwrap().place();
    let next = fixture.leave(second, Leave::Cancelled, Stage::Queued);
    assert!(matches!(next, Next::Ended(ended) if ended == place));
    assert_eq!(fixture.given(), [(2, Err(ErrorKind::Cancelled))]);
    assert_eq!(fixture.ledger.owed(), 0);
}

#[test]
fn panics_and_losses_are_retried_only_if_asked() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let once = Options { retries: 2, ..Options::default() };
    let (_, task) = fixture.new_task(1, &once);
    fixture.place(task);
    assert!(requeues(&fixture.finish(task, 1, Err(panic())), task));
    fixture.place(task);
    let lost = Error::new(Repr::WorkerLost(crate::error::WorkerLoss::default()));
    let next = fixture.ledger.lost(fixture.now, (task, 2), (lost, true), &mut fixture.settled);
    assert!(requeues(&next, task));
    fixture.place(task);
    fixture.finish(task, 3, Err(panic()));
    assert_eq!(fixture.given(), [(1, Err(ErrorKind::Panicked))]);
}

#[test]
fn a_retry_waits_for_the_end_of_its_rest() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let backoff = Some(Backoff { least: 5 * MS, most: 5 * MS });
    let (_, task) = fixture.new_task(1, &Options { retries: 1, backoff, ..Options::default() });
    fixture.place(task);
    let place = fixture.ledger.task(task).unwrap().place();
    let next = fixture.finish(task, 1, Err(panic()));
    assert!(matches!(next, Next::Rest(rests) if rests == place));
    fixture.ledger.check_invariants();
    assert_eq!((fixture.ledger.queued(), fixture.ledger.owed()), (1, 1));
    assert_eq!(fixture.ledger.next_rested(), Some(fixture.now + 5 * MS));
    assert!(fixture.ledger.rested(fixture.now + 4 * MS).is_none());
    let next = fixture.ledger.rested(fixture.now + 5 * MS).unwrap();
    assert!(requeues(&next, task));
    assert_eq!(fixture.ledger.next_rested(), None);
    fixture.place(task);
    fixture.finish(task, 2, Ok(vec![7]));
    assert_eq!(fixture.given(), [(1, Ok(vec![7]))]);
}

#[test]
fn a_rest_beyond_the_deadline_is_not_begun() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let backoff = Some(Backoff { least: 5 * MS, most: 5 * MS });
    let timeout = Some(5 * MS);
    let hurried = Options { retries: 1, backoff, timeout, ..Options::default() };
    let (_, task) = fixture.new_task(1, &hurried);
    fixture.place(task);
    assert!(matches!(fixture.finish(task, 1, Err(panic())), Next::Ended(_)));
    assert_eq!(fixture.given(), [(1, Err(ErrorKind::Panicked))]);
}

#[test]
fn who_leaves_a_task_that_rests_takes_it_along() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let backoff = Some(Backoff { least: 5 * MS, most: 5 * MS });
    let resting = Options { retries: 1, backoff, ..keyed("a") };
    let (waiter, task) = fixture.new_task(1, &resting);
    fixture.place(task);
    fixture.finish(task, 1, Err(panic()));
    assert!(matches!(fixture.leave(waiter, Leave::Cancelled, Stage::Queued), Next::Ended(_)));
    assert_eq!(fixture.given(), [(1, Err(ErrorKind::Cancelled))]);
    assert_eq!((fixture.ledger.owed(), fixture.ledger.next_rested()), (0, None));
    fixture.ledger.check_invariants();
}

#[test]
fn those_who_share_a_task_are_bounded() {
    let mut fixture = Fixture::new(bounds(1, 100));
    let mut submit = |handle: u32| fixture.submit_args(handle, &keyed("a"), vec![].into());
    for handle in 0..=MAX_SHARERS as u32 {
        assert!(submit(handle).is_ok());
    }
    assert_eq!(submit(0).unwrap_err(), Bound::Sharers(MAX_SHARERS));
}

#[test]
fn a_task_that_too_many_workers_died_before_starting_ends() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let (_, task) = fixture.new_task(1, &Options { retries: 1, ..Options::default() });
    for _ in 0..2 * DOUBTS {
        assert_eq!(fixture.given(), []);
        fixture.place(task);
        let lost = Error::new(Repr::WorkerLost(crate::error::WorkerLoss::default()));
        fixture.ledger.suspected(task, lost, &mut fixture.settled);
        fixture.ledger.moved(task);
        fixture.ledger.check_invariants();
    }
    assert_eq!(fixture.given(), [(1, Err(ErrorKind::WorkerLost))]);
}

#[test]
fn other_errors_are_never_retried() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let (_, task) = fixture.new_task(1, &Options { retries: 5, ..Options::default() });
    fixture.place(task);
    fixture.finish(task, 1, Err(Error::codec(crate::error::Step::EncodeResult, "T", "no")));
    assert_eq!(fixture.given(), [(1, Err(ErrorKind::Codec))]);
}

#[test]
fn a_late_message_of_an_older_attempt_is_ignored() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let (_, task) = fixture.new_task(1, &Options { retries: 1, ..Options::default() });
    fixture.place(task);
    fixture.finish(task, 1, Err(panic()));
    fixture.place(task);
    assert!(matches!(fixture.finish(task, 1, Ok(vec![1])), Next::Nothing));
    assert_eq!(fixture.given(), []);
    fixture.finish(task, 2, Ok(vec![2]));
    assert_eq!(fixture.given(), [(1, Ok(vec![2]))]);
    assert!(matches!(fixture.finish(task, 2, Ok(vec![3])), Next::Nothing), "the task is gone");
}

#[test]
fn a_task_that_did_not_start_moves_without_counting_as_an_attempt() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let (_, task) = fixture.new_task(1, &Options::default());
    fixture.place(task);
    assert!(requeues(&fixture.ledger.moved(task), task));
    fixture.ledger.check_invariants();
    assert_eq!(fixture.ledger.task(task).unwrap().attempt, 1);
}

#[test]
fn deadlines_come_in_order_and_go_with_their_waiter() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let timed = |ms| Options { timeout: Some(ms * MS), ..Options::default() };
    let (late, _) = fixture.new_task(1, &timed(9));
    let (early, _) = fixture.new_task(2, &timed(3));
    assert_eq!(fixture.ledger.next_deadline(), Some(fixture.now + 3 * MS));
    assert_eq!(fixture.ledger.expired(fixture.now + 2 * MS), None);
    assert_eq!(fixture.ledger.expired(fixture.now + 9 * MS), Some(early));
    fixture.leave(early, Leave::TimedOut, Stage::Queued);
    assert_eq!(fixture.ledger.expired(fixture.now + 9 * MS), Some(late));
    fixture.leave(late, Leave::Cancelled, Stage::Queued);
    assert_eq!(fixture.ledger.next_deadline(), None);
}

#[test]
fn a_timeout_beyond_the_clock_is_none() {
    let mut fixture = Fixture::new(bounds(9, 100));
    fixture.new_task(1, &Options { timeout: Some(Duration::MAX), ..Options::default() });
    assert_eq!(fixture.ledger.next_deadline(), None);
}

#[test]
fn a_task_that_cannot_be_in_time_ends_in_the_queue() {
    let mut fixture = Fixture::new(bounds(9, 100));
    let timeout =
        |ms| Options { timeout: Some(ms * MS), key: Some("k".into()), ..Options::default() };
    let (_, task) = fixture.new_task(1, &timeout(10));
    fixture.submit(2, &timeout(20)).unwrap();
    let deadline = |fixture: &Fixture, task: TaskId| {
        fixture.ledger.deadline(fixture.ledger.task(task).unwrap())
    };
    assert_eq!(deadline(&fixture, task), Some(fixture.now + 20 * MS), "the other has time");
    assert!(matches!(fixture.ledger.end_late(task, &mut fixture.settled), Next::Ended(_)));
    fixture.ledger.check_invariants();
    let timed_out = || Err(ErrorKind::TimedOut);
    assert_eq!(fixture.given(), [(1, timed_out()), (2, timed_out())]);
    let (_, patient) = fixture.new_task(3, &Options::default());
    assert_eq!(deadline(&fixture, patient), None);
}

/// A million of them may wait.
#[test]
fn what_waits_is_small() {
    assert!(size_of::<Task>() <= 144, "a task has {} bytes", size_of::<Task>());
    let waiter = size_of::<Waiter<&()>>();
    assert!(waiter <= 32, "a waiter has {waiter} bytes");
    let result = size_of::<Result<Reply, Error>>();
    assert!(result <= 64, "a result has {result} bytes");
}

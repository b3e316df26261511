//! Pure: which tasks the scheduler has given to this worker, and how far each
//! has come.
//!
//! | state | event | then |
//! |---|---|---|
//! | - | given | *fetching* what it needs, or *ready* |
//! | fetching | arrived | ready |
//! | ready | a thread is free, and it is next | *executing* |
//! | fetching, ready, executing | freed | gone, and stopped |
//! | fetching, ready | asked for by another | gone |
//! | executing | ended | gone |
//!
//! Each stay of a task has a number: what is said of an earlier one with the
//! same key changes nothing. Each pool has threads of its own, so tasks of one never wait
//! for those of another.

use std::collections::{BTreeMap, HashMap};

use dask_protocol::key::Key;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Desk {
    tasks: HashMap<Key, Task>,
    /// By pool, the default one's first.
    lanes: Vec<Lane>,
    next: u64,
    paused: bool,
}

/// What one pool has to do.
#[derive(Debug)]
struct Lane {
    threads: usize,
    ready: BTreeMap<(Priority, u64), Key>,
    executing: usize,
}

/// A task's place in the order: the least comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Priority(Vec<i64>);

impl Priority {
    /// From numbers, of which the first that differ decide.
    pub(super) fn new(numbers: impl IntoIterator<Item = f64>) -> Self {
        // The bits of floats are in their order but for the negative ones.
        let ordered = |number: f64| {
            let bits = number.to_bits() as i64;
            bits ^ (((bits >> 63) as u64) >> 1) as i64
        };
        Self(numbers.into_iter().map(ordered).collect())
    }
}

/// A task that the scheduler has given.
#[derive(Debug)]
struct Task {
    number: u64,
    run: i64,
    priority: Priority,
    /// The place of its pool.
    lane: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fetching,
    Ready,
    Executing,
}

/// What came of giving a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It is new, and this is the number of its stay.
    New(u64),
    /// It is there already; the answer will name this run.
    Again,
}

impl Desk {
    /// With so many threads for each pool.
    pub(super) fn new(threads: impl IntoIterator<Item = usize>) -> Self {
        let lane = |threads| Lane { threads, ready: BTreeMap::new(), executing: 0 };
        let lanes = threads.into_iter().map(lane).collect();
        Self { tasks: HashMap::new(), lanes, next: 0, paused: false }
    }

    /// The scheduler gives a task for a pool, which waits for [`arrived`](Self::arrived).
    pub(super) fn give(&mut self, key: &Key, run: i64, priority: Priority, lane: usize) -> Given {
        if let Some(task) = self.tasks.get_mut(key) {
            task.run = run;
            return Given::Again;
        }
        self.next += 1;
        let task = Task { number: self.next, run, priority, lane, state: State::Fetching };
        self.tasks.insert(key.clone(), task);
        Given::New(self.next)
    }

    /// All that a task needs is here.
    pub(super) fn arrived(&mut self, key: &Key, number: u64) {
        let task = self.tasks.get_mut(key).filter(|task| task.number == number);
        if let Some(task) = task.filter(|task| task.state == State::Fetching) {
            task.state = State::Ready;
            self.lanes[task.lane].ready.insert((task.priority.clone(), number), key.clone());
        }
    }

    /// The next task that is to be executed, if a thread of its pool is free.
    pub(super) fn next(&mut self) -> Option<(Key, u64)> {
        if self.paused {
            return None;
        }
        let ((_, number), key) = self.lanes.iter_mut().find_map(Lane::next)?;
        self.tasks.get_mut(&key)?.state = State::Executing;
        Some((key, number))
    }

    /// An execution is over; gives the run that the answer names, if it is wanted.
    pub(super) fn ended(&mut self, key: &Key, number: u64) -> Option<i64> {
        self.tasks.get(key).filter(|task| task.number == number)?;
        self.remove(key).map(|task| task.run)
    }

    /// Nobody wants this task any more; true if it was here.
    pub(super) fn free(&mut self, key: &Key) -> bool {
        self.remove(key).is_some()
    }

    /// Another worker would take the task: gives it away unless it has started,
    /// and says what Dask calls its state.
    pub(super) fn steal(&mut self, key: &Key) -> Option<&'static str> {
        match self.tasks.get(key)?.state {
            State::Executing => Some("executing"),
            state => {
                self.remove(key);
                Some(if state == State::Ready { "ready" } else { "waiting" })
            }
        }
    }

    /// Starts nothing any more, or again.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The keys of what has not started.
    pub(super) fn unstarted(&self) -> Vec<Key> {
        let waiting = self.tasks.iter().filter(|(_, task)| task.state != State::Executing);
        waiting.map(|(key, _)| key.clone()).collect()
    }

    /// Tasks that execute, that are ready, and that fetch what they need.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let executing = self.lanes.iter().map(|lane| lane.executing).sum();
        let ready = self.lanes.iter().map(|lane| lane.ready.len()).sum();
        (executing, ready, self.tasks.len() - executing - ready)
    }

    fn remove(&mut self, key: &Key) -> Option<Task> {
        let task = self.tasks.remove(key)?;
        let lane = &mut self.lanes[task.lane];
        match task.state {
            State::Fetching => {}
            State::Ready => drop(lane.ready.remove(&(task.priority.clone(), task.number))),
            State::Executing => lane.executing -= 1,
        }
        Some(task)
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        for (at, lane) in self.lanes.iter().enumerate() {
            let here = self.tasks.values().filter(|task| task.lane == at);
            let count = |state| here.clone().filter(|task| task.state == state).count();
            assert_eq!(lane.executing, count(State::Executing));
            assert_eq!(lane.ready.len(), count(State::Ready));
            assert!(lane.executing <= lane.threads);
            for ((_, number), key) in &lane.ready {
                assert_eq!(self.tasks[key].number, *number);
            }
        }
    }
}

impl Lane {
    /// Takes what is to be executed next, if a thread is free.
    fn next(&mut self) -> Option<((Priority, u64), Key)> {
        if self.executing == self.threads {
            return None;
        }
        let next = self.ready.pop_first()?;
        self.executing += 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Key {
        Key::from(name)
    }

    fn given(desk: &mut Desk, name: &str, priority: f64) -> u64 {
        given_to(desk, name, priority, 0)
    }

    fn given_to(desk: &mut Desk, name: &str, priority: f64, lane: usize) -> u64 {
        match desk.give(&key(name), 1, Priority::new([priority]), lane) {
            Given::New(number) => {
                desk.arrived(&key(name), number);
                number
            }
            Given::Again => panic!("it is new"),
        }
    }

    #[test]
    fn the_least_priority_comes_first_and_then_the_oldest() {
        let mut desk = Desk::new([9]);
        for (name, priority) in [("a", 0.0), ("b", -5.0), ("c", 1.5), ("d", -0.5), ("e", -5.0)] {
            given(&mut desk, name, priority);
        }
        let order = std::iter::from_fn(|| desk.next()).map(|(key, _)| key.to_string());
        assert_eq!(order.collect::<String>(), "bedac");
    }

    #[test]
    fn what_is_said_of_an_earlier_stay_changes_nothing() {
        let mut desk = Desk::new([1]);
        let first = given(&mut desk, "a", 0.0);
        assert_eq!(desk.next(), Some((key("a"), first)));
        assert!(desk.free(&key("a")));
        let second = given(&mut desk, "a", 0.0);
        assert_eq!(desk.ended(&key("a"), first), None);
        assert_eq!(desk.next(), Some((key("a"), second)));
        assert_eq!(desk.give(&key("a"), 7, Priority::default(), 0), Given::Again);
        assert_eq!(desk.ended(&key("a"), second), Some(7), "the latest run is answered");
    }

    #[test]
    fn only_what_has_not_started_is_given_away() {
        let mut desk = Desk::new([1]);
        given(&mut desk, "a", 0.0);
        given(&mut desk, "b", 0.0);
        desk.next();
        assert_eq!(desk.steal(&key("a")), Some("executing"));
        assert_eq!(desk.steal(&key("b")), Some("ready"));
        assert_eq!(desk.steal(&key("b")), None);
        assert_eq!(desk.counts(), (1, 0, 0));
    }

    #[test]
    fn a_pool_is_not_held_up_by_another() {
        let mut desk = Desk::new([1, 1]);
        for (name, lane) in [("a", 0), ("b", 0), ("c", 1), ("d", 1)] {
            given_to(&mut desk, name, 0.0, lane);
        }
        let started: Vec<_> = std::iter::from_fn(|| desk.next()).collect();
        let names: Vec<_> = started.iter().map(|(key, _)| key.to_string()).collect();
        assert_eq!((names, desk.counts()), (vec!["a".into(), "c".into()], (2, 2, 0)));
        desk.ended(&key("c"), started[1].1);
        assert_eq!(desk.next().map(|(key, _)| key), Some(key("d")));
    }

    proptest! {
        #[test]
        fn any_order_of_events_keeps_the_invariants(
            events in prop::collection::vec((0..7_u8, 0..6_u8, -2..3_i8), 0..200),
        ) {
            let mut desk = Desk::new([2, 1]);
            let mut numbers = HashMap::new();
            for (event, which, priority) in events {
                let key = key(&which.to_string());
                let number = numbers.get(&which).copied().unwrap_or(0);
                match event {
                    0 | 1 => if let Given::New(number) =
                        desk.give(&key, 1, Priority::new([priority.into()]), which as usize % 2)
                    {
                        numbers.insert(which, number);
                    },
                    2 => desk.arrived(&key, number),
                    3 => drop(desk.next()),
                    4 => drop(desk.ended(&key, number)),
                    5 => drop(desk.steal(&key)),
                    _ => drop(desk.free(&key)),
                }
                desk.check_invariants();
            }
        }
    }
}

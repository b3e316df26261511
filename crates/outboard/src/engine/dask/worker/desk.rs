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
//! same key changes nothing.

use std::collections::{BTreeMap, HashMap};

use dask_protocol::key::Key;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Desk {
    threads: usize,
    tasks: HashMap<Key, Task>,
    ready: BTreeMap<(Priority, u64), Key>,
    executing: usize,
    next: u64,
    paused: bool,
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
    pub(super) fn new(threads: usize) -> Self {
        let (tasks, ready) = (HashMap::new(), BTreeMap::new());
        Self { threads, tasks, ready, executing: 0, next: 0, paused: false }
    }

    /// The scheduler gives a task, which waits for [`arrived`](Self::arrived).
    pub(super) fn give(&mut self, key: &Key, run: i64, priority: Priority) -> Given {
        if let Some(task) = self.tasks.get_mut(key) {
            task.run = run;
            return Given::Again;
        }
        self.next += 1;
        let task = Task { number: self.next, run, priority, state: State::Fetching };
        self.tasks.insert(key.clone(), task);
        Given::New(self.next)
    }

    /// All that a task needs is here.
    pub(super) fn arrived(&mut self, key: &Key, number: u64) {
        let task = self.tasks.get_mut(key).filter(|task| task.number == number);
        if let Some(task) = task.filter(|task| task.state == State::Fetching) {
            task.state = State::Ready;
            self.ready.insert((task.priority.clone(), number), key.clone());
        }
    }

    /// The next task that is to be executed, if a thread is free.
    pub(super) fn next(&mut self) -> Option<(Key, u64)> {
        if self.paused || self.executing == self.threads {
            return None;
        }
        let ((_, number), key) = self.ready.pop_first()?;
        self.tasks.get_mut(&key)?.state = State::Executing;
        self.executing += 1;
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
        let (executing, ready) = (self.executing, self.ready.len());
        (executing, ready, self.tasks.len() - executing - ready)
    }

    fn remove(&mut self, key: &Key) -> Option<Task> {
        let task = self.tasks.remove(key)?;
        match task.state {
            State::Fetching => {}
            State::Ready => drop(self.ready.remove(&(task.priority.clone(), task.number))),
            State::Executing => self.executing -= 1,
        }
        Some(task)
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        let count = |state| self.tasks.values().filter(|task| task.state == state).count();
        assert_eq!(self.executing, count(State::Executing));
        assert_eq!(self.ready.len(), count(State::Ready));
        assert!(self.executing <= self.threads);
        for ((_, number), key) in &self.ready {
            assert_eq!(self.tasks[key].number, *number);
        }
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
        match desk.give(&key(name), 1, Priority::new([priority])) {
            Given::New(number) => {
                desk.arrived(&key(name), number);
                number
            }
            Given::Again => panic!("it is new"),
        }
    }

    #[test]
    fn the_least_priority_comes_first_and_then_the_oldest() {
        let mut desk = Desk::new(9);
        for (name, priority) in [("a", 0.0), ("b", -5.0), ("c", 1.5), ("d", -0.5), ("e", -5.0)] {
            given(&mut desk, name, priority);
        }
        let order = std::iter::from_fn(|| desk.next()).map(|(key, _)| key.to_string());
        assert_eq!(order.collect::<String>(), "bedac");
    }

    #[test]
    fn what_is_said_of_an_earlier_stay_changes_nothing() {
        let mut desk = Desk::new(1);
        let first = given(&mut desk, "a", 0.0);
        assert_eq!(desk.next(), Some((key("a"), first)));
        assert!(desk.free(&key("a")));
        let second = given(&mut desk, "a", 0.0);
        assert_eq!(desk.ended(&key("a"), first), None);
        assert_eq!(desk.next(), Some((key("a"), second)));
        assert_eq!(desk.give(&key("a"), 7, Priority::default()), Given::Again);
        assert_eq!(desk.ended(&key("a"), second), Some(7), "the latest run is answered");
    }

    #[test]
    fn only_what_has_not_started_is_given_away() {
        let mut desk = Desk::new(1);
        given(&mut desk, "a", 0.0);
        given(&mut desk, "b", 0.0);
        desk.next();
        assert_eq!(desk.steal(&key("a")), Some("executing"));
        assert_eq!(desk.steal(&key("b")), Some("ready"));
        assert_eq!(desk.steal(&key("b")), None);
        assert_eq!(desk.counts(), (1, 0, 0));
    }

    proptest! {
        #[test]
        fn any_order_of_events_keeps_the_invariants(
            events in prop::collection::vec((0..7_u8, 0..6_u8, -2..3_i8), 0..200),
        ) {
            let mut desk = Desk::new(2);
            let mut numbers = HashMap::new();
            for (event, which, priority) in events {
                let key = key(&which.to_string());
                let number = numbers.get(&which).copied().unwrap_or(0);
                match event {
                    0 | 1 => if let Given::New(number) =
                        desk.give(&key, 1, Priority::new([priority.into()]))
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

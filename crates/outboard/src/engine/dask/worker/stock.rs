//! Pure: what a worker of a cluster executes, and the results that it keeps
//! until they are no longer wanted.

use std::collections::HashMap;
use std::time::Instant;

use rmpv::Value;

use crate::engine::dask::message::Serialized;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Stock<H> {
    executing: HashMap<String, Executing<H>>,
    data: HashMap<String, Serialized>,
    next: u64,
}

#[derive(Debug)]
struct Executing<H> {
    number: u64,
    /// As the scheduler counts its starts of the task.
    run_id: Value,
    since: Instant,
    /// Dropping it stops the task.
    handle: H,
}

/// What is to be done about a task that a scheduler sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Execute it.
    Start,
    /// It is being executed already.
    Known,
    /// It is here: tell the scheduler of so many bytes.
    Done(usize),
}

impl<H> Default for Stock<H> {
    fn default() -> Self {
        Self { executing: HashMap::new(), data: HashMap::new(), next: 0 }
    }
}

impl<H> Stock<H> {
    /// A scheduler sends a task, perhaps again.
    pub(super) fn wants(&mut self, key: &str, run_id: &Value) -> Wanted {
        if let Some(executing) = self.executing.get_mut(key) {
            executing.run_id = run_id.clone();
            return Wanted::Known;
        }
        self.data.get(key).map_or(Wanted::Start, |object| Wanted::Done(bytes(object)))
    }

    /// The number of the next execution.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A task is being executed.
    pub(super) fn started(&mut self, key: String, number: u64, run_id: Value, handle: H) {
        let executing = Executing { number, run_id, since: Instant::now(), handle };
        self.executing.insert(key, executing);
    }

    /// An execution has ended; gives the scheduler's count if its result is still
    /// wanted.
    pub(super) fn ended(&mut self, key: &str, number: u64) -> Option<Value> {
        self.executing.get(key).filter(|executing| executing.number == number)?;
        self.executing.remove(key).map(|executing| executing.run_id)
    }

    /// Keeps a result.
    pub(super) fn keep(&mut self, key: String, object: Serialized) -> usize {
        let bytes = bytes(&object);
        self.data.insert(key, object);
        bytes
    }

    /// Forgets a key, and stops its task.
    pub(super) fn free(&mut self, key: &str) {
        self.executing.remove(key);
        self.data.remove(key);
    }

    /// Forgets a result, but no task.
    pub(super) fn drop_data(&mut self, key: &str) {
        self.data.remove(key);
    }

    /// Forgets everything, and stops all tasks.
    pub(super) fn clear(&mut self) {
        self.executing.clear();
        self.data.clear();
    }

    pub(super) fn executing(&self, key: &str) -> Option<&H> {
        self.executing.get(key).map(|executing| &executing.handle)
    }

    /// A result that is kept.
    pub(super) fn data(&self, key: &str) -> Option<&Serialized> {
        self.data.get(key)
    }

    /// The keys of all results.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.data.keys().map(String::as_str)
    }

    /// Which tasks have been executed for how many seconds.
    pub(super) fn times(&self) -> Vec<(Value, Value)> {
        let row = |(key, executing): (&String, &Executing<H>)| {
            (key.as_str().into(), executing.since.elapsed().as_secs_f64().into())
        };
        self.executing.iter().map(row).collect()
    }

    /// How many bytes the results have.
    pub(super) fn bytes(&self) -> usize {
        self.data.values().map(bytes).sum()
    }
}

fn bytes(object: &Serialized) -> usize {
    object.frames.iter().map(Vec::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dask::values::from_bytes;

    #[test]
    fn a_late_end_of_an_older_execution_is_ignored() {
        let mut stock = Stock::default();
        assert_eq!(stock.wants("a", &1.into()), Wanted::Start);
        let first = stock.number();
        stock.started("a".into(), first, 1.into(), ());
        stock.free("a");
        let second = stock.number();
        stock.started("a".into(), second, 2.into(), ());
        assert_eq!(stock.ended("a", first), None);
        assert_eq!(stock.wants("a", &3.into()), Wanted::Known);
        assert_eq!(stock.ended("a", second), Some(3.into()));
    }

    #[test]
    fn a_result_is_kept_until_it_is_freed() {
        let mut stock = Stock::<()>::default();
        assert_eq!(stock.keep("a".into(), from_bytes(vec![1, 2, 3])), 3);
        assert_eq!(stock.wants("a", &1.into()), Wanted::Done(3));
        assert_eq!((stock.bytes(), stock.keys().count()), (3, 1));
        stock.free("a");
        assert!(stock.data("a").is_none());
    }
}

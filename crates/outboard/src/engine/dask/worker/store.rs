//! Pure: the results and data that this worker holds for the cluster, and how
//! much of its memory they take. Values that a client of Rust scattered are held as
//! this machine's worker processes map them.

use std::collections::HashMap;
use std::sync::Arc;

use dask_protocol::Serialized;
use dask_protocol::key::Key;
use dask_protocol::message::Places;

use super::spec::Needed;
use crate::engine::dask::shelf;
use crate::value::scatter::Entry;

/// From which share of the limit on nothing new is started, and below which
/// share it is again.
const FULL: f64 = 0.8;
const ROOMY: f64 = 0.6;

/// Up to which share of the limit arguments are taken: results have to find room.
const PASSING: f64 = 0.5;

/// Room for what describes a value, beside its bytes.
const DESCRIBED: usize = 512;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Store {
    held: HashMap<Key, Held>,
    bytes: usize,
    /// Those of arguments, which leave when their task has run.
    passing: usize,
    limit: usize,
    full: bool,
}

/// Something that is held.
#[derive(Clone, Debug)]
pub(super) enum Held {
    Value(Arc<Serialized>),
    Scattered(Arc<Entry>),
}

impl Held {
    fn bytes(&self) -> usize {
        match self {
            Self::Value(object) => object.size(),
            Self::Scattered(entry) => entry.bytes.len(),
        }
    }

    /// As it goes to others.
    fn value(&self) -> Arc<Serialized> {
        match self {
            Self::Value(object) => object.clone(),
            Self::Scattered(entry) => Arc::new(Serialized::from_bytes(entry.bytes.to_vec())),
        }
    }
}

impl From<Arc<Serialized>> for Held {
    fn from(object: Arc<Serialized>) -> Self {
        Self::Value(object)
    }
}

/// Whether a key stands for arguments.
fn passes(key: &Key) -> bool {
    key.as_str().is_some_and(shelf::is_passing)
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        Self { held: HashMap::new(), bytes: 0, passing: 0, limit, full: false }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Serialized>> {
        self.held.get(key).map(Held::value)
    }

    /// What tasks of Rust are given that name it, if it was scattered by Rust.
    pub(super) fn scattered(&self, key: &Key) -> Option<Arc<Entry>> {
        match self.held.get(key)? {
            Held::Scattered(entry) => Some(entry.clone()),
            Held::Value(_) => None,
        }
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.held.contains_key(key)
    }

    /// Holds a value, unless that would be more than fits.
    pub(super) fn put(&mut self, key: Key, object: impl Into<Held>) -> bool {
        self.remove(&key);
        let object = object.into();
        let bytes = object.bytes() + DESCRIBED;
        let passes = passes(&key);
        let share = if passes { PASSING } else { 1.0 };
        if (self.bytes + bytes) as f64 > self.limit as f64 * share {
            return false;
        }
        self.bytes += bytes;
        self.passing += if passes { bytes } else { 0 };
        self.held.insert(key, object);
        self.measure();
        true
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(object) = self.held.remove(key) {
            let bytes = object.bytes() + DESCRIBED;
            self.bytes -= bytes;
            self.passing -= if passes(key) { bytes } else { 0 };
            self.measure();
        }
    }

    fn measure(&mut self) {
        let share = if self.full { ROOMY } else { FULL };
        // What only passes through does so by tasks that are started.
        self.full = (self.bytes - self.passing) as f64 > self.limit as f64 * share;
    }

    /// Whether nothing more is to be computed before something is freed.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.held.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// What a task needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Values that are here.
    pub(super) values: Needed,
    /// Scattered values that are here, for a task of Rust.
    pub(super) scattered: Vec<Arc<Entry>>,
    /// Those that are elsewhere, and where.
    pub(super) missing: Places,
}

/// What a task needs; `by_rust` if a client of Rust calls it with a payload.
pub(super) fn needs(who_has: Places, store: &Store, by_rust: bool) -> Needs {
    let mut needs = Needs::default();
    for (key, places) in who_has {
        if let Some(entry) = store.scattered(&key).filter(|_| by_rust) {
            needs.scattered.push(entry);
        } else if let Some(value) = store.get(&key) {
            needs.values.insert(key, value);
        } else {
            needs.missing.push((key, places));
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_counted() {
        let key = |name: &str| Key::from(name);
        let value = |bytes| Arc::new(Serialized::from_bytes(vec![0; bytes]));
        let mut store = Store::new(10_000);
        assert!(store.put(key("a"), value(6_000)) && !store.is_full());
        assert!(!store.put(key("b"), value(4_000)), "it does not fit");
        assert!(store.put(key("b"), value(2_000)) && store.is_full());
        assert!(store.put(key("b"), value(1_000)) && store.is_full(), "not yet roomy");
        store.remove(&key("a"));
        assert!(!store.is_full() && store.bytes() == 1_512);
        store.remove(&key("b"));
        assert!(store.is_empty() && store.bytes() == 0);
    }

    #[test]
    fn arguments_do_not_keep_their_own_tasks_from_running() {
        let key = Key::from("outboard-arguments-0000000000000001-1");
        let value = |bytes| Arc::new(Serialized::from_bytes(vec![0; bytes]));
        let mut store = Store::new(10_000);
        assert!(!store.put(key.clone(), value(6_000)), "results need room");
        assert!(store.put(Key::from("a"), value(4_000)));
        assert!(!store.put(key.clone(), value(1_000)));
        store.remove(&Key::from("a"));
        assert!(store.put(key.clone(), value(4_000)));
        assert!(store.put(Key::from("a"), value(4_500)) && !store.is_full());
        store.remove(&key);
        assert!(!store.is_full() && store.bytes() == 5_012 && store.passing == 0);
    }
}

//! Which worker has which task: what schedulers are asked while somebody looks at a
//! client, and only then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dask_protocol::key::Key;

/// For how long one look counts.
const LOOKED: Duration = Duration::from_secs(10);

/// Workers by their address, each with the tasks that a scheduler has given it.
type Tasks = Vec<(String, Vec<Key>)>;

/// What each scheduler said last.
#[derive(Debug)]
pub(super) struct Running {
    schedulers: Vec<Mutex<Tasks>>,
    looked: Mutex<Option<Instant>>,
}

impl Running {
    pub(super) fn new(schedulers: usize) -> Self {
        let schedulers = (0..schedulers).map(|_| Mutex::default()).collect();
        Self { schedulers, looked: Mutex::default() }
    }

    /// Somebody looks.
    pub(super) fn look(&self) {
        *lock(&self.looked) = Some(Instant::now());
    }

    /// Whether somebody looks: otherwise, what was said is forgotten.
    pub(super) fn is_wanted(&self, at: usize) -> bool {
        let wanted = lock(&self.looked).is_some_and(|since| since.elapsed() < LOOKED);
        if !wanted {
            self.tell(at, Vec::new());
        }
        wanted
    }

    pub(super) fn tell(&self, at: usize, tasks: Tasks) {
        *lock(&self.schedulers[at]) = tasks;
    }

    /// The keys of a worker's tasks.
    pub(super) fn at(&self, at: usize, address: &str) -> Vec<Key> {
        let tasks = lock(&self.schedulers[at]);
        let found = tasks.iter().find(|(place, _)| place == address);
        found.map(|(_, keys)| keys.clone()).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

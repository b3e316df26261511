//! How far the tasks say that they are that a worker executes, for clients that ask it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dask_protocol::key::Key;
use dask_protocol::message::TaskProgress;

use crate::task::progress::Progress;

/// How far the tasks say that they are that are executed, by their keys.
#[derive(Default)]
pub(in crate::engine::dask) struct Executions(Mutex<HashMap<Key, Says>>);

/// Tells how far a task says that it is.
pub(in crate::engine::dask) type Says = Box<dyn Fn() -> Option<Progress> + Send>;

impl Executions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Says>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::engine::dask) fn begin(&self, key: &Key, progress: Says) -> Execution<'_> {
        self.lock().insert(key.clone(), progress);
        Execution(self, key.clone())
    }

    /// What the tasks with these keys say.
    pub(in crate::engine::dask) fn progress(&self, keys: Vec<Key>) -> Vec<(Key, TaskProgress)> {
        let executions = self.lock();
        let of = |key: Key| {
            let Progress { done, total, text } = executions.get(&key)?()?;
            Some((key, TaskProgress { done, total, text }))
        };
        keys.into_iter().filter_map(of).collect()
    }
}

/// A task that is executed, until this is dropped.
pub(in crate::engine::dask) struct Execution<'a>(&'a Executions, Key);

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

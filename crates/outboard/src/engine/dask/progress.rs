//! How far tasks at workers say that they are, of those that somebody looks at.

/// What a worker knows of it.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(super) mod executions;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::task::progress::Progress;

/// What is known of one scheduler's tasks.
#[derive(Debug, Default)]
pub(super) struct Said {
    known: Mutex<Known>,
    /// Somebody has looked.
    looked: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// By key, as it was last.
    values: HashMap<String, Progress>,
    /// The keys that were looked at since workers were asked.
    wanted: HashSet<String>,
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a task said, as far as is known; its worker is asked for the next look.
    pub(super) fn look(&self, key: &str) -> Option<Progress> {
        let mut known = self.lock();
        if !known.wanted.contains(key) {
            known.wanted.insert(key.to_owned());
            self.looked.notify_one();
        }
        known.values.get(key).cloned()
    }

    /// Waits until somebody looks; gives the keys.
    pub(super) async fn wanted(&self) -> HashSet<String> {
        loop {
            let wanted = std::mem::take(&mut self.lock().wanted);
            if !wanted.is_empty() {
                return wanted;
            }
            self.looked.notified().await;
        }
    }

    /// What workers have answered. What is not there any more is forgotten.
    pub(super) fn tell(
        &self,
        said: impl IntoIterator<Item = (String, Progress)>,
        is_there: impl Fn(&str) -> bool,
    ) {
        let mut known = self.lock();
        known.values.extend(said);
        known.values.retain(|key, _| is_there(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_has_what_was_said_before_and_asks_for_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (said, half) = (Said::default(), Progress::new(1, 2, String::new()));
        assert_eq!(said.look("a"), None);
        assert_eq!(runtime.block_on(said.wanted()), HashSet::from(["a".to_owned()]));
        said.tell([("a".to_owned(), half.clone()), ("b".to_owned(), half.clone())], |key| {
            key == "a"
        });
        assert_eq!((said.look("a"), said.look("b")), (Some(half), None));
        assert_eq!(runtime.block_on(said.wanted()).len(), 2);
        said.tell([], |_| false);
        assert_eq!(said.look("a"), None, "it has ended");
    }
}

//! Pure: which scattered values the workers of one scheduler have.
//!
//! A value is **coming** from the first task on that names it, which waits for
//! that; **there** when it is uploaded, until its client drops it, or the cluster
//! says that it was lost; then the next task has it come again, by another key, so
//! that nothing that is still said of the old one is taken for it. One that could
//! not be uploaded has **failed**, and so do the tasks that waited for it.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use crate::error::Error;
use crate::task::Function;

/// Before the number of a value, in the key by which a cluster knows it.
const PREFIX: &str = "outboard-scattered-";

/// A scattered value that a task names.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) id: u64,
    pub(crate) bytes: Bytes,
    /// By which the cluster knows it, once it is there.
    pub(crate) key: String,
}

/// A value that is to be brought to workers.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) key: String,
    /// `None`: it is there, and more workers are to have it.
    pub(crate) bytes: Option<Bytes>,
    /// A task function whose workers are to have it.
    pub(crate) function: &'static Function,
}

/// How far the values of a task are.
#[derive(Debug)]
pub(crate) enum Found {
    There,
    Coming,
    Failed(Error),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    values: HashMap<u64, Held>,
    uploads: u64,
}

#[derive(Debug)]
struct Held {
    key: String,
    state: State,
    /// Tasks that were sent and name it.
    users: usize,
    /// How many tasks name it that cannot be sent yet.
    waiting: usize,
    /// For how many tasks at once it was brought to workers.
    spread: usize,
}

#[derive(Debug)]
enum State {
    Coming,
    There,
    Failed(Error),
}

/// The number of the value that a key stands for, if it is one.
pub(crate) fn number(key: &str) -> Option<u64> {
    let (number, _) = key.strip_prefix(PREFIX)?.split_once('-')?;
    u64::from_str_radix(number, 16).ok()
}

impl Shelf {
    /// Begins to look through all tasks that are to be sent.
    pub(crate) fn begin(&mut self) {
        self.values.values_mut().for_each(|held| held.waiting = 0);
    }

    /// Whether a task can be sent, for all values that it names are there, and
    /// now have their keys; what has to be brought for that.
    pub(crate) fn look(
        &mut self,
        values: &mut [Named],
        function: &'static Function,
        uploads: &mut Vec<Upload>,
    ) -> Found {
        let mut found = Found::There;
        for value in &mut *values {
            let held = self.values.entry(value.id).or_insert_with(|| {
                self.uploads += 1;
                let key = format!("{PREFIX}{:016x}-{}", value.id, self.uploads);
                let bytes = Some(value.bytes.clone());
                uploads.push(Upload { key: key.clone(), bytes, function });
                Held { key, state: State::Coming, users: 0, waiting: 0, spread: 0 }
            });
            match (&held.state, &found) {
                (_, Found::Failed(_)) | (State::There, _) => {}
                (State::Coming, _) => found = Found::Coming,
                (State::Failed(error), _) => found = Found::Failed(error.clone()),
            }
            value.key.clone_from(&held.key);
        }
        for value in values {
            let Some(held) = self.values.get_mut(&value.id) else { continue };
            match found {
                Found::There => held.users += 1,
                Found::Coming => held.waiting += 1,
                Found::Failed(_) => {}
            }
            let there = matches!(held.state, State::There);
            if there && held.users > (2 * held.spread).max(1) {
                held.spread = held.users;
                if !uploads.iter().any(|upload| upload.key == held.key) {
                    uploads.push(Upload { key: held.key.clone(), bytes: None, function });
                }
            }
        }
        found
    }

    /// All tasks were looked at: forgets what failed.
    pub(crate) fn end(&mut self) {
        self.values.retain(|_, held| !matches!(held.state, State::Failed(_)));
    }

    /// For how many tasks a value is to be brought to workers now.
    pub(crate) fn tasks_of(&mut self, key: &str) -> usize {
        self.by_key(key).map_or(0, |held| {
            held.spread = held.spread.max(held.users + held.waiting);
            held.spread
        })
    }

    /// Tasks that were sent have ended.
    pub(crate) fn left(&mut self, values: &[Named]) {
        for value in values {
            if let Some(held) = self.by_key(&value.key) {
                held.users = held.users.saturating_sub(1);
            }
        }
    }

    /// An upload has ended; false if nobody wants the value any more.
    pub(crate) fn arrived(&mut self, key: &str, result: Result<(), Error>) -> bool {
        let Some(held) = self.by_key(key) else { return false };
        held.state = match result {
            Ok(()) => State::There,
            Err(error) => State::Failed(error),
        };
        true
    }

    /// The cluster has lost a value; whether that is one that counted as there.
    pub(crate) fn lost(&mut self, key: &str) -> bool {
        let there = self.by_key(key).is_some_and(|held| matches!(held.state, State::There));
        there && number(key).and_then(|id| self.values.remove(&id)).is_some()
    }

    /// Nobody has a value any more; gives the key that is to be released, unless
    /// it is still on its way.
    pub(crate) fn forget(&mut self, id: u64) -> Option<String> {
        let held = self.values.remove(&id)?;
        matches!(held.state, State::There).then_some(held.key)
    }

    /// The scheduler was lost.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }

    fn by_key(&mut self, key: &str) -> Option<&mut Held> {
        self.values.get_mut(&number(key)?).filter(|held| held.key == key)
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named")
            .field("id", &self.id)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.as_ref().map(Bytes::len);
        let mut shown = f.debug_struct("Upload");
        shown.field("key", &self.key).field("bytes", &bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of<F: crate::TaskFunction<M>, M>(f: F) -> &'static Function {
        f.known().unwrap().0
    }

    fn named(id: u64) -> Vec<Named> {
        vec![Named { id, bytes: Bytes::from_static(b"value"), key: String::new() }]
    }

    /// Looks at so many tasks that name a value; the last, and what is to be brought.
    fn look(shelf: &mut Shelf, id: u64, tasks: usize) -> (Found, Vec<Named>, Vec<Upload>) {
        let (mut found, mut values, mut uploads) = (Found::There, named(id), Vec::new());
        shelf.begin();
        for _ in 0..tasks {
            values = named(id);
            found = shelf.look(&mut values, function_of(|n: u64| n), &mut uploads);
        }
        shelf.end();
        (found, values, uploads)
    }

    #[test]
    fn a_value_is_uploaded_once_for_all_that_wait_for_it() {
        let mut shelf = Shelf::default();
        let (found, values, uploads) = look(&mut shelf, 7, 3);
        assert!(matches!(found, Found::Coming));
        let [upload] = &uploads[..] else { panic!("{uploads:?}") };
        assert_eq!((number(&upload.key), &upload.key), (Some(7), &values[0].key));
        assert!(look(&mut shelf, 7, 4).2.is_empty());
        assert_eq!(shelf.tasks_of(&upload.key), 4);
        assert!(shelf.arrived(&upload.key, Ok(())));
        let (found, values, uploads) = look(&mut shelf, 7, 8);
        assert!(matches!(found, Found::There) && uploads.is_empty());
        // Twice as many as it was brought for: others are to have it too.
        let (_, _, uploads) = look(&mut shelf, 7, 10);
        assert!(matches!(&uploads[..], [Upload { bytes: None, .. }]), "{uploads:?}");
        (0..18).for_each(|_| shelf.left(&values));
        assert_eq!(shelf.forget(7).as_ref(), Some(&values[0].key));
        assert_eq!(shelf.forget(7), None);
    }

    #[test]
    fn a_value_that_was_lost_comes_again_by_another_key() {
        let mut shelf = Shelf::default();
        let first = look(&mut shelf, 1, 1).2.remove(0).key;
        assert!(!shelf.lost(&first), "it was not there yet");
        shelf.arrived(&first, Ok(()));
        assert!(shelf.lost(&first) && !shelf.lost(&first));
        let second = look(&mut shelf, 1, 1).2.remove(0).key;
        assert_ne!(first, second);
        assert!(!shelf.arrived(&first, Ok(())) && shelf.arrived(&second, Ok(())));
        shelf.clear();
        assert!(matches!(look(&mut shelf, 1, 1).0, Found::Coming));
    }

    #[test]
    fn what_cannot_be_uploaded_fails_those_that_wait_and_nobody_after_them() {
        let mut shelf = Shelf::default();
        let key = look(&mut shelf, 1, 2).2.remove(0).key;
        assert!(shelf.arrived(&key, Err(Error::unavailable("no room"))));
        assert!(matches!(look(&mut shelf, 1, 2).0, Found::Failed(_)));
        assert!(matches!(look(&mut shelf, 1, 1).0, Found::Coming));
    }

    #[test]
    fn what_nobody_wants_any_more_is_released_when_it_has_come() {
        let mut shelf = Shelf::default();
        let key = look(&mut shelf, 1, 1).2.remove(0).key;
        assert_eq!(shelf.forget(1), None, "it is not there yet");
        assert!(!shelf.arrived(&key, Ok(())));
    }

    #[test]
    fn other_keys_are_no_values() {
        for key in ["", "fib-1", "outboard-scattered-", "outboard-scattered-xyz-1", PREFIX] {
            assert_eq!(number(key), None, "{key}");
        }
        assert_eq!(number("outboard-scattered-00000000000000ff-12"), Some(255));
    }
}

//! Pure: which values of this client the workers of one scheduler have: those that
//! it scattered, and large arguments, which go to a worker as such values do and are
//! released with their task.
//!
//! A value is **coming** from the first task on that names it, which waits for
//! that; **there** when it is uploaded, until its client drops it, or the cluster
//! says that it was lost; then the next task has it come again, by another key, so
//! that nothing that is still said of the old one is taken for it. One that could
//! not be uploaded has **failed**, and so do the tasks that waited for it; arguments
//! travel with their task then.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use super::wanted::Wanted;
use crate::task::outcome::Failure;

/// Before the number of a value, in the key by which a cluster knows it.
const SCATTERED: &str = "outboard-scattered-";
const ARGUMENTS: &str = "outboard-arguments-";

/// A value that a task names, or its arguments.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) id: u64,
    pub(crate) bytes: Bytes,
    pub(crate) kind: Kind,
    /// By which the cluster knows it, once it is there.
    pub(crate) key: String,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scattered,
    Arguments,
}

/// A value that is to be brought to workers.
#[derive(Clone)]
pub(crate) struct Upload {
    pub(crate) key: String,
    /// `None`: it is there, and more workers are to have it.
    pub(crate) bytes: Option<Bytes>,
    pub(crate) kind: Kind,
    /// Of a task whose workers are to have it.
    pub(crate) wanted: Wanted,
}

/// How far the values of a task are.
#[derive(Debug)]
pub(crate) enum Found {
    There,
    Coming,
    Failed(Failure),
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    values: HashMap<u64, Held>,
    uploads: u64,
    /// What arguments may take at workers, and what they take, in bytes.
    room: usize,
    passing: usize,
}

#[derive(Debug)]
struct Held {
    key: String,
    state: State,
    kind: Kind,
    bytes: usize,
    /// The worker to which it goes.
    place: Option<String>,
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
    Failed(Failure),
}

/// The number of the scattered value that a key stands for, if it is one.
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
pub(crate) fn number(key: &str) -> Option<u64> {
    number_after(SCATTERED, key)
}

/// Whether a client of Rust gave a key to something that it brought.
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
pub(crate) fn is_brought(key: &str) -> bool {
    number(key).is_some() || is_passing(key)
}

/// Whether a key stands for arguments, which are released with their task.
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
pub(crate) fn is_passing(key: &str) -> bool {
    number_after(ARGUMENTS, key).is_some()
}

fn number_after(prefix: &str, key: &str) -> Option<u64> {
    let (number, _) = key.strip_prefix(prefix)?.split_once('-')?;
    u64::from_str_radix(number, 16).ok()
}

impl Shelf {
    /// Arguments may take so many bytes at the workers.
    pub(crate) fn room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Begins to look through all tasks that are to be sent.
    pub(crate) fn begin(&mut self) {
        self.values.values_mut().for_each(|held| held.waiting = 0);
    }

    /// Whether arguments have to wait until others have left their worker.
    fn is_full(&self, value: &Named) -> bool {
        let more = self.passing.saturating_add(value.bytes.len());
        let new = value.kind == Kind::Arguments && !self.values.contains_key(&value.id);
        new && self.passing > 0 && more > self.room
    }

    /// Has a value come, unless it does already.
    fn want(&mut self, value: &Named, wanted: &Wanted, uploads: &mut Vec<Upload>) {
        if self.values.contains_key(&value.id) {
            return;
        }
        self.uploads += 1;
        let (prefix, bytes) = match value.kind {
            Kind::Scattered => (SCATTERED, 0),
            Kind::Arguments => (ARGUMENTS, value.bytes.len()),
        };
        self.passing += bytes;
        let (key, kind) = (format!("{prefix}{:016x}-{}", value.id, self.uploads), value.kind);
        let (content, wanted) = (Some(value.bytes.clone()), wanted.clone());
        uploads.push(Upload { key: key.clone(), bytes: content, kind, wanted });
        let (state, place) = (State::Coming, None);
        let held = Held { key, state, kind, bytes, place, users: 0, waiting: 0, spread: 0 };
        self.values.insert(value.id, held);
    }

    /// Whether a task can be sent, for all values that it names are there, and
    /// now have their keys; what has to be brought for that.
    pub(crate) fn look(
        &mut self,
        values: &mut [Named],
        wanted: &Wanted,
        uploads: &mut Vec<Upload>,
    ) -> Found {
        if values.iter().any(|value| self.is_full(value)) {
            return Found::Coming;
        }
        let mut found = Found::There;
        for value in &mut *values {
            self.want(value, wanted, uploads);
            let Some(held) = self.values.get(&value.id) else { continue };
            value.key.clone_from(&held.key);
            match (&held.state, &found) {
                (_, Found::Failed(_)) | (State::There, _) => {}
                (State::Coming, _) => found = Found::Coming,
                (State::Failed(_), _) if held.kind == Kind::Arguments => value.key.clear(),
                (State::Failed(failure), _) => found = Found::Failed(failure.clone()),
            }
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
                    let (key, kind) = (held.key.clone(), held.kind);
                    uploads.push(Upload { key, bytes: None, kind, wanted: wanted.clone() });
                }
            }
        }
        found
    }

    /// All tasks were looked at: forgets what failed.
    pub(crate) fn end(&mut self) {
        let failed = self.values.iter().filter(|(_, held)| matches!(held.state, State::Failed(_)));
        for id in failed.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.remove(id);
        }
    }

    /// A value goes to that worker.
    pub(crate) fn placed(&mut self, key: &str, place: &str) {
        if let Some(held) = self.by_key(key) {
            held.place = Some(place.to_owned());
        }
    }

    /// How many bytes of arguments are at a worker, or on their way to it.
    pub(crate) fn passing_at(&self, place: &str) -> usize {
        let there = self.values.values().filter(|held| held.place.as_deref() == Some(place));
        there.map(|held| held.bytes).sum()
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
    pub(crate) fn arrived(&mut self, key: &str, result: Result<(), Failure>) -> bool {
        let Some(held) = self.by_key(key) else { return false };
        held.state = match result {
            Ok(()) => State::There,
            Err(failure) => State::Failed(failure),
        };
        true
    }

    /// The cluster has lost a value; whether that is one that counted as there.
    pub(crate) fn lost(&mut self, key: &str) -> bool {
        let there = self.by_key(key).is_some_and(|held| matches!(held.state, State::There));
        there && id(key).and_then(|id| self.remove(id)).is_some()
    }

    /// Nobody has a value any more; gives the key that is to be released, unless
    /// it is still on its way.
    pub(crate) fn forget(&mut self, id: u64) -> Option<String> {
        let held = self.remove(id)?;
        matches!(held.state, State::There).then_some(held.key)
    }

    /// The scheduler was lost.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.passing = 0;
    }

    fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.values.remove(&id)?;
        self.passing -= held.bytes;
        Some(held)
    }

    fn by_key(&mut self, key: &str) -> Option<&mut Held> {
        self.values.get_mut(&id(key)?).filter(|held| held.key == key)
    }
}

fn id(key: &str) -> Option<u64> {
    [SCATTERED, ARGUMENTS].iter().find_map(|prefix| number_after(prefix, key))
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

    fn wanted<F: crate::TaskFunction<M>, M>(f: F) -> Wanted {
        Wanted { function: f.known().unwrap().0, build: None, pool: None }
    }

    fn named(id: u64) -> Vec<Named> {
        named_as(Kind::Scattered, id)
    }

    fn named_as(kind: Kind, id: u64) -> Vec<Named> {
        vec![Named { id, bytes: Bytes::from_static(b"value"), kind, key: String::new() }]
    }

    /// Looks at so many tasks that name a value; the last, and what is to be brought.
    fn look(shelf: &mut Shelf, id: u64, tasks: usize) -> (Found, Vec<Named>, Vec<Upload>) {
        let (mut found, mut values, mut uploads) = (Found::There, named(id), Vec::new());
        shelf.begin();
        for _ in 0..tasks {
            values = named(id);
            found = shelf.look(&mut values, &wanted(|n: u64| n), &mut uploads);
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
        assert!(shelf.arrived(&key, Err(Failure::Unavailable("no room".into()))));
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
        for key in ["", "fib-1", "outboard-scattered-", "outboard-scattered-xyz-1", SCATTERED] {
            assert_eq!(number(key), None, "{key}");
        }
        assert_eq!(number("outboard-scattered-00000000000000ff-12"), Some(255));
    }

    #[test]
    fn arguments_wait_for_room_and_travel_with_their_task_if_they_must() {
        let mut shelf = Shelf::default();
        shelf.room(12);
        let mut uploads = Vec::new();
        let mut look = |shelf: &mut Shelf, id| {
            let mut values = named_as(Kind::Arguments, id);
            shelf.begin();
            let found = shelf.look(&mut values, &wanted(|n: u64| n), &mut uploads);
            shelf.end();
            (found, values.remove(0).key, uploads.len())
        };
        let (first, second) = (look(&mut shelf, 1), look(&mut shelf, 2));
        assert_eq!((first.2, second.2), (1, 2));
        assert!(is_passing(&first.1) && is_brought(&first.1) && number(&first.1).is_none());
        shelf.placed(&first.1, "a");
        assert_eq!((shelf.passing_at("a"), shelf.passing_at("b")), (5, 0));
        let third = look(&mut shelf, 3);
        assert!(matches!(third.0, Found::Coming) && third.2 == 2, "there is no room");
        assert_eq!(shelf.forget(1), None);
        assert_eq!(look(&mut shelf, 3).2, 3);
        shelf.arrived(&second.1, Err(Failure::Unavailable("unreachable".into())));
        let second = look(&mut shelf, 2);
        assert!(matches!(second.0, Found::There) && second.1.is_empty());
        assert_eq!(shelf.forget(3), None);
        assert_eq!((shelf.passing, shelf.values.len()), (0, 0));
    }
}

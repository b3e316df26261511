//! The pools of one client. Each is a gate with an engine, workers, bounds and settings of
//! its own. They share their clock and the numbers of their workers and tasks.

use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;

use super::Gate;
use super::settings::Settings;
use crate::error::{Error, Repr};
use crate::ids::Tags;
use crate::task::registry::Function;
use crate::value::scatter::home::{Placed, Workers};

/// The name of the pool that every client has.
pub(crate) const DEFAULT: &str = "default";

/// The name of the pool whose workers are Python.
const PYTHON: &str = "python";

/// The most pools of a client.
const MOST: usize = 64;

/// Names a pool of one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolId(u8);

/// The pool that a handle of a client submits to.
#[derive(Clone, Debug, Default)]
pub(crate) enum Choice {
    /// That of the task function.
    #[default]
    OfFunction,
    /// One by its name, whatever the task function says.
    Named(Arc<str>),
}

/// The gates of one client, the default pool's first; and what other names stand for.
#[derive(Debug)]
pub(crate) struct Pools(Box<[Arc<Gate>]>, Others);

/// What names stand for that are those of no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// For nothing.
    Lacking,
    /// For the default pool.
    Same,
    /// For pools of a cluster's workers, which tasks of the one gate name.
    #[cfg(feature = "dask")]
    OfWorkers,
}

/// What a pool has in common with the others of its client.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    /// When the client was started, which events and snapshots count from.
    pub(crate) start: Instant,
    /// Its client does not wait for its first worker.
    pub(crate) lazy: bool,
    place: u32,
    of: NonZeroU32,
    /// The number of the worker that came last.
    last_worker: Arc<AtomicUsize>,
}

/// The numbers of a pool's workers. No two workers of a client have the same.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// Of those that it starts with.
    first: Range<usize>,
    last_worker: Arc<AtomicUsize>,
}

impl Pools {
    /// An engine whose workers are others', and have the pools that they have.
    #[cfg(feature = "dask")]
    pub(crate) fn of_workers(gate: Arc<Gate>) -> Self {
        Self([gate].into(), Others::OfWorkers)
    }

    /// An engine that has one pool, whatever a task asks for.
    pub(crate) fn of_any_name(gate: Arc<Gate>) -> Self {
        Self([gate].into(), Others::Same)
    }

    /// Whether each task has to say which pool it is for.
    pub(crate) fn are_of_workers(&self) -> bool {
        !matches!(self.1, Others::Lacking | Others::Same)
    }

    /// Starts the default pool and those that the settings name, each as its own ones say.
    ///
    /// # Errors
    ///
    /// That of the first that cannot be started; the others are ended.
    pub(crate) fn start(
        mut settings: Settings,
        start: impl Fn(Settings, Member) -> Result<Arc<Gate>, Error>,
    ) -> Result<Self, Error> {
        let named = std::mem::take(&mut settings.pools);
        let of = NonZeroU32::MIN.saturating_add(named.len() as u32);
        let (begin, last_worker) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let all = std::iter::once((DEFAULT.into(), settings)).chain(named);
        let mut gates: Vec<Arc<Gate>> = Vec::new();
        for (place, (name, settings)) in (0..).zip(all) {
            let last_worker = last_worker.clone();
            let lazy = settings.lazy;
            let member = Member { name, start: begin, lazy, place, of, last_worker };
            match start(settings, member) {
                Ok(gate) => gates.push(gate),
                Err(error) => {
                    let closed = Error::closed("another pool could not be started");
                    gates.iter().for_each(|gate| gate.end(&closed));
                    return Err(error);
                }
            }
        }
        Ok(Self(gates.into(), Others::Lacking))
    }

    pub(crate) fn default_pool(&self) -> &Arc<Gate> {
        &self.0[0]
    }

    pub(crate) fn get(&self, pool: PoolId) -> &Arc<Gate> {
        &self.0[usize::from(pool.0)]
    }

    pub(crate) fn all(&self) -> &[Arc<Gate>] {
        &self.0
    }

    pub(crate) fn find(&self, name: &str) -> Option<PoolId> {
        if self.1 == Others::Same {
            return Some(PoolId::default());
        }
        let place = self.0.iter().position(|gate| gate.pool() == name)?;
        u8::try_from(place).ok().map(PoolId)
    }

    /// The pool for a task of a function.
    ///
    /// # Errors
    ///
    /// `UnknownTask`, with the pools that there are.
    pub(crate) fn choose(&self, choice: &Choice, function: &Function) -> Result<PoolId, Error> {
        let name = match choice {
            // Without that pool the default one says what is missing. A cluster has Python anyway.
            Choice::OfFunction if function.python => {
                return Ok(self.find(PYTHON).unwrap_or_default());
            }
            Choice::OfFunction => function.pool.unwrap_or(DEFAULT),
            Choice::Named(name) => name,
        };
        self.named(name).ok_or_else(|| self.lacks(name, Some(function.name)))
    }

    /// The pool that has the tasks for a name.
    pub(crate) fn named(&self, name: &str) -> Option<PoolId> {
        match self.are_of_workers() || name == DEFAULT {
            true => Some(PoolId::default()),
            false => self.find(name),
        }
    }

    /// The error of a pool that there is not.
    pub(crate) fn lacks(&self, pool: &str, task: Option<&str>) -> Error {
        let there_are: Vec<_> = self.0.iter().map(|gate| format!("`{}`", gate.pool())).collect();
        Error::new(Repr::UnknownPool {
            pool: pool.into(),
            task: task.map(Into::into),
            there_are: there_are.join(", "),
        })
    }

    /// Who has to be told of scattered values, if anyone.
    ///
    /// # Errors
    ///
    /// `Closed` or `Unavailable`, where no task could have one.
    pub(crate) fn workers(&self) -> Result<Option<Arc<dyn Workers>>, Error> {
        let found: Result<Vec<_>, Error> = self.0.iter().map(|gate| gate.workers()).collect();
        let mut found: Vec<_> = found?.into_iter().flatten().collect();
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Ok(Some(Arc::new(Everyone(found)))),
        }
    }
}

/// The workers of all pools.
struct Everyone(Vec<Arc<dyn Workers>>);

impl Workers for Everyone {
    fn forget(&self, id: u64) {
        self.0.iter().for_each(|workers| workers.forget(id));
    }

    fn map(&self) -> bool {
        self.0[0].map()
    }

    fn place(&self, bytes: Bytes) -> io::Result<Placed> {
        self.0[0].place(bytes)
    }
}

impl Member {
    /// The only pool of a client.
    pub(crate) fn alone() -> Self {
        Self {
            name: DEFAULT.into(),
            start: Instant::now(),
            lazy: false,
            place: 0,
            of: NonZeroU32::MIN,
            last_worker: Arc::default(),
        }
    }

    /// The numbers of its workers, of which it starts so many.
    pub(crate) fn numbers(&self, workers: usize) -> Numbers {
        let before = self.last_worker.fetch_add(workers, Relaxed);
        Numbers { first: before + 1..before + workers + 1, last_worker: self.last_worker.clone() }
    }

    /// The numbers of its tasks.
    pub(crate) fn tags(&self) -> Tags {
        Tags::new(self.place, self.of)
    }
}

impl Iterator for Numbers {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        Some(self.first.next().unwrap_or_else(|| self.last_worker.fetch_add(1, Relaxed) + 1))
    }
}

/// Why a pool cannot have that name, if it cannot.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
    if name.is_empty() || !name.chars().all(fits) {
        return Err(format!("a pool's name has letters (A-Z, a-z), digits, `_` and `-`: `{name}`"));
    }
    if name == DEFAULT {
        return Err(format!("`{DEFAULT}` is the client itself: set its options without a pool"));
    }
    Ok(())
}

/// Adds a pool to settings.
///
/// # Errors
///
/// A line that says why there cannot be such a pool.
pub(crate) fn add(settings: &mut Settings, name: &str, own: Settings) -> Result<(), String> {
    check_name(name)?;
    if settings.pools.iter().any(|(before, _)| **before == *name) {
        return Err(format!("pool `{name}` is given twice"));
    }
    if settings.pools.len() + 1 == MOST {
        return Err(format!("a client has at most {MOST} pools"));
    }
    if !own.pools.is_empty() {
        return Err(format!("pool `{name}` cannot have pools"));
    }
    settings.pools.push((name.into(), own));
    Ok(())
}

/// What a pool has before its own options: those that the client has so far.
pub(crate) fn begin(so_far: &Settings) -> Settings {
    Settings { pools: Vec::new(), python: None, ..so_far.clone() }
}

/// Makes the client's own interpreter that of a pool, and sets what Python's workers have.
/// They read one task at a time, and are no other program of ours.
///
/// # Errors
///
/// As [`add`].
pub(crate) fn add_python(settings: &mut Settings) -> Result<(), String> {
    if let Some(python) = settings.python.take() {
        if settings.pools.iter().all(|(name, _)| **name != *PYTHON) {
            add(settings, PYTHON, begin(settings))?;
        }
        let pool = settings.pools.iter_mut().find(|(name, _)| **name == *PYTHON);
        pool.into_iter().for_each(|(_, own)| _ = own.python.get_or_insert(python.clone()));
    }
    for (_, own) in &mut settings.pools {
        let Some(python) = &own.python else { continue };
        own.workers = python.workers.map_or(own.workers, Into::into);
        own.limits.tenants.ahead = false;
        (own.program, own.config) = (None, None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::interpreter::Python;

    #[test]
    fn the_clients_python_is_a_pool_with_options_of_its_own() {
        let mut settings = Settings { workers: 3.into(), ..Settings::default() };
        settings.python = Some(Python::new("python3"));
        let mut other = begin(&settings);
        other.python = Some(Python::new("pypy3").workers(2));
        add(&mut settings, "pypy", other).unwrap();
        let rust = begin(&settings);
        add(&mut settings, "rust", rust).unwrap();
        let mut set_before = settings.clone();
        add_python(&mut settings).unwrap();
        let pool = |settings: &Settings, name: &str| {
            let (_, own) = settings.pools.iter().find(|(pool, _)| **pool == *name).unwrap();
            (
                own.workers,
                own.python.as_ref().map(|it| it.program.clone()),
                own.limits.tenants.ahead,
            )
        };
        assert_eq!(pool(&settings, "python"), (3.into(), Some("python3".into()), false));
        assert_eq!(pool(&settings, "pypy"), (2.into(), Some("pypy3".into()), false));
        assert_eq!(pool(&settings, "rust"), (3.into(), None, true));
        assert!(settings.python.is_none() && settings.limits.tenants.ahead);
        let own = Settings { workers: 7.into(), ..begin(&set_before) };
        add(&mut set_before, "python", own).unwrap();
        add_python(&mut set_before).unwrap();
        assert_eq!(pool(&set_before, "python"), (7.into(), Some("python3".into()), false));
    }

    #[test]
    fn no_two_workers_of_a_client_have_the_same_number() {
        let (one, last_worker) = (Member::alone(), Arc::new(AtomicUsize::new(0)));
        let one = Member { last_worker, ..one };
        let other = Member { name: "gpu".into(), ..one.clone() };
        let (mut of_one, mut of_other) = (one.numbers(2), other.numbers(1));
        let numbers = [of_other.next(), of_one.next(), of_other.next(), of_one.next()];
        assert_eq!(numbers.map(Option::unwrap), [3, 1, 4, 2]);
        assert_eq!(of_one.next(), Some(5));
    }

    #[test]
    fn a_pool_is_named_once_and_by_letters() {
        let mut settings = Settings::default();
        assert_eq!(add(&mut settings, "gpu-0_a", Settings::default()), Ok(()));
        for (name, says) in
            [("gpu-0_a", "twice"), ("", "letters"), ("a.b", "letters"), ("default", "itself")]
        {
            let refusal = add(&mut settings, name, Settings::default()).unwrap_err();
            assert!(refusal.contains(says), "{refusal}");
        }
        let nested = settings.clone();
        assert!(add(&mut settings, "b", nested).unwrap_err().contains("cannot have pools"));
    }
}

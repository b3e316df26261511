//! The functions of this program: those with a name, from the linker section that
//! the macro writes into, and those known by their type alone.

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::Location;
use std::sync::{OnceLock, RwLock};
use std::time::Duration;

use linkme::distributed_slice;

/// Functions by their names, as clusters have them.
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
mod named;

use super::batch::{Batching, RunAll, Together};
use super::function::{Run, TaskFunction, run};
use super::version::{Form, Version};
use crate::error::{Error, Repr, Step};
use crate::value::args::Args;

/// One `#[task]` function, as its macro registers it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Entry {
    name: &'static str,
    version: u32,
    /// Where the attribute stands.
    place: &'static Location<'static>,
    /// The names of its arguments; empty where one is a pattern.
    arguments: &'static [&'static str],
    pure: bool,
    steady: bool,
    streams: bool,
    batching: Option<Batching>,
    together: Option<Together>,
    pool: Option<&'static str>,
    id: fn() -> TypeId,
    form: fn() -> Form,
    run: Run,
    /// The same with Python's values.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    run_values: Run,
}

impl Entry {
    /// The entry of `f` under `name`.
    #[track_caller]
    pub const fn new<F: TaskFunction<M>, M>(
        name: &'static str,
        version: u32,
        pure: bool,
        _f: F,
    ) -> Self {
        let (id, form, run) = (TypeId::of::<F>, Form::of::<F, M>, run::<F, M>);
        Self {
            name,
            version,
            place: Location::caller(),
            arguments: &[],
            pure,
            steady: false,
            streams: F::STREAMS,
            batching: None,
            together: F::TOGETHER,
            pool: None,
            id,
            form,
            run,
            #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
            run_values: super::values::run_values::<F, M>,
        }
    }

    /// The same, of a function that always runs about as long.
    #[must_use]
    pub const fn steady(self) -> Self {
        Self { steady: true, ..self }
    }

    /// The same, which takes batches of so many, each held open for so long.
    #[must_use]
    pub const fn batch(self, most: u16, wait_ns: u64) -> Self {
        Self { batching: Some(Batching::new(most, Duration::from_nanos(wait_ns))), ..self }
    }

    /// The same, whose tasks are for a pool.
    #[must_use]
    pub const fn pool(self, pool: &'static str) -> Self {
        Self { pool: Some(pool), ..self }
    }

    /// The same, whose arguments have these names.
    #[must_use]
    pub const fn arguments(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }
}

/// All `#[task]` functions that were linked into this program.
///
/// The name of such a static becomes that of a linker section, which all crates of
/// a program share. With the library and its version in it, it meets neither one of
/// the program's own nor that of another version.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_TASKS: [Entry];

/// Their names and versions once more, to notice an entry that the linker lost.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_NAMES: [(&'static str, u32)];

/// A function as this process knows it.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) id: TypeId,
    /// The stable name, or the type's name of a function without one.
    pub(crate) name: &'static str,
    /// The names of its arguments; empty where one has none, or none is known.
    arguments: &'static [&'static str],
    pub(crate) pure: bool,
    /// Whether it always runs about as long, whatever its arguments.
    pub(crate) steady: bool,
    /// Whether it sends items while it runs.
    #[cfg_attr(
        not(any(feature = "dask", all(feature = "local", unix))),
        expect(dead_code, reason = "clusters and Python ask for it")
    )]
    pub(crate) streams: bool,
    /// What its batches are, if it takes any.
    pub(crate) batching: Option<Batching>,
    /// How it is called for several tasks, if it can be.
    pub(crate) run_all: Option<RunAll>,
    /// The pool that its tasks are for, if that is not the default one.
    pub(crate) pool: Option<&'static str>,
    /// Counts the functions of this process, with a name or without.
    pub(crate) number: usize,
    /// The place in the registry; a function without a name has none.
    pub(crate) index: Option<u32>,
    pub(crate) run: Run,
    /// Which of those with this name it is.
    #[cfg_attr(
        not(any(feature = "dask", feature = "local")),
        expect(dead_code, reason = "other programs compare it")
    )]
    pub(crate) version: Version,
    /// Whether it is a function of Python.
    pub(crate) python: bool,
}

#[cfg(test)]
impl Function {
    /// The same, for a pool.
    #[cfg(feature = "dask")]
    pub(crate) fn of_pool(&self, pool: &'static str) -> &'static Self {
        Box::leak(Box::new(Self { pool: Some(pool), ..*self }))
    }

    /// The same, which takes batches.
    pub(crate) fn in_batches(&self, most: u16, wait: Duration) -> &'static Self {
        Box::leak(Box::new(Self { batching: Some(Batching { most, wait }), ..*self }))
    }
}

impl Function {
    /// Whether it can take these arguments.
    pub(crate) fn takes(&self, args: &Args) -> Result<(), Error> {
        if self.python && !args.scattered().is_empty() {
            let why = "a scattered value is nothing to Python: pass the value itself";
            let subject = format!("the arguments of `{}`", self.name);
            return Err(Error::codec(Step::EncodeArguments, &subject, why));
        }
        if !args.feeds().is_empty() && (self.python || self.batching.is_some()) {
            return Err(Error::unsupported(format!(
                "`{}` cannot take a `Receiver`, for it is Python's or takes batches: pass the bytes",
                self.name
            )));
        }
        Ok(())
    }
}

/// The functions with a name, sorted by it and their version. Every process of this binary has
/// the same list, so an index is enough on the wire.
#[derive(Debug)]
pub(crate) struct Registry {
    functions: Vec<Function>,
    /// The same, called with Python's values.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    with_values: Vec<Function>,
    by_type: HashMap<TypeId, u32>,
    digest: u64,
}

/// The registry of this program, checked at the first call.
///
/// # Errors
///
/// A sentence that names the task function which is registered twice, or whose
/// entry was lost at link time.
pub(crate) fn registry() -> Result<&'static Registry, &'static str> {
    static REGISTRY: OnceLock<Result<Registry, String>> = OnceLock::new();
    REGISTRY
        .get_or_init(|| Registry::new(&OUTBOARD_0_1_0_TASKS, &OUTBOARD_0_1_0_NAMES))
        .as_ref()
        .map_err(String::as_str)
}

impl Registry {
    fn new(entries: &[Entry], names: &[(&str, u32)]) -> Result<Self, String> {
        let mut entries: Vec<&Entry> = entries.iter().collect();
        entries.sort_unstable_by_key(|entry| (entry.name, entry.version));
        let named = |entry: &&Entry| ((entry.name, entry.version), entry.place);
        let sorted: Vec<_> = entries.iter().map(named).collect();
        check(&sorted, names)?;
        let mut hasher = DefaultHasher::new();
        for entry in &entries {
            (entry.name, entry.version, entry.pure).hash(&mut hasher);
        }
        let functions: Vec<Function> = (0..).zip(&entries).map(|(i, e)| e.function(i)).collect();
        let by_type = (0..).zip(&functions).map(|(i, f)| (f.id, i)).collect();
        #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
        let with_values = {
            let numbers = functions.len()..;
            numbers.zip(&entries).map(|(number, entry)| entry.with_values(number)).collect()
        };
        Ok(Self {
            functions,
            #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
            with_values,
            by_type,
            digest: hasher.finish(),
        })
    }

    /// How many functions it has, in all forms.
    fn count(&self) -> usize {
        #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
        return self.functions.len() + self.with_values.len();
        #[cfg(not(all(feature = "dask", feature = "local", target_os = "linux")))]
        self.functions.len()
    }

    /// The function at a place in the list.
    pub(crate) fn get(&self, index: u32) -> Option<&Function> {
        self.functions.get(index as usize)
    }

    /// The names of its functions, sorted, with the version of each.
    #[cfg(all(feature = "local", unix))]
    pub(crate) fn listed(&self) -> impl Iterator<Item = (&'static str, Version)> {
        self.functions.iter().map(|function| (function.name, function.version))
    }

    /// A digest of names and versions, equal in every process of one binary.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }
}

impl Entry {
    fn function(&self, index: u32) -> Function {
        Function {
            id: (self.id)(),
            name: self.name,
            arguments: self.arguments,
            pure: self.pure,
            steady: self.steady,
            streams: self.streams,
            batching: self.batching,
            run_all: self.together.map(|Together(run_all)| run_all),
            pool: self.pool,
            number: index as usize,
            index: Some(index),
            run: self.run,
            version: Version { number: self.version, form: (self.form)() },
            python: false,
        }
    }
}

/// Compares the sorted names of the entries, with their versions and where they stand,
/// with the list of names.
fn check<P: Display>(sorted: &[((&str, u32), P)], names: &[(&str, u32)]) -> Result<(), String> {
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (((name, version), one), other) = (&pair[0], &pair[1].1);
        return Err(format!(
            "two task functions are named `{name}`, version {version}, at {one} and at {other}: \
             give one another name with `#[task(name = \"…\")]`"
        ));
    }
    let lost =
        names.iter().find(|name| sorted.binary_search_by_key(*name, |entry| entry.0).is_err());
    let unnamed = sorted.iter().map(|entry| &entry.0).find(|name| !names.contains(name));
    match lost.or(unnamed) {
        Some((name, _)) => Err(format!(
            "the entry of task function `{name}` was lost when this program was linked: \
             check linker scripts and options that drop unused sections"
        )),
        None => Ok(()),
    }
}

/// The function of type `F`: the registered one, or one known by type alone.
pub(crate) fn function<F: TaskFunction<M>, M>() -> Result<&'static Function, Error> {
    let id = TypeId::of::<F>();
    let registry = registry().map_err(Error::unavailable)?;
    match registry.by_type.get(&id) {
        Some(index) => Ok(&registry.functions[*index as usize]),
        None if F::TOGETHER.is_some() => {
            Err(unknown(F::type_name(), "mark it with `#[task(batch)]`"))
        }
        None => {
            let unnamed = Unnamed { run: run::<F, M>, python: false, streams: F::STREAMS };
            Ok(registered((id, F::type_name(), None), unnamed, registry.count()))
        }
    }
}

/// The name of an argument of the function of that type, if it is registered with one.
pub(super) fn argument_name(id: TypeId, index: usize) -> Option<&'static str> {
    let registry = registry().ok()?;
    let function = registry.get(*registry.by_type.get(&id)?)?;
    function.arguments.get(index).copied().filter(|name| !name.is_empty())
}

/// A function of Python, by its name there.
#[cfg(feature = "python")]
pub(crate) fn python_function(
    id: TypeId,
    name: &'static str,
    streams: bool,
    batching: Option<Batching>,
) -> Result<&'static Function, Error> {
    let registry = registry().map_err(Error::unavailable)?;
    let run: Run = |_| {
        let (subject, source) = ("the arguments".into(), "Python is to call the function".into());
        Err(super::outcome::Failure::Codec { step: Step::DecodeArguments, subject, source })
    };
    let unnamed = Unnamed { run, python: true, streams };
    Ok(registered((id, name, batching), unnamed, registry.count()))
}

/// What is to be known of a function without an entry in the registry.
struct Unnamed {
    run: Run,
    python: bool,
    streams: bool,
}

/// Functions without an entry, one for each type, name and form of batches. They are kept for the
/// program's life: their number is bounded by the program's text.
fn registered(
    key: (TypeId, &'static str, Option<Batching>),
    Unnamed { run, python, streams }: Unnamed,
    named: usize,
) -> &'static Function {
    type Others = HashMap<(TypeId, &'static str, Option<Batching>), &'static Function>;
    static UNNAMED: RwLock<Option<Others>> = RwLock::new(None);
    let known = |map: &Option<Others>| map.as_ref().and_then(|map| map.get(&key).copied());
    if let Some(function) = known(&UNNAMED.read().unwrap_or_else(|e| e.into_inner())) {
        return function;
    }
    let mut map = UNNAMED.write().unwrap_or_else(|e| e.into_inner());
    let map = map.get_or_insert_default();
    let number = named + map.len();
    map.entry(key).or_insert_with(|| {
        Box::leak(Box::new(Function {
            id: key.0,
            name: key.1,
            arguments: &[],
            pure: false,
            steady: false,
            streams,
            batching: key.2,
            run_all: None,
            pool: None,
            number,
            index: None,
            run,
            version: Version::default(),
            python,
        }))
    })
}

/// The workers of these tasks are no Python.
pub(crate) fn refuse_python(function: &Function) -> Result<(), Error> {
    let advice = "a function of Python needs workers that are Python: `local://?python=python3`, \
                  `Client::local().python(..)`, or a cluster";
    if function.python { Err(unknown(function.name, advice)) } else { Ok(()) }
}

/// The error of a function that the other side does not have.
pub(crate) fn unknown(name: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Repr::UnknownTask { name: name.into(), advice: advice.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_held_twice_is_refused_with_the_name() {
        let [f, g, later] = [("a::f", 1), ("a::g", 1), ("a::g", 2)];
        let entries = [(f, "a.rs:1"), (g, "a.rs:5"), (g, "a.rs:9")];
        let error = check(&entries, &[f, g, g]).unwrap_err();
        assert!(error.contains("two task functions are named `a::g`, version 1"), "{error}");
        assert!(error.contains("at a.rs:5 and at a.rs:9"), "{error}");
        check(&[(f, 1), (g, 2), (later, 3)], &[later, g, f]).unwrap();
    }

    #[test]
    fn a_lost_entry_is_refused_with_the_name() {
        let [f, g, later] = [("a::f", 1), ("a::g", 1), ("a::g", 2)];
        for (entries, names) in [
            (&[(f, 1)][..], &[f, g][..]),
            (&[(f, 1), (g, 2)], &[f]),
            (&[(f, 1), (g, 2)], &[f, g, later]),
        ] {
            let error = check(entries, names).unwrap_err();
            assert!(error.contains("`a::g` was lost"), "{error}");
        }
    }
}

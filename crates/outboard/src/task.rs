//! Task functions: what can be submitted, and the registry of those with a name.

use std::any::{TypeId, type_name};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::Location;
use std::sync::{OnceLock, RwLock};

use linkme::distributed_slice;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Functions by their names, as clusters have them.
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
mod named;

use crate::closure::conjure;
use crate::codec::{Input, decode, encode};
use crate::error::{Error, Repr};
use crate::wire::Payload;

/// A function that can be submitted: zero to eight owned arguments, `fn` or
/// `async fn`, or a closure that captures nothing.
///
/// Arguments and output are values that serde can encode and decode. One
/// argument is passed to [`submit`](crate::Client::submit) bare, several as a
/// tuple, none as `()`. The parameter `M` tells the shapes of functions apart;
/// it is always inferred.
///
/// [`Bytes`](bytes::Bytes) and `Vec<u8>` travel as they are, without a codec,
/// where they are the only argument or the whole output: the body of a request,
/// an image. In a worker process on this machine, [`Bytes`](bytes::Bytes) of a
/// mebibyte and more are not even copied: to have them as a vector is a copy, a
/// task may keep them all the same, and a child that a task forks, and that
/// does not `exec`, has to copy what it reads of them after the task has ended.
/// Inside of something else `Bytes` are copied as one piece, and `Vec<u8>` is
/// encoded byte by byte, as serde does it.
///
/// # What cannot be submitted
///
/// A function pointer, and a closure that captures something. A worker finds a
/// function by its type, and every `fn(u64) -> u64` has the same one. Submit the
/// function by its name, and pass what a closure would capture as arguments.
///
/// Either is an error of `cargo build`, which shows the call. `cargo check` does
/// not find it: the size of a type is known only when generic code is compiled
/// for it, and stable Rust has no trait that tells functions from pointers to
/// them.
///
/// Implemented for every function that fits; there is no need to implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a task function",
    note = "a task function is a `fn`, an `async fn` or a closure without captures",
    note = "it takes up to eight owned arguments, each `Serialize + DeserializeOwned`",
    note = "its output is `Serialize + DeserializeOwned` too"
)]
pub trait TaskFunction<M>: Copy + Send + Sync + 'static {
    /// What is passed: nothing `()`, one argument bare, several as a tuple.
    type Args: Serialize + DeserializeOwned + 'static;
    /// What the function returns; of an `async fn`, what its future gives.
    type Output: Serialize + DeserializeOwned + 'static;

    /// How many arguments it takes.
    #[doc(hidden)]
    const ARITY: usize = 0;

    /// Evaluated where a function is submitted, so that the error shows there.
    #[doc(hidden)]
    const HAS_NO_SIZE: () = ();

    /// Calls the function, and drives its future to the end if it is async.
    #[doc(hidden)]
    fn call(self, args: Self::Args) -> Self::Output;

    /// What this process knows of the function.
    #[doc(hidden)]
    fn known(&self) -> Result<Known, Error> {
        function::<Self, M>().map(Known)
    }

    /// Encodes the arguments.
    #[doc(hidden)]
    fn encode(args: Self::Args) -> Result<Payload, String> {
        encode(args)
    }

    /// Decodes what it returned.
    #[doc(hidden)]
    fn decode(output: Payload) -> Result<Self::Output, String> {
        decode(Input::Owned(output))
    }
}

/// A function, to be passed on.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Known(pub(crate) &'static Function);

/// Marks functions that return their output.
#[doc(hidden)]
#[derive(Debug)]
pub struct Returns;

/// Marks functions that return a future of their output.
#[doc(hidden)]
#[derive(Debug)]
pub struct Awaits;

macro_rules! impl_task_function {
    ($args:ty, $pattern:pat, $($arg:ident: $type:ident),*) => {
        impl<F, R, $($type),*> TaskFunction<(Returns, fn($($type),*) -> R)> for F
        where
            F: Fn($($type),*) -> R + Copy + Send + Sync + 'static,
            R: Serialize + DeserializeOwned + 'static,
            $($type: Serialize + DeserializeOwned + 'static,)*
        {
            type Args = $args;
            type Output = R;
            const ARITY: usize = 0 $(+ { stringify!($arg); 1 })*;
            const HAS_NO_SIZE: () = assert!(
                size_of::<F>() == 0,
                "a task function is the function itself: write its name instead of a pointer to \
                 it, and pass what a closure captures as arguments"
            );

            fn call(self, $pattern: $args) -> R {
                self($($arg),*)
            }
        }

        impl<F, R, $($type),*> TaskFunction<(Awaits, fn($($type),*) -> R)> for F
        where
            F: Fn($($type),*) -> R + Copy + Send + Sync + 'static,
            R: Future,
            R::Output: Serialize + DeserializeOwned + 'static,
            $($type: Serialize + DeserializeOwned + 'static,)*
        {
            type Args = $args;
            type Output = R::Output;
            const ARITY: usize = 0 $(+ { stringify!($arg); 1 })*;
            const HAS_NO_SIZE: () = assert!(
                size_of::<F>() == 0,
                "a task function is the function itself: write its name instead of a pointer to \
                 it, and pass what a closure captures as arguments"
            );

            fn call(self, $pattern: $args) -> R::Output {
                block_on(self($($arg),*))
            }
        }
    };
}

impl_task_function!((), (),);
impl_task_function!(A, a, a: A);
impl_task_function!((A, B), (a, b), a: A, b: B);
impl_task_function!((A, B, C), (a, b, c), a: A, b: B, c: C);
impl_task_function!((A, B, C, D), (a, b, c, d), a: A, b: B, c: C, d: D);
impl_task_function!((A, B, C, D, E), (a, b, c, d, e), a: A, b: B, c: C, d: D, e: E);
impl_task_function!(
    (A, B, C, D, E, G), (a, b, c, d, e, g), a: A, b: B, c: C, d: D, e: E, g: G
);
impl_task_function!(
    (A, B, C, D, E, G, H), (a, b, c, d, e, g, h), a: A, b: B, c: C, d: D, e: E, g: G, h: H
);
impl_task_function!(
    (A, B, C, D, E, G, H, I), (a, b, c, d, e, g, h, i),
    a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I
);

/// Drives an async task on this thread's own runtime, made at the first one.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: OnceCell<tokio::runtime::Runtime> = const { OnceCell::new() };
    }
    RUNTIME.with(|runtime| {
        runtime
            .get_or_init(|| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime needs only an epoll descriptor")
            })
            .block_on(future)
    })
}

/// Decodes arguments, calls a function, and encodes its output.
pub(crate) type Run = fn(Input<'_>) -> Result<Payload, RunError>;

/// Why a function could not be called, or its output not be sent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum RunError {
    Decode { type_name: String, source: String },
    Encode { type_name: String, source: String },
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Decode { type_name, source } => {
                Error::codec("decode the arguments", type_name, source)
            }
            RunError::Encode { type_name, source } => {
                Error::codec("encode the result", type_name, source)
            }
        }
    }
}

/// The [`Run`] of one function.
pub(crate) fn run<F: TaskFunction<M>, M>(args: Input<'_>) -> Result<Payload, RunError> {
    let args = decode::<F::Args>(args)
        .map_err(|source| RunError::Decode { type_name: type_name::<F::Args>().into(), source })?;
    encode(conjure::<F>().call(args))
        .map_err(|source| RunError::Encode { type_name: type_name::<F::Output>().into(), source })
}

/// One `#[task]` function, as its macro registers it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Entry {
    name: &'static str,
    /// Where the attribute stands.
    place: &'static Location<'static>,
    pure: bool,
    steady: bool,
    id: fn() -> TypeId,
    signature: fn() -> [&'static str; 2],
    run: Run,
    /// The same with Python's values.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    run_values: Run,
}

impl Entry {
    /// The entry of `f` under `name`.
    #[track_caller]
    pub const fn new<F: TaskFunction<M>, M>(name: &'static str, pure: bool, _f: F) -> Self {
        let (id, signature, run) = (TypeId::of::<F>, signature::<F, M>, run::<F, M>);
        Self {
            name,
            place: Location::caller(),
            pure,
            steady: false,
            id,
            signature,
            run,
            #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
            run_values: crate::engine::dask::worker::called::run_values::<F, M>,
        }
    }

    /// The same, of a function that always runs about as long.
    #[must_use]
    pub const fn steady(self) -> Self {
        Self { steady: true, ..self }
    }
}

fn signature<F: TaskFunction<M>, M>() -> [&'static str; 2] {
    [type_name::<F::Args>(), type_name::<F::Output>()]
}

/// All `#[task]` functions that were linked into this program.
///
/// The name of such a static becomes that of a linker section, which all crates of
/// a program share. With the library and its version in it, it meets neither one of
/// the program's own nor that of another version.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_TASKS: [Entry];

/// Their names once more, to notice an entry that the linker lost.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_NAMES: [&'static str];

/// A function as this process knows it.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) id: TypeId,
    /// The stable name, or the type's name of a function without one.
    pub(crate) name: &'static str,
    pub(crate) pure: bool,
    /// Whether it always runs about as long, whatever its arguments.
    pub(crate) steady: bool,
    /// Counts the functions of this process, with a name or without.
    pub(crate) number: usize,
    /// The place in the registry; a function without a name has none.
    pub(crate) index: Option<u32>,
    pub(crate) run: Run,
    /// A digest of the types of arguments and output; of those with a name.
    #[cfg_attr(not(feature = "dask"), expect(dead_code, reason = "clusters compare it"))]
    pub(crate) signature: u64,
    /// Whether it is a function of Python.
    pub(crate) python: bool,
}

/// The functions with a name, sorted by it: every process of this binary has
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
    fn new(entries: &[Entry], names: &[&str]) -> Result<Self, String> {
        let mut entries: Vec<&Entry> = entries.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.name);
        let sorted: Vec<_> = entries.iter().map(|entry| (entry.name, entry.place)).collect();
        check(&sorted, names)?;
        let mut hasher = DefaultHasher::new();
        for entry in &entries {
            (entry.name, entry.pure, (entry.signature)()).hash(&mut hasher);
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

    /// A digest of names and signatures, equal in every process of one binary.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }
}

impl Entry {
    fn function(&self, index: u32) -> Function {
        Function {
            id: (self.id)(),
            name: self.name,
            pure: self.pure,
            steady: self.steady,
            number: index as usize,
            index: Some(index),
            run: self.run,
            signature: stable_digest((self.signature)()),
            python: false,
        }
    }
}

/// Compares the sorted names of the entries, and where they stand, with the list
/// of names.
fn check<P: Display>(sorted: &[(&str, P)], names: &[&str]) -> Result<(), String> {
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let ((name, one), other) = (&pair[0], &pair[1].1);
        return Err(format!(
            "two task functions are named `{name}`, at {one} and at {other}: \
             give one another name with `#[task(name = \"…\")]`"
        ));
    }
    let lost =
        names.iter().find(|name| sorted.binary_search_by_key(*name, |entry| entry.0).is_err());
    let unnamed = sorted.iter().map(|entry| &entry.0).find(|name| !names.contains(name));
    match lost.or(unnamed) {
        Some(name) => Err(format!(
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
        None => Ok(unnamed(id, type_name::<F>(), run::<F, M>, registry.count())),
    }
}

/// A function of Python, by its name there.
#[cfg(feature = "dask")]
pub(crate) fn python_function(id: TypeId, name: &'static str) -> Result<&'static Function, Error> {
    let registry = registry().map_err(Error::unavailable)?;
    let run: Run = |_| {
        let (type_name, source) = ("a Python function".into(), "it is called by Python".into());
        Err(RunError::Decode { type_name, source })
    };
    Ok(registered((id, name), run, true, registry.count()))
}

/// A function without an entry in the registry.
fn unnamed(id: TypeId, name: &'static str, run: Run, named: usize) -> &'static Function {
    registered((id, name), run, false, named)
}

/// Functions without an entry, one for each type and name, kept for the
/// program's life: their number is bounded by the program's text.
fn registered(
    key: (TypeId, &'static str),
    run: Run,
    python: bool,
    named: usize,
) -> &'static Function {
    type Others = HashMap<(TypeId, &'static str), &'static Function>;
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
            pure: false,
            steady: false,
            number,
            index: None,
            run,
            signature: 0,
            python,
        }))
    })
}

/// A digest that is the same in every build: FNV-1a of 64 bits.
fn stable_digest(texts: [&str; 2]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// No worker of ours calls Python.
pub(crate) fn refuse_python(function: &Function) -> Result<(), Error> {
    match function.python {
        true => {
            Err(unknown(function.name, "a function of Python needs a cluster: dask://host:port"))
        }
        false => Ok(()),
    }
}

/// The error of a function that the other side does not have.
pub(crate) fn unknown(name: impl Into<String>, advice: &'static str) -> Error {
    Error::new(Repr::UnknownTask { name: name.into(), advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_held_twice_is_refused_with_the_name() {
        let entries = [("a::f", "a.rs:1"), ("a::g", "a.rs:5"), ("a::g", "a.rs:9")];
        let error = check(&entries, &["a::f", "a::g", "a::g"]).unwrap_err();
        assert!(error.contains("two task functions are named `a::g`"), "{error}");
        assert!(error.contains("at a.rs:5 and at a.rs:9"), "{error}");
    }

    #[test]
    fn a_lost_entry_is_refused_with_the_name() {
        let error = check(&[("a::f", 1)], &["a::f", "a::g"]).unwrap_err();
        assert!(error.contains("`a::g` was lost"), "{error}");
        let error = check(&[("a::f", 1), ("a::g", 2)], &["a::f"]).unwrap_err();
        assert!(error.contains("`a::g` was lost"), "{error}");
    }

    #[test]
    fn shapes_of_functions_are_told_apart_without_help() {
        fn output<F: TaskFunction<M>, M>(f: F, args: F::Args) -> F::Output {
            f.call(args)
        }
        async fn later(x: u64) -> u64 {
            x + 1
        }
        assert_eq!(output(|| 7, ()), 7);
        assert_eq!(output(|x: u64| x + 1, 1), 2);
        assert_eq!(output(|x: (u8, u8)| x.0 + x.1, (1, 2)), 3);
        assert_eq!(output(|x: u8, y: String| format!("{y}{x}"), (1, "a".into())), "a1");
        assert_eq!(output(later, 1), 2);
        assert_eq!(output(|x: u64| async move { x + 2 }, 1), 3);
    }
}

//! What runs once in each worker before its first task: the functions marked
//! `#[on_start]`.

use std::any::type_name;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use linkme::distributed_slice;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::panic_message;
use crate::value::args::Args;
use crate::value::codec::{Input, ValueError, decode, encode};

/// One `#[on_start]` function, as its macro registers it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Start {
    name: &'static str,
    order: i32,
    /// The pool whose workers run it; without one those of the default pool.
    pool: Option<&'static str>,
    run: Body,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Plain(fn() -> Result<(), String>),
    /// It takes what `start_with` gave.
    Configured(fn(&Config) -> Result<(), String>),
}

/// What `start_with` gave.
#[doc(hidden)]
#[derive(Debug)]
pub struct Config {
    /// The name of its type.
    pub(crate) of_type: String,
    /// The value, or why it cannot be encoded.
    pub(crate) value: Result<Args, String>,
}

impl Config {
    pub(crate) fn new<T: Serialize + 'static>(value: T) -> Self {
        let of_type = type_name::<T>().to_owned();
        let value =
            Args::encode_for_all(|| encode(value)).map_err(|error: ValueError| error.to_string());
        Self { of_type, value }
    }

    /// What a worker was sent.
    #[cfg(all(feature = "local", unix))]
    pub(crate) fn received(of_type: String, value: Args) -> Self {
        Self { of_type, value: Ok(value) }
    }

    /// The value, for a function that takes this type.
    ///
    /// # Errors
    ///
    /// It is of another type, or cannot be decoded.
    pub fn get<T: DeserializeOwned + 'static>(&self) -> Result<T, String> {
        let (takes, of_type) = (type_name::<T>(), &self.of_type);
        if takes != of_type {
            return Err(format!("it takes `{takes}`, but `start_with` gave `{of_type}`"));
        }
        let value = self.value.as_ref().map_err(Clone::clone)?;
        let value = decode(Input::Owned(value.payload.clone()));
        value.map_err(|error| format!("could not decode `{of_type}`: {error}"))
    }
}

impl Start {
    /// The entry of a function that goes by that name.
    pub const fn new(name: &'static str, order: i32, run: fn() -> Result<(), String>) -> Self {
        Self { name, order, pool: None, run: Body::Plain(run) }
    }

    /// The entry of a function that takes what `start_with` gave.
    pub const fn configured(
        name: &'static str,
        order: i32,
        run: fn(&Config) -> Result<(), String>,
    ) -> Self {
        Self { name, order, pool: None, run: Body::Configured(run) }
    }

    /// The same, for the workers of a pool.
    #[must_use]
    pub const fn pool(self, pool: &'static str) -> Self {
        Self { pool: Some(pool), ..self }
    }
}

/// All `#[on_start]` functions that were linked into this program.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_STARTS: [Start];

/// Their names once more, to notice an entry that the linker lost.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_START_NAMES: [&'static str];

/// What an `#[on_start]` function can return.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a function that runs on start cannot return `{Self}`",
    label = "needs `()` or `Result<(), E>`, with an `E` that implements `Display`",
    note = "what it loads stays in a static, such as a `std::sync::OnceLock`"
)]
pub trait StartOutput {
    /// What it says of the start.
    fn into_result(self) -> Result<(), String>;
}

impl StartOutput for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> StartOutput for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

thread_local! {
    /// Whether this thread is in one of them.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// The name of the pool whose workers run those that name none.
const DEFAULT_POOL: &str = "default";

/// Runs all of a pool, in order, once in this process: those that ran before do not
/// run again. One of them that starts an engine itself does not wait for itself.
///
/// # Errors
///
/// What the first says that fails, with its name; the next call starts over.
pub(crate) fn run_all(pool: &str, config: Option<&Config>) -> Result<(), String> {
    /// The pools whose functions ran.
    static DONE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if INSIDE.get() {
        return Ok(());
    }
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !done.contains(pool) {
        INSIDE.set(true);
        let result =
            run_sorted((pool, config), &OUTBOARD_0_1_0_STARTS, &OUTBOARD_0_1_0_START_NAMES);
        INSIDE.set(false);
        result?;
        done.insert(pool.to_owned());
    }
    Ok(())
}

/// As [`run_all`], on a thread of its own: this one may be a runtime's, where what
/// they start could not block.
pub(crate) fn run_all_apart(pool: &str) -> Result<(), String> {
    if INSIDE.get() || (OUTBOARD_0_1_0_STARTS.is_empty() && OUTBOARD_0_1_0_START_NAMES.is_empty()) {
        return Ok(());
    }
    let thread = std::thread::Builder::new().name("outboard-start".into());
    let pool = pool.to_owned();
    let thread = thread.spawn(move || run_all(&pool, None));
    let thread = thread.map_err(|error| format!("no thread to start on: {error}"))?;
    thread.join().unwrap_or_else(|panic| Err(panic_message(&*panic).into()))
}

/// By `order`, and then by name, which is the path of the function.
fn run_sorted(
    (pool, config): (&str, Option<&Config>),
    starts: &[Start],
    names: &[&str],
) -> Result<(), String> {
    let lost = names.iter().find(|name| !starts.iter().any(|start| start.name == **name));
    if let Some(name) = lost {
        return Err(format!(
            "the entry of `{name}` was lost when this program was linked: \
             check linker scripts and options that drop unused sections"
        ));
    }
    let own = |start: &&Start| start.pool.unwrap_or(DEFAULT_POOL) == pool;
    let mut sorted: Vec<&Start> = starts.iter().filter(own).collect();
    sorted.sort_by_key(|start| (start.order, start.name));
    sorted.into_iter().try_for_each(|start| run(start, config))
}

fn run(start: &Start, config: Option<&Config>) -> Result<(), String> {
    let name = start.name;
    let run = || match (start.run, config) {
        (Body::Plain(run), _) => run(),
        (Body::Configured(run), Some(config)) => run(config),
        (Body::Configured(_), None) => {
            Err("it takes a value, and none was given: `Client::local().start_with(value)`".into())
        }
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| format!("`{name}` failed on start: {error}")),
        Err(panic) => Err(format!("`{name}` panicked on start: {}", panic_message(&*panic))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static RAN: Cell<u32> = const { Cell::new(0) };
    }

    /// Notes a digit.
    fn note(digit: u32) -> Result<(), String> {
        RAN.set(RAN.get() * 10 + digit);
        Ok(())
    }

    #[test]
    fn they_run_by_order_and_then_by_name() {
        let starts = [
            Start::new("b::late", 1, || note(4)),
            Start::new("z::first", -1, || note(1)),
            Start::new("b::middle", 0, || note(3)),
            Start::new("a::middle", 0, || note(2)),
        ];
        assert_eq!(run_sorted((DEFAULT_POOL, None), &starts, &["a::middle"]), Ok(()));
        assert_eq!(RAN.get(), 1234);
    }

    #[test]
    fn a_worker_runs_those_of_its_pool() {
        let starts = [
            Start::new("a::of_all", 0, || note(1)),
            Start::new("a::of_gpu", 0, || note(2)).pool("gpu"),
            Start::new("b::of_gpu", -1, || note(3)).pool("gpu"),
        ];
        assert_eq!(run_sorted(("gpu", None), &starts, &[]), Ok(()));
        assert_eq!(RAN.get(), 32);
        assert_eq!(run_sorted((DEFAULT_POOL, None), &starts, &[]), Ok(()));
        assert_eq!(RAN.get(), 321);
        assert_eq!(run_sorted(("cpu", None), &starts, &[]), Ok(()));
        assert_eq!(RAN.get(), 321);
    }

    #[test]
    fn a_function_takes_the_value_that_was_given_or_says_what_it_takes() {
        let take = |config: &Config| note(config.get::<u32>()?);
        let starts = [Start::configured("a::takes", 0, take)];
        let run = |config: Option<&Config>| run_sorted((DEFAULT_POOL, config), &starts, &[]);
        assert_eq!(run(Some(&Config::new(7_u32))), Ok(()));
        assert_eq!(RAN.get(), 7);
        let other = run(Some(&Config::new("7"))).unwrap_err();
        assert!(other.contains("takes `u32`, but `start_with` gave `&str`"), "{other}");
        assert!(run(None).unwrap_err().contains("none was given"));
    }

    #[test]
    fn the_first_that_fails_is_named_and_the_last() {
        let failing = [
            Start::new("a::good", 0, || note(1)),
            Start::new("b::bad", 0, || Err("no such file".into())),
            Start::new("c::never", 0, || note(2)),
        ];
        let error = run_sorted((DEFAULT_POOL, None), &failing, &[]).unwrap_err();
        assert_eq!(error, "`b::bad` failed on start: no such file");
        assert_eq!(RAN.get(), 1);
        let panics = [Start::new("a::bad", 0, || panic!("no {}", "model"))];
        assert_eq!(
            run_sorted((DEFAULT_POOL, None), &panics, &[]).unwrap_err(),
            "`a::bad` panicked on start: no model"
        );
    }

    #[test]
    fn a_lost_entry_is_noticed() {
        let error =
            run_sorted((DEFAULT_POOL, None), &[Start::new("a", 0, || note(1))], &["a", "b"])
                .unwrap_err();
        assert!(error.contains("`b` was lost"), "{error}");
    }

    #[test]
    fn a_result_is_what_it_says() {
        assert_eq!(().into_result(), Ok(()));
        assert_eq!(Ok::<(), std::fmt::Error>(()).into_result(), Ok(()));
        let error = Err::<(), _>("why").into_result();
        assert_eq!(error, Err("why".into()));
    }
}

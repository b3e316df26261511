//! Executes one task function and catches its panic, with message, place and
//! backtrace.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use serde::{Deserialize, Serialize};

use crate::error::{Oversized, Panic, panic_message};
use crate::task::batch::RunAll;
use crate::task::function::Run;
use crate::task::outcome::Failure;
use crate::value::codec::Input;
use crate::value::payload::Payload;

/// The longest text of a message or backtrace that is kept, in bytes.
pub(crate) const MAX_TEXT: usize = 32 << 10;

/// Who tells of panics of tasks in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Panics {
    /// Its program prints panics of tasks as it likes.
    Printed,
    /// The server logs panics of tasks, so the runtime need not print them.
    Logged,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<Panic>> = const { RefCell::new(None) };
    /// Of a task's first panic, what was not printed.
    static UNSAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether this thread is executing a task.
pub(crate) fn inside_task() -> bool {
    INSIDE.get()
}

/// Executes a task function; gives its encoded output.
pub(crate) fn execute(run: Run, args: Input<'_>, max_payload: usize) -> Result<Payload, Failure> {
    guarded(|| run(args))
        .unwrap_or_else(|panic| Err(Failure::Panicked(panic)))
        .and_then(fits(max_payload))
}

/// Executes a function for several tasks; gives what each gets.
pub(crate) fn execute_all(
    run_all: RunAll,
    inputs: Vec<Input<'_>>,
    max_payload: usize,
) -> Vec<Result<Payload, Failure>> {
    let count = inputs.len();
    match guarded(|| run_all(inputs)) {
        Ok(outputs) => outputs.into_iter().map(|one| one.and_then(fits(max_payload))).collect(),
        Err(panic) => vec![Err(Failure::Panicked(panic)); count],
    }
}

/// An output that may be sent.
fn fits(max_payload: usize) -> impl Fn(Payload) -> Result<Payload, Failure> {
    move |output| match output.len() {
        bytes if bytes <= max_payload => Ok(output),
        bytes => {
            let (bytes, limit) = (bytes as u64, max_payload as u64);
            Err(Failure::TooLarge { what: Oversized::Result, bytes, limit })
        }
    }
}

/// Calls a task function, and catches its panic.
fn guarded<R>(call: impl FnOnce() -> R) -> Result<R, Panic> {
    CAUGHT.set(None);
    UNSAID.set(None);
    INSIDE.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    INSIDE.set(false);
    if let Some(unsaid) = UNSAID.take()
        && result.is_ok()
    {
        // The task has caught it, so nobody else tells.
        print(&unsaid);
    }
    result.map_err(caught)
}

/// Sees to it that panics in tasks are recorded. The hook that was there before
/// is called as well, so panics are logged as the program logs them.
pub(crate) fn record_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if inside_task() {
                CAUGHT.set(Some(record(info)));
            }
            previous(info);
        }));
    });
}

/// Sees to it that the first panic of a task is not printed: whoever called the task logs it.
/// To be called before the program sets a hook of its own, which is called all the same.
///
/// A second one may be what ends the process: a panic in a destructor, or in a function that
/// must not unwind. Then both are printed.
#[cfg(all(feature = "local", unix))]
pub(crate) fn leave_panics_unsaid() {
    if cfg!(panic = "abort") {
        return;
    }
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let first = if inside_task() { UNSAID.take() } else { Some(String::new()) };
        match first {
            None => UNSAID.set(Some(format!("task {info}"))),
            Some(first) => {
                UNSAID.set(Some(String::new()));
                print(&first);
                previous(info);
            }
        }
    }));
}

/// Writes to stderr; where that is closed, nobody would read it.
fn print(text: &str) {
    if !text.is_empty() {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

fn record(info: &PanicHookInfo<'_>) -> Panic {
    let backtrace = match std::env::var("RUST_BACKTRACE").as_deref() {
        Ok("0") => String::new(),
        _ => Backtrace::force_capture().to_string(),
    };
    Panic {
        message: cut(panic_message(info.payload())),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        backtrace: cut(&backtrace),
    }
}

/// What the hook recorded of this panic. One that was resumed passed no hook
/// and has only a message; the record is then of one that the task caught.
fn caught(payload: Box<dyn Any + Send>) -> Panic {
    let message = cut(panic_message(&*payload));
    // A payload may panic when it is dropped.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    let record = CAUGHT.take().filter(|record| record.message == message);
    record.unwrap_or(Panic { message, location: String::new(), backtrace: String::new() })
}

/// The text, or its beginning.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskFunction;
    use crate::task::function::run;

    /// What `()` is encoded as.
    const NOTHING: &[u8] = &[0xc0];

    fn execute_fn<F: TaskFunction<M>, M>(_: F, args: &[u8]) -> Result<Vec<u8>, Failure> {
        record_panics();
        execute(run::<F, M>, Input::Lent(args), 100).map(|output| output.to_vec())
    }

    #[test]
    fn a_panic_comes_with_message_place_and_backtrace() {
        let failure = execute_fn(|| -> u8 { panic!("no {}", 7) }, NOTHING).unwrap_err();
        let Failure::Panicked(panic) = failure else { panic!("{failure:?}") };
        assert_eq!(panic.message, "no 7");
        assert!(panic.location.contains("execute.rs:"), "{}", panic.location);
        assert!(panic.backtrace.contains("execute"), "{}", panic.backtrace);
    }

    #[test]
    fn a_resumed_panic_is_not_taken_for_one_that_was_caught_before() {
        let task = || -> u8 {
            let _ = catch_unwind(|| panic!("caught and done with"));
            std::panic::resume_unwind(Box::new("resumed"))
        };
        let failure = execute_fn(task, NOTHING).unwrap_err();
        let Failure::Panicked(panic) = failure else { panic!("{failure:?}") };
        assert_eq!((panic.message.as_str(), panic.location.as_str()), ("resumed", ""));
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let failure = execute_fn(|| -> u8 { std::panic::panic_any(Bomb) }, NOTHING).unwrap_err();
        let Failure::Panicked(panic) = failure else { panic!("{failure:?}") };
        assert_eq!(panic.message, "a value that is not a string");
    }

    #[test]
    fn a_result_above_the_limit_is_not_sent() {
        let failure = execute_fn(|| "x".repeat(200), NOTHING).unwrap_err();
        assert_eq!(failure, Failure::TooLarge { what: Oversized::Result, bytes: 202, limit: 100 });
    }

    #[test]
    fn a_result_is_encoded() {
        assert_eq!(execute_fn(|x: u8| x + 1, &[4]), Ok(vec![5]));
        assert_eq!(execute_fn(|x: Vec<u8>| x, &[4, 5]), Ok(vec![4, 5]));
    }
}

//! Task functions: what can be submitted, and the registry of those with a name.

use std::any::{TypeId, type_name};
use std::future::Future;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::batch::Together;
use super::outcome::Failure;
use super::registry::{Function, argument_name, function};
use crate::error::{Error, Step, one_line, short};
use crate::offload;
use crate::task::closure::conjure;
use crate::value::args::ENCODED_AT_ONCE;
use crate::value::codec::{
    Input, Refused, ValueError, decode, decode_within, encode, encode_result, encode_within,
    is_bytes,
};
use crate::value::payload::Payload;

/// A function that can be submitted: zero to eight owned arguments, `fn` or
/// `async fn`, or a closure that captures nothing.
///
/// Arguments and output are values that serde can encode and decode. One
/// argument is passed to [`submit`](crate::Client::submit) bare, several as a
/// tuple, none as `()`. The parameter `M` tells the shapes of functions apart;
/// it is always inferred.
///
/// [`Bytes`](bytes::Bytes) of 16 KiB and more travel without the codec, wherever they are in
/// the arguments or in the output. Examples are the body of a request, an image beside its
/// width, a `Result<Bytes, E>`. They are copied once, into memory that a worker process shares. From
/// 1 MiB of arguments on, a task's [`Bytes`](bytes::Bytes) are that memory. A task may keep
/// them. A child that a task forks without `exec` must copy what it reads of them after the
/// task has ended.
///
/// A `Vec<u8>` travels so where it is the only argument or the whole output, and is a copy in
/// the task. Inside of something else it is copied once more.
///
/// # What cannot be submitted
///
/// A function pointer, and a closure that captures something. A worker finds a
/// function by its type, and every `fn(u64) -> u64` has the same one. Submit the
/// function by its name, and pass what a closure would capture as arguments.
///
/// Either is an error of `cargo build`, which shows the call. `cargo check` does
/// not find it, because it does not compile generic code for each type.
///
/// Implemented for every function that fits; there is no need to implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a task function",
    note = "a task function is a `fn`, an `async fn` or a closure without captures",
    note = "it takes up to eight owned arguments, each `Serialize + DeserializeOwned + Send`",
    note = "its output is `Serialize + DeserializeOwned + Send` too"
)]
pub trait TaskFunction<M>: Copy + Send + Sync + 'static {
    /// What is passed: nothing `()`, one argument bare, several as a tuple.
    ///
    /// They are sent to another thread to be encoded, if they are large.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// What the function returns; of an `async fn`, what its future gives.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// How many arguments it takes.
    #[doc(hidden)]
    const ARITY: usize = 0;

    /// Evaluated where a function is submitted, so that the error shows there.
    #[doc(hidden)]
    const HAS_NO_SIZE: () = ();

    /// Whether it sends items while it runs.
    #[doc(hidden)]
    const STREAMS: bool = false;

    /// How it is called for several tasks, if it takes batches.
    #[doc(hidden)]
    const TOGETHER: Option<Together> = None;

    /// The name of a function that has no other.
    #[doc(hidden)]
    fn type_name() -> &'static str {
        type_name::<Self>()
    }

    /// Calls the function, and drives its future to the end if it is async.
    #[doc(hidden)]
    fn call(self, args: Self::Args) -> Self::Output;

    /// The type of an argument, by its place.
    #[doc(hidden)]
    fn argument_type(_at: usize) -> Option<&'static str> {
        None
    }

    /// What this process knows of the function.
    #[doc(hidden)]
    fn known(&self) -> Result<Known, Error> {
        function::<Self, M>().map(Known)
    }

    /// Encodes the arguments.
    #[doc(hidden)]
    fn encode(args: Self::Args) -> Result<Payload, ValueError> {
        encode(args)
    }

    /// Encodes the arguments, if they have at most so many bytes.
    #[doc(hidden)]
    fn encode_within(args: Self::Args, limit: usize) -> Result<Payload, Refused<Self::Args>> {
        encode_within(args, limit)
    }

    /// Decodes what it returned.
    #[doc(hidden)]
    fn decode(output: Payload) -> Result<Self::Output, ValueError> {
        decode(Input::Owned(output))
    }

    /// Whether what it returned is decoded in no time.
    #[doc(hidden)]
    fn is_quick(output: &Payload) -> bool {
        output.len() <= ENCODED_AT_ONCE || is_bytes::<Self::Output>()
    }

    /// Decodes what it returned, if that is little beside bytes that are shared.
    #[doc(hidden)]
    fn decode_at_once(output: Payload) -> Result<Result<Self::Output, ValueError>, Payload> {
        Err(output)
    }

    /// Decodes what it returned: at once, or on another thread if that takes long.
    #[doc(hidden)]
    fn decoding(output: Payload) -> Decoding<Self::Output> {
        let quick = Self::is_quick(&output);
        let output = match quick {
            true => output,
            false => match Self::decode_at_once(output) {
                Ok(decoded) => return Decoding::Done(decoded),
                Err(output) => output,
            },
        };
        Decoding::of(quick, move || Self::decode(output))
    }
}

/// A result that is decoded, or is being decoded.
#[doc(hidden)]
#[derive(Debug)]
pub enum Decoding<T> {
    Done(Result<T, ValueError>),
    Elsewhere(oneshot::Receiver<Result<T, ValueError>>),
}

impl<T: Send + 'static> Decoding<T> {
    /// Decodes: at once if that is quick, or else on another thread.
    pub(crate) fn of(
        quick: bool,
        decode: impl FnOnce() -> Result<T, ValueError> + Send + 'static,
    ) -> Self {
        if quick {
            return Self::Done(decode());
        }
        let (sender, receiver) = oneshot::channel();
        offload::spawn(move || {
            // The future may have been dropped meanwhile.
            if !sender.is_closed() {
                let _ = sender.send(decode());
            }
        });
        Self::Elsewhere(receiver)
    }

    /// Decodes a value that is nothing but its bytes, or of any other type.
    pub(crate) fn value(bytes: Payload) -> Self
    where
        T: DeserializeOwned,
    {
        let quick = bytes.len() <= ENCODED_AT_ONCE || is_bytes::<T>();
        Self::of(quick, move || decode(Input::Owned(bytes)))
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
            R: Serialize + DeserializeOwned + Send + 'static,
            $($type: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Args = $args;
            type Output = R;
            const ARITY: usize = 0 $(+ { stringify!($arg); 1 })*;
            const HAS_NO_SIZE: () = assert!(
                size_of::<F>() == 0,
                "a task function is the function itself: write its name instead of a pointer to \
                 it, and pass what a closure captures as arguments"
            );

            fn argument_type(at: usize) -> Option<&'static str> {
                let types: &[&'static str] = &[$(type_name::<$type>()),*];
                types.get(at).copied()
            }

            fn call(self, $pattern: $args) -> R {
                self($($arg),*)
            }

            fn decode_at_once(output: Payload) -> Result<Result<R, ValueError>, Payload> {
                decode_within(output, ENCODED_AT_ONCE)
            }
        }

        impl<F, R, $($type),*> TaskFunction<(Awaits, fn($($type),*) -> R)> for F
        where
            F: Fn($($type),*) -> R + Copy + Send + Sync + 'static,
            R: Future,
            R::Output: Serialize + DeserializeOwned + Send + 'static,
            $($type: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Args = $args;
            type Output = R::Output;
            const ARITY: usize = 0 $(+ { stringify!($arg); 1 })*;
            const HAS_NO_SIZE: () = assert!(
                size_of::<F>() == 0,
                "a task function is the function itself: write its name instead of a pointer to \
                 it, and pass what a closure captures as arguments"
            );

            fn argument_type(at: usize) -> Option<&'static str> {
                let types: &[&'static str] = &[$(type_name::<$type>()),*];
                types.get(at).copied()
            }

            fn call(self, $pattern: $args) -> R::Output {
                block_on(self($($arg),*))
            }

            fn decode_at_once(output: Payload) -> Result<Result<R::Output, ValueError>, Payload> {
                decode_within(output, ENCODED_AT_ONCE)
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

/// Drives an async task, on this thread, to its end.
///
/// Its runtime is made at the first one, and kept. A thread of its own drives timers, sockets and
/// what tasks spawn, so that pools of connections and tickers go on between tasks.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("outboard-async")
            .enable_all()
            .build()
            .expect("a runtime needs an epoll descriptor and a thread")
    });
    runtime.block_on(future)
}

/// Decodes arguments, calls a function, and encodes its output.
pub(crate) type Run = fn(Input<'_>) -> Result<Payload, Failure>;

/// The [`Run`] of one function.
pub(crate) fn run<F: TaskFunction<M>, M>(args: Input<'_>) -> Result<Payload, Failure> {
    if let Some(Together(run_all)) = F::TOGETHER {
        return run_all(vec![args]).pop().expect("one answer for one task");
    }
    let args = decode::<F::Args>(args)
        .map_err(|error| bad_arguments::<F, M>(Step::DecodeArguments, error))?;
    encode_result(conjure::<F>().call(args)).map_err(bad_result::<F::Output>)
}

/// Arguments could not be encoded or decoded.
pub(super) fn bad_arguments<F: TaskFunction<M>, M>(step: Step, mut error: ValueError) -> Failure {
    let subject = subject_of::<F, M>(step, &mut error);
    Failure::Codec { step, subject, source: one_line(&error.to_string()) }
}

/// A result could not be encoded.
pub(super) fn bad_result<T>(error: ValueError) -> Failure {
    let step = Step::EncodeResult;
    let subject = one_line(&step.subject(type_name::<T>()));
    Failure::Codec { step, subject, source: one_line(&error.to_string()) }
}

/// Which of a function's arguments an error is about, or all of them. If it is one, the
/// error says only where in that one.
pub(crate) fn subject_of<F: TaskFunction<M>, M>(step: Step, error: &mut ValueError) -> String {
    let index = match F::ARITY {
        0 => None,
        1 => Some(0),
        _ => error.take_index(),
    };
    let Some((index, of_type)) = index.and_then(|at| Some((at, F::argument_type(at)?))) else {
        return step.subject(type_name::<F::Args>());
    };
    let name = match argument_name(TypeId::of::<F>(), index) {
        Some(name) => format!("`{name}`"),
        None => (index + 1).to_string(),
    };
    one_line(&format!("argument {name} ({})", short(of_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! Tasks that send items while they run: what they send them through, and which functions
//! do.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::current;
use super::function::{Awaits, Decoding, Known, Returns, TaskFunction, block_on};
use super::registry::function;
use crate::error::{Error, one_line};
use crate::value::channel;
use crate::value::codec::{Refused, ValueError, encode, encode_result, encode_within};
use crate::value::payload::Payload;

/// Sends the items of a stream from a running task to whoever reads it.
///
/// The last parameter of a task function that is submitted with
/// [`Client::stream`](crate::Client::stream). An item goes out at once. At most 256 KiB of
/// items, or one item of any size, are out that the reader has not taken; then sending waits.
///
/// It can be used by several threads of the task at once, by reference. It is of no use after
/// the task has ended.
///
/// # Examples
///
/// ```
/// #[outboard::task]
/// fn count(to: u64, out: outboard::Sender<u64>) -> Result<u64, outboard::SendError> {
///     for n in 0..to {
///         out.send(n)?;
///     }
///     Ok(to)
/// }
/// ```
pub struct Sender<T> {
    outlet: Arc<dyn Outlet>,
    /// It takes values, and has none.
    items: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned + 'static> Sender<T> {
    /// That of the task that runs on this thread.
    ///
    /// # Panics
    ///
    /// If nobody can read what it sends.
    fn of_this_task() -> Self {
        let outlet = current::outlet()
            .expect("a function with a `Sender` is called through `Client::stream` of Rust");
        Self { outlet, items: PhantomData }
    }

    /// Sends an item; blocks this thread while the reader is behind.
    ///
    /// # Errors
    ///
    /// [`SendError`]: nobody reads any more, or the item cannot be encoded or is larger than
    /// a result may be. A task that goes on after nobody reads is stopped as one whose future
    /// was dropped.
    pub fn send(&self, item: T) -> Result<(), SendError> {
        let item = self.encode(item)?;
        self.outlet.send(&mut Some(item), true).map_err(|_| SendError(Why::Closed))
    }

    /// Sends an item from an `async fn`, whose other futures go on while the reader is behind.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// If it is dropped while it waits, the item may be sent all the same.
    pub async fn send_async(&self, item: T) -> Result<(), SendError> {
        let mut item = Some(self.encode(item)?);
        let sent = match self.outlet.send(&mut item, false) {
            Err(channel::Refused::Full) => match tokio::runtime::Handle::try_current() {
                Ok(runtime) => {
                    let outlet = self.outlet.clone();
                    let wait = move || outlet.send(&mut item, true);
                    runtime.spawn_blocking(wait).await.unwrap_or(Err(channel::Refused::Closed))
                }
                // Another runtime than that of tasks: there is no thread to wait on.
                Err(_) => self.outlet.send(&mut item, true),
            },
            sent => sent,
        };
        sent.map_err(|_| SendError(Why::Closed))
    }

    fn encode(&self, item: T) -> Result<Payload, SendError> {
        let refused = |error| SendError(Why::NotEncoded(one_line(&format!("{error}"))));
        let item = encode_result(item).map_err(refused)?;
        let (bytes, limit) = (item.len() as u64, self.outlet.limit() as u64);
        if bytes > limit { Err(SendError(Why::TooLarge { bytes, limit })) } else { Ok(item) }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// Why an item was not sent.
///
/// It can be encoded, so that a task function may return it with `?`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendError(Why);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Why {
    Closed,
    NotEncoded(String),
    TooLarge { bytes: u64, limit: u64 },
}

impl SendError {
    /// Whether nobody reads any more: the stream was dropped, or its time is over.
    pub fn is_closed(&self) -> bool {
        self.0 == Why::Closed
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Closed => f.write_str("nobody reads this stream any more: end the task"),
            Why::NotEncoded(error) => write!(f, "could not encode the item: {error}"),
            Why::TooLarge { bytes, limit } => write!(
                f,
                "item is {bytes} bytes; the limit is {limit}: send less, or raise `max_payload`"
            ),
        }
    }
}

impl std::error::Error for SendError {}

impl From<SendError> for String {
    fn from(error: SendError) -> Self {
        error.to_string()
    }
}

/// Where a running task's items go: to a channel of this process, or to the server.
pub(crate) trait Outlet: fmt::Debug + Send + Sync {
    /// Sends an item; `wait` says whether to wait for room. Without room the item stays.
    fn send(&self, item: &mut Option<Payload>, wait: bool) -> Result<(), channel::Refused>;

    /// The most bytes that an item may have.
    fn limit(&self) -> usize;
}

/// A function that can be submitted with [`Client::stream`](crate::Client::stream): its last
/// parameter is a [`Sender`], or it returns an iterator of the items.
///
/// It is an `fn`, an `async fn` with a `Sender`, or a closure that captures nothing. Before
/// the `Sender` it takes zero to eight owned arguments. The parameter `M` tells the shapes of
/// functions apart; it is always inferred.
///
/// Implemented for every function that fits; there is no need to implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a task function that streams",
    note = "its last parameter is an `outboard::Sender<T>`, or it returns an `Iterator`",
    note = "arguments, items and output are `Serialize + DeserializeOwned + Send`",
    note = "submit a function without items with `Client::submit`"
)]
pub trait StreamFunction<M>: Copy + Send + Sync + 'static {
    /// What is passed, without the sender: nothing `()`, one argument bare, several as a tuple.
    type Args: Serialize + DeserializeOwned + Send + 'static;
    /// What is sent.
    type Item: Serialize + DeserializeOwned + Send + 'static;
    /// What the function returns in the end; `()` of one that returns an iterator.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// How many arguments it takes.
    #[doc(hidden)]
    const ARITY: usize = 0;

    /// Evaluated where a function is submitted, so that the error shows there.
    #[doc(hidden)]
    const HAS_NO_SIZE: () = assert!(
        size_of::<Self>() == 0,
        "a task function is the function itself: write its name instead of a pointer to \
         it, and pass what a closure captures as arguments"
    );

    /// Calls the function, and drives its future to the end if it is async.
    #[doc(hidden)]
    fn call(self, args: Self::Args, out: Sender<Self::Item>) -> Self::Output;

    /// The type of an argument, by its place.
    #[doc(hidden)]
    fn argument_type(_at: usize) -> Option<&'static str> {
        None
    }

    /// What this process knows of the function.
    #[doc(hidden)]
    fn known(&self) -> Result<Known, Error> {
        function::<Streamed<Self>, Streams<M>>().map(Known)
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

    /// Decodes an item: at once, or on another thread if that takes long.
    #[doc(hidden)]
    fn decode_item(item: Payload) -> Decoding<Self::Item> {
        Decoding::value(item)
    }

    /// Decodes what it returned.
    #[doc(hidden)]
    fn decoding(output: Payload) -> Decoding<Self::Output> {
        Decoding::value(output)
    }
}

/// Marks functions that return an iterator of their items.
#[doc(hidden)]
#[derive(Debug)]
pub struct Iterates;

macro_rules! impl_stream_function {
    (@parts $args:ty, $($arg:ident: $type:ident),*) => {
        type Args = $args;
        const ARITY: usize = 0 $(+ { stringify!($arg); 1 })*;

        fn argument_type(at: usize) -> Option<&'static str> {
            let types: &[&'static str] = &[$(type_name::<$type>()),*];
            types.get(at).copied()
        }
    };
    ($args:ty, $pattern:pat, $($arg:ident: $type:ident),*) => {
        impl<Fn_, T, R, $($type),*> StreamFunction<(Returns, fn($($type,)* Sender<T>) -> R)> for Fn_
        where
            Fn_: Fn($($type,)* Sender<T>) -> R + Copy + Send + Sync + 'static,
            T: Serialize + DeserializeOwned + Send + 'static,
            R: Serialize + DeserializeOwned + Send + 'static,
            $($type: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Item = T;
            type Output = R;
            impl_stream_function!(@parts $args, $($arg: $type),*);

            fn call(self, $pattern: $args, out: Sender<T>) -> R {
                self($($arg,)* out)
            }
        }

        impl<Fn_, T, R, $($type),*> StreamFunction<(Awaits, fn($($type,)* Sender<T>) -> R)> for Fn_
        where
            Fn_: Fn($($type,)* Sender<T>) -> R + Copy + Send + Sync + 'static,
            T: Serialize + DeserializeOwned + Send + 'static,
            R: Future,
            R::Output: Serialize + DeserializeOwned + Send + 'static,
            $($type: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Item = T;
            type Output = R::Output;
            impl_stream_function!(@parts $args, $($arg: $type),*);

            fn call(self, $pattern: $args, out: Sender<T>) -> R::Output {
                block_on(self($($arg,)* out))
            }
        }

        impl<Fn_, R, $($type),*> StreamFunction<(Iterates, fn($($type),*) -> R)> for Fn_
        where
            Fn_: Fn($($type),*) -> R + Copy + Send + Sync + 'static,
            R: Iterator,
            R::Item: Serialize + DeserializeOwned + Send + 'static,
            $($type: Serialize + DeserializeOwned + Send + 'static,)*
        {
            type Item = R::Item;
            type Output = ();
            impl_stream_function!(@parts $args, $($arg: $type),*);

            fn call(self, $pattern: $args, out: Sender<R::Item>) {
                for item in self($($arg),*) {
                    match out.send(item) {
                        Ok(()) => {}
                        Err(error) if error.is_closed() => return,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    };
}

impl_stream_function!((), (),);
impl_stream_function!(A, a, a: A);
impl_stream_function!((A, B), (a, b), a: A, b: B);
impl_stream_function!((A, B, C), (a, b, c), a: A, b: B, c: C);
impl_stream_function!((A, B, C, D), (a, b, c, d), a: A, b: B, c: C, d: D);
impl_stream_function!((A, B, C, D, E), (a, b, c, d, e), a: A, b: B, c: C, d: D, e: E);
impl_stream_function!(
    (A, B, C, D, E, G), (a, b, c, d, e, g), a: A, b: B, c: C, d: D, e: E, g: G
);
impl_stream_function!(
    (A, B, C, D, E, G, H), (a, b, c, d, e, g, h), a: A, b: B, c: C, d: D, e: E, g: G, h: H
);
impl_stream_function!(
    (A, B, C, D, E, G, H, I), (a, b, c, d, e, g, h, i),
    a: A, b: B, c: C, d: D, e: E, g: G, h: H, i: I
);

/// A function that streams, as a task function: its sender is that of the task that runs.
///
/// It is another type than the function, so a function that is both has two entries.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Streamed<F>(F);

/// Marks functions that stream.
#[doc(hidden)]
#[derive(Debug)]
pub struct Streams<M>(PhantomData<M>);

/// A function that streams, as a task function.
#[doc(hidden)]
pub const fn streamed<F: Copy>(f: F) -> Streamed<F> {
    Streamed(f)
}

impl<F: StreamFunction<M>, M> TaskFunction<Streams<M>> for Streamed<F> {
    type Args = F::Args;
    type Output = F::Output;
    const ARITY: usize = F::ARITY;
    const HAS_NO_SIZE: () = F::HAS_NO_SIZE;
    const STREAMS: bool = true;

    fn call(self, args: F::Args) -> F::Output {
        self.0.call(args, Sender::of_this_task())
    }

    fn argument_type(at: usize) -> Option<&'static str> {
        F::argument_type(at)
    }

    fn type_name() -> &'static str {
        type_name::<F>()
    }

    fn known(&self) -> Result<Known, Error> {
        self.0.known()
    }

    fn encode(args: F::Args) -> Result<Payload, ValueError> {
        F::encode(args)
    }

    fn encode_within(args: F::Args, limit: usize) -> Result<Payload, Refused<F::Args>> {
        F::encode_within(args, limit)
    }

    fn decoding(output: Payload) -> Decoding<F::Output> {
        F::decoding(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_functions_are_told_apart_without_help() {
        fn shape<F: StreamFunction<M>, M>(_: F) -> (usize, [&'static str; 2]) {
            (F::ARITY, [type_name::<F::Item>(), type_name::<F::Output>()])
        }
        async fn later(_: u64, out: Sender<u8>) -> u16 {
            drop(out);
            1
        }
        fn iterates(to: u64, _: u8) -> impl Iterator<Item = u64> {
            0..to
        }
        assert_eq!(shape(|out: Sender<u8>| drop(out)), (0, ["u8", "()"]));
        assert_eq!(shape(|_: u64, _: u8, _: Sender<u32>| 1_u16), (2, ["u32", "u16"]));
        assert_eq!(shape(later), (1, ["u8", "u16"]));
        assert_eq!(shape(iterates), (2, ["u64", "()"]));
        assert_eq!(shape(|_: Sender<u8>| 0..7_u64), (0, ["u8", "core::ops::range::Range<u64>"]));
    }

    #[test]
    fn an_error_says_what_to_do_and_travels() {
        let error = SendError(Why::TooLarge { bytes: 8, limit: 7 });
        assert_eq!(
            error.to_string(),
            "item is 8 bytes; the limit is 7: send less, or raise `max_payload`"
        );
        assert!(SendError(Why::Closed).is_closed() && !error.is_closed());
        assert_eq!(String::from(SendError(Why::Closed)).lines().count(), 1);
    }
}

//! Functions of Python: how they are called, streamed and what their values are.

/// Those that are called once for several tasks.
mod batch;

pub use batch::PythonBatch;

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;

use dask_protocol::pickle::{
    Pickle, Symbols, from_slice, from_symbols, to_vec, write_value_within,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::Batching;
use super::function::{Decoding, Known, TaskFunction};
use super::registry::{python_function, unknown};
use super::stream::{Sender, StreamFunction};
use crate::error::Error;
use crate::value::args::ENCODED_AT_ONCE;
use crate::value::codec::{Refused, ValueError, guarded};
use crate::value::payload::Payload;

/// The first byte of a result with buffers beside its pickle; a pickle has another one.
const BESIDE: u8 = 0;

/// A Python function by its import path, `module:name`.
///
/// `A` is the tuple of its arguments, `R` what it returns. The workers of
/// [`LocalBuilder::python`](crate::LocalBuilder::python) call it, or a cluster's ordinary
/// Python workers, whatever the client's URL says. This process needs no Python.
///
/// A generator function is [streamed](PythonFunction::items). A function of lists can take
/// [batches](PythonFunction::batch).
///
/// | Rust | Python |
/// |---|---|
/// | `()`, `None` | `None` |
/// | `Some(None)`, `Some(())` | `types.SimpleNamespace(Some=None)` |
/// | `bool`, integers of up to 128 bits, floats, `String`, `char` | `bool`, `int`, `float`, `str` |
/// | bytes, as serde knows them (for example [`Bytes`](bytes::Bytes)) | `bytes`; `bytearray` is accepted |
/// | `Vec`, tuple | `list`, `tuple`; either is accepted for either, and so is a `set` |
/// | map, struct | `dict`, with the names of fields as keys |
/// | enum | the variant's name, or a `dict` of one item from it to what it holds |
///
/// A `Vec<u8>` is a list of numbers to serde, and is sent as one; what Python
/// returns as `bytes` can be read as one. Values may be nested 128 levels deep.
/// A key of a map is a number, text, bytes, a tuple or a list of those, or `None`.
///
/// These are accepted from Python, where a type of Rust reads them:
///
/// | Python | what the Rust type reads |
/// |---|---|
/// | `Decimal`, `UUID`, `datetime`, `date`, `time` | text, as `rust_decimal`, `uuid` and `chrono` do |
/// | `timedelta` | seconds and nanoseconds, as [`Duration`](std::time::Duration) and `chrono` do |
/// | `range` | a sequence, or a [`Range`](std::ops::Range) if its step is 1 |
/// | `complex` | a pair of floats, as `num_complex` does |
/// | `OrderedDict`, `defaultdict`, `Counter` | a map |
/// | numpy's scalars | a number, or text |
/// | numpy's arrays of numbers in C order, `array.array` | sequences, one in another for each dimension; `Array` (feature `bytemuck`) |
///
/// Anything else is an error of kind `Codec` that names the class and says what to
/// return instead.
///
/// # Errors
///
/// The future gives `Raised` for an exception, with class, message and
/// traceback; `Codec` for a result that is not an `R`; `UnknownTask` for a name
/// that is not of the form `module:name`, and where there are no Python workers.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), outboard::Error> {
/// let client = outboard::Client::connect("local://?python=python3").await?;
/// let factorial = outboard::python::<(u64,), u64>("math:factorial");
/// assert_eq!(client.submit(factorial, 20).await?, 2_432_902_008_176_640_000);
/// # Ok(()) }
/// ```
pub fn python<A, R>(name: &'static str) -> PythonFunction<A, R>
where
    A: PythonArgs,
    R: Serialize + DeserializeOwned,
{
    PythonFunction { name, types: PhantomData }
}

/// A Python function; made by [`python`].
pub struct PythonFunction<A, R> {
    name: &'static str,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Clone for PythonFunction<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R> Copy for PythonFunction<A, R> {}

impl<A, R> fmt::Debug for PythonFunction<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonFunction").field(&self.name).finish()
    }
}

impl<A: PythonArgs, R> PythonFunction<A, R> {
    /// The same, which gives items while it runs: a generator function, or one that returns
    /// any iterable.
    ///
    /// Submit it with [`Client::stream`](crate::Client::stream). The stream's output is what
    /// the generator returns, `()` for one that returns nothing.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// let accumulate = outboard::python::<(Vec<u64>,), ()>("itertools:accumulate");
    /// let mut sums = client.stream(accumulate.items::<u64>(), vec![1, 2, 3]);
    /// while let Some(sum) = sums.next().await {
    ///     println!("{}", sum?);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn items<T>(self) -> PythonStream<A, T, R>
    where
        T: Serialize + DeserializeOwned,
    {
        PythonStream { function: self, items: PhantomData }
    }
}

/// A Python function that streams; made by [`PythonFunction::items`].
pub struct PythonStream<A, T, R> {
    function: PythonFunction<A, R>,
    items: PhantomData<fn() -> T>,
}

impl<A, T, R> Clone for PythonStream<A, T, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, T, R> Copy for PythonStream<A, T, R> {}

impl<A, T, R> fmt::Debug for PythonStream<A, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonStream").field(&self.function.name).finish()
    }
}

/// The arguments of a Python function: a tuple of up to eight.
pub trait PythonArgs: 'static {
    /// What is passed to [`submit`](crate::Client::submit): nothing as `()`, one
    /// argument bare, several as a tuple.
    type Passed: Serialize + DeserializeOwned + Send + 'static;

    /// Whether there is one argument.
    #[doc(hidden)]
    const BARE: bool = false;
}

/// Marks functions of Python.
#[doc(hidden)]
#[derive(Debug)]
pub struct Calls;

macro_rules! impl_python_args {
    ($($type:ident),*) => {
        impl<$($type: Serialize + DeserializeOwned + Send + 'static),*> PythonArgs for ($($type,)*) {
            type Passed = ($($type,)*);
        }
    };
}

impl PythonArgs for () {
    type Passed = ();
}

impl<A: Serialize + DeserializeOwned + Send + 'static> PythonArgs for (A,) {
    type Passed = A;
    const BARE: bool = true;
}

impl_python_args!(A, B);
impl_python_args!(A, B, C);
impl_python_args!(A, B, C, D);
impl_python_args!(A, B, C, D, E);
impl_python_args!(A, B, C, D, E, G);
impl_python_args!(A, B, C, D, E, G, H);
impl_python_args!(A, B, C, D, E, G, H, I);

impl<A, R> TaskFunction<Calls> for PythonFunction<A, R>
where
    A: PythonArgs,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Args = A::Passed;
    type Output = R;

    fn call(self, _: A::Passed) -> R {
        unreachable!("`{}` is called by Python", self.name)
    }

    fn known(&self) -> Result<Known, Error> {
        known(TypeId::of::<Self>(), self.name, false, None)
    }

    /// The opcodes of the tuple of arguments.
    fn encode(args: A::Passed) -> Result<Payload, ValueError> {
        match Self::encode_within(args, usize::MAX) {
            Ok(payload) => Ok(payload),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::Overrun(_)) => Err(ValueError::new("it is too large")),
        }
    }

    fn encode_within(args: A::Passed, limit: usize) -> Result<Payload, Refused<A::Passed>> {
        let mut pickle = Pickle::part_of(Vec::new());
        let mut overrun = false;
        if TypeId::of::<A>() == TypeId::of::<()>() {
            pickle.empty_tuple();
        } else {
            let written = guarded(|| {
                write_value_within(&args, &mut pickle, limit).map_err(|error| {
                    overrun = error.is_overrun();
                    ValueError::new(error.to_string())
                })
            });
            if overrun {
                return Err(Refused::Overrun(args));
            }
            written?;
        }
        if A::BARE {
            pickle.tuple_of_one();
        }
        Ok(pickle.into_part().into())
    }

    fn decode(output: Payload) -> Result<R, ValueError> {
        decode(&output)
    }

    /// Of no use to a cluster: a test reads what it was called with.
    fn decode_args(args: Payload) -> Result<A::Passed, ValueError> {
        let mut pickle = Pickle::new();
        if TypeId::of::<A>() == TypeId::of::<()>() {
            pickle.none();
        } else {
            pickle.part(&args);
        }
        let pickle = pickle.finish();
        let read = || match A::BARE {
            true => from_slice::<(A::Passed,)>(&pickle).map(|(only,)| only),
            false => from_slice(&pickle),
        };
        guarded(|| read().map_err(|error| ValueError::new(error.to_string())))
    }

    /// Of no use to a cluster: a test answers with it.
    fn encode_output(output: R) -> Result<Payload, ValueError> {
        let write = || to_vec(&output).map_err(|error| ValueError::new(error.to_string()));
        guarded(write).map(Payload::from)
    }

    fn is_quick(output: &Payload) -> bool {
        output.len() <= ENCODED_AT_ONCE
    }
}

impl<A, T, R> StreamFunction<Calls> for PythonStream<A, T, R>
where
    A: PythonArgs,
    T: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Args = A::Passed;
    type Item = T;
    type Output = R;
    const HAS_NO_SIZE: () = ();

    fn call(self, _: A::Passed, _: Sender<T>) -> R {
        unreachable!("`{}` is called by Python", self.function.name)
    }

    fn known(&self) -> Result<Known, Error> {
        known(TypeId::of::<Self>(), self.function.name, true, None)
    }

    fn encode(args: A::Passed) -> Result<Payload, ValueError> {
        PythonFunction::<A, R>::encode(args)
    }

    fn encode_within(args: A::Passed, limit: usize) -> Result<Payload, Refused<A::Passed>> {
        PythonFunction::<A, R>::encode_within(args, limit)
    }

    fn decode_item(item: Payload) -> Decoding<T> {
        Decoding::of(item.len() <= ENCODED_AT_ONCE, move || decode(&item))
    }

    fn encode_item(item: T) -> Result<Payload, ValueError> {
        let write = || to_vec(&item).map_err(|error| ValueError::new(error.to_string()));
        guarded(write).map(Payload::from)
    }

    fn decode_item_at_once(item: Payload) -> Decoding<T> {
        Decoding::Done(decode(&item))
    }

    fn decoding(output: Payload) -> Decoding<R> {
        PythonFunction::<A, R>::decoding(output)
    }
}

fn known(
    id: TypeId,
    name: &'static str,
    streams: bool,
    batching: Option<Batching>,
) -> Result<Known, Error> {
    let well_formed = |part: &str| {
        let names = part.split('.');
        names.into_iter().all(|name| !name.is_empty() && !name.contains([' ', ':', '/']))
    };
    match name.split_once(':') {
        Some((module, function)) if well_formed(module) && well_formed(function) => {
            python_function(id, name, streams, batching).map(Known)
        }
        _ => Err(unknown(name, "a function of Python is named `module:function`")),
    }
}

/// The value of a pickle, with or without buffers beside it.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    guarded(|| {
        let (pickle, buffers) = parts(bytes).ok_or_else(|| ValueError::new("it is cut off"))?;
        Symbols::read(pickle, buffers.len())
            .map_err(Into::into)
            .and_then(|symbols| from_symbols(&symbols, &buffers, symbols.root()))
            .map_err(|error| ValueError::new(error.to_string()))
    })
}

/// A pickle, and the buffers beside it: behind [`BESIDE`] their number in four bytes, then
/// the lengths of all in eight, then all.
fn parts(bytes: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let Some((&BESIDE, rest)) = bytes.split_first() else { return Some((bytes, Vec::new())) };
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let count = (u32::from_le_bytes(*count) as usize).checked_add(1)?;
    let (lengths, mut rest) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut parts = Vec::with_capacity(count);
    for length in lengths.as_chunks::<8>().0 {
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (part, others) = rest.split_at_checked(length)?;
        parts.push(part);
        rest = others;
    }
    let pickle = parts.remove(0);
    rest.is_empty().then_some((pickle, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pickle_with_buffers_beside_it_is_taken_apart_or_refused() {
        let (one, two) = (3_u64.to_le_bytes(), 2_u64.to_le_bytes());
        let whole = [&[BESIDE, 1, 0, 0, 0][..], &one, &two, b"abcde"].concat();
        assert_eq!(parts(&whole), Some((&b"abc"[..], vec![&b"de"[..]])));
        for cut in 1..whole.len() {
            assert_eq!(parts(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parts(&[&whole[..], b"f"].concat()), None);
        assert_eq!(parts(&[BESIDE, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(parts(b"\x80\x04N."), Some((&b"\x80\x04N."[..], Vec::new())));
        // None, with a buffer that is not referred to.
        let unused = [&[BESIDE, 1, 0, 0, 0][..], &4_u64.to_le_bytes(), &two, b"\x80\x05N.de"];
        assert!(decode::<()>(&unused.concat()).is_ok());
    }

    fn encoded<A: PythonArgs>(args: A::Passed) -> Vec<u8> {
        PythonFunction::<A, ()>::encode(args).unwrap().to_vec()
    }

    #[test]
    fn arguments_are_always_a_tuple() {
        assert_eq!(encoded::<()>(()), b")");
        assert_eq!(encoded::<(u8,)>(7), b"K\x07\x85");
        assert_eq!(encoded::<((),)>(()), b"N\x85");
        assert_eq!(encoded::<(u8, Option<bool>)>((7, None)), b"(K\x07Nt");
        assert_eq!(encoded::<((u8, u8),)>((1, 2)), b"(K\x01K\x02t\x85");
    }

    #[test]
    fn arguments_that_take_too_many_bytes_come_back() {
        let encode = |text: &str, limit| {
            PythonFunction::<(String, u8), ()>::encode_within((text.to_owned(), 7), limit)
        };
        let Err(Refused::Overrun((text, 7))) = encode(&"x".repeat(100), 99) else { panic!() };
        assert_eq!(text.len(), 100);
        assert!(encode(&"x".repeat(80), 99).is_ok());
        let many = PythonFunction::<(Vec<u32>,), ()>::encode_within(vec![7; 100], 99);
        assert!(matches!(many, Err(Refused::Overrun(many)) if many.len() == 100));
    }

    #[test]
    fn a_name_has_a_module_and_a_function() {
        let known = |name| python::<(), ()>(name).known().map(|known| known.0.number);
        for wrong in ["factorial", "math:", ":f", "math:a:b", "math:f g", "a..b:f"] {
            assert!(known(wrong).is_err(), "{wrong}");
        }
        assert_eq!(known("os.path:join").unwrap(), known("os.path:join").unwrap());
        assert_ne!(known("os.path:join").unwrap(), known("os.path:split").unwrap());
        let other_types = python::<(u8,), ()>("os.path:join").known().unwrap();
        assert_ne!(known("os.path:join").unwrap(), other_types.0.number);
    }
}

//! Python functions, called on the workers of a Dask cluster.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;

use dask_protocol::pickle::{Pickle, from_slice, to_vec, write_value_within};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::task::function::{Known, TaskFunction};
use crate::task::registry::{python_function, unknown};
use crate::value::args::ENCODED_AT_ONCE;
use crate::value::codec::{Refused, ValueError, guarded};
use crate::value::payload::Payload;

/// A Python function by its import path, `module:name`, to be submitted to a
/// [cluster](crate::Client::connect).
///
/// `A` is the tuple of its arguments, `R` what it returns. A cluster's ordinary
/// Python workers call it; this process needs no Python, and the scheduler need
/// not have the module.
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
/// | numpy's arrays of numbers in C order, `array.array` | sequences, one in another for each dimension |
///
/// Anything else is an error of kind `Codec` that names the class and says what to
/// return instead.
///
/// # Errors
///
/// The future gives `Raised` for an exception, with class, message and
/// traceback; `Codec` for a result that is not an `R`; `UnknownTask` for a name
/// that is not of the form `module:name`, for a cluster without Python workers,
/// and on `local` and `inline`.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), outboard::Error> {
/// let client = outboard::Client::connect("dask://127.0.0.1:8786").await?;
/// let factorial = outboard::dask::python::<(u64,), u64>("math:factorial");
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
        let well_formed = |part: &str| {
            let names = part.split('.');
            names.into_iter().all(|name| !name.is_empty() && !name.contains([' ', ':', '/']))
        };
        match self.name.split_once(':') {
            Some((module, name)) if well_formed(module) && well_formed(name) => {
                python_function(TypeId::of::<Self>(), self.name).map(Known)
            }
            _ => Err(unknown(self.name, "a function of Python is named `module:function`")),
        }
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
        let read = || from_slice(&output).map_err(|error| ValueError::new(error.to_string()));
        guarded(read)
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! What fuzzers check of the codec: bytes are refused, or are a value that is written and
//! read again as what it was.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::{Input, decode, encode};

/// A type for each way through the codec.
#[derive(Debug, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Unit(()),
    Flag(bool),
    Integers(i8, u32, i64, u64),
    Wide(i128, u128),
    Floats(f32, f64),
    Text(String, char),
    Bytes(Bytes, Vec<u8>),
    Numbers(Vec<i16>, Vec<f32>, Vec<Number>),
    Maybe(Option<Option<Option<()>>>),
    List(Vec<Shape>),
    Map(BTreeMap<Option<u8>, Shape>),
    Struct {
        first: Option<Box<Shape>>,
        second: (u8, u8),
    },
    Itself(Itself),
    Buffered(Buffered),
    Described(Described),
    #[cfg(feature = "bytemuck")]
    Array(crate::value::array::Array<u16>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Number(u16);

/// Sees itself in whatever there is.
#[derive(Debug, Serialize, Deserialize)]
struct Itself(Option<Box<Itself>>);

/// What serde keeps in between.
#[derive(Debug, Serialize, Deserialize)]
struct Buffered {
    number: u8,
    #[serde(flatten)]
    tagged: Tagged,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Tagged {
    Empty,
    Deeper { next: Box<Tagged>, options: Vec<Option<Option<u8>>> },
}

/// Takes what the bytes say.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Described {
    Nothing(()),
    Flag(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Described>),
    Map(BTreeMap<String, Described>),
}

/// Checks bytes as a value of each type.
pub(crate) fn check(data: &[u8]) {
    again::<Shape>(data);
    again::<Described>(data);
    again::<Vec<Shape>>(data);
    again::<Vec<Itself>>(data);
    let _ = decode::<IgnoredAny>(Input::Lent(data));
}

fn again<T: Serialize + DeserializeOwned + Debug + 'static>(data: &[u8]) {
    let value = match decode::<T>(Input::Lent(data)) {
        Ok(value) => value,
        Err(error) => return assert!(!error.to_string().contains("panicked"), "{error}"),
    };
    let shown = format!("{value:?}");
    let back = encode(value).and_then(|payload| decode::<T>(Input::Lent(&payload)));
    match back {
        Ok(back) => assert_eq!(format!("{back:?}"), shown),
        // More levels count where a type is known than where it is found out.
        Err(error) => assert!(error.to_string().contains("levels deep"), "{error}: {shown}"),
    }
}

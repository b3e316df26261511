//! Arrays of plain numbers with a shape: how they travel.
//!
//! # To serde
//!
//! An array is a newtype struct named [`NAME`] around a struct of three fields:
//!
//! | field | as what | meaning |
//! |---|---|---|
//! | `dtype` | `str` | the type of an item, as numpy's `array.dtype.str` has it |
//! | `shape` | sequence of `u64` | the length of each dimension, outermost first; empty for a scalar |
//! | `data` | bytes | the items in C order, without gaps |
//!
//! `data` has exactly as many bytes as `shape` times the item's size says. A format that
//! does not know the name writes and reads these fields: JSON, and Python's values. There
//! an array is a `numpy.ndarray`.
//!
//! `dtype` begins with `<` or `>` (little or big endian, that of the machine that wrote it)
//! or a bar (one byte, or no number). A letter and the item's size in bytes follow:
//!
//! | Rust | `dtype` |
//! |---|---|
//! | `u8` `i8` | `\|u1` `\|i1` |
//! | `u16` `u32` `u64` | `<u2` `<u4` `<u8` |
//! | `i16` `i32` `i64` | `<i2` `<i4` `<i8` |
//! | `f32` `f64` | `<f4` `<f8` |
//! | any other plain type of `n` bytes | `\|Vn` (numpy's void) |
//!
//! A reader takes an array whose `dtype` is exactly that of its own items. Anything else
//! is an error that names both.
//!
//! # In a payload
//!
//! In the codec it is an extension of MessagePack of type 4 (`codec::write::ARRAY`), whose
//! content is:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | length of `dtype` |
//! | that many | `dtype`, in ASCII |
//! | 1 | number of dimensions |
//! | 8 for each | `shape`, little endian |
//! | 0 to 15 | zeros |
//! | the rest | `data` |
//!
//! The zeros put `data` at a multiple of 16 bytes from the payload's beginning, if it has 64 KiB
//! and more. A payload begins at such an address wherever it is large, so a reader can use `data`
//! in place. Readers do not rely on that: `data` is the last bytes, as many as `dtype` and
//! `shape` say.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

#[cfg(feature = "bytemuck")]
mod plain;

#[cfg(feature = "bytemuck")]
pub use plain::Array;

/// The name of the newtype struct by which formats know an array.
pub(crate) const NAME: &str = "$outboard::Array";

/// What is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wire {
    pub(crate) dtype: Cow<'static, str>,
    pub(crate) shape: Vec<u64>,
    pub(crate) data: Bytes,
}

/// How many bytes an item has, by its `dtype`.
pub(crate) fn item_bytes(dtype: &str) -> Option<u64> {
    let size = dtype.strip_prefix(['<', '>', '|'])?.strip_prefix(['u', 'i', 'f', 'V'])?;
    size.parse().ok()
}

/// Reads an array from any format.
pub(crate) struct WireVisitor;

impl<'de> Visitor<'de> for WireVisitor {
    type Value = Wire;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inside: D) -> Result<Wire, D::Error> {
        Wire::deserialize(inside)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Wire, A::Error> {
        Wire::deserialize(de::value::MapAccessDeserializer::new(map))
    }
}

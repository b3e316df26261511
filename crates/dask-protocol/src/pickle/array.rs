//! Arrays of numbers, as numpy and Python's `array` have them, for serde.

use std::borrow::Cow;
use std::cell::Cell;

use serde::de::value::{BytesDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use super::decode::{Mismatch, spend};

/// The name of a newtype struct that is an array in Python.
///
/// It is around a struct of three fields: `dtype`, as numpy writes it (`<f8`), `shape`, and
/// `data`, the bytes of its numbers in C order.
///
/// Such a value of Rust becomes a `numpy.ndarray`. What is read as one may be an
/// array or scalar of numpy, or an `array.array`; its numbers are little endian.
pub const ARRAY: &str = "$outboard::Array";

/// Its fields.
const FIELDS: [&str; 3] = ["dtype", "shape", "data"];

/// Numbers in C order, which lie in a pickle.
#[derive(Clone, Debug)]
pub(crate) struct Array<'a> {
    /// numpy's letter: b, i, u, f, c, or V for bytes without a meaning.
    kind: char,
    /// How many bytes a number has.
    size: usize,
    /// They are big endian.
    swapped: bool,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

/// A number of an array.
enum Number {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Single(f32),
    Double(f64),
    Complex(f64, f64),
}

impl<'a> Array<'a> {
    /// # Errors
    ///
    /// A line, if it does not have as many numbers as its shape says.
    pub(super) fn new(
        kind: char,
        size: usize,
        swapped: bool,
        shape: Vec<usize>,
        bytes: &'a [u8],
    ) -> Result<Self, String> {
        let length = shape.iter().try_fold(size, |all, length| all.checked_mul(*length));
        match kind != 'U' && length == Some(bytes.len()) {
            true => Ok(Self { kind, size, swapped, shape, bytes }),
            false => Err("an array whose shape is not that of its numbers".into()),
        }
    }

    /// The length of its first dimension, unless it is one number.
    pub(super) fn length(&self) -> Option<usize> {
        self.shape.first().copied()
    }

    /// Its bytes, if it has one dimension of them.
    pub(super) fn as_bytes(&self) -> Option<&'a [u8]> {
        (self.kind == 'u' && self.size == 1 && self.shape.len() == 1).then_some(self.bytes)
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    fn dtype(&self) -> String {
        let order = if self.size == 1 || self.kind == 'V' { '|' } else { '<' };
        format!("{order}{}{}", self.kind, self.size)
    }

    /// All numbers, little endian.
    fn little_endian(&self) -> Cow<'a, [u8]> {
        if !self.swapped {
            return Cow::Borrowed(self.bytes);
        }
        // A complex number is two.
        let size = if self.kind == 'c' { self.size / 2 } else { self.size };
        let mut bytes = self.bytes.to_vec();
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        Cow::Owned(bytes)
    }

    /// The number at a place, counted in numbers; `None` if they are none.
    fn number(&self, at: usize) -> Option<Number> {
        let bytes = &self.bytes[at * self.size..][..self.size];
        let wide = |bytes: &[u8]| {
            let mut wide = [0; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            if self.swapped {
                wide[..bytes.len()].reverse();
            }
            u64::from_le_bytes(wide)
        };
        let float = |bytes: &[u8]| match bytes.len() {
            4 => f64::from(f32::from_bits(wide(bytes) as u32)),
            _ => f64::from_bits(wide(bytes)),
        };
        Some(match (self.kind, self.size) {
            ('V', _) => return None,
            ('b', _) => Number::Bool(bytes != [0]),
            ('u', _) => Number::Uint(wide(bytes)),
            ('i', size) => {
                let unused = 64 - 8 * size as u32;
                Number::Int(((wide(bytes) << unused) as i64) >> unused)
            }
            ('f', 2) => Number::Single(half(wide(bytes) as u16)),
            ('f', 4) => Number::Single(f32::from_bits(wide(bytes) as u32)),
            ('f', _) => Number::Double(f64::from_bits(wide(bytes))),
            (_, size) => {
                let (re, im) = bytes.split_at(size / 2);
                Number::Complex(float(re), float(im))
            }
        })
    }
}

/// The value of a float of 16 bits.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let (exponent, fraction) = (u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    let magnitude = match exponent {
        0 => return f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        0x1f => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// A part of an array: a number, or all that have the same first places.
pub(super) struct Slice<'a> {
    array: &'a Array<'a>,
    /// How many dimensions have been entered.
    depth: usize,
    /// Where it begins, in numbers.
    at: usize,
    left: &'a Cell<usize>,
}

impl<'a> Slice<'a> {
    pub(super) fn all(array: &'a Array<'a>, left: &'a Cell<usize>) -> Self {
        Self { array, depth: 0, at: 0, left }
    }

    fn items(&self) -> Option<Items<'a>> {
        let (length, inner) = self.array.shape[self.depth..].split_first()?;
        let step = inner.iter().product();
        Some(Items {
            array: self.array,
            depth: self.depth + 1,
            at: self.at,
            step,
            rest: *length,
            left: self.left,
        })
    }
}

struct Items<'a> {
    array: &'a Array<'a>,
    depth: usize,
    at: usize,
    step: usize,
    rest: usize,
    left: &'a Cell<usize>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mismatch> {
        let Some(rest) = self.rest.checked_sub(1) else { return Ok(None) };
        let Self { array, depth, at, left, .. } = *self;
        if depth < array.shape.len() {
            // A list costs something, even if it is empty.
            spend(left, 24)?;
        }
        self.rest = rest;
        self.at += self.step;
        seed.deserialize(Slice { array, depth, at, left }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest)
    }
}

impl<'de> Deserializer<'de> for Slice<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if let Some(mut items) = self.items() {
            let value = visitor.visit_seq(&mut items)?;
            return match items.rest {
                0 => Ok(value),
                rest => Err(de::Error::custom(format!("an array has {rest} numbers too many"))),
            };
        }
        let number = self.array.number(self.at).ok_or_else(|| {
            let what = format!("an array of the dtype {}", self.array.dtype());
            <Mismatch as de::Error>::invalid_type(Unexpected::Other(&what), &visitor)
        })?;
        match number {
            Number::Bool(value) => visitor.visit_bool(value),
            Number::Int(value) => visitor.visit_i64(value),
            Number::Uint(value) => visitor.visit_u64(value),
            Number::Single(value) => visitor.visit_f32(value),
            Number::Double(value) => visitor.visit_f64(value),
            Number::Complex(re, im) => {
                visitor.visit_seq(SeqDeserializer::<_, Mismatch>::new([re, im].into_iter()))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match name {
            ARRAY if self.depth == 0 => visitor.visit_newtype_struct(Parts(self.array)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.array.as_bytes().filter(|_| self.depth == 0) {
            Some(bytes) => visitor.visit_bytes(bytes),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_byte_buf(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Dtype, shape and bytes, as [`ARRAY`] has them.
struct Parts<'a>(&'a Array<'a>);

impl<'de> Deserializer<'de> for Parts<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Fields { array: self.0, next: 0 })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct option newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

struct Fields<'a> {
    array: &'a Array<'a>,
    next: usize,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mismatch> {
        let name = FIELDS.get(self.next).copied();
        self.next += 1;
        name.map(|name| seed.deserialize(name.into_deserializer())).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        match self.next {
            1 => seed.deserialize(self.array.dtype().into_deserializer()),
            2 => {
                let shape = self.array.shape.iter().map(|length| *length as u64);
                seed.deserialize(SeqDeserializer::new(shape))
            }
            _ => seed.deserialize(BytesDeserializer::new(&self.array.little_endian())),
        }
    }
}

//! Rust values from pickles, by serde; the other direction of `encode`.
//!
//! What only Python has (an object whose class is not known, a function) is an
//! error that names it, and says what to send. Depth and work are bounded: parts of a pickle may be
//! shared, so that a small one can stand for a huge value.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::{self, Display};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::array::{ARRAY, Slice};
use super::objects::{Known, Source, advice};
use super::place::{Step, Trouble};
use super::symbols::{Span, widen, widen_unsigned};
use super::{DEPTH, Node, Object, PickleError, Symbols};

/// How much larger a value may be than its pickle: bytes for each of its bytes,
/// and bytes besides.
const SHARING: usize = 64;
const SHARING_BYTES: usize = 1 << 20;

/// The Rust value of a part of a pickle, beside which these buffers were sent.
///
/// # Errors
///
/// If it is something else, nested too deeply, or far larger than its pickle.
pub fn from_symbols<T: DeserializeOwned>(
    symbols: &Symbols<'_>,
    buffers: &[&[u8]],
    node: Node,
) -> Result<T, Mismatch> {
    let beside: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    let length = symbols.length() + beside;
    let left = Cell::new((symbols.cost() + beside) * SHARING + SHARING_BYTES + length * 4);
    T::deserialize(Part { source: Source { symbols, buffers }, node, depth: DEPTH, left: &left })
}

/// Why a pickle is not the value that was asked for, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch(Box<Trouble>);

impl Mismatch {
    #[cold]
    fn new(reason: impl Into<String>) -> Self {
        Self(Box::new(Trouble::new(reason)))
    }

    #[cold]
    fn inside(self, step: Step) -> Self {
        Self(Box::new(self.0.inside(step)))
    }
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Mismatch {}

impl From<PickleError> for Mismatch {
    fn from(error: PickleError) -> Self {
        Self::new(error.to_string())
    }
}

impl de::Error for Mismatch {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// Takes what is made of a pickle from what may still be.
pub(super) fn spend(left: &Cell<usize>, bytes: usize) -> Result<(), Mismatch> {
    let rest = left.get().checked_sub(bytes.saturating_add(1));
    left.set(rest.ok_or_else(|| Mismatch::new("it shares too much of itself"))?);
    Ok(())
}

/// One part of a pickle.
#[derive(Clone, Copy)]
struct Part<'a> {
    source: Source<'a>,
    node: Node,
    depth: usize,
    /// How many bytes may still be made of it.
    left: &'a Cell<usize>,
}

impl<'a> Part<'a> {
    /// What this part holds, one step deeper.
    fn inside(self) -> Result<Self, Mismatch> {
        let depth = self.depth.checked_sub(1);
        let deep = || Mismatch::new(format!("it is nested more than {DEPTH} levels deep"));
        Ok(Self { depth: depth.ok_or_else(deep)?, ..self })
    }

    fn at(self, node: Node) -> Self {
        Self { node, ..self }
    }

    fn spend(self, bytes: usize) -> Result<(), Mismatch> {
        spend(self.left, bytes)
    }

    fn object(self) -> Option<&'a Object> {
        match self.node {
            Node::Object(index) => Some(self.source.symbols.object(index)),
            _ => None,
        }
    }

    fn known(self) -> Result<Option<Known<'a>>, Mismatch> {
        self.source.known(self.node).map_err(Mismatch::new)
    }

    /// What Python would call it.
    fn what(self) -> String {
        let symbols = self.source.symbols;
        let name = |node| match symbols.global(node) {
            Some(("builtins", name)) => name.to_owned(),
            Some((module, name)) => format!("{module}.{name}"),
            None => "an object".to_owned(),
        };
        match self.node {
            Node::Long(_) => "an int beyond 64 bits".into(),
            Node::Object(_) => match symbols.call(self.node) {
                Some(call) => format!("a Python object, {}", name(call.callable)),
                None => format!("a Python function or class, {}", name(self.node)),
            },
            _ => "a Python value".into(),
        }
    }

    /// That it is something else than was asked for.
    fn refused<T>(self, expected: &dyn de::Expected) -> Result<T, Mismatch> {
        let error: Mismatch = de::Error::invalid_type(Unexpected::Other(&self.what()), expected);
        let symbols = self.source.symbols;
        let class = symbols.call(self.node).and_then(|call| symbols.global(call.callable));
        let Some((module, name)) = class else { return Err(error) };
        let advice = match (module, name) {
            ("decimal", _) => "send `float(x)`, or take it as text or as a decimal type",
            ("datetime" | "uuid", _) => "send a number, or take it as text or as a type for it",
            _ => advice(module, name),
        };
        Err(Mismatch::new(format!("{error}: {advice}")))
    }

    /// Lets a sequence be read to its end: what is left over would be lost.
    fn visit_seq<'de, V: Visitor<'de>>(
        self,
        nodes: &'a [Node],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let mut items = Items { part: self.inside()?, rest: nodes.iter(), at: 0 };
        let value = visitor.visit_seq(&mut items)?;
        match items.rest.len() {
            0 => Ok(value),
            rest => Err(Mismatch::new(format!("it has {rest} items too many"))),
        }
    }

    fn visit_pairs<'de, V: Visitor<'de>>(
        self,
        pairs: &'a [(Node, Node)],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Pairs { part: self.inside()?, rest: pairs.iter(), last: None })
    }

    fn visit_known<'de, V: Visitor<'de>>(
        self,
        known: Known<'a>,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match known {
            Known::Bytes(bytes) => {
                self.spend(bytes.len())?;
                visitor.visit_bytes(bytes)
            }
            Known::Text(text) => {
                self.spend(text.len())?;
                visitor.visit_string(text)
            }
            Known::Time(seconds, nanoseconds) => {
                let parts = [seconds, nanoseconds.into()].into_iter();
                visitor.visit_seq(de::value::SeqDeserializer::<_, Mismatch>::new(parts))
            }
            Known::Range { start, stop, step } => {
                let mut numbers = Numbers { next: start.into(), stop, step, left: self.left };
                let value = visitor.visit_seq(&mut numbers)?;
                match numbers.is_over() {
                    true => Ok(value),
                    false => Err(Mismatch::new("a range has too many numbers")),
                }
            }
            Known::Complex(re, im) => {
                let parts = [re, im].into_iter();
                visitor.visit_seq(de::value::SeqDeserializer::<_, Mismatch>::new(parts))
            }
            Known::Array(array) => {
                self.spend(array.size())?;
                Slice::all(&array, self.left).deserialize_any(visitor)
            }
            Known::Map(pairs) => self.visit_pairs(pairs, visitor),
            Known::Some(held) => visitor.visit_some(self.inside()?.at(held)),
        }
    }

    /// An integer of any width that serde has.
    fn visit_wide<'de, V: Visitor<'de>>(
        self,
        span: Span,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let bytes = self.source.symbols.span(span);
        let unsigned = widen_unsigned(bytes);
        match (unsigned.map(u64::try_from), widen(bytes), unsigned) {
            (Some(Ok(int)), ..) => visitor.visit_u64(int),
            (_, Some(int), _) => visitor.visit_i128(int),
            (.., Some(int)) => visitor.visit_u128(int),
            _ => Err(Mismatch::new("an int beyond 128 bits: send it as text")),
        }
    }

    /// For who wants a number of at most 64 bits: text that stands for something else is
    /// none.
    fn visit_number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node {
            Node::Long(span) => match widen(self.source.symbols.span(span)).map(u64::try_from) {
                Some(Ok(int)) => visitor.visit_u64(int),
                _ => self.refused(&visitor),
            },
            Node::Object(_) => match self.known()? {
                Some(Known::Array(array)) if array.length().is_none() => {
                    self.visit_known(Known::Array(array), visitor)
                }
                // A number of seconds.
                _ => self.refused(&visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    /// How many items it has, if it has items.
    fn count(self) -> Result<Option<usize>, Mismatch> {
        Ok(match (self.node, self.object()) {
            (Node::EmptyTuple, _) => Some(0),
            (_, Some(Object::List(items) | Object::Tuple(items) | Object::Set(items))) => {
                Some(items.len())
            }
            (Node::Bytes(_) | Node::Buffer(_), _) => self.source.bytes(self.node).map(<[u8]>::len),
            _ => match self.known()? {
                Some(Known::Bytes(bytes)) => Some(bytes.len()),
                Some(Known::Array(array)) => array.length(),
                _ => None,
            },
        })
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.visit_number(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Part<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.spend(8)?;
        match self.node {
            Node::None => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Int(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Node::Long(span) => self.visit_wide(span, visitor),
            // What is buffered may be asked for as either: only a signalling NaN of 32 bits
            // would be another one as 64.
            Node::Float(value) => match narrow_nan(value) {
                Some(single) if is_signalling(value) => visitor.visit_f32(single),
                _ => visitor.visit_f64(value),
            },
            Node::Str(_) => {
                let text = self.source.symbols.str(self.node).unwrap_or_default();
                self.spend(text.len())?;
                visitor.visit_str(text)
            }
            Node::EmptyTuple => self.visit_seq(&[], visitor),
            Node::Bytes(_) | Node::Buffer(_) => {
                let bytes = self.source.bytes(self.node).unwrap_or_default();
                self.spend(bytes.len())?;
                visitor.visit_bytes(bytes)
            }
            Node::Object(_) => match self.object() {
                Some(Object::List(items) | Object::Tuple(items) | Object::Set(items)) => {
                    self.visit_seq(items, visitor)
                }
                Some(Object::Dict(pairs)) => self.visit_pairs(pairs, visitor),
                _ => match self.known()? {
                    Some(known) => self.visit_known(known, visitor),
                    None => self.refused(&visitor),
                },
            },
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_bool
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node {
            Node::Float(value) => match narrow_nan(value) {
                Some(single) => visitor.visit_f32(single),
                None => visitor.visit_f64(value),
            },
            _ => self.visit_number(visitor),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node {
            Node::Float(value) => visitor.visit_f64(value),
            _ => self.visit_number(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match (self.node, self.known()) {
            (Node::None, _) => visitor.visit_none(),
            (_, Ok(Some(Known::Some(held)))) => visitor.visit_some(self.inside()?.at(held)),
            _ => visitor.visit_some(self.inside()?),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        if name != ARRAY {
            return visitor.visit_newtype_struct(self.inside()?);
        }
        match self.known()? {
            Some(Known::Array(array)) => {
                self.spend(array.size())?;
                Slice::all(&array, self.left).deserialize_newtype_struct(name, visitor)
            }
            _ => Err(Mismatch::new(format!("{}: send `numpy.asarray(x)`", self.what()))),
        }
    }

    /// Bytes may be an array of them, too.
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.known()? {
            Some(Known::Array(array)) => {
                self.spend(array.size())?;
                Slice::all(&array, self.left).deserialize_byte_buf(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_byte_buf(visitor)
    }

    /// Python's bytes can be read as a list of numbers, which is what serde takes
    /// a `Vec<u8>` for.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let bytes = match self.known()? {
            Some(Known::Bytes(bytes)) => Some(bytes),
            _ => self.source.bytes(self.node),
        };
        match bytes {
            Some(bytes) => {
                self.spend(bytes.len())?;
                let bytes = bytes.iter().copied();
                visitor.visit_seq(de::value::SeqDeserializer::new(bytes))
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.count()?.filter(|found| *found != length) {
            Some(found) => Err(de::Error::invalid_length(found, &visitor)),
            None => self.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(length, visitor)
    }

    /// A `Range` of Rust ends before its end, as Python's does.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.known()? {
            Some(Known::Range { start, stop, step: 1 }) if name == "Range" => {
                let ends = [start, stop].into_iter();
                visitor.visit_seq(de::value::SeqDeserializer::<_, Mismatch>::new(ends))
            }
            Some(Known::Range { .. }) => self.refused(&visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        const EXPECTED: &str = "the name of a variant, or a dict of one item";
        let symbols = self.source.symbols;
        let (name, held) = match (self.node, self.object()) {
            (Node::Str(_), _) => (symbols.str(self.node).map(Cow::Borrowed), None),
            (_, Some(Object::Dict(pairs))) if pairs.len() == 1 => {
                (symbols.str(pairs[0].0).map(Cow::Borrowed), Some(pairs[0].1))
            }
            _ => match self.known()? {
                Some(Known::Text(name)) => (Some(Cow::Owned(name)), None),
                _ => return self.refused(&EXPECTED),
            },
        };
        let name = name.ok_or_else(|| Mismatch::new("a variant's name is no str"))?;
        self.spend(name.len())?;
        let held = held.map(|held| Ok::<_, Mismatch>(self.inside()?.at(held))).transpose()?;
        let value = visitor.visit_enum(Variant { name: &name, held });
        value.map_err(|error| if held.is_some() { error.inside(Step::name(&name)) } else { error })
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char str string unit unit_struct map identifier ignored_any
    }
}

/// A NaN of 32 bits that was made one of 64, with its payload.
fn narrow_nan(value: f64) -> Option<f32> {
    let bits = value.to_bits();
    let fits = value.is_nan() && bits.trailing_zeros() >= 29;
    let single = f32::from_bits(
        (bits >> 32) as u32 & 0x8000_0000 | 0x7f80_0000 | (bits >> 29) as u32 & 0x7f_ffff,
    );
    (fits && single.is_nan()).then_some(single)
}

fn is_signalling(nan: f64) -> bool {
    nan.to_bits() & 1 << 51 == 0
}

/// The numbers of a range.
struct Numbers<'a> {
    next: i128,
    stop: i64,
    step: i64,
    left: &'a Cell<usize>,
}

impl Numbers<'_> {
    fn is_over(&self) -> bool {
        let stop = i128::from(self.stop);
        if self.step > 0 { self.next >= stop } else { self.next <= stop }
    }
}

impl<'de> SeqAccess<'de> for Numbers<'_> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mismatch> {
        if self.is_over() {
            return Ok(None);
        }
        spend(self.left, 8)?;
        let number = self.next as i64;
        self.next += i128::from(self.step);
        seed.deserialize(number.into_deserializer()).map(Some)
    }
}

/// What a list, tuple or set holds.
struct Items<'a> {
    part: Part<'a>,
    rest: std::slice::Iter<'a, Node>,
    at: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mismatch> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let at = self.at;
        self.at += 1;
        let value = seed.deserialize(self.part.at(*node));
        value.map(Some).map_err(|error| error.inside(Step::Index(at)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// What a dict holds.
struct Pairs<'a> {
    part: Part<'a>,
    rest: std::slice::Iter<'a, (Node, Node)>,
    /// The key that was read last, and its value.
    last: Option<(Node, Node)>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mismatch> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.last = Some((*key, *value));
        seed.deserialize(self.part.at(*key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let (key, value) =
            self.last.take().ok_or_else(|| Mismatch::new("a key is to come first"))?;
        let value = seed.deserialize(self.part.at(value));
        value.map_err(|error| match self.part.source.symbols.str(key) {
            Some(name) => error.inside(Step::name(name)),
            None => error,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The variant of an enum, and what it holds.
struct Variant<'a> {
    name: &'a str,
    held: Option<Part<'a>>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Mismatch;
    type Variant = Held<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Held<'a>), Mismatch> {
        let name: de::value::StrDeserializer<'_, Mismatch> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Held(self.held)))
    }
}

/// What a variant holds, if it holds anything.
struct Held<'a>(Option<Part<'a>>);

impl<'a> Held<'a> {
    fn part(self) -> Result<Part<'a>, Mismatch> {
        self.0.ok_or_else(|| Mismatch::new("the variant holds nothing"))
    }
}

impl<'de> VariantAccess<'de> for Held<'_> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(Mismatch::new("the variant holds something")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mismatch> {
        seed.deserialize(self.part()?)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.part()?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.part()?.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests;

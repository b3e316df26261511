//! Rust values from pickles, by serde; the other direction of `encode`.
//!
//! What only Python has (an object, a function, an integer beyond 64 bits) is an
//! error that names it. Depth and work are bounded: parts of a pickle may be
//! shared, so that a small one can stand for a huge value.

use std::cell::Cell;
use std::fmt::{self, Display};

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

use super::{DEPTH, Node, Object, PickleError, Symbols, widen};

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
    buffers: &[Vec<u8>],
    node: Node,
) -> Result<T, Mismatch> {
    let left = Cell::new(symbols.cost() * SHARING + SHARING_BYTES + symbols.length() * 4);
    T::deserialize(Part { symbols, buffers, node, depth: DEPTH, left: &left })
}

/// Why a pickle is not the value that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch(String);

impl Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl From<PickleError> for Mismatch {
    fn from(error: PickleError) -> Self {
        Self(error.to_string())
    }
}

impl de::Error for Mismatch {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// One part of a pickle.
#[derive(Clone, Copy)]
struct Part<'a> {
    symbols: &'a Symbols<'a>,
    buffers: &'a [Vec<u8>],
    node: Node,
    depth: usize,
    /// How many bytes may still be made of it.
    left: &'a Cell<usize>,
}

impl<'a> Part<'a> {
    /// What this part holds, one step deeper.
    fn inside(self) -> Result<Self, Mismatch> {
        let depth = self.depth.checked_sub(1);
        let depth =
            depth.ok_or_else(|| Mismatch(format!("it is nested more than {DEPTH} levels deep")))?;
        Ok(Self { depth, ..self })
    }

    fn at(self, node: Node) -> Self {
        Self { node, ..self }
    }

    fn spend(self, bytes: usize) -> Result<(), Mismatch> {
        let left = self.left.get().checked_sub(bytes + 1);
        let left = left.ok_or_else(|| Mismatch("shares too much of itself".into()))?;
        self.left.set(left);
        Ok(())
    }

    fn object(self) -> Option<&'a Object> {
        match self.node {
            Node::Object(index) => Some(self.symbols.object(index)),
            _ => None,
        }
    }

    /// Bytes, also those that were sent beside the pickle or wrapped in a class.
    fn bytes(self) -> Option<&'a [u8]> {
        match self.node {
            Node::Bytes(span) => Some(self.symbols.span(span)),
            Node::Buffer(index) => self.buffers.get(index as usize).map(Vec::as_slice),
            _ => {
                let call = self.symbols.call(self.node)?;
                let wraps = matches!(
                    self.symbols.global(call.callable),
                    Some(("builtins", "bytearray" | "bytes"))
                );
                match self.symbols.items(call.args).filter(|_| wraps)? {
                    [] => Some(&[]),
                    [one] if self.symbols.call(*one).is_none() => self.at(*one).bytes(),
                    _ => None,
                }
            }
        }
    }

    /// What Python would call it.
    fn what(self) -> String {
        let name = |node| match self.symbols.global(node) {
            Some(("builtins", name)) => name.to_owned(),
            Some((module, name)) => format!("{module}.{name}"),
            None => "an object".to_owned(),
        };
        match self.node {
            Node::Long(_) => "an int beyond 64 bits".into(),
            Node::Object(_) => match self.symbols.call(self.node) {
                Some(call) => format!("a Python object, {}", name(call.callable)),
                None => format!("a Python function or class, {}", name(self.node)),
            },
            _ => "a Python value".into(),
        }
    }

    fn refused<T>(self, expected: &dyn de::Expected) -> Result<T, Mismatch> {
        Err(de::Error::invalid_type(Unexpected::Other(&self.what()), expected))
    }

    fn items(self, nodes: &'a [Node]) -> Items<'a> {
        Items { part: self, rest: nodes.iter() }
    }

    fn pairs(self, pairs: &'a [(Node, Node)]) -> Pairs<'a> {
        Pairs { part: self, rest: pairs.iter(), value: None }
    }

    fn visit_wide<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let Node::Long(span) = self.node else { return self.refused(&visitor) };
        match widen(self.symbols.span(span)).map(u64::try_from) {
            Some(Ok(int)) => visitor.visit_u64(int),
            _ => self.refused(&visitor),
        }
    }
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
            Node::Long(_) => self.visit_wide(visitor),
            Node::Float(value) => visitor.visit_f64(value),
            Node::Str(_) => {
                let text = self.symbols.str(self.node).unwrap_or_default();
                self.spend(text.len())?;
                visitor.visit_str(text)
            }
            Node::EmptyTuple => visitor.visit_seq(self.items(&[])),
            Node::Bytes(_) | Node::Buffer(_) | Node::Object(_) => {
                if let Some(bytes) = self.bytes() {
                    self.spend(bytes.len())?;
                    return visitor.visit_bytes(bytes);
                }
                match self.object() {
                    Some(Object::List(items) | Object::Tuple(items) | Object::Set(items)) => {
                        visitor.visit_seq(self.inside()?.items(items))
                    }
                    Some(Object::Dict(pairs)) => visitor.visit_map(self.inside()?.pairs(pairs)),
                    _ => self.refused(&visitor),
                }
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.node {
            Node::None => visitor.visit_none(),
            _ => visitor.visit_some(self.inside()?),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self.inside()?)
    }

    /// Python's bytes can be read as a list of numbers, which is what serde takes
    /// a `Vec<u8>` for.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.bytes() {
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
        let found = match self.object() {
            Some(Object::List(items) | Object::Tuple(items)) => items.len(),
            _ => length,
        };
        if found != length {
            return Err(de::Error::invalid_length(found, &visitor));
        }
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let (name, held) = match (self.node, self.object()) {
            (Node::Str(_), _) => (self.node, None),
            (_, Some(Object::Dict(pairs))) if pairs.len() == 1 => (pairs[0].0, Some(pairs[0].1)),
            _ => return self.refused(&"the name of a variant, or a dict of one item"),
        };
        let name = self.symbols.str(name);
        let name = name.ok_or_else(|| Mismatch("a variant's name is no str".into()))?;
        self.spend(name.len())?;
        let held = held.map(|held| Ok::<_, Mismatch>(self.inside()?.at(held))).transpose()?;
        visitor.visit_enum(Variant { name, held })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map struct identifier ignored_any
    }
}

/// What a list, tuple or set holds.
struct Items<'a> {
    part: Part<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Mismatch;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mismatch> {
        self.rest.next().map(|node| seed.deserialize(self.part.at(*node))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// What a dict holds.
struct Pairs<'a> {
    part: Part<'a>,
    rest: std::slice::Iter<'a, (Node, Node)>,
    value: Option<Node>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Mismatch;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mismatch> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(*value);
        seed.deserialize(self.part.at(*key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mismatch> {
        let value = self.value.take().ok_or_else(|| Mismatch("a key is to come first".into()))?;
        seed.deserialize(self.part.at(value))
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
        self.0.ok_or_else(|| Mismatch("the variant holds nothing".into()))
    }
}

impl<'de> VariantAccess<'de> for Held<'_> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err(Mismatch("the variant holds something".into())),
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
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::super::{DEPTH, Pickle, from_slice, write_value};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(f64),
        Line(i8, u16),
        Text { content: String, bold: Option<bool> },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Drawing {
        shapes: Vec<Shape>,
        sizes: BTreeMap<String, (i64, u64)>,
        nothing: (),
        letter: char,
    }

    fn pickled<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
        let mut pickle = Pickle::new();
        write_value(value, &mut pickle).map_err(|error| error.to_string())?;
        Ok(pickle.finish())
    }

    #[track_caller]
    fn comes_back<T: Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(value: T) {
        assert_eq!(from_slice::<T>(&pickled(&value).unwrap()).as_ref(), Ok(&value));
    }

    #[test]
    fn values_come_back() {
        comes_back(());
        comes_back((1_u8, "two".to_owned(), 3.5, None::<u8>, Some(true)));
        comes_back([u64::MAX, 1 << 63, (1 << 63) - 1, 0]);
        comes_back([i64::MIN, i64::MAX, -1]);
        comes_back(vec![vec![1_u8, 2], vec![]]);
        let text = Shape::Text { content: "é".into(), bold: Some(false) };
        comes_back(Drawing {
            shapes: vec![Shape::Point, Shape::Circle(1.0), Shape::Line(-1, 2), text],
            sizes: [("a".to_owned(), (-5, u64::MAX))].into(),
            nothing: (),
            letter: 'ß',
        });
    }

    #[test]
    fn an_integer_beyond_64_bits_is_an_error_both_ways() {
        assert!(pickled(&(1_i128 << 64)).unwrap_err().contains("beyond 64 bits"));
        let two_to_100 = b"\x80\x04\x8a\x0d\0\0\0\0\0\0\0\0\0\0\0\0\x10.";
        let error = from_slice::<u64>(two_to_100).unwrap_err();
        assert!(error.0.contains("an int beyond 64 bits"), "{error}");
    }

    #[test]
    fn depth_is_bounded_both_ways() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Link {
            End,
            Next(Option<Box<Link>>),
        }
        let chain =
            |levels| (0..levels).fold(Link::End, |next, _| Link::Next(Some(Box::new(next))));
        comes_back(chain(DEPTH / 2));
        let error = pickled(&chain(DEPTH / 2 + 1)).unwrap_err();
        assert!(error.contains("more than 128 levels"), "{error}");
    }

    #[test]
    fn bytes_are_read_as_a_list_of_numbers_too() {
        assert_eq!(from_slice::<Vec<u8>>(b"\x80\x04C\x02\0\xff."), Ok(vec![0, 255]));
        assert_eq!(from_slice::<(u8, u8)>(b"\x80\x04](K\x01K\x02e."), Ok((1, 2)));
        assert!(from_slice::<(u8, u8)>(b"\x80\x04](K\x01e.").is_err());
    }

    #[test]
    fn what_only_python_has_is_named() {
        let object = b"\x80\x04\x8c\x07decimal\x8c\x07Decimal\x93\x8c\x011\x85R.";
        let error = from_slice::<f64>(object).unwrap_err();
        assert!(error.0.contains("decimal.Decimal"), "{error}");
    }

    #[test]
    fn a_small_pickle_that_stands_for_a_huge_value_is_refused() {
        // Each list holds the one before twice: 2 to the 40.
        let mut bomb = b"\x80\x04]\x94".to_vec();
        for level in 0..40 {
            bomb.extend([b']', b'(', b'h', level, b'h', level, b'e', 0x94]);
        }
        bomb.push(b'.');
        let error = from_slice::<serde::de::IgnoredAny>(&bomb).unwrap_err();
        assert!(error.0.contains("shares too much"), "{error}");
        let error = from_slice::<serde::de::IgnoredAny>(b"\x80\x04]\x94h\0a.").unwrap_err();
        assert!(error.0.contains("nested more than 128 levels"), "{error}");
    }

    proptest! {
        #[test]
        fn any_value_comes_back(
            ints in prop::collection::vec(any::<i64>(), 0..20),
            text in ".{0,40}",
            float in prop::num::f64::NORMAL,
            naturals in prop::collection::btree_map(".{0,8}", any::<u64>(), 0..8),
        ) {
            comes_back((ints, text, float, naturals));
        }
    }
}

//! Sequences of plain numbers: one after the other, little endian, as memory has them.

use std::fmt::Display;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::ser::{self, Impossible, Serialize, Serializer};

use super::error::{Place, ValueError};
use super::head::Head;
use super::read::{left_over, mismatch};
use super::write::too_deep;

/// What kind of number a sequence has; its extension type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    U8 = 16,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Kind {
    const ALL: [Self; 10] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::I8,
        Self::I16,
        Self::I32,
        Self::I64,
        Self::F32,
        Self::F64,
    ];

    /// The kind of an extension type, if it is one of numbers.
    pub(super) fn of(extension: u8) -> Option<Self> {
        Self::ALL.get(usize::from(extension.checked_sub(Self::U8 as u8)?)).copied()
    }

    /// How many bytes one takes.
    #[inline]
    pub(super) fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) kind: Kind,
    /// The first `size` of these are its bytes.
    pub(super) bytes: [u8; 8],
}

impl Number {
    #[inline]
    fn new<const N: usize>(kind: Kind, bytes: [u8; N]) -> Self {
        let mut all = [0; 8];
        all[..N].copy_from_slice(&bytes);
        Self { kind, bytes: all }
    }

    /// The number that a value is, if it is one and nothing else.
    #[inline]
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Option<Self> {
        value.serialize(Probe).ok()
    }

    /// What it is by itself, outside of a sequence of its kind.
    pub(super) fn head(self) -> Head {
        let wide = u64::from_le_bytes(self.bytes);
        match self.kind {
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Head::Unsigned(wide),
            Kind::I8 => Head::Signed((wide as i8).into()),
            Kind::I16 => Head::Signed((wide as i16).into()),
            Kind::I32 => Head::Signed((wide as i32).into()),
            Kind::I64 => Head::Signed(wide as i64),
            Kind::F32 => Head::F32(f32::from_bits(wide as u32)),
            Kind::F64 => Head::F64(f64::from_bits(wide)),
        }
    }
}

/// The numbers that bytes of a sequence are.
pub(super) fn numbers(kind: Kind, bytes: &[u8]) -> impl Iterator<Item = Number> {
    bytes.chunks_exact(kind.size()).map(move |bytes| {
        let mut all = [0; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        Number { kind, bytes: all }
    })
}

/// Takes a number, and refuses everything else before it is looked into.
struct Probe;

/// It is something else.
#[derive(Debug)]
struct Other;

impl Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a number")
    }
}

impl std::error::Error for Other {}

impl ser::Error for Other {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

macro_rules! take {
    ($($method:ident($type:ty) = $kind:ident),* $(,)?) => {
        $(#[inline] fn $method(self, value: $type) -> Result<Number, Other> {
            Ok(Number::new(Kind::$kind, value.to_le_bytes()))
        })*
    };
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $ok:ty),* $(,)?) => {
        $(#[inline] fn $method(self, $(_: $type),*) -> Result<$ok, Other> {
            Err(Other)
        })*
    };
}

type No = Impossible<Number, Other>;

impl Serializer for Probe {
    type Ok = Number;
    type Error = Other;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = No;
    type SerializeStructVariant = No;

    take! {
        serialize_u8(u8) = U8,
        serialize_u16(u16) = U16,
        serialize_u32(u32) = U32,
        serialize_u64(u64) = U64,
        serialize_i8(i8) = I8,
        serialize_i16(i16) = I16,
        serialize_i32(i32) = I32,
        serialize_i64(i64) = I64,
        serialize_f32(f32) = F32,
        serialize_f64(f64) = F64,
    }

    refuse! {
        serialize_bool(bool) -> Number,
        serialize_i128(i128) -> Number,
        serialize_u128(u128) -> Number,
        serialize_char(char) -> Number,
        serialize_str(&str) -> Number,
        serialize_bytes(&[u8]) -> Number,
        serialize_none() -> Number,
        serialize_unit() -> Number,
        serialize_unit_struct(&'static str) -> Number,
        serialize_unit_variant(&'static str, u32, &'static str) -> Number,
        serialize_seq(Option<usize>) -> No,
        serialize_tuple(usize) -> No,
        serialize_tuple_struct(&'static str, usize) -> No,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No,
        serialize_map(Option<usize>) -> No,
        serialize_struct(&'static str, usize) -> No,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No,
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Number, Other> {
        Err(Other)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Number, Other> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Number, Other> {
        Err(Other)
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<Number, Other> {
        Err(Other)
    }
}

/// The numbers of a sequence, one by one; each takes so many bytes.
struct Numbers<'de, const SIZE: usize> {
    kind: Kind,
    rest: std::slice::Iter<'de, [u8; SIZE]>,
    total: usize,
    /// How much deeper types may go that see themselves in a number.
    depth: u8,
}

/// Gives the numbers of a sequence to a visitor, who has to take all.
pub(super) fn visit<'de, V: Visitor<'de>>(
    kind: Kind,
    bytes: &'de [u8],
    depth: u8,
    visitor: V,
) -> Result<V::Value, ValueError> {
    match kind.size() {
        1 => visit_sized::<1, V>(kind, bytes, depth, visitor),
        2 => visit_sized::<2, V>(kind, bytes, depth, visitor),
        4 => visit_sized::<4, V>(kind, bytes, depth, visitor),
        _ => visit_sized::<8, V>(kind, bytes, depth, visitor),
    }
}

fn visit_sized<'de, const SIZE: usize, V: Visitor<'de>>(
    kind: Kind,
    bytes: &'de [u8],
    depth: u8,
    visitor: V,
) -> Result<V::Value, ValueError> {
    let (numbers, []) = bytes.as_chunks::<SIZE>() else {
        return Err(ValueError::new("a sequence of numbers ends inside a number"));
    };
    let total = numbers.len();
    let mut numbers = Numbers { kind, rest: numbers.iter(), total, depth };
    let value = visitor.visit_seq(&mut numbers)?;
    match numbers.rest.len() {
        0 => Ok(value),
        left => Err(left_over(total, total - left)),
    }
}

impl<'de, const SIZE: usize> SeqAccess<'de> for &mut Numbers<'de, SIZE> {
    type Error = ValueError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ValueError> {
        let Some(bytes) = self.rest.next() else { return Ok(None) };
        let number = Number::new(self.kind, *bytes);
        match seed.deserialize(Element { number, depth: self.depth }) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.inside(Place::Index(self.total - self.rest.len() - 1))),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// One number of a sequence.
struct Element {
    number: Number,
    depth: u8,
}

impl Element {
    fn inside(self) -> Result<Self, ValueError> {
        let depth = self.depth.checked_sub(1).ok_or_else(too_deep)?;
        Ok(Self { depth, ..self })
    }

    /// For a type that is not of the kind of number that was written.
    #[cold]
    fn convert<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.deserialize_any(visitor)
    }
}

macro_rules! direct {
    ($($method:ident: $type:ident, $visit:ident, $kind:ident, $otherwise:expr);* $(;)?) => {
        $(#[inline] fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self.number {
                Number { kind: Kind::$kind, bytes } => {
                    let (bytes, _) = bytes.split_first_chunk().expect("there are eight");
                    visitor.$visit($type::from_le_bytes(*bytes))
                }
                _ => $otherwise(self, visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Element {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        let wide = u64::from_le_bytes(self.number.bytes);
        match self.number.kind {
            Kind::U8 => visitor.visit_u8(wide as u8),
            Kind::U16 => visitor.visit_u16(wide as u16),
            Kind::U32 => visitor.visit_u32(wide as u32),
            Kind::U64 => visitor.visit_u64(wide),
            Kind::I8 => visitor.visit_i8(wide as i8),
            Kind::I16 => visitor.visit_i16(wide as i16),
            Kind::I32 => visitor.visit_i32(wide as i32),
            Kind::I64 => visitor.visit_i64(wide as i64),
            Kind::F32 => visitor.visit_f32(f32::from_bits(wide as u32)),
            Kind::F64 => visitor.visit_f64(f64::from_bits(wide)),
        }
    }

    direct! {
        deserialize_u8: u8, visit_u8, U8, Self::convert;
        deserialize_u16: u16, visit_u16, U16, Self::convert;
        deserialize_u32: u32, visit_u32, U32, Self::convert;
        deserialize_u64: u64, visit_u64, U64, Self::convert;
        deserialize_i8: i8, visit_i8, I8, Self::convert;
        deserialize_i16: i16, visit_i16, I16, Self::convert;
        deserialize_i32: i32, visit_i32, I32, Self::convert;
        deserialize_i64: i64, visit_i64, I64, Self::convert;
        deserialize_f32: f32, visit_f32, F32, |it: Self, visitor| to_f32(it.number.head(), visitor);
        deserialize_f64: f64, visit_f64, F64, |it: Self, visitor| to_f64(it.number.head(), visitor);
    }

    /// The sequence may have had no `Option` in the version that wrote it.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self.inside()?)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self.inside()?)
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct enum identifier ignored_any
    }
}

/// What was a 64-bit float, or an integer, is not rounded to 32 bits in silence.
#[cold]
pub(super) fn to_f32<'de, V: Visitor<'de>>(head: Head, visitor: V) -> Result<V::Value, ValueError> {
    match head {
        Head::F32(value) => visitor.visit_f32(value),
        Head::F64(value) if f64::from(value as f32).to_bits() == value.to_bits() => {
            visitor.visit_f32(value as f32)
        }
        Head::Unsigned(value) if value <= 1 << 24 => visitor.visit_u64(value),
        Head::Signed(value) if value.unsigned_abs() <= 1 << 24 => visitor.visit_i64(value),
        other => Err(mismatch(other, &"a number that 32 bits of a float hold")),
    }
}

/// An integer is not rounded in silence.
#[cold]
pub(super) fn to_f64<'de, V: Visitor<'de>>(head: Head, visitor: V) -> Result<V::Value, ValueError> {
    match head {
        Head::F32(value) => visitor.visit_f64(value.into()),
        Head::F64(value) => visitor.visit_f64(value),
        Head::Unsigned(value) if value <= 1 << 53 => visitor.visit_u64(value),
        Head::Signed(value) if value.unsigned_abs() <= 1 << 53 => visitor.visit_i64(value),
        other => Err(mismatch(other, &"a number that 64 bits of a float hold")),
    }
}

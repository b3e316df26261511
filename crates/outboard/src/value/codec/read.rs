//! Values from bytes: what [`write`](super::write) writes.
//!
//! The bytes may be anyone's. A length is compared with what is left before anything
//! is made of it, and depth is bounded. A type need not take all that is there, or may
//! go on after an error: the next one is read from where it begins.

use bytes::Bytes;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::array::Fields;
use super::error::{Place, ValueError};
use super::head::{Head, Malformed};
use super::number::{Kind, to_f32, to_f64, visit};
use super::write::{ARRAY, I128, SOMES, U128, place, too_deep};
use super::{DEPTH, types};
use crate::value::array::{self, Wire, WireVisitor};
use crate::value::payload::SHARED_BYTES;

/// Reads one value.
#[derive(Debug)]
pub(super) struct Reader<'de> {
    rest: &'de [u8],
    /// How much deeper it may go.
    depth: u8,
    /// All of the bytes, if they may be kept.
    owner: Option<&'de Bytes>,
    /// How many bytes and items more may be read, without bytes that are shared.
    budget: usize,
    /// More than that would have been read.
    pub(super) overrun: bool,
}

impl From<Malformed> for ValueError {
    #[cold]
    fn from(_: Malformed) -> Self {
        Self::new("the bytes are not a value, or end before it does")
    }
}

impl<'de> Reader<'de> {
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Self { rest: bytes, depth: DEPTH, owner: None, budget: usize::MAX, overrun: false }
    }

    /// The same of bytes that may be kept, and of which so many are read at most.
    pub(super) fn of(bytes: &'de Bytes, budget: usize) -> Self {
        Self { owner: Some(bytes), budget, ..Self::new(bytes) }
    }

    #[inline]
    fn spend(&mut self, budget: u32) -> Result<(), ValueError> {
        match self.budget.checked_sub(budget as usize) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(self.too_much()),
        }
    }

    #[cold]
    fn too_much(&mut self) -> ValueError {
        self.overrun = true;
        ValueError::new("it is too much to be read at once")
    }

    /// A part of the bytes, shared if that is worth it.
    fn keep(&mut self, part: &'de [u8]) -> Result<Bytes, ValueError> {
        match self.owner {
            Some(owner) if part.len() >= SHARED_BYTES => Ok(owner.slice_ref(part)),
            _ => self.copy(part).map(Bytes::from),
        }
    }

    fn copy(&mut self, part: &'de [u8]) -> Result<Vec<u8>, ValueError> {
        self.spend(part.len() as u32)?;
        Ok(super::copy(part))
    }

    /// The content of an array's extension.
    fn array(&mut self, bytes: u32) -> Result<Fields<'de>, ValueError> {
        Fields::of(self.part(bytes)?)
    }

    /// A value that takes up all the bytes.
    pub(super) fn read<T: de::Deserialize<'de>>(&mut self) -> Result<T, ValueError> {
        let value = self.one(std::marker::PhantomData)?;
        match self.rest.len() {
            0 => Ok(value),
            left => Err(ValueError::new(format!("bytes left over after the value: {left}"))),
        }
    }

    /// A value whose type may leave it unread.
    #[inline]
    fn one<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ValueError> {
        let before = self.rest.len();
        let value = seed.deserialize(&mut *self)?;
        if self.rest.len() == before {
            self.skip()?;
        }
        Ok(value)
    }

    /// What the next value begins with. All that it says to follow may be there.
    fn head(&mut self) -> Result<Head, ValueError> {
        let head = Head::read(&mut self.rest)?;
        let least = match head {
            Head::Text(bytes) | Head::Binary(bytes) | Head::Extension(_, bytes) => bytes.into(),
            Head::Array(items) => items.into(),
            Head::Map(items) => u64::from(items) * 2,
            _ => 0,
        };
        if least > self.rest.len() as u64 { Err(Malformed.into()) } else { Ok(head) }
    }

    /// A byte of a marker that says all, if it is one.
    #[inline]
    fn one_byte(&mut self, is: impl Fn(u8) -> bool) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        is(*first).then(|| self.rest = rest)?;
        Some(*first)
    }

    /// What follows a marker, if it is that one.
    #[inline]
    fn after<const N: usize>(&mut self, marker: u8) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first()?;
        let (taken, rest) = rest.split_first_chunk()?;
        (*first == marker).then(|| self.rest = rest)?;
        Some(*taken)
    }

    /// A short text.
    #[inline]
    fn short_text(&mut self) -> Option<&'de str> {
        let (first, rest) = self.rest.split_first()?;
        let length = usize::from(*first).checked_sub(0xa0).filter(|length| *length < 32)?;
        let (text, rest) = rest.split_at_checked(length)?;
        let text = std::str::from_utf8(text).ok()?;
        self.rest = rest;
        Some(text)
    }

    #[inline]
    fn take(&mut self, bytes: u32) -> Result<&'de [u8], ValueError> {
        self.spend(bytes)?;
        self.part(bytes)
    }

    /// The same, of which nothing is read yet.
    #[inline]
    fn part(&mut self, bytes: u32) -> Result<&'de [u8], ValueError> {
        let (taken, rest) = self.rest.split_at_checked(bytes as usize).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn text(&mut self, bytes: u32) -> Result<&'de str, ValueError> {
        std::str::from_utf8(self.take(bytes)?).map_err(|_| ValueError::new("a text is not UTF-8"))
    }

    fn wide(&mut self) -> Result<[u8; 16], ValueError> {
        self.take(16)?.try_into().map_err(|_| Malformed.into())
    }

    /// Goes over a value, however deep it is.
    fn skip(&mut self) -> Result<(), ValueError> {
        let mut owed = 1_u64;
        while owed > 0 {
            owed -= 1;
            match self.head()? {
                Head::Text(bytes) | Head::Binary(bytes) | Head::Extension(_, bytes) => {
                    self.take(bytes)?;
                }
                Head::Array(items) => owed += u64::from(items),
                Head::Map(items) => owed += u64::from(items) * 2,
                _ => {}
            }
            if owed > self.rest.len() as u64 {
                return Err(Malformed.into());
            }
        }
        Ok(())
    }

    /// One level deeper; gives the depth to return to.
    #[inline]
    fn enter(&mut self) -> Result<u8, ValueError> {
        let depth = self.depth;
        self.depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        Ok(depth)
    }

    /// What holds no others.
    fn scalar<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, ValueError> {
        let head = self.head()?;
        self.scalar_of(head, visitor)
    }

    fn scalar_of<V: Visitor<'de>>(
        &mut self,
        head: Head,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match head {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Unsigned(value) => visitor.visit_u64(value),
            Head::Signed(value) => visitor.visit_i64(value),
            Head::F32(value) => visitor.visit_f32(value),
            Head::F64(value) => visitor.visit_f64(value),
            Head::Text(bytes) => visitor.visit_borrowed_str(self.text(bytes)?),
            Head::Binary(bytes) => visitor.visit_borrowed_bytes(self.take(bytes)?),
            Head::Extension(I128, 16) => visitor.visit_i128(i128::from_le_bytes(self.wide()?)),
            Head::Extension(U128, 16) => visitor.visit_u128(u128::from_le_bytes(self.wide()?)),
            Head::Array(_) | Head::Map(_) | Head::Extension(..) => Err(mismatch(head, &visitor)),
        }
    }

    fn sequence<V: Visitor<'de>>(
        &mut self,
        items: u32,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.spend(items)?;
        let depth = self.enter()?;
        let mut items =
            Items { within: self.depth, reader: self, left: items, taken: 0, torn: None };
        let value = visitor.visit_seq(&mut items)?;
        items.close()?;
        self.depth = depth;
        Ok(value)
    }

    fn map<V: Visitor<'de>>(&mut self, pairs: u32, visitor: V) -> Result<V::Value, ValueError> {
        self.spend(pairs)?;
        let depth = self.enter()?;
        let items = Items { within: self.depth, reader: self, left: pairs, taken: 0, torn: None };
        let mut pairs = Pairs { items, key: None };
        let value = visitor.visit_map(&mut pairs)?;
        pairs.skip_value()?;
        pairs.items.close()?;
        self.depth = depth;
        Ok(value)
    }

    fn extension<V: Visitor<'de>>(
        &mut self,
        head: Head,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match head {
            Head::Extension(SOMES, 1) => {
                let somes = self.somes()?;
                visitor.visit_some(somes)
            }
            Head::Extension(kind, bytes) if Kind::of(kind).is_some() => {
                self.numbers(head, bytes, visitor)
            }
            Head::Extension(ARRAY, bytes) => visitor.visit_map(self.array(bytes)?),
            Head::Extension(..) => self.scalar_of(head, visitor),
            _ => Err(mismatch(head, &visitor)),
        }
    }

    /// What is around nothing, without the outermost.
    fn somes(&mut self) -> Result<Somes, ValueError> {
        let [somes] = *self.take(1)? else { return Err(Malformed.into()) };
        match somes.checked_sub(1) {
            Some(left) => Ok(Somes { left, depth: self.depth }),
            None => Err(Malformed.into()),
        }
    }

    /// A sequence of numbers; also bytes, for a type that takes them so.
    fn numbers<V: Visitor<'de>>(
        &mut self,
        head: Head,
        bytes: u32,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        let kind = match head {
            Head::Binary(_) => Some(Kind::U8),
            Head::Extension(kind, _) => Kind::of(kind),
            _ => None,
        };
        match kind {
            Some(kind) => visit(kind, self.take(bytes)?, self.depth, visitor),
            None => Err(mismatch(head, &visitor)),
        }
    }

    /// Bytes, and a sequence of such numbers, for a type that takes it so and may share them.
    fn bytes(&mut self) -> Result<Option<&'de [u8]>, ValueError> {
        let before = self.rest;
        match self.head()? {
            Head::Binary(bytes) => self.part(bytes).map(Some),
            Head::Extension(kind, bytes) if Kind::of(kind) == Some(Kind::U8) => {
                self.part(bytes).map(Some)
            }
            _ => {
                self.rest = before;
                Ok(None)
            }
        }
    }
}

/// A value is something else than its type expects.
#[cold]
pub(super) fn mismatch(head: Head, expected: &dyn Expected) -> ValueError {
    de::Error::invalid_type(unexpected(head), expected)
}

fn unexpected(head: Head) -> Unexpected<'static> {
    match head {
        Head::Nil => Unexpected::Unit,
        Head::Bool(value) => Unexpected::Bool(value),
        Head::Unsigned(value) => Unexpected::Unsigned(value),
        Head::Signed(value) => Unexpected::Signed(value),
        Head::F32(value) => Unexpected::Float(value.into()),
        Head::F64(value) => Unexpected::Float(value),
        Head::Text(_) => Unexpected::Other("a string"),
        Head::Binary(_) => Unexpected::Other("bytes"),
        Head::Array(_) => Unexpected::Seq,
        Head::Map(_) => Unexpected::Map,
        Head::Extension(SOMES, _) => Unexpected::Option,
        Head::Extension(I128 | U128, _) => Unexpected::Other("an integer of 128 bits"),
        Head::Extension(kind, _) if Kind::of(kind).is_some() => {
            Unexpected::Other("a sequence of numbers")
        }
        Head::Extension(ARRAY, _) => Unexpected::Other("an array"),
        Head::Extension(..) => Unexpected::Other("an unknown extension"),
    }
}

/// A type took less than there is.
#[cold]
pub(super) fn left_over(there: usize, taken: usize) -> ValueError {
    ValueError::new(format!("number of items: {there} in the value, {taken} in its type"))
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(#[inline] fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self.one_byte(|byte| byte < 0x80) {
                Some(small) => visitor.visit_u64(small.into()),
                None => self.scalar(visitor),
            }
        })*
    };
}

macro_rules! texts {
    ($($method:ident)*) => {
        $(#[inline] fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
            match self.short_text() {
                Some(text) => visitor.visit_borrowed_str(text),
                None => self.scalar(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.head()? {
            Head::Array(items) => self.sequence(items, visitor),
            Head::Map(pairs) => self.map(pairs, visitor),
            head @ Head::Extension(..) => self.extension(head, visitor),
            head => self.scalar_of(head, visitor),
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    texts! { deserialize_char deserialize_str deserialize_string deserialize_identifier }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.one_byte(|byte| byte | 1 == 0xc3) {
            Some(byte) => visitor.visit_bool(byte == 0xc3),
            None => self.scalar(visitor),
        }
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.after(0xca) {
            Some(bytes) => visitor.visit_f32(f32::from_be_bytes(bytes)),
            None => to_f32(self.head()?, visitor),
        }
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.after(0xcb) {
            Some(bytes) => visitor.visit_f64(f64::from_be_bytes(bytes)),
            None => to_f64(self.head()?, visitor),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.scalar(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.bytes()? {
            Some(bytes) => {
                self.spend(bytes.len() as u32)?;
                visitor.visit_borrowed_bytes(bytes)
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.bytes()? {
            Some(bytes) if types::reads_bytes::<V>() => match types::cast(self.keep(bytes)?) {
                Ok(value) => Ok(value),
                Err(bytes) => visitor.visit_byte_buf(bytes.into()),
            },
            Some(bytes) => visitor.visit_byte_buf(self.copy(bytes)?),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match *self.rest {
            [0xc0, ..] => {
                self.head()?;
                visitor.visit_none()
            }
            [0xd4, SOMES, ..] => {
                self.head()?;
                let somes = self.somes()?;
                visitor.visit_some(somes)
            }
            _ => {
                let depth = self.enter()?;
                let value = visitor.visit_some(&mut *self)?;
                self.depth = depth;
                Ok(value)
            }
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.scalar(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        if name == array::NAME && types::is::<V, WireVisitor>() {
            let head = self.head()?;
            let Head::Extension(ARRAY, bytes) = head else { return Err(mismatch(head, &visitor)) };
            let Fields { dtype, shape, data, .. } = self.array(bytes)?;
            let wire = Wire { dtype: dtype.to_owned().into(), shape, data: self.keep(data)? };
            return types::cast(wire).map_err(|_| Malformed.into());
        }
        let depth = self.enter()?;
        let value = visitor.visit_newtype_struct(&mut *self)?;
        self.depth = depth;
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.head()? {
            Head::Array(items) => self.sequence(items, visitor),
            head @ (Head::Binary(bytes) | Head::Extension(_, bytes)) => {
                self.numbers(head, bytes, visitor)
            }
            head => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.head()? {
            Head::Map(pairs) => self.map(pairs, visitor),
            head => Err(mismatch(head, &visitor)),
        }
    }

    /// By names only: positions mean something else in another version.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.head()? {
            Head::Text(bytes) => {
                visitor.visit_enum(Variant { name: self.text(bytes)?, held: None })
            }
            head @ Head::Map(1) => {
                let depth = self.enter()?;
                let Head::Text(bytes) = self.head()? else { return Err(mismatch(head, &visitor)) };
                let (name, before) = (self.text(bytes)?, self.rest.len());
                let value = visitor
                    .visit_enum(Variant { name, held: Some(&mut *self) })
                    .map_err(|error| error.inside(Place::name(name)))?;
                if self.rest.len() == before {
                    self.skip()?;
                }
                self.depth = depth;
                Ok(value)
            }
            head => Err(mismatch(head, &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        self.skip()?;
        visitor.visit_unit()
    }
}

/// The items of a sequence, or the pairs of a map.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    /// The depth of an item.
    within: u8,
    left: u32,
    taken: usize,
    /// Where the item begins that could not be read, for it has no known end.
    torn: Option<&'de [u8]>,
}

impl<'de> Items<'_, 'de> {
    #[inline]
    fn one<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ValueError> {
        let start = self.reader.rest;
        let value = self.reader.one(seed);
        if value.is_err() {
            self.torn = Some(start);
        }
        value
    }

    /// Its type goes on after an error: goes over what could not be read.
    #[inline]
    fn mend(&mut self) -> Result<(), ValueError> {
        match self.torn.take() {
            None => Ok(()),
            Some(start) => {
                (self.reader.rest, self.reader.depth) = (start, self.within);
                self.reader.skip()
            }
        }
    }

    fn close(&mut self) -> Result<(), ValueError> {
        self.mend()?;
        match self.left {
            0 => Ok(()),
            left => Err(left_over(self.taken + left as usize, self.taken)),
        }
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = ValueError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ValueError> {
        self.mend()?;
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        (self.left, self.taken) = (left, self.taken + 1);
        match self.one(seed) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.inside(Place::Index(self.taken - 1))),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left as usize)
    }
}

/// The pairs of a map.
struct Pairs<'a, 'de> {
    items: Items<'a, 'de>,
    /// Where the key begins whose value is next.
    key: Option<&'de [u8]>,
}

impl Pairs<'_, '_> {
    /// Goes over a value that was not asked for.
    fn skip_value(&mut self) -> Result<(), ValueError> {
        self.items.mend()?;
        match self.key.take() {
            None => Ok(()),
            Some(_) => self.items.reader.skip(),
        }
    }
}

impl<'de> MapAccess<'de> for &mut Pairs<'_, 'de> {
    type Error = ValueError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        self.skip_value()?;
        let items = &mut self.items;
        let Some(left) = items.left.checked_sub(1) else { return Ok(None) };
        (items.left, items.taken) = (left, items.taken + 1);
        self.key = Some(items.reader.rest);
        match items.one(seed) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(error.inside(Place::Index(items.taken - 1))),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ValueError> {
        self.items.mend()?;
        let key = self.key.take().ok_or_else(|| ValueError::new("a key is to come first"))?;
        let value = self.items.one(seed);
        value.map_err(|error| error.inside(place(key, self.items.taken - 1)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.left as usize)
    }
}

/// The variant of an enum, and what it holds.
struct Variant<'a, 'de> {
    name: &'de str,
    held: Option<&'a mut Reader<'de>>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = ValueError;
    type Variant = Held<'a, 'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Held<'a, 'de>), ValueError> {
        let name = BorrowedStrDeserializer::<ValueError>::new(self.name);
        Ok((seed.deserialize(name)?, Held(self.held)))
    }
}

/// What a variant holds, if it holds anything.
struct Held<'a, 'de>(Option<&'a mut Reader<'de>>);

impl<'a, 'de> Held<'a, 'de> {
    fn some(self, expected: &dyn Expected) -> Result<&'a mut Reader<'de>, ValueError> {
        self.0.ok_or_else(|| de::Error::invalid_type(Unexpected::UnitVariant, expected))
    }
}

impl<'de> VariantAccess<'de> for Held<'_, 'de> {
    type Error = ValueError;

    fn unit_variant(self) -> Result<(), ValueError> {
        match self.0 {
            None => Ok(()),
            Some(reader) => de::Deserialize::deserialize(reader),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, ValueError> {
        self.some(&"what the variant holds")?.one(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ValueError> {
        self.some(&visitor)?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        self.some(&visitor)?.deserialize_map(visitor)
    }
}

/// So many `Some` around nothing.
#[derive(Clone, Copy, Debug)]
struct Somes {
    left: u8,
    /// How much deeper its type may go.
    depth: u8,
}

impl Somes {
    fn inside(self) -> Result<Self, ValueError> {
        let depth = self.depth.checked_sub(1).ok_or_else(too_deep)?;
        Ok(Self { depth, ..self })
    }

    /// What is in it, if that is not nothing.
    fn next(self) -> Result<Option<Self>, ValueError> {
        let left = self.left.checked_sub(1);
        left.map(|left| Self { left, ..self }.inside()).transpose()
    }
}

impl<'de> Deserializer<'de> for Somes {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.next()? {
            None => visitor.visit_unit(),
            Some(inside) => visitor.visit_some(inside),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.next()? {
            None => visitor.visit_none(),
            Some(inside) => visitor.visit_some(inside),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self.inside()?)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

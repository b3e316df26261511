//! Values to bytes: MessagePack, with fields and variants by name.
//!
//! What MessagePack by itself would lose has an extension type of ours: `Some` of
//! nothing, integers of 128 bits, sequences of plain numbers.

use std::fmt::{self, Display, Write};

use bytes::Bytes;
use serde::ser::{self, Serialize, Serializer};

use super::error::{Place, ValueError};
use super::head::Head;
use super::number::{Kind, Number, numbers};
use super::{DEPTH, types};
use crate::value::array::{self, Wire};
use crate::value::payload::SHARED_BYTES;

/// So many `Some`, one in the other, around nothing.
pub(super) const SOMES: u8 = 1;

/// An integer of 128 bits that 64 do not hold, little endian.
pub(super) const I128: u8 = 2;
pub(super) const U128: u8 = 3;

/// An array with its type and shape ([`array`](crate::value::array)).
pub(super) const ARRAY: u8 = 4;

/// From this size on, what is to be copied has its room before.
const LARGE: usize = 4 << 10;

/// Writes one value.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    /// Bytes that were not copied, and where in the others they belong.
    pub(super) shared: Vec<(usize, Bytes)>,
    /// Whether bytes may be shared.
    pub(super) sharing: bool,
    /// The most bytes.
    limit: usize,
    /// More than that would have been written.
    pub(super) overrun: bool,
    /// An integer of 128 bits was met. serde cannot keep one for a type that is
    /// `flatten`, `untagged` or has a `tag`, and says so only when it is decoded.
    pub(super) wide: bool,
    /// How much deeper it may go.
    depth: u8,
}

type Done = Result<(), ValueError>;

impl Writer {
    /// Appends to these bytes, which may become so many.
    pub(super) fn new(out: Vec<u8>, limit: usize) -> Self {
        let (shared, sharing) = (Vec::new(), false);
        Self { out, shared, sharing, limit, overrun: false, wide: false, depth: DEPTH }
    }

    #[inline]
    fn put(&mut self, head: Head) -> Done {
        head.write(&mut self.out);
        self.check(0)
    }

    /// Whether so many bytes more may be written.
    #[inline]
    fn check(&mut self, more: usize) -> Done {
        match self.limit.checked_sub(self.out.len()) {
            Some(left) if more <= left => Ok(()),
            _ => Err(self.too_large()),
        }
    }

    #[cold]
    fn too_large(&mut self) -> ValueError {
        self.overrun = true;
        ValueError::new(format!("it takes more than {} bytes", self.limit))
    }

    /// Makes room for what is about to be copied, once, and for a little after it.
    #[inline]
    fn reserve(&mut self, more: usize) -> Done {
        self.check(more)?;
        match more >= LARGE && self.out.capacity() - self.out.len() < more {
            true => super::grow(&mut self.out, more.saturating_add(LARGE)),
            false => Ok(()),
        }
    }

    #[inline]
    fn copy(&mut self, head: Head, bytes: &[u8]) -> Done {
        head.write(&mut self.out);
        self.reserve(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes a value, or shares what is nothing but bytes.
    #[inline]
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        match types::bytes(value) {
            Some(bytes) if self.sharing && bytes.len() >= SHARED_BYTES => {
                self.put(Head::Binary(length(bytes.len())?))?;
                self.share(bytes.clone());
                Ok(())
            }
            _ => value.serialize(self),
        }
    }

    #[cold]
    fn share(&mut self, bytes: Bytes) {
        self.shared.push((self.out.len(), bytes));
    }

    /// Writes an array, whose items begin where numbers of any kind may be.
    #[cold]
    fn array(&mut self, array: &Wire) -> Done {
        let shared: usize = self.shared.iter().map(|(_, bytes)| bytes.len()).sum();
        let content = array.content(shared + self.out.len())?;
        let bytes = length(content.len().saturating_add(array.data.len()))?;
        self.copy(Head::Extension(ARRAY, bytes), &content)?;
        match self.sharing && array.data.len() >= SHARED_BYTES {
            true => self.share(array.data.clone()),
            false => {
                self.reserve(array.data.len())?;
                self.out.extend_from_slice(&array.data);
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

    /// Writes another head in the place of one, when all after it is written.
    fn rehead(&mut self, start: usize, inside: usize, head: Head) -> Done {
        let mut new = Vec::new();
        head.write(&mut new);
        self.check(new.len().saturating_sub(inside - start))?;
        let inner = self.shared.iter_mut().rev().take_while(|(at, _)| *at > start);
        inner.for_each(|(at, _)| *at = *at - (inside - start) + new.len());
        self.out.splice(start..inside, new);
        Ok(())
    }

    /// Takes back what was written of a part that failed, for its type may go on.
    #[cold]
    fn undo(&mut self, start: usize, depth: u8, error: ValueError, at: Place) -> Done {
        self.out.truncate(start);
        while self.shared.pop_if(|(at, _)| *at > start).is_some() {}
        self.depth = depth;
        Err(error.inside(at))
    }

    /// Opens the map of one item around what a variant holds.
    fn variant(&mut self, name: &'static str) -> Result<u8, ValueError> {
        let depth = self.enter()?;
        refuse(name)?;
        self.put(Head::Map(1))?;
        self.serialize_str(name)?;
        Ok(depth)
    }

    #[inline]
    fn items(&mut self, shape: Shape, said: usize) -> Result<Items<'_>, ValueError> {
        let outside = self.enter()?;
        self.items_in(outside, shape, said)
    }

    /// The same, where one level was entered before.
    #[inline]
    fn items_in(
        &mut self,
        outside: u8,
        shape: Shape,
        said: usize,
    ) -> Result<Items<'_>, ValueError> {
        let (start, depth) = (self.out.len(), self.depth);
        let mut items = Items {
            writer: self,
            outside,
            depth,
            shape,
            start,
            head: 0,
            said,
            count: 0,
            key: None,
        };
        if shape != Shape::Undecided {
            items.begin()?;
        }
        Ok(items)
    }
}

#[cold]
pub(super) fn too_deep() -> ValueError {
    ValueError::new(format!("it is nested more than {DEPTH} levels deep"))
}

/// Refuses what is a value only in another format.
#[inline]
fn refuse(name: &'static str) -> Done {
    let why = match name {
        "$serde_json::private::RawValue" => {
            "a `RawValue` is a value only within JSON: send its text, or a `serde_json::Value`"
        }
        "_ExtStruct" => {
            "an extension of MessagePack is a value only within MessagePack: send its number and bytes"
        }
        "@@TAG@@" | "@@TAGGED@@" | "@@UNTAGGED@@" => {
            "a tag of CBOR is a value only within CBOR: send its number and its value"
        }
        _ => return Ok(()),
    };
    Err(ValueError::new(why))
}

#[inline]
fn length(length: usize) -> Result<u32, ValueError> {
    let fits = u32::try_from(length);
    fits.map_err(|_| {
        ValueError::new(format!(
            "a part of it has {length} bytes or items; at most 4 GiB can travel"
        ))
    })
}

macro_rules! heads {
    ($($method:ident($type:ty) = $head:ident),* $(,)?) => {
        $(#[inline] fn $method(self, value: $type) -> Done {
            self.put(Head::$head(value.into()))
        })*
    };
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = ();
    type Error = ValueError;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Items<'a>;
    type SerializeStruct = Items<'a>;
    type SerializeStructVariant = Items<'a>;

    heads! {
        serialize_bool(bool) = Bool,
        serialize_u8(u8) = Unsigned,
        serialize_u16(u16) = Unsigned,
        serialize_u32(u32) = Unsigned,
        serialize_u64(u64) = Unsigned,
        serialize_i8(i8) = Signed,
        serialize_i16(i16) = Signed,
        serialize_i32(i32) = Signed,
        serialize_i64(i64) = Signed,
        serialize_f32(f32) = F32,
        serialize_f64(f64) = F64,
    }

    fn serialize_i128(self, value: i128) -> Done {
        self.wide = true;
        match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => self.put(Head::Unsigned(value)),
            (_, Ok(value)) => self.put(Head::Signed(value)),
            _ => self.copy(Head::Extension(I128, 16), &value.to_le_bytes()),
        }
    }

    fn serialize_u128(self, value: u128) -> Done {
        self.wide = true;
        match u64::try_from(value) {
            Ok(value) => self.put(Head::Unsigned(value)),
            Err(_) => self.copy(Head::Extension(U128, 16), &value.to_le_bytes()),
        }
    }

    fn serialize_char(self, value: char) -> Done {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Done {
        self.copy(Head::Text(length(value.len())?), value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.copy(Head::Binary(length(value.len())?), value)
    }

    #[inline]
    fn serialize_none(self) -> Done {
        self.put(Head::Nil)
    }

    /// As what it holds. Where that is nothing too, how many `Some` are around it.
    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        let (start, depth) = (self.out.len(), self.enter()?);
        self.value(value)?;
        self.depth = depth;
        let somes = match self.out[start..] {
            [0xc0] => 1,
            [0xd4, SOMES, somes] => somes + 1,
            _ => return Ok(()),
        };
        self.out.truncate(start);
        self.copy(Head::Extension(SOMES, 1), &[somes])
    }

    #[inline]
    fn serialize_unit(self) -> Done {
        self.put(Head::Nil)
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Done {
        self.put(Head::Nil)
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Done {
        self.serialize_str(variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Done {
        refuse(name)?;
        if let (array::NAME, Some(array)) = (name, types::as_ref(value)) {
            return self.array(array);
        }
        let depth = self.enter()?;
        self.value(value)?;
        self.depth = depth;
        Ok(())
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        let depth = self.variant(variant)?;
        self.value(value).map_err(|error| error.inside(Place::name(variant)))?;
        self.depth = depth;
        Ok(())
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Items<'a>, ValueError> {
        self.items(Shape::Undecided, length.unwrap_or(0))
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Items<'a>, ValueError> {
        self.items(Shape::Array, length)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Items<'a>, ValueError> {
        self.items(Shape::Array, length)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Items<'a>, ValueError> {
        let outside = self.variant(variant)?;
        self.items_in(outside, Shape::Array, length)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Items<'a>, ValueError> {
        self.items(Shape::Map, length.unwrap_or(0))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Items<'a>, ValueError> {
        refuse(name)?;
        self.items(Shape::Map, length)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Items<'a>, ValueError> {
        let outside = self.variant(variant)?;
        self.items_in(outside, Shape::Map, length)
    }

    /// In one go as long as the items are numbers of one kind.
    #[inline]
    fn collect_seq<I>(self, iter: I) -> Done
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        let mut iter = iter.into_iter();
        let said = match iter.size_hint() {
            (least, Some(most)) if least == most => least,
            _ => 0,
        };
        let mut items = self.items(Shape::Undecided, said)?;
        let mut next = iter.next();
        if let Some(first) = next.as_ref().and_then(Number::of) {
            next = items.numbers(first, &mut iter)?;
        }
        while let Some(item) = next {
            items.item(&item)?;
            next = iter.next();
        }
        items.close()
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Done {
        let start = self.out.len();
        self.put(Head::Text(0))?;
        let inside = self.out.len();
        if write!(Text(self), "{value}").is_err() {
            self.check(0)?;
            return Err(ValueError::new("its `Display` failed"));
        }
        let head = Head::Text(length(self.out.len() - inside)?);
        self.rehead(start, inside, head)
    }
}

/// Appends what is formatted.
struct Text<'a>(&'a mut Writer);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.check(text.len()).map_err(|_| fmt::Error)?;
        self.0.out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What items are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A sequence whose first item is not known; no head is written yet.
    Undecided,
    Array,
    Map,
    Numbers(Kind),
}

impl Shape {
    fn head(self, count: usize) -> Result<Head, ValueError> {
        Ok(match self {
            Self::Undecided | Self::Array => Head::Array(length(count)?),
            Self::Map => Head::Map(length(count)?),
            Self::Numbers(kind) => {
                Head::Extension(kind as u8, length(count.saturating_mul(kind.size()))?)
            }
        })
    }
}

/// Writes what a container holds.
#[derive(Debug)]
pub(super) struct Items<'a> {
    writer: &'a mut Writer,
    /// The depth to return to.
    outside: u8,
    /// That of the items.
    depth: u8,
    shape: Shape,
    /// Where its head is, and how long that is.
    start: usize,
    head: u8,
    /// How many items its type said to have. It may be wrong, or not know.
    said: usize,
    count: usize,
    /// Where the key is whose value is next.
    key: Option<usize>,
}

impl Items<'_> {
    /// Where its head ends.
    fn inside(&self) -> usize {
        self.start + usize::from(self.head)
    }

    #[inline]
    fn begin(&mut self) -> Done {
        let head = self.shape.head(self.said)?;
        self.writer.put(head)?;
        self.head = (self.writer.out.len() - self.start) as u8;
        Ok(())
    }

    /// Writes an item of a sequence.
    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Done {
        if self.shape != Shape::Array && self.took(Number::of(item))? {
            return Ok(());
        }
        let start = self.writer.out.len();
        if let Err(error) = self.writer.value(item) {
            return self.writer.undo(start, self.depth, error, Place::Index(self.count));
        }
        self.count += 1;
        Ok(())
    }

    /// Takes an item of a sequence that may be one of numbers, if it is one like those
    /// before. If not, the sequence is an array from now on.
    fn took(&mut self, number: Option<Number>) -> Result<bool, ValueError> {
        match (self.shape, number) {
            (Shape::Undecided, Some(number)) => {
                self.shape = Shape::Numbers(number.kind);
                self.begin()?;
            }
            (Shape::Numbers(kind), Some(number)) if number.kind == kind => {}
            (Shape::Numbers(kind), _) => return self.give_up(kind).map(|()| false),
            _ => {
                self.shape = Shape::Array;
                return self.begin().map(|()| false);
            }
        }
        self.number(number.expect("it is one like those before")).map(|()| true)
    }

    fn number(&mut self, number: Number) -> Done {
        let bytes = &number.bytes[..number.kind.size()];
        self.writer.check(bytes.len())?;
        self.writer.out.extend_from_slice(bytes);
        self.count += 1;
        Ok(())
    }

    /// Writes numbers up to the first item that is none of their kind, which it gives.
    #[inline]
    fn numbers<I>(&mut self, first: Number, rest: &mut I) -> Result<Option<I::Item>, ValueError>
    where
        I: Iterator,
        I::Item: Serialize,
    {
        /// Numbers are collected here, so that memory is written to once.
        const STAGE: usize = 1 << 10;
        let (kind, size) = (first.kind, first.kind.size());
        self.shape = Shape::Numbers(kind);
        self.begin()?;
        self.writer.reserve(self.said.saturating_mul(size))?;
        self.number(first)?;
        let mut stage = [0; STAGE];
        loop {
            let (mut filled, mut next) = (0, None);
            for place in stage.chunks_exact_mut(size) {
                next = rest.next();
                match next.as_ref().and_then(Number::of) {
                    Some(number) if number.kind == kind => {
                        place.copy_from_slice(&number.bytes[..size]);
                    }
                    _ => break,
                }
                filled += size;
            }
            self.writer.check(filled)?;
            self.writer.out.extend_from_slice(&stage[..filled]);
            self.count += filled / size;
            if filled < STAGE {
                return Ok(next);
            }
        }
    }

    /// Not all are numbers of one kind: writes those that were as an array.
    #[cold]
    fn give_up(&mut self, kind: Kind) -> Done {
        let bytes = self.writer.out.split_off(self.inside());
        self.writer.out.truncate(self.start);
        self.shape = Shape::Array;
        self.begin()?;
        numbers(kind, &bytes).try_for_each(|number| self.writer.put(number.head()))
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Done {
        let start = self.writer.out.len();
        self.writer.serialize_str(name)?;
        if let Err(error) = self.writer.value(value) {
            return self.writer.undo(start, self.depth, error, Place::name(name));
        }
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn close(self) -> Done {
        self.writer.depth = self.outside;
        match self.count == self.said && self.shape != Shape::Undecided {
            true => Ok(()),
            false => self.correct(),
        }
    }

    /// Writes the head that the items have, instead of what their type said.
    #[cold]
    fn correct(self) -> Done {
        let head = self.shape.head(self.count)?;
        self.writer.rehead(self.start, self.inside(), head)
    }
}

macro_rules! items {
    ($($name:ident: $method:ident),*) => {
        $(impl ser::$name for Items<'_> {
            type Ok = ();
            type Error = ValueError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Done {
                self.item(item)
            }

            #[inline]
            fn end(self) -> Done {
                self.close()
            }
        })*
    };
}

items! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
}

macro_rules! fields {
    ($($name:ident),*) => {
        $(impl ser::$name for Items<'_> {
            type Ok = ();
            type Error = ValueError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Done {
                self.field(name, value)
            }

            #[inline]
            fn end(self) -> Done {
                self.close()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Items<'_> {
    type Ok = ();
    type Error = ValueError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        let start = self.writer.out.len();
        if let Err(error) = key.serialize(&mut *self.writer) {
            return self.writer.undo(start, self.depth, error, Place::Index(self.count));
        }
        match self.key.replace(start) {
            None => Ok(()),
            Some(_) => Err(ValueError::new("a key of a map has no value")),
        }
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        let key = self.key.take().ok_or_else(|| ValueError::new("a value of a map has no key"))?;
        if let Err(error) = self.writer.value(value) {
            let place = place(&self.writer.out[key..], self.count);
            return self.writer.undo(key, self.depth, error, place);
        }
        self.count += 1;
        Ok(())
    }

    #[inline]
    fn end(self) -> Done {
        match self.key {
            None => self.close(),
            Some(_) => Err(ValueError::new("a key of a map has no value")),
        }
    }
}

/// Where a key leads to, by what begins with the key.
#[cold]
pub(super) fn place(mut key: &[u8], count: usize) -> Place {
    match Head::read(&mut key) {
        Ok(Head::Text(length)) => {
            let text = key.get(..length as usize).unwrap_or_default();
            Place::name(&String::from_utf8_lossy(text))
        }
        Ok(Head::Unsigned(number)) => Place::name(&number.to_string()),
        Ok(Head::Signed(number)) => Place::name(&number.to_string()),
        _ => Place::Index(count),
    }
}

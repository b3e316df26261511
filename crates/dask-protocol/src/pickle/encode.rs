//! Rust values as pickles, by serde: none, bool, int, float, str, bytes, list,
//! tuple, dict.
//!
//! A struct is a dict of its fields. A variant of an enum is a str, or a dict of
//! one item from its name to what it holds. `Some(None)` is an object, and an [`ARRAY`]
//! is one of numpy's.

use std::fmt::{self, Display};

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::array::ARRAY;
use super::objects::{SOME, SOME_CLASS};
use super::place::{Step, Trouble};
use super::{DEPTH, Pickle};

/// Appends the opcodes of a value.
///
/// # Errors
///
/// If it has no form in Python, if it is nested more than 128 levels deep, or if
/// serde cannot say what it is.
pub fn write_value<T: Serialize + ?Sized>(
    value: &T,
    pickle: &mut Pickle,
) -> Result<(), Unsupported> {
    write_value_within(value, pickle, usize::MAX)
}

/// As [`write_value`], of a value whose opcodes have at most so many bytes.
///
/// # Errors
///
/// Those of [`write_value`], and one that [is an overrun](Unsupported::is_overrun), as soon
/// as it is seen that there are more bytes. The pickle then holds a part of the value.
pub fn write_value_within<T: Serialize + ?Sized>(
    value: &T,
    pickle: &mut Pickle,
    most: usize,
) -> Result<(), Unsupported> {
    let most = pickle.length().saturating_add(most);
    value.serialize(Writer { pickle, depth: DEPTH, most, within: Within::Value })
}

/// Why a value has no pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(Why);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Overrun,
    Other(Trouble),
}

impl Unsupported {
    /// Whether it has more bytes than it may have.
    pub fn is_overrun(&self) -> bool {
        self.0 == Why::Overrun
    }

    #[cold]
    fn because(why: impl Into<String>) -> Self {
        Self(Why::Other(Trouble::new(why)))
    }

    /// The same, seen from outside of that step.
    #[cold]
    fn inside(self, step: Step) -> Self {
        match self.0 {
            Why::Overrun => self,
            Why::Other(trouble) => Self(Why::Other(trouble.inside(step))),
        }
    }
}

impl Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Overrun => f.write_str("it has more bytes than it may have"),
            Why::Other(trouble) => trouble.fmt(f),
        }
    }
}

impl std::error::Error for Unsupported {}

impl ser::Error for Unsupported {
    fn custom<T: Display>(message: T) -> Self {
        /// What serde says of a path, with which it leaves its user alone.
        const NOT_TEXT: &str = "path contains invalid UTF-8 characters";
        match message.to_string() {
            message if message == NOT_TEXT => Self::because(message + ": send its bytes instead"),
            message => Self::because(message),
        }
    }
}

/// What the object around `None` takes, at most.
const SOME_BYTES: usize = 64;

/// The same number with 64 bits; a NaN keeps its payload.
fn widen_float(value: f32) -> f64 {
    let bits = u64::from(value.to_bits());
    match value.is_nan() {
        true => {
            f64::from_bits((bits & 0x8000_0000) << 32 | 0x7ff0 << 48 | (bits & 0x7f_ffff) << 29)
        }
        false => value.into(),
    }
}

/// Writes one value.
struct Writer<'a> {
    pickle: &'a mut Pickle,
    /// How much deeper it may go.
    depth: usize,
    /// How many bytes the pickle may have.
    most: usize,
    within: Within,
}

/// What a value is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Value,
    /// The key of a dict, which must not change: lists are tuples there.
    Key,
    /// An array of numbers, whose bytes Python may change.
    Array,
}

/// Writes what a container holds, and its end.
struct Inside<'a> {
    pickle: &'a mut Pickle,
    /// How much deeper what it holds may go.
    depth: usize,
    most: usize,
    within: Within,
    /// The place of what comes next.
    at: usize,
    end: fn(&mut Pickle),
    /// It is the one item of a dict, which ends as well.
    in_variant: bool,
}

impl<'a> Writer<'a> {
    /// Makes sure that so many more bytes may come.
    fn has_room(&self, bytes: usize) -> Result<(), Unsupported> {
        match self.pickle.length().saturating_add(bytes) > self.most {
            true => Err(Unsupported(Why::Overrun)),
            false => Ok(()),
        }
    }

    /// The writer of what this one holds, one step deeper.
    fn inside(self) -> Result<Self, Unsupported> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => {
                Err(Unsupported::because(format!("it is nested more than {DEPTH} levels deep")))
            }
        }
    }

    fn list(self) -> Result<Inside<'a>, Unsupported> {
        if self.within == Within::Key {
            return self.tuple();
        }
        self.open(Pickle::begin_list, Pickle::end_list)
    }

    fn tuple(self) -> Result<Inside<'a>, Unsupported> {
        self.open(Pickle::mark, Pickle::end_tuple)
    }

    fn dict(self) -> Result<Inside<'a>, Unsupported> {
        self.may_change()?;
        self.open(Pickle::begin_dict, Pickle::end_dict)
    }

    fn open(self, begin: fn(&mut Pickle), end: fn(&mut Pickle)) -> Result<Inside<'a>, Unsupported> {
        let Self { pickle, depth, most, within } = self.inside()?;
        begin(pickle);
        Ok(Inside { pickle, depth, most, within, at: 0, end, in_variant: false })
    }

    /// A dict, and what is told by an object, cannot be the key of another.
    fn may_change(&self) -> Result<(), Unsupported> {
        match self.within {
            Within::Key => Err(Unsupported::because(
                "a struct, a map, or a variant or `Some` that holds something is no key of a \
                 dict in Python: send a list of pairs",
            )),
            _ => Ok(()),
        }
    }

    /// Opens the dict around what a variant holds.
    fn variant(self, name: &str) -> Result<Self, Unsupported> {
        self.may_change()?;
        let inside = self.inside()?;
        inside.pickle.begin_dict();
        inside.pickle.str(name);
        Ok(inside)
    }
}

impl Inside<'_> {
    fn in_variant(self) -> Self {
        Self { in_variant: true, ..self }
    }

    fn write<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.write_within(value, self.within)
    }

    fn write_within<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        within: Within,
    ) -> Result<(), Unsupported> {
        let Self { depth, most, .. } = *self;
        let writer = Writer { pickle: self.pickle, depth, most, within };
        writer.has_room(1)?;
        value.serialize(writer)
    }

    fn write_next<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        let at = self.at;
        self.at += 1;
        self.write(value).map_err(|error| error.inside(Step::Index(at)))
    }

    fn close(self) -> Result<(), Unsupported> {
        (self.end)(self.pickle);
        if self.in_variant {
            self.pickle.end_dict();
        }
        Ok(())
    }
}

macro_rules! ints {
    ($($method:ident: $int:ty),*) => {
        $(fn $method(self, value: $int) -> Result<(), Unsupported> {
            self.pickle.int(value.into());
            Ok(())
        })*
    };
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Unsupported;
    type SerializeSeq = Inside<'a>;
    type SerializeTuple = Inside<'a>;
    type SerializeTupleStruct = Inside<'a>;
    type SerializeTupleVariant = Inside<'a>;
    type SerializeMap = Inside<'a>;
    type SerializeStruct = Inside<'a>;
    type SerializeStructVariant = Inside<'a>;

    ints! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    }

    fn serialize_i128(self, value: i128) -> Result<(), Unsupported> {
        self.pickle.int(value);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Unsupported> {
        self.pickle.unsigned(value);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Unsupported> {
        self.pickle.bool(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unsupported> {
        self.serialize_f64(widen_float(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Unsupported> {
        self.pickle.float(value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Unsupported> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Unsupported> {
        if u32::try_from(value.len()).is_err() {
            return Err(Unsupported::because("a str has 4 GiB or more"));
        }
        self.has_room(value.len())?;
        self.pickle.str(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unsupported> {
        self.has_room(value.len())?;
        match self.within {
            Within::Array => self.pickle.bytearray(value),
            _ => self.pickle.bytes(value),
        }
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    /// Python has one `None`: a `Some` that would be that has an object around it.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        let Self { pickle, depth, most, within } = self.inside()?;
        let start = pickle.length();
        value.serialize(Writer { pickle: &mut *pickle, depth, most, within })?;
        let mut object = Pickle::part_of(Vec::new());
        object.global(SOME_CLASS.0, SOME_CLASS.1);
        object.empty_tuple();
        object.call();
        let written = pickle.since(start);
        if written != b"N" && !written.starts_with(object.since(0)) {
            return Ok(());
        }
        let writer = Writer { pickle, depth, most, within };
        writer.may_change()?;
        writer.has_room(SOME_BYTES)?;
        object.begin_dict();
        object.str(SOME);
        writer.pickle.insert(start, object.since(0));
        writer.pickle.end_dict();
        writer.pickle.build();
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Unsupported> {
        self.pickle.none();
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), Unsupported> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        if name != ARRAY {
            return value.serialize(self.inside()?);
        }
        self.may_change()?;
        let Self { pickle, depth, most, .. } = self.inside()?;
        pickle.global("numpy", "ndarray");
        pickle.empty_tuple();
        value.serialize(Writer { pickle: &mut *pickle, depth, most, within: Within::Array })?;
        pickle.new_object();
        Ok(())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        let Self { pickle, depth, most, within } = self.variant(variant)?;
        let written = value.serialize(Writer { pickle: &mut *pickle, depth, most, within });
        written.map_err(|error| error.inside(Step::name(variant)))?;
        pickle.end_dict();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Inside<'a>, Unsupported> {
        self.list()
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside<'a>, Unsupported> {
        self.tuple()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, Unsupported> {
        self.tuple()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Unsupported> {
        Ok(self.variant(variant)?.tuple()?.in_variant())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Inside<'a>, Unsupported> {
        self.dict()
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Inside<'a>, Unsupported> {
        if name == "$serde_json::private::RawValue" {
            return Err(Unsupported::because(
                "a `RawValue` is a value only within JSON: send its text, or a \
                 `serde_json::Value`",
            ));
        }
        self.dict()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside<'a>, Unsupported> {
        Ok(self.variant(variant)?.dict()?.in_variant())
    }
}

macro_rules! items {
    ($($name:ident: $method:ident),*) => {
        $(impl ser::$name for Inside<'_> {
            type Ok = ();
            type Error = Unsupported;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
                self.write_next(value)
            }

            fn end(self) -> Result<(), Unsupported> {
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
        $(impl ser::$name for Inside<'_> {
            type Ok = ();
            type Error = Unsupported;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Unsupported> {
                // numpy has another name for it.
                let renamed = self.within == Within::Array && name == "data";
                self.pickle.str(if renamed { "buffer" } else { name });
                self.write(value).map_err(|error| error.inside(Step::name(name)))
            }

            fn end(self) -> Result<(), Unsupported> {
                self.close()
            }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Inside<'_> {
    type Ok = ();
    type Error = Unsupported;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        self.write_within(key, Within::Key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.write_next(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

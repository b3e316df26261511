//! Rust values as pickles, by serde: none, bool, int, float, str, bytes, list,
//! tuple, dict.
//!
//! A struct is a dict of its fields. A variant of an enum is a str, or a dict of
//! one item from its name to what it holds.

use std::fmt::{self, Display};

use serde::Serialize;
use serde::ser::{self, Serializer};

use super::{DEPTH, Pickle};

/// Appends the opcodes of a value.
///
/// # Errors
///
/// If it has an integer beyond 64 bits, if it is nested more than 128 levels deep, or if
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
    value.serialize(Writer { pickle, depth: DEPTH, most })
}

/// Why a value has no pickle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(Why);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    Overrun,
    Other(String),
}

impl Unsupported {
    /// Whether it has more bytes than it may have.
    pub fn is_overrun(&self) -> bool {
        self.0 == Why::Overrun
    }

    fn because(why: impl Into<String>) -> Self {
        Self(Why::Other(why.into()))
    }
}

impl Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Overrun => f.write_str("it has more bytes than it may have"),
            Why::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Unsupported {}

impl ser::Error for Unsupported {
    fn custom<T: Display>(message: T) -> Self {
        Self::because(message.to_string())
    }
}

/// Writes one value.
struct Writer<'a> {
    pickle: &'a mut Pickle,
    /// How much deeper it may go.
    depth: usize,
    /// How many bytes the pickle may have.
    most: usize,
}

/// Writes what a container holds, and its end.
struct Inside<'a> {
    pickle: &'a mut Pickle,
    /// How much deeper what it holds may go.
    depth: usize,
    most: usize,
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

    fn wide(self, value: Option<i128>) -> Result<(), Unsupported> {
        let fits = |value: &i128| i64::try_from(*value).is_ok() || u64::try_from(*value).is_ok();
        let value = value.filter(fits);
        let value = value.ok_or_else(|| Unsupported::because("an integer is beyond 64 bits"))?;
        self.pickle.int(value);
        Ok(())
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
        self.open(Pickle::begin_list, Pickle::end_list)
    }

    fn tuple(self) -> Result<Inside<'a>, Unsupported> {
        self.open(Pickle::mark, Pickle::end_tuple)
    }

    fn dict(self) -> Result<Inside<'a>, Unsupported> {
        self.open(Pickle::begin_dict, Pickle::end_dict)
    }

    fn open(self, begin: fn(&mut Pickle), end: fn(&mut Pickle)) -> Result<Inside<'a>, Unsupported> {
        let Self { pickle, depth, most } = self.inside()?;
        begin(pickle);
        Ok(Inside { pickle, depth, most, end, in_variant: false })
    }

    /// Opens the dict around what a variant holds.
    fn variant(self, name: &str) -> Result<Self, Unsupported> {
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
        let writer = Writer { pickle: self.pickle, depth: self.depth, most: self.most };
        writer.has_room(1)?;
        value.serialize(writer)
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
        self.wide(Some(value))
    }

    fn serialize_u128(self, value: u128) -> Result<(), Unsupported> {
        self.wide(i128::try_from(value).ok())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Unsupported> {
        self.pickle.bool(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unsupported> {
        self.serialize_f64(value.into())
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
        self.pickle.bytes(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Unsupported> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsupported> {
        value.serialize(self.inside()?)
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
        _: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        value.serialize(self.inside()?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        let Self { pickle, depth, most } = self.variant(variant)?;
        value.serialize(Writer { pickle: &mut *pickle, depth, most })?;
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

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Inside<'a>, Unsupported> {
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
                self.write(value)
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
                self.pickle.str(name);
                self.write(value)
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
        self.write(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        self.write(value)
    }

    fn end(self) -> Result<(), Unsupported> {
        self.close()
    }
}

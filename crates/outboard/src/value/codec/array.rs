//! The content of an array's extension: see [`array`](crate::value::array).

use serde::de::value::{BorrowedBytesDeserializer, BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, MapAccess};

use super::error::ValueError;
use super::head::Malformed;
use crate::value::array::{Wire, item_bytes};

/// Where items begin, counted from the payload's beginning: no number needs more.
const ALIGNED: usize = 16;

impl Wire {
    /// All of the content but the items, if its head is to be written after so many bytes.
    pub(super) fn content(&self, before: usize) -> Result<Vec<u8>, ValueError> {
        /// What the head takes, if it says four bytes of length.
        const HEAD: usize = 6;
        let short = |length: usize| {
            let fits = u8::try_from(length);
            fits.map_err(|_| ValueError::new("an array has more than 255 dimensions"))
        };
        let mut content = vec![short(self.dtype.len())?];
        content.extend_from_slice(self.dtype.as_bytes());
        content.push(short(self.shape.len())?);
        self.shape.iter().for_each(|length| content.extend_from_slice(&length.to_le_bytes()));
        // Few items may be anywhere.
        if self.data.len() >= 1 << 16 {
            let start = before + HEAD + content.len();
            content.resize(content.len() + start.next_multiple_of(ALIGNED) - start, 0);
        }
        Ok(content)
    }
}

/// The fields of an array.
#[derive(Debug)]
pub(super) struct Fields<'de> {
    pub(super) dtype: &'de str,
    pub(super) shape: Vec<u64>,
    pub(super) data: &'de [u8],
    /// How many a map of them has given, and the key whose value is next.
    given: usize,
}

impl<'de> Fields<'de> {
    pub(super) fn of(content: &'de [u8]) -> Result<Self, ValueError> {
        let rest = &mut { content };
        let dtype = prefixed(rest, 1)?;
        let dtype = std::str::from_utf8(dtype).map_err(|_| Malformed)?;
        let shape = prefixed(rest, 8)?.as_chunks::<8>().0;
        let shape: Vec<u64> = shape.iter().map(|length| u64::from_le_bytes(*length)).collect();
        let items = shape.iter().try_fold(1_u64, |items, length| items.checked_mul(*length));
        let bytes = items.zip(item_bytes(dtype)).and_then(|(items, each)| items.checked_mul(each));
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let start = bytes.and_then(|bytes| rest.len().checked_sub(bytes)).ok_or(Malformed)?;
        if start >= ALIGNED {
            return Err(Malformed.into());
        }
        Ok(Self { dtype, shape, data: &rest[start..], given: 0 })
    }
}

/// A number of one byte, and as many parts of that size.
fn prefixed<'a>(rest: &mut &'a [u8], size: usize) -> Result<&'a [u8], Malformed> {
    let (count, after) = rest.split_first().ok_or(Malformed)?;
    let (parts, after) = after.split_at_checked(usize::from(*count) * size).ok_or(Malformed)?;
    *rest = after;
    Ok(parts)
}

/// For a type that takes whatever there is.
impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = ValueError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ValueError> {
        let Some(name) = ["dtype", "shape", "data"].get(self.given) else { return Ok(None) };
        self.given += 1;
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, ValueError> {
        match self.given {
            1 => seed.deserialize(BorrowedStrDeserializer::new(self.dtype)),
            2 => seed.deserialize(SeqDeserializer::new(self.shape.iter().copied())),
            _ => seed.deserialize(BorrowedBytesDeserializer::new(self.data)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_says_more_than_it_has_is_malformed() {
        let content = |dtype: &str, shape: &[u64], rest: usize| {
            let shape = shape.to_vec();
            let wire = Wire { dtype: dtype.to_owned().into(), shape, data: bytes::Bytes::new() };
            let mut content = wire.content(0).unwrap();
            content.resize(content.len() + rest, 7);
            content
        };
        let fields = content("<f4", &[2, 3], 24);
        let read = Fields::of(&fields).unwrap();
        assert_eq!((read.dtype, &read.shape[..], read.data), ("<f4", &[2, 3][..], &[7; 24][..]));
        for length in 0..fields.len() {
            assert!(Fields::of(&fields[..length]).is_err(), "{length}");
        }
        assert_eq!(Fields::of(&content("<f4", &[2, 3], 24 + 15)).unwrap().data, [7; 24]);
        for (dtype, shape, rest) in [
            ("<f4", &[2, 3][..], 24 + 16),
            ("<f4", &[u64::MAX, 2], 24),
            ("<f4", &[1 << 62, 1], 24),
            ("<f", &[1], 4),
            ("f4", &[1], 4),
            ("<x4", &[1], 4),
            ("<f-4", &[1], 4),
        ] {
            assert!(Fields::of(&content(dtype, shape, rest)).is_err(), "{dtype} {shape:?} {rest}");
        }
    }
}

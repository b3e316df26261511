//! Values as payloads: one form that describes itself, on every engine; or, where a
//! value is nothing but bytes, those.
//!
//! The form is MessagePack with fields and variants by name, so that versions of a type
//! can differ, and serde's attributes work. What it would lose has types of ours
//! ([`write`]): a value arrives as it was, or is an error.
//!
//! [`Bytes`] of 16 KiB and more, wherever in a value they are, are not copied into the form.
//! The payload has them as a piece of its own. What is read is a part of the payload, too
//! ([`types`]). The bytes of the form are the same as if they had been copied.
//!
//! The short way is for exactly [`Bytes`] and `Vec<u8>`, alone: they are moved,
//! not encoded. Which way a type goes follows from the type, so both ends agree.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::ops::Deref;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::value::args;
use crate::value::payload::{FEW_BYTES, Payload, SHARED_BYTES};

mod array;
#[cfg(any(fuzzing, test))]
pub(crate) mod check;
mod error;
#[cfg(test)]
mod exact;
mod head;
#[cfg(test)]
mod hostile;
mod number;
mod read;
mod types;
mod write;

pub(crate) use error::{ValueError, guarded};

/// How deep a value may be nested: sequences, maps, structs, `Some`, newtypes and
/// variants that hold something count as a level each. Everything that reads and writes
/// values recurses, on a stack that may have 2 MiB. In a debug build, a level of the
/// types of the tests takes up to 3 KiB.
pub(crate) const DEPTH: u8 = 128;

/// A payload that is to be decoded.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// Someone else's memory: bytes are copied out of it.
    Lent(&'a [u8]),
    Owned(Payload),
}

impl Deref for Input<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Owned(payload) => payload,
        }
    }
}

impl Input<'_> {
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Lent(bytes) => copy(bytes).into(),
            Self::Owned(payload) => payload.into_bytes(),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Lent(bytes) => copy(bytes),
            Self::Owned(Payload::Owned(bytes)) => bytes,
            Self::Owned(few @ Payload::Few(..)) => few.to_vec(),
            Self::Owned(shared) => match shared.into_bytes() {
                bytes if bytes.is_unique() => bytes.into(),
                bytes => copy(&bytes),
            },
        }
    }
}

#[cfg(all(feature = "local", unix))]
use super::room::copy;

#[cfg(not(all(feature = "local", unix)))]
fn copy(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// Makes room for so many bytes more, and no more than that.
fn grow(out: &mut Vec<u8>, more: usize) -> Result<(), ValueError> {
    let grown = out.try_reserve_exact(more);
    grown.map_err(|_| {
        ValueError::new(format!("no memory: {more} more bytes could not be allocated"))
    })?;
    #[cfg(all(feature = "local", unix))]
    super::room::advise(out);
    Ok(())
}

/// What a value is as a payload.
///
/// # Errors
///
/// If it cannot be encoded, or its `Serialize` panics.
pub(crate) fn encode<T: Serialize + 'static>(value: T) -> Result<Payload, ValueError> {
    encoded(value, usize::MAX).map(|(payload, _)| payload).map_err(Refused::into_error)
}

/// The same, of what is to be decoded where an error comes too late, after the task's
/// effects. What serde encodes, and cannot decode, is found here.
///
/// # Errors
///
/// As those of [`encode`], and if it could not be decoded.
pub(crate) fn encode_result<T>(value: T) -> Result<Payload, ValueError>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let (payload, doubtful) = encoded(value, usize::MAX).map_err(Refused::into_error)?;
    if doubtful {
        decode::<T>(Input::Lent(&payload))?;
    }
    Ok(payload)
}

/// Why a value was not encoded.
#[derive(Debug)]
pub enum Refused<T> {
    /// It takes more bytes than it may; here it is back.
    Overrun(T),
    Failed(ValueError),
}

impl<T> Refused<T> {
    fn into_error(self) -> ValueError {
        match self {
            Self::Overrun(_) => ValueError::new("it is too large"),
            Self::Failed(error) => error,
        }
    }
}

impl<T> From<ValueError> for Refused<T> {
    fn from(error: ValueError) -> Self {
        Self::Failed(error)
    }
}

/// Whether a value is nothing but bytes, which are neither encoded nor decoded.
pub(crate) fn is_bytes<T: 'static>() -> bool {
    [TypeId::of::<Bytes>(), TypeId::of::<Vec<u8>>()].contains(&TypeId::of::<T>())
}

/// As [`encode`], but stops as soon as more than `limit` bytes would be written. What is
/// not encoded at all, a lone [`Bytes`] or `Vec<u8>`, may be of any size. (A sequence of
/// numbers whose last is none is written twice, and its larger form counts.)
///
/// # Errors
///
/// `Overrun` with the value, or as those of [`encode`].
pub(crate) fn encode_within<T: Serialize + 'static>(
    value: T,
    limit: usize,
) -> Result<Payload, Refused<T>> {
    encoded(value, limit).map(|(payload, _)| payload)
}

/// The payload, and whether it is doubtful that it can be decoded.
fn encoded<T: Serialize + 'static>(value: T, limit: usize) -> Result<(Payload, bool), Refused<T>> {
    let value = match cast::<T, Bytes>(value) {
        Ok(bytes) => return Ok((bytes.into(), false)),
        Err(value) => value,
    };
    let value = match cast::<T, Vec<u8>>(value) {
        Ok(bytes) => return Ok((bytes.into(), false)),
        Err(value) => value,
    };
    let mut writer = write::Writer::new(SPARE.take(), limit);
    writer.sharing = args::takes_pieces();
    let written = guarded(|| writer.value(&value));
    let write::Writer { out, overrun, wide, shared, .. } = writer;
    if overrun {
        keep(out);
        return Err(Refused::Overrun(value));
    }
    // Its drop is code of the user's as well.
    let dropped = guarded(|| {
        drop(value);
        Ok(())
    });
    written.and(dropped).map_err(Refused::Failed)?;
    if !shared.is_empty() {
        return Ok((interleaved(out, shared), wide));
    }
    if out.len() > FEW_BYTES {
        return Ok((out.into(), wide));
    }
    let few = Payload::copy(&out);
    keep(out);
    Ok((few, wide))
}

/// What was written, with shared bytes at their places in it.
fn interleaved(out: Vec<u8>, shared: Vec<(usize, Bytes)>) -> Payload {
    let (out, mut pieces, mut start) = (Bytes::from(out), Vec::new(), 0);
    for (end, bytes) in shared {
        pieces.extend([out.slice(start..end), bytes]);
        start = end;
    }
    pieces.push(out.slice(start..));
    pieces.retain(|piece| !piece.is_empty());
    Payload::of_pieces(pieces)
}

fn keep(mut buffer: Vec<u8>) {
    buffer.clear();
    SPARE.set(buffer);
}

thread_local! {
    /// An empty buffer to encode into.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The largest buffer that is kept.
const KEPT_BYTES: usize = 2 << 20;

/// Keeps the buffer of a payload that was written, so that the next value need not grow
/// one. A buffer that doubles to a megabyte touches three of fresh memory.
pub(crate) fn recycle(payload: Payload) {
    let buffer = match payload {
        Payload::Owned(buffer) => buffer,
        Payload::Shared(bytes) if bytes.is_unique() => (*bytes).into(),
        Payload::Shared(_) | Payload::Few(..) | Payload::Pieces(_) => return,
    };
    if buffer.capacity() <= KEPT_BYTES {
        keep(buffer);
    }
}

/// The value that a payload is.
///
/// # Errors
///
/// If the bytes are no such value, or its `Deserialize` panics.
pub(crate) fn decode<T: DeserializeOwned + 'static>(input: Input<'_>) -> Result<T, ValueError> {
    let mut value: Option<T> = None;
    if let Some(bytes) = as_option::<T, Bytes>(&mut value) {
        *bytes = Some(input.into_bytes());
    } else if let Some(bytes) = as_option::<T, Vec<u8>>(&mut value) {
        *bytes = Some(input.into_vec());
    } else {
        // What is lent is copied out of it, and what is few is not worth a share.
        let owner = match input {
            Input::Owned(payload) if payload.len() >= SHARED_BYTES => payload.into_bytes(),
            other => return guarded(|| read::Reader::new(&other).read()),
        };
        return guarded(|| read::Reader::of(&owner, usize::MAX).read());
    }
    value.ok_or_else(|| ValueError::new("there are no bytes"))
}

/// As [`decode`] of an owned payload, but stops as soon as more than `limit` bytes and items
/// would be read. [`Bytes`] that become a part of the payload are not read.
///
/// # Errors
///
/// The payload, if it takes more.
pub(crate) fn decode_within<T: DeserializeOwned + 'static>(
    payload: Payload,
    limit: usize,
) -> Result<Result<T, ValueError>, Payload> {
    if payload.len() <= limit || is_bytes::<T>() {
        return Ok(decode(Input::Owned(payload)));
    }
    let owner = payload.into_bytes();
    let mut reader = read::Reader::of(&owner, limit);
    let value = guarded(|| reader.read());
    // Whatever its type has made of that.
    if reader.overrun { Err(owner.into()) } else { Ok(value) }
}

/// Appends an encoded value: the codec alone, for benchmarks.
///
/// # Errors
///
/// If it cannot be encoded.
pub fn write_to<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), ValueError> {
    let mut writer = write::Writer::new(std::mem::take(out), usize::MAX);
    let written = value.serialize(&mut writer);
    *out = writer.out;
    written
}

/// Reads what [`write_to`] wrote.
///
/// # Errors
///
/// If the bytes are no such value.
pub fn read_from<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    read::Reader::new(bytes).read::<T>()
}

/// The same value by its other type, if `A` and `B` are one type.
fn cast<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    let mut value = Some(value);
    match as_option::<A, B>(&mut value).and_then(Option::take) {
        Some(same) => Ok(same),
        None => Err(value.expect("it was put there, and not taken")),
    }
}

fn as_option<A: 'static, B: 'static>(value: &mut Option<A>) -> Option<&mut Option<B>> {
    (value as &mut dyn Any).downcast_mut()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journey<T: Serialize + DeserializeOwned + 'static>(value: T) -> T {
        let payload = encode(value).unwrap();
        let lent = decode::<T>(Input::Lent(&payload)).unwrap();
        drop(lent);
        decode(Input::Owned(payload)).unwrap()
    }

    #[test]
    fn bytes_alone_are_not_encoded_and_not_copied() {
        let bytes = Bytes::from(vec![7; 100]);
        let payload = encode(bytes.clone()).unwrap();
        assert_eq!(payload.as_ptr(), bytes.as_ptr());
        let back: Bytes = decode(Input::Owned(payload)).unwrap();
        assert_eq!(back.as_ptr(), bytes.as_ptr());
        let large = vec![7_u8; 1 << 20];
        let at = large.as_ptr();
        let back = journey(large);
        assert_eq!(back.as_ptr(), at);
    }

    #[test]
    fn bytes_inside_of_something_are_encoded() {
        let pair = (7_u8, Bytes::from_static(b"abc"));
        assert_eq!(&*encode(pair.clone()).unwrap(), b"\x92\x07\xc4\x03abc");
        assert_eq!(journey(pair.clone()), pair);
        assert_eq!(&*encode(Some(Bytes::new())).unwrap(), b"\xc4\0");
        assert_eq!(journey(vec![1_i8, -1]), [1, -1]);
    }

    #[test]
    fn a_value_that_takes_more_than_it_may_comes_back() {
        let Err(Refused::Overrun(back)) = encode_within("x".repeat(100), 100) else { panic!() };
        assert_eq!(back.len(), 100);
        assert_eq!(
            encode_within("x".repeat(99), 200).unwrap().len(),
            encode("x".repeat(99)).unwrap().len()
        );
        assert_eq!(encode_within(vec![1_u8; 100], 9).unwrap().len(), 100, "it is not encoded");
    }

    #[test]
    fn a_buffer_is_used_again() {
        let large = encode("x".repeat(1 << 20)).unwrap();
        let at = large.as_ptr();
        recycle(large);
        let small = encode("y".repeat(100)).unwrap();
        assert_eq!((small.as_ptr(), small.len()), (at, 102));
        assert_ne!(encode("y".repeat(100)).unwrap().as_ptr(), at);
        let kept = Payload::from(Bytes::from(vec![1; 100_000]));
        recycle(kept.clone());
        assert_ne!(encode("z".repeat(100)).unwrap().as_ptr(), kept.as_ptr(), "someone else has it");
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let error = decode::<u8>(Input::Lent(&[1, 2])).unwrap_err().to_string();
        assert!(error.contains("bytes left over after the value: 1"), "{error}");
    }
}

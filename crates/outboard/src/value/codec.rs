//! Values as payloads: encoded by postcard, or, where a value is nothing but
//! bytes, as they are.
//!
//! The short way is for exactly [`Bytes`] and `Vec<u8>`, alone: they are moved,
//! not encoded. Which way a type goes follows from the type, so both ends agree.

use std::any::Any;
use std::cell::Cell;
use std::ops::Deref;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::value::payload::{FEW_BYTES, Payload};

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
            Self::Owned(Payload::Shared(bytes)) if bytes.is_unique() => (*bytes).into(),
            Self::Owned(Payload::Shared(bytes)) => copy(&bytes),
            Self::Owned(few) => few.to_vec(),
        }
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
use super::room::copy;

#[cfg(not(all(feature = "local", target_os = "linux")))]
fn copy(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// What a value is as a payload.
///
/// # Errors
///
/// The codec's complaint.
pub(crate) fn encode<T: Serialize + 'static>(value: T) -> Result<Payload, String> {
    match encode_within(value, usize::MAX) {
        Ok(payload) => Ok(payload),
        Err(Refused::Failed(error)) => Err(error),
        Err(Refused::Overrun(_)) => unreachable!("no value is larger than memory"),
    }
}

/// Why a value was not encoded.
#[derive(Debug)]
pub(crate) enum Refused<T> {
    /// It takes more bytes than it may; here it is back.
    #[cfg_attr(not(test), expect(dead_code, reason = "who encodes elsewhere takes it"))]
    Overrun(T),
    /// The codec's complaint.
    Failed(String),
}

/// The same, but stops as soon as more than `limit` bytes would be written. What is
/// not encoded at all, a lone [`Bytes`] or `Vec<u8>`, may be of any size.
///
/// # Errors
///
/// `Overrun` with the value, or the codec's complaint.
pub(crate) fn encode_within<T: Serialize + 'static>(
    value: T,
    limit: usize,
) -> Result<Payload, Refused<T>> {
    let value = match cast::<T, Bytes>(value) {
        Ok(bytes) => return Ok(bytes.into()),
        Err(value) => value,
    };
    let value = match cast::<T, Vec<u8>>(value) {
        Ok(bytes) => return Ok(bytes.into()),
        Err(value) => value,
    };
    let mut out = SPARE.take();
    out.reserve(16);
    encode_into(&value, &mut out).map_err(|error| Refused::Failed(error.to_string()))?;
    if out.len() > limit {
        keep(out);
        return Err(Refused::Overrun(value));
    }
    if out.len() <= FEW_BYTES {
        let few = Payload::copy(&out);
        keep(out);
        return Ok(few);
    }
    Ok(out.into())
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

/// Keeps the buffer of a payload that was written, so that the next value need not
/// grow one: a buffer that doubles to a megabyte touches three of fresh memory.
pub(crate) fn recycle(payload: Payload) {
    let buffer = match payload {
        Payload::Owned(buffer) => buffer,
        Payload::Shared(bytes) if bytes.is_unique() => (*bytes).into(),
        Payload::Shared(_) | Payload::Few(..) => return,
    };
    if buffer.capacity() <= KEPT_BYTES {
        keep(buffer);
    }
}

/// The value that a payload is.
///
/// # Errors
///
/// The codec's complaint.
pub(crate) fn decode<T: DeserializeOwned + 'static>(input: Input<'_>) -> Result<T, String> {
    let mut value: Option<T> = None;
    if let Some(bytes) = as_option::<T, Bytes>(&mut value) {
        *bytes = Some(input.into_bytes());
    } else if let Some(bytes) = as_option::<T, Vec<u8>>(&mut value) {
        *bytes = Some(input.into_vec());
    } else {
        return decode_all(&input);
    }
    value.ok_or_else(String::new)
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

/// Decodes a value that takes up all the bytes. What a type with a lopsided
/// serde implementation leaves over is an error, not a value.
fn decode_all<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// Appends the encoded value; on an error `out` may hold a part of it.
pub(crate) fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) -> postcard::Result<()> {
    let taken = std::mem::take(out);
    *out = postcard::to_extend(value, taken)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

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
        assert_eq!(&*encode(pair.clone()).unwrap(), [7, 3, b'a', b'b', b'c']);
        assert_eq!(journey(pair.clone()), pair);
        assert_eq!(&*encode(Some(Bytes::new())).unwrap(), [1, 0]);
        assert_eq!(journey(vec![1_i8, -1]), [1, -1]);
    }

    #[test]
    fn a_value_that_takes_more_than_it_may_comes_back() {
        let Err(Refused::Overrun(back)) = encode_within("x".repeat(100), 100) else { panic!() };
        assert_eq!(back.len(), 100);
        assert_eq!(encode_within("x".repeat(99), 200).unwrap().len(), encode("x".repeat(99)).unwrap().len());
        assert_eq!(encode_within(vec![1_u8; 100], 9).unwrap().len(), 100, "it is not encoded");
    }

    #[test]
    fn a_buffer_is_used_again() {
        let large = encode("x".repeat(1 << 20)).unwrap();
        let at = large.as_ptr();
        recycle(large);
        let small = encode("y".repeat(100)).unwrap();
        assert_eq!((small.as_ptr(), small.len()), (at, 101));
        assert_ne!(encode("y".repeat(100)).unwrap().as_ptr(), at);
        let kept = Payload::from(Bytes::from(vec![1; 100_000]));
        recycle(kept.clone());
        assert_ne!(encode("z".repeat(100)).unwrap().as_ptr(), kept.as_ptr(), "someone else has it");
    }

    #[test]
    fn what_is_left_over_is_an_error() {
        let error = decode::<u8>(Input::Lent(&[1, 2])).unwrap_err();
        assert!(error.contains("1 bytes are left over"), "{error}");
    }

    #[test]
    fn a_value_said_to_be_longer_than_its_bytes_is_an_error_at_once() {
        const HUGE: [u8; 9] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let long: Vec<u8> = HUGE.into_iter().chain(0..100).collect();
        assert!(decode_all::<String>(&long).is_err());
        assert!(decode_all::<Vec<u8>>(&long).is_err());
        assert!(decode_all::<Vec<[u64; 32]>>(&long).is_err());
        assert!(decode_all::<HashMap<u64, String>>(&long).is_err());
        assert!(decode_all::<Vec<Vec<String>>>(&long).is_err());
    }
}

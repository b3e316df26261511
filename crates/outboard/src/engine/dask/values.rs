//! The values of tasks as they lie beside messages: bytes in a frame of their
//! own, or a pickle.

use rmpv::Value;

use super::compression::expand;
use super::message::{Malformed, Serialized, field, map, text};
use super::pickle::Node;
use super::pickle::Symbols;

/// What a small value may be, if it is compressed.
const SMALL: usize = 16 << 20;

/// A pickle of the class `bytes`, as a value's type.
pub(crate) const BYTES_TYPE: &[u8] = b"\x80\x04\x8c\x08builtins\x8c\x05bytes\x93.";

/// Wraps bytes as Dask does: as they are, in a frame.
pub(crate) fn from_bytes(bytes: Vec<u8>) -> Serialized {
    let header = map([
        ("sub-header", Value::Map(Vec::new())),
        ("type", "bytes".into()),
        ("type-serialized", Value::Binary(BYTES_TYPE.to_vec())),
        ("serializer", "dask".into()),
        ("split-num-sub-frames", Value::Array(vec![1.into()])),
        ("split-offsets", Value::Array(vec![0.into()])),
        ("compression", Value::Array(vec![Value::Nil])),
    ]);
    Serialized { header, frames: vec![bytes] }
}

/// Wraps a pickle.
pub(crate) fn from_pickle(pickle: Vec<u8>) -> Serialized {
    let header = map([
        ("serializer", "pickle".into()),
        ("writeable", Value::Array(Vec::new())),
        ("split-num-sub-frames", Value::Array(vec![1.into()])),
        ("split-offsets", Value::Array(vec![0.into()])),
        ("compression", Value::Array(vec![Value::Nil])),
    ]);
    Serialized { header, frames: vec![pickle] }
}

/// The bytes that a value is which is small: an exception, an answer.
///
/// # Errors
///
/// If it is something else, broken, or compressed and larger than 16 MiB.
pub(crate) fn into_bytes(object: Serialized) -> Result<Vec<u8>, Malformed> {
    into_bytes_within(object, &mut { SMALL })
}

/// The bytes that a value is, which takes its length from the room that there is
/// if it is compressed.
///
/// # Errors
///
/// If it is something else, broken, or larger than that.
pub(crate) fn into_bytes_within(
    object: Serialized,
    room: &mut usize,
) -> Result<Vec<u8>, Malformed> {
    let Serialized { header, frames } = object;
    let kind = text(&header, "serializer").unwrap_or_default().to_owned();
    let mut frames = whole_frames(&header, frames, room)?;
    match (kind.as_str(), text(&header, "type").unwrap_or_default()) {
        ("dask", "bytes" | "bytearray" | "builtins.bytes" | "builtins.bytearray") => {
            Ok(joined(frames))
        }
        ("pickle", _) if !frames.is_empty() => {
            let pickle = frames.remove(0);
            let symbols = Symbols::read(&pickle, frames.len());
            let symbols = symbols.map_err(|_| Malformed("a value with a broken pickle"))?;
            match symbols.root {
                Node::Bytes(span) => Ok(symbols.span(span).to_vec()),
                Node::Buffer(index) => Ok(std::mem::take(&mut frames[index as usize])),
                _ => Err(Malformed("a value that is not bytes")),
            }
        }
        ("error", _) => Err(Malformed("a value that its owner could not serialize")),
        _ => Err(Malformed("a value that is not bytes")),
    }
}

fn joined(mut frames: Vec<Vec<u8>>) -> Vec<u8> {
    match frames.len() {
        1 => frames.remove(0),
        _ => frames.concat(),
    }
}

/// The frames of a value as they were before large ones were split, and some
/// compressed: those take their lengths from the room that there is.
///
/// # Errors
///
/// If they do not fit together, are broken, or larger than that.
pub(crate) fn whole_frames(
    header: &Value,
    frames: Vec<Vec<u8>>,
    room: &mut usize,
) -> Result<Vec<Vec<u8>>, Malformed> {
    let frames = expanded(header, frames, room)?;
    let numbers = |name| {
        let found = field(header, name)?.as_array()?;
        found
            .iter()
            .map(|number| usize::try_from(number.as_u64()?).ok())
            .collect::<Option<Vec<_>>>()
    };
    let (Some(counts), Some(offsets)) = (numbers("split-num-sub-frames"), numbers("split-offsets"))
    else {
        return Ok(frames);
    };
    if counts.iter().all(|count| *count == 1) && counts.len() == frames.len() {
        return Ok(frames);
    }
    let mut parts = frames.into_iter();
    let mut taken = 0;
    let mut whole = Vec::with_capacity(counts.len().min(parts.len()));
    for (count, offset) in counts.into_iter().zip(offsets) {
        // They follow each other, so that each part is used once.
        if offset != taken || count > parts.len() {
            return Err(Malformed("a value whose parts do not fit together"));
        }
        taken += count;
        whole.push(joined(parts.by_ref().take(count).collect()));
    }
    Ok(whole)
}

/// The frames as they were before some of them were compressed.
fn expanded(
    header: &Value,
    frames: Vec<Vec<u8>>,
    room: &mut usize,
) -> Result<Vec<Vec<u8>>, Malformed> {
    let ways = field(header, "compression").and_then(Value::as_array);
    let Some(ways) = ways.filter(|ways| ways.iter().any(Value::is_str)) else {
        return Ok(frames);
    };
    if ways.len() != frames.len() {
        return Err(Malformed("a value whose parts do not fit together"));
    }
    let parts = ways.iter().zip(frames);
    let whole = parts.map(|(way, part)| match way.as_str() {
        Some(way) => expand(way, &part, room),
        None => Ok(part),
    });
    whole.collect()
}

#[cfg(test)]
mod tests {
    use super::super::message::encode;
    use super::*;

    #[test]
    fn bytes_lie_beside_the_message_as_they_are() {
        let object = from_bytes(b"\0\xff".to_vec());
        assert_eq!(object.frames, [b"\0\xff"]);
        assert_eq!(text(&object.header, "serializer"), Some("dask"));
        assert_eq!(into_bytes(object), Ok(b"\0\xff".to_vec()));
        assert!(encode(&from_pickle(Vec::new()).header).starts_with(b"\x85\xaaserializer"));
    }

    #[test]
    fn parts_of_a_large_value_are_put_together() {
        let mut object = from_bytes(Vec::new());
        object.frames = vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
        let Value::Map(pairs) = &mut object.header else { unreachable!() };
        pairs[4].1 = Value::Array(vec![3.into()]);
        assert_eq!(into_bytes(object.clone()), Ok(b"abc".to_vec()));
        let Value::Map(pairs) = &mut object.header else { unreachable!() };
        pairs[4].1 = Value::Array(vec![4.into()]);
        assert!(into_bytes(object).is_err());
    }

    #[test]
    fn parts_are_expanded_before_they_are_put_together() {
        let mut object = from_bytes(Vec::new());
        let whole = b"a cat, a hat, ".repeat(100);
        object.frames = vec![lz4_flex::block::compress_prepend_size(&whole), b"b".to_vec()];
        let Value::Map(pairs) = &mut object.header else { unreachable!() };
        pairs[4].1 = Value::Array(vec![2.into()]);
        pairs[6].1 = Value::Array(vec!["lz4".into(), Value::Nil]);
        let mut room = whole.len();
        assert_eq!(into_bytes_within(object.clone(), &mut room), Ok([&whole[..], b"b"].concat()));
        assert_eq!(room, 0);
        assert!(into_bytes_within(object.clone(), &mut room).is_err(), "there is no room any more");
        object.frames.pop();
        assert!(into_bytes_within(object, &mut 5000).is_err());
    }

    #[test]
    fn bytes_may_come_as_a_pickle() {
        let pickle = b"\x80\x05C\x02hi\x94.".to_vec();
        assert_eq!(into_bytes(from_pickle(pickle)), Ok(b"hi".to_vec()));
        assert!(into_bytes(from_pickle(b"\x80\x05K\x01.".to_vec())).is_err());
        assert!(into_bytes(from_pickle(b"broken".to_vec())).is_err());
    }
}

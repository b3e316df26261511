//! The values of tasks as they lie beside messages: bytes in a frame of their
//! own, or a pickle.

use rmpv::Value;

use crate::compression::expand;
use crate::document::{decode, encode, field, map, text};
use crate::frames::Frames;
use crate::malformed::Malformed;
use crate::pickle::{Node, Pickle, Symbols};

/// What a small value may be, if it is compressed.
const SMALL: usize = 16 << 20;

/// A pickle of the class `bytes`, as a value's type.
const BYTES_TYPE: &[u8] = b"\x80\x04\x8c\x08builtins\x8c\x05bytes\x93.";

/// A value as it lies beside messages: a header that says what it is, and frames.
///
/// Schedulers pass it on without looking into it, and so can everyone.
///
/// # Examples
///
/// ```
/// use dask_protocol::Serialized;
///
/// let value = Serialized::from_bytes(b"abc".to_vec());
/// assert_eq!((value.size(), value.type_name()), (3, Some("bytes")));
/// assert_eq!(value.into_bytes()?, b"abc");
/// # Ok::<(), dask_protocol::Malformed>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Serialized {
    /// A map with `serializer` and what that needs to know.
    pub(crate) header: Value,
    pub(crate) frames: Frames,
}

impl Serialized {
    /// Bytes as Dask has them: as they are, in a frame.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let header = map([
            ("sub-header", Value::Map(Vec::new())),
            ("type", "bytes".into()),
            ("type-serialized", Value::Binary(BYTES_TYPE.to_vec())),
            ("serializer", "dask".into()),
            ("split-num-sub-frames", Value::Array(vec![1.into()])),
            ("split-offsets", Value::Array(vec![0.into()])),
            ("compression", Value::Array(vec![Value::Nil])),
        ]);
        Self { header, frames: vec![bytes] }
    }

    /// A pickle, without buffers beside it.
    pub fn from_pickle(pickle: Vec<u8>) -> Self {
        let header = map([
            ("serializer", "pickle".into()),
            ("writeable", Value::Array(Vec::new())),
            ("split-num-sub-frames", Value::Array(vec![1.into()])),
            ("split-offsets", Value::Array(vec![0.into()])),
            ("compression", Value::Array(vec![Value::Nil])),
        ]);
        Self { header, frames: vec![pickle] }
    }

    /// How many bytes its frames have.
    pub fn size(&self) -> usize {
        self.frames.iter().map(Vec::len).sum()
    }

    /// Whether it is Python's `bytes`, by its header: others are not looked into.
    pub fn is_bytes(&self) -> bool {
        let kind = text(&self.header, "type");
        self.serializer() == "dask" && matches!(kind, Some("bytes" | "builtins.bytes"))
    }

    /// The name of its class, as dashboards show it, where it is plain.
    pub fn type_name(&self) -> Option<&'static str> {
        if self.serializer() == "dask" {
            return self.is_bytes().then_some("bytes");
        }
        let symbols = Symbols::read(self.frames.first()?, self.frames.len() - 1).ok()?;
        symbols.type_name(symbols.root())
    }

    /// The bytes that a value is which is small: an exception, an answer.
    ///
    /// # Errors
    ///
    /// If it is something else, broken, or compressed and larger than 16 MiB.
    pub fn into_bytes(self) -> Result<Vec<u8>, Malformed> {
        self.into_bytes_within(&mut { SMALL })
    }

    /// The bytes that a value is, which takes its length from the room that there is
    /// if it is compressed.
    ///
    /// # Errors
    ///
    /// If it is something else, broken, or larger than that.
    pub fn into_bytes_within(self, room: &mut usize) -> Result<Vec<u8>, Malformed> {
        let Self { header, frames } = self;
        let kind = text(&header, "serializer").unwrap_or_default().to_owned();
        let mut frames = whole_frames(&header, frames, room)?;
        match (kind.as_str(), text(&header, "type").unwrap_or_default()) {
            ("dask", class) if is_bytes(class) => Ok(joined(frames)),
            ("pickle", _) if !frames.is_empty() => {
                let pickle = frames.remove(0);
                let symbols = Symbols::read(&pickle, frames.len());
                let symbols =
                    symbols.map_err(|_| Malformed::new("a value with a broken pickle"))?;
                match symbols.root() {
                    Node::Bytes(span) => Ok(symbols.span(span).to_vec()),
                    Node::Buffer(index) => Ok(std::mem::take(&mut frames[index as usize])),
                    _ => Err(NOT_BYTES),
                }
            }
            ("msgpack", _) => match decode(&joined(frames))? {
                Value::Binary(bytes) => Ok(bytes),
                _ => Err(NOT_BYTES),
            },
            ("error", _) => Err(Malformed::new("a value that its owner could not serialize")),
            _ => Err(NOT_BYTES),
        }
    }

    /// A value that stands in a message itself.
    pub(crate) fn from_plain(value: &Value) -> Self {
        let none = Value::Array(vec![Value::Nil]);
        let header = map([("serializer", "msgpack".into()), ("compression", none)]);
        Self { header, frames: vec![encode(value)] }
    }

    fn serializer(&self) -> &str {
        text(&self.header, "serializer").unwrap_or_default()
    }
}

const NOT_BYTES: Malformed = Malformed::new("a value that is not bytes");

/// Whether a value of the family `dask` with that type is bytes in its frames.
pub(crate) fn is_bytes(class: &str) -> bool {
    matches!(class, "bytes" | "bytearray" | "builtins.bytes" | "builtins.bytearray")
}

/// A pickle of a class of that name, as [`Serialized::type_name`] gives it.
pub(crate) fn pickled_type(name: &str) -> Vec<u8> {
    let mut pickle = Pickle::new();
    match name {
        // It has no name under which it could be imported.
        "NoneType" => {
            pickle.global("builtins", "type");
            pickle.none();
            pickle.tuple_of_one();
            pickle.call();
        }
        name => pickle.global("builtins", name),
    }
    pickle.finish()
}

fn joined(mut frames: Frames) -> Vec<u8> {
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
    frames: Frames,
    room: &mut usize,
) -> Result<Frames, Malformed> {
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
            return Err(Malformed::new("a value whose parts do not fit together"));
        }
        taken += count;
        whole.push(joined(parts.by_ref().take(count).collect()));
    }
    Ok(whole)
}

/// The frames as they were before some of them were compressed.
fn expanded(header: &Value, frames: Frames, room: &mut usize) -> Result<Frames, Malformed> {
    let ways = field(header, "compression").and_then(Value::as_array);
    let Some(ways) = ways.filter(|ways| ways.iter().any(Value::is_str)) else {
        return Ok(frames);
    };
    if ways.len() != frames.len() {
        return Err(Malformed::new("a value whose parts do not fit together"));
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
    use super::*;

    #[test]
    fn bytes_lie_beside_the_message_as_they_are() {
        let object = Serialized::from_bytes(b"\0\xff".to_vec());
        assert_eq!(object.frames, [b"\0\xff"]);
        assert_eq!(text(&object.header, "serializer"), Some("dask"));
        assert_eq!(object.into_bytes(), Ok(b"\0\xff".to_vec()));
        assert!(
            encode(&Serialized::from_pickle(Vec::new()).header).starts_with(b"\x85\xaaserializer")
        );
    }

    #[test]
    fn parts_of_a_large_value_are_put_together() {
        let mut object = Serialized::from_bytes(Vec::new());
        object.frames = vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec()];
        let Value::Map(pairs) = &mut object.header else { unreachable!() };
        pairs[4].1 = Value::Array(vec![3.into()]);
        assert_eq!(object.clone().into_bytes(), Ok(b"abc".to_vec()));
        let Value::Map(pairs) = &mut object.header else { unreachable!() };
        pairs[4].1 = Value::Array(vec![4.into()]);
        assert!(object.into_bytes().is_err());
    }

    #[test]
    fn parts_are_expanded_before_they_are_put_together() {
        let mut object = Serialized::from_bytes(Vec::new());
        let whole = b"a cat, a hat, ".repeat(100);
        object.frames = vec![lz4_flex::block::compress_prepend_size(&whole), b"b".to_vec()];
        let Value::Map(pairs) = &mut object.header else { unreachable!() };
        pairs[4].1 = Value::Array(vec![2.into()]);
        pairs[6].1 = Value::Array(vec!["lz4".into(), Value::Nil]);
        let mut room = whole.len();
        assert_eq!(object.clone().into_bytes_within(&mut room), Ok([&whole[..], b"b"].concat()));
        assert_eq!(room, 0);
        assert!(object.clone().into_bytes_within(&mut room).is_err(), "there is no room any more");
        object.frames.pop();
        assert!(object.into_bytes_within(&mut 5000).is_err());
    }

    #[test]
    fn bytes_may_come_as_a_pickle() {
        let pickle = b"\x80\x05C\x02hi\x94.".to_vec();
        assert_eq!(Serialized::from_pickle(pickle).into_bytes(), Ok(b"hi".to_vec()));
        assert!(Serialized::from_pickle(b"\x80\x05K\x01.".to_vec()).into_bytes().is_err());
        assert!(Serialized::from_pickle(b"broken".to_vec()).into_bytes().is_err());
    }

    #[test]
    fn plain_values_have_a_type() {
        let type_of = |pickle: &[u8]| Serialized::from_pickle(pickle.to_vec()).type_name();
        assert_eq!(type_of(b"\x80\x04K\x01."), Some("int"));
        assert_eq!(type_of(b"\x80\x04]."), Some("list"));
        assert_eq!(type_of(b"nonsense"), None);
        assert_eq!(pickled_type("bytes"), BYTES_TYPE);
    }

    #[test]
    fn bytes_may_stand_in_a_message_itself() {
        let plain = Serialized::from_plain(&Value::Binary(b"hi".to_vec()));
        assert_eq!(plain.into_bytes(), Ok(b"hi".to_vec()));
        assert!(Serialized::from_plain(&3.into()).into_bytes().is_err());
    }
}

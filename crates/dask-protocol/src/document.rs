//! Dask's messages: what is in the frames of one, with opaque data beside it.
//!
//! The first frame is MessagePack. A map in it of the form
//! `{"__Serialized__": k}` stands for an object that the frames from `k` on
//! describe: a header, and as many frames as that says. Schedulers pass such
//! objects on without looking into them.

use std::io::{self, Read};

use rmpv::Value;

use crate::frames::Frames;
use crate::malformed::Malformed;
use crate::serialized::Serialized;

/// How deep a message may be nested.
const DEPTH: usize = 64;

/// How many reads one document may take: each value needs one or two.
const READS: usize = 4 << 20;

/// What a message consists of: a value, and the objects beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// What its first frame says.
    pub(crate) value: Value,
    /// The frames after the first, from which [`object`](Self::object) takes.
    frames: Frames,
}

/// A pickle that every receiver is meant to load, and the buffers beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pickled {
    /// The pickle.
    pub pickle: Vec<u8>,
    /// What it refers to as its buffers.
    pub buffers: Frames,
}

impl Document {
    /// A message to be sent.
    pub(crate) fn new(value: Value) -> Self {
        Self { value, frames: Vec::new() }
    }

    /// The message of a list of operations.
    pub(crate) fn of_list<T>(
        all: impl IntoIterator<Item = T>,
        mut write: impl FnMut(T, &mut Self) -> Value,
    ) -> Frames {
        let mut document = Self::new(Value::Nil);
        let all = all.into_iter().map(|one| write(one, &mut document)).collect();
        document.value = Value::Array(all);
        document.into_frames()
    }

    /// Adds a field to a message that is a map.
    pub(crate) fn push(&mut self, name: &str, value: Value) {
        if let Value::Map(fields) = &mut self.value {
            fields.push((name.into(), value));
        }
    }

    /// What its first frame says, once.
    pub(crate) fn take_value(&mut self) -> Value {
        std::mem::replace(&mut self.value, Value::Nil)
    }

    /// All that lies beside the message, once.
    pub(crate) fn take_frames(&mut self) -> Frames {
        std::mem::take(&mut self.frames)
    }

    /// Puts what lay beside another message beside this one.
    pub(crate) fn set_frames(&mut self, frames: Frames) {
        self.frames = frames;
    }

    /// Puts an object beside the message; gives what stands for it.
    pub(crate) fn attach(&mut self, object: Serialized) -> Value {
        let place = self.frames.len() + 1;
        let Serialized { mut header, frames } = object;
        if let Value::Map(pairs) = &mut header {
            pairs.push(("num-sub-frames".into(), frames.len().into()));
        }
        self.frames.push(encode(&header));
        self.frames.extend(frames);
        map([("__Serialized__", place.into())])
    }

    /// The frames to be sent.
    pub(crate) fn into_frames(self) -> Frames {
        let mut frames = vec![encode(&self.value)];
        frames.extend(self.frames);
        frames
    }

    /// Reads a message from its frames.
    ///
    /// # Errors
    ///
    /// If it is not MessagePack, nested too deeply, or larger in memory than any
    /// honest message.
    pub(crate) fn from_frames(mut frames: Frames) -> Result<Self, Malformed> {
        if frames.is_empty() {
            return Err(Malformed::new("a message without frames"));
        }
        let value = decode(&frames.remove(0))?;
        Ok(Self { value, frames })
    }

    /// The object that a value of this message stands for. Each can be taken once.
    ///
    /// # Errors
    ///
    /// If its frames are not there.
    pub(crate) fn object(&mut self, value: &Value) -> Result<Option<Serialized>, Malformed> {
        self.described(value, "__Serialized__")
    }

    /// The pickle that a value of this message stands for, which every receiver is
    /// meant to load, with the buffers beside it. Each can be taken once.
    ///
    /// # Errors
    ///
    /// If its frames are not there.
    pub(crate) fn pickled(&mut self, value: &Value) -> Result<Option<Pickled>, Malformed> {
        let Some(Serialized { mut header, frames }) = self.described(value, "__Pickled__")? else {
            return Ok(None);
        };
        let pairs = header.as_map().map_or(&[][..], Vec::as_slice);
        let place = pairs.iter().position(|(name, _)| name.as_str() == Some("pickled-obj"));
        match (&mut header, place) {
            (Value::Map(pairs), Some(place)) => {
                match std::mem::replace(&mut pairs[place].1, Value::Nil) {
                    Value::Binary(pickle) => Ok(Some(Pickled { pickle, buffers: frames })),
                    _ => Err(Malformed::new("a pickle that is not bytes")),
                }
            }
            _ => Err(Malformed::new("a pickle that is not there")),
        }
    }

    /// Puts a pickle beside the message that every receiver is meant to load; gives
    /// what stands for it.
    pub(crate) fn attach_pickle(&mut self, pickled: Pickled) -> Value {
        let place = self.frames.len() + 1;
        let Pickled { pickle, buffers } = pickled;
        let count = buffers.len().into();
        self.frames.push(encode(&map([
            ("pickled-obj", Value::Binary(pickle)),
            ("num-sub-frames", count),
        ])));
        self.frames.extend(buffers);
        map([("__Pickled__", place.into())])
    }

    fn described(&mut self, value: &Value, marker: &str) -> Result<Option<Serialized>, Malformed> {
        let Some(place) = field(value, marker).and_then(Value::as_u64) else {
            return Ok(None);
        };
        let missing = Malformed::new("an object whose frames are missing");
        let at = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
        let at = at.filter(|at| *at < self.frames.len()).ok_or(missing.clone())?;
        let mut header = decode(&self.frames[at])?;
        let count = field(&header, "num-sub-frames").and_then(Value::as_u64).unwrap_or(0);
        let rest = &mut self.frames[at + 1..];
        let count = usize::try_from(count).ok().filter(|count| *count <= rest.len());
        let frames = rest[..count.ok_or(missing)?].iter_mut().map(std::mem::take).collect();
        // It is written anew when the object is passed on.
        if let Value::Map(pairs) = &mut header {
            pairs.retain(|(name, _)| name.as_str() != Some("num-sub-frames"));
        }
        Ok(Some(Serialized { header, frames }))
    }
}

/// The MessagePack of a value.
pub(crate) fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("memory takes what is written");
    out
}

/// The value that a MessagePack document holds.
pub(crate) fn decode(document: &[u8]) -> Result<Value, Malformed> {
    let mut rest = Metered { rest: document, reads: READS };
    let value = rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH)
        .map_err(|_| Malformed::new("not a MessagePack document of honest size"))?;
    match is_utf8(&value) {
        true => Ok(value),
        false => Err(Malformed::new("text that is not UTF-8")),
    }
}

/// Whether all text in a value is text. What is not would be written as bytes, and so be
/// another key, or another value, to whom it is passed on.
fn is_utf8(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_str(),
        Value::Array(items) => items.iter().all(is_utf8),
        Value::Map(pairs) => pairs.iter().all(|(key, value)| is_utf8(key) && is_utf8(value)),
        _ => true,
    }
}

/// Bytes that can be read so many times: what a document can cost in memory.
struct Metered<'a> {
    rest: &'a [u8],
    reads: usize,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads = self.reads.checked_sub(1).ok_or(io::ErrorKind::InvalidData)?;
        self.rest.read(buffer)
    }
}

/// A map with names as keys.
pub(crate) fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// What a map has under a name.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let pairs = value.as_map()?;
    pairs.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
}

/// The text that a map has under a name.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    field(value, name)?.as_str()
}

/// What a map has under a name, in a list or in a set, which Dask writes as
/// `{"__Set__": true, "as-list": […]}`.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let found = field(value, name);
    let found = found.and_then(|found| field(found, "as-list").or(Some(found)));
    found.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(frames: &[&[u8]]) -> Serialized {
        let header = map([("serializer", "pickle".into()), ("writeable", Value::Array(vec![]))]);
        Serialized { header, frames: frames.iter().map(|frame| frame.to_vec()).collect() }
    }

    /// The sub-header of the specification, 5.2.
    #[test]
    fn an_object_is_described_by_the_frame_before_it() {
        let mut message = Document::new(Value::Nil);
        let place = message.attach(object(&[b"pickle"]));
        message.value = map([("expr_ser", place)]);
        let frames = message.into_frames();
        let header = b"\x83\xaaserializer\xa6pickle\xa9writeable\x90\xaenum-sub-frames\x01";
        assert_eq!(frames[0], b"\x81\xa8expr_ser\x81\xae__Serialized__\x01");
        assert_eq!((frames[1].len(), &frames[1][..]), (46, &header[..]));
        assert_eq!(frames[2], b"pickle");
    }

    #[test]
    fn objects_come_back_with_their_frames() {
        let mut message = Document::new(Value::Nil);
        let places = [&[&b"a"[..]][..], &[], &[b"b", b"c"]].map(|f| message.attach(object(f)));
        message.value = Value::Array(places.to_vec());
        let mut read = Document::from_frames(message.into_frames()).unwrap();
        let lengths =
            places.map(|place| read.object(&place).unwrap().expect("an object").frames.len());
        assert_eq!(lengths, [1, 0, 2]);
        assert_eq!(read.object(&Value::Nil), Ok(None));
        assert!(read.object(&map([("__Serialized__", 9.into())])).is_err());
    }

    #[test]
    fn a_set_is_read_as_a_list() {
        let keys = Value::Array(vec!["a".into(), "b".into()]);
        let set = map([("__Set__", true.into()), ("as-list", keys.clone())]);
        assert_eq!(list(&map([("keys", set)]), "keys").len(), 2);
        assert_eq!(list(&map([("keys", keys)]), "keys").len(), 2);
    }

    #[test]
    fn a_document_of_many_nothings_is_refused() {
        let mut document = vec![0xdd, 0xff, 0xff, 0xff, 0xff];
        document.resize(READS + 100, 0xc0);
        assert!(decode(&document).is_err());
        assert!(decode(&vec![0x91; 1 << 20]).is_err(), "nested too deeply");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused() {
        for document in
            [&b"\xa1\xad"[..], b"\x91\xa1\xad", b"\x81\xa1\xad\xc0", b"\x81\xc0\xa1\xad"]
        {
            assert_eq!(decode(document).unwrap_err().problem(), "text that is not UTF-8");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
            place in any::<u64>(),
        ) {
            if let Ok(mut message) = Document::from_frames(frames) {
                let _ = message.object(&message.value.clone());
                for place in [place, place % 8] {
                    let _ = message.object(&map([("__Serialized__", place.into())]));
                }
            }
        }
    }
}

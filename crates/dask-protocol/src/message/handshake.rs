//! What each end of a connection says before anything else.

use rmpv::Value;

use super::fields::Fields;
use crate::document::{Document, map};
use crate::frames::Frames;
use crate::malformed::Malformed;

/// What each end of a connection says first, whoever made it: neither waits for the
/// other.
///
/// # Examples
///
/// ```
/// use dask_protocol::message::Handshake;
///
/// let ours = Handshake::default();
/// assert_eq!(Handshake::parse(ours.clone().encode())?, ours);
/// # Ok::<(), dask_protocol::Malformed>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// How it compresses, which is used if both say the same.
    pub compression: Option<String>,
    /// Which release of Python speaks, for the peer's log.
    pub python: Vec<u64>,
    /// The latest protocol of pickles that it understands.
    pub pickle_protocol: u64,
}

impl Default for Handshake {
    /// Nothing is compressed, and all pickles are understood.
    fn default() -> Self {
        Self { compression: None, python: vec![3, 11, 7], pickle_protocol: 5 }
    }
}

impl Handshake {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// If it is no handshake.
    pub fn parse(frames: Frames) -> Result<Self, Malformed> {
        let mut document = Document::from_frames(frames)?;
        let value = document.take_value();
        let mut fields = Fields::of("handshake", value, &mut document)?;
        let protocol = fields.count("pickle-protocol")?;
        let python = fields.numbers("python")?.into_iter().map(|number| number as u64);
        Ok(Self {
            compression: fields.text("compression")?,
            python: python.collect(),
            pickle_protocol: protocol
                .ok_or_else(|| fields.wrong("pickle-protocol", "is missing"))?,
        })
    }

    /// The message that says this.
    pub fn encode(self) -> Frames {
        let python = self.python.into_iter().map(Value::from).collect();
        let value = map([
            ("compression", self.compression.map_or(Value::Nil, Value::from)),
            ("python", Value::Array(python)),
            ("pickle-protocol", self.pickle_protocol.into()),
        ]);
        Document::new(value).into_frames()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::pack;

    /// The packet of the specification, section 1.
    #[test]
    fn a_handshake_is_byte_for_byte_as_specified() {
        let mut packet = Vec::new();
        pack(&Handshake::default().encode(), &mut packet);
        let mut expected = Vec::new();
        for number in [58_u64, 1, 42] {
            expected.extend(number.to_le_bytes());
        }
        expected
            .extend(b"\x83\xabcompression\xc0\xa6python\x93\x03\x0b\x07\xafpickle-protocol\x05");
        assert_eq!((packet.len(), packet), (66, expected));
    }
}

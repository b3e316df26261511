//! Dask's framing: frames of bytes with their lengths before them, and the
//! bound on what a peer may announce.
//!
//! ```text
//! u64  bytes that may be read in one go, which a receiver can ignore
//! u64  number of frames
//! u64  the length of each
//! the frames, back to back
//! ```
//!
//! All numbers are little endian. A length is compared with the bounds before
//! anything is allocated for it, and memory follows what has arrived, not what
//! was announced.

use std::fmt;
use std::io;

/// The frames of one message.
pub type Frames = Vec<Vec<u8>>;

/// How far a peer may go in one message.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many frames it may have.
    pub frames: usize,
    /// How many bytes all frames together may have.
    pub bytes: usize,
}

/// How much is reserved for a frame before its bytes are there.
const RESERVED: usize = 64 << 10;

/// The hint and the number of frames, in bytes; and each length.
const BEGINNING: usize = 16;
const NUMBER: usize = 8;

/// Appends a message of these frames.
pub fn pack(frames: &[Vec<u8>], out: &mut Vec<u8>) {
    let body: usize = frames.iter().map(Vec::len).sum();
    let prelude = NUMBER * (1 + frames.len());
    out.reserve(NUMBER + prelude + body);
    let lengths = frames.iter().map(Vec::len);
    for number in [prelude + body, frames.len()].into_iter().chain(lengths) {
        out.extend_from_slice(&(number as u64).to_le_bytes());
    }
    frames.iter().for_each(|frame| out.extend_from_slice(frame));
}

/// Takes the frames of the next message from bytes; `None`, and nothing is taken,
/// if it is not there whole.
///
/// # Errors
///
/// If the message exceeds the bounds.
///
/// # Examples
///
/// ```
/// use dask_protocol::frames::{Bounds, pack, unpack};
///
/// let mut bytes = Vec::new();
/// pack(&[b"frame".to_vec()], &mut bytes);
/// let bounds = Bounds { frames: 8, bytes: 1000 };
/// let mut rest = &bytes[..];
/// assert_eq!(unpack(&mut rest, bounds).unwrap(), Some(vec![b"frame".to_vec()]));
/// assert_eq!(unpack(&mut rest, bounds).unwrap(), None);
/// ```
pub fn unpack(bytes: &mut &[u8], bounds: Bounds) -> Result<Option<Frames>, Excess> {
    let mut assembly = Assembly::new(bounds);
    let mut rest = *bytes;
    loop {
        let (buffer, wanted) = assembly.room();
        let (next, after) = rest.split_at(wanted.min(rest.len()));
        if next.is_empty() {
            return Ok(None);
        }
        buffer.extend_from_slice(next);
        rest = after;
        if let Some(frames) = assembly.advance()? {
            *bytes = rest;
            return Ok(Some(frames));
        }
    }
}

/// A message that is being read from a stream, whatever reads that.
///
/// Append bytes to the buffer of [`room`](Self::room), no more than it says; then
/// [`advance`](Self::advance). The bytes of a frame are read to where they stay.
///
/// # Examples
///
/// ```
/// use std::io::Read;
///
/// use dask_protocol::frames::{Assembly, Bounds, Frames};
///
/// fn read(mut stream: impl Read) -> std::io::Result<Frames> {
///     let mut assembly = Assembly::new(Bounds { frames: 1 << 16, bytes: 64 << 20 });
///     loop {
///         let (buffer, wanted) = assembly.room();
///         if stream.by_ref().take(wanted as u64).read_to_end(buffer)? == 0 {
///             return Err(std::io::ErrorKind::UnexpectedEof.into());
///         }
///         if let Some(frames) = assembly.advance()? {
///             return Ok(frames);
///         }
///     }
/// }
/// # let mut bytes = Vec::new();
/// # dask_protocol::frames::pack(&[vec![1], vec![], vec![2]], &mut bytes);
/// # assert_eq!(read(&bytes[..]).unwrap(), [vec![1], vec![], vec![2]]);
/// ```
#[derive(Debug)]
pub struct Assembly {
    bounds: Bounds,
    stage: Stage,
    /// What is read, and how many bytes it will have.
    part: Vec<u8>,
    length: usize,
    /// The lengths of the frames, as far as they are known, and their sum.
    lengths: Vec<usize>,
    total: u64,
    frames: Frames,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The hint, and how many frames there are.
    Beginning,
    Lengths,
    Frames,
}

impl Assembly {
    /// Before the first byte of a message.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            stage: Stage::Beginning,
            part: Vec::new(),
            length: BEGINNING,
            lengths: Vec::new(),
            total: 0,
            frames: Vec::new(),
        }
    }

    /// Where the next bytes go, and how many at most: at least one.
    pub fn room(&mut self) -> (&mut Vec<u8>, usize) {
        let wanted = self.length - self.part.len();
        (&mut self.part, wanted)
    }

    /// Whether no byte of the message has been read.
    pub fn is_empty(&self) -> bool {
        self.stage == Stage::Beginning && self.part.is_empty()
    }

    /// Looks at what was appended; gives the frames if they are all there, after
    /// which it is ready for the next message.
    ///
    /// # Errors
    ///
    /// If the message exceeds the bounds. Nothing more can be read then.
    ///
    /// # Panics
    ///
    /// If more was appended than there was room for.
    pub fn advance(&mut self) -> Result<Option<Frames>, Excess> {
        assert!(self.part.len() <= self.length, "more was appended than there was room for");
        if self.stage == Stage::Lengths {
            self.measure()?;
        }
        // More than once where something is empty.
        while self.part.len() == self.length {
            let part = std::mem::take(&mut self.part);
            match self.stage {
                Stage::Beginning => {
                    let count = number(&part[NUMBER..]);
                    if count > self.bounds.frames as u64 {
                        return Err(Excess {
                            what: "frames",
                            found: count,
                            limit: self.bounds.frames,
                        });
                    }
                    (self.stage, self.length) = (Stage::Lengths, NUMBER * count as usize);
                    continue;
                }
                Stage::Lengths => self.stage = Stage::Frames,
                Stage::Frames => self.frames.push(part),
            }
            let Some(length) = self.lengths.get(self.frames.len()).copied() else {
                let whole = std::mem::replace(self, Self::new(self.bounds));
                return Ok(Some(whole.frames));
            };
            (self.part, self.length) = (Vec::with_capacity(length.min(RESERVED)), length);
        }
        Ok(None)
    }

    /// Compares the lengths that have arrived with the bound.
    fn measure(&mut self) -> Result<(), Excess> {
        let (numbers, _) = self.part.as_chunks::<NUMBER>();
        for length in &numbers[self.lengths.len()..] {
            let length = u64::from_le_bytes(*length);
            self.total = self.total.saturating_add(length);
            if self.total > self.bounds.bytes as u64 {
                return Err(Excess { what: "bytes", found: self.total, limit: self.bounds.bytes });
            }
            self.lengths.push(length as usize);
        }
        Ok(())
    }
}

/// The number at the beginning of at least eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// More than the bounds allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    what: &'static str,
    found: u64,
    limit: usize,
}

impl Excess {
    /// How many frames or bytes were announced.
    pub fn found(&self) -> u64 {
        self.found
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, found, limit } = self;
        write!(f, "a message of {found} {what} exceeds the limit of {limit} {what}")
    }
}

impl std::error::Error for Excess {}

impl From<Excess> for io::Error {
    fn from(excess: Excess) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, excess)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { frames: 8, bytes: 1000 };

    /// All messages of some bytes, and what is left; as many bytes at once as the
    /// function says.
    fn read_all(
        mut bytes: &[u8],
        mut at_once: impl FnMut() -> usize,
    ) -> Result<(Vec<Frames>, bool), Excess> {
        let (mut assembly, mut messages) = (Assembly::new(BOUNDS), Vec::new());
        while !bytes.is_empty() {
            let (buffer, wanted) = assembly.room();
            assert!(wanted > 0);
            let (next, rest) = bytes.split_at(wanted.min(bytes.len()).min(at_once()));
            buffer.extend_from_slice(next);
            bytes = rest;
            messages.extend(assembly.advance()?);
        }
        Ok((messages, assembly.is_empty()))
    }

    #[test]
    fn a_frame_is_preceded_by_hint_count_and_length() {
        let mut out = Vec::new();
        pack(&[vec![7; 42]], &mut out);
        assert_eq!(out.len(), 66);
        assert_eq!(out[..8], 58_u64.to_le_bytes());
        assert_eq!(out[8..16], 1_u64.to_le_bytes());
        assert_eq!(out[16..24], 42_u64.to_le_bytes());
    }

    #[test]
    fn what_exceeds_the_bounds_is_refused_before_it_arrives() {
        let announced = |count: u64, length: u64| {
            let numbers = [0, count, length].map(u64::to_le_bytes);
            unpack(&mut &numbers.concat()[..], BOUNDS)
        };
        assert_eq!(announced(u64::MAX, 1).unwrap_err().found(), u64::MAX);
        assert_eq!(announced(2, u64::MAX).unwrap_err().what, "bytes");
        assert_eq!(announced(1, 1000), Ok(None));
    }

    proptest! {
        #[test]
        fn messages_come_back_whole(
            messages in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), 0..5),
            at_once in 1_usize..60,
        ) {
            let mut bytes = Vec::new();
            messages.iter().for_each(|frames| pack(frames, &mut bytes));
            prop_assert_eq!(read_all(&bytes, || at_once).unwrap(), (messages.clone(), true));
            let mut rest = &bytes[..];
            for message in messages {
                prop_assert_eq!(unpack(&mut rest, BOUNDS), Ok(Some(message)));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn a_message_cut_anywhere_is_not_there(cut in 1_usize..108) {
            let mut bytes = Vec::new();
            pack(&[vec![1; 40], vec![2; 36]], &mut bytes);
            prop_assert_eq!(bytes.len(), 108);
            prop_assert_eq!(read_all(&bytes[..cut], || 7).unwrap(), (Vec::new(), false));
            let mut rest = &bytes[..cut];
            prop_assert_eq!(unpack(&mut rest, BOUNDS), Ok(None));
            prop_assert_eq!(rest.len(), cut);
        }

        #[test]
        fn nonsense_is_refused_or_small(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok((messages, _)) = read_all(&bytes, || usize::MAX) {
                let total: usize = messages.iter().flatten().map(Vec::len).sum();
                prop_assert!(total <= bytes.len());
            }
        }
    }
}

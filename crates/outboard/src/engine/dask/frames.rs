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

use tokio::io::{AsyncRead, AsyncReadExt};

/// How far a peer may go in one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) frames: usize,
    /// Of all frames together.
    pub(crate) bytes: usize,
}

/// How much is reserved for a frame before its bytes are there.
const RESERVED: usize = 64 << 10;

/// Appends a message of these frames.
pub(crate) fn pack(frames: &[Vec<u8>], out: &mut Vec<u8>) {
    let body: usize = frames.iter().map(Vec::len).sum();
    let prelude = 8 * (1 + frames.len());
    out.reserve(8 + prelude + body);
    let lengths = frames.iter().map(Vec::len);
    for number in [prelude + body, frames.len()].into_iter().chain(lengths) {
        out.extend_from_slice(&(number as u64).to_le_bytes());
    }
    frames.iter().for_each(|frame| out.extend_from_slice(frame));
}

/// Reads the frames of the next message; `None` if the peer has closed the
/// connection between two messages.
///
/// # Errors
///
/// What reading gives; `InvalidData` for a message above the bounds, after which
/// nothing more can be read; `UnexpectedEof` for an end within a message.
///
/// # Cancel safety
///
/// Not cancel safe: what was read of the message is lost.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    bounds: Bounds,
) -> io::Result<Option<Vec<Vec<u8>>>> {
    let mut first = [0; 8];
    let begun = stream.read(&mut first).await?;
    if begun == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut first[begun..]).await?;
    let count = number(stream).await?;
    if count > bounds.frames as u64 {
        return Err(excess("frames", count, bounds.frames));
    }
    let mut lengths = Vec::new();
    let mut total = 0_u64;
    for _ in 0..count {
        let length = number(stream).await?;
        total = total.saturating_add(length);
        if total > bounds.bytes as u64 {
            return Err(excess("bytes", total, bounds.bytes));
        }
        lengths.push(length as usize);
    }
    let mut frames = Vec::with_capacity(lengths.len());
    for length in lengths {
        frames.push(frame(stream, length).await?);
    }
    Ok(Some(frames))
}

async fn number(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<u64> {
    stream.read_u64_le().await
}

async fn frame(stream: &mut (impl AsyncRead + Unpin), length: usize) -> io::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(length.min(RESERVED));
    let mut rest = stream.take(length as u64);
    while frame.len() < length {
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame)
}

/// More than the bounds allow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excess {
    what: &'static str,
    pub(crate) found: u64,
    limit: usize,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, found, limit } = self;
        write!(f, "a message of {found} {what} exceeds the limit of {limit} {what}")
    }
}

impl std::error::Error for Excess {}

fn excess(what: &'static str, found: u64, limit: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Excess { what, found, limit })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { frames: 8, bytes: 1000 };

    fn read_all(mut bytes: &[u8], bounds: Bounds) -> io::Result<Vec<Vec<Vec<u8>>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut messages = Vec::new();
            while let Some(frames) = read(&mut bytes, bounds).await? {
                messages.push(frames);
            }
            Ok(messages)
        })
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
            read_all(&numbers.concat(), BOUNDS).unwrap_err()
        };
        assert_eq!(announced(u64::MAX, 1).kind(), io::ErrorKind::InvalidData);
        assert_eq!(announced(2, u64::MAX).kind(), io::ErrorKind::InvalidData);
        assert_eq!(announced(1, 1000).kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn messages_come_back_whole(
            messages in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8), 0..5),
        ) {
            let mut bytes = Vec::new();
            messages.iter().for_each(|frames| pack(frames, &mut bytes));
            prop_assert_eq!(read_all(&bytes, BOUNDS).unwrap(), messages);
        }

        #[test]
        fn a_message_cut_anywhere_is_an_error(cut in 1_usize..100) {
            let mut bytes = Vec::new();
            pack(&[vec![1; 40], vec![2; 36]], &mut bytes);
            prop_assert_eq!(bytes.len(), 108);
            let error = read_all(&bytes[..cut], BOUNDS).unwrap_err();
            prop_assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }

        #[test]
        fn nonsense_is_an_error_or_small(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(messages) = read_all(&bytes, BOUNDS) {
                let total: usize = messages.iter().flatten().map(Vec::len).sum();
                prop_assert!(total <= bytes.len());
            }
        }
    }
}

//! What Dask compresses, taken out of that.
//!
//! Nobody does so for us: our side of the handshake says that nothing is to be
//! compressed. But a cluster may be configured to between other hosts
//! (`distributed.comm.compression`), and a scheduler passes values and exceptions
//! on as it got them. These are the four ways that Dask knows, with its names.

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

use crate::malformed::Malformed;

/// What is said of any part that is not what it should be.
const BROKEN: Malformed = Malformed::new("a compressed value that is broken");
const TOO_LARGE: Malformed = Malformed::new("a compressed value that is larger than it may be");

/// How many times as large as before a part can become at most, where its length
/// is said before: memory follows what has arrived, and not what was announced.
const LZ4_RATIO: usize = 256;
const SNAPPY_RATIO: usize = 64;

/// A part of a value as it was before it was compressed, which takes its length
/// from the room that there is.
///
/// # Errors
///
/// If it is broken, larger than the room, or compressed in some other way.
pub(crate) fn expand(way: &str, part: &[u8], room: &mut usize) -> Result<Vec<u8>, Malformed> {
    let whole = match way {
        "lz4" => lz4(part, *room),
        "snappy" => snappy(part, *room),
        "zlib" => zlib(part, *room),
        "zstd" => zstd(part, *room),
        _ => Err(Malformed::new("a value that is compressed in an unknown way")),
    }?;
    *room = room.checked_sub(whole.len()).ok_or(TOO_LARGE)?;
    Ok(whole)
}

/// A block, after its length in four bytes.
fn lz4(part: &[u8], room: usize) -> Result<Vec<u8>, Malformed> {
    let (length, block) = lz4_flex::block::uncompressed_size(part).map_err(|_| BROKEN)?;
    fits(length, block.len(), LZ4_RATIO, room)?;
    let whole = lz4_flex::block::decompress(block, length).map_err(|_| BROKEN)?;
    if whole.len() == length { Ok(whole) } else { Err(BROKEN) }
}

/// The raw form, which begins with its length.
fn snappy(part: &[u8], room: usize) -> Result<Vec<u8>, Malformed> {
    let length = snap::raw::decompress_len(part).map_err(|_| BROKEN)?;
    fits(length, part.len(), SNAPPY_RATIO, room)?;
    snap::raw::Decoder::new().decompress_vec(part).map_err(|_| BROKEN)
}

fn zlib(part: &[u8], room: usize) -> Result<Vec<u8>, Malformed> {
    use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
    decompress_to_vec_zlib_with_limit(part, room).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => TOO_LARGE,
        _ => BROKEN,
    })
}

fn zstd(part: &[u8], room: usize) -> Result<Vec<u8>, Malformed> {
    // A small value has a window that is larger.
    let window = room.max(1 << 20) as u64;
    let decoder = StreamingDecoder::new_with_max_window_size(part, window);
    let mut whole = Vec::new();
    let mut rest = decoder.map_err(|_| BROKEN)?.take(room as u64 + 1);
    rest.read_to_end(&mut whole).map_err(|_| BROKEN)?;
    if whole.len() > room { Err(TOO_LARGE) } else { Ok(whole) }
}

fn fits(length: usize, compressed: usize, ratio: usize, room: usize) -> Result<(), Malformed> {
    match length {
        _ if length > room => Err(TOO_LARGE),
        _ if length / ratio > compressed => Err(BROKEN),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAYS: [&str; 4] = ["lz4", "snappy", "zlib", "zstd"];

    fn compressed(way: &str, whole: &[u8]) -> Vec<u8> {
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        match way {
            "lz4" => lz4_flex::block::compress_prepend_size(whole),
            "snappy" => snap::raw::Encoder::new().compress_vec(whole).unwrap(),
            "zlib" => miniz_oxide::deflate::compress_to_vec_zlib(whole, 6),
            "zstd" => compress_to_vec(whole, CompressionLevel::Fastest),
            _ => unreachable!("there are four"),
        }
    }

    #[test]
    fn what_was_compressed_comes_back_and_takes_room() {
        let texts = [Vec::new(), b"abc".to_vec(), b"a cat, a hat, ".repeat(50_000)];
        for (way, whole) in WAYS.iter().flat_map(|way| texts.iter().map(move |text| (way, text))) {
            let mut room = whole.len() + 5;
            let expanded = expand(way, &compressed(way, whole), &mut room);
            assert_eq!(expanded.as_ref(), Ok(whole), "{way}");
            assert_eq!(room, 5);
        }
        assert!(expand("gzip", b"", &mut 100).unwrap_err().problem().contains("unknown way"));
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        let whole = vec![0; 10 << 20];
        for way in WAYS {
            let bomb = compressed(way, &whole);
            assert!(bomb.len() < whole.len() / 15, "{way}: {}", bomb.len());
            assert_eq!(expand(way, &bomb, &mut (whole.len() - 1)), Err(TOO_LARGE), "{way}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_memory_is_taken() {
        let huge = (1_u32 << 31).to_le_bytes();
        let (mut room, lz4) = (usize::MAX, [&huge[..], b"\x10a"].concat());
        assert_eq!(expand("lz4", &lz4, &mut room), Err(BROKEN));
        assert_eq!(expand("snappy", b"\x80\x80\x80\x80\x08\x00a", &mut room), Err(BROKEN));
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(
            way in prop::sample::select(&WAYS[..]),
            whole in prop::collection::vec(0..4_u8, 0..300),
            spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            noise in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut part = compressed(way, &whole);
            for (at, byte) in spoiled {
                let at = at.index(part.len());
                part[at] = byte;
            }
            for part in [part, noise] {
                let mut room = 1 << 16;
                if let Ok(whole) = expand(way, &part, &mut room) {
                    prop_assert_eq!(whole.len() + room, 1 << 16);
                }
            }
        }
    }
}

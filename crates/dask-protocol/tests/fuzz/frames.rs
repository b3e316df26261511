//! A message is the same however it arrives, and is no larger than what has arrived.

use dask_protocol::frames::{Assembly, Bounds, Excess, Frames, pack, unpack};

const BOUNDS: Bounds = Bounds { frames: 64, bytes: 1 << 20 };

/// The first byte says how many others arrive at once.
pub(crate) fn check(data: &[u8]) {
    let Some((at_once, bytes)) = data.split_first() else { return };
    let at_once = usize::from(*at_once).max(1);
    let (apart, whole) = (in_parts(bytes, at_once), at_once_all(bytes));
    assert_eq!(apart, whole, "{at_once} bytes at once");
    let (messages, _) = whole;
    let total: usize = messages.iter().flatten().map(Vec::len).sum();
    assert!(total <= bytes.len(), "{total} bytes came of {}", bytes.len());
    let mut packed = Vec::new();
    messages.iter().for_each(|message| pack(message, &mut packed));
    assert_eq!(at_once_all(&packed), (messages, None));
}

/// The messages, and what ended them.
type Read = (Vec<Frames>, Option<Excess>);

fn in_parts(mut bytes: &[u8], at_once: usize) -> Read {
    let (mut assembly, mut messages) = (Assembly::new(BOUNDS), Vec::new());
    while !bytes.is_empty() {
        let (buffer, wanted) = assembly.room();
        let (next, rest) = bytes.split_at(wanted.min(bytes.len()).min(at_once));
        buffer.extend_from_slice(next);
        bytes = rest;
        match assembly.advance() {
            Ok(message) => messages.extend(message),
            Err(excess) => return (messages, Some(excess)),
        }
    }
    (messages, None)
}

fn at_once_all(mut bytes: &[u8]) -> Read {
    let mut messages = Vec::new();
    loop {
        match unpack(&mut bytes, BOUNDS) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(excess) => return (messages, Some(excess)),
        }
    }
}

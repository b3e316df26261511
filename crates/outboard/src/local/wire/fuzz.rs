//! What fuzzers check. A frame is the same however it arrives, and what was understood of
//! it is what it says when it is written again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{FromWorker, Inbox, ToWorker, append, decode, python};

/// What one frame may have, in bytes.
const FRAME: usize = 1 << 16;

/// The first byte says how many others arrive at once.
pub(crate) fn check(data: &[u8]) {
    let Some((at_once, mut bytes)) = data.split_first() else { return };
    let at_once = usize::from(*at_once).max(1);
    let mut inbox = Inbox::default();
    while !bytes.is_empty() {
        let room = inbox.room();
        let (next, rest) = bytes.split_at(at_once.min(bytes.len()).min(room.len()));
        room[..next.len()].copy_from_slice(next);
        inbox.arrived(next.len());
        bytes = rest;
        loop {
            match inbox.next_frame(FRAME) {
                Ok(Some(frame)) => {
                    same::<ToWorker>(frame);
                    same::<FromWorker>(frame);
                    let _ = python::decode(frame);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

fn same<M: Serialize + DeserializeOwned>(frame: &[u8]) {
    let Ok((message, payload)) = decode::<M>(frame) else { return };
    let mut again = Vec::new();
    append(&mut again, &message, payload);
    let (message, payload) = decode::<M>(&again[4..]).expect("it was just written");
    let mut twice = Vec::new();
    append(&mut twice, &message, payload);
    assert_eq!(again, twice);
}

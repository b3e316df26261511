//! A payload in several places of memory, or of so many bytes that giving them back takes long.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::MUCH_BYTES;
use crate::offload;

/// Bytes, one piece after the other.
#[derive(Debug)]
pub struct Pieces {
    pieces: Vec<Bytes>,
    bytes: usize,
    /// All of them, once somebody needed them as one.
    joined: OnceLock<Bytes>,
    /// Whether much of them is given back on another thread. In a worker it is not: by its
    /// answer, nothing may be left of the arguments, of which a result may be a part.
    pub(super) freed_elsewhere: bool,
}

impl Pieces {
    pub(super) fn new(pieces: Vec<Bytes>) -> Arc<Self> {
        let bytes = pieces.iter().map(Bytes::len).sum();
        Arc::new(Self { pieces, bytes, joined: OnceLock::new(), freed_elsewhere: false })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &**piece)
    }

    /// All of them as one: a copy, at the first time, if there are several.
    pub(super) fn joined(&self) -> &Bytes {
        match &self.pieces[..] {
            [one] => one,
            pieces => self.joined.get_or_init(|| {
                let mut all = super::room(self.bytes);
                pieces.iter().for_each(|piece| all.extend_from_slice(piece));
                all.into()
            }),
        }
    }

    /// The only piece, if nobody else has them.
    pub(super) fn into_one(this: Arc<Self>) -> Bytes {
        match Arc::try_unwrap(this) {
            Ok(mut alone) if alone.pieces.len() == 1 => alone.pieces.pop().unwrap_or_default(),
            Ok(alone) => alone.joined().clone(),
            Err(shared) => shared.joined().clone(),
        }
    }
}

impl Drop for Pieces {
    /// The last to have it may be an event loop, and 64 MiB take the system 0.6 to 9 ms.
    fn drop(&mut self) {
        let is_much = |it: &Bytes| it.len() >= MUCH_BYTES;
        if self.freed_elsewhere && self.pieces.iter().chain(self.joined.get()).any(is_much) {
            let held = (std::mem::take(&mut self.pieces), self.joined.take());
            offload::spawn(move || drop(held));
        }
    }
}

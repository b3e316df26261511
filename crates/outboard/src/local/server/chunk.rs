//! A piece of what is written to a worker: frames, with what goes beside them.

use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::outbox::{self, Outbox};
use crate::local::shm::{passing, sealed};
use crate::local::wire::{self, Call, Place, ToWorker};
use crate::os::socket::NO_SIGNAL;
use crate::value::payload::{Payload, SHARED_BYTES};

/// A buffer above this capacity is given back when it is empty.
const KEPT_BYTES: usize = 1 << 20;

/// From this size on a payload is copied on a thread of [`offload`](crate::offload).
pub(super) const HUGE_BYTES: usize = 4 << 20;

/// Bytes to be written.
#[derive(Debug)]
pub(super) enum Chunk {
    Frames(Vec<u8>),
    /// What the frame before announced.
    Payload(Payload),
    /// A frame with a descriptor beside it.
    Passing(Vec<u8>, Arc<OwnedFd>),
    /// A task whose arguments are still to be put somewhere.
    Large(Call, Payload),
}

impl Call {
    /// With its arguments in the frame.
    pub(super) fn framed(self, args: &[u8]) -> Chunk {
        Chunk::frame(&ToWorker::Run(self, Place::Frame), args)
    }

    /// With its arguments where they were put.
    pub(super) fn placed(self, place: Place) -> Chunk {
        Chunk::frame(&ToWorker::Run(self, place), &[])
    }

    /// With its arguments in a file of their own; if the system has none to
    /// give, in the frame.
    pub(super) fn with_file(self, args: &Payload) -> Chunk {
        let Ok(file) = sealed::create(args) else { return self.framed(args) };
        let mut frame = Vec::new();
        let place = Place::File { bytes: args.len() as u64 };
        wire::append(&mut frame, &ToWorker::Run(self, place), &[]);
        Chunk::Passing(frame, Arc::new(file))
    }
}

impl Chunk {
    /// A scattered value.
    pub(super) fn share(id: u64, file: Arc<OwnedFd>) -> Self {
        let mut frame = Vec::new();
        wire::append(&mut frame, &ToWorker::Share { id }, &[]);
        Self::Passing(frame, file)
    }

    /// What the next task receives items through.
    pub(super) fn feed(id: u64, end: Arc<OwnedFd>) -> Self {
        let mut frame = Vec::new();
        wire::append(&mut frame, &ToWorker::Feed { id }, &[]);
        Self::Passing(frame, end)
    }

    /// The end of a scattered value.
    pub(super) fn forget(id: u64) -> Self {
        Self::frame(&ToWorker::Forget { id }, &[])
    }

    /// The slot that the worker has from now on.
    pub(super) fn serve(slot: u32) -> Self {
        Self::frame(&ToWorker::Serve { slot }, &[])
    }

    fn frame(message: &ToWorker, payload: &[u8]) -> Self {
        let mut frame = Vec::new();
        wire::append(&mut frame, message, payload);
        Self::Frames(frame)
    }

    /// Whether it is much to copy.
    pub(super) fn is_huge(&self) -> bool {
        matches!(self, Self::Large(_, payload) if payload.len() >= HUGE_BYTES)
    }

    /// Sends some of it, from a byte on, without waiting.
    pub(super) fn send(&self, stream: impl AsFd, from: usize) -> Result<usize, Errno> {
        let flags = SendFlags::DONTWAIT | NO_SIGNAL;
        match self {
            Self::Passing(frame, fd) if from == 0 => {
                passing::send(stream, frame, &[fd.as_fd()], flags)
            }
            _ => send(stream, &self[from..], flags),
        }
    }
}

impl outbox::Chunk for Chunk {
    fn emptied(self) -> Option<Self> {
        match self {
            Self::Frames(mut bytes) if bytes.capacity() <= KEPT_BYTES => {
                bytes.clear();
                Some(Self::Frames(bytes))
            }
            _ => None,
        }
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::Frames(Vec::new())
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Frames(bytes) | Self::Passing(bytes, _) => bytes,
            Self::Payload(payload) | Self::Large(_, payload) => payload,
        }
    }
}

impl Outbox<Chunk> {
    /// Queues a frame; what would cost more to copy is a chunk of its own. No chunk is
    /// empty: its task would be answered before it counts as written.
    pub(super) fn append(&mut self, call: Call, payload: &Payload) {
        if payload.is_large() {
            return self.push(call.seq, Chunk::Large(call, payload.clone()));
        }
        let seq = call.seq;
        let message = ToWorker::Run(call, Place::Frame);
        self.append_frame(seq, payload, |out, bytes| wire::append_head(out, &message, bytes));
    }

    /// Queues a frame whose head is written by `head`, which is told how long the payload is.
    pub(super) fn append_frame(
        &mut self,
        seq: u64,
        payload: &Payload,
        head: impl FnOnce(&mut Vec<u8>, usize),
    ) {
        if !matches!(self.last_mut(), Some(Chunk::Frames(_))) {
            let empty = self.take_spare().unwrap_or_default();
            self.push(seq, empty);
        }
        let Some(Chunk::Frames(frames)) = self.last_mut() else { return };
        head(frames, payload.len());
        match payload {
            Payload::Shared(bytes) if bytes.len() >= SHARED_BYTES => {
                self.push(seq, Chunk::Payload(payload.clone()));
            }
            _ => {
                payload.pieces().for_each(|piece| frames.extend_from_slice(piece));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::wire::FunctionRef;
    use bytes::Bytes;

    #[test]
    fn no_chunk_is_empty() {
        let call = Call {
            seq: 1,
            function: FunctionRef::Index(0),
            attempt: 1,
            rest: 0,
            deadline_ns: 0,
            context: None,
        };
        for payload in [Bytes::new().into(), Bytes::from_static(b"few").into(), Vec::new().into()] {
            let mut outbox = Outbox::default();
            outbox.append(call.clone(), &payload);
            assert!(matches!(outbox.last_mut(), Some(Chunk::Frames(frame)) if !frame.is_empty()));
        }
        let mut outbox = Outbox::default();
        outbox.append(call, &Bytes::from(vec![7; SHARED_BYTES]).into());
        assert!(matches!(outbox.last_mut(), Some(Chunk::Payload(_))));
    }
}

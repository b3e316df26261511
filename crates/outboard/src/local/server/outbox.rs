//! Bytes on their way into one socket, in order, and whose turn it is to write
//! them.
//!
//! Whoever appends a chunk calls [`write`] afterwards. It takes the turn if
//! nobody has it, and keeps it until nothing is left, so that the lock is not
//! held while bytes are written, and yet no chunk is written twice, overtaken
//! or forgotten. If the socket is full, the turn stays taken, and whoever waits
//! for room calls [`resume`]. If it is broken, the turn is never given back:
//! nothing follows half a chunk.

use std::collections::VecDeque;
use std::ops::Deref;

/// Chunks that wait, and the turn.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    /// Somebody has the turn.
    writing: bool,
    /// What the one who has the turn could not write, and how much of it is
    /// written.
    rest: Option<(C, usize)>,
    /// With the number of the first task that has bytes in the chunk.
    queue: VecDeque<(u64, C)>,
    /// An empty chunk to fill next.
    spare: Option<C>,
}

/// Bytes to be written.
pub(super) trait Chunk: Deref<Target = [u8]> + Sized {
    /// An empty chunk made of one that is written, if that is worth keeping.
    fn emptied(self) -> Option<Self>;
}

/// A socket, and the lock that guards its outbox.
pub(super) trait Socket {
    type Chunk: Chunk;

    /// Does something to the outbox, with its lock held.
    fn with<R>(&self, change: impl FnOnce(&mut Outbox<Self::Chunk>) -> R) -> R;

    /// Makes a chunk what is sent, when its turn has come; or says why not now.
    fn prepare(&self, chunk: Self::Chunk) -> Result<Self::Chunk, (Self::Chunk, Unsent)> {
        Ok(chunk)
    }

    /// Sends some of a chunk, from a byte on, without waiting.
    fn send(&self, chunk: &Self::Chunk, from: usize) -> Result<usize, Unsent>;
}

/// Why bytes were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    Full,
    Broken,
    /// To prepare it would take long.
    Much,
}

/// Writes what is queued, unless somebody else is at it. After `Full` the
/// caller has the turn, and has to [`resume`] when there is room; after `Much`
/// too, when it has prepared the rest ([`change_rest`]).
pub(super) fn write<S: Socket>(socket: &S) -> Result<(), Unsent> {
    let turn = socket.with(Outbox::begin);
    write_from(socket, turn)
}

/// Goes on writing, after `Full`.
pub(super) fn resume<S: Socket>(socket: &S) -> Result<(), Unsent> {
    let turn = socket.with(|outbox| outbox.rest.take());
    write_from(socket, turn)
}

/// Changes what could not be written, of which nothing is written.
pub(super) fn change_rest<S: Socket>(socket: &S, change: impl FnOnce(S::Chunk) -> S::Chunk) {
    if let Some((chunk, written)) = socket.with(|outbox| outbox.rest.take()) {
        let chunk = change(chunk);
        socket.with(|outbox| outbox.rest = Some((chunk, written)));
    }
}

fn write_from<S: Socket>(socket: &S, mut turn: Option<(S::Chunk, usize)>) -> Result<(), Unsent> {
    while let Some((chunk, mut written)) = turn {
        let chunk = match socket.prepare(chunk) {
            Ok(chunk) => chunk,
            Err((chunk, unsent)) => {
                socket.with(|outbox| outbox.rest = Some((chunk, written)));
                return Err(unsent);
            }
        };
        while written < chunk.len() {
            match socket.send(&chunk, written) {
                Ok(sent) => written += sent,
                Err(unsent) => {
                    socket.with(|outbox| outbox.rest = Some((chunk, written)));
                    return Err(unsent);
                }
            }
        }
        turn = socket.with(|outbox| outbox.next(chunk));
    }
    Ok(())
}

impl<C: Chunk> Outbox<C> {
    /// Queues a chunk behind all others. `seq` is the first task that has bytes
    /// in it.
    pub(super) fn push(&mut self, seq: u64, chunk: C) {
        self.queue.push_back((seq, chunk));
    }

    /// The chunk that was queued last, if it still waits.
    pub(super) fn last_mut(&mut self) -> Option<&mut C> {
        self.queue.back_mut().map(|(_, chunk)| chunk)
    }

    /// A chunk that was written and emptied.
    pub(super) fn take_spare(&mut self) -> Option<C> {
        self.spare.take()
    }

    /// Whether writing the bytes of a task has begun.
    pub(super) fn has_begun(&self, seq: u64) -> bool {
        self.queue.front().is_none_or(|(first, _)| seq < *first)
    }

    /// Whether all is written.
    pub(super) fn is_idle(&self) -> bool {
        !self.writing && self.queue.is_empty()
    }

    /// Takes the turn, if there is something to write and nobody has it.
    fn begin(&mut self) -> Option<(C, usize)> {
        if self.writing { None } else { self.turn() }
    }

    /// The next chunk, after one that is written; gives the turn back if there
    /// is none.
    fn next(&mut self, written: C) -> Option<(C, usize)> {
        self.spare = written.emptied().or(self.spare.take());
        self.turn()
    }

    fn turn(&mut self) -> Option<(C, usize)> {
        let next = self.queue.pop_front().map(|(_, chunk)| (chunk, 0));
        self.writing = next.is_some();
        next
    }
}

impl<C> Default for Outbox<C> {
    fn default() -> Self {
        Self { writing: false, rest: None, queue: VecDeque::new(), spare: None }
    }
}

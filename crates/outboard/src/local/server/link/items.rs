//! The streams of one worker's tasks: where their items go, and what their readers took.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::Link;
use crate::ids::TaskId;
use crate::local::shm::answers::Nonsense;
use crate::local::shm::items::{self, Listener, Piece};
use crate::local::shm::page::Word;
use crate::task::progress::Progress;
use crate::value::channel::{self, Overrun, Source};
use crate::value::payload::{FEW_BYTES, Payload};

/// The streams of tasks that were sent to a worker and not answered, in order.
#[derive(Debug, Default)]
pub(super) struct Streams(VecDeque<Stream>);

#[derive(Clone, Debug)]
struct Stream {
    seq: u64,
    attempt: (TaskId, u32),
    source: Source,
}

impl Streams {
    pub(super) fn open(&mut self, seq: u64, attempt: (TaskId, u32), source: Source) {
        self.0.push_back(Stream { seq, attempt, source });
    }

    /// A task was answered, and those before it.
    pub(super) fn close(&mut self, seq: u64) {
        while self.0.front().is_some_and(|stream| stream.seq <= seq) {
            self.0.pop_front();
        }
    }
}

/// Tells a worker what the reader of one of its streams took.
#[derive(Debug)]
pub(super) struct Credit {
    link: Weak<Link>,
    seq: u64,
}

impl Credit {
    pub(super) fn of(link: Weak<Link>, seq: u64) -> Arc<dyn channel::Credit> {
        Arc::new(Self { link, seq })
    }
}

impl channel::Credit for Credit {
    fn taken(&self, total: u64) {
        if let Some(link) = self.link.upgrade() {
            link.page.set_credit(self.seq, total);
            items::wake(&link.page);
            link.give_credit(self.seq);
        }
    }
}

/// Puts pieces together, and items into their channels.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// An item of which more is to come.
    partial: Option<Partial>,
    /// Whole items of one task.
    whole: Vec<Payload>,
    /// Attempts whose first item has arrived.
    delivered: Vec<(TaskId, u32)>,
}

#[derive(Debug)]
struct Partial {
    seq: u64,
    bytes: Vec<u8>,
    filled: usize,
}

impl Hearing {
    /// Takes all that the worker wrote; how many items that were.
    pub(super) fn hear(
        &mut self,
        link: &Link,
        listener: &mut Listener,
        limit: usize,
    ) -> Result<usize, Nonsense> {
        if !listener.has_more(&link.page) {
            return Ok(0);
        }
        let (mut seq, mut items) = (0, 0);
        listener.hear(&link.arena, &link.page, |piece| {
            if piece.head.seq != seq {
                self.flush(link, seq)?;
                seq = piece.head.seq;
            }
            if let Some(item) = self.item(&piece, limit)? {
                self.whole.push(item);
                items += 1;
            }
            Ok(())
        })?;
        self.flush(link, seq)?;
        Ok(items)
    }

    /// Takes an item that came by itself.
    pub(super) fn hear_item(&mut self, link: &Link, seq: u64, item: &[u8]) -> Result<(), Nonsense> {
        self.whole.push(Payload::copy(item));
        self.flush(link, seq)
    }

    /// The attempts whose first item has arrived since the last time.
    pub(super) fn take_delivered(&mut self) -> Vec<(TaskId, u32)> {
        std::mem::take(&mut self.delivered)
    }

    /// Gives the items to their stream, whose reader is woken once for all.
    fn flush(&mut self, link: &Link, seq: u64) -> Result<(), Nonsense> {
        if self.whole.is_empty() {
            return Ok(());
        }
        let Stream { attempt, source, .. } = link.stream(seq).ok_or(Nonsense)?;
        if source.bring(&mut self.whole).map_err(|Overrun| Nonsense)? {
            self.delivered.push(attempt);
        }
        Ok(())
    }

    /// The item that a piece completes.
    fn item(&mut self, piece: &Piece<'_>, limit: usize) -> Result<Option<Payload>, Nonsense> {
        let head = piece.head;
        let rest = usize::try_from(head.rest).map_err(|_| Nonsense)?;
        // A task that ends meanwhile breaks its item off.
        let partial = self.partial.take().filter(|partial| partial.seq == head.seq);
        let mut partial = match partial {
            None if rest == 0 && head.bytes <= FEW_BYTES => {
                let mut few = [0; FEW_BYTES];
                piece.copy(&mut few[..head.bytes]);
                return Ok(Some(Payload::copy(&few[..head.bytes])));
            }
            None if rest == 0 => return Ok(Some(piece.to_vec().into())),
            None => {
                let bytes = head.bytes.checked_add(rest).filter(|bytes| *bytes <= limit);
                Partial { seq: head.seq, bytes: vec![0; bytes.ok_or(Nonsense)?], filled: 0 }
            }
            Some(partial) => partial,
        };
        let end = partial.filled + head.bytes;
        if head.bytes == 0 || partial.bytes.len().checked_sub(end) != Some(rest) {
            return Err(Nonsense);
        }
        piece.copy(&mut partial.bytes[partial.filled..end]);
        partial.filled = end;
        if rest == 0 {
            return Ok(Some(partial.bytes.into()));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

impl Link {
    /// How far a task says that it is.
    pub(in crate::local::server) fn progress(&self, task: TaskId) -> Option<Progress> {
        let seq = {
            let outgoing = &mut self.locked().outgoing;
            let batch = outgoing.find(task)?.batch;
            outgoing.voice(batch)?
        };
        self.page.progress(seq).map(Progress::from)
    }

    /// The stream of a task that was sent with that number and has started.
    fn stream(&self, seq: u64) -> Option<Stream> {
        let locked = self.locked();
        let stream = locked.outgoing.streams.0.iter().find(|stream| stream.seq == seq).cloned()?;
        (self.page.task(seq).read() != Some(Word::Sent)).then_some(stream)
    }
}

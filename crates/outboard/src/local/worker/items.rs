//! What a task sends before it ends: its items, on their way to the server.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

use super::current::{InWorker, is_forked, running, this_worker};
use super::relay;
use crate::local::shm::arena::Arena;
use crate::local::shm::items::{self, Head, PIECE_BYTES, Speaker};
use crate::task::stream;
use crate::value::channel::{Refused, cost, fits};
use crate::value::codec;
use crate::value::payload::Payload;

/// What the items are written to. Whoever waits for room holds it: a second thread of the
/// task would have to wait all the same.
static WRITER: Mutex<Writer> = Mutex::new(Writer { speaker: None, seq: 0, sent: 0 });

/// The task whose items are taken; 0 for none. A thread that waits for room looks at it, for
/// the task may end meanwhile.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// The arena's file, and the most bytes that an item may have.
static SHARED: OnceLock<(Arc<OwnedFd>, usize)> = OnceLock::new();

struct Writer {
    /// With a mapping of its own: that of arguments is another one when a task keeps some.
    speaker: Option<(Speaker, Arena)>,
    seq: u64,
    /// What the items of the task count that were sent.
    sent: u64,
}

fn lock() -> MutexGuard<'static, Writer> {
    WRITER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This worker shares that memory with its server.
pub(super) fn connect(arena: Arc<OwnedFd>, max_payload: usize) {
    let _ = SHARED.set((arena, max_payload));
}

/// The task that runs streams.
pub(super) fn outlet() -> Option<Arc<dyn stream::Outlet>> {
    let (worker, seq) = running().filter(|_| !is_forked())?;
    let (arena, limit) = SHARED.get()?;
    let mut writer = lock();
    if writer.speaker.is_none() {
        writer.speaker = Some((Speaker::default(), Arena::open(arena).ok()?));
    }
    if writer.seq != seq {
        (writer.seq, writer.sent) = (seq, 0);
    }
    OPEN.store(seq, Release);
    Some(Arc::new(Outlet { worker, seq, limit: *limit }))
}

/// The task has ended: nothing is written from now on.
pub(super) fn close() {
    if OPEN.load(Relaxed) == 0 {
        return;
    }
    OPEN.store(0, Release);
    if let Some(worker) = this_worker() {
        items::wake(&worker.page);
    }
    // A thread that the task left behind may be writing.
    drop(lock());
}

/// Where the items of one task go.
#[derive(Debug)]
struct Outlet {
    worker: &'static InWorker,
    seq: u64,
    limit: usize,
}

impl Outlet {
    /// Whether nobody takes its items any more.
    fn is_closed(&self) -> bool {
        OPEN.load(Acquire) != self.seq || self.worker.page.task(self.seq).is_stopping()
    }

    /// Waits until there is room, which there is at once if nobody takes items any more.
    fn wait(&self, has_room: impl Fn() -> bool) {
        items::wait(&self.worker.page, || self.is_closed() || has_room());
    }

    fn write(&self, writer: &mut Writer, item: &[u8]) -> Result<(), Refused> {
        let page = &self.worker.page;
        let (speaker, arena) = writer.speaker.as_mut().ok_or(Refused::Closed)?;
        let mut rest = item.len();
        // An empty item is a piece, too.
        let (first, more) = item.split_at(rest.min(PIECE_BYTES));
        for piece in [first].into_iter().chain(more.chunks(PIECE_BYTES)) {
            rest -= piece.len();
            self.wait(|| speaker.has_room(page, piece.len()));
            if self.is_closed() {
                return Err(Refused::Closed);
            }
            let head = Head { seq: self.seq, bytes: piece.len(), rest: rest as u64 };
            if speaker.say(arena, page, head, piece) {
                relay::ring();
            }
        }
        Ok(())
    }
}

impl stream::Outlet for Outlet {
    fn send(&self, item: &mut Option<Payload>, wait: bool) -> Result<(), Refused> {
        // A process that a task has forked has no say, and may have this mutex locked.
        if is_forked() {
            return Err(Refused::Closed);
        }
        let mut writer = match WRITER.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::WouldBlock) if !wait => return Err(Refused::Full),
            Err(TryLockError::WouldBlock) => lock(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let (page, sent) = (&self.worker.page, writer.sent);
        let cost = cost(item.as_ref().map_or(0, |item| item.len()));
        let has_room = || fits(sent.saturating_sub(page.credit(self.seq)), cost);
        if wait {
            self.wait(has_room);
        } else if !has_room() && !self.is_closed() {
            return Err(Refused::Full);
        }
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        let Some(item) = item.take() else { return Ok(()) };
        writer.sent += cost;
        let written = self.write(&mut writer, &item);
        drop(writer);
        codec::recycle(item);
        written
    }

    fn limit(&self) -> usize {
        self.limit
    }
}

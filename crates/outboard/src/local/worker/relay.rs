//! What a task says, on its way through the socket to the server.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bell::Bell;
use super::current::is_forked;
use crate::local::wire::{self, FromWorker};
use crate::task::outcome::Said;
use crate::trace;

/// What comes back of one task at most.
const MAX_EVENTS: u32 = 1_000;
const MAX_BYTES: usize = 256 << 10;

/// The socket, and the task that runs. A thread that a task has left behind says things
/// too. Between tasks there is nowhere to send them, and the worker's own thread writes
/// only then.
static SINK: Mutex<Option<Sink>> = Mutex::new(None);

struct Sink {
    socket: UnixStream,
    bell: Bell,
    /// The number of the task; 0 between tasks.
    seq: u64,
    events: u32,
    bytes: usize,
    dropped: u32,
    frame: Vec<u8>,
}

fn lock() -> MutexGuard<'static, Option<Sink>> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server wants events of that level or above.
pub(super) fn connect(socket: UnixStream, bell: Bell, level: u8) {
    let frame = Vec::new();
    *lock() = Some(Sink { socket, bell, seq: 0, events: 0, bytes: 0, dropped: 0, frame });
    trace::relay_to(level, send);
}

/// A task starts.
pub(super) fn open(seq: u64) {
    if trace::relays()
        && let Some(sink) = &mut *lock()
    {
        (sink.seq, sink.events, sink.bytes, sink.dropped) = (seq, 0, 0, 0);
    }
}

/// The task has ended: nothing is sent from now on. Whether anything was.
pub(super) fn close() -> bool {
    let mut sink = if trace::relays() { lock() } else { return false };
    if let Some(sink) = &mut *sink {
        if sink.dropped > 0 {
            let message = format!("{} more events of this task were dropped", sink.dropped);
            let target = "outboard".to_owned();
            sink.write(Said { level: 2, target, message, ..Said::default() });
        }
        sink.seq = 0;
        return sink.bytes > 0;
    }
    false
}

/// Sends an event, if a task runs and has not said too much. It is made
/// without the mutex: making it calls the user's code, which may say things.
fn send(said: &mut dyn FnMut() -> Said) {
    // A process that a task has forked has no say: the socket is the worker's.
    if is_forked() || !lock().as_mut().is_some_and(Sink::admits) {
        return;
    }
    let said = said();
    if let Some(sink) = lock().as_mut().filter(|sink| sink.seq > 0) {
        sink.write(said);
    }
}

/// Wakes the server, which sleeps, while a task runs: others may write to the socket too.
pub(super) fn ring() {
    if let Some(sink) = &mut *lock() {
        // Should the server be gone, this process will be.
        let _ = sink.bell.ring();
    }
}

impl Sink {
    fn admits(&mut self) -> bool {
        let full = self.events >= MAX_EVENTS || self.bytes >= MAX_BYTES;
        self.events += u32::from(!full);
        self.dropped += u32::from(full);
        self.seq > 0 && !full
    }

    /// Writes at once: what a task said before a crash is what one wants to
    /// know.
    fn write(&mut self, said: Said) {
        self.frame.clear();
        let message = FromWorker::Said { seq: self.seq, said };
        wire::append(&mut self.frame, &message, &[]);
        self.bytes += self.frame.len();
        if self.socket.write_all(&self.frame).is_err() {
            // The server is gone, and this process will be.
            self.seq = 0;
        }
    }
}

//! The worker's end: takes what a task says, and sends it to the server.

use std::fmt::Write as _;
use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::filter;
use crate::wire::Said;

/// The longest text of one message, target, field's name or value, in bytes, and
/// the most fields of one event: a frame has room for all of it.
const MAX_TEXT: usize = 3 << 10;
const MAX_FIELDS: usize = 16;

/// A layer for the subscriber of a worker: it sends the events of tasks to the
/// server. In a process that is no worker it does nothing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Relay;

/// The layer that sends the events of tasks to the server, for a worker that has
/// layers of its own beside it.
///
/// ```no_run
/// use tracing_subscriber::layer::SubscriberExt;
/// use tracing_subscriber::util::SubscriberInitExt;
///
/// outboard::init_with(|| {
///     tracing_subscriber::registry().with(outboard::trace::relay()).init();
/// });
/// ```
pub fn relay() -> Relay {
    Relay
}

/// Sets up a worker so that the events of its tasks come back to the server; to be
/// called in [`init_with`](crate::init_with). It installs a subscriber with
/// [`relay`] alone, unless the process has one already.
pub fn init_worker() {
    let _ = tracing_subscriber::registry().with(relay()).try_init();
}

impl<S: Subscriber> Layer<S> for Relay {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Of several layers the most verbose one counts.
        Some(filter(sink::level()))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if number(*event.metadata().level()) <= sink::level() {
            sink::send(|| said(event));
        }
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn said(event: &Event<'_>) -> Said {
    let metadata = event.metadata();
    let mut collected = Collected::default();
    event.record(&mut collected);
    Said {
        level: number(*metadata.level()),
        target: cut(metadata.target().to_owned()),
        message: cut(collected.message),
        fields: collected.fields,
    }
}

#[derive(Default)]
struct Collected {
    message: String,
    fields: Vec<(String, String)>,
}

impl Visit for Collected {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field, format_args!("{value:?}"));
    }
}

impl Collected {
    fn note(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            let _ = self.message.write_fmt(value);
        } else if self.fields.len() < MAX_FIELDS {
            self.fields.push((cut(field.name().to_owned()), cut(value.to_string())));
        }
    }
}

fn cut(mut text: String) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use sink::{close, connect, open};

#[cfg(all(feature = "local", target_os = "linux"))]
mod sink {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicU8;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use crate::wire::{self, FromWorker, Said};

    /// What comes back of one task at most.
    const MAX_EVENTS: u32 = 1_000;
    const MAX_BYTES: usize = 256 << 10;

    /// What is worth sending, from 0 (nothing) to 5; 0 in a server.
    static LEVEL: AtomicU8 = AtomicU8::new(0);

    /// The socket, and the task that runs. A thread that a task has left behind
    /// says things too: between tasks there is nowhere to send them, and the
    /// worker's own thread writes only then.
    static SINK: Mutex<Option<Sink>> = Mutex::new(None);

    struct Sink {
        socket: UnixStream,
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
    pub(crate) fn connect(socket: UnixStream, level: u8) {
        let frame = Vec::new();
        *lock() = Some(Sink { socket, seq: 0, events: 0, bytes: 0, dropped: 0, frame });
        LEVEL.store(level, Relaxed);
    }

    pub(super) fn level() -> u8 {
        LEVEL.load(Relaxed)
    }

    /// A task starts.
    pub(crate) fn open(seq: u64) {
        if level() > 0
            && let Some(sink) = &mut *lock()
        {
            (sink.seq, sink.events, sink.bytes, sink.dropped) = (seq, 0, 0, 0);
        }
    }

    /// The task has ended: nothing is sent from now on. Whether anything was.
    pub(crate) fn close() -> bool {
        let mut sink = if level() > 0 { lock() } else { return false };
        if let Some(sink) = &mut *sink {
            if sink.dropped > 0 {
                let message = format!("{} more events of this task were dropped", sink.dropped);
                let target = "outboard".to_owned();
                sink.write(Said { level: 2, target, message, fields: Vec::new() });
            }
            sink.seq = 0;
            return sink.bytes > 0;
        }
        false
    }

    /// Sends an event, if a task runs and has not said too much. It is made
    /// without the mutex: making it calls the user's code, which may say things.
    pub(super) fn send(said: impl FnOnce() -> Said) {
        if !lock().as_mut().is_some_and(Sink::admits) {
            return;
        }
        let said = said();
        if let Some(sink) = lock().as_mut().filter(|sink| sink.seq > 0) {
            sink.write(said);
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
}

#[cfg(not(all(feature = "local", target_os = "linux")))]
mod sink {
    use crate::wire::Said;

    pub(super) fn level() -> u8 {
        0
    }

    pub(super) fn send(_: impl FnOnce() -> Said) {}
}

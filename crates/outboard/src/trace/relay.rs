//! The worker's end: takes what a task says, and sends it to the server.

use std::fmt::Write as _;
use std::fmt::{self, Debug};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::filter;
use crate::task::outcome::Said;

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
        Some(filter(LEVEL.load(Relaxed)))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if number(*event.metadata().level()) <= LEVEL.load(Relaxed)
            && let Some(send) = SEND.get()
        {
            send(&mut || said(event));
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

/// What is worth sending, from 0 (nothing) to 5; 0 in a server.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// How a worker sends what a task says, which is made only if there is room for it.
static SEND: OnceLock<Send> = OnceLock::new();

type Send = fn(&mut dyn FnMut() -> Said);

/// This process is a worker, and its server wants events of that level or above.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) fn relay_to(level: u8, send: Send) {
    let _ = SEND.set(send);
    LEVEL.store(level, Relaxed);
}

/// Whether anything is worth sending.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) fn relays() -> bool {
    LEVEL.load(Relaxed) > 0
}

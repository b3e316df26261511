//! The worker's end: takes what a task says, and sends it to the server.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The layer of that.
#[cfg(feature = "trace")]
mod layer;

#[cfg(feature = "trace")]
pub use layer::{Relay, relay};

use super::filter;
use crate::task::outcome::{FieldValue, Said};

/// The longest text of one message, target, field's name or value, in bytes, and the most
/// fields of one event. A frame has room for all of it.
const MAX_TEXT: usize = 3 << 10;
pub(super) const MAX_FIELDS: usize = 16;

/// Sets up a worker so that the events of its tasks come back to the server; to be
/// called in [`init_with`](crate::init_with). It installs a subscriber that does
/// nothing else, unless the process has one already. For a worker that needs layers
/// of its own there is `relay`, with the feature `trace`.
pub fn init_worker() {
    let _ = tracing::subscriber::set_global_default(Alone);
}

/// Sends the events of tasks to the server, and keeps nothing: spans have no data that
/// anyone would read.
struct Alone;

impl Subscriber for Alone {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(*metadata.level()) <= LEVEL.load(Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter(LEVEL.load(Relaxed)))
    }

    fn event(&self, event: &Event<'_>) {
        forward(event);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Sends an event to the server, if it wants events of that level.
fn forward(event: &Event<'_>) {
    if number(*event.metadata().level()) <= LEVEL.load(Relaxed)
        && let Some(send) = SEND.get()
    {
        send(&mut || said(event));
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
    let mut said = Said {
        level: number(*metadata.level()),
        target: cut(metadata.target().to_owned()),
        file: metadata.file().map(|file| cut(file.to_owned())),
        line: metadata.line(),
        message: cut(collected.message),
        fields: collected.fields,
    };
    if said.target == "log" {
        restore_record(&mut said);
    }
    said
}

/// Gives an event that `tracing-log` made of a record of the crate `log` the record's own place,
/// which it has as fields.
fn restore_record(said: &mut Said) {
    let mut of_record = Vec::new();
    said.fields.retain_mut(|(name, value)| match name.strip_prefix("log.") {
        Some(name) => {
            of_record.push((name.to_owned(), std::mem::replace(value, FieldValue::Flag(false))));
            false
        }
        None => true,
    });
    for (name, value) in of_record {
        match (name.as_str(), value) {
            ("target", FieldValue::Text(target)) => said.target = target,
            ("file", FieldValue::Text(file)) => said.file = Some(file),
            ("line", FieldValue::Unsigned(line)) => said.line = u32::try_from(line).ok(),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Collected {
    message: String,
    fields: Vec<(String, FieldValue)>,
}

impl Visit for Collected {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, || FieldValue::Flag(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, || FieldValue::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, || FieldValue::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, || FieldValue::Float(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, || FieldValue::Text(cut(value.to_owned())));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.note(field, || FieldValue::Shown(cut(format!("{value:?}"))));
    }
}

impl Collected {
    fn note(&mut self, field: &Field, value: impl FnOnce() -> FieldValue) {
        if field.name() == "message" {
            self.message = value().to_string();
        } else if self.fields.len() < MAX_FIELDS {
            self.fields.push((cut(field.name().to_owned()), value()));
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
#[cfg(all(feature = "local", unix))]
pub(crate) fn relay_to(level: u8, send: Send) {
    let _ = SEND.set(send);
    LEVEL.store(level, Relaxed);
}

/// Whether anything is worth sending.
#[cfg(all(feature = "local", unix))]
pub(crate) fn relays() -> bool {
    LEVEL.load(Relaxed) > 0
}

//! What tasks logged in other processes, logged again in the caller's span.

use std::sync::Arc;

use tracing::field::{Field, Value, display};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, dispatcher};

use super::Origin;
use super::sites::Site;
use crate::ids::TaskId;
use crate::task::outcome::{FieldValue, Said};

/// How many fields of an event are logged again, and how many are added: which task, which
/// worker, which attempt.
const MAX_FIELDS: usize = super::relay::MAX_FIELDS;
const ADDED: usize = 3;

/// Those and the message.
const ALL_FIELDS: usize = 1 + MAX_FIELDS + ADDED;

/// An event of a task or about one, to be logged in the span of its submit.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) origin: Option<Arc<Origin>>,
    /// The task and its attempt; absent where a worker had none.
    pub(crate) attempt: Option<(TaskId, u32)>,
    pub(crate) worker: usize,
    pub(crate) said: Said,
}

impl Echo {
    /// Logs it. Not under a mutex: a subscriber may do what it likes.
    pub(crate) fn show(&self) {
        if level(self.said.level) > LevelFilter::current() {
            return;
        }
        let span = self.origin.as_ref().map(|origin| &origin.span);
        // The subscriber that has the span, which need not be this thread's.
        let owner = span.and_then(|span| span.with_subscriber(|(_, owner)| owner.clone()));
        match span.zip(owner) {
            // It is entered, for formatters list the current span and those around it.
            Some((span, owner)) => dispatcher::with_default(&owner, || {
                span.in_scope(|| self.log(&owner, true));
            }),
            None => dispatcher::get_default(|subscriber| self.log(subscriber, false)),
        }
    }

    fn log(&self, subscriber: &Dispatch, inside: bool) {
        match Site::of(&self.said, &self.names()) {
            Some(site) => self.log_at(site, subscriber, inside),
            None => self.log_as_text(),
        }
    }

    /// Of all fields, as [`values`](Self::values) has them.
    fn names(&self) -> Vec<&str> {
        let said = &self.said;
        let message = (!said.message.is_empty()).then_some("message");
        let own = said.fields.iter().take(MAX_FIELDS).map(|(name, _)| name.as_str());
        let mut names: Vec<&str> = message.into_iter().chain(own).collect();
        let added = self.added().map(|(name, _)| name);
        // A field of the task's own is not hidden.
        let added = added.filter(|name| !names.contains(name));
        let added: Vec<_> = added.collect();
        names.extend(added);
        names
    }

    fn added(&self) -> impl Iterator<Item = (&'static str, FieldValue)> {
        let attempt = self.attempt.into_iter().flat_map(|(task, attempt)| {
            [
                ("task", FieldValue::Shown(task.to_string())),
                ("attempt", FieldValue::Unsigned(attempt.into())),
            ]
        });
        attempt.chain([("worker", FieldValue::Unsigned(self.worker as u64))])
    }

    fn log_at(&self, site: &'static Site, subscriber: &Dispatch, inside: bool) {
        if !site.is_enabled(subscriber) {
            return;
        }
        let metadata = site.metadata();
        let fields: Vec<Field> = metadata.fields().iter().collect();
        let said = &self.said;
        let message = FieldValue::Shown(said.message.clone());
        let added: Vec<_> = self.added().collect();
        let known = said.fields.iter().take(MAX_FIELDS).map(|(name, value)| (name.as_str(), value));
        let known = known.chain(added.iter().map(|(name, value)| (*name, value)));
        let known: Vec<_> = [("message", &message)].into_iter().chain(known).collect();
        // The site has each of these names, and the first of equal ones counts.
        let value_of = |field: &Field| {
            known.iter().find(|(name, _)| *name == field.name()).map(|(_, value)| *value)
        };
        let shown: Vec<_> = fields.iter().map(|field| display(text(value_of(field)))).collect();
        let Some(first) = fields.first() else { return };
        let mut values: [(&Field, Option<&dyn Value>); ALL_FIELDS] = [(first, None); ALL_FIELDS];
        for (at, (place, field)) in values.iter_mut().zip(&fields).enumerate() {
            *place = (field, value_of(field).map(|value| recorded(value, &shown[at])));
        }
        let values = metadata.fields().value_set(&values);
        let event = match inside {
            true => Event::new(metadata, &values),
            false => Event::new_child_of(None, metadata, &values),
        };
        subscriber.event(&event);
    }

    /// With a place of ours, where no more can be made.
    fn log_as_text(&self) {
        let (said, attempt) = (&self.said, self.attempt);
        let (task, attempt) = (attempt.map(|(task, _)| display(task)), attempt.map(|(_, n)| n));
        let fields: Vec<_> =
            said.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "outboard::task",
                    Level::$level,
                    task,
                    attempt,
                    worker = self.worker,
                    target = said.target,
                    fields = fields.join(" "),
                    "{}",
                    said.message
                )
            };
        }
        match level(said.level) {
            Level::ERROR => event!(ERROR),
            Level::WARN => event!(WARN),
            Level::INFO => event!(INFO),
            Level::DEBUG => event!(DEBUG),
            Level::TRACE => event!(TRACE),
        }
    }
}

/// A level as it crosses the wire.
pub(super) fn level(number: u8) -> Level {
    match number {
        0 | 1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

fn text(value: Option<&FieldValue>) -> &str {
    match value {
        Some(FieldValue::Shown(text)) => text,
        _ => "",
    }
}

/// The value as it was recorded; `shown` is its text, if it is that.
fn recorded<'a>(value: &'a FieldValue, shown: &'a dyn Value) -> &'a dyn Value {
    match value {
        FieldValue::Flag(value) => value,
        FieldValue::Signed(value) => value,
        FieldValue::Unsigned(value) => value,
        FieldValue::Float(value) => value,
        FieldValue::Text(value) => value,
        FieldValue::Shown(_) => shown,
    }
}

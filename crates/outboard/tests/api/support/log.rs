//! What a server says in its log.

use std::fmt::Debug;
use std::path::PathBuf;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::scratch::note;

/// Has all warnings and errors of this process noted as `log`, a line each.
pub(crate) fn note_log(at: PathBuf) {
    let log = tracing_subscriber::registry().with(Notes(at));
    tracing::subscriber::set_global_default(log).unwrap();
}

struct Notes(PathBuf);

impl<S: Subscriber> Layer<S> for Notes {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            note(&self.0, "log", &line.0.replace('\n', " "));
        }
    }
}

/// All fields of an event.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

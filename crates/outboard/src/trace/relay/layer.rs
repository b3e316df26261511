//! A layer of `tracing-subscriber` that sends the events of tasks to the server.

use std::sync::atomic::Ordering::Relaxed;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::{LEVEL, forward};
use crate::trace::filter;

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

impl<S: Subscriber> Layer<S> for Relay {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Of several layers the most verbose one counts.
        Some(filter(LEVEL.load(Relaxed)))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        forward(event);
    }
}

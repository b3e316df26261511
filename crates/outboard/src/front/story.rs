//! What happened to one task, event by event.

use std::fmt;
use std::time::Duration;

use crate::ids::TaskId;
use crate::observe::event::{Event, EventKind};
use crate::observe::record::Excerpt;

/// What happened to one task, from [`Admin::story`](crate::admin::Admin::story).
///
/// `Display` has a line for each event.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Story {
    /// The task.
    pub task: TaskId,
    /// The events of the task that are still kept, the oldest first. If its worker was
    /// lost while it ran the task, that event is among them.
    pub events: Vec<Event>,
    /// Whether the beginning is still kept.
    pub whole: bool,
}

impl Story {
    /// The events of one task, of all that are kept; `None` if there are none.
    pub(crate) fn of(task: TaskId, kept: &Excerpt) -> Option<Self> {
        let mut worker = None;
        let mut events = Vec::new();
        for event in kept.of(task) {
            let lost = matches!(event.kind, EventKind::WorkerLost { .. });
            if event.kind.task() == Some(task) {
                if let EventKind::Started { worker: number, .. } = event.kind {
                    worker = Some(number);
                }
                if let EventKind::Ended { .. } | EventKind::Retried { .. } = event.kind {
                    worker = None;
                }
                events.push(event);
            } else if lost && worker.is_some() && event.kind.worker() == worker {
                events.push(event);
            }
        }
        let first = events.first()?;
        let whole = matches!(first.kind, EventKind::Taken { .. });
        Some(Self { task, events, whole })
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.events.first().map_or(Duration::ZERO, |event| event.at);
        write!(f, "task {}", self.task)?;
        for event in &self.events {
            write!(f, "\n  +{:?}: {}", event.at - start, event.kind)?;
        }
        Ok(())
    }
}

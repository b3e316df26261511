//! Traces that cross from the request to its task and back.
//!
//! A task belongs to the span in which it was submitted. Two things travel:
//!
//! - **The context**, to the task. A span `task` is open while a task runs. On the engine
//!   `inline` it is a child of the caller's span. In a worker process it is a child of the
//!   caller's trace, if [`propagate`] was told how a span's context is written down. For
//!   OpenTelemetry that is a W3C `traceparent`.
//! - **Events**, back to the caller. What a task in a worker process logs with `tracing`
//!   appears in the server while the task runs, inside the caller's span. So what it logged
//!   before a crash is there. Workers need a relay for that: their setup calls
//!   [`init_worker`] or, with layers of its own, adds `relay` (feature `trace`):
//!
//! ```no_run
//! outboard::init_with(outboard::trace::init_worker);
//! ```
//!
//! Events have the target `outboard::task` and their own level. Their fields are `task`,
//! `worker`, `attempt`, `target` (the original one) and `fields` (`name=value`, as text).
//! Levels that the server does not show are not sent. One task may send 1,000 events and
//! 256 KiB; a last event says how many were dropped.
//!
//! On a cluster events arrive with the task's end, the last 32 KiB of them. So there are
//! none of a task that was cancelled, timed out, or lost with its whole worker. The process
//! of the native worker shows them while the task runs, in a span `cluster_task`. Its
//! fields are `function`, `key` (the cluster's) and `context` (the caller's trace). What is
//! sent is what that process shows, and at least `INFO`.
//!
//! A panic and a lost worker are events of level error in the caller's span. That holds on
//! every engine, without any setup of workers.
//!
//! Without a subscriber in the server, all this costs a submit one look for a span.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tracing::Span;
use tracing::level_filters::LevelFilter;

use crate::ids::TaskId;
use crate::task::outcome::Said;

/// Tasks whose callers are on other machines.
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
mod elsewhere;
mod relay;

pub use relay::init_worker;
#[cfg(feature = "trace")]
pub use relay::{Relay, relay};
#[cfg(all(feature = "local", unix))]
pub(crate) use relay::{relay_to, relays};

/// How a span's context is written down, and read.
#[derive(Clone, Copy, Debug)]
struct Propagator {
    inject: fn(&Span) -> Option<String>,
    extract: fn(&Span, &str),
}

static PROPAGATOR: OnceLock<Propagator> = OnceLock::new();

/// Sets how the context of a span is written down, and how it becomes a span's parent.
///
/// Call it once, before [`init`](crate::init), so that the server and its workers have it.
///
/// `inject` is called at each submit inside a span, and `extract` in the worker
/// with the span of the task, which is not entered yet. A later call changes
/// nothing.
///
/// # Examples
///
/// With OpenTelemetry, as in `examples/trace.rs`:
///
/// ```ignore
/// fn inject(span: &tracing::Span) -> Option<String> {
///     let mut carrier = HashMap::new();
///     TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
///     carrier.remove("traceparent")
/// }
///
/// fn extract(span: &tracing::Span, context: &str) {
///     let carrier = HashMap::from([("traceparent".to_owned(), context.to_owned())]);
///     let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
/// }
///
/// outboard::trace::propagate(inject, extract);
/// ```
pub fn propagate(inject: fn(&Span) -> Option<String>, extract: fn(&Span, &str)) {
    let _ = PROPAGATOR.set(Propagator { inject, extract });
}

/// The span in which a task was submitted.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) span: Span,
    /// Its context as a worker process takes it.
    pub(crate) context: Option<String>,
    /// What a caller in another process is to be told, if it is one.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    kept: Option<elsewhere::Kept>,
}

impl Origin {
    /// That of a submit here and now; `None` where nobody listens.
    pub(crate) fn current() -> Option<Arc<Self>> {
        if LevelFilter::current() == LevelFilter::OFF {
            return None;
        }
        let span = Span::current();
        if span.is_none() {
            return None;
        }
        let context = PROPAGATOR.get().and_then(|propagator| (propagator.inject)(&span));
        Some(Arc::new(Self {
            span,
            context,
            #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
            kept: None,
        }))
    }
}

/// The span of a task that runs in this process, as a child of the caller's.
pub(crate) fn child(parent: &Span, function: &'static str, attempt: u32, worker: usize) -> Span {
    tracing::info_span!(target: "outboard", parent: parent, "task", function, attempt, worker)
}

/// The span of a task that runs in a worker process.
#[cfg(all(feature = "local", unix))]
pub(crate) fn remote(context: Option<&str>, function: &'static str, attempt: u32) -> Span {
    let span = tracing::info_span!(target: "outboard", parent: None, "task", function, attempt);
    adopt(&span, context);
    span
}

/// Makes a new span part of the trace with that context.
#[cfg(all(feature = "local", unix))]
fn adopt(span: &Span, context: Option<&str>) {
    if let (Some(context), Some(propagator)) = (context, PROPAGATOR.get())
        && !span.is_disabled()
    {
        (propagator.extract)(span, context);
    }
}

/// Levels as they cross the wire.
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// `INFO`, among those.
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
pub(crate) const INFO: u8 = 3;

/// The most verbose level that this process shows, from 0 (none) to 5.
#[cfg(any(feature = "dask", all(feature = "local", unix)))]
pub(crate) fn level() -> u8 {
    LEVELS.iter().position(|level| *level == LevelFilter::current()).unwrap_or(5) as u8
}

fn filter(level: u8) -> LevelFilter {
    LEVELS.get(usize::from(level)).copied().unwrap_or(LevelFilter::TRACE)
}

/// An event of a task, to be shown in the span that asked for it.
#[derive(Debug)]
pub(crate) struct Echo {
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) task: TaskId,
    pub(crate) worker: usize,
    pub(crate) attempt: u32,
    pub(crate) said: Said,
}

impl Echo {
    /// Shows it. Not under a mutex: a subscriber may do what it likes.
    pub(crate) fn show(&self) {
        let none = Span::none();
        let span = self.origin.as_ref().map_or(&none, |origin| &origin.span);
        // A span of no trace has no parent to give.
        let parent = span.id();
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "outboard::task",
                    parent: parent,
                    tracing::Level::$level,
                    task = %self.task,
                    worker = self.worker,
                    attempt = self.attempt,
                    target = %self.said.target,
                    fields = %Fields(&self.said.fields),
                    "{}",
                    self.said.message
                )
            };
        }
        match self.said.level {
            0 | 1 => event!(ERROR),
            2 => event!(WARN),
            3 => event!(INFO),
            4 => event!(DEBUG),
            _ => event!(TRACE),
        }
    }
}

/// `name=value`, with spaces between.
struct Fields<'a>(&'a [(String, String)]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (name, value) in self.0 {
            write!(f, "{space}{name}={value}")?;
            space = " ";
        }
        Ok(())
    }
}

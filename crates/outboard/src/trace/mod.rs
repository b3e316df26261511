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
//! An event has the target, the level and the fields that it has in the worker. So a filter
//! such as `warn,app=info` holds in tasks too. It is logged inside the span of the submit, and
//! formatters list all spans around it. Fields `task`, `attempt` and `worker` are added, unless
//! the event has such a field. What was logged by the crate `log` and `tracing-log` has the
//! target of its record.
//!
//! Levels that the server does not show are not sent. One task may send 1,000 events and
//! 256 KiB; a last event says how many were dropped. Of one event, 16 fields are sent, and 3 KiB
//! of each text. Events of the first 1,024 places that log have their own target. Those of
//! others have `outboard::task`, with the original one as `target`, and the fields as one text.
//!
//! On a cluster events arrive with the task's end, the last 32 KiB of them. So there are
//! none of a task that was cancelled, timed out, or lost with its whole worker. The process
//! of the native worker shows them while the task runs, in a span `cluster_task`. Its
//! fields are `function`, `key` (the cluster's) and `context` (the caller's trace). What is
//! sent is what that process shows, and at least `INFO`.
//!
//! A panic and a lost worker are one event each, with the target `outboard` and the level
//! error, in the caller's span. That holds on every engine, without any setup of workers.
//! Both have the field `function`. A panic has `panic`, `location`, and with `RUST_BACKTRACE` its
//! `backtrace`. A lost worker has `kind`, `pid` and `stderr`, the end of what the task wrote there.
//!
//! Without a subscriber in the server, all this costs a submit one look for a span.

use std::sync::{Arc, OnceLock};

use tracing::Span;
use tracing::level_filters::LevelFilter;

mod echo;
/// Tasks whose callers are on other machines.
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
mod elsewhere;
mod output;
mod relay;
mod sites;

pub(crate) use echo::Echo;
pub use output::{WorkerLine, WorkerOutput};
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

//! Where what workers write to stdout and stderr goes.

use std::fmt;
use std::sync::Arc;

use crate::task::execute::Panics;

/// Where the lines go that workers write to stdout and stderr.
///
/// Set it with [`LocalBuilder::output`](crate::LocalBuilder::output), or in a URL:
/// `local://?output=events`. It is for what tasks and libraries print. What tasks log with
/// `tracing` comes as events in any case, if workers [relay](crate::trace) it.
///
/// Lines that nobody takes in time are dropped, and their number is said. Bytes that are not
/// UTF-8 are replaced in events and for a function.
#[derive(Clone, Default)]
pub struct WorkerOutput(Destination);

#[derive(Clone, Default)]
enum Destination {
    #[default]
    Prefixed,
    Raw,
    Events,
    Call(Arc<dyn Fn(WorkerLine<'_>) + Send + Sync>),
}

/// A line that a worker wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerLine<'a> {
    /// The worker's number.
    pub worker: usize,
    /// Whether it went to stderr, and not to stdout.
    pub is_stderr: bool,
    /// The line, without its end. One above 8 KiB comes in pieces.
    pub text: &'a str,
}

impl WorkerOutput {
    /// Each line goes to the server's own stdout or stderr with the worker's number before it:
    /// `[worker 2] text`. This is the default.
    pub fn prefixed() -> Self {
        Self(Destination::Prefixed)
    }

    /// Each line goes to the server's own stdout or stderr as it is, for lines that a program
    /// reads, such as JSON. Lines above 8 KiB may be mixed with those of other workers.
    pub fn raw() -> Self {
        Self(Destination::Raw)
    }

    /// Each line is an event of `tracing`, with the target `outboard::worker` and the fields
    /// `worker` and `stream`. Its level is `INFO` for stdout, and `WARN` for stderr. It has no
    /// span: whose line it is cannot be told.
    ///
    /// A panic of a task is one event with its message and place, in the caller's span. So the
    /// standard library's own lines about it are not written, as far as it ends the task. A
    /// hook that the program sets in [`init_with`](crate::init_with) or `#[on_start]` is called.
    ///
    /// Without a subscriber nothing is seen of all this.
    pub fn events() -> Self {
        Self(Destination::Events)
    }

    /// Calls a function for each line, on a thread for that. While it runs, other lines wait.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), outboard::Error> {
    /// use outboard::Client;
    /// use outboard::trace::WorkerOutput;
    ///
    /// let output = WorkerOutput::call(|line| println!("{}: {}", line.worker, line.text));
    /// let client = Client::local().output(output).await?;
    /// # Ok(()) }
    /// ```
    pub fn call(function: impl Fn(WorkerLine<'_>) + Send + Sync + 'static) -> Self {
        Self(Destination::Call(Arc::new(function)))
    }

    /// That which a URL names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "prefixed" => Self::prefixed(),
            "raw" => Self::raw(),
            "events" => Self::events(),
            _ => return None,
        })
    }

    /// What is before each line of a worker that goes to the server's own output.
    pub(crate) fn prefix(&self, worker: usize) -> String {
        match self.0 {
            Destination::Prefixed => format!("[worker {worker}] "),
            _ => String::new(),
        }
    }

    /// Whether lines are passed on byte for byte.
    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.0, Destination::Raw)
    }

    pub(crate) fn panics(&self) -> Panics {
        match self.0 {
            Destination::Events => Panics::Logged,
            _ => Panics::Printed,
        }
    }

    /// Takes a line, unless it is for the server's own output.
    pub(crate) fn take(&self, line: WorkerLine<'_>) -> bool {
        match &self.0 {
            Destination::Prefixed | Destination::Raw => return false,
            Destination::Events => log(line),
            Destination::Call(function) => function(line),
        }
        true
    }
}

fn log(WorkerLine { worker, is_stderr, text }: WorkerLine<'_>) {
    const TARGET: &str = "outboard::worker";
    match is_stderr {
        true => tracing::warn!(target: TARGET, worker, stream = "stderr", "{text}"),
        false => tracing::info!(target: TARGET, worker, stream = "stdout", "{text}"),
    }
}

impl fmt::Debug for WorkerOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Destination::Prefixed => "prefixed",
            Destination::Raw => "raw",
            Destination::Events => "events",
            Destination::Call(_) => "call",
        })
    }
}

//! A caller that looks for its answer for a moment, before it sleeps for it.
//!
//! To be woken takes longer than a short task. So a future that is polled while its task runs
//! looks at what the worker writes, and takes its answer itself. Between looks it yields, so
//! other futures of its event loop go on.

use std::fmt::Debug;
use std::hint::spin_loop;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What a worker answers, to be looked at.
pub(crate) trait Answers: Debug + Send + Sync {
    /// Someone looks from now on; `false` if nobody may.
    fn watch(&self) -> bool;

    /// Takes what is there, and tells the gate; whether something was.
    fn hear(&self) -> bool;

    /// Nobody looks any more. It was looked for so long, and ended like that.
    fn unwatch(&self, spun: Duration, how: Spun);
}

/// How a look has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spun {
    /// With the answer.
    Found,
    /// Without it.
    InVain,
    /// Too much else was to be done.
    Ousted,
    /// Its caller has left.
    Left,
}

/// How often is looked before the event loop goes on: about a microsecond.
const READS: u32 = 16;

/// A look of the event loop's that comes so late says that there is other work.
const LATE: Duration = Duration::from_micros(100);

/// One caller's look.
#[derive(Debug)]
pub(crate) struct Spin {
    answers: Arc<dyn Answers>,
    /// How long it lasts at most.
    limit: Duration,
    /// When it began, and when it was last looked.
    since: Option<(Instant, Instant)>,
}

impl Spin {
    pub(crate) fn new(answers: Arc<dyn Answers>, limit: Duration) -> Self {
        Self { answers, limit, since: None }
    }

    /// Spins, and takes what is there; whether to look again.
    pub(crate) fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        let (begin, last) = match self.since {
            Some(since) => since,
            None if self.answers.watch() => (now, now),
            None => return false,
        };
        self.since = Some((begin, now));
        if now.duration_since(last) >= LATE {
            self.end(now, Spun::Ousted);
            return false;
        }
        for _ in 0..READS {
            if self.answers.hear() {
                return true;
            }
            spin_loop();
        }
        let goes_on = now.duration_since(begin) < self.limit;
        if goes_on {
            // The worker may be in line for this very core.
            std::thread::yield_now();
        } else {
            self.end(now, Spun::InVain);
        }
        goes_on
    }

    /// The answer is there.
    pub(crate) fn found(mut self) {
        self.end(Instant::now(), Spun::Found);
    }

    fn end(&mut self, now: Instant, how: Spun) {
        if let Some((begin, _)) = self.since.take() {
            self.answers.unwatch(now.duration_since(begin), how);
        }
    }
}

impl Drop for Spin {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.end(Instant::now(), Spun::Left);
        }
    }
}

/// Has this task polled again, after all else that its event loop has to do.
pub(crate) fn come_back(context: &mut Context<'_>) {
    let again = pin!(tokio::task::yield_now());
    // It is woken once the loop has looked at all else.
    let _: Poll<()> = again.poll(context);
}

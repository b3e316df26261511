//! What a caller sees of a task's progress.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Weak;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::Stream;
use tokio::time::{Instant, Sleep, sleep};

use super::future::Status;
use crate::engine::owner::Owner;
use crate::engine::pools::PoolId;
use crate::ids::WaiterId;
use crate::task::progress::Progress;

/// How often a task's progress is looked at. Tasks tell nobody: that keeps it cheap.
const INTERVAL: Duration = Duration::from_millis(50);

/// The progress of one task, a `Stream` of [`Progress`] made by
/// [`TaskFuture::progress`](crate::TaskFuture::progress).
///
/// It gives the latest value, at most twenty times a second and only if it is another than
/// before. It ends with the task, whose last value may not be seen. On a cluster the first value
/// may come a second late.
///
/// # Panics
///
/// Outside a tokio runtime that has its timer enabled.
#[must_use = "streams do nothing unless polled"]
pub struct TaskProgress {
    task: Option<(Weak<Owner>, PoolId, WaiterId)>,
    last: Option<Progress>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl TaskProgress {
    pub(super) fn of(task: Option<(Weak<Owner>, PoolId, WaiterId)>) -> Self {
        Self { task, last: None, pause: None }
    }

    /// The next value; `None` once the task has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future loses nothing.
    pub async fn next(&mut self) -> Option<Progress> {
        let mut stream = pin!(self);
        poll_fn(|context| stream.as_mut().poll_next(context)).await
    }

    /// What the task says at this moment; `None` if it has said nothing, or has ended.
    ///
    /// It waits for nothing, needs no runtime, and does not change what the stream gives.
    pub fn now(&self) -> Option<Progress> {
        self.look().flatten()
    }

    /// How far the task has come; see [`TaskFuture::status`](crate::TaskFuture::status).
    pub fn status(&self) -> Status {
        let stage = self
            .task
            .as_ref()
            .and_then(|(owner, pool, waiter)| owner.upgrade()?.pool(*pool).stage(*waiter));
        Status::at(stage)
    }

    /// What the task says now; `None` once it has ended.
    fn look(&self) -> Option<Option<Progress>> {
        let (owner, pool, waiter) = self.task.as_ref()?;
        owner.upgrade()?.pool(*pool).progress(*waiter)
    }
}

impl Stream for TaskProgress {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Progress>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
            }
            let Some(now) = self.look() else {
                self.task = None;
                return Poll::Ready(None);
            };
            let next = Instant::now() + INTERVAL;
            match &mut self.pause {
                Some(pause) => pause.as_mut().reset(next),
                pause => *pause = Some(Box::pin(sleep(INTERVAL))),
            }
            if now.is_some() && now != self.last {
                self.last.clone_from(&now);
                return Poll::Ready(now);
            }
        }
    }
}

impl fmt::Debug for TaskProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskProgress").field("last", &self.last).finish_non_exhaustive()
    }
}

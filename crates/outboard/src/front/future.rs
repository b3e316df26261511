//! The caller's handle of a task, and ways to await several.

use std::any::type_name;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::TryFutureExt;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot::{self, error::RecvError};

use crate::engine::gate::Ticket;
use crate::engine::owner::Owner;
use crate::engine::pools::PoolId;
use crate::engine::spin::{Spin, come_back};
use crate::error::{Error, Stage, Step};
use crate::front::progress::TaskProgress;
use crate::ids::{TaskId, WaiterId};
use crate::sched::ledger::{Reply, Report};
use crate::task::function::Decoding;
use crate::value::codec::ValueError;
use crate::value::payload::Payload;

/// The result of a submitted task, to be awaited.
///
/// The submit itself has started or queued the task; awaiting only waits. The output is
/// `Result<T, Error>`, where `T` is exactly what the task function returns.
///
/// # Drop
///
/// Dropping the future **cancels** the task. If it has not started, it never will. If it
/// runs on the `local` engine, its worker process is killed and replaced, so its CPU is
/// free again. Other tasks are not harmed.
///
/// A web framework drops a handler's future when the browser leaves, so the work stops
/// too; use [`detach`](Self::detach) where it should go on. A task that several futures
/// share is cancelled when the last one is dropped.
///
/// Cancelling is a race: the task may end before the cancel reaches it, and
/// may then have had its effects.
///
/// # Cancel safety
///
/// Awaiting `&mut future`, for example in `tokio::select!`, loses nothing: the
/// result is still there at the next await.
///
/// # Panics
///
/// Polling again after the result was taken panics.
#[must_use = "dropping a TaskFuture cancels its task: await it, or call `.detach()`"]
pub struct TaskFuture<T> {
    id: Option<TaskId>,
    state: State<T>,
    decode: Decode<T>,
}

/// Decodes what the task function returned.
type Decode<T> = fn(Payload) -> Decoding<T>;

enum State<T> {
    Pending {
        receiver: oneshot::Receiver<Result<Reply, Error>>,
        waiter: WaiterId,
        owner: Arc<Owner>,
        pool: PoolId,
        spin: Option<Spin>,
    },
    /// Boxed: it is seldom kept, and futures that wait should be small.
    Finished(Box<Result<Reply, Error>>),
    /// The result is large, and is decoded on another thread.
    Decoding(oneshot::Receiver<Result<T, ValueError>>),
    Taken,
}

impl<T> State<T> {
    fn finished(result: Result<Reply, Error>) -> Self {
        Self::Finished(Box::new(result))
    }
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It waits for a worker, or is next in line at one.
    Queued,
    /// A worker executes it.
    Running,
    /// It has ended: its result, or error, can be taken without waiting.
    Finished,
}

impl Status {
    /// Of a task that is at a stage, or has ended.
    pub(super) fn at(stage: Option<Stage>) -> Self {
        match stage {
            Some(Stage::Queued) => Self::Queued,
            Some(Stage::Running) => Self::Running,
            None => Self::Finished,
        }
    }
}

impl<T> TaskFuture<T> {
    pub(crate) fn new(
        owner: Arc<Owner>,
        submitted: Result<(PoolId, Ticket), Error>,
        decode: Decode<T>,
    ) -> Self {
        let (id, state) = match submitted {
            Ok((pool, Ticket { waiter, task, receiver, spin })) => {
                (Some(task), State::Pending { receiver, waiter, owner, pool, spin })
            }
            Err(error) => (None, State::finished(Err(error))),
        };
        Self { id, state, decode }
    }

    /// The task's name in events, stories and snapshots.
    ///
    /// `None` if the submit was refused, so that there is no task. Futures that share a
    /// task have the same.
    pub fn id(&self) -> Option<TaskId> {
        self.id
    }
}

impl<T> TaskFuture<T> {
    /// Cancels the task, as dropping the future does.
    ///
    /// Awaiting it then gives an error of kind [`Cancelled`](crate::ErrorKind::Cancelled),
    /// unless the task had ended before.
    pub fn cancel(&self) {
        if let State::Pending { waiter, owner, pool, .. } = &self.state {
            owner.pool(*pool).cancel(*waiter);
        }
    }

    /// Lets the task go on without a caller that waits ("fire and forget").
    ///
    /// It still ends with the engine: at a [`shutdown`](crate::Client::shutdown), and with
    /// this process. Nobody sees an error.
    pub fn detach(mut self) {
        self.state = State::Taken;
    }

    /// How far the task has come.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Pending { receiver, waiter, owner, pool, .. } if receiver.is_empty() => {
                Status::at(owner.pool(*pool).stage(*waiter))
            }
            _ => Status::Finished,
        }
    }

    /// The task's progress, as it says it with [`outboard::progress`](crate::progress).
    ///
    /// The stream holds no task and no client, and can be read beside the future.
    pub fn progress(&self) -> TaskProgress {
        TaskProgress::of(match &self.state {
            State::Pending { waiter, owner, pool, .. } => {
                Some((Arc::downgrade(owner), *pool, *waiter))
            }
            _ => None,
        })
    }

    /// Whether the result can be taken without waiting.
    pub fn is_finished(&self) -> bool {
        self.status() == Status::Finished
    }

    /// Waits until the task has ended, and takes its result.
    fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, Error>> {
        let result = match &mut self.state {
            State::Pending { receiver, owner, spin, .. } => match owner.gate().refuse_if_forked() {
                Ok(()) => {
                    ready!(poll_spinning(receiver, spin, context)).unwrap_or_else(|_| Err(gone()))
                }
                Err(error) => Err(error),
            },
            _ => self.take(),
        };
        self.state = State::Taken;
        Poll::Ready(result)
    }

    /// Waits until the task has ended, and keeps its result; gives whether it failed.
    fn poll_finished(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if let State::Pending { .. } = &self.state {
            self.state = State::finished(ready!(self.poll_reply(context)));
        }
        Poll::Ready(matches!(&self.state, State::Finished(result) if result.is_err()))
    }

    /// Waits until the task has ended; gives why it failed, and keeps its result.
    pub(super) fn poll_error(&mut self, context: &mut Context<'_>) -> Poll<Option<Error>> {
        self.poll_finished(context).map(|_| match &self.state {
            State::Finished(result) => result.as_ref().as_ref().err().cloned(),
            _ => None,
        })
    }

    /// Ends the task because its stream sent nothing for so long.
    pub(super) fn end_idle(&self, pause: Duration) {
        if let State::Pending { waiter, owner, pool, .. } = &self.state {
            owner.pool(*pool).leave_idle(*waiter, pause);
        }
    }

    /// Whether there is no result yet.
    fn is_pending(&self) -> bool {
        matches!(&self.state, State::Pending { receiver, .. } if receiver.is_empty())
    }

    /// Awaits the encoded result.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) async fn encoded(mut self) -> Result<Reply, Error> {
        poll_fn(|context| self.poll_reply(context)).await
    }

    fn take(&mut self) -> Result<Reply, Error> {
        match std::mem::replace(&mut self.state, State::Taken) {
            State::Finished(result) => *result,
            _ => panic!("a TaskFuture was polled after it gave its result"),
        }
    }
}

impl<T: DeserializeOwned> TaskFuture<T> {
    /// Blocks this thread until the task has ended, for code that is not async.
    ///
    /// Results arrive on the runtime that made the client, so that runtime has to run
    /// meanwhile. A current-thread runtime runs only while some other thread is inside its
    /// `block_on`.
    ///
    /// # Errors
    ///
    /// As awaiting gives.
    ///
    /// # Panics
    ///
    /// Inside an async runtime, whose thread it would block: await there.
    pub fn wait(mut self) -> Result<T, Error> {
        if let State::Pending { receiver, owner, .. } = &mut self.state {
            owner.gate().refuse_if_forked()?;
            // The state stays as it is: should blocking panic, the drop cancels.
            let receiver = std::mem::replace(receiver, oneshot::channel().1);
            self.state = State::finished(receiver.blocking_recv().unwrap_or_else(|_| Err(gone())));
        }
        let reply = self.take()?;
        match (self.decode)(reply.payload) {
            Decoding::Done(result) => decoded(result),
            Decoding::Elsewhere(receiver) => decoded_elsewhere(receiver.blocking_recv()),
        }
    }

    /// Awaits the result together with how the execution went: queue time, run
    /// time, CPU time, memory, worker, attempt.
    ///
    /// # Errors
    ///
    /// As awaiting gives.
    ///
    /// # Cancel safety
    ///
    /// The future that is returned owns the task: dropping it cancels.
    pub async fn with_report(mut self) -> Result<(T, Report), Error> {
        let reply = poll_fn(|context| self.poll_reply(context)).await?;
        let value = match (self.decode)(reply.payload) {
            Decoding::Done(result) => decoded(result)?,
            Decoding::Elsewhere(receiver) => decoded_elsewhere(receiver.await)?,
        };
        Ok((value, reply.ran.into()))
    }
}

impl<T: DeserializeOwned> Future for TaskFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !matches!(self.state, State::Decoding(_)) {
            let reply = ready!(self.poll_reply(context))?;
            match (self.decode)(reply.payload) {
                Decoding::Done(result) => return Poll::Ready(decoded(result)),
                Decoding::Elsewhere(receiver) => self.state = State::Decoding(receiver),
            }
        }
        let State::Decoding(receiver) = &mut self.state else { unreachable!("it was just made") };
        let result = ready!(Pin::new(receiver).poll(context));
        self.state = State::Taken;
        Poll::Ready(decoded_elsewhere(result))
    }
}

impl<T> Drop for TaskFuture<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<T> fmt::Debug for TaskFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFuture").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn decoded<T>(result: Result<T, ValueError>) -> Result<T, Error> {
    let step = Step::DecodeResult;
    result.map_err(|error| Error::codec(step, &step.subject(type_name::<T>()), error))
}

fn decoded_elsewhere<T>(result: Result<Result<T, ValueError>, RecvError>) -> Result<T, Error> {
    decoded(result.unwrap_or_else(|_| Err(ValueError::new("its decoder ended"))))
}

/// The error of a future whose engine vanished without a word.
fn gone() -> Error {
    Error::closed("its engine ended")
}

/// Awaits all futures; gives their results in the same order.
///
/// # Errors
///
/// The first error, at once; the other futures are dropped, which cancels
/// their tasks.
///
/// # Cancel safety
///
/// Dropping it drops all futures, and so cancels their tasks.
///
/// # Examples
///
/// ```
/// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
/// let futures = (1..=3).map(|n: u64| client.submit(|n: u64| n * n, n));
/// assert_eq!(outboard::gather(futures).await?, [1, 4, 9]);
/// # Ok(()) }
/// ```
pub async fn gather<T: DeserializeOwned>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
) -> Result<Vec<T>, Error> {
    let pending: FuturesUnordered<_> = (futures.into_iter().enumerate())
        .map(|(index, future)| future.map_ok(move |result| (index, result)))
        .collect();
    let mut results: Vec<_> = pending.try_collect().await?;
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// The results of the futures, each as soon as it is there.
///
/// Dropping the stream cancels what has not ended.
pub fn as_completed<T: DeserializeOwned>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
) -> AsCompleted<T> {
    AsCompleted { pending: futures.into_iter().collect() }
}

/// A stream of results, made by [`as_completed`].
#[derive(Debug)]
#[must_use = "streams do nothing unless polled, and dropping this one cancels its tasks"]
pub struct AsCompleted<T: DeserializeOwned> {
    pending: FuturesUnordered<TaskFuture<T>>,
}

impl<T: DeserializeOwned> AsCompleted<T> {
    /// The next result; `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future loses nothing.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.pending.next().await
    }
}

impl<T: DeserializeOwned> Stream for AsCompleted<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pending.poll_next_unpin(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.pending.len(), Some(self.pending.len()))
    }
}

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum When {
    /// As soon as one task has ended, with a result or an error.
    FirstCompleted,
    /// As soon as one task has ended with an error, or all have ended.
    FirstError,
    /// When all tasks have ended.
    AllCompleted,
}

/// The futures that [`wait`] was given, by whether their tasks have ended.
#[derive(Debug)]
#[must_use = "dropping the futures cancels the tasks that have not ended"]
pub struct Waited<T> {
    /// Awaiting these gives their results at once.
    pub done: Vec<TaskFuture<T>>,
    /// These have not ended.
    pub pending: Vec<TaskFuture<T>>,
}

/// Waits until one or all of the futures have ended, at most for `timeout`.
///
/// It gives the futures back, those that ended and those that did not, each in the order
/// in which they came. The timeout ends the waiting, not the tasks. `None` waits without
/// limit.
///
/// # Cancel safety
///
/// Dropping it drops all futures, and so cancels their tasks.
///
/// # Panics
///
/// With a timeout, outside a tokio runtime that has its timer enabled.
pub async fn wait<T>(
    futures: impl IntoIterator<Item = TaskFuture<T>>,
    when: When,
    timeout: Option<Duration>,
) -> Waited<T> {
    let mut futures: Vec<_> = futures.into_iter().collect();
    // The last one first: when this is dropped, what waits is cancelled before what runs,
    // and does not start in its place.
    futures.reverse();
    let mut waits: FuturesUnordered<_> = (futures.iter_mut())
        .map(|future| poll_fn(move |context| future.poll_finished(context)))
        .collect();
    let waiting = async {
        while let Some(failed) = waits.next().await {
            match when {
                When::FirstCompleted => return,
                When::FirstError if failed => return,
                When::FirstError | When::AllCompleted => {}
            }
        }
    };
    match timeout {
        None => waiting.await,
        Some(timeout) => drop(tokio::time::timeout(timeout, waiting).await),
    }
    drop(waits);
    let (pending, done) = futures.into_iter().rev().partition(TaskFuture::is_pending);
    Waited { done, pending }
}

/// Waits for what comes, and looks for it first where that pays.
fn poll_spinning<T>(
    receiver: &mut oneshot::Receiver<T>,
    spin: &mut Option<Spin>,
    context: &mut Context<'_>,
) -> Poll<Result<T, RecvError>> {
    let goes_on = spin.as_mut().is_some_and(Spin::goes_on);
    let polled = Pin::new(receiver).poll(context);
    match &polled {
        Poll::Ready(_) => spin.take().into_iter().for_each(Spin::found),
        Poll::Pending if goes_on => come_back(context),
        Poll::Pending => *spin = None,
    }
    polled
}

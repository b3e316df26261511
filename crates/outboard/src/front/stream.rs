//! The caller's handle of a task that streams: its items, and then its result.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep};

use super::client::Client;
use super::future::{Status, TaskFuture};
use super::progress::TaskProgress;
use crate::error::{Error, Step};
use crate::ids::TaskId;
use crate::sched::ledger::Report;
use crate::task::function::{Decoding, TaskFunction};
use crate::task::stream::{StreamFunction, Streamed, Streams, streamed};
use crate::value::channel::{Channel, WINDOW_BYTES, cost};
use crate::value::codec::ValueError;
use crate::value::payload::Payload;

/// After so many bytes the task gets credit for them, though more are here.
const CREDIT_BYTES: u64 = WINDOW_BYTES / 4;

impl Client {
    /// Submits a task that sends items while it runs, and gives the stream of them.
    ///
    /// `f` has an [`outboard::Sender<T>`](crate::Sender) as its last parameter, or returns an
    /// iterator, or is a [generator of Python](crate::python). Its other arguments are passed as to [`submit`](Self::submit), and all
    /// options apply. [`idle_timeout`](Self::idle_timeout) is one for streams alone.
    ///
    /// # Backpressure
    ///
    /// At most 256 KiB of items, or one item of any size, are out that were not taken from
    /// the stream. Then the task waits in [`Sender::send`](crate::Sender::send), and keeps
    /// its worker.
    ///
    /// # Errors
    ///
    /// All errors come through the stream, after the items that were sent before; see
    /// [`ErrorKind`](crate::ErrorKind). [`retries`](Self::retries) apply until the first item
    /// has arrived. `Unsupported` if the client has a [`key`](Self::key), for a stream has one
    /// reader, and on the engine `dask`.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// use outboard::{SendError, Sender};
    ///
    /// fn squares(to: u64, out: Sender<u64>) -> Result<u64, SendError> {
    ///     for n in 0..to {
    ///         out.send(n * n)?;
    ///     }
    ///     Ok(to)
    /// }
    /// let mut stream = client.stream(squares, 3);
    /// while let Some(square) = stream.next().await {
    ///     println!("{}", square?);
    /// }
    /// assert_eq!(stream.output().await?, Ok(3));
    /// # Ok(()) }
    /// ```
    pub fn stream<F, M>(&self, f: F, args: F::Args) -> TaskStream<F::Item, F::Output>
    where
        F: StreamFunction<M>,
    {
        let () = F::HAS_NO_SIZE;
        let f = streamed(f);
        let pool = f.known().and_then(|known| self.pool_for(known.0)).unwrap_or_default();
        let channel = Channel::new(self.owner.pool(pool).flow().clone());
        let submitted = match self.options.key {
            Some(_) => Err(Error::unsupported("a stream has one reader, so it takes no `key`")),
            None => self.submit_for(f, args, Some(channel.clone())),
        };
        let decode = <Streamed<F> as TaskFunction<Streams<M>>>::decoding;
        let idle = self.options.idle_timeout;
        TaskStream {
            task: TaskFuture::new(self.owner.clone(), submitted, decode),
            reader: Reader { channel, ready: VecDeque::new(), taken: 0 },
            decode: F::decode_item,
            decoding: None,
            idle: idle.map(|longest| Idle { longest, pause: None, has_run: false }),
            ended: false,
        }
    }

    /// Ends a task that sends no item for so long while its stream is awaited.
    ///
    /// The pause counts from the moment at which the [stream](Self::stream) is awaited and
    /// has no item. A reader that takes its time is not counted, nor is the queue.
    /// Before the first item it may be twice as long. The error is of kind `TimedOut`.
    ///
    /// # Panics
    ///
    /// A stream with this option panics outside a tokio runtime that has its timer enabled.
    #[must_use = "options are set on the client that this returns"]
    pub fn idle_timeout(&self, pause: Duration) -> Self {
        self.with(|options| options.idle_timeout = Some(pause))
    }
}

/// The items of a task that runs, and then its result; made by [`Client::stream`].
///
/// It is a `Stream` of `Result<T, Error>`. An error is its last item. After the last item,
/// [`output`](Self::output) gives what the task function returned.
///
/// # Drop
///
/// Dropping it **cancels** the task, as dropping a [`TaskFuture`] does. A worker process
/// that runs it is killed and replaced. [`detach`](Self::detach) lets it go on.
///
/// # Cancel safety
///
/// Awaiting the next item, for example in `tokio::select!`, loses nothing.
#[must_use = "dropping a TaskStream cancels its task: read it, or call `.detach()`"]
pub struct TaskStream<T, R> {
    /// First, so that a drop cancels the task before it closes the channel.
    task: TaskFuture<R>,
    reader: Reader,
    decode: fn(Payload) -> Decoding<T>,
    /// An item is large, and is decoded on another thread.
    decoding: Option<oneshot::Receiver<Result<T, ValueError>>>,
    idle: Option<Idle>,
    /// The last item was given.
    ended: bool,
}

/// The reader's end of the channel.
struct Reader {
    channel: Arc<Channel>,
    /// What has arrived and was not taken.
    ready: VecDeque<Payload>,
    /// Bytes that were taken, and for which no credit was given.
    taken: u64,
}

/// How long the stream may be silent, and since when it is.
struct Idle {
    longest: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    /// The task was seen to run.
    has_run: bool,
}

impl<T, R> TaskStream<T, R> {
    /// The task's name in events, stories and snapshots; `None` if the submit was refused.
    pub fn id(&self) -> Option<TaskId> {
        self.task.id()
    }

    /// How far the task has come. Items may be left when it is `Finished`.
    pub fn status(&self) -> Status {
        self.task.status()
    }

    /// The task's progress; see [`TaskFuture::progress`].
    pub fn progress(&self) -> TaskProgress {
        self.task.progress()
    }

    /// Cancels the task, as dropping the stream does. What it had sent can still be read.
    pub fn cancel(&self) {
        self.task.cancel();
    }

    /// Lets the task go on without a reader. Its items are dropped as they arrive.
    pub fn detach(self) {
        self.reader.channel.detach();
        self.task.detach();
    }

    /// The next item as it was encoded; `None` after the last.
    fn poll_encoded(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Payload, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // A task that sends without a pause must not keep a runtime from its other work.
        let budget = ready!(coop::poll_proceed(context));
        loop {
            if let Some(item) = self.reader.take(context) {
                budget.made_progress();
                self.idle.iter_mut().for_each(Idle::end_pause);
                return Poll::Ready(Some(Ok(item)));
            }
            let Poll::Ready(error) = self.task.poll_error(context) else {
                let idle = self.idle.as_mut();
                match idle.map(|idle| idle.poll(&self.task, context)) {
                    Some(Poll::Ready(())) => continue,
                    _ => return Poll::Pending,
                }
            };
            budget.made_progress();
            // What came before the end may have come after the first look.
            if let Some(item) = self.reader.take(context) {
                return Poll::Ready(Some(Ok(item)));
            }
            self.ended = true;
            return Poll::Ready(error.map(Err));
        }
    }

    /// The task ends for what became of its stream.
    fn fail(&mut self, error: Error) -> Error {
        self.ended = true;
        self.task.cancel();
        error
    }
}

impl<T: DeserializeOwned, R: DeserializeOwned> TaskStream<T, R> {
    /// The next item; `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future loses nothing.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        let mut stream = pin!(self);
        poll_fn(|context| stream.as_mut().poll_next(context)).await
    }

    /// Waits until the task has ended, and gives what its function returned.
    ///
    /// Items that were not read are dropped.
    ///
    /// # Errors
    ///
    /// As the stream gives.
    ///
    /// # Cancel safety
    ///
    /// The future that is returned owns the task: dropping it cancels.
    pub async fn output(mut self) -> Result<R, Error> {
        self.skip_items().await;
        self.task.await
    }

    /// As [`output`](Self::output), together with how the execution went: queue time, run
    /// time, CPU time, memory, worker, attempt.
    ///
    /// # Errors
    ///
    /// As the stream gives.
    ///
    /// # Cancel safety
    ///
    /// The future that is returned owns the task: dropping it cancels.
    pub async fn with_report(mut self) -> Result<(R, Report), Error> {
        self.skip_items().await;
        self.task.with_report().await
    }

    async fn skip_items(&mut self) {
        while let Some(Ok(_)) = poll_fn(|context| self.poll_encoded(context)).await {}
    }
}

impl<T: DeserializeOwned, R: DeserializeOwned> Stream for TaskStream<T, R> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.decoding.is_none() {
            let item = match ready!(self.poll_encoded(context)) {
                Some(Ok(item)) => item,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match (self.decode)(item) {
                Decoding::Done(item) => return Poll::Ready(Some(self.decoded(item))),
                Decoding::Elsewhere(decoding) => self.decoding = Some(decoding),
            }
        }
        let decoding = self.decoding.as_mut().expect("it was just made");
        let item = ready!(Pin::new(decoding).poll(context));
        self.decoding = None;
        let item = item.unwrap_or_else(|_| Err(ValueError::new("its decoder ended")));
        Poll::Ready(Some(self.decoded(item)))
    }
}

impl<T, R> TaskStream<T, R> {
    fn decoded(&mut self, item: Result<T, ValueError>) -> Result<T, Error> {
        let step = Step::DecodeItem;
        let subject = || step.subject(std::any::type_name::<T>());
        item.map_err(|error| self.fail(Error::codec(step, &subject(), error)))
    }
}

impl<T, R> fmt::Debug for TaskStream<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskStream").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Reader {
    /// The next item, if one is here; the reader is woken by the next that comes.
    fn take(&mut self, context: &Context<'_>) -> Option<Payload> {
        if self.ready.is_empty() {
            // Before it waits: the task may need all of its credit for the next item.
            let taken = std::mem::take(&mut self.taken);
            self.channel.take(taken, &mut self.ready, Some(context));
        }
        let item = self.ready.pop_front()?;
        self.taken += cost(item.len());
        if self.taken >= CREDIT_BYTES {
            self.channel.credit(std::mem::take(&mut self.taken));
        }
        Some(item)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.channel.leave();
    }
}

impl Idle {
    fn end_pause(&mut self) {
        self.pause = None;
        self.has_run = true;
    }

    /// Ends the task if it was silent for too long; whether it did.
    fn poll<R>(&mut self, task: &TaskFuture<R>, context: &mut Context<'_>) -> Poll<()> {
        let longest = self.longest;
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(longest)));
        while pause.as_mut().poll(context).is_ready() {
            if self.has_run {
                task.end_idle(longest);
                return Poll::Ready(());
            }
            // A task that waits in the queue is not silent; when it began to run is not known.
            self.has_run = task.status() != Status::Queued;
            pause.as_mut().reset(Instant::now() + longest);
        }
        Poll::Pending
    }
}

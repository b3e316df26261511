//! Submits a task for every item, as the queue has room.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{Stream, StreamExt};

use crate::error::Error;
use crate::front::client::Client;
use crate::front::future::TaskFuture;
use crate::task::function::TaskFunction;

/// The tasks of one [`Client::map`]: a stream of results in the order of the arguments.
///
/// Dropping it cancels the tasks that have not ended.
#[must_use = "a map submits nothing before it is polled"]
pub struct Map<F: TaskFunction<M>, M, I> {
    client: Client,
    f: F,
    args: I,
    under_way: VecDeque<TaskFuture<F::Output>>,
    /// The wait for room, while there is none.
    room: Option<Room>,
    exhausted: bool,
}

type Room = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// How many tasks of one map are under way.
const MAP_WINDOW: usize = 1024;

impl<F: TaskFunction<M>, M, I> Map<F, M, I> {
    pub(crate) fn new(client: Client, f: F, args: I) -> Self {
        Self { client, f, args, under_way: VecDeque::new(), room: None, exhausted: false }
    }
}

impl<F, M, I> Map<F, M, I>
where
    F: TaskFunction<M>,
    I: Iterator<Item = F::Args>,
    Self: Unpin,
{
    /// The next result; `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future loses nothing.
    pub async fn next(&mut self) -> Option<Result<F::Output, Error>> {
        StreamExt::next(self).await
    }

    /// All results, in the order of the arguments.
    ///
    /// # Errors
    ///
    /// The first error in that order, at once; the rest is cancelled.
    pub async fn gather(mut self) -> Result<Vec<F::Output>, Error> {
        let mut results = Vec::with_capacity(self.args.size_hint().0.min(MAP_WINDOW));
        while let Some(result) = self.next().await {
            results.push(result?);
        }
        Ok(results)
    }

    /// Submits what there is room for.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        while !self.exhausted && self.under_way.len() < MAP_WINDOW {
            let (client, f) = (self.client.clone(), self.f);
            let room = self
                .room
                .get_or_insert_with(|| Box::pin(async move { client.ready_for(&f).await }));
            match room.as_mut().poll(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => {
                    self.room = None;
                    result?;
                }
            }
            match self.args.next() {
                Some(args) => self.under_way.push_back(self.client.submit(self.f, args)),
                None => self.exhausted = true,
            }
        }
        Ok(())
    }
}

impl<F, M, I> Stream for Map<F, M, I>
where
    F: TaskFunction<M>,
    I: Iterator<Item = F::Args>,
    Self: Unpin,
{
    type Item = Result<F::Output, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Err(error) = this.fill(context) {
            this.exhausted = true;
            this.under_way.clear();
            return Poll::Ready(Some(Err(error)));
        }
        match this.under_way.front_mut() {
            None if this.exhausted => Poll::Ready(None),
            None => Poll::Pending,
            Some(first) => {
                let result = ready!(Pin::new(first).poll(context));
                this.under_way.pop_front();
                Poll::Ready(Some(result))
            }
        }
    }
}

/// What waits is cancelled before what runs, or its tasks would start in the
/// place of one that was stopped.
impl<F: TaskFunction<M>, M, I> Drop for Map<F, M, I> {
    fn drop(&mut self) {
        while self.under_way.pop_back().is_some() {}
    }
}

impl<F: TaskFunction<M>, M, I> fmt::Debug for Map<F, M, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

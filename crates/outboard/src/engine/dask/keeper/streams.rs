//! Brings the items of streams, as fast as they are read, from the workers that run their
//! tasks.
//!
//! A worker waits for the next items before it answers. What a reader takes meanwhile, which
//! its task may wait for, is said over a connection of its own. A worker says that a task has
//! ended when its last items have arrived here.

use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::time::Duration;

use dask_protocol::frames::Excess;
use dask_protocol::message::{Items, TakeItems};
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};

use super::Keeper;
use super::ends::Ended;
use super::fetch::room;
use super::line::{Line, Lines};
use crate::engine::dask::stream::{Begun, Stream, split};
use crate::error::{Cause, Oversized};
use crate::ids::TaskId;
use crate::task::outcome::Failure;
use crate::value::channel::{Overrun, cost};
use crate::value::payload::Payload;

/// How long a worker waits for items before it says that there are none: straight, and
/// through the scheduler, where others wait for their turn.
const WAIT: Duration = Duration::from_secs(10);
const WAIT_AROUND: Duration = Duration::from_secs(1);

/// How long the reader has to take what came, so that its credit goes with the next question.
const MOMENT: Duration = Duration::from_millis(1);

/// How often a worker that does not answer is asked again, and after what pause at first.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// How often it is looked whether a worker is still there.
const LOOK: Duration = Duration::from_millis(500);

/// How reading came to its end.
enum End {
    /// All has arrived, or nobody wants it: how the task ends is said elsewhere.
    Done,
    /// The worker cannot be asked any more.
    Cut,
    Failed(Ended),
}

/// Key and stream, and how reading ended.
type Read<'a> = Abortable<BoxFuture<'a, (Begun, End)>>;

/// Reads the streams that begin; ends with the scheduler.
pub(super) async fn run<T>(
    keeper: &Keeper,
    mut begun: mpsc::UnboundedReceiver<Begun>,
) -> io::Result<T> {
    let lines = Lines::new(keeper);
    let mut finishing = pin!(lines.finish());
    let mut readings: FuturesUnordered<Read<'_>> = FuturesUnordered::new();
    // By key, the stream that is read.
    let mut current: HashMap<String, (String, AbortHandle)> = HashMap::new();
    loop {
        tokio::select! {
            Some(one) = begun.recv() => {
                let is_known = |(stream, _): &(String, _)| *stream == one.stream;
                if current.get(&one.key).is_some_and(is_known) {
                    continue;
                }
                let Some(reading) = Reading::of(keeper, &lines, &one) else { continue };
                let (handle, registration) = AbortHandle::new_pair();
                let before = current.insert(one.key.clone(), (one.stream.clone(), handle));
                if let Some((_, before)) = before {
                    before.abort();
                }
                let reads: BoxFuture<'_, _> = Box::pin(async move {
                    let end = reading.read().await;
                    (one, end)
                });
                readings.push(Abortable::new(reads, registration));
            }
            Some(read) = readings.next() => {
                // One that was aborted has a successor.
                let Ok((one, end)) = read else { continue };
                conclude(keeper, &one, end);
                current.remove(&one.key);
            }
            () = &mut finishing => {}
        }
    }
}

/// What follows from how reading ended.
fn conclude(keeper: &Keeper, begun: &Begun, end: End) {
    let ended = match end {
        End::Done => return,
        End::Failed(ended) => ended,
        End::Cut => {
            let wanted = keeper.shared.table().stream(keeper.at, &begun.key);
            let Some((_, delivered)) = wanted else { return };
            // Without its worker, Dask runs it again.
            if !delivered && keeper.shared.cluster(keeper.at).number(&begun.worker) == 0 {
                return;
            }
            Ended::lost(Cause::Cluster)
        }
    };
    keeper.conclude(vec![(begun.key.clone(), ended)]);
}

/// A stream that is read.
struct Reading<'l, 'a> {
    keeper: &'a Keeper,
    lines: &'l Lines<'a>,
    begun: Begun,
    stream: Stream,
    attempt: (TaskId, u32),
}

/// What the worker was told with a question that it has not answered: the items that have
/// arrived, and the bytes that were taken.
type Asked = Option<(u64, u64)>;

impl<'l, 'a> Reading<'l, 'a> {
    /// `None` if nobody wants it, or it cannot be read.
    fn of(keeper: &'a Keeper, lines: &'l Lines<'a>, begun: &Begun) -> Option<Self> {
        let (at, key) = (keeper.at, begun.key.as_str());
        let (stream, delivered) = keeper.shared.table().stream(at, key)?;
        if delivered {
            // Dask runs it again, after its worker was lost. Its items would come twice.
            keeper.conclude(vec![(key.to_owned(), Ended::lost(Cause::Cluster))]);
            return None;
        }
        let entry = keeper.shared.table().by_key(at, key)?;
        let attempt = (entry.task, entry.attempt);
        Some(Self { keeper, lines, begun: begun.clone(), stream, attempt })
    }

    async fn read(&self) -> End {
        let (asked, asks) = watch::channel(None);
        tokio::select! {
            biased;
            end = self.items(&asked) => end,
            () = self.give_credit(asks) => End::Done,
            () = self.is_gone() => End::Cut,
        }
    }

    fn question(&self, (received, taken): (u64, u64), wait: Option<Duration>) -> TakeItems {
        let wait_ms = wait.map(|wait| wait.as_millis() as u64);
        TakeItems { stream: self.begun.stream.clone(), received, taken, wait_ms }
    }

    /// Brings all items.
    async fn items(&self, asked: &watch::Sender<Asked>) -> End {
        let mut taken = self.stream.taken.clone();
        let mut line = Line::to(self.lines, &self.begun.worker);
        let (mut received, mut bytes, mut failures) = (0, 0, 0);
        loop {
            let told = (received, *taken.borrow_and_update());
            asked.send_replace(Some(told));
            let wait = |around| Some(if around { WAIT_AROUND } else { WAIT });
            let answer = line.ask(|around| self.question(told, wait(around))).await;
            asked.send_replace(None);
            let (items, ended) = match answer {
                Ok(Items::Here { items, ended }) => (items, ended),
                // It has ended, or its worker was started anew: the scheduler will say.
                Ok(Items::Unknown) => return End::Done,
                Err(error) => match self.too_large(&error) {
                    Some(ended) => return End::Failed(ended),
                    None if failures == TRIES => return End::Cut,
                    None => {
                        tracing::debug!(worker = %self.begun.worker, %error, "no items came");
                        tokio::time::sleep(PAUSE * (1 << failures)).await;
                        failures += 1;
                        continue;
                    }
                },
            };
            failures = 0;
            let items = items.into_bytes_within(&mut room(self.keeper));
            let items = items.ok().and_then(|items| split(&items));
            let Some(items) = items else {
                let what = "the items that the worker sent";
                return End::Failed(Ended::unreadable(what, "no worker of ours wrote them"));
            };
            if items.is_empty() && ended {
                return End::Done;
            }
            received += items.len() as u64;
            bytes += items.iter().map(|item| cost(item.len())).sum::<u64>();
            if let Err(failure) = self.deliver(items) {
                return End::Failed(Ended::failed(failure));
            }
            if !ended {
                let all = |taken: &u64| *taken >= bytes;
                let _ = tokio::time::timeout(MOMENT, taken.wait_for(all)).await;
            }
        }
    }

    fn deliver(&self, mut items: Vec<Payload>) -> Result<(), Failure> {
        let limit = self.keeper.gate.limits().payload;
        if let Some(large) = items.iter().map(Payload::len).find(|bytes| *bytes > limit) {
            return Err(oversized(large as u64, limit));
        }
        if items.is_empty() {
            return Ok(());
        }
        // Before it can be read, so that nobody has it sent again.
        self.keeper.shared.table().delivered(self.keeper.at, &self.begun.key);
        let first = self.stream.source.bring(&mut items).map_err(|Overrun| {
            Failure::Unavailable("its worker sent more items than there is room for".into())
        })?;
        if first {
            self.keeper.gate.report(|reports| reports.delivered(self.attempt));
        }
        Ok(())
    }

    fn too_large(&self, error: &io::Error) -> Option<Ended> {
        let excess = error.get_ref()?.downcast_ref::<Excess>()?;
        Some(Ended::failed(oversized(excess.found(), self.keeper.gate.limits().payload)))
    }

    /// Tells the worker what the reader has taken while it waits for items; ends when no item
    /// is wanted any more.
    async fn give_credit(&self, mut asked: watch::Receiver<Asked>) {
        let mut taken = self.stream.taken.clone();
        let mut line = Line::to(self.lines, &self.begun.worker);
        let mut told = 0;
        loop {
            let now = *taken.borrow_and_update();
            let pending = *asked.borrow_and_update();
            if let Some((received, with)) = pending
                && now > told.max(with)
            {
                told = now;
                // If it does not arrive, the next question has it.
                let _ = line.ask(|_| self.question((received, now), None)).await;
                continue;
            }
            tokio::select! {
                changed = taken.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                },
                _ = asked.changed() => {}
            }
        }
    }

    /// Ends when the worker has left the cluster.
    async fn is_gone(&self) {
        let is_there = || self.keeper.shared.cluster(self.keeper.at).number(&self.begun.worker) > 0;
        let mut was_there = false;
        // What is known of workers may be older than this one.
        while !was_there || is_there() {
            was_there |= is_there();
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn oversized(bytes: u64, limit: usize) -> Failure {
    Failure::TooLarge { what: Oversized::Result, bytes, limit: limit as u64 }
}

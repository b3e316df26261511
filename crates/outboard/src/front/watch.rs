//! Follows events, live or afterwards, at the reader's own pace.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::time::Instant;

use crate::engine::Gate;
use crate::observe::event::Event;
use crate::observe::record::Excerpt;

/// How often a watch gives events, unless it is told otherwise.
const PERIOD: Duration = Duration::from_millis(50);

/// How often it looks how far tasks say that they are.
const LOOK: Duration = Duration::from_millis(250);

/// Follows what happens to tasks and workers, made by
/// [`Admin::watch`](crate::admin::Admin::watch).
///
/// Nobody waits for a watch: one that is too slow loses the oldest events, and
/// [`Batch::dropped`] says how many. After a gap, a [`Snapshot`](crate::admin::Snapshot)
/// says how things are now.
///
/// Nor do tasks pay much for it. Above 100,000 events of tasks in a second, the rest is
/// counted and not told, unless [`Admin::record`](crate::admin::Admin::record) asked for
/// all. All watches share one buffer of about 32,768 events, or 2.5 MB. Without a watch
/// no events are recorded.
///
/// # Drop
///
/// With the last watch the recording ends, unless
/// [`Admin::record`](crate::admin::Admin::record) asked for it.
///
/// # Examples
///
/// ```
/// # async fn example(client: outboard::Client) {
/// let mut watch = client.admin().watch();
/// while let Some(batch) = watch.next().await {
///     if batch.dropped() > 0 {
///         println!("{} events were lost: too slow", batch.dropped());
///     }
///     for event in &batch {
///         println!("{:?}: {}", event.at, event.kind);
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    /// Each pool, with the number of its next event.
    pools: Vec<(Arc<Gate>, u64)>,
    period: Duration,
    last: Option<Instant>,
    /// When it looks next how far tasks are.
    look: Instant,
}

/// Some events in their order, from a [`Watch`].
#[derive(Clone, Debug, Default)]
pub struct Batch(
    /// One for each pool.
    Vec<Excerpt>,
);

impl Watch {
    pub(crate) fn new(gates: &[Arc<Gate>]) -> Self {
        let pools = gates.iter().map(|gate| (gate.clone(), gate.start_watch())).collect();
        Self { pools, period: PERIOD, last: None, look: Instant::now() + LOOK }
    }

    /// Gives events at most so often; by default twenty times a second. Events
    /// gather meanwhile, which is what keeps watching cheap.
    #[must_use]
    pub fn every(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Waits for the next batch of events, at least one period after the last.
    ///
    /// `None` when the engine has ended and all events were given.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future loses nothing.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that has its timer enabled.
    pub async fn next(&mut self) -> Option<Batch> {
        if let Some(last) = self.last {
            tokio::time::sleep_until(last + self.period).await;
        }
        loop {
            let gates: Vec<_> = self.pools.iter().map(|(gate, _)| gate.clone()).collect();
            let now = Instant::now();
            if self.look <= now {
                gates.iter().for_each(|gate| gate.tell_progress());
                self.look = now + LOOK;
            }
            let mut told: Vec<_> = gates.iter().map(|gate| Box::pin(gate.told())).collect();
            for told in &mut told {
                told.as_mut().enable();
            }
            let (batch, ended) = self.read(true);
            if !batch.is_empty() {
                self.last = Some(Instant::now());
                return Some(batch);
            }
            if ended {
                return None;
            }
            // Tasks that say how far they are tell nobody.
            if tokio::time::timeout_at(self.look, select_all(told)).await.is_err() {
                continue;
            }
            // What follows at once comes along.
            tokio::time::sleep(self.period / 8).await;
        }
    }

    /// Returns the events since the last batch without waiting; perhaps none.
    pub fn take(&mut self) -> Batch {
        self.read(false).0
    }

    fn read(&mut self, wait: bool) -> (Batch, bool) {
        let mut all_ended = true;
        let excerpts = self.pools.iter_mut().map(|(gate, cursor)| {
            let (excerpt, ended) = gate.events_since(*cursor, wait);
            *cursor = excerpt.end.max(*cursor);
            all_ended &= ended;
            excerpt
        });
        (Batch(excerpts.collect()), all_ended)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.pools.iter().for_each(|(gate, _)| gate.end_watch());
    }
}

impl Batch {
    /// How many events were lost before or between these, because the watch was too
    /// slow or there were too many.
    pub fn dropped(&self) -> u64 {
        self.0.iter().map(Excerpt::dropped).sum()
    }

    /// The events, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        in_order(self.0.iter().map(Excerpt::iter))
    }

    /// Enough events to draw what ran, which is quicker than all events.
    ///
    /// Of the ends of tasks that gave a result it has at most `most`, evenly spread, and
    /// of everything that is rare all. The number says how many ends each of those stands
    /// for; if it is 1, the starts are there as well.
    pub fn ends(&self, most: usize) -> (usize, impl Iterator<Item = Event>) {
        let results: usize = self.0.iter().map(Excerpt::results).sum();
        let step = results.div_ceil(most.max(1)).max(1);
        (step, in_order(self.0.iter().map(move |excerpt| excerpt.ends(step))))
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(Excerpt::len).sum()
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The events of several pools, the oldest first.
fn in_order<I: Iterator<Item = Event>>(
    mut pools: impl Iterator<Item = I>,
) -> impl Iterator<Item = Event> {
    let (one, other) = (pools.next(), pools.next());
    let (alone, mut together) = match other {
        None => (one, Vec::new()),
        Some(other) => (None, one.into_iter().chain([other]).chain(pools).flatten().collect()),
    };
    together.sort_by_key(|event| event.at);
    alone.into_iter().flatten().chain(together)
}

impl<'a> IntoIterator for &'a Batch {
    type Item = Event;
    type IntoIter = Box<dyn Iterator<Item = Event> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

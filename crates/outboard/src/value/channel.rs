//! The items of one stream on their way to their reader: so many bytes at a time, in order,
//! from one attempt.
//!
//! An engine makes a [`Source`] for each attempt that it starts. What an older one brings is
//! dropped. A source has at most [`WINDOW_BYTES`] of items out that the reader did not take,
//! or one item of any size. What the reader takes is its credit: `inline` waits for that
//! here, and a worker elsewhere is [told](Credit).

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::payload::Payload;

/// How many bytes of items may be out that the reader did not take.
pub(crate) const WINDOW_BYTES: u64 = 256 << 10;

/// What an item counts beside its own bytes: empty ones are bounded too.
pub(crate) const ITEM_BYTES: u64 = 24;

/// What an item of so many bytes counts.
pub(crate) fn cost(bytes: usize) -> u64 {
    ITEM_BYTES + bytes as u64
}

/// Whether an item may go out while so many bytes are. A first one always may.
pub(crate) fn fits(out: u64, cost: u64) -> bool {
    out == 0 || out.saturating_add(cost) <= WINDOW_BYTES
}

/// What all streams of a client have carried.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Flow {
    /// Items, and their encoded bytes, that have arrived here.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.items.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// Tells a source elsewhere how many bytes its reader has taken in all. It is called under
/// the channel's mutex, so it comes no later than the end of the attempt.
pub(crate) trait Credit: fmt::Debug + Send + Sync {
    fn taken(&self, total: u64);
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Channel {
    state: Mutex<State>,
    /// The reader took something, or left, or the attempt has ended.
    room: Condvar,
    flow: Arc<Flow>,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Payload>,
    reader: Reader,
    /// The number of the source that may bring items; 0 for none.
    source: u64,
    /// How many there were.
    sources: u64,
    credit: Option<Arc<dyn Credit>>,
    /// Bytes of its items that the reader did not take, and that it did.
    out: u64,
    taken: u64,
    /// An item has arrived.
    began: bool,
    /// How many have, and their bytes.
    carried: (u64, u64),
    /// How many threads wait for room.
    waiting: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reader {
    #[default]
    Reads,
    /// The task goes on without one.
    Detached,
    Gone,
}

/// Why an item was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nobody reads, or the attempt has ended.
    Closed,
    /// There is no room now.
    Full,
}

impl Channel {
    pub(crate) fn new(flow: Arc<Flow>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), room: Condvar::new(), flow })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Items, and their encoded bytes, that have arrived here.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.lock().carried
    }

    /// What an attempt brings items through that starts now.
    pub(crate) fn source(self: &Arc<Self>, credit: Option<Arc<dyn Credit>>) -> Source {
        let mut state = self.lock();
        state.sources += 1;
        state.source = state.sources;
        (state.credit, state.out, state.taken) = (credit, 0, 0);
        Source { channel: self.clone(), number: state.sources }
    }

    /// The task has ended: no item is taken any more, and nobody is told of credit.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        (state.source, state.credit) = (0, None);
        self.wake_sources(&state);
    }

    /// Gives credit for so many bytes, and moves what has arrived to the reader's own list.
    /// Otherwise the reader is woken when something arrives.
    pub(crate) fn take(
        &self,
        taken: u64,
        into: &mut VecDeque<Payload>,
        context: Option<&Context<'_>>,
    ) {
        let mut state = self.lock();
        state.give(taken);
        if taken > 0 {
            self.wake_sources(&state);
        }
        std::mem::swap(&mut state.items, into);
        if into.is_empty()
            && let Some(context) = context
            && !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
        {
            state.waker = Some(context.waker().clone());
        }
    }

    /// Gives credit for so many bytes.
    pub(crate) fn credit(&self, taken: u64) {
        let mut state = self.lock();
        state.give(taken);
        self.wake_sources(&state);
    }

    /// The task goes on without a reader: its items are dropped as they arrive.
    pub(crate) fn detach(&self) {
        self.close(Reader::Detached);
    }

    /// Nobody reads any more.
    pub(crate) fn leave(&self) {
        self.close(Reader::Gone);
    }

    fn close(&self, reader: Reader) {
        let items = {
            let mut state = self.lock();
            if state.reader != Reader::Reads {
                return;
            }
            state.reader = reader;
            let out = state.out;
            state.give(out);
            self.wake_sources(&state);
            state.waker = None;
            std::mem::take(&mut state.items)
        };
        drop(items);
    }

    fn wake_sources(&self, state: &State) {
        if state.waiting > 0 {
            self.room.notify_all();
        }
    }
}

impl State {
    fn give(&mut self, bytes: u64) {
        let bytes = bytes.min(self.out);
        self.out -= bytes;
        self.taken += bytes;
        if bytes > 0
            && let Some(credit) = &self.credit
        {
            credit.taken(self.taken);
        }
    }
}

/// What one attempt brings its items through.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    channel: Arc<Channel>,
    number: u64,
}

impl Source {
    /// Takes items that were sent elsewhere, within the window; whether the first of all is
    /// among them.
    ///
    /// # Errors
    ///
    /// They are more than the window holds. No worker of ours sends so much.
    pub(crate) fn bring(&self, items: &mut Vec<Payload>) -> Result<bool, Overrun> {
        let mut state = self.channel.lock();
        if state.source != self.number {
            items.clear();
            return Ok(false);
        }
        for item in items.drain(..) {
            let cost = cost(item.len());
            if !fits(state.out, cost) {
                return Err(Overrun);
            }
            self.accept(&mut state, item, cost);
        }
        Ok(self.announce(state))
    }

    /// Takes one item if there is room, for which it waits if so said; whether it is the
    /// first of all.
    pub(crate) fn send(&self, item: &mut Option<Payload>, wait: bool) -> Result<bool, Refused> {
        let cost = cost(item.as_ref().map_or(0, |item| item.len()));
        let mut state = self.channel.lock();
        loop {
            if state.source != self.number || state.reader == Reader::Gone {
                return Err(Refused::Closed);
            }
            if fits(state.out, cost) {
                break;
            }
            if !wait {
                return Err(Refused::Full);
            }
            state.waiting += 1;
            state = self.channel.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        if let Some(item) = item.take() {
            self.accept(&mut state, item, cost);
        }
        Ok(self.announce(state))
    }

    fn accept(&self, state: &mut State, item: Payload, cost: u64) {
        let flow = &self.channel.flow;
        flow.items.fetch_add(1, Relaxed);
        flow.bytes.fetch_add(item.len() as u64, Relaxed);
        state.carried = (state.carried.0 + 1, state.carried.1 + item.len() as u64);
        state.out += cost;
        match state.reader {
            Reader::Reads => state.items.push_back(item),
            Reader::Detached | Reader::Gone => state.give(cost),
        }
    }

    /// Wakes the reader, without the mutex; whether nothing had arrived before.
    fn announce(&self, mut state: MutexGuard<'_, State>) -> bool {
        let first = !std::mem::replace(&mut state.began, true);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        first
    }
}

/// More was sent than there is room for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overrun;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default)]
    struct Told(AtomicU64);

    impl Credit for Told {
        fn taken(&self, total: u64) {
            assert!(self.0.swap(total, Relaxed) < total, "credit only grows");
        }
    }

    fn item(n: u8, bytes: usize) -> Payload {
        vec![n; bytes].into()
    }

    fn taken(channel: &Channel, credit: u64) -> Vec<u8> {
        let mut items = VecDeque::new();
        channel.take(credit, &mut items, None);
        items.iter().map(|item| item[0]).collect()
    }

    #[test]
    fn what_an_older_attempt_brings_is_dropped() {
        let channel = Channel::new(Arc::default());
        let old = channel.source(None);
        let new = channel.source(None);
        assert_eq!(old.bring(&mut vec![item(1, 1)]), Ok(false));
        assert_eq!(new.bring(&mut vec![item(2, 1)]), Ok(true));
        assert_eq!(new.bring(&mut vec![item(3, 1)]), Ok(false));
        channel.end();
        assert_eq!(new.bring(&mut vec![item(4, 1)]), Ok(false));
        assert_eq!(new.send(&mut Some(item(5, 1)), true), Err(Refused::Closed));
        assert_eq!(taken(&channel, 0), [2, 3], "what came before the end stays");
    }

    #[test]
    fn one_item_always_fits_and_no_second_beside_it() {
        let channel = Channel::new(Arc::default());
        let source = channel.source(None);
        let large = 2 * WINDOW_BYTES as usize;
        assert_eq!(source.send(&mut Some(item(1, large)), false), Ok(true));
        assert_eq!(source.send(&mut Some(item(2, 1)), false), Err(Refused::Full));
        assert_eq!(source.bring(&mut vec![item(3, 1)]), Err(Overrun));
        assert_eq!(taken(&channel, 0), [1]);
        assert_eq!(source.send(&mut Some(item(2, 1)), false), Err(Refused::Full), "no credit");
        assert_eq!(taken(&channel, cost(large)), [0_u8; 0]);
        assert_eq!(source.send(&mut Some(item(2, 1)), false), Ok(false));
    }

    #[test]
    fn without_a_reader_items_are_refused_and_of_a_detached_task_dropped() {
        let told = Arc::new(Told::default());
        let channel = Channel::new(Arc::default());
        let source = channel.source(Some(told.clone()));
        source.bring(&mut vec![item(1, 10)]).unwrap();
        channel.detach();
        assert_eq!(told.0.load(Relaxed), cost(10));
        source.bring(&mut vec![item(2, WINDOW_BYTES as usize)]).unwrap();
        source.bring(&mut vec![item(3, 1)]).unwrap();
        channel.leave();
        assert_eq!(source.send(&mut Some(item(4, 1)), false), Ok(false), "it stays detached");
        let channel = Channel::new(Arc::default());
        let source = channel.source(None);
        channel.leave();
        assert_eq!(source.send(&mut Some(item(1, 1)), false), Err(Refused::Closed));
    }

    #[test]
    fn a_thread_that_waits_for_room_is_woken_by_credit_and_by_the_end() {
        let channel = Channel::new(Arc::default());
        let source = channel.source(None);
        source.send(&mut Some(item(1, WINDOW_BYTES as usize)), false).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let second = source.send(&mut Some(item(2, WINDOW_BYTES as usize)), true);
                (second, source.send(&mut Some(item(3, 1)), true))
            });
            while channel.lock().waiting == 0 {
                std::thread::yield_now();
            }
            taken(&channel, WINDOW_BYTES + ITEM_BYTES);
            let third_waits = |state: &State| state.out > 0 && state.waiting > 0;
            while !third_waits(&channel.lock()) {
                std::thread::yield_now();
            }
            channel.end();
            assert_eq!(waits.join().unwrap(), (Ok(false), Err(Refused::Closed)));
        });
    }

    proptest! {
        #[test]
        fn items_arrive_in_order_and_never_more_than_the_window(
            steps in prop::collection::vec((0..5_u8, 0..100_000_usize), 1..200),
        ) {
            let told = Arc::new(Told::default());
            let channel = Channel::new(Arc::default());
            let source = channel.source(Some(told.clone()));
            // As a worker counts: what it sent, and the credit that it was told.
            let (mut sent, mut credit, mut next, mut seen) = (0, 0, 0_u8, Vec::new());
            let mut mine = VecDeque::new();
            for (step, bytes) in steps {
                match step {
                    0..=2 => {
                        let cost = cost(bytes + 1);
                        if fits(sent - told.0.load(Relaxed), cost) {
                            sent += cost;
                            next = next.wrapping_add(1);
                            prop_assert!(source.bring(&mut vec![item(next, bytes + 1)]).is_ok());
                        }
                    }
                    3 => {
                        if mine.is_empty() {
                            channel.take(std::mem::take(&mut credit), &mut mine, None);
                        }
                    }
                    _ => if let Some(item) = mine.pop_front() {
                        credit += cost(item.len());
                        seen.push(item[0]);
                    },
                }
                let state = channel.lock();
                let held = state.items.iter().chain(&mine).map(|item| cost(item.len()));
                prop_assert_eq!(held.sum::<u64>() + credit, state.out);
                prop_assert!(state.out <= WINDOW_BYTES || state.items.len() + mine.len() <= 1);
                prop_assert_eq!(sent, state.out + state.taken);
            }
            let expected: Vec<u8> = (1..=u8::MAX).chain([0]).cycle().take(seen.len()).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}

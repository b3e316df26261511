//! The items that tasks have sent, until the client that reads them has them.
//!
//! A client asks for the items from a number on, which says that those before it have arrived.
//! So an answer that is lost is given again, and no item comes twice. What it says that its
//! reader has taken is credit for the task. A task counts as ended when all of its items have
//! arrived: whoever learns of its end has them.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use dask_protocol::Serialized;
use dask_protocol::message::{Items, TakeItems};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::value::channel::Channel;
use crate::value::payload::Payload;

/// The longest that an answer is waited for, whatever is asked.
const LONGEST: Duration = Duration::from_secs(20);

/// All streams whose tasks run here.
#[derive(Debug)]
pub(super) struct Outflows {
    /// What tells them from those of others, and of an earlier process at this address.
    own: u64,
    next: AtomicU64,
    open: Mutex<HashMap<String, Arc<Outflow>>>,
}

impl Default for Outflows {
    fn default() -> Self {
        // The standard library's hashers start at random.
        let own = RandomState::new().build_hasher().finish();
        Self { own, next: AtomicU64::new(0), open: Mutex::default() }
    }
}

impl Outflows {
    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Outflow>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of a task that starts; it is closed when what this gives is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Opened {
        let name = format!("{:016x}-{}", self.own, self.next.fetch_add(1, Relaxed));
        let outflow = Arc::new(Outflow {
            channel: Channel::new(Arc::default()),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        self.open().insert(name.clone(), outflow.clone());
        Opened { outflows: self.clone(), name, outflow }
    }

    /// What is answered to a client that asks for items.
    pub(super) async fn answer(&self, asked: TakeItems) -> Items {
        let TakeItems { stream, received, taken, wait_ms } = asked;
        let Some(outflow) = self.open().get(&stream).cloned() else { return Items::Unknown };
        if !outflow.arrived(received, taken) {
            return Items::Unknown;
        }
        if let Some(wait_ms) = wait_ms {
            outflow.wait(Duration::from_millis(wait_ms).min(LONGEST)).await;
            return outflow.unread(received);
        }
        Items::Here { items: Serialized::from_bytes(Vec::new()), ended: false }
    }
}

/// A stream that is open.
#[derive(Debug)]
pub(super) struct Opened {
    outflows: Arc<Outflows>,
    pub(super) name: String,
    outflow: Arc<Outflow>,
}

impl Opened {
    /// What the task sends its items through.
    pub(super) fn channel(&self) -> Arc<Channel> {
        self.outflow.channel.clone()
    }

    /// The task has ended: waits until its items have arrived.
    pub(super) async fn arrived(&self) {
        let outflow = &self.outflow;
        outflow.lock().ended = true;
        // Whoever waits for items looks again.
        outflow.changed.notify_waiters();
        loop {
            let changed = outflow.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            outflow.has_news(None);
            if outflow.lock().unread.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.outflows.open().remove(&self.name);
        self.outflow.channel.leave();
        self.outflow.lock().ended = true;
        self.outflow.changed.notify_waiters();
    }
}

#[derive(Debug)]
struct Outflow {
    channel: Arc<Channel>,
    state: Mutex<State>,
    /// Items have arrived at the client, or the task has ended.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What has not arrived, as far as is known.
    unread: VecDeque<Payload>,
    /// The number of the first of these, from 0.
    first: u64,
    taken: u64,
    ended: bool,
}

impl Outflow {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many items have arrived, and so many bytes of them were taken. False if these items
    /// cannot be: whoever asks knows another stream.
    fn arrived(&self, received: u64, taken: u64) -> bool {
        let mut state = self.lock();
        let more = taken.saturating_sub(state.taken);
        state.taken += more;
        let Some(arrived) = received.checked_sub(state.first) else { return false };
        if arrived > state.unread.len() as u64 {
            return false;
        }
        state.first = received;
        let arrived: Vec<_> = state.unread.drain(..arrived as usize).collect();
        drop(state);
        if more > 0 {
            self.channel.credit(more);
        }
        if !arrived.is_empty() {
            self.changed.notify_waiters();
        }
        true
    }

    /// Takes what the task has sent; whether there is something to say.
    fn has_news(&self, context: Option<&Context<'_>>) -> bool {
        let mut state = self.lock();
        let mut sent = VecDeque::new();
        self.channel.take(0, &mut sent, context);
        state.unread.append(&mut sent);
        state.ended || !state.unread.is_empty()
    }

    /// Waits for items, or the end.
    async fn wait(&self, longest: Duration) {
        let end = Instant::now() + longest;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let sent = poll_fn(|context| match self.has_news(Some(context)) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            });
            tokio::select! {
                biased;
                () = sent => return,
                () = changed => {}
                () = tokio::time::sleep_until(end) => return,
            }
        }
    }

    /// The items from that number on.
    fn unread(&self, from: u64) -> Items {
        // In this order: what is sent before the end is here by then.
        let ended = self.lock().ended;
        self.has_news(None);
        let state = self.lock();
        if state.first != from {
            // It has asked again meanwhile, over another connection.
            return Items::Unknown;
        }
        let bytes = state.unread.iter().map(|item| 8 + item.len()).sum();
        let mut items = Vec::with_capacity(bytes);
        for item in &state.unread {
            items.extend_from_slice(&(item.len() as u64).to_le_bytes());
            item.pieces().for_each(|piece| items.extend_from_slice(piece));
        }
        Items::Here { items: Serialized::from_bytes(items), ended }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::dask::stream::split;
    use crate::value::channel::{Refused, WINDOW_BYTES, cost};

    fn asked(stream: &Opened, received: u64, taken: u64, wait_ms: Option<u64>) -> TakeItems {
        TakeItems { stream: stream.name.clone(), received, taken, wait_ms }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test)
    }

    /// The first bytes of the items of an answer, and whether they are the last.
    fn here(items: Items) -> (Vec<u8>, bool) {
        let Items::Here { items, ended } = items else { panic!("it is known") };
        let items = split(&items.into_bytes().unwrap()).unwrap();
        (items.iter().map(|item| item[0]).collect(), ended)
    }

    #[test]
    fn an_answer_that_was_lost_is_given_again_and_none_twice() {
        run(async {
            let outflows = Arc::<Outflows>::default();
            let stream = outflows.begin();
            let source = stream.channel().source(None);
            let send = |n: u8| source.send(&mut Some(vec![n; 9].into()), false);
            let ask = async |received| outflows.answer(asked(&stream, received, 0, Some(0))).await;
            send(1).unwrap();
            assert_eq!(here(ask(0).await), (vec![1], false));
            send(2).unwrap();
            assert_eq!(here(ask(0).await), (vec![1, 2], false));
            assert_eq!(here(ask(1).await), (vec![2], false));
            assert_eq!(ask(0).await, Items::Unknown, "it has arrived");
            assert_eq!(ask(3).await, Items::Unknown, "it was not sent");
            let (arrived, ()) = tokio::join!(stream.arrived(), async {
                assert_eq!(here(ask(1).await), (vec![2], true));
                assert_eq!(here(ask(2).await), (vec![], true));
            });
            let () = arrived;
            let after = asked(&stream, 2, 0, Some(0));
            drop(stream);
            assert_eq!(outflows.answer(after).await, Items::Unknown);
        });
    }

    #[test]
    fn what_was_taken_is_credit_also_if_it_is_said_alone() {
        run(async {
            let outflows = Arc::<Outflows>::default();
            let stream = outflows.begin();
            let source = stream.channel().source(None);
            let large = || Some(vec![7; WINDOW_BYTES as usize].into());
            source.send(&mut large(), false).unwrap();
            assert_eq!(here(outflows.answer(asked(&stream, 0, 0, Some(0))).await).0, [7]);
            assert_eq!(source.send(&mut large(), false), Err(Refused::Full));
            let taken = cost(WINDOW_BYTES as usize);
            assert_eq!(here(outflows.answer(asked(&stream, 0, taken, None)).await).0, [0_u8; 0]);
            source.send(&mut large(), false).unwrap();
            // It is said once more, and is no more credit.
            outflows.answer(asked(&stream, 1, taken, None)).await;
            assert_eq!(source.send(&mut large(), false), Err(Refused::Full));
            assert_eq!(here(outflows.answer(asked(&stream, 1, taken, Some(0))).await).0, [7]);
            let waiting = outflows.answer(asked(&stream, 2, taken, Some(60_000)));
            let (answered, ()) = tokio::join!(waiting, async {
                outflows.answer(asked(&stream, 2, 2 * taken, None)).await;
                source.send(&mut large(), false).unwrap();
            });
            assert_eq!(here(answered), (vec![7], false), "an item ends the wait");
        });
    }
}

//! A task's arguments, with the scattered values that they name.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use super::channel::Channel;
use super::codec::ValueError;
use super::feed::Feed;
use super::payload::Payload;
use super::scatter::Entry;
use super::scatter::home::Home;

/// Up to so many bytes are encoded and decoded on the thread of the caller, which may be
/// that of an event loop. A value of more is so on a thread of Outboard's own.
pub(crate) const ENCODED_AT_ONCE: usize = 64 << 10;

/// A task's arguments: encoded, the values that they name, and what it sends and receives items through.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) payload: Payload,
    /// What few tasks have.
    beside: Option<Box<Beside>>,
}

#[derive(Debug, Default)]
struct Beside {
    scattered: Vec<Arc<Entry>>,
    channel: Option<Arc<Channel>>,
    feeds: Vec<Arc<Feed>>,
}

impl Deref for Args {
    type Target = Payload;

    fn deref(&self) -> &Payload {
        &self.payload
    }
}

impl From<Vec<u8>> for Args {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes.into(), Vec::new())
    }
}

impl Args {
    /// Encoded arguments, and the values that they name.
    pub(crate) fn new(payload: Payload, scattered: Vec<Arc<Entry>>) -> Self {
        let beside = Beside { scattered, ..Beside::default() };
        Self { payload, beside: (!beside.scattered.is_empty()).then(|| Box::new(beside)) }
    }

    /// The same of a task that receives items through these.
    fn receiving(mut self, feeds: Vec<Arc<Feed>>) -> Self {
        if !feeds.is_empty() {
            self.beside.get_or_insert_default().feeds = feeds;
        }
        self
    }

    /// The same of a task that streams, if it does.
    pub(crate) fn streaming(mut self, channel: Option<Arc<Channel>>) -> Self {
        if channel.is_some() {
            self.beside.get_or_insert_default().channel = channel;
        }
        self
    }

    /// The values that they name.
    pub(crate) fn scattered(&self) -> &[Arc<Entry>] {
        self.beside.as_ref().map_or(&[], |beside| &beside.scattered)
    }

    /// What the task sends items through, if it streams.
    pub(crate) fn channel(&self) -> Option<&Arc<Channel>> {
        self.beside.as_ref()?.channel.as_ref()
    }

    /// What the task receives items through.
    pub(crate) fn feeds(&self) -> &[Arc<Feed>] {
        self.beside.as_ref().map_or(&[], |beside| &beside.feeds)
    }

    /// Encoded arguments, with values of another process that they name.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn lent(payload: Vec<u8>, values: Vec<Arc<Entry>>) -> Self {
        Self::new(payload.into(), values)
    }

    /// Encodes arguments for tasks of a client, which may have scattered values. Its engine
    /// takes a payload in pieces, or as one.
    pub(crate) fn encode<E: From<ValueError>>(
        encode: impl FnOnce() -> Result<Payload, E>,
        home: Option<&Arc<Home>>,
        pieces: bool,
    ) -> Result<Self, E> {
        let met = Met { home: home.cloned(), pieces, ..Met::default() };
        Self::encode_met(encode, met)
    }

    /// Encodes what is for all workers of this machine, which may have values that any client
    /// of this process scattered.
    pub(crate) fn encode_for_all<E: From<ValueError>>(
        encode: impl FnOnce() -> Result<Payload, E>,
    ) -> Result<Self, E> {
        Self::encode_met(encode, Met { all: true, ..Met::default() })
    }

    fn encode_met<E: From<ValueError>>(
        encode: impl FnOnce() -> Result<Payload, E>,
        met: Met,
    ) -> Result<Self, E> {
        // Encoding may submit tasks of its own, and it may panic.
        let _restore = Restore(MET.replace(Some(met)));
        let encoded = encode();
        match MET.take() {
            Some(met) if met.foreign => {
                Err(ValueError::new("a scattered value belongs to another client").into())
            }
            Some(met) => {
                let payload = encoded?.freed_elsewhere();
                Ok(Self::new(payload, met.entries).receiving(met.feeds))
            }
            None => Err(ValueError::new(
                "the scattered values of the arguments were lost while they were encoded",
            )
            .into()),
        }
    }
}

thread_local! {
    /// The values that are met while the arguments of a task are encoded.
    static MET: RefCell<Option<Met>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Met {
    home: Option<Arc<Home>>,
    entries: Vec<Arc<Entry>>,
    feeds: Vec<Arc<Feed>>,
    foreign: bool,
    pieces: bool,
    /// Those of any client are taken.
    all: bool,
}

/// Puts back what was met before.
struct Restore(Option<Met>);

impl Drop for Restore {
    fn drop(&mut self) {
        MET.set(self.0.take());
    }
}

/// Whether what is encoded now may be in several places. A result may.
pub(super) fn takes_pieces() -> bool {
    MET.with_borrow(|met| met.as_ref().is_none_or(|met| met.pieces))
}

/// Notes a scattered value that is met while arguments are encoded; false if none
/// are.
pub(super) fn meet(entry: &Arc<Entry>) -> bool {
    MET.with_borrow_mut(|met| {
        let Some(met) = met.as_mut() else { return false };
        let same = |home: &Arc<Home>| met.home.as_ref().is_some_and(|m| Arc::ptr_eq(m, home));
        met.foreign |= !met.all && !entry.home().is_some_and(same);
        if !met.entries.iter().any(|one| one.id == entry.id) {
            met.entries.push(entry.clone());
        }
        true
    })
}

/// Notes a stream that is met while the arguments of a task are encoded; false if none are.
pub(crate) fn meet_feed(feed: &Arc<Feed>) -> bool {
    MET.with_borrow_mut(|met| match met {
        Some(met) if !met.all => {
            if !met.feeds.iter().any(|one| one.id == feed.id) {
                met.feeds.push(feed.clone());
            }
            true
        }
        _ => false,
    })
}

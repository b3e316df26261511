//! Values that clients of Rust have scattered: each is fetched once, lies where
//! this machine's worker processes map it, and stays until the cluster frees it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dask_protocol::Serialized;
use dask_protocol::key::Key;
use tokio::sync::Mutex as AsyncMutex;

use super::super::store::Held;
use super::Stay;
use super::messages::{copied, saves_memory};
use crate::engine::dask::shelf;
use crate::offload;
use crate::value::scatter::Entry;

/// How long the scheduler may not know of a value that a client has brought: the
/// client may have gone before it told.
const TOLD: Duration = Duration::from_secs(30);

/// Values that are being fetched: who comes first does it, and others wait.
#[derive(Default)]
pub(super) struct Arriving(Mutex<HashMap<Key, Arc<AsyncMutex<Weak<Entry>>>>>);

impl Arriving {
    fn place(&self, key: &Key) -> Arc<AsyncMutex<Weak<Entry>>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, place| Arc::strong_count(place) > 1);
        places.entry(key.clone()).or_default().clone()
    }
}

/// The number of the value that a key stands for, if it is one that a client of
/// Rust scattered.
pub(super) fn number(key: &Key) -> Option<u64> {
    shelf::number(key.as_str()?)
}

impl Stay {
    /// A scattered value, for tasks: fetched if it is not here, and held from then
    /// on if there is room.
    pub(super) async fn lend(
        &self,
        key: &Key,
        id: u64,
        places: &[String],
    ) -> io::Result<Arc<Entry>> {
        let place = self.arriving.place(key);
        let mut arriving = place.lock().await;
        let here = self.lock().store.scattered(key).or_else(|| arriving.upgrade());
        if let Some(entry) = here {
            return Ok(entry);
        }
        let value = self.peers.get(key, places).await?;
        let entry = self.entry(id, value).await?;
        *arriving = Arc::downgrade(&entry);
        if self.lock().store.put(key.clone(), Held::Scattered(entry.clone())) {
            self.say(vec![copied(key)]);
        }
        self.changed.notify_one();
        Ok(entry)
    }

    async fn entry(&self, id: u64, value: Serialized) -> io::Result<Arc<Entry>> {
        let bytes = value.into_bytes()?.into();
        let client = self.client.clone();
        // Much is copied: meanwhile others are answered.
        let lent = offload::run(move || client.lend(id, bytes)).await;
        lent.map_err(|_| io::Error::other("placing it panicked"))?.map_err(io::Error::other)
    }

    /// Holds a value for the cluster, if there is room.
    pub(super) async fn hold(&self, key: Key, value: Serialized) -> bool {
        let held = match number(&key).filter(|_| value.is_bytes()) {
            Some(id) => match self.entry(id, value).await {
                Ok(entry) => Held::Scattered(entry),
                Err(error) => {
                    tracing::warn!(%key, %error, "a scattered value could not be held");
                    return false;
                }
            },
            None => Held::Value(Arc::new(value)),
        };
        let held = self.lock().store.put(key, held);
        self.changed.notify_one();
        held
    }

    /// Sees to it that a value which a client has brought does not stay if the
    /// scheduler was not told of it: it is told once more, and has it removed.
    pub(super) fn check_later(self: &Arc<Self>, key: Key) {
        if !key.as_str().is_some_and(shelf::is_brought) {
            return;
        }
        let stay = self.clone();
        self.lock().errands.spawn(async move {
            tokio::time::sleep(TOLD).await;
            if stay.lock().store.has(&key) {
                stay.say(vec![copied(&key)]);
            }
        });
    }

    /// Copies that nobody needs any more. Scattered values are kept where it is only
    /// to save memory: the next task would have to wait for them again.
    pub(super) fn drop_copies(self: &Arc<Self>, keys: Vec<Key>, stimulus: &str) {
        let mut inner = self.lock();
        let keeps = saves_memory(stimulus) && inner.standing.is_open() && !inner.store.is_full();
        for key in keys {
            match keeps && inner.store.scattered(&key).is_some() {
                true => self.say(vec![copied(&key)]),
                false => inner.store.remove(&key),
            }
        }
        self.pump(&mut inner);
    }
}

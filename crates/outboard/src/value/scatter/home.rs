//! The server's side: what one client scattered, and who has to be told of it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
#[cfg(all(feature = "local", unix))]
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use super::{Entry, Origin, Scattered};
use crate::error::{Error, Oversized, Repr, Step};
use crate::value::codec;

/// What all values of one client may take, in bytes.
const LIMIT_BYTES: u64 = 4 << 30;

/// What a value counts at least: a descriptor and a mapping are bounded too.
const LEAST_BYTES: u64 = 16 << 20;

/// What one client scattered.
pub(crate) struct Home {
    held_bytes: Mutex<u64>,
    pub(super) workers: Option<Arc<dyn Workers>>,
    /// What one value may take where it travels as a payload does, in bytes.
    most_bytes: u64,
}

/// Processes that were sent values.
pub(crate) trait Workers: Send + Sync {
    /// No task will name that value any more. May be called under the gate's
    /// mutex.
    fn forget(&self, id: u64);

    /// Whether they map values, for they are processes of this machine.
    fn map(&self) -> bool;

    /// Puts a value where they find it: the bytes from now on, and what they map.
    fn place(&self, bytes: Bytes) -> io::Result<Placed>;
}

/// Where a value lies.
pub(crate) struct Placed {
    pub(crate) bytes: Bytes,
    /// What a worker maps, where there are processes of this machine.
    #[cfg(all(feature = "local", unix))]
    pub(crate) file: Option<Arc<OwnedFd>>,
}

#[cfg(feature = "dask")]
impl Placed {
    /// In this process alone: no worker maps it.
    pub(crate) fn here(bytes: Bytes) -> Self {
        Self {
            bytes,
            #[cfg(all(feature = "local", unix))]
            file: None,
        }
    }
}

impl Home {
    /// `most_bytes` is what a payload may take.
    pub(crate) fn new(workers: Option<Arc<dyn Workers>>, most_bytes: usize) -> Arc<Self> {
        let travels = workers.as_ref().is_some_and(|workers| !workers.map());
        let most_bytes = if travels { most_bytes as u64 } else { LIMIT_BYTES };
        Arc::new(Self { held_bytes: Mutex::new(0), workers, most_bytes })
    }

    pub(super) fn release(&self, bytes: u64) {
        *self.held_bytes() -= bytes.max(LEAST_BYTES);
    }

    fn held_bytes(&self) -> MutexGuard<'_, u64> {
        self.held_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, bytes: u64) -> Result<(), Error> {
        if bytes > self.most_bytes {
            let (what, limit) = (Oversized::Scattered, self.most_bytes);
            return Err(Error::new(Repr::TooLarge { what, bytes, limit }));
        }
        let mut held = self.held_bytes();
        let bytes = held.saturating_add(bytes.max(LEAST_BYTES));
        if bytes > LIMIT_BYTES {
            let what = Oversized::AllScattered;
            return Err(Error::new(Repr::TooLarge { what, bytes, limit: LIMIT_BYTES }));
        }
        *held = bytes;
        Ok(())
    }

    /// Keeps a value.
    pub(crate) fn keep<T: Serialize + 'static>(
        self: &Arc<Self>,
        value: T,
    ) -> Result<Scattered<T>, Error> {
        let complain = |error| {
            let step = Step::EncodeScattered;
            Error::codec(step, &step.subject(std::any::type_name::<T>()), error)
        };
        let bytes = codec::encode(value).map_err(complain)?.into_bytes();
        self.charge(bytes.len() as u64)?;
        let entry = Entry::new(next_id(), bytes, Origin::Home(self.clone()))?;
        let entry = Arc::new(entry);
        Ok(Scattered::here(entry))
    }
}

/// Unlike those of any other process, for a worker has values of two.
pub(crate) fn next_id() -> u64 {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(std::process::id())));
    NEXT.fetch_add(1, Relaxed)
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("held_bytes", &*self.held_bytes()).finish_non_exhaustive()
    }
}

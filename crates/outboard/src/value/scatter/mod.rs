//! Values that go to each worker once, and to tasks as a number.
//!
//! A client keeps what it scatters in an [`Entry`]. On `local` the bytes lie in a sealed
//! file, which a worker gets just before the first task that names the value, and maps. A
//! worker keeps an entry of its own, decoded at most once, until the server says to forget
//! it. On `inline` there is one entry for all. A native worker of a cluster has entries of
//! its clients, which it *lends* to its own workers. The bytes come and go as data of the
//! cluster's.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
#[cfg(all(feature = "local", unix))]
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::args;
use super::codec::{self, Input, ValueError};
use super::payload::Payload;
use crate::error::Error;

/// The server's side.
pub(crate) mod home;

use home::{Home, Workers};

/// A value that was [scattered](crate::Client::scatter): tasks take it as an
/// argument, alone or inside of something else, and it costs them a number.
///
/// In a task it derefs to the value, which is decoded once in each worker; a
/// [`Bytes`] is the memory that all of them share. A clone is the same value.
///
/// It can be encoded only as an argument of a task of its own client: anything
/// else is an error of kind [`Codec`](crate::ErrorKind::Codec).
///
/// # Drop
///
/// When the last clone is gone, and the last task that was submitted with it has
/// ended, workers forget the value.
///
/// # Panics
///
/// Dereferencing panics where the value cannot be decoded from what it was encoded
/// to. In a task that is an error of its arguments instead.
pub struct Scattered<T> {
    entry: Arc<Entry>,
    value: PhantomData<fn() -> T>,
}

/// One value, as this process has it.
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) bytes: Bytes,
    decoded: OnceLock<Box<dyn Any + Send + Sync>>,
    origin: Origin,
    /// What a worker maps, where there are processes.
    #[cfg(all(feature = "local", unix))]
    pub(crate) file: Option<Arc<OwnedFd>>,
}

/// Where an entry is from.
enum Origin {
    /// It was scattered here.
    Home(Arc<Home>),
    /// Another process scattered it, and these workers are to have it.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    Lent(Arc<dyn Workers>),
    /// This is a worker, which received it.
    #[cfg(all(feature = "local", unix))]
    Received,
}

/// Who has which number, in this process.
enum Known {
    /// Scattered here: as long as someone has it.
    Here(Weak<Entry>),
    /// Received: until the server says otherwise.
    Received(Arc<Entry>),
}

static KNOWN: LazyLock<Mutex<HashMap<u64, Known>>> = LazyLock::new(Mutex::default);

fn known() -> MutexGuard<'static, HashMap<u64, Known>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry of another process's value, which these workers are to have: tasks that
/// name it can be given to them.
///
/// # Errors
///
/// `Unavailable` if no memory can be shared with them.
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
pub(crate) fn lend(id: u64, bytes: Bytes, workers: Arc<dyn Workers>) -> Result<Arc<Entry>, Error> {
    Entry::new(id, bytes, Origin::Lent(workers)).map(Arc::new)
}

impl Entry {
    fn new(id: u64, bytes: Bytes, origin: Origin) -> Result<Self, Error> {
        // Made first: whatever happens from here on, its drop gives back the charge.
        let mut entry = Self {
            id,
            bytes,
            decoded: OnceLock::new(),
            origin,
            #[cfg(all(feature = "local", unix))]
            file: None,
        };
        if let Some(workers) = entry.workers() {
            let placed = workers.place(entry.bytes.clone()).map_err(|error| {
                Error::unavailable(format!("could not share memory with workers: {error}"))
            })?;
            entry.bytes = placed.bytes;
            #[cfg(all(feature = "local", unix))]
            {
                entry.file = placed.file;
            }
        }
        Ok(entry)
    }

    /// Where it was scattered, if that is here.
    pub(super) fn home(&self) -> Option<&Arc<Home>> {
        match &self.origin {
            Origin::Home(home) => Some(home),
            #[cfg(all(feature = "local", unix))]
            _ => None,
        }
    }

    /// Who is told of its end.
    fn workers(&self) -> Option<&Arc<dyn Workers>> {
        match &self.origin {
            Origin::Home(home) => home.workers.as_ref(),
            #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
            Origin::Lent(workers) => Some(workers),
            #[cfg(all(feature = "local", unix))]
            Origin::Received => None,
        }
    }

    /// The value, decoded by the first who asks.
    fn value<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<&T, ValueError> {
        if self.decoded.get().is_none() {
            let payload = Payload::from(self.bytes.clone());
            let value: T = codec::decode(Input::Owned(payload))?;
            let _ = self.decoded.set(Box::new(value));
        }
        let value = self.decoded.get().and_then(|value| value.downcast_ref());
        value.ok_or_else(|| ValueError::new("the scattered value is of another type"))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(home) = self.home() {
            known().remove(&self.id);
            home.release(self.bytes.len() as u64);
        }
        if let Some(workers) = self.workers() {
            workers.forget(self.id);
        }
    }
}

/// Worker: a value arrived.
#[cfg(all(feature = "local", unix))]
pub(crate) fn receive(id: u64, bytes: Bytes) {
    let entry = Entry { id, bytes, decoded: OnceLock::new(), origin: Origin::Received, file: None };
    known().insert(id, Known::Received(Arc::new(entry)));
}

/// Worker: tasks from now on do not name it. Those that kept it have it still.
#[cfg(all(feature = "local", unix))]
pub(crate) fn forget(id: u64) {
    let forgotten = known().remove(&id);
    // Outside of the lock: dropping a value runs code of the user's.
    drop(forgotten);
}

impl<T> Scattered<T> {
    /// The handle of a value that was scattered in this process.
    fn here(entry: Arc<Entry>) -> Self {
        known().insert(entry.id, Known::Here(Arc::downgrade(&entry)));
        Self { entry, value: PhantomData }
    }
}

impl<T> Clone for Scattered<T> {
    fn clone(&self) -> Self {
        Self { entry: self.entry.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for Scattered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scattered").field("bytes", &self.entry.bytes.len()).finish_non_exhaustive()
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Deref for Scattered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self.entry.value() {
            Ok(value) => value,
            Err(error) => panic!("could not decode the scattered value: {error}"),
        }
    }
}

impl<T> Serialize for Scattered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !args::meet(&self.entry) {
            return Err(S::Error::custom("a scattered value can only be an argument of a task"));
        }
        serializer.serialize_u64(self.entry.id)
    }
}

impl<'de, T: DeserializeOwned + Send + Sync + 'static> Deserialize<'de> for Scattered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = u64::deserialize(deserializer)?;
        let entry = match known().get(&id) {
            Some(Known::Here(entry)) => entry.upgrade(),
            Some(Known::Received(entry)) => Some(entry.clone()),
            None => None,
        };
        let entry = entry
            .ok_or_else(|| D::Error::custom("the scattered value did not reach this worker"))?;
        entry.value::<T>().map_err(D::Error::custom)?;
        Ok(Self { entry, value: PhantomData })
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("id", &self.id).finish_non_exhaustive()
    }
}

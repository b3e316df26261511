//! Values that go to each worker once, and to tasks as a number.
//!
//! A client keeps what it scatters in an [`Entry`]. On `local` the bytes lie in a
//! sealed file, which a worker gets just before the first task that names the
//! value, and maps. A worker keeps an entry of its own, decoded at most once,
//! until the server says to forget it. On `inline` there is one entry for all. A
//! native worker of a cluster has entries of its clients, which it *lends* to its
//! own workers; the bytes come and go as data of the cluster's.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::ops::Deref;
#[cfg(all(feature = "local", target_os = "linux"))]
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec::{self, Input};
use crate::error::{Error, Repr};
use crate::task::Function;
use crate::wire::Payload;

/// What all values of one client may take, in bytes.
const LIMIT_BYTES: u64 = 4 << 30;

/// What a value counts at least: a descriptor and a mapping are bounded too.
const LEAST_BYTES: u64 = 16 << 20;

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
    #[cfg(all(feature = "local", target_os = "linux"))]
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
    #[cfg(all(feature = "local", target_os = "linux"))]
    Received,
}

/// What one client scattered.
pub(crate) struct Home {
    held_bytes: Mutex<u64>,
    workers: Option<Arc<dyn Workers>>,
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

thread_local! {
    /// The values that are met while the arguments of a task are encoded.
    static MET: RefCell<Option<Met>> = const { RefCell::new(None) };
}

struct Met {
    home: Option<Arc<Home>>,
    entries: Vec<Arc<Entry>>,
    foreign: bool,
}

/// Puts back what was met before.
struct Restore(Option<Met>);

impl Drop for Restore {
    fn drop(&mut self) {
        MET.set(self.0.take());
    }
}

/// A task's arguments: encoded, and the values that they name.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) payload: Payload,
    pub(crate) scattered: Box<[Arc<Entry>]>,
}

impl Deref for Args {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.payload
    }
}

impl From<Vec<u8>> for Args {
    fn from(bytes: Vec<u8>) -> Self {
        Self { payload: bytes.into(), scattered: Box::default() }
    }
}

impl Args {
    /// Whether a function can have them.
    pub(crate) fn check(&self, function: &Function) -> Result<(), Error> {
        if function.python && !self.scattered.is_empty() {
            let why = "a scattered value is nothing to Python: pass the value itself";
            return Err(Error::codec("encode the arguments", function.name, why.to_owned()));
        }
        Ok(())
    }

    /// Encoded arguments, with values of another process that they name.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn lent(payload: Vec<u8>, values: Vec<Arc<Entry>>) -> Self {
        Self { payload: payload.into(), scattered: values.into() }
    }

    /// Encodes arguments for tasks of a client, which may have scattered values.
    pub(crate) fn encode(
        encode: impl FnOnce() -> Result<Payload, String>,
        home: Option<&Arc<Home>>,
    ) -> Result<Self, String> {
        let met = Met { home: home.cloned(), entries: Vec::new(), foreign: false };
        // Encoding may submit tasks of its own, and it may panic.
        let _restore = Restore(MET.replace(Some(met)));
        let encoded = encode();
        match MET.take() {
            Some(met) if met.foreign => Err("a scattered value belongs to another client".into()),
            Some(met) => Ok(Self { payload: encoded?, scattered: met.entries.into() }),
            None => Err("encoding the arguments went astray".into()),
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

    fn held_bytes(&self) -> MutexGuard<'_, u64> {
        self.held_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, bytes: u64) -> Result<(), Error> {
        if bytes > self.most_bytes {
            let (what, limit) = ("a scattered value", self.most_bytes);
            return Err(Error::new(Repr::TooLarge { what, bytes, limit }));
        }
        let mut held = self.held_bytes();
        let bytes = held.saturating_add(bytes.max(LEAST_BYTES));
        if bytes > LIMIT_BYTES {
            let what = "scattered values, all together,";
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
        let complain = |error: String| {
            Error::codec("encode the scattered value", std::any::type_name::<T>(), error)
        };
        let bytes = codec::encode(value).map_err(complain)?.into_bytes();
        self.charge(bytes.len() as u64)?;
        let entry = Entry::new(next_id(), bytes, Origin::Home(self.clone()))?;
        let entry = Arc::new(entry);
        known().insert(entry.id, Known::Here(Arc::downgrade(&entry)));
        Ok(Scattered { entry, value: PhantomData })
    }
}

/// Unlike those of any other process, for a worker has values of two.
pub(crate) fn next_id() -> u64 {
    static NEXT: LazyLock<AtomicU64> =
        LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(std::process::id())));
    NEXT.fetch_add(1, Relaxed)
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
    #[cfg(all(feature = "local", target_os = "linux"))]
    fn new(id: u64, bytes: Bytes, origin: Origin) -> Result<Self, Error> {
        // Made first: whatever happens from here on, its drop gives back the charge.
        let mut entry = Self { id, bytes, decoded: OnceLock::new(), origin, file: None };
        if entry.workers().is_some_and(|workers| workers.map()) {
            let shared = crate::sealed::create(&entry.bytes)
                .and_then(|file| Ok((crate::sealed::open(&file, entry.bytes.len() as u64)?, file)));
            let (bytes, file) = shared.map_err(|error| {
                Error::unavailable(format!("no memory can be shared with workers: {error}"))
            })?;
            (entry.bytes, entry.file) = (bytes, Some(Arc::new(file)));
        }
        Ok(entry)
    }

    #[cfg(not(all(feature = "local", target_os = "linux")))]
    #[expect(clippy::unnecessary_wraps, reason = "as where there are worker processes")]
    fn new(id: u64, bytes: Bytes, origin: Origin) -> Result<Self, Error> {
        Ok(Self { id, bytes, decoded: OnceLock::new(), origin })
    }

    /// Where it was scattered, if that is here.
    fn home(&self) -> Option<&Arc<Home>> {
        match &self.origin {
            Origin::Home(home) => Some(home),
            #[cfg(all(feature = "local", target_os = "linux"))]
            _ => None,
        }
    }

    /// Who is told of its end.
    fn workers(&self) -> Option<&Arc<dyn Workers>> {
        match &self.origin {
            Origin::Home(home) => home.workers.as_ref(),
            #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
            Origin::Lent(workers) => Some(workers),
            #[cfg(all(feature = "local", target_os = "linux"))]
            Origin::Received => None,
        }
    }

    /// The value, decoded by the first who asks.
    fn value<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<&T, String> {
        if self.decoded.get().is_none() {
            let payload = Payload::from(self.bytes.clone());
            let value: T = codec::decode(Input::Owned(payload))?;
            let _ = self.decoded.set(Box::new(value));
        }
        let value = self.decoded.get().and_then(|value| value.downcast_ref());
        value.ok_or_else(|| "it is of another type".to_owned())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(home) = self.home() {
            known().remove(&self.id);
            *home.held_bytes() -= (self.bytes.len() as u64).max(LEAST_BYTES);
        }
        if let Some(workers) = self.workers() {
            workers.forget(self.id);
        }
    }
}

/// Worker: a value arrived.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) fn receive(id: u64, file: &OwnedFd) -> std::io::Result<()> {
    let bytes = Bytes::from_owner(crate::mapping::Sealed::open(file)?);
    let entry = Entry { id, bytes, decoded: OnceLock::new(), origin: Origin::Received, file: None };
    known().insert(id, Known::Received(Arc::new(entry)));
    Ok(())
}

/// Worker: tasks from now on do not name it. Those that kept it have it still.
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) fn forget(id: u64) {
    let forgotten = known().remove(&id);
    // Outside of the lock: dropping a value runs code of the user's.
    drop(forgotten);
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
            Err(error) => panic!("the scattered value cannot be decoded: {error}"),
        }
    }
}

impl<T> Serialize for Scattered<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        MET.with_borrow_mut(|met| {
            let met = met.as_mut().ok_or_else(|| {
                S::Error::custom("a scattered value can only be an argument of a task")
            })?;
            let same = |home: &Arc<Home>| met.home.as_ref().is_some_and(|m| Arc::ptr_eq(m, home));
            met.foreign |= !self.entry.home().is_some_and(same);
            if !met.entries.iter().any(|one| one.id == self.entry.id) {
                met.entries.push(self.entry.clone());
            }
            Ok(())
        })?;
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
        let entry = entry.ok_or_else(|| D::Error::custom("the scattered value is not here"))?;
        entry.value::<T>().map_err(D::Error::custom)?;
        Ok(Self { entry, value: PhantomData })
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("held_bytes", &*self.held_bytes()).finish_non_exhaustive()
    }
}

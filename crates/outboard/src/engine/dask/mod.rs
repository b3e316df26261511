//! The `dask` engine: the scheduler and workers of an unmodified Dask cluster.
//!
//! What is said, and in which form, is in the crate `dask-protocol`; a `connection`
//! carries it, `graph` is what tasks call, `native` what Rust says to Rust inside of
//! results. `table` knows which task is where, and decides where the next one goes; a
//! `keeper` for each scheduler connects, writes what is in its `departure`, and reads; its
//! `fetch` brings results, its `upload` takes scattered values there, and a `shelf` knows
//! which are there. The other side, a worker, is in `worker`.

mod cluster;
mod connection;
/// Functions of Python that stream.
mod generator;
mod graph;
mod keeper;
mod native;
#[cfg(test)]
mod nonsense;
/// What tasks have sent, at a worker.
#[cfg(all(feature = "local", target_os = "linux"))]
mod outflow;
mod plugin;
/// How far tasks say that they are, at both ends.
mod progress;
mod running;
mod shelf;
mod stream;
mod table;
mod tls;
mod url;
/// What a worker must have for a task.
mod wanted;
mod window;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) mod worker;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use linkme::distributed_slice;
use ring::digest::{Context, SHA256};
use tokio::sync::{Notify, watch};

use super::owner::Owner;
use super::pools::{Member, Pools};
use super::registry::{self, OUTBOARD_0_1_0_ENGINES};
use super::settings::Settings as LocalSettings;
use super::url::Url;
use super::{ClusterSize, Engine, Flush, Gate, Limits, Reserve, Stopped, Work};
use crate::error::Error;
use crate::ids::{SlotId, TaskId};
use crate::observe::snapshot::WorkerSnapshot;
use crate::sched::placement::Rules;
use crate::sched::strength::Strength;
use crate::task::progress::Progress;
use crate::task::registry::{Function, unknown};
use crate::value::scatter::Entry;
use crate::value::scatter::home::{Placed, Workers, next_id};

use cluster::Cluster;
use graph::Terms;
use running::Running;
use shelf::{Kind, Named};
use stream::Stream;
use table::{Start, Table};

pub(crate) use url::Settings;

/// From this size on arguments go straight to a worker. docs/book/src/inside-dask.md has the
/// figures.
const STRAIGHT_BYTES: usize = 1 << 20;

#[expect(unsafe_code, reason = "linkme puts it into a linker section")]
#[distributed_slice(OUTBOARD_0_1_0_ENGINES)]
static DASK: registry::Entry = registry::Entry {
    schemes: &["dask", "tcp", "tls"],
    order: 1,
    connect: |url, settings| Box::pin(connect(url, settings)),
    #[cfg(all(feature = "local", target_os = "linux"))]
    become_worker: worker::become_one,
    #[cfg(all(feature = "local", target_os = "linux"))]
    is_worker: worker::is_one,
    #[cfg(not(all(feature = "local", target_os = "linux")))]
    become_worker: |_| {},
    #[cfg(not(all(feature = "local", target_os = "linux")))]
    is_worker: || false,
};

async fn connect(mut url: Url, settings: Option<LocalSettings>) -> Result<Arc<Owner>, Error> {
    let cluster = Settings::of(&mut url)?;
    url.refuse_pools()?;
    let settings = settings.map_or_else(|| url.settings("dask"), Ok)?;
    Owner::when_up(Pools::of_workers(start(cluster, settings.limits)?)).await
}

/// Connects to the schedulers that the settings name; ready when the first is.
///
/// # Errors
///
/// `Unavailable`, saying of each scheduler why it cannot be used.
fn start(settings: Settings, limits: Limits) -> Result<Arc<Gate>, Error> {
    crate::task::registry::registry().map_err(Error::unavailable)?;
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
        Error::unavailable("a cluster needs a tokio runtime: start the client inside one")
    })?;
    let tls = settings.tls().map_err(Error::unavailable)?;
    let schedulers = settings.addresses.len();
    let (ending, ended) = watch::channel(false);
    let shared = Arc::new(Shared {
        table: Mutex::new(Table::new(schedulers, settings.window)),
        wakes: (0..schedulers).map(|_| Arc::default()).collect(),
        clusters: (0..schedulers).map(|_| Mutex::default()).collect(),
        done: Mutex::default(),
        running: Running::new(schedulers),
        said: (0..schedulers).map(|_| progress::Said::default()).collect(),
        reasons: Mutex::new(vec![None; schedulers]),
        last_up: Mutex::new(None),
        names: Names::default(),
        ending,
    });
    // A slot is at one scheduler, and is lost with that and with what it has there.
    let tenants = Rules { ahead: false, ..limits.tenants };
    let limits = Limits { tenants, ..limits };
    let gate =
        Gate::new(limits, Strength::default(), Box::new(Dask(shared.clone())), &Member::alone());
    let guard = Arc::new(Ended { gate: gate.clone(), shared: shared.clone() });
    for at in 0..schedulers {
        let (gate, shared, ended) = (gate.clone(), shared.clone(), ended.clone());
        let keep = keeper::keep(gate, shared, at, &settings, tls.clone(), ended);
        let guard = guard.clone();
        runtime.spawn(async move {
            keep.await;
            drop(guard);
        });
    }
    Ok(gate)
}

/// The engine, as the gate calls it.
#[derive(Debug)]
struct Dask(Arc<Shared>);

/// What the gate and the keepers share.
#[derive(Debug)]
struct Shared {
    /// The gate's mutex is always taken before this one.
    table: Mutex<Table>,
    wakes: Vec<Arc<Wake>>,
    clusters: Vec<Mutex<Arc<Cluster>>>,
    /// How many tasks of this client each worker has done, by its address.
    done: Mutex<HashMap<String, u64>>,
    running: Running,
    /// What tasks say of their progress, by scheduler.
    said: Vec<progress::Said>,
    /// Why each scheduler cannot be used at the moment.
    reasons: Mutex<Vec<Option<String>>>,
    /// When the last scheduler was lost, if one was ever up.
    last_up: Mutex<Option<Instant>>,
    names: Names,
    ending: watch::Sender<bool>,
}

/// Wakes what writes to a scheduler.
#[derive(Debug, Default)]
struct Wake(Notify);

impl Flush for Wake {
    fn flush(&self) {
        self.0.notify_one();
    }
}

/// Makes names that nobody else makes.
#[derive(Debug)]
struct Names {
    own: u64,
    next: AtomicU64,
}

impl Default for Names {
    fn default() -> Self {
        // The standard library's hashers start at random.
        Self { own: RandomState::new().build_hasher().finish(), next: AtomicU64::new(0) }
    }
}

impl Names {
    /// A key of a task of that function.
    fn key(&self, function: &str) -> String {
        format!("{function}-{}", self.unique())
    }

    /// 32 hexadecimal digits.
    fn unique(&self) -> String {
        format!("{:016x}{:016x}", self.own, self.next.fetch_add(1, Relaxed))
    }
}

/// Tells the gate that the engine has ended, when the last keeper is gone; also
/// when its runtime drops it.
#[derive(Debug)]
struct Ended {
    gate: Arc<Gate>,
    shared: Arc<Shared>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if !*self.shared.ending.borrow() {
            self.gate.end(&Error::closed("its runtime ended"));
        }
        for cluster in &self.shared.clusters {
            *cluster.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        }
        self.gate.report(|reports| reports.ended());
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self, at: usize) -> Arc<Cluster> {
        self.clusters[at].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key by which a cluster knows an attempt: of its own, or the same for
    /// all who call a pure function with the same arguments.
    fn key(&self, work: &Work<'_>) -> String {
        let name = work.function.name;
        let shared = work.key.filter(|_| work.function.pure);
        let Some(key) = shared else { return self.names.key(name) };
        let mut digest = Context::new(&SHA256);
        digest.update(&[native::VERSION]);
        digest.update(work.function.version.to_string().as_bytes());
        digest.update(&work.attempt.to_le_bytes());
        for part in key.parts() {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest = digest.finish();
        let digits = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}"));
        format!("{name}-{}", digits.collect::<String>())
    }

    /// The slots of this client's tasks at a worker, the oldest first.
    fn tasks_at(&self, at: usize, address: &str) -> Vec<SlotId> {
        let keys = self.running.at(at, address);
        let table = self.table();
        let found = keys.iter().filter_map(|key| table.by_key(at, key.as_str()?));
        let mut found: Vec<_> = found.map(|entry| (entry.since, entry.slot)).collect();
        found.sort_unstable_by_key(|(since, _)| *since);
        found.into_iter().map(|(_, slot)| slot).collect()
    }

    /// All schedulers' clusters.
    fn each_cluster(&self) -> impl Iterator<Item = Arc<Cluster>> {
        (0..self.clusters.len()).map(|at| self.cluster(at))
    }
}

/// What the worker is told beside the arguments.
fn terms(work: &Work<'_>, now: Instant) -> Terms {
    // Others may come to share a task with a key, and be more patient.
    let deadline = work.deadline.filter(|_| work.key.is_none());
    Terms {
        timeout: deadline.map(|deadline| deadline.saturating_duration_since(now)),
        grace: work.grace,
        context: work.origin.and_then(|origin| origin.context.clone()),
        level: crate::trace::level(),
        // Its scheduler is not known yet.
        topic: None,
    }
}

/// What is brought to workers before a task: the values that it names, and its
/// arguments if they are large. Those of a pure function are not: other clients
/// may have the same task, which then has but one set of them.
fn values(work: &Work<'_>) -> Vec<Named> {
    let named = |entry: &Arc<Entry>| {
        let (id, bytes, kind) = (entry.id, entry.bytes.clone(), Kind::Scattered);
        Named { id, bytes, kind, key: String::new() }
    };
    let mut values: Vec<_> = work.args.scattered().iter().map(named).collect();
    let shared = work.function.pure && work.key.is_some();
    if !work.function.python && !shared && work.args.len() >= STRAIGHT_BYTES {
        let (id, bytes) = (next_id(), work.args.payload.clone().into_bytes());
        values.push(Named { id, bytes, kind: Kind::Arguments, key: String::new() });
    }
    values
}

/// The clusters, where scattered values are concerned.
struct Holders(Arc<Shared>);

impl Workers for Holders {
    fn forget(&self, id: u64) {
        let told = self.0.table().forget_value(id);
        told.into_iter().for_each(|at| self.0.wakes[at].flush());
    }

    fn map(&self) -> bool {
        false
    }

    fn place(&self, bytes: Bytes) -> io::Result<Placed> {
        Ok(Placed::here(bytes))
    }
}

impl Engine for Dask {
    fn name(&self) -> &'static str {
        "dask"
    }

    fn check(&self, function: &'static Function) -> Result<(), Error> {
        if function.python || function.index.is_some() {
            return Ok(());
        }
        Err(unknown(function.name, "a cluster knows functions by name: mark it with #[task]"))
    }

    /// Graphs and data have the arguments as one.
    fn takes_pieces(&self) -> bool {
        false
    }

    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>> {
        let now = Instant::now();
        let start = Start {
            task: work.task,
            attempt: work.attempt,
            key: self.0.key(&work),
            function: work.function,
            pool: wanted::pool_for(work.pool, work.function),
            args: work.args.payload.clone(),
            priority: work.priority,
            terms: terms(&work, now),
            values: values(&work),
            stream: work.args.channel().map(Stream::new),
            again: false,
        };
        let at = self.0.table().start(now, slot, start);
        Some(self.0.wakes[at].clone())
    }

    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped {
        let stopped = self.0.table().stop(slot, task);
        match stopped {
            Some((unsent, at)) => {
                self.0.wakes[at].flush();
                if unsent { Stopped::Unstarted } else { Stopped::Continues }
            }
            None => Stopped::Continues,
        }
    }

    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId> {
        self.0.table().withdraw(slot)
    }

    fn started(&self, slot: SlotId, task: TaskId) -> bool {
        self.0.table().has_left(slot, task)
    }

    fn progress(&self, slot: SlotId, task: TaskId) -> Option<Progress> {
        let (at, key) = {
            let table = self.0.table();
            let (at, key) = table.place(slot, task)?;
            (at, key.to_owned())
        };
        self.0.said[at].look(&key)
    }

    fn forget(&mut self, slot: SlotId) {
        self.0.table().remove_slot(slot);
    }

    fn shutdown(&mut self) {
        self.0.ending.send_replace(true);
    }

    fn holders(&self) -> Result<Option<Arc<dyn Workers>>, Error> {
        Ok(Some(Arc::new(Holders(self.0.clone()))))
    }

    fn workers(&self) -> Vec<(Option<SlotId>, WorkerSnapshot)> {
        let clusters: Vec<_> = self.0.each_cluster().collect();
        let workers = clusters.iter().enumerate();
        let workers = workers.flat_map(|(at, it)| it.workers().iter().map(move |it| (at, it)));
        self.0.running.look();
        let mut done = self.0.done();
        // Of those that are gone nothing is kept.
        done.retain(|place, _| clusters.iter().any(|cluster| cluster.number(place) > 0));
        let rows = workers.zip(1..).map(|((at, worker), number)| {
            let (pid, busy) = (worker.pid.unwrap_or(0), worker.executing > 0);
            let done = done.get(&worker.address).copied().unwrap_or(0);
            let mut row = WorkerSnapshot::new(number, pid, done, busy);
            row.memory_bytes = worker.memory;
            row.address = Some(worker.address.clone());
            let tasks = self.0.tasks_at(at, &worker.address);
            row.next_in_line = tasks.len().saturating_sub(1);
            (tasks.first().copied(), row)
        });
        rows.collect()
    }

    fn cluster(&self) -> Option<ClusterSize> {
        let clusters: Vec<_> = self.0.each_cluster().collect();
        Some(ClusterSize {
            workers: clusters.iter().map(|cluster| cluster.workers().len()).sum(),
            cores: clusters.iter().map(|cluster| cluster.threads()).sum(),
            memory_bytes: clusters.iter().map(|cluster| cluster.memory_limit()).sum(),
        })
    }

    fn reserve(&mut self) -> Option<&mut dyn Reserve> {
        Some(self)
    }

    fn held_ns(&self, slot: SlotId, task: TaskId, now: Instant) -> Option<u64> {
        let held = self.0.table().held_for(now, slot, task)?;
        Some(u64::try_from(held.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Places for tasks that the schedulers' windows have, and that are not slots yet.
impl Reserve for Dask {
    fn standby(&self) -> usize {
        self.0.table().missing()
    }

    fn promote(&mut self, slot: SlotId, _: usize) {
        self.0.table().add_slot(slot);
    }

    fn demote(&mut self, slot: SlotId) {
        self.forget(slot);
    }

    fn release(&mut self) {
        self.0.table().want_less();
    }
}

//! One stay of this worker at a scheduler: what it was given, holds and says.

mod execution;
mod messages;
mod metrics;
#[cfg(test)]
mod nonsense;
mod peers;
mod scattered;
mod serve;
mod talk;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dask_protocol::Serialized;
use dask_protocol::frames::Bounds;
use dask_protocol::key::Key;
use dask_protocol::message::{ComputeTask, Packages, Places, WorkerIdentity, WorkerToScheduler};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::ClusterEvent;
use super::desk::{Desk, Given, Priority};
use super::outcome::Raised;
use super::settings::Settings;
use super::spec::{Misfit, Needed, Spec};
use super::standing::Standing;
use super::store::{Needs, Store, needs};
use crate::engine::dask::connection::Dialer;
use crate::engine::dask::outflow::Outflows;
use crate::engine::dask::progress::executions::Executions;
use crate::engine::dask::wanted::{of_pool, pool_in, resource};
use crate::engine::pools::DEFAULT;
use crate::front::client::Client;
use crate::task::outcome::OTHER_BUILD;
use crate::task::registry::{Function, registry, unknown};
use crate::value::scatter::Entry;

use messages::{Timing, copied, erred, finished, reschedule, status};
use metrics::Cpu;
use peers::Peers;
use scattered::Arriving;
use talk::Place;

/// What a message may have beside the largest payload.
const ROOM: usize = 16 << 20;

/// Joins a scheduler, and stays as long as that goes well.
pub(super) async fn stay(
    settings: &Arc<Settings>,
    client: &Client,
    address: &str,
    listening: &Listening,
    tell: &(dyn Fn(&ClusterEvent) + Send + Sync),
    leaving: watch::Receiver<bool>,
) -> Left {
    Place { settings, client, address, listening, tell }.stay(leaving).await
}

/// How a stay ended.
#[derive(Debug)]
pub(super) enum Left {
    /// As was asked, here or there.
    Done,
    /// The scheduler cannot be joined as things are: a line that says why.
    Refused(String),
    /// The scheduler was lost, or does not know this worker any more.
    Lost { joined: bool, error: io::Error },
}

/// Where this worker listens.
pub(super) struct Listening {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listening {
    pub(super) fn new(listener: TcpListener, tls: Option<TlsAcceptor>) -> Self {
        Self { listener, tls }
    }
}

/// See the module's documentation.
struct Stay {
    settings: Arc<Settings>,
    /// The worker processes of this machine.
    client: Client,
    /// Where this worker listens.
    address: String,
    /// What the scheduler said of its packages.
    packages: Packages,
    peers: Peers,
    arriving: Arriving,
    /// Tasks that stream, and what they have sent.
    outflows: Arc<Outflows>,
    executions: Executions,
    inner: Mutex<Inner>,
    cpu: Mutex<Cpu>,
    says: mpsc::UnboundedSender<Vec<WorkerToScheduler>>,
    /// A task has ended, something was freed, or there is something to say.
    changed: Notify,
    /// Someone asked this worker to end.
    closed: Notify,
}

struct Inner {
    desk: Desk,
    store: Store,
    standing: Standing,
    held: HashMap<Key, Held>,
    /// Copies that are being fetched, and what is looked at later.
    errands: JoinSet<()>,
}

/// What is known of a task at the desk.
struct Held {
    /// What is to be done, until that is done.
    spec: Option<Spec>,
    /// The function that it calls, and the place of its pool.
    by: Option<(&'static Function, usize)>,
    needed: Needed,
    scattered: Vec<Arc<Entry>>,
    since: Option<Instant>,
    /// What fetches for it, or executes it.
    _doing: Option<Doing>,
}

/// Something that goes on, and ends when this is dropped.
struct Doing(JoinHandle<()>);

impl Drop for Doing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How an execution ended: a value and the number of the process, or an
/// exception.
type Ended = Result<(Arc<Serialized>, usize), Raised>;

impl Stay {
    fn new(
        settings: Arc<Settings>,
        client: Client,
        address: String,
        packages: Packages,
        says: mpsc::UnboundedSender<Vec<WorkerToScheduler>>,
    ) -> Self {
        let inner = Inner {
            desk: Desk::new(settings.lanes().map(|(_, threads)| threads)),
            store: Store::new(settings.held_bytes),
            standing: Standing::default(),
            held: HashMap::new(),
            errands: JoinSet::new(),
        };
        let dialer = Dialer { tls: settings.dialing.clone(), bounds: bounds(&settings) };
        Self {
            peers: Peers::new(dialer, address.clone()),
            arriving: Arriving::default(),
            settings,
            client,
            address,
            packages,
            outflows: Arc::default(),
            executions: Executions::default(),
            cpu: Mutex::new(Cpu::new(Instant::now())),
            inner: Mutex::new(inner),
            says,
            changed: Notify::new(),
            closed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, all: Vec<WorkerToScheduler>) {
        drop(self.says.send(all));
    }

    /// The scheduler gives a task.
    fn give(self: &Arc<Self>, task: ComputeTask) {
        let ComputeTask { key, run_id, priority, who_has, run_spec, resources } = task;
        let run_spec = run_spec.unwrap_or_default();
        // Before the lock, for this may take a while.
        let limit = self.settings.local.limits.payload;
        let judged = self.judge(&resources, Spec::read(&run_spec.pickle, &run_spec.buffers, limit));
        let mut inner = self.lock();
        if let Some(value) = inner.store.get(&key) {
            return self.say(vec![finished(&key, run_id, &value, 0, Timing::start())]);
        }
        if inner.standing.leaving {
            return self.say(vec![reschedule(&key)]);
        }
        let (spec, by) = match judged {
            Judged::Done(spec, by) => (spec, by),
            Judged::Stray => return self.give_back(&mut inner, &key),
            Judged::Refused(raised) => {
                return self.say(vec![erred(&key, run_id, raised, Timing::start())]);
            }
        };
        let priority = Priority::new(priority);
        let lane = by.map_or(0, |(_, lane)| lane);
        let Given::New(number) = inner.desk.give(&key, run_id, priority, lane) else { return };
        let by_rust = spec.is_by_us();
        let Needs { values: needed, scattered, missing } = needs(who_has, &inner.store, by_rust);
        let (spec, since) = (Some(spec), Some(Instant::now()));
        let doing = (!missing.is_empty()).then(|| {
            let (stay, key) = (self.clone(), key.clone());
            Doing(tokio::spawn(async move { stay.fetch(key, number, missing, by_rust).await }))
        });
        if doing.is_none() {
            inner.desk.arrived(&key, number);
        }
        let held = Held { spec, by, needed, scattered, since, _doing: doing };
        inner.held.insert(key, held);
        self.pump(&mut inner);
    }

    fn judge(&self, resources: &[(String, f64)], spec: Result<Spec, Misfit>) -> Judged {
        let spec = match spec {
            Ok(Spec::Alias(_) | Spec::Value(_)) | Err(Misfit::Value(_) | Misfit::Stray(_))
                if self.settings.mixed =>
            {
                return Judged::Stray;
            }
            Ok(spec) => spec,
            Err(Misfit::Stray(what)) => {
                let line = format!("{what} cannot run here: this worker runs Rust functions only");
                return Judged::Refused(Raised::new("NotImplementedError", &line, None));
            }
            Err(Misfit::Args(line) | Misfit::Value(line)) => {
                return Judged::Refused(Raised::new("TypeError", &line, None));
            }
        };
        let Some((name, values)) = spec.function() else { return Judged::Done(spec, None) };
        let all = registry().ok();
        let found = all.map(|registry| registry.named(name, values));
        let function = found.and_then(|mut found| found.find(|it| fits(resources, it)));
        let placed = match function {
            Some(function) => self.lane(resources, function).map(|lane| (function, lane)),
            None => Err(all.map_or(OTHER_BUILD, |registry| registry.instead_of(name))),
        };
        let advice = match placed {
            Ok(by) => return Judged::Done(spec, Some(by)),
            Err(advice) => advice,
        };
        let error = unknown(name.to_owned(), advice);
        Judged::Refused(match values {
            true => Raised::for_python(&error),
            false => Raised::for_rust(&error, &self.address, &[]),
        })
    }

    /// The place of the pool that a task is for: the one whose resource it takes, or else that of
    /// its function.
    ///
    /// # Errors
    ///
    /// A line, if there is no such pool here: the scheduler was not told of it.
    fn lane(
        &self,
        resources: &[(String, f64)],
        function: &Function,
    ) -> Result<usize, Cow<'static, str>> {
        let named = resources.iter().find_map(|(name, _)| pool_in(name));
        let pool = named.or(function.pool).unwrap_or(DEFAULT);
        let place = self.settings.lanes().position(|(name, _)| name == pool);
        place.ok_or_else(|| {
            let resource = of_pool(pool);
            let first = format!("this worker does not have its pool `{pool}`");
            format!("{first}: submit it with resources={{\"{resource}\": 1}}").into()
        })
    }

    /// Gives a task back that only Python can execute, and takes none for a while.
    fn give_back(&self, inner: &mut Inner, key: &Key) {
        let now = Instant::now();
        inner.standing.stray(now);
        let mut says: Vec<WorkerToScheduler> =
            inner.standing.news(now).map(status).into_iter().collect();
        says.push(reschedule(key));
        self.say(says);
        self.changed.notify_one();
    }

    /// Fetches what a task needs.
    async fn fetch(self: Arc<Self>, key: Key, number: u64, missing: Places, by_rust: bool) {
        let limit = bounds(&self.settings).bytes;
        let (mut found, mut lent, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (needed, places) in missing {
            let id = scattered::number(&needed).filter(|_| by_rust);
            let got = match id {
                Some(id) => self.lend(&needed, id, &places).await.map(|entry| lent.push(entry)),
                None => {
                    let got = self.peers.get(&needed, &places).await;
                    got.map(|value| {
                        bytes += value.size();
                        found.push((needed.clone(), Arc::new(value)));
                    })
                }
            };
            if let Err(error) = got {
                tracing::debug!(%key, %needed, %error, "what a task needs was not found");
                let mut inner = self.lock();
                if inner.desk.free(&key) {
                    inner.held.remove(&key);
                    self.say(vec![reschedule(&key)]);
                }
                return;
            }
            if bytes > limit {
                // No function could be called with all that.
                let line = format!("the values that it needs exceed {limit} bytes");
                let raised = Raised::new("MemoryError", &line, None);
                return self.conclude(&key, number, Err(raised), Timing::start());
            }
        }
        let mut inner = self.lock();
        if let Some(held) = inner.held.get_mut(&key) {
            held.needed.extend(found);
            held.scattered.extend(lent);
            inner.desk.arrived(&key, number);
            self.pump(&mut inner);
        }
    }

    /// Starts what can start.
    fn pump(self: &Arc<Self>, inner: &mut Inner) {
        inner.standing.full = inner.store.is_full();
        inner.desk.pause(inner.standing.full || inner.standing.leaving);
        while let Some((key, number)) = inner.desk.next() {
            let Some(held) = inner.held.get_mut(&key) else { continue };
            held.since = Some(Instant::now());
            let Some(spec) = held.spec.take() else { continue };
            let needed = std::mem::take(&mut held.needed);
            let (stay, by) = (self.clone(), held.by);
            let scattered = std::mem::take(&mut held.scattered);
            held._doing = Some(Doing(tokio::spawn(async move {
                let timing = Timing::start();
                let ended = stay.execute(&key, spec, needed, scattered, by).await;
                stay.conclude(&key, number, ended, timing);
            })));
        }
        if let Some(news) = inner.standing.news(Instant::now()) {
            self.say(vec![status(news)]);
        }
        self.changed.notify_one();
    }

    fn conclude(self: &Arc<Self>, key: &Key, number: u64, ended: Ended, timing: Timing) {
        let mut inner = self.lock();
        let Some(run) = inner.desk.ended(key, number) else { return };
        let held = inner.held.remove(key);
        self.say(vec![match ended {
            Ok((value, worker)) => match inner.store.put(key.clone(), value.clone()) {
                true => finished(key, run, &value, worker, timing),
                false => {
                    let line = format!(
                        "a result of {} bytes does not fit beside what this worker holds",
                        value.size()
                    );
                    erred(key, run, Raised::new("MemoryError", &line, None), timing)
                }
            },
            Err(raised) => erred(key, run, raised, timing),
        }]);
        self.pump(&mut inner);
        drop(inner);
        drop(held);
    }

    /// Nobody wants these any more: what runs of them is stopped.
    fn free(self: &Arc<Self>, keys: Vec<Key>) {
        let mut inner = self.lock();
        let mut gone = Vec::new();
        for key in keys {
            inner.desk.free(&key);
            inner.store.remove(&key);
            gone.extend(inner.held.remove(&key));
        }
        self.pump(&mut inner);
        drop(inner);
        drop(gone);
    }

    /// Another worker would take a task.
    fn steal(&self, key: Key, stimulus_id: String) {
        let mut inner = self.lock();
        let in_memory = inner.store.has(&key).then_some("memory");
        let state = inner.desk.steal(&key).or(in_memory);
        if matches!(state, Some("ready" | "waiting")) {
            inner.held.remove(&key);
        }
        let state = state.map(str::to_owned);
        self.say(vec![WorkerToScheduler::StealResponse { key, state, stimulus_id }]);
    }

    /// The scheduler says whether this worker is to take tasks.
    fn stand(self: &Arc<Self>, status: &str) {
        let mut inner = self.lock();
        inner.standing.retiring = status == "closing_gracefully";
        self.pump(&mut inner);
    }

    /// Whether it was asked to leave.
    fn is_retiring(&self) -> bool {
        self.lock().standing.retiring
    }

    /// Someone asked this worker to end.
    fn close(&self) {
        self.lock().standing.retiring = true;
        self.closed.notify_one();
    }

    /// Fetches copies, and says so.
    fn replicate(self: &Arc<Self>, who_has: Places) {
        let mut inner = self.lock();
        while inner.errands.try_join_next().is_some() {}
        for (key, places) in who_has {
            let stay = self.clone();
            inner.errands.spawn(async move {
                if stay.acquire(&key, &places).await {
                    stay.say(vec![copied(&key)]);
                }
            });
        }
    }

    /// Has a copy of a value from now on, if it can be had.
    async fn acquire(&self, key: &Key, places: &[String]) -> bool {
        if self.lock().store.has(key) {
            return true;
        }
        match self.peers.get(key, places).await {
            Ok(value) => self.hold(key.clone(), value).await,
            Err(error) => {
                tracing::debug!(%key, %error, "a copy was not found");
                false
            }
        }
    }

    fn value(&self, key: &Key) -> Option<Arc<Serialized>> {
        self.lock().store.get(key)
    }

    fn keys(&self) -> Vec<Key> {
        self.lock().store.keys().cloned().collect()
    }

    /// Says what is due to be said, from time to time.
    async fn tend<T>(self: &Arc<Self>) -> io::Result<T> {
        loop {
            let due = self.lock().standing.due();
            let due = due.map_or(Duration::from_secs(3600), |due| {
                due.saturating_duration_since(Instant::now())
            });
            let _ = tokio::time::timeout(due, self.changed.notified()).await;
            let mut inner = self.lock();
            inner.standing.full = inner.store.is_full();
            if let Some(news) = inner.standing.news(Instant::now()) {
                self.say(vec![status(news)]);
            }
        }
    }

    /// Takes nothing new, and gives back what has not started.
    fn leave(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.standing.leaving = true;
        let unstarted = inner.desk.unstarted();
        self.pump(&mut inner);
        for key in &unstarted {
            inner.desk.free(key);
            inner.held.remove(key);
        }
        self.say(unstarted.iter().map(reschedule).collect());
    }

    /// Tasks that run, and whether anything is held for the cluster.
    fn owes(&self) -> (usize, bool) {
        let inner = self.lock();
        (inner.desk.counts().0, !inner.store.is_empty())
    }

    /// Stops all that goes on.
    fn end(&self) {
        let mut inner = self.lock();
        inner.errands.abort_all();
        let held = std::mem::take(&mut inner.held);
        drop(inner);
        drop(held);
    }

    /// Counts of tasks: executing, ready, fetching; and bytes held.
    fn counts(&self) -> ((usize, usize, usize), usize, usize) {
        let inner = self.lock();
        (inner.desk.counts(), inner.store.keys().count(), inner.store.bytes())
    }

    /// For how many seconds each task has been executed.
    fn executing(&self) -> Vec<(Key, f64)> {
        let inner = self.lock();
        let running = inner.held.iter().filter(|(_, held)| held._doing.is_some());
        let seconds = |held: &Held| held.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        running.map(|(key, held)| (key.clone(), seconds(held))).collect()
    }

    fn identity(&self) -> WorkerIdentity {
        WorkerIdentity {
            name: self.name().to_owned(),
            scheduler: self.settings.scheduler.to_string(),
            nthreads: self.settings.threads() as u64,
            memory_limit: self.settings.held_bytes as u64,
        }
    }

    fn name(&self) -> &str {
        self.settings.name.as_deref().unwrap_or(&self.address)
    }
}

/// What is to be done with a task.
enum Judged {
    /// That, by a function, if it calls one, in the pool at that place.
    Done(Spec, Option<(&'static Function, usize)>),
    Stray,
    Refused(Raised),
}

/// Whether a task was meant for this very function: the types may differ.
fn fits(resources: &[(String, f64)], function: &Function) -> bool {
    let names = resources.iter().map(|(name, _)| name);
    let mut ours = names.filter(|name| name.starts_with("outboard:")).peekable();
    let own = resource(function);
    ours.peek().is_none() || ours.any(|name| *name == own)
}

fn bounds(settings: &Settings) -> Bounds {
    let bytes = settings.local.limits.payload.saturating_add(ROOM);
    Bounds { frames: 1 << 16, bytes }
}

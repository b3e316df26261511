//! One stay of this worker at a scheduler: what it was given, holds and says.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmpv::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::desk::{Desk, Given, Priority};
use super::key::Key;
use super::messages::{Say, Timing};
use super::metrics::Cpu;
use super::outcome::Raised;
use super::peers::Peers;
use super::plain::Needed;
use super::scattered::{self, Arriving};
use super::serve::texts;
use super::settings::Settings;
use super::spec::{Kind, Spec};
use super::standing::Standing;
use super::store::{Needs, Store, needs, needs_any, size};
use crate::engine::dask::connection::Dialer;
use crate::engine::dask::frames::Bounds;
use crate::engine::dask::message::{Message, Serialized, field, list, map};
use crate::front::client::Client;
use crate::task::registry::{Function, registry, unknown};
use crate::value::scatter::Entry;

/// What a message may have beside the largest payload.
const ROOM: usize = 16 << 20;

/// See the module's documentation.
pub(super) struct Stay {
    pub(super) settings: Arc<Settings>,
    /// The worker processes of this machine.
    pub(super) client: Client,
    /// Where this worker listens.
    pub(super) address: String,
    /// What the scheduler said of its packages.
    packages: Value,
    pub(super) peers: Peers,
    pub(super) arriving: Arriving,
    inner: Mutex<Inner>,
    pub(super) cpu: Mutex<Cpu>,
    says: mpsc::UnboundedSender<Vec<Say>>,
    /// A task has ended, something was freed, or there is something to say.
    pub(super) changed: Notify,
    /// Someone asked this worker to end.
    pub(super) closed: Notify,
}

pub(super) struct Inner {
    desk: Desk,
    pub(super) store: Store,
    pub(super) standing: Standing,
    held: HashMap<Key, Held>,
    /// Copies that are being fetched, and what is looked at later.
    pub(super) errands: JoinSet<()>,
}

/// What is known of a task at the desk.
struct Held {
    spec: Arc<Spec>,
    function: Option<&'static Function>,
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
pub(super) type Ended = Result<(Arc<Serialized>, usize), Raised>;

impl Stay {
    pub(super) fn new(
        settings: Arc<Settings>,
        client: Client,
        address: String,
        packages: Value,
        says: mpsc::UnboundedSender<Vec<Say>>,
    ) -> Self {
        let inner = Inner {
            desk: Desk::new(settings.local.workers),
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
            cpu: Mutex::new(Cpu::new(Instant::now())),
            inner: Mutex::new(inner),
            says,
            changed: Notify::new(),
            closed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, all: Vec<Say>) {
        drop(self.says.send(all));
    }

    /// The scheduler gives a task.
    pub(super) fn give(self: &Arc<Self>, one: &Value, message: &mut Message) -> io::Result<()> {
        let Some(key) = field(one, "key").map(Key::of) else { return Ok(()) };
        let run = field(one, "run_id").and_then(Value::as_i64).unwrap_or(0);
        let numbers = list(one, "priority").iter().filter_map(Value::as_f64);
        let priority = Priority::new(numbers);
        let spec = field(one, "run_spec").map(|spec| message.pickled(spec)).transpose()?.flatten();
        let mut inner = self.lock();
        if let Some(value) = inner.store.get(&key) {
            self.say(vec![Say::finished(&key, run, &value, Timing::none())]);
            return Ok(());
        }
        if inner.standing.leaving {
            self.say(vec![Say::reschedule(&key)]);
            return Ok(());
        }
        let (pickle, buffers) = spec.unwrap_or_default();
        let spec = Spec { pickle, buffers };
        let function = match self.judge(one, &spec) {
            Judged::Call(function) => function,
            Judged::Stray => {
                self.give_back(&mut inner, &key);
                return Ok(());
            }
            Judged::Refused(raised) => {
                self.say(vec![Say::erred(&key, run, raised, Timing::none())]);
                return Ok(());
            }
        };
        let Given::New(number) = inner.desk.give(&key, run, priority) else { return Ok(()) };
        let by_rust = || matches!(spec.kind(), Kind::Call { values: false, .. });
        let by_rust = needs_any(one) && by_rust();
        let Needs { values: needed, scattered, missing } = needs(one, &inner.store, by_rust);
        let (spec, since) = (Arc::new(spec), Some(Instant::now()));
        let doing = (!missing.is_empty()).then(|| {
            let (stay, key) = (self.clone(), key.clone());
            Doing(tokio::spawn(async move { stay.fetch(key, number, missing, by_rust).await }))
        });
        if doing.is_none() {
            inner.desk.arrived(&key, number);
        }
        inner.held.insert(key, Held { spec, function, needed, scattered, since, _doing: doing });
        self.pump(&mut inner);
        Ok(())
    }

    fn judge(&self, one: &Value, spec: &Spec) -> Judged {
        match spec.kind() {
            Kind::Call { name, values } => {
                let registry = registry().ok();
                let function = registry.and_then(|registry| registry.named(&name, values));
                match function.filter(|function| super::spec::fits(one, function)) {
                    Some(function) => Judged::Call(Some(function)),
                    None => {
                        let error =
                            unknown(name, "this worker has no function of that name and type");
                        Judged::Refused(match values {
                            true => Raised::for_python(&error),
                            false => Raised::for_rust(&error, &self.address, &[]),
                        })
                    }
                }
            }
            Kind::Value | Kind::Stray(_) if self.settings.mixed => Judged::Stray,
            Kind::Value => Judged::Call(None),
            Kind::Stray(what) => {
                let line = format!("{what} cannot run here: this worker runs Rust functions only");
                Judged::Refused(Raised::new("NotImplementedError", &line, None))
            }
        }
    }

    /// Gives a task back that only Python can execute, and takes none for a while.
    fn give_back(&self, inner: &mut Inner, key: &Key) {
        let now = Instant::now();
        inner.standing.stray(now);
        let mut says: Vec<Say> = inner.standing.news(now).map(Say::status).into_iter().collect();
        says.push(Say::reschedule(key));
        self.say(says);
        self.changed.notify_one();
    }

    /// Fetches what a task needs.
    async fn fetch(
        self: Arc<Self>,
        key: Key,
        number: u64,
        missing: Vec<(Key, Vec<String>)>,
        by_rust: bool,
    ) {
        let limit = bounds(&self.settings).bytes;
        let (mut found, mut lent, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (needed, places) in missing {
            let id = scattered::number(&needed).filter(|_| by_rust);
            let got = match id {
                Some(id) => self.lend(&needed, id, &places).await.map(|entry| lent.push(entry)),
                None => {
                    let got = self.peers.get(&needed, &places).await;
                    got.map(|value| {
                        bytes += size(&value);
                        found.push((needed.clone(), Arc::new(value)));
                    })
                }
            };
            if let Err(error) = got {
                tracing::debug!(%key, %needed, %error, "what a task needs was not found");
                let mut inner = self.lock();
                if inner.desk.free(&key) {
                    inner.held.remove(&key);
                    self.say(vec![Say::reschedule(&key)]);
                }
                return;
            }
            if bytes > limit {
                // No function could be called with all that.
                let line = format!("the values that it needs exceed {limit} bytes");
                let raised = Raised::new("MemoryError", &line, None);
                return self.conclude(&key, number, Err(raised), Timing::none());
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
    pub(super) fn pump(self: &Arc<Self>, inner: &mut Inner) {
        inner.standing.full = inner.store.is_full();
        inner.desk.pause(inner.standing.full || inner.standing.leaving);
        while let Some((key, number)) = inner.desk.next() {
            let Some(held) = inner.held.get_mut(&key) else { continue };
            held.since = Some(Instant::now());
            let (spec, needed) = (held.spec.clone(), std::mem::take(&mut held.needed));
            let (stay, function) = (self.clone(), held.function);
            let scattered = std::mem::take(&mut held.scattered);
            held._doing = Some(Doing(tokio::spawn(async move {
                let timing = Timing::start();
                let ended = stay.execute(&key, &spec, needed, scattered, function).await;
                stay.conclude(&key, number, ended, timing);
            })));
        }
        if let Some(status) = inner.standing.news(Instant::now()) {
            self.say(vec![Say::status(status)]);
        }
        self.changed.notify_one();
    }

    fn conclude(self: &Arc<Self>, key: &Key, number: u64, ended: Ended, timing: Timing) {
        let mut inner = self.lock();
        let Some(run) = inner.desk.ended(key, number) else { return };
        let held = inner.held.remove(key);
        self.say(vec![match ended {
            Ok((value, worker)) => match inner.store.put(key.clone(), value.clone()) {
                true => Say::finished(key, run, &value, timing.end(worker)),
                false => {
                    let line = format!(
                        "a result of {} bytes does not fit beside what this worker holds",
                        size(&value)
                    );
                    Say::erred(key, run, Raised::new("MemoryError", &line, None), timing.end(0))
                }
            },
            Err(raised) => Say::erred(key, run, raised, timing.end(0)),
        }]);
        self.pump(&mut inner);
        drop(inner);
        drop(held);
    }

    /// Nobody wants these any more: what runs of them is stopped.
    pub(super) fn free(self: &Arc<Self>, keys: Vec<Key>) {
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
    pub(super) fn steal(&self, one: &Value) {
        let Some(key) = field(one, "key").map(Key::of) else { return };
        let mut inner = self.lock();
        let in_memory = inner.store.has(&key).then_some("memory");
        let state = inner.desk.steal(&key).or(in_memory);
        if matches!(state, Some("ready" | "waiting")) {
            inner.held.remove(&key);
        }
        self.say(vec![Say::stolen(&key, state, one)]);
    }

    /// The scheduler says whether this worker is to take tasks.
    pub(super) fn stand(self: &Arc<Self>, status: &str) {
        let mut inner = self.lock();
        inner.standing.retiring = status == "closing_gracefully";
        self.pump(&mut inner);
    }

    /// Whether it was asked to leave.
    pub(super) fn is_retiring(&self) -> bool {
        self.lock().standing.retiring
    }

    /// Someone asked this worker to end.
    pub(super) fn close(&self) {
        self.lock().standing.retiring = true;
        self.closed.notify_one();
    }

    /// Fetches copies, and says so.
    pub(super) fn replicate(self: &Arc<Self>, one: &Value) {
        let who_has = field(one, "who_has").and_then(Value::as_map);
        let mut inner = self.lock();
        while inner.errands.try_join_next().is_some() {}
        for (key, places) in who_has.into_iter().flatten() {
            let (stay, key, places) = (self.clone(), Key::of(key), texts(places));
            inner.errands.spawn(async move {
                if stay.acquire(&key, &places).await {
                    stay.say(vec![Say::copied(&key)]);
                }
            });
        }
    }

    /// Has a copy of a value from now on, if it can be had.
    pub(super) async fn acquire(&self, key: &Key, places: &[String]) -> bool {
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

    pub(super) fn value(&self, key: &Key) -> Option<Arc<Serialized>> {
        self.lock().store.get(key)
    }

    pub(super) fn keys(&self) -> Vec<Value> {
        self.lock().store.keys().map(Key::value).collect()
    }

    pub(super) fn forget_peer(&self, place: &str) {
        self.peers.forget(place);
    }

    /// Says what is due to be said, from time to time.
    pub(super) async fn tend<T>(self: &Arc<Self>) -> io::Result<T> {
        loop {
            let due = self.lock().standing.due();
            let due = due.map_or(Duration::from_secs(3600), |due| {
                due.saturating_duration_since(Instant::now())
            });
            let _ = tokio::time::timeout(due, self.changed.notified()).await;
            let mut inner = self.lock();
            inner.standing.full = inner.store.is_full();
            if let Some(status) = inner.standing.news(Instant::now()) {
                self.say(vec![Say::status(status)]);
            }
        }
    }

    /// Takes nothing new, and gives back what has not started.
    pub(super) fn leave(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.standing.leaving = true;
        let unstarted = inner.desk.unstarted();
        self.pump(&mut inner);
        for key in &unstarted {
            inner.desk.free(key);
            inner.held.remove(key);
        }
        self.say(unstarted.iter().map(Say::reschedule).collect());
    }

    /// Tasks that run, and whether anything is held for the cluster.
    pub(super) fn owes(&self) -> (usize, bool) {
        let inner = self.lock();
        (inner.desk.counts().0, !inner.store.is_empty())
    }

    /// Stops all that goes on.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.errands.abort_all();
        let held = std::mem::take(&mut inner.held);
        drop(inner);
        drop(held);
    }

    /// Counts of tasks: executing, ready, fetching; and bytes held.
    pub(super) fn counts(&self) -> ((usize, usize, usize), usize, usize) {
        let inner = self.lock();
        (inner.desk.counts(), inner.store.keys().count(), inner.store.bytes())
    }

    /// For how many seconds each task has been executed.
    pub(super) fn executing(&self) -> Value {
        let inner = self.lock();
        let running = inner.held.iter().filter(|(_, held)| held._doing.is_some());
        let seconds = |held: &Held| held.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        Value::Map(running.map(|(key, held)| (key.value(), seconds(held).into())).collect())
    }

    pub(super) fn identity(&self) -> Value {
        map([
            ("type", "Worker".into()),
            ("id", self.name().into()),
            ("scheduler", self.settings.scheduler.to_string().into()),
            ("nthreads", self.settings.local.workers.into()),
            ("memory_limit", self.settings.held_bytes.into()),
        ])
    }

    pub(super) fn versions(&self) -> Value {
        map([("host", Value::Map(Vec::new())), ("packages", self.packages.clone())])
    }

    pub(super) fn name(&self) -> &str {
        self.settings.name.as_deref().unwrap_or(&self.address)
    }
}

/// What is to be done with a task.
enum Judged {
    /// It can be executed: by a function, if it calls one.
    Call(Option<&'static Function>),
    Stray,
    Refused(Raised),
}

pub(super) fn bounds(settings: &Settings) -> Bounds {
    let bytes = settings.local.limits.payload.saturating_add(ROOM);
    Bounds { frames: 1 << 16, bytes }
}

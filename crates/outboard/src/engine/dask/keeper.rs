//! Keeps one scheduler: connects to it, writes what is to leave, reads what it
//! says, and comes back when it was lost.

mod departure;
mod ends;
mod fetch;
mod line;
mod progress;
mod reach;
mod streams;
mod upload;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dask_protocol::Serialized;
use dask_protocol::address::Address;
use dask_protocol::frames::Bounds;
use dask_protocol::key::Key;
use dask_protocol::message::{
    ClientToScheduler, Identity, Packages, Processing, RegisterClient, SchedulerToClient,
    TaskStatus, Versions,
};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc, watch};
use tokio_rustls::rustls::ClientConfig;

use super::cluster::Cluster;
use super::connection::{Connection, Dialer, Incoming, Outgoing};
use super::plugin::{self, Plugin};
use super::shelf::Upload;
use super::stream::Begun;
use super::table::{Missed, PATIENCE, Said};
use super::wanted::Wanted;
use super::{Settings, Shared};
use crate::engine::Gate;
use crate::engine::gate::Reports;
use crate::error::{Cause, Error, WorkerLoss};
use crate::task::registry::Function;

use ends::Ended;
use reach::Reach;

/// How long what leaves for a busy scheduler waits for more, and how often.
const MOMENT: Duration = Duration::from_millis(2);
const MOMENTS: usize = 5;

/// How long to wait before connecting again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long tasks wait for some scheduler to come back.
const GRACE: Duration = Duration::from_secs(5);

/// How often what is known of workers is renewed, up to so many of them, and beyond. A
/// scheduler would tell of each that comes or goes, and writes CRITICAL into its log
/// whenever one who is told leaves.
const LOOKS: [(usize, Duration); 2] = [(10, Duration::from_secs(1)), (50, Duration::from_secs(2))];
const LOOK: Duration = Duration::from_secs(5);

/// How long a scheduler may take to hear that this client leaves.
const FAREWELL: Duration = Duration::from_secs(1);

/// How many functions are remembered that workers have offered.
const EVER: usize = 1 << 16;

/// What a scheduler may send in one message.
const FROM_SCHEDULER: Bounds = Bounds { frames: 1 << 16, bytes: 64 << 20 };

/// Keeps a scheduler of several until the engine ends.
pub(super) fn keep(
    gate: Arc<Gate>,
    shared: Arc<Shared>,
    at: usize,
    settings: &Settings,
    tls: Option<Arc<ClientConfig>>,
    ended: watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let keeper = Keeper {
        gate,
        shared,
        at,
        address: settings.addresses[at].clone(),
        tls,
        silence: settings.silence,
        plugin: settings.plugin.clone(),
        was_up: false.into(),
        ever: Mutex::default(),
        reach: Mutex::new(Reach::new(settings.direct)),
    };
    keeper.keep(ended)
}

/// Who keeps one scheduler.
struct Keeper {
    gate: Arc<Gate>,
    shared: Arc<Shared>,
    at: usize,
    address: Address,
    tls: Option<Arc<ClientConfig>>,
    silence: Duration,
    /// Which program is to be beside Python workers.
    plugin: Option<Plugin>,
    /// Whether it was connected before.
    was_up: AtomicBool,
    /// What its workers have offered at some time.
    ever: Mutex<HashSet<String>>,
    /// Which of them can be reached from here.
    reach: Mutex<Reach>,
}

/// What goes on while a scheduler is connected.
struct Talk<'a> {
    keeper: &'a Keeper,
    /// Over which questions are asked, one at a time.
    questions: AsyncMutex<Connection>,
    /// Workers may have come or gone.
    changed: Notify,
    /// The engine ends.
    ended: watch::Receiver<bool>,
    heard: Mutex<Instant>,
    /// Since when it is connected, and whether it was before.
    since: Instant,
    again: bool,
    /// This program's build, once there are programs beside workers.
    build: OnceLock<&'static str>,
    /// Keys whose results can be fetched.
    ready: mpsc::UnboundedSender<String>,
    /// Scattered values that are to be brought to workers.
    uploads: mpsc::UnboundedSender<Upload>,
    /// Streams that have begun at a worker.
    streams: mpsc::UnboundedSender<Begun>,
    /// It listens for them.
    listens: AtomicBool,
}

impl Keeper {
    /// Keeps the scheduler until the engine ends.
    async fn keep(self, mut ended: watch::Receiver<bool>) {
        let mut pause = PAUSE;
        while !*ended.borrow() {
            let talk = self.talk(ended.clone());
            let end = async {
                drop(ended.wait_for(|ended| *ended).await);
                if self.shared.table().is_up(self.at) {
                    // The writer says so, and the scheduler hangs up.
                    tokio::time::sleep(FAREWELL).await;
                }
            };
            let error = tokio::select! {
                biased;
                () = end => return,
                Err(error) = talk => error,
            };
            if *ended.borrow() {
                return;
            }
            if self.shared.table().is_up(self.at) {
                pause = PAUSE;
                tracing::warn!(scheduler = %self.address, %error, "scheduler was lost");
            } else {
                tracing::debug!(scheduler = %self.address, %error, "scheduler was not reached");
            }
            self.lost(&error);
            let end = async { drop(ended.wait_for(|ended| *ended).await) };
            tokio::select! {
                () = end => return,
                () = tokio::time::sleep(pause) => pause = (2 * pause).min(LONGEST_PAUSE),
            }
        }
    }

    fn dialer(&self) -> Dialer {
        Dialer { tls: self.tls.clone(), bounds: FROM_SCHEDULER }
    }

    /// Connects, and talks for as long as that goes well.
    async fn talk(&self, ended: watch::Receiver<bool>) -> io::Result<std::convert::Infallible> {
        let mut questions = self.dialer().dial(&self.address).await?;
        let packages = self.in_time(questions.ask(Versions)).await?;
        let release = packages.supported().map_err(io::Error::other)?;
        if let Some(plugin) = &self.plugin {
            plugin::ship(&mut questions, plugin, plugin::own_build().await?).await?;
        }
        let name = self.client_name();
        let stream = self.in_time(self.register(&name, &packages)).await?;
        let lookups = self.dialer().dial(&self.address).await?;
        let (ready, keys) = mpsc::unbounded_channel();
        let (uploads, asked) = mpsc::unbounded_channel();
        let (streams, begun) = mpsc::unbounded_channel();
        let talk = Talk {
            keeper: self,
            questions: AsyncMutex::new(questions),
            changed: Notify::new(),
            ended,
            heard: Mutex::new(Instant::now()),
            since: Instant::now(),
            again: self.was_up.swap(true, Relaxed),
            build: OnceLock::new(),
            ready,
            uploads,
            streams,
            listens: false.into(),
        };
        talk.look().await?;
        tracing::info!(scheduler = %self.address, release, "scheduler is up");
        let (incoming, outgoing) = stream.split();
        tokio::select! {
            ended = talk.read(incoming) => ended,
            ended = talk.write(outgoing) => ended,
            ended = talk.keep_looking() => ended,
            ended = upload::run(&talk, asked) => ended,
            ended = fetch::run(self, lookups, keys) => ended,
            ended = streams::run(self, begun) => ended,
            ended = progress::run(self) => ended,
        }
    }

    /// What a scheduler is asked, if it answers before its silence counts.
    async fn in_time<T>(&self, asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let answered = tokio::time::timeout(self.silence, asked).await;
        answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Registers as a client of that name.
    async fn register(&self, name: &str, packages: &Packages) -> io::Result<Connection> {
        let mut stream = self.dialer().dial(&self.address).await?;
        let (client, packages) = (name.to_owned(), packages.clone());
        stream.ask(RegisterClient { client, packages }).await?;
        Ok(stream)
    }

    fn client_name(&self) -> String {
        format!("Client-outboard-{:016x}-{}", self.shared.names.own, self.at)
    }

    /// What is known of the workers now.
    fn up(&self, cluster: Cluster) {
        let (threads, room) = (cluster.threads(), cluster.room());
        {
            let mut ever = self.ever.lock().unwrap_or_else(PoisonError::into_inner);
            let new: Vec<_> = cluster.resources().filter(|name| !ever.contains(name)).collect();
            let room = EVER.saturating_sub(ever.len());
            ever.extend(new.into_iter().take(room));
        }
        let place = &self.shared.clusters[self.at];
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(cluster);
        self.shared.reasons.lock().unwrap_or_else(PoisonError::into_inner)[self.at] = None;
        self.gate.report(|reports| {
            self.shared.table().up(self.at, threads);
            self.shared.table().shelf(self.at).room(room);
            self.resize(reports);
        });
    }

    /// As many slots as the schedulers may hold tasks.
    fn resize(&self, reports: &mut Reports<'_>) {
        let capacity = self.shared.table().resize();
        if let Some(capacity) = capacity {
            reports.capacity(capacity);
        }
    }

    /// The scheduler cannot be used: what it had is lost, what had not left for
    /// it waits for another.
    fn lost(&self, error: &io::Error) {
        let reason = format!("{}: {error}", self.address);
        let reasons = {
            let mut reasons = self.shared.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            reasons[self.at] = Some(reason);
            reasons.iter().flatten().cloned().collect::<Vec<_>>()
        };
        *self.shared.clusters[self.at].lock().unwrap_or_else(PoisonError::into_inner) =
            Arc::default();
        let all = reasons.len() == self.shared.clusters.len();
        self.gate.report(|reports| {
            let (was_up, lost) = {
                let mut table = self.shared.table();
                (table.is_up(self.at), table.down(self.at))
            };
            let how = WorkerLoss { cause: Some(Cause::Scheduler), ..WorkerLoss::default() };
            for (slot, running) in lost {
                reports.lost(slot, running, None, &how);
            }
            self.resize(reports);
            let now = Instant::now();
            let mut last_up = self.shared.last_up.lock().unwrap_or_else(PoisonError::into_inner);
            if was_up {
                *last_up = Some(now);
            }
            let over = last_up.is_none_or(|since| now.duration_since(since) >= GRACE);
            if all && over && !self.shared.table().any_up() {
                reports.broken(Error::unavailable(reasons.join("; ")));
            }
        });
    }

    /// Whether a key is that of a function of Python, whose result comes as it is. So
    /// does one that nobody wants: it is not looked at.
    fn is_python(&self, key: &str) -> bool {
        self.shared.table().by_key(self.at, key).is_none_or(|entry| entry.python)
    }

    /// The scheduler's workers have lost a value, or what a task needs.
    fn missed(&self, key: &str) -> Missed {
        let missed = self.shared.table().missed(self.at, key);
        if missed == Missed::Again {
            self.shared.wakes[self.at].0.notify_one();
        }
        missed
    }
}

impl Talk<'_> {
    /// Whether workers may still be on their way to a scheduler that was started
    /// again: they need a moment to find it.
    fn is_patient(&self) -> bool {
        self.again && self.since.elapsed() < PATIENCE
    }

    /// Asks who the workers are.
    async fn look(&self) -> io::Result<()> {
        let asked = async { self.questions.lock().await.ask(Identity).await };
        let cluster = Cluster::from(self.keeper.in_time(asked).await?);
        if self.build.get().is_none() && (self.keeper.plugin.is_some() || cluster.has_plugins()) {
            let _ = self.build.set(plugin::own_build().await?);
        }
        self.keeper.up(cluster);
        Ok(())
    }

    /// Asks which worker has which task, if somebody wants to know.
    async fn look_what_runs(&self) -> io::Result<()> {
        let (running, at) = (&self.keeper.shared.running, self.keeper.at);
        if running.is_wanted(at) {
            let asked = async { self.questions.lock().await.ask(Processing).await };
            running.tell(at, self.keeper.in_time(asked).await?);
        }
        Ok(())
    }

    /// Looks at the workers now and then, and when they may have changed. Asks what has become
    /// of tasks that do not end. The scheduler is lost if it does not answer.
    async fn keep_looking<T>(&self) -> io::Result<T> {
        loop {
            let workers = self.keeper.shared.cluster(self.keeper.at).workers().len();
            let often = LOOKS.iter().find(|(most, _)| workers <= *most);
            let often = often.map_or(LOOK, |(_, often)| *often);
            let soon = often.min(self.keeper.silence / 3);
            let _ = tokio::time::timeout(soon, self.changed.notified()).await;
            self.look().await?;
            self.look_what_runs().await?;
            self.end_stranded();
            self.ask_after_old().await?;
            let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.elapsed() > self.keeper.silence {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it says nothing any more"));
            }
        }
    }

    /// Ends tasks that no worker can execute any more.
    fn end_stranded(&self) {
        let (at, shared) = (self.keeper.at, &self.keeper.shared);
        let cluster = shared.cluster(at);
        // Thousands of tasks have a few functions.
        let mut known = HashMap::new();
        let offered = |wanted: &Wanted| {
            *known.entry(wanted.identity()).or_insert_with(|| cluster.offered(wanted))
        };
        let stranded = shared.table().stranded(Instant::now(), at, offered);
        let lost = |key| (key, Ended::lost(Cause::Cluster));
        self.keeper.conclude(stranded.into_iter().map(lost).collect());
    }

    /// Asks what has become of tasks that do not end. One on which the scheduler sits is sent
    /// again, or lost if that was done too often.
    async fn ask_after_old(&self) -> io::Result<()> {
        let (keeper, at) = (self.keeper, self.keeper.at);
        let keys = keeper.shared.table().old(Instant::now(), at);
        if keys.is_empty() {
            return Ok(());
        }
        let question = TaskStatus { keys: keys.into_iter().map(Key::from).collect() };
        let asked = async { self.questions.lock().await.ask(question).await };
        let (said, now) = (keeper.in_time(asked).await?, Instant::now());
        let cluster = keeper.shared.cluster(at);
        let (mut lost, mut again) = (Vec::new(), 0);
        for (key, state) in &said {
            let Some(key) = key.as_str() else { continue };
            let offered = |wanted: &Wanted| cluster.offered(wanted);
            let said = Said::of(state.as_deref());
            let new_key = |function: &Function| keeper.shared.names.key(function.name);
            let mut table = keeper.shared.table();
            match table.said(now, (at, key), said, offered, new_key) {
                Missed::Again => again += 1,
                Missed::TooOften => lost.push((key.to_owned(), Ended::lost(Cause::Cluster))),
                Missed::Other if said == Said::InMemory && table.claim(at, key) => {
                    drop(self.ready.send(key.to_owned()));
                }
                Missed::Other => {}
            }
        }
        if again > 0 {
            tracing::info!(scheduler = %keeper.address, tasks = again, "tasks were sent again");
            keeper.shared.wakes[at].0.notify_one();
        }
        keeper.conclude(lost);
        Ok(())
    }

    /// Writes what is to leave, all that has come together at once.
    async fn write<T>(&self, mut outgoing: Outgoing) -> io::Result<T> {
        let wake = &self.keeper.shared.wakes[self.keeper.at].0;
        let beat = self.keeper.silence / 4;
        let mut ended = self.ended.clone();
        loop {
            let woken = async {
                tokio::select! {
                    () = wake.notified() => true,
                    _ = ended.wait_for(|ended| *ended) => false,
                }
            };
            match tokio::time::timeout(beat, woken).await {
                Ok(true) => self.gathered().await,
                Ok(false) => {
                    let last = [ClientToScheduler::CloseClient, ClientToScheduler::CloseStream];
                    outgoing.send(ClientToScheduler::encode(last)).await?;
                    return std::future::pending().await;
                }
                Err(_) => {
                    let beat = [ClientToScheduler::Heartbeat];
                    outgoing.send(ClientToScheduler::encode(beat)).await?;
                    continue;
                }
            }
            let mut batch = self.keeper.shared.table().take(self.keeper.at);
            let skipped = std::mem::take(&mut batch.skipped);
            for upload in std::mem::take(&mut batch.uploads) {
                // It is received for as long as this is written.
                drop(self.uploads.send(upload));
            }
            let failed = std::mem::take(&mut batch.failed).into_iter();
            let failed = failed.map(|(key, failure)| (key, Ended::failed(failure)));
            self.keeper.conclude(failed.collect());
            for message in self.messages(batch).await? {
                outgoing.send(message).await?;
            }
            self.keeper.gate.report(|reports| {
                for (slot, task) in skipped {
                    reports.skipped(slot, task);
                    self.keeper.shared.table().freed(slot, task);
                }
            });
        }
    }

    /// Waits while more comes: submits that come together leave together, and one
    /// that comes alone does not wait. What comes to a scheduler that has plenty to do
    /// waits for more, for each graph costs it time beside its tasks.
    async fn gathered(&self) {
        let waiting = || self.keeper.shared.table().waiting(self.keeper.at);
        let mut before = 0;
        while before < waiting() {
            before = waiting();
            tokio::task::yield_now().await;
        }
        for _ in 0..MOMENTS {
            if !self.keeper.shared.table().may_gather(self.keeper.at) {
                break;
            }
            tokio::time::sleep(MOMENT).await;
        }
    }

    /// Reads what the scheduler says.
    async fn read<T>(&self, mut incoming: Incoming) -> io::Result<T> {
        loop {
            let all = SchedulerToClient::parse(incoming.next().await?)?;
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            let mut ended = Vec::new();
            for one in all {
                self.take(one, &mut ended)?;
            }
            self.keeper.conclude(ended);
        }
    }

    fn take(&self, one: SchedulerToClient, ended: &mut Vec<(String, Ended)>) -> io::Result<()> {
        let keeper = self.keeper;
        // Ours are text: others are other clients'.
        match one {
            SchedulerToClient::KeyInMemory { key } => {
                let key = key.as_str().filter(|key| keeper.shared.table().claim(keeper.at, key));
                // It is received for as long as this is read.
                key.into_iter().for_each(|key| drop(self.ready.send(key.to_owned())));
            }
            SchedulerToClient::TaskErred { key, exception, traceback } => {
                let bytes = |object: Option<Serialized>| object?.into_bytes().ok();
                let exception = bytes(exception).unwrap_or_default();
                let cluster = keeper.shared.cluster(keeper.at);
                let outcome = fetch::raised(&exception, bytes(traceback).as_deref(), &cluster);
                ended.extend(key.as_str().map(|key| (key.to_owned(), outcome)));
            }
            SchedulerToClient::CancelledKeys { keys, reason } => {
                let lost = fetch::is_lost(reason.as_deref());
                let outcome = |key| match if lost { keeper.missed(key) } else { Missed::Other } {
                    // What lost its values leaves again, after they did.
                    Missed::Again => None,
                    Missed::TooOften => Some(Ended::lost(Cause::Cluster)),
                    Missed::Other => Some(fetch::cancelled(reason.as_deref())),
                };
                let keys = keys.iter().filter_map(|key| key.as_str());
                ended.extend(keys.filter_map(|key| Some((key.to_owned(), outcome(key)?))));
            }
            SchedulerToClient::Restart => {
                let new_key = |function: &Function| keeper.shared.names.key(function.name);
                let lost = keeper.shared.table().restarted(keeper.at, new_key).into_iter();
                ended.extend(lost.map(|key| (key, Ended::lost(Cause::Cluster))));
                keeper.shared.wakes[keeper.at].0.notify_one();
                self.changed.notify_one();
            }
            SchedulerToClient::Event { said, .. } => {
                // It is received for as long as this is read.
                Begun::read(said).into_iter().for_each(|begun| drop(self.streams.send(begun)));
            }
            SchedulerToClient::Close | SchedulerToClient::StreamClosed => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            SchedulerToClient::Unknown(operation) => {
                tracing::debug!(operation, "scheduler said something unknown");
            }
            // What was lost or has failed is computed again.
            _ => {}
        }
        Ok(())
    }
}

//! A native worker of a Dask cluster: registers with a scheduler, and executes
//! what that sends on worker processes of its own, by the engine `local`.
//!
//! So a task of a cluster is isolated, limited and killed as on one machine.

mod peers;
mod spec;
mod stock;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmpv::Value;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::address::{Address, Role, Scheme};
use super::cluster::{Cluster, NATIVE, check_version};
use super::connection::{Connection, Dialer, Incoming, Outgoing};
use super::frames::Bounds;
use super::graph::resource;
use super::keeper::ask;
use super::message::{Message, field, list, map, text};
use super::native::{Done, Failed};
use super::pickle::Pickle;
use super::url::Settings as ClusterSettings;
use super::values;
use super::{Names, tls};
use crate::builder::Settings as LocalSettings;
use crate::client::Client;
use crate::error::{Error, Repr};
use crate::ledger::Report;
use crate::snapshot::Host;
use crate::task::{Function, registry};
use crate::wire::Usage;
use spec::{Spec, Unfit};
use stock::{Stock, Wanted};

/// What one message to a worker may have: a scheduler sends many tasks at once.
const BOUNDS: Bounds = Bounds { frames: 1 << 20, bytes: 2 << 30 };

/// How many tasks may wait here: the clients bound what they send.
const QUEUE: usize = 1 << 20;

/// How long to wait before registering again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// For how long a stray makes the worker step back, at first and at most.
const BACK: Duration = Duration::from_millis(50);
const LONGEST_BACK: Duration = Duration::from_secs(5);

/// So much of each resource that it never runs out.
const PLENTY: f64 = 1e9;

/// Serves a Dask cluster as a native worker, until the scheduler closes it.
///
/// It executes the `#[task]` functions of this program on worker processes of
/// its own, and so needs [`init`](crate::init) in `main`; every program that has
/// it also becomes such a worker by the variable `OUTBOARD_WORKER=dask://…`.
///
/// The URL is that of [`connect`](crate::Client::connect), with one scheduler,
/// and takes the options of `local://` as well. `name` is what the cluster calls
/// the worker, `host` the address on which it listens (by default the one from
/// which it reaches the scheduler), and `mixed=1` lets it join a cluster that
/// has Python workers.
///
/// A scheduler that is not there, or was lost, is sought again, with backoff, and
/// for as long as it takes.
///
/// # Errors
///
/// `InvalidUrl`; `Unavailable` if the scheduler is of a release that is not
/// supported, has Python workers, or refuses the worker, and if worker processes
/// cannot be started.
///
/// # Cancel safety
///
/// Dropping it leaves the cluster, which runs elsewhere what it was running.
pub async fn join(url: &str) -> Result<(), Error> {
    let settings = Settings::parse(url)?;
    let local = settings.local.clone().start_local().await?;
    let ended = settings.serve(local.clone()).await;
    local.shutdown().await;
    ended
}

/// The variable that makes any program with [`init`](crate::init) a worker of
/// the cluster that it names.
const VARIABLE: &str = "OUTBOARD_WORKER";

/// Serves the cluster that the environment names, and never returns; returns at
/// once if it names none.
pub(crate) fn join_if_asked() {
    let Some(url) = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let joined = match runtime {
        Ok(runtime) => runtime.block_on(join(&url)),
        Err(error) => Err(Error::unavailable(format!("no runtime can be started: {error}"))),
    };
    match joined {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("outboard: this process cannot be a worker of {url}: {error}");
            std::process::exit(1)
        }
    }
}

/// What a URL of a worker says.
struct Settings {
    cluster: ClusterSettings,
    local: LocalSettings,
    name: Option<String>,
    host: Option<IpAddr>,
    mixed: bool,
}

impl Settings {
    fn parse(url: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::new(Repr::InvalidUrl { url: url.to_owned(), reason });
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let cluster = ClusterSettings::parse(scheme, hosts)
            .unwrap_or_else(|| Err("a worker joins a cluster: dask://host:port".into()));
        let cluster = cluster.map_err(wrong)?;
        if cluster.addresses.len() != 1 {
            return Err(wrong("a worker has one scheduler".into()));
        }
        let mut local = LocalSettings::default();
        local.set("queue_tasks", &QUEUE.to_string()).map_err(wrong)?;
        let mut settings = Self { cluster, local, name: None, host: None, mixed: false };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            settings.set(name, value).map_err(wrong)?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match (name, value) {
            ("name", "") => return Err("`name` wants a name".into()),
            ("name", name) => self.name = Some(name.to_owned()),
            ("mixed", "0" | "1") => self.mixed = value == "1",
            ("mixed", _) => return Err("`mixed` is 0 or 1".into()),
            ("host", host) => {
                let host = host.parse();
                self.host = Some(host.map_err(|_| "`host` wants an IP address".to_owned())?);
            }
            _ => {
                if !self.cluster.set(name, value)? {
                    self.local.set(name, value)?;
                }
            }
        }
        Ok(())
    }

    async fn serve(self, local: Client) -> Result<(), Error> {
        let functions = registry().map_err(Error::unavailable)?.functions();
        let scheduler = self.cluster.addresses[0].clone();
        let files = self.cluster.files(Role::Worker);
        let (client_tls, server_tls) = match scheduler.scheme {
            Scheme::Tcp => (None, None),
            Scheme::Tls => {
                let client = tls::client(&files).map_err(Error::unavailable)?;
                let server = tls::server(&files).map_err(Error::unavailable)?;
                (Some(client), Some(TlsAcceptor::from(server)))
            }
        };
        let unavailable = |error: io::Error| Error::unavailable(format!("{scheduler}: {error}"));
        let host = match self.host {
            Some(host) => host,
            None => own_address(&scheduler).await.map_err(unavailable)?,
        };
        let listener = TcpListener::bind((host, 0)).await.map_err(unavailable)?;
        let place = listener.local_addr().map_err(unavailable)?;
        let address = Address { scheme: scheduler.scheme, place: place.to_string() }.to_string();
        let (out, outbox) = mpsc::unbounded_channel();
        let worker = Arc::new(Worker {
            name: self.name.unwrap_or_else(|| address.clone()),
            address,
            scheduler,
            dialer: Dialer { tls: client_tls, bounds: BOUNDS },
            local,
            threads: self.local.workers,
            memory_limit: Host::memory_bytes(),
            mixed: self.mixed,
            functions,
            silence: self.cluster.silence,
            stock: Mutex::default(),
            packages: Mutex::new(Value::Nil),
            strays: Mutex::default(),
            out,
            leave: Notify::new(),
            beside: Mutex::default(),
        });
        let end = EndAll(worker.clone());
        let ended = tokio::select! {
            ended = worker.clone().keep(outbox) => ended,
            () = worker.leave.notified() => Ok(()),
            ended = peers::serve(worker.clone(), listener, server_tls) => ended.map_err(|error| {
                Error::unavailable(format!("it cannot listen any more: {error}"))
            }),
        };
        drop(end);
        ended
    }
}

/// The address of this machine from which a scheduler is reached.
async fn own_address(scheduler: &Address) -> io::Result<IpAddr> {
    let mut last = io::ErrorKind::NotFound.into();
    for there in tokio::net::lookup_host(&scheduler.place).await? {
        let any: SocketAddr = match there {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        // Connecting a datagram socket sends nothing: it only asks for a route.
        let socket = UdpSocket::bind(any).await?;
        match socket.connect(there).await {
            Ok(()) => return Ok(socket.local_addr()?.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A worker of a cluster.
struct Worker {
    name: String,
    address: String,
    scheduler: Address,
    dialer: Dialer,
    local: Client,
    threads: usize,
    memory_limit: u64,
    mixed: bool,
    functions: &'static [Function],
    silence: Duration,
    stock: Mutex<Stock<Execution>>,
    packages: Mutex<Value>,
    strays: Mutex<Strays>,
    out: mpsc::UnboundedSender<Said>,
    leave: Notify,
    /// What goes on beside, for as long as the worker is there.
    beside: Mutex<JoinSet<()>>,
}

/// Stops a task when it is dropped.
#[derive(Debug)]
struct Execution(AbortHandle);

impl Drop for Execution {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Ends all that a worker does: it holds the worker, which holds it.
struct EndAll(Arc<Worker>);

impl Drop for EndAll {
    fn drop(&mut self) {
        self.0.beside.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        self.0.stock().clear();
    }
}

/// What a worker says to its scheduler.
struct Said {
    operation: Vec<(Value, Value)>,
    /// The pickle of an exception.
    exception: Option<Vec<u8>>,
}

/// How often of late the worker got tasks that are none of ours.
#[derive(Debug, Default)]
struct Strays {
    in_a_row: u32,
    paused: bool,
}

/// Why a worker is no longer connected.
enum End {
    /// The scheduler closed it.
    Closed,
    /// It is not wanted there, and will not be.
    Refused(String),
    Broken(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Worker {
    fn stock(&self) -> MutexGuard<'_, Stock<Execution>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something beside, which ends with the worker.
    fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        while beside.try_join_next().is_some() {}
        beside.spawn(work);
    }

    fn packages(&self) -> Value {
        self.packages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers, serves, and does so again when the scheduler was lost.
    async fn keep(self: Arc<Self>, mut outbox: mpsc::UnboundedReceiver<Said>) -> Result<(), Error> {
        let mut pause = PAUSE;
        loop {
            let error = match self.clone().serve_once(&mut outbox, &mut pause).await {
                End::Closed => return Ok(()),
                End::Refused(reason) => {
                    return Err(Error::unavailable(format!("{}: {reason}", self.scheduler)));
                }
                End::Broken(error) => error,
            };
            self.stock().clear();
            while outbox.try_recv().is_ok() {}
            tracing::warn!(scheduler = %self.scheduler, %error, "scheduler was lost, or not found");
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn serve_once(
        self: Arc<Self>,
        outbox: &mut mpsc::UnboundedReceiver<Said>,
        pause: &mut Duration,
    ) -> End {
        let (questions, stream) = match self.register().await {
            Ok(registered) => registered,
            Err(end) => return end,
        };
        *pause = PAUSE;
        tracing::info!(scheduler = %self.scheduler, address = self.address, "worker joined");
        let Connection { incoming, outgoing } = stream;
        let worker = self.clone();
        tokio::select! {
            end = worker.read(incoming) => end,
            end = self.write(outgoing, outbox) => end,
            end = self.heartbeat(questions) => end,
        }
    }

    async fn register(&self) -> Result<(Connection, Connection), End> {
        let mut questions = self.dialer.dial(&self.scheduler).await?;
        let no_packages = ("packages", Value::Array(Vec::new()));
        let versions = ask(&mut questions, "versions", [no_packages]).await?.value;
        check_version(&versions).map_err(End::Refused)?;
        let packages = field(&versions, "packages").cloned().unwrap_or(Value::Nil);
        *self.packages.lock().unwrap_or_else(PoisonError::into_inner) = packages.clone();
        let identity = ask(&mut questions, "identity", []).await?.value;
        let cluster = Cluster::read(&identity).unwrap_or_default();
        if !self.mixed && cluster.workers.iter().any(|worker| !worker.native) {
            return Err(End::Refused(
                "it has Python workers, whose tasks and shuffles a native worker would disturb: \
                 give it a cluster of its own, or join all the same with mixed=1"
                    .into(),
            ));
        }
        let mut stream = self.dialer.dial(&self.scheduler).await?;
        let answer = stream.ask(Message::new(self.registration(packages))).await?.value;
        match text(&answer, "status") {
            Some("OK") => Ok((questions, stream)),
            _ => {
                let reason = text(&answer, "message").unwrap_or("it did not take this worker");
                Err(End::Refused(reason.to_owned()))
            }
        }
    }

    fn registration(&self, packages: Value) -> Value {
        let offered = self.functions.iter();
        let offered = offered.map(|function| resource(function.name, function.signature));
        let resources = offered.chain([NATIVE.to_owned()]);
        let resources = resources.map(|name| (name.into(), PLENTY.into())).collect();
        map([
            ("op", "register-worker".into()),
            ("reply", false.into()),
            ("address", self.address.as_str().into()),
            ("status", "running".into()),
            ("server_id", format!("Worker-outboard-{}", Names::default().unique()).into()),
            ("name", self.name.as_str().into()),
            ("nthreads", self.threads.into()),
            ("now", now().into()),
            ("resources", Value::Map(resources)),
            ("memory_limit", self.memory_limit.into()),
            ("local_directory", "".into()),
            ("services", map([])),
            ("nanny", Value::Nil),
            ("pid", std::process::id().into()),
            ("versions", map([("packages", packages)])),
            ("extra", map([])),
            ("stimulus_id", stimulus("worker-connect")),
            ("metrics", self.metrics()),
        ])
    }

    fn metrics(&self) -> Value {
        let snapshot = self.local.snapshot();
        let resident = snapshot.per_worker.iter().filter_map(|worker| worker.memory_bytes);
        let kept = self.stock().bytes();
        let zero = || Value::from(0);
        let transfer = ["incoming_bytes", "incoming_count", "incoming_count_total"];
        let transfer = transfer.into_iter().chain([
            "outgoing_bytes",
            "outgoing_count",
            "outgoing_count_total",
        ]);
        let transfer = transfer.map(|name| (name.into(), zero())).collect();
        map([
            ("bandwidth", map([("total", 1e8.into()), ("workers", map([])), ("types", map([]))])),
            ("digests_total_since_heartbeat", map([])),
            ("memory", (resident.sum::<u64>() + kept as u64).into()),
            ("spilled_bytes", map([("memory", zero()), ("disk", zero())])),
            ("managed_bytes", kept.into()),
            ("cpu", 0.0.into()),
            ("time", now().into()),
            ("num_fds", zero()),
            (
                "task_counts",
                map([("executing", snapshot.running.into()), ("ready", snapshot.queued.into())]),
            ),
            ("event_loop_interval", 0.0.into()),
            ("transfer", Value::Map(transfer)),
            ("host_net_io", map([("read_bps", 0.0.into()), ("write_bps", 0.0.into())])),
            ("host_disk_io", map([("read_bps", 0.0.into()), ("write_bps", 0.0.into())])),
        ])
    }

    async fn heartbeat(&self, mut questions: Connection) -> End {
        let mut interval = Duration::from_millis(500);
        loop {
            tokio::time::sleep(interval).await;
            let executing = Value::Map(self.stock().times());
            let fields = [
                ("address", self.address.as_str().into()),
                ("now", now().into()),
                ("metrics", self.metrics()),
                ("executing", executing),
                ("extensions", map([])),
            ];
            let asked = ask(&mut questions, "heartbeat_worker", fields);
            let answer = match tokio::time::timeout(self.silence, asked).await {
                Ok(Ok(answer)) => answer.value,
                Ok(Err(error)) => return End::Broken(error),
                Err(_) => return End::Broken(io::ErrorKind::TimedOut.into()),
            };
            if text(&answer, "status") == Some("missing") {
                return End::Broken(io::Error::other("it has forgotten this worker"));
            }
            let seconds = field(&answer, "heartbeat-interval").and_then(Value::as_f64);
            interval = Duration::from_secs_f64(seconds.unwrap_or(0.5).clamp(0.1, 60.0));
        }
    }

    /// Writes what is to be said, all that has come together at once.
    async fn write(
        &self,
        mut outgoing: Outgoing,
        outbox: &mut mpsc::UnboundedReceiver<Said>,
    ) -> End {
        let mut all = Vec::new();
        loop {
            if outbox.recv_many(&mut all, 1024).await == 0 {
                return End::Closed;
            }
            let mut message = Message::new(Value::Nil);
            let mut operations = Vec::new();
            for Said { mut operation, exception } in all.drain(..) {
                if let Some(pickle) = exception {
                    let object = message.attach(values::from_bytes(pickle));
                    operation.push(("exception".into(), object));
                }
                operations.push(Value::Map(operation));
            }
            message.value = Value::Array(operations);
            if let Err(error) = outgoing.send(message).await {
                return End::Broken(error);
            }
        }
    }

    fn say<const N: usize>(&self, operation: &str, fields: [(&str, Value); N]) {
        self.say_with(operation, fields, None);
    }

    fn say_with<const N: usize>(
        &self,
        operation: &str,
        fields: [(&str, Value); N],
        exception: Option<Vec<u8>>,
    ) {
        let mut said = vec![("op".into(), operation.into())];
        said.extend(fields.map(|(name, value)| (name.into(), value)));
        // It is received for as long as this worker is there.
        let _ = self.out.send(Said { operation: said, exception });
    }

    async fn read(self: Arc<Self>, mut incoming: Incoming) -> End {
        loop {
            let message = match incoming.receive().await {
                Ok(Some(message)) => message,
                Ok(None) => return End::Broken(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return End::Broken(error),
            };
            let all = match &message.value {
                Value::Array(all) => &all[..],
                one => std::slice::from_ref(one),
            };
            for one in all {
                if let Some(end) = self.take(one, &message) {
                    return end;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, one: &Value, message: &Message) -> Option<End> {
        let key = || text(one, "key").unwrap_or_default();
        let stimulus = || field(one, "stimulus_id").cloned().unwrap_or(Value::Nil);
        let keys = || list(one, "keys").iter().filter_map(Value::as_str);
        match text(one, "op").unwrap_or_default() {
            "compute-task" => self.compute(key(), one, message),
            "free-keys" => keys().for_each(|key| self.stock().free(key)),
            "cancel-compute" => self.stock().free(key()),
            "remove-replicas" => keys().for_each(|key| self.stock().drop_data(key)),
            "acquire-replicas" => {
                let (worker, one) = (self.clone(), one.clone());
                self.beside(async move {
                    let who_has = field(&one, "who_has");
                    let missing = peers::fetch(&worker, who_has).await;
                    let all = who_has.and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
                    let got = all.iter().map(|(key, _)| key.clone());
                    let got = got.filter(|key| !missing.contains(key)).collect();
                    let stimulus = field(&one, "stimulus_id").cloned().unwrap_or(Value::Nil);
                    let fields = [("keys", Value::Array(got)), ("stimulus_id", stimulus)];
                    worker.say("add-keys", fields);
                });
            }
            "steal-request" => {
                // What is here is in the queue of the worker processes already.
                let state = match self.stock().executing(key()) {
                    Some(_) => "executing".into(),
                    None => Value::Nil,
                };
                let fields = [("key", key().into()), ("state", state), ("stimulus_id", stimulus())];
                self.say("steal-response", fields);
            }
            "worker-status-change" => {
                let status = field(one, "status").cloned().unwrap_or(Value::Nil);
                self.say("worker-status-change", [("status", status), ("stimulus_id", stimulus())]);
            }
            "close" | "close-stream" => return Some(End::Closed),
            _ => {}
        }
        None
    }

    fn compute(self: &Arc<Self>, key: &str, one: &Value, message: &Message) {
        let run_id = field(one, "run_id").cloned().unwrap_or(Value::Nil);
        match self.stock().wants(key, &run_id) {
            Wanted::Known => return,
            Wanted::Done(bytes) => return self.finished(key, run_id, bytes, Duration::ZERO),
            Wanted::Start => {}
        }
        let pickle = field(one, "run_spec").and_then(|place| message.pickled(place).ok());
        match pickle.map_or(Err(Unfit::Stray), |pickle| spec::read(&pickle)) {
            Ok(spec) => self.execute(key.to_owned(), run_id, spec, priority(one)),
            Err(Unfit::Wrong(line)) => {
                self.erred(key, run_id, exception(&line), &line);
            }
            Err(Unfit::Stray) => self.stray(key.to_owned(), run_id),
        }
    }

    fn execute(self: &Arc<Self>, key: String, run_id: Value, mut spec: Spec, priority: i32) {
        let mut client = self.local.priority(priority);
        if let Some(ms) = spec.timeout_ms {
            client = client.timeout(Duration::from_millis(ms));
        }
        if spec.function.pure {
            // What is shared has one key on the cluster already; the same call of
            // another tenant has another.
            client = client.key(&key);
        }
        let future = client.submit_encoded(spec.function, std::mem::take(&mut spec.args));
        let worker = self.clone();
        // The lock is held until it is known: it may end at once.
        let mut stock = self.stock();
        let number = stock.number();
        let name = key.clone();
        let task = tokio::spawn(async move {
            let ended = future.with_report().await;
            let Some(run_id) = worker.stock().ended(&name, number) else { return };
            match ended.map(|(output, report)| (spec.result(&output, &report), report)) {
                Ok((Ok(object), report)) => {
                    let bytes = worker.stock().keep(name.clone(), object);
                    worker.finished(&name, run_id, bytes, report.run_time);
                }
                Ok((Err(line), _)) => worker.erred(&name, run_id, exception(&line), &line),
                Err(error) => {
                    let line = error.to_string();
                    let pickle = match spec.values {
                        true => exception(&line),
                        false => Failed::of(&error).to_exception(&line),
                    };
                    worker.erred(&name, run_id, pickle, &line);
                }
            }
        });
        stock.started(key, number, run_id, Execution(task.abort_handle()));
    }

    fn finished(&self, key: &str, run_id: Value, bytes: usize, run_time: Duration) {
        let stop = now();
        let start = stop - run_time.as_secs_f64();
        let times =
            map([("action", "compute".into()), ("start", start.into()), ("stop", stop.into())]);
        self.say(
            "task-finished",
            [
                ("status", "OK".into()),
                ("key", key.into()),
                ("run_id", run_id),
                ("nbytes", bytes.into()),
                ("type", Value::Nil),
                ("typename", "bytes".into()),
                ("metadata", map([])),
                ("thread", Value::Nil),
                ("startstops", Value::Array(vec![times])),
                ("stimulus_id", stimulus("task-finished")),
            ],
        );
    }

    fn erred(&self, key: &str, run_id: Value, pickle: Vec<u8>, line: &str) {
        let fields = [
            ("status", "error".into()),
            ("key", key.into()),
            ("run_id", run_id),
            ("traceback", Value::Nil),
            ("exception_text", line.into()),
            ("traceback_text", "".into()),
            ("thread", Value::Nil),
            ("startstops", Value::Array(Vec::new())),
            ("stimulus_id", stimulus("task-erred")),
        ];
        self.say_with("task-erred", fields, Some(pickle));
    }

    /// A task that is none of ours goes back where others may execute it; the
    /// worker steps back, longer each time, so that the scheduler chooses another.
    fn stray(self: &Arc<Self>, key: String, run_id: Value) {
        let worker = self.clone();
        self.beside(async move {
            let asked = async {
                let mut questions = worker.dialer.dial(&worker.scheduler).await?;
                ask(&mut questions, "identity", []).await
            };
            let cluster = asked.await.ok().and_then(|answer| Cluster::read(&answer.value));
            if cluster.is_some_and(|cluster| cluster.is_native()) {
                let line = "no worker of this cluster executes it: they are native workers";
                return worker.erred(&key, run_id, exception(line), line);
            }
            let back = {
                let mut strays = worker.strays.lock().unwrap_or_else(PoisonError::into_inner);
                strays.in_a_row = strays.in_a_row.saturating_add(1);
                let back = BACK.saturating_mul(1 << strays.in_a_row.min(10)).min(LONGEST_BACK);
                (!std::mem::replace(&mut strays.paused, true)).then_some(back)
            };
            let status = |status: &str| {
                let fields = [("status", status.into()), ("stimulus_id", stimulus("stray"))];
                worker.say("worker-status-change", fields);
            };
            status("paused");
            worker
                .say("reschedule", [("key", key.into()), ("stimulus_id", stimulus("reschedule"))]);
            let Some(back) = back else { return };
            tokio::time::sleep(back).await;
            worker.strays.lock().unwrap_or_else(PoisonError::into_inner).paused = false;
            status("running");
            tokio::time::sleep(2 * LONGEST_BACK).await;
            let mut strays = worker.strays.lock().unwrap_or_else(PoisonError::into_inner);
            strays.in_a_row = strays.in_a_row.saturating_sub(1);
        });
    }
}

impl Spec {
    /// The value that a client gets: an answer of ours, or one of Python.
    fn result(&self, output: &[u8], report: &Report) -> Result<super::message::Serialized, String> {
        if let (true, Some(values)) = (self.values, self.function.values) {
            return (values.output)(output).map(values::from_pickle);
        }
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let usage = Usage {
            run_ns: nanoseconds(report.run_time),
            cpu_ns: report.cpu_time.map(nanoseconds),
            memory_bytes: report.memory_bytes,
        };
        let done = Done { usage, pid: std::process::id() };
        Ok(values::from_bytes(done.encode(output)))
    }
}

/// The pickle of an exception with one line, for Python.
fn exception(line: &str) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.global("builtins", "RuntimeError");
    pickle.str(line);
    pickle.tuple_of_one();
    pickle.call();
    pickle.finish()
}

/// A priority as ours: Dask's are lower for what goes first.
fn priority(one: &Value) -> i32 {
    let first = field(one, "priority").and_then(Value::as_array).and_then(|all| all.first());
    let first = first.and_then(Value::as_f64).unwrap_or(0.0);
    (-first) as i32
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// What made a worker say something, for Dask's logs.
fn stimulus(what: &str) -> Value {
    format!("{what}-{}", now()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_worker_has_options_of_both() {
        let url = "dask://a:1?workers=3&name=w&mixed=1&host=127.0.0.1&silence_ms=5000";
        let settings = Settings::parse(url).unwrap();
        assert_eq!((settings.local.workers, settings.mixed), (3, true));
        assert_eq!(settings.name.as_deref(), Some("w"));
        for wrong in ["local://", "dask://a:1,b:1", "dask://a:1?mixed=2", "dask://a:1?speed=1"] {
            let error = Settings::parse(wrong).err().expect(wrong);
            assert_eq!(error.kind(), crate::ErrorKind::InvalidUrl, "{error}");
        }
    }

    #[test]
    fn what_goes_first_at_dask_goes_first_here() {
        let with = |first: Value| map([("priority", Value::Array(vec![first, 1.into()]))]);
        assert_eq!(priority(&with((-5).into())), 5);
        assert_eq!(priority(&with(2.0.into())), -2);
        assert_eq!(priority(&Value::Nil), 0);
    }
}

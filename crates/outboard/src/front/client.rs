//! The handle of an engine: submits tasks, with options.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::gate::Ticket;
use crate::engine::owner::Owner;
use crate::engine::pools::{Choice, PoolId};
use crate::engine::registry;
use crate::engine::settings::Settings;
use crate::engine::url::Url;
use crate::error::{Error, Repr, Step};
use crate::front::admin::Admin;
use crate::front::builder::LocalBuilder;
use crate::front::future::TaskFuture;
use crate::front::map::Map;
use crate::offload::{self, Panicked};
use crate::sched::ledger::{Backoff, Options};
use crate::sched::placement::affinity;
use crate::task::current::in_worker;
use crate::task::execute::inside_task;
use crate::task::function::{Decoding, TaskFunction, subject_of};
use crate::task::registry::Function;
use crate::trace::Origin;
use crate::value::args::{Args, ENCODED_AT_ONCE};
use crate::value::channel::Channel;
use crate::value::codec::{Refused, ValueError};
use crate::value::payload::Payload;
use crate::value::scatter::Scattered;
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
use crate::value::scatter::{self, Entry};

/// The environment variable that [`Client::from_env`] reads.
const URL_VARIABLE: &str = "OUTBOARD_URL";

/// Submits tasks to an engine.
///
/// A cheap handle: clone it into every handler. An option gives a derived client, and
/// does not change the one that it is called on:
///
/// ```
/// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
/// # fn fib(n: u64) -> u64 { n }
/// use std::time::Duration;
///
/// let patient = client.timeout(Duration::from_secs(10)).priority(-1);
/// let value = patient.submit(fib, 30).await?;
/// # Ok(()) }
/// ```
///
/// # Drop
///
/// When the last clone and the last [`TaskFuture`] are gone, the engine
/// finishes what was [detached](TaskFuture::detach) and ends.
#[derive(Clone)]
pub struct Client {
    pub(super) owner: Arc<Owner>,
    pub(super) options: Arc<Options>,
    pool: Choice,
}

impl Client {
    pub(super) fn of(owner: Arc<Owner>) -> Self {
        Self { owner, options: Arc::default(), pool: Choice::default() }
    }

    /// Worker processes on this machine, as the settings say.
    pub(crate) async fn start_local(settings: Settings) -> Result<Self, Error> {
        let url = Url::bare("local");
        let local = registry::find(&url)?;
        Ok(Self::of((local.connect)(url, Some(settings)).await?))
    }

    /// Configures worker processes on this machine.
    ///
    /// There are as many as cores, unless the builder says otherwise. Await the builder
    /// to start them.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), outboard::Error> {
    /// let client = outboard::Client::local().workers(4).await?;
    /// # Ok(()) }
    /// ```
    pub fn local() -> LocalBuilder {
        LocalBuilder::default()
    }

    /// Connects to the engine that `OUTBOARD_URL` names, or starts worker processes on this
    /// machine if it is not set.
    ///
    /// Where the system has no worker processes (Windows), that is `inline://`, and a warning
    /// says so once: threads of this process, which nothing can stop.
    ///
    /// Inside a task it is `inline://`, whatever the variable says, so that a
    /// function that submits does not start processes of its own.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self, Error> {
        if inside_task() || in_worker() {
            return Self::connect("inline://").await;
        }
        match std::env::var(URL_VARIABLE) {
            Ok(url) if !url.is_empty() => Self::connect(&url).await,
            Ok(_) | Err(std::env::VarError::NotPresent) => Self::by_default().await,
            Err(std::env::VarError::NotUnicode(_)) => {
                let reason = format!("{URL_VARIABLE} is not valid UTF-8");
                Err(Error::new(Repr::InvalidUrl { url: String::new(), reason }))
            }
        }
    }

    /// Worker processes, or threads where the system has none.
    async fn by_default() -> Result<Self, Error> {
        if cfg!(unix) {
            return Self::local().await;
        }
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| {
            tracing::warn!(
                "this system has no worker processes: tasks run on threads (`inline://`), which \
                 cannot be stopped and do not survive a crash; set {URL_VARIABLE} to choose"
            );
        });
        Self::connect("inline://").await
    }

    /// Connects to the engine that a URL names.
    ///
    /// | URL | engine |
    /// |---|---|
    /// | `local://` | worker processes on this machine |
    /// | `inline://` | threads of this process, for tests |
    /// | `dask://host:port` | a Dask cluster (feature `dask`); also `tcp://` and `tls://`, as Dask writes it, and `dask://a:1,b:1` for several schedulers |
    ///
    /// All take options, each at most once: `local://?workers=4&memory_limit=512MiB`.
    ///
    /// - A size is a number of bytes or has a unit: `1000000`, `2GB`, `512MiB`, `1.5GiB`.
    /// - A duration has units: `250ms`, `30s`, `5m`, `1h30m`. Some options have an older
    ///   name with the unit in it, whose value is a whole number: `cpu_limit_s=9`.
    /// - Names and values are percent-decoded: `%26` is `&`, and `+` is `+`.
    ///
    /// Bounds and defaults are those of [`LocalBuilder`], which says more of each. An engine
    /// accepts the shared options that it does not heed, so that one set of them fits all.
    ///
    /// | option | value | meaning | heeded by |
    /// |---|---|---|---|
    /// | `workers=4` | a whole number, at least 1, or a range such as `0..=8` | How many workers, or threads of `inline`; of a range as many as the load asks for; by default one for each core. | `inline`, `local` |
    /// | `idle=5m` | a duration, at least 1ms | After how long without a task a worker ends, if `workers` is a range; by default 1m. | `inline`, `local` |
    /// | `spares=2` | a whole number | How many more workers stand by; by default 1. | `local` |
    /// | `queue_tasks=1000` | a whole number | How many tasks may wait; by default 16384. | `inline`, `local`, `dask` |
    /// | `queue_bytes=64MiB` | a size | How many bytes of encoded arguments, keys and names of tenants may be held; by default 256MiB. | `inline`, `local`, `dask` |
    /// | `max_payload=16MiB` | a size, at most 2GiB | The most bytes of one task's arguments, and of its result; by default 128MiB. | `inline`, `local`, `dask` |
    /// | `max_wait=1s` | a duration; or `max_wait_ms` | The longest that a task may be expected to wait; by default unbounded. | `inline`, `local`, `dask` |
    /// | `lifo_above=100` | a whole number | How many tasks of a tenant must wait before the newest goes first; by default never. | `inline`, `local`, `dask` |
    /// | `ageing=10s` | a duration, at least 1ms | How long a task waits to count one priority higher; by default priorities are strict. | `inline`, `local`, `dask` |
    /// | `tenant_limit=2` | a whole number, at least 1 | How many workers one tenant may hold at once; by default all. | `inline`, `local`, `dask` |
    /// | `tenant_queue=100` | a whole number | How many tasks of one tenant may wait; by default as many as there is room for. | `inline`, `local`, `dask` |
    /// | `tenant_reserve=0` | 0 or 1 | Whether one worker is kept free of a tenant's tasks; by default 1. | `inline`, `local`, `dask` |
    /// | `tenant_kills=5` | a whole number, at least 1 | How many workers one tenant may cost in a second; by default a quarter of the workers' time. | `local` |
    /// | `recycle_after_tasks=1000` | a whole number, at least 1 | After how many tasks a worker is replaced; by default never. | `local` |
    /// | `recycle_after=12h` | a duration, at least 1s | At which age a worker is replaced; by default never. | `local` |
    /// | `recycle_above=256MiB` | a size | Above how much memory of its own a worker is replaced; by default never. | `local` |
    /// | `recycle_changed=1` | 0 or 1 | Whether a worker is replaced whose process a task has changed; by default 0. | `local` |
    /// | `niceness=5` | a whole number, at most 19 | How far workers stand back for other processes; by default 10. | `local` |
    /// | `spin=20us` | a duration | How long a worker and a caller look before they sleep, where that pays; by default 0s, at most 50us. | `local` |
    /// | `memory_limit=512MiB` | a size, at least 16MiB | The most memory of a worker; by default unlimited. | `local` |
    /// | `cpu_limit=9s` | a duration, greater than 0; or `cpu_limit_s` | The most CPU time of one task, rounded up to whole seconds; by default unlimited. | `local` |
    /// | `stack_size=1MiB` | a size, at least 64KiB | The stack that tasks run on; by default that of the worker's main thread. | `local` |
    /// | `open_files=64` | a whole number, at least 16 | How many files and sockets a worker may have open; by default as many as the server. | `local` |
    /// | `sandbox=no_network,no_exec` | 1, or names of `no_network`, `no_exec`, `read_only:/PATH`, `read_write:/PATH`, `best_effort` with commas between | What workers may no longer do after `#[on_start]`; by default they may do all. | `local` |
    /// | `output=events` | `prefixed`, `raw` or `events` | What becomes of lines that workers print; by default they are printed with the worker's number. | `local` |
    /// | `lazy=1` | 0 or 1 | Whether the client is there before its first worker is ready; by default 0. | `local` |
    /// | `exclusive=1` | 0 or 1 | Whether the worker of a slot starts when the one before is gone, without spares; by default 0. | `local` |
    /// | `program=/opt/app/tasks` | an absolute path | The program whose workers execute the tasks; by default this one. | `local` |
    /// | `python=.venv/bin/python` | an interpreter | The interpreter of a pool named `python`, whose workers call Python's functions; by default there is none. | `local` |
    /// | `python.path=models` | directories with colons between | Where Python looks for modules first; by default nowhere else than usual. | `local` |
    /// | `python.preload=app.model` | modules with commas between | What Python's workers import before they are ready; by default nothing. | `local` |
    /// | `library_threads=2` | a whole number | How many threads a library may start in each worker, 0 for any number; by default the worker's share of the cores. | `local` |
    /// | `quarantine=5` | a whole number, at least 1 | After how many crashes arguments are refused; by default never, and 3 if `quarantine_time` is given. | `local`, `dask` |
    /// | `quarantine_time=1h` | a duration, greater than 0; or `quarantine_s` | How long a crash counts; 10m if only `quarantine` is given. | `local`, `dask` |
    /// | `start_timeout=30s` | a duration | How long a worker may take from its start to `init`; by default 10s. | `local` |
    /// | `warm_up_timeout=1m` | a duration; or `warm_up_timeout_s` | How long a worker may take from `init` to its first task; by default 5m. | `local` |
    /// | `tls_ca=/etc/app/ca.pem` | a file | The certificate authority, in PEM; by default what Dask's own variables name. | `dask` |
    /// | `tls_cert=/etc/app/cert.pem` | a file | The certificate; by default as for `tls_ca`. | `dask` |
    /// | `tls_key=/etc/app/key.pem` | a file | Its key; by default as for `tls_ca`. | `dask` |
    /// | `silence=1m` | a duration, at least 1s; or `silence_ms` | How long a scheduler may be silent before it counts as lost; by default 30s. | `dask` |
    /// | `window=8` | a whole number, at least 1 | How many tasks a scheduler is given at once; by default as the cluster keeps up. | `dask` |
    /// | `direct=0` | 0 or 1 | Whether data goes straight to and from workers that can be reached from here; if 0, all goes through the scheduler; by default 1. | `dask` |
    /// | `plugin=/opt/app/program` | an absolute path | This program's path on the machines of Python workers, beside which it is kept; if empty, what `OUTBOARD_PLUGIN` of a worker says. | `dask` |
    ///
    /// `pool.POOL.NAME` is an option of a pool, by its name, for `local` and `inline`:
    /// `pool.gpu.workers=2`. A pool has the client's options, but for those that are set for it.
    /// `python.NAME` is one of the pool `python`: `python.workers=2`.
    ///
    /// `plugin.NAME` is an option of `local`, by its name, for the programs beside Python
    /// workers: `plugin.memory_limit=512MiB`. Workers of a cluster take those of `local`
    /// themselves, and those of `ClusterWorker::new`.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, saying what is wrong with the URL; `Unavailable`, saying
    /// why the engine could not be started.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let url = Url::parse(url)?;
        let engine = registry::find(&url)?;
        Ok(Self::of((engine.connect)(url, None).await?))
    }

    /// Submits a task and gives the future of its result.
    ///
    /// The task starts at once: two submits, then two awaits, run in parallel. `f` is a
    /// task function of zero to eight arguments. Pass one argument bare, several as a
    /// tuple, none as `()`. On `local` and `inline` it may be a closure that captures
    /// nothing.
    ///
    /// # Event loops
    ///
    /// Submitting and awaiting never hold up an event loop for the sake of a value.
    /// Arguments that take more than 64 KiB are encoded on threads of Outboard's own, and
    /// larger results are decoded there. [`Bytes`](crate::Bytes) that are shared do not count. Meanwhile the task has its place in the queue, its
    /// timeout runs, and it counts in the queue's bounds. A result is decoded when its future
    /// is first polled after the task has ended.
    ///
    /// # Errors
    ///
    /// All errors come through the future; see [`ErrorKind`](crate::ErrorKind). If the
    /// queue is full, it is `Overloaded` at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// let sum = client.submit(|a: u64, b: u64| a + b, (1, 2));
    /// let length = client.submit(|s: String| s.len(), "hello".to_owned());
    /// assert_eq!((sum.await?, length.await?), (3, 5));
    /// # Ok(()) }
    /// ```
    pub fn submit<F: TaskFunction<M>, M>(&self, f: F, args: F::Args) -> TaskFuture<F::Output> {
        let () = F::HAS_NO_SIZE;
        TaskFuture::new(self.owner.clone(), self.submit_for(f, args, None), self.decoding::<F, M>())
    }

    /// How results of a function are decoded.
    pub(super) fn decoding<F: TaskFunction<M>, M>(&self) -> fn(Payload) -> Decoding<F::Output> {
        match self.owner.gate().encodes_at_once() {
            true => |output| Decoding::Done(F::decode(output)),
            false => F::decoding,
        }
    }

    /// Submits a task, whose items go into a channel if it streams.
    pub(super) fn submit_for<F: TaskFunction<M>, M>(
        &self,
        f: F,
        args: F::Args,
        channel: Option<Arc<Channel>>,
    ) -> Result<(PoolId, Ticket), Error> {
        let (home, gate) = (self.owner.home(), self.owner.gate());
        let limit = if gate.encodes_at_once() { usize::MAX } else { ENCODED_AT_ONCE };
        match Args::encode(|| F::encode_within(args, limit), home, gate.takes_pieces()) {
            Ok(args) => f.known().and_then(|known| {
                known.0.takes(&args)?;
                let args = args.streaming(channel);
                let pool = self.pool_for(known.0)?;
                let gate = self.owner.pool(pool);
                Ok((pool, gate.submit(known.0, args, &self.options, Origin::current())?))
            }),
            Err(Refused::Overrun(args)) => self.submit_large(f, args, channel),
            Err(Refused::Failed(error)) => Err(not_encoded::<F, M>(error)),
        }
    }

    /// Submits a task whose arguments take long to encode, which happens on a thread of
    /// Outboard's own: this may be an event loop's.
    fn submit_large<F: TaskFunction<M>, M>(
        &self,
        f: F,
        args: F::Args,
        channel: Option<Arc<Channel>>,
    ) -> Result<(PoolId, Ticket), Error> {
        let function = f.known()?.0;
        let pool = self.pool_for(function)?;
        let gate = self.owner.pool(pool);
        let ticket = gate.announce(function, &self.options, Origin::current())?;
        let (task, owner, options) = (ticket.task, self.owner.clone(), self.options.clone());
        offload::spawn(move || {
            // Cancelled before its turn came, or it shares the task of an earlier submit.
            if !owner.pool(pool).awaits(task) {
                return;
            }
            let pieces = owner.gate().takes_pieces();
            let args = Args::encode(|| F::encode(args), owner.home(), pieces)
                .map_err(not_encoded::<F, M>)
                .and_then(|args| function.takes(&args).map(|()| args.streaming(channel)));
            owner.pool(pool).prepared(task, function, args, &options);
        });
        Ok((pool, ticket))
    }

    /// The most bytes that arguments or a result may have.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn payload_limit(&self) -> usize {
        self.owner.gate().limits().payload
    }

    /// A value of another process's client, for tasks that name it.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn lend(&self, id: u64, bytes: bytes::Bytes) -> Result<Arc<Entry>, Error> {
        let workers = self.owner.pools().workers()?;
        let workers = workers.ok_or_else(|| Error::unavailable("it has no worker processes"))?;
        scatter::lend(id, bytes, workers)
    }

    /// Submits a call whose arguments are encoded already, for a caller elsewhere,
    /// who takes the encoded output.
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn submit_encoded(
        &self,
        function: &'static Function,
        args: Args,
        origin: Arc<Origin>,
    ) -> TaskFuture<()> {
        let submitted = self.pool_for(function).and_then(|pool| {
            // Who waits here has a worker of its own already: one of the cluster's.
            let options = self.with(|options| options.alone = true).options;
            let gate = self.owner.pool(pool);
            Ok((pool, gate.submit(function, args, &options, Some(origin))?))
        });
        TaskFuture::new(self.owner.clone(), submitted, |_| Decoding::Done(Ok(())))
    }

    /// Submits a task for every item, and gives the results in the items' order.
    ///
    /// At most 1,024 tasks of one map are in flight, so that others have room too. If the
    /// queue is full, the map waits. Nothing is submitted before the map is first polled.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// let squares = client.map(|n: u64| n * n, 0..1_000_000).gather().await?;
    /// # Ok(()) }
    /// ```
    pub fn map<F, M, I>(&self, f: F, args: I) -> Map<F, M, I::IntoIter>
    where
        F: TaskFunction<M>,
        I: IntoIterator<Item = F::Args>,
    {
        let () = F::HAS_NO_SIZE;
        let client = self.with(|options| options.found_room = true);
        Map::new(client, f, args.into_iter())
    }

    /// The pool for a task of a function.
    pub(super) fn pool_for(&self, function: &Function) -> Result<PoolId, Error> {
        self.owner.pools().choose(&self.pool, function)
    }

    /// Waits until there is room for a task of a function.
    pub(crate) async fn ready_for<F: TaskFunction<M>, M>(&self, f: &F) -> Result<(), Error> {
        let pool = self.pool_for(f.known()?.0)?;
        self.owner.pool(pool).ready(&self.options).await
    }

    /// Puts a value where all workers have it, and gives a handle to pass to tasks.
    ///
    /// Each worker is sent the value once, and decodes it once.
    /// [`Bytes`](crate::Bytes) are mapped by all of them, without a copy.
    ///
    /// On a cluster the value is uploaded when the first task that names it starts, once
    /// for each scheduler. It goes straight to a native worker, or through the scheduler if
    /// no worker can be reached from here. Native workers get it from each other. If all
    /// workers that had it are lost, it is uploaded again and tasks that need it run again,
    /// three times at most. Functions beside Python workers, and those of Python, cannot
    /// have it.
    ///
    /// All values of a client may take 4 GiB; each counts at least 16 MiB. On a cluster, one
    /// value may take what a payload may (`max_payload`, here and at the workers).
    ///
    /// # Errors
    ///
    /// `Codec` if the value cannot be encoded, `TooLarge` if there is no room for
    /// it, `Closed` or `Unavailable` where no task could have it. What goes wrong with
    /// an upload is an error of the tasks that wait for it: `Unavailable`, or
    /// `UnknownTask` if no worker has their function.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves nothing behind.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// use outboard::Scattered;
    ///
    /// let table = client.scatter(vec![0.5; 1_000_000]).await?;
    /// let look_up = |table: Scattered<Vec<f64>>, at: usize| table[at];
    /// let found = client.submit(look_up, (table.clone(), 7)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn scatter<T>(&self, value: T) -> Result<Scattered<T>, Error>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let home = self.owner.open_home()?.clone();
        // Encoding and copying much would keep an event loop from its other work.
        match offload::run(move || home.keep(value)).await {
            Ok(kept) => kept,
            Err(Panicked(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// Waits until the queue has room for a task.
    ///
    /// It is the queue of the [pool](Self::pool) that this handle is for; else that of the
    /// default pool.
    ///
    /// Others may take that room first, so a submit after it can still be
    /// `Overloaded`.
    ///
    /// # Errors
    ///
    /// `Closed` or `Unavailable`, where no room will come.
    ///
    /// # Cancel safety
    ///
    /// It holds nothing; dropping it changes nothing.
    pub async fn ready(&self) -> Result<(), Error> {
        let pool = match &self.pool {
            Choice::OfFunction => PoolId::default(),
            Choice::Named(name) => {
                let pools = self.owner.pools();
                pools.named(name).ok_or_else(|| pools.lacks(name, None))?
            }
        };
        self.owner.pool(pool).ready(&self.options).await
    }

    /// Charges tasks to a tenant: a user, a customer, an address.
    ///
    /// Tenants share the workers' time fairly, however many or long the tasks of one are;
    /// [priority](Self::priority) goes before. All submits without a tenant are one
    /// tenant. Equal calls of two tenants are never coalesced.
    ///
    /// The name counts among the bytes that the queue may hold. With one of more than 8 KiB
    /// each submit is `TooLarge`.
    #[must_use = "options are set on the client that this returns"]
    pub fn tenant(&self, tenant: impl fmt::Display) -> Self {
        self.with(|options| options.tenant = Some(tenant.to_string().into()))
    }

    /// The name of the [tenant](Self::tenant) that tasks are charged to, if there is one.
    pub fn tenant_name(&self) -> Option<&str> {
        self.options.tenant.as_deref()
    }

    /// Sets the tenant's share in relation to others; 1 by default.
    ///
    /// The weight of the latest submit counts. 0 is taken as 1.
    #[must_use = "options are set on the client that this returns"]
    pub fn weight(&self, weight: u32) -> Self {
        self.with(|options| options.weight = weight)
    }

    /// Runs tasks before all that wait with a lower priority; 0 by default.
    ///
    /// Tasks that run are not interrupted. While tasks of a higher priority come, lower ones
    /// wait, unless the client's priorities [age](LocalBuilder::ageing).
    #[must_use = "options are set on the client that this returns"]
    pub fn priority(&self, priority: i32) -> Self {
        self.with(|options| options.priority = priority)
    }

    /// Ends tasks that have no result so long after their submit.
    ///
    /// It covers the queue and all attempts; the error says
    /// [where the task was](Error::timed_out_in).
    #[must_use = "options are set on the client that this returns"]
    pub fn timeout(&self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = Some(timeout))
    }

    /// Reruns a task up to so often if it panicked, or its worker was lost or ran out of
    /// memory; by default never.
    ///
    /// A task is not rerun after a timeout, nor if its arguments are
    /// [quarantined](LocalBuilder::quarantine) by then, nor if it
    /// [receives](crate::Receiver) a stream.
    #[must_use = "options are set on the client that this returns"]
    pub fn retries(&self, retries: u32) -> Self {
        self.with(|options| options.retries = retries)
    }

    /// Lets a task rest before each of its [`retries`](Self::retries), so that what fails
    /// together is not tried again together; by default it does not.
    ///
    /// The rest is random, and no shorter than the start of the range. Before the second attempt
    /// it is at most twice that, before the third four times. It is never longer than
    /// the end of the range. A task that rests counts among those that wait. If its
    /// [timeout](Self::timeout) would be over before the rest, it ends with its error at once.
    ///
    /// ```
    /// # fn example(client: outboard::Client) {
    /// use std::time::Duration;
    ///
    /// let patient = client.retries(3).backoff(Duration::from_millis(100)..Duration::from_secs(5));
    /// # }
    /// ```
    #[must_use = "options are set on the client that this returns"]
    pub fn backoff(&self, rest: Range<Duration>) -> Self {
        let backoff = Backoff { least: rest.start, most: rest.end };
        self.with(|options| options.backoff = Some(backoff))
    }

    /// Gives a task time to end by itself after it was cancelled or its time ran out.
    ///
    /// The task can ask [`cancelled`](crate::cancelled). After the grace its worker is
    /// killed. By default a task has 2 ms if it has asked, and none if it never did.
    ///
    /// The caller does not wait for it: a future ends at once.
    #[must_use = "options are set on the client that this returns"]
    pub fn grace(&self, grace: Duration) -> Self {
        self.with(|options| options.grace = Some(grace))
    }

    /// Coalesces tasks: submits of one function with one key share one execution.
    ///
    /// That holds while the first of them is in flight, within one tenant, and whatever
    /// the arguments are.
    ///
    /// The key counts among the bytes that the queue may hold. With one of more than 8 KiB
    /// each submit is `TooLarge`: use a digest of it.
    #[must_use = "options are set on the client that this returns"]
    pub fn key(&self, key: impl fmt::Display) -> Self {
        self.with(|options| options.key = Some(key.to_string().into()))
    }

    /// Prefers the worker that had a task of this session last; by default any worker will do.
    ///
    /// It is for what a worker keeps from one task to the next: the cache of a conversation, a file
    /// that it has read. If that worker idles, it has the task. If it is busy and expected to be
    /// free in time, the task waits for it. That time is 50 ms from its submit, unless
    /// [`affinity_wait`](Self::affinity_wait) sets another. After that any worker has the task.
    /// Arguments above 64 KiB do not wait.
    ///
    /// It is a preference and no promise: a worker may be lost or recycled, so a task has to do
    /// without its cache. Sessions are told apart by their tenant, in each pool. The last 8,192 are
    /// known, or twice as many. A cluster heeds none of this; it places tasks itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// # fn chat(line: String) -> String { line }
    /// let conversation = client.affinity("conversation 7");
    /// let answer = conversation.submit(chat, "hello".to_owned()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use = "options are set on the client that this returns"]
    pub fn affinity(&self, session: impl fmt::Display) -> Self {
        let session = affinity::digest(&session.to_string());
        self.with(|options| options.affinity = Some(session))
    }

    /// Sets how long a task waits for the worker of its [session](Self::affinity), from its submit
    /// on; by default 50 ms.
    ///
    /// With zero it goes there only if that worker is free.
    #[must_use = "options are set on the client that this returns"]
    pub fn affinity_wait(&self, time: Duration) -> Self {
        self.with(|options| options.affinity_wait = Some(time))
    }

    pub(super) fn with(&self, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::clone(&self.options);
        change(&mut options);
        Self { options: Arc::new(options), ..self.clone() }
    }

    /// Runs tasks in a pool of this client, whatever their task functions say.
    ///
    /// A task goes to the pool that this names. Otherwise it goes to the one that its task
    /// function names (`#[task(pool = "gpu")]`), or to the pool `default`. Pools are set by
    /// [`LocalBuilder::pool`]. If the client lacks the pool, each submit is `UnknownTask`, and
    /// says which pools there are. On a cluster a pool is a resource of its workers, and the task
    /// goes to one that has it. If none has, the error is the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), outboard::Error> {
    /// let client = outboard::Client::local().pool("gpu", |pool| pool.workers(1)).await?;
    /// let sum = client.pool("gpu").submit(|a: u64, b: u64| a + b, (1, 2)).await?;
    /// # Ok(()) }
    /// ```
    #[must_use = "options are set on the client that this returns"]
    pub fn pool(&self, name: &str) -> Self {
        let name: Arc<str> = name.into();
        let client = match self.owner.pools().are_of_workers() {
            true => self.with(|options| options.pool = Some(name.clone())),
            false => self.clone(),
        };
        Self { pool: Choice::Named(name), ..client }
    }

    /// Returns the handle for operators: snapshots, events, workers.
    pub fn admin(&self) -> Admin {
        Admin::new(self.owner.clone())
    }

    /// Takes nothing new, and waits until every task has ended.
    ///
    /// It holds for all clones of this client: their submits are `Closed` from now on.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the waiting only; the client stays closed for submits.
    pub async fn drain(&self) {
        self.owner.drain().await;
    }

    /// Ends the engine, for all clones of this client.
    ///
    /// Every task that has not ended is `Closed`. Workers are killed, and none is left when
    /// this returns. One that the system cannot end within some six seconds is left. The log
    /// says which, and a [snapshot](Admin::snapshot) lists it while it is there. Threads of
    /// `inline` cannot be killed: it waits until their tasks end. To let tasks finish,
    /// [`drain`](Self::drain) first.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the waiting only; the engine ends all the same.
    pub async fn shutdown(&self) {
        self.owner.shutdown().await;
    }
}

fn not_encoded<F: TaskFunction<M>, M>(mut error: ValueError) -> Error {
    let step = Step::EncodeArguments;
    let subject = subject_of::<F, M>(step, &mut error);
    Error::codec(step, &subject, error)
}

/// What the notebook's cell shows of its client: engine, workers, cores, memory.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.owner.snapshot().fmt(f)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("engine", &self.owner.gate().engine())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

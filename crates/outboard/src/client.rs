//! What a web handler holds: submits tasks, with options, to an engine.

use std::any::type_name;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};

use crate::engine::{Gate, Limits, inline};
use crate::error::Error;
use crate::execute::inside_task;
use crate::future::TaskFuture;
use crate::ledger::{Bounds, Options};
use crate::snapshot::{Host, Snapshot};
use crate::task::{TaskFunction, encode_into, function};

/// The environment variable that [`Client::from_env`] reads.
const URL_VARIABLE: &str = "OUTBOARD_URL";

/// The default bounds: as in the crate's documentation.
const QUEUE_TASKS: usize = 16_384;
const QUEUE_BYTES: usize = 256 << 20;
const MAX_PAYLOAD: usize = 128 << 20;

/// Submits tasks to an engine.
///
/// A cheap handle: clone it into every handler. Options are set on a derived
/// client, before the submit, and do not change the client that they are called
/// on:
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
    owner: Arc<Owner>,
    options: Arc<Options>,
}

/// Keeps an engine running as long as someone may want something of it.
#[derive(Debug)]
pub(crate) struct Owner(Arc<Gate>);

impl Owner {
    pub(crate) fn gate(&self) -> &Gate {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Client {
    fn new(gate: Arc<Gate>) -> Self {
        Self { owner: Arc::new(Owner(gate)), options: Arc::default() }
    }

    /// Worker processes on this machine: as many as there are cores, unless
    /// the builder is told otherwise. Await the builder to start them.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), outboard::Error> {
    /// let client = outboard::Client::local().workers(4).await?;
    /// # Ok(()) }
    /// ```
    pub fn local() -> LocalBuilder {
        LocalBuilder { settings: Settings::default() }
    }

    /// The engine that `OUTBOARD_URL` names, or worker processes on this
    /// machine if it is not set.
    ///
    /// Inside a task it is `inline://`, whatever the variable says, so that a
    /// function that submits does not start processes of its own.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self, Error> {
        if inside_task() {
            return Self::connect("inline://").await;
        }
        match std::env::var(URL_VARIABLE) {
            Ok(url) if !url.is_empty() => Self::connect(&url).await,
            Ok(_) | Err(std::env::VarError::NotPresent) => Self::local().await,
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::unavailable(format!("{URL_VARIABLE} is not valid UTF-8")))
            }
        }
    }

    /// The engine that a URL names:
    ///
    /// | URL | engine |
    /// |---|---|
    /// | `local://` | worker processes on this machine |
    /// | `inline://` | threads of this process, for tests |
    ///
    /// Both take options: `local://?workers=4&queue_tasks=1000`. Known are
    /// `workers`, `queue_tasks`, `queue_bytes` and `max_payload` (in bytes), as
    /// on [`LocalBuilder`].
    ///
    /// # Errors
    ///
    /// `Unavailable`, saying what is wrong with the URL, or why the engine
    /// could not be started.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let (engine, settings) = Settings::parse(url)?;
        match engine {
            EngineName::Local => settings.start_local().await,
            EngineName::Inline => settings.start_inline(),
        }
    }

    /// Submits a task, which starts at once, and gives the future of its
    /// result. Two submits, then two awaits, run in parallel.
    ///
    /// `f` is a task function of zero to eight arguments. Pass one argument
    /// bare, several as a tuple, none as `()`. On `local` and `inline` it may
    /// be a closure that captures nothing.
    ///
    /// # Errors
    ///
    /// Whatever is wrong comes through the future, not from here; see
    /// [`ErrorKind`](crate::ErrorKind). A full queue is `Overloaded`, at once.
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
        let _ = f;
        let mut bytes = Vec::with_capacity(16);
        let submitted = match encode_into(&args, &mut bytes) {
            Ok(()) => function::<F, M>()
                .and_then(|function| self.owner.0.submit(function, bytes, &self.options)),
            Err(error) => Err(Error::codec("encode the arguments", type_name::<F::Args>(), error)),
        };
        TaskFuture::new(self.owner.clone(), submitted)
    }

    /// Submits a task for every item, as the queue has room, and gives the
    /// results in the items' order.
    ///
    /// At most 1,024 tasks of one map are under way, so that it leaves room for
    /// others; a full queue makes it wait instead of failing. Nothing is
    /// submitted before the map is first polled.
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
        Map {
            client: self.with(|options| options.found_room = true),
            f,
            args: args.into_iter(),
            under_way: VecDeque::new(),
            room: None,
            exhausted: false,
        }
    }

    /// Waits until the queue has room for a task.
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
        self.owner.0.ready().await
    }

    /// Charges tasks to a tenant. Equal calls of two tenants are never
    /// coalesced.
    ///
    /// Recorded with each task; shares between tenants are not yet computed.
    pub fn tenant(&self, tenant: impl fmt::Display) -> Self {
        self.with(|options| options.tenant = Some(tenant.to_string().into()))
    }

    /// Runs tasks before all that wait with a lower priority; 0 by default.
    /// What runs is not interrupted.
    pub fn priority(&self, priority: i32) -> Self {
        self.with(|options| options.priority = priority)
    }

    /// Ends tasks that have no result so long after their submit, in the queue
    /// or while they run, with an error that says which. Spans all attempts.
    pub fn timeout(&self, timeout: Duration) -> Self {
        self.with(|options| options.timeout = Some(timeout))
    }

    /// Reruns a task up to so often if it panicked or its worker was lost;
    /// never after a timeout. By default nothing is rerun.
    pub fn retries(&self, retries: u32) -> Self {
        self.with(|options| options.retries = retries)
    }

    /// Gives tasks an identity: submits of the same function with the same key
    /// (and tenant) that are in flight at the same time share one execution,
    /// whatever their arguments.
    pub fn key(&self, key: impl fmt::Display) -> Self {
        self.with(|options| options.key = Some(key.to_string().into()))
    }

    fn with(&self, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::clone(&self.options);
        change(&mut options);
        Self { owner: self.owner.clone(), options: Arc::new(options) }
    }

    /// Counters at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.owner.0.snapshot()
    }

    /// Takes nothing new, for all clones of this client, and waits until every
    /// task has ended. Submits from now on are `Closed`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the waiting only; the client stays closed for submits.
    pub async fn drain(&self) {
        self.owner.0.drain().await;
    }

    /// Ends the engine, for all clones of this client: every task that has not
    /// ended is `Closed`, workers are killed, and none is left when this
    /// returns. [`drain`](Self::drain) first to let tasks finish.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the waiting only; the engine ends all the same.
    pub async fn shutdown(&self) {
        self.owner.0.end(&Error::closed("it was shut down"));
        self.owner.0.ended().await;
    }
}

/// What the notebook's cell shows of its client: engine, workers, cores, memory.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("engine", &self.owner.0.engine())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Sets up worker processes on this machine; await it to start them.
///
/// Made by [`Client::local`]. Awaiting returns when the first worker is up.
///
/// # Errors
///
/// Awaiting gives `Unavailable` if [`init`](crate::init) did not run in this
/// process, if the platform has no worker processes (use `inline://`), outside
/// a tokio runtime, or if workers die at their start; the error says which.
///
/// # Panics
///
/// Awaiting panics in a tokio runtime whose I/O driver is not enabled.
#[derive(Clone, Debug)]
#[must_use = "await the builder to start the workers"]
pub struct LocalBuilder {
    settings: Settings,
}

impl LocalBuilder {
    /// How many workers; by default one for each core.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "at least one worker is needed");
        self.settings.workers = workers;
        self
    }

    /// How many tasks may wait; by default 16,384. An idle worker always
    /// accepts.
    pub fn queue_tasks(mut self, tasks: usize) -> Self {
        self.settings.limits.queue.tasks = tasks;
        self
    }

    /// How many bytes of encoded arguments may be held; by default 256 MiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.queue.bytes = bytes;
        self
    }

    /// The most bytes of the encoded arguments of one task, and of its encoded
    /// result; by default 128 MiB, at most 2 GiB.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.limits.payload = bytes.min(2 << 30);
        self
    }

    /// The workers' niceness: how far they stand back for other processes,
    /// from 0 to 19; by default 10.
    ///
    /// # Panics
    ///
    /// If it is above 19.
    pub fn niceness(mut self, niceness: u8) -> Self {
        assert!(niceness <= 19, "niceness goes from 0 to 19");
        self.settings.niceness = niceness;
        self
    }

    /// How long a worker may take from its start to [`init`](crate::init); by
    /// default ten seconds. It is killed after that: most likely `init` is not
    /// the first thing that `main` does.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = timeout;
        self
    }
}

impl IntoFuture for LocalBuilder {
    type Output = Result<Client, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.settings.start_local())
    }
}

/// How an engine on this machine is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) limits: Limits,
    pub(crate) niceness: u8,
    pub(crate) start_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: Host::cores(),
            limits: Limits {
                queue: Bounds { tasks: QUEUE_TASKS, bytes: QUEUE_BYTES },
                payload: MAX_PAYLOAD,
            },
            niceness: 10,
            start_timeout: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EngineName {
    Local,
    Inline,
}

impl Settings {
    fn parse(url: &str) -> Result<(EngineName, Self), Error> {
        let wrong = |what: String| Error::unavailable(format!("URL `{url}`: {what}"));
        let known = "known are local:// and inline://";
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong(format!("has no engine; {known}")))?;
        let engine = match scheme {
            "local" => EngineName::Local,
            "inline" => EngineName::Inline,
            _ => return Err(wrong(format!("no engine is named `{scheme}`; {known}"))),
        };
        let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !host.is_empty() && host != "/" {
            return Err(wrong(format!("`{host}` is a host, and {scheme}:// has none")));
        }
        let mut settings = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            settings.set(pair).map_err(wrong)?;
        }
        Ok((engine, settings))
    }

    fn set(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number: usize =
            value.parse().map_err(|_| format!("`{name}` wants a whole number, not `{value}`"))?;
        match name {
            "workers" if number == 0 => return Err("`workers` must be at least 1".into()),
            "workers" => self.workers = number,
            "queue_tasks" => self.limits.queue.tasks = number,
            "queue_bytes" => self.limits.queue.bytes = number,
            "max_payload" => self.limits.payload = number.min(2 << 30),
            _ => {
                return Err(format!(
                    "no option is named `{name}`; known are workers, queue_tasks, \
                     queue_bytes, max_payload"
                ));
            }
        }
        Ok(())
    }

    fn start_inline(self) -> Result<Client, Error> {
        crate::task::registry().map_err(Error::unavailable)?;
        inline::start(self.workers, self.limits).map(Client::new)
    }

    #[cfg(all(feature = "local", target_os = "linux"))]
    async fn start_local(self) -> Result<Client, Error> {
        let client = Client::new(crate::engine::local::start(self)?);
        match client.owner.0.up().await {
            Ok(()) => Ok(client),
            Err(error) => {
                client.shutdown().await;
                Err(error)
            }
        }
    }

    #[cfg(not(all(feature = "local", target_os = "linux")))]
    #[expect(clippy::unused_async, reason = "as where there are worker processes")]
    async fn start_local(self) -> Result<Client, Error> {
        Err(Error::unavailable(
            "worker processes need Linux and the feature `local`; use inline:// here",
        ))
    }
}

/// The tasks of one [`Client::map`]: a stream of results in the order of the
/// arguments. Dropping it cancels what has not ended.
#[must_use = "a map submits nothing before it is polled"]
pub struct Map<F: TaskFunction<M>, M, I> {
    client: Client,
    f: F,
    args: I,
    under_way: VecDeque<TaskFuture<F::Output>>,
    room: Option<Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>>,
    exhausted: bool,
}

/// How many tasks of one map are under way.
const MAP_WINDOW: usize = 1024;

impl<F, M, I> Map<F, M, I>
where
    F: TaskFunction<M>,
    I: Iterator<Item = F::Args>,
    Self: Unpin,
{
    /// The next result; `None` after the last.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future loses nothing.
    pub async fn next(&mut self) -> Option<Result<F::Output, Error>> {
        StreamExt::next(self).await
    }

    /// All results, in the order of the arguments.
    ///
    /// # Errors
    ///
    /// The first error in that order, at once; the rest is cancelled.
    pub async fn gather(mut self) -> Result<Vec<F::Output>, Error> {
        let mut results = Vec::with_capacity(self.args.size_hint().0.min(MAP_WINDOW));
        while let Some(result) = self.next().await {
            results.push(result?);
        }
        Ok(results)
    }

    /// Submits what there is room for.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        while !self.exhausted && self.under_way.len() < MAP_WINDOW {
            let client = self.client.clone();
            let room =
                self.room.get_or_insert_with(|| Box::pin(async move { client.ready().await }));
            match room.as_mut().poll(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(result) => {
                    self.room = None;
                    result?;
                }
            }
            match self.args.next() {
                Some(args) => self.under_way.push_back(self.client.submit(self.f, args)),
                None => self.exhausted = true,
            }
        }
        Ok(())
    }
}

impl<F, M, I> Stream for Map<F, M, I>
where
    F: TaskFunction<M>,
    I: Iterator<Item = F::Args>,
    Self: Unpin,
{
    type Item = Result<F::Output, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Err(error) = this.fill(context) {
            this.exhausted = true;
            this.under_way.clear();
            return Poll::Ready(Some(Err(error)));
        }
        match this.under_way.front_mut() {
            None if this.exhausted => Poll::Ready(None),
            None => Poll::Pending,
            Some(first) => {
                let result = ready!(Pin::new(first).poll(context));
                this.under_way.pop_front();
                Poll::Ready(Some(result))
            }
        }
    }
}

impl<F: TaskFunction<M>, M, I> fmt::Debug for Map<F, M, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(url: &str) -> String {
        Settings::parse(url).expect_err(url).to_string()
    }

    #[test]
    fn a_url_names_an_engine_and_its_options() {
        let (engine, settings) =
            Settings::parse("local://?workers=3&queue_tasks=7").expect("a good URL");
        assert_eq!((engine, settings.workers), (EngineName::Local, 3));
        assert_eq!(settings.limits.queue.tasks, 7);
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        assert!(complaint("localhost").contains("has no engine"));
        assert!(complaint("redis://x").contains("no engine is named `redis`"));
        assert!(complaint("local://host").contains("`host` is a host"));
        assert!(complaint("local://?workers=many").contains("wants a whole number"));
        assert!(complaint("local://?workers=0").contains("at least 1"));
        assert!(complaint("inline://?speed=1").contains("no option is named `speed`"));
    }
}

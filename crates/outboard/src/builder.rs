//! How an engine on this machine is set up: by a builder, or by a URL.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use crate::client::Client;
use crate::engine::{Limits, inline};
use crate::error::{Error, Repr};
use crate::ledger::Bounds;
use crate::placement::Rules;
use crate::snapshot::Host;

/// The default bounds: as in the crate's documentation.
const QUEUE_TASKS: usize = 16_384;
const QUEUE_BYTES: usize = 256 << 20;
const MAX_PAYLOAD: usize = 128 << 20;

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
#[derive(Clone, Debug, Default)]
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

    /// How many more workers stand by, ready to take the place of one that is
    /// killed, lost or recycled; by default one. A spare costs what a worker
    /// costs while it is idle: a whole model, if workers load one.
    pub fn spares(mut self, spares: usize) -> Self {
        self.settings.spares = spares;
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

    /// How many workers one tenant may hold at once; by default all.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn tenant_limit(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a tenant needs at least one worker");
        self.settings.limits.tenants.tenant_limit = workers;
        self
    }

    /// How many tasks of one tenant may wait; by default as many as there is
    /// room for. Beyond that its submits are `Overloaded`, and
    /// [`is_tenant_limited`](Error::is_tenant_limited).
    pub fn tenant_queue(mut self, tasks: usize) -> Self {
        self.settings.limits.tenants.tenant_queue = tasks;
        self
    }

    /// The longest that a task may be expected to wait for a worker; by default
    /// there is no such bound. Beyond that its submit is `Overloaded`. Unlike a
    /// timeout, this refuses before anyone has waited; an idle worker always
    /// accepts.
    ///
    /// Expected is: what is left of what runs, and the work that goes before this
    /// task by priority and fair share, spread over the workers. A waiting task
    /// counts as long as tasks ran of late: those of its function where that is
    /// `#[task(steady)]`, and otherwise all that are not. A run time loses half
    /// its weight in ten seconds.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.settings.limits.tenants.max_wait = Some(wait);
        self
    }

    /// Answers newest first while more than so many tasks of a tenant wait and
    /// its oldest has waited for more than 100 ms; by default never.
    ///
    /// In an overload that lasts, first in, first out gives every answer late, to
    /// people who have mostly gone; newest first gives some of them in time.
    /// Tasks without a [timeout](Client::timeout) keep their order. Tenants'
    /// shares are as before.
    pub fn lifo_above(mut self, tasks: usize) -> Self {
        self.settings.limits.tenants.lifo_above = tasks;
        self
    }

    /// Whether one worker is kept free of a tenant's tasks while another tenant
    /// was seen in the last ten seconds; by default yes. A long task of one then
    /// never keeps a short one of another waiting, and a tenant alone still has
    /// all workers.
    pub fn tenant_reserve(mut self, reserve: bool) -> Self {
        self.settings.limits.tenants.reserve = reserve;
        self
    }

    /// How many workers one tenant may cost in a second by tasks that were
    /// stopped while they ran. By default as many as take no more than a quarter
    /// of the workers' time to replace, by the start-up times measured: hundreds,
    /// where a worker is up in milliseconds, and one in a while where it loads a
    /// model first. What is beyond that runs on, its result is thrown away, and
    /// it is stopped when the tenant has a kill left again.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn tenant_kills(mut self, per_second: u32) -> Self {
        assert!(per_second > 0, "a task that never ends must be stopped some time");
        self.settings.limits.tenant_kills = Some(per_second);
        self
    }

    /// Replaces a worker after it has executed so many tasks, or up to a fifth
    /// fewer, so that workers which started together are not replaced together;
    /// by default never. A replacement is ready before the old worker leaves,
    /// and what that one runs is finished.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn recycle_after_tasks(mut self, tasks: u64) -> Self {
        assert!(tasks > 0, "a worker must be allowed a task");
        self.settings.recycling.tasks = Some(tasks);
        self
    }

    /// Replaces a worker that is so old, or up to a fifth younger; by default
    /// never. As [`recycle_after_tasks`](Self::recycle_after_tasks).
    ///
    /// # Panics
    ///
    /// If it is under a second: then workers would do little but start.
    pub fn recycle_after(mut self, age: Duration) -> Self {
        assert!(age >= Duration::from_secs(1), "a worker must be allowed a second");
        self.settings.recycling.age = Some(age);
        self
    }

    /// Replaces a worker that has more resident memory than this, in bytes,
    /// after a task; by default never. It is measured after tasks that ran for
    /// a millisecond or more, and after every 1024th. As
    /// [`recycle_after_tasks`](Self::recycle_after_tasks).
    pub fn recycle_above(mut self, memory_bytes: u64) -> Self {
        self.settings.recycling.memory_bytes = Some(memory_bytes);
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
    pub(crate) spares: usize,
    pub(crate) recycling: Recycling,
    pub(crate) limits: Limits,
    pub(crate) niceness: u8,
    pub(crate) start_timeout: Duration,
}

/// After what workers are replaced; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recycling {
    /// Tasks executed.
    pub(crate) tasks: Option<u64>,
    pub(crate) age: Option<Duration>,
    /// Resident memory between tasks.
    pub(crate) memory_bytes: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: Host::cores(),
            spares: 1,
            recycling: Recycling::default(),
            limits: Limits {
                queue: Bounds { tasks: QUEUE_TASKS, bytes: QUEUE_BYTES },
                payload: MAX_PAYLOAD,
                tenants: Rules::default(),
                tenant_kills: None,
            },
            niceness: 10,
            start_timeout: Duration::from_secs(10),
        }
    }
}

/// Starts the engine that a URL names.
pub(crate) async fn connect(url: &str) -> Result<Client, Error> {
    let (engine, settings) = Settings::parse(url)?;
    match engine {
        #[cfg(feature = "dask")]
        EngineName::Dask(cluster) => {
            let client = Client::new(crate::engine::dask::start(cluster, settings.limits)?);
            client.when_up().await
        }
        EngineName::Local => settings.start_local().await,
        EngineName::Inline => settings.start_inline(),
    }
}

/// Which engine a URL names.
#[derive(Clone, Debug)]
pub(crate) enum EngineName {
    Local,
    Inline,
    #[cfg(feature = "dask")]
    Dask(crate::engine::dask::Settings),
}

#[cfg(feature = "dask")]
const KNOWN_ENGINES: &str =
    "known are local:// and inline://, and dask://, tcp:// and tls:// of clusters";
#[cfg(not(feature = "dask"))]
const KNOWN_ENGINES: &str =
    "known are local:// and inline:// (and dask:// with the feature `dask`)";

impl EngineName {
    #[cfg(feature = "dask")]
    fn cluster(scheme: &str, hosts: &str) -> Result<Self, String> {
        match crate::engine::dask::Settings::parse(scheme, hosts) {
            Some(settings) => settings.map(Self::Dask),
            None => Err(format!("no engine is named `{scheme}`; {KNOWN_ENGINES}")),
        }
    }

    #[cfg(not(feature = "dask"))]
    fn cluster(scheme: &str, _: &str) -> Result<Self, String> {
        Err(format!("no engine is named `{scheme}`; {KNOWN_ENGINES}"))
    }

    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn into_cluster(self) -> Option<crate::engine::dask::Settings> {
        match self {
            Self::Dask(cluster) => Some(cluster),
            _ => None,
        }
    }

    fn is_cluster(&self) -> bool {
        !matches!(self, Self::Local | Self::Inline)
    }

    /// Takes an option that only this engine has; false if it has none of that
    /// name.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match self {
            #[cfg(feature = "dask")]
            Self::Dask(cluster) => cluster.set(name, value),
            _ => {
                let _ = (name, value);
                Ok(false)
            }
        }
    }
}

impl Settings {
    pub(crate) fn parse(url: &str) -> Result<(EngineName, Self), Error> {
        let wrong = |reason| Error::new(Repr::InvalidUrl { url: url.to_owned(), reason });
        let known = KNOWN_ENGINES;
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong(format!("has no engine; {known}")))?;
        let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut engine = match scheme {
            "local" => EngineName::Local,
            "inline" => EngineName::Inline,
            _ => EngineName::cluster(scheme, host).map_err(wrong)?,
        };
        if !engine.is_cluster() && !host.is_empty() && host != "/" {
            return Err(wrong(format!("`{host}` is a host, and {scheme}:// has none")));
        }
        let mut settings = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !engine.set(name, value).map_err(wrong)? {
                settings.set(name, value).map_err(wrong)?;
            }
        }
        Ok((engine, settings))
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number: usize =
            value.parse().map_err(|_| format!("`{name}` wants a whole number, not `{value}`"))?;
        match name {
            "workers" if number == 0 => return Err("`workers` must be at least 1".into()),
            "workers" => self.workers = number,
            "spares" => self.spares = number,
            "tenant_kills" if number == 0 => return Err("`tenant_kills` must be at least 1".into()),
            "tenant_kills" => {
                self.limits.tenant_kills = Some(u32::try_from(number).unwrap_or(u32::MAX));
            }
            "queue_tasks" => self.limits.queue.tasks = number,
            "queue_bytes" => self.limits.queue.bytes = number,
            "max_payload" => self.limits.payload = number.min(2 << 30),
            "tenant_limit" if number == 0 => return Err("`tenant_limit` must be at least 1".into()),
            "tenant_limit" => self.limits.tenants.tenant_limit = number,
            "tenant_queue" => self.limits.tenants.tenant_queue = number,
            "max_wait_ms" => {
                self.limits.tenants.max_wait = Some(Duration::from_millis(number as u64));
            }
            "lifo_above" => self.limits.tenants.lifo_above = number,
            "tenant_reserve" if number > 1 => return Err("`tenant_reserve` is 0 or 1".into()),
            "tenant_reserve" => self.limits.tenants.reserve = number == 1,
            _ => {
                return Err(format!(
                    "no option is named `{name}`; known are workers, spares, queue_tasks, \
                     queue_bytes, max_payload, tenant_limit, tenant_queue, \
                     tenant_reserve, tenant_kills, max_wait_ms, lifo_above"
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
    pub(crate) async fn start_local(self) -> Result<Client, Error> {
        let client = Client::new(crate::engine::local::start(self)?);
        client.when_up().await
    }

    #[cfg(not(all(feature = "local", target_os = "linux")))]
    #[expect(clippy::unused_async, reason = "as where there are worker processes")]
    pub(crate) async fn start_local(self) -> Result<Client, Error> {
        Err(Error::unavailable(
            "worker processes need Linux and the feature `local`; use inline:// here",
        ))
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
        assert!(matches!(engine, EngineName::Local));
        assert_eq!(settings.workers, 3);
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

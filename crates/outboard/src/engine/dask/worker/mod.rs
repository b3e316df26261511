//! A native worker: joins a scheduler as a worker of Dask's, and executes Rust
//! functions on worker processes of this machine.
//!
//! Pure are `spec` (what a task asks for), `desk` (which tasks there are), `store` (what is
//! held), `standing` (whether it takes tasks) and `outcome`. A `stay` has one of each: its
//! `talk` reads, writes and leaves, `serve` answers those who connect, `peers` asks other
//! workers, and `scattered` has the values that clients of Rust scattered.

mod desk;
mod outcome;
mod settings;
mod spec;
mod standing;
mod stay;
mod store;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use dask_protocol::address::{Address, Scheme};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::plugin;
use crate::engine::registry::Setup;
use crate::error::Error;
use crate::front::client::Client;

use settings::Settings;
use stay::{Left, Listening};

/// How long to wait before joining again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// This program as a worker of a Dask cluster, for its own task functions.
///
/// Tasks run in worker processes of this machine, as with
/// [`Client::local`](crate::Client::local): a crash fails one task, and a cancel
/// or a timeout frees the CPU. [`init`](crate::init) makes a program one where
/// `OUTBOARD_WORKER` names a cluster; this type is for those who start it
/// themselves.
///
/// # Examples
///
/// ```no_run
/// fn main() -> Result<(), outboard::Error> {
///     outboard::init();
///     outboard::dask::ClusterWorker::new("dask://127.0.0.1:8786")?
///         .on_event(|event| println!("{event}"))
///         .run()
/// }
/// ```
pub struct ClusterWorker {
    settings: Settings,
    tell: Box<dyn Fn(&ClusterEvent) + Send + Sync>,
}

/// What happened between a [`ClusterWorker`] and its scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// It has joined, and takes tasks.
    Joined {
        /// Whom it joined.
        scheduler: String,
        /// Where it listens.
        address: String,
        /// How many tasks it runs at once.
        workers: usize,
    },
    /// The scheduler cannot be reached, or was lost; it goes on trying.
    Lost {
        /// Which scheduler.
        scheduler: String,
        /// What was the matter.
        reason: String,
    },
}

impl ClusterWorker {
    /// A worker for the cluster that a URL names: `dask://host:port`, `tcp://…` or
    /// `tls://…`.
    ///
    /// It takes the options of [`Client::connect`](crate::Client::connect) that
    /// concern TLS, those of `local://` that concern worker processes, and:
    ///
    /// | option | value | meaning |
    /// |---|---|---|
    /// | `listen=10.0.0.1:9000` | a value of the form host:port | Where to listen; by default a free port of the address from which the scheduler is reached. |
    /// | `name=worker-1` | a value | Its name in Dask's dashboard; by default its address. |
    /// | `held_bytes=4GiB` | a size, at least 1 | How many bytes of results are held; by default its share of the machine's memory. |
    /// | `mixed=1` | 0 or 1 | Whether to join a scheduler that has Python workers too; by default 0. |
    ///
    /// `pool.gpu.workers=2` gives it a pool, as `local://` has them. The scheduler is told of the
    /// resource `pool-gpu`, and tasks of that pool go to workers that have it.
    ///
    /// Dask's tools (`profile`, `performance_report`, `story` and so on) work with such a
    /// worker. `client.run` raises `NotImplementedError`; with `mixed=1` it goes on, and
    /// gives `None` for this worker.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, saying what is wrong with the URL or its certificates.
    pub fn new(url: &str) -> Result<Self, Error> {
        let settings = Settings::parse(url)?;
        Ok(Self { settings, tell: Box::new(|event| tracing::info!("{event}")) })
    }

    /// Is told what happens, instead of the log.
    #[must_use]
    pub fn on_event(self, tell: impl Fn(&ClusterEvent) + Send + Sync + 'static) -> Self {
        Self { tell: Box::new(tell), ..self }
    }

    /// Joins and works, blocking this thread, until the scheduler retires this
    /// worker, or SIGTERM or SIGINT comes. It then finishes what runs, hands its
    /// results to other workers, and leaves; a second signal ends it at once.
    ///
    /// A scheduler that is not there, or is lost, is tried again and again.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the scheduler runs a release that is not supported, if it
    /// has Python workers and the URL does not say `mixed=1`, or if worker
    /// processes cannot be started.
    ///
    /// # Panics
    ///
    /// Inside an async runtime.
    pub fn run(self) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::unavailable(error.to_string()))?;
        runtime.block_on(self.work())
    }

    async fn work(self) -> Result<(), Error> {
        let signals = Signals::new().map_err(|error| Error::unavailable(error.to_string()))?;
        let settings = Arc::new(self.settings);
        let client = Client::start_local(settings.local.clone()).await?;
        let (leave, leaving) = watch::channel(false);
        let result = tokio::select! {
            result = keep_joining(&settings, &client, &*self.tell, leaving) => result,
            () = signals.twice(leave) => Ok(()),
        };
        client.shutdown().await;
        result
    }
}

impl fmt::Debug for ClusterWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheduler = self.settings.scheduler.to_string();
        f.debug_struct("ClusterWorker").field("scheduler", &scheduler).finish_non_exhaustive()
    }
}

impl fmt::Display for ClusterEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { scheduler, address, workers } => {
                let plural = if *workers == 1 { "" } else { "s" };
                write!(f, "joined {scheduler} as {address}, {workers} task{plural} at once")
            }
            Self::Lost { scheduler, reason } => {
                write!(f, "{scheduler} cannot be joined: {reason}; trying again")
            }
        }
    }
}

/// Whether this process was started to work for a cluster, or beside a Python
/// worker.
pub(super) fn is_one() -> bool {
    plugin::asked().is_some() || std::env::var_os(VARIABLE).is_some_and(|url| !url.is_empty())
}

/// Becomes what this process was started as, if it was.
pub(super) fn become_one(setup: Setup<'_>) {
    if let Some(asked) = plugin::asked() {
        plugin::serve(&asked, setup.run);
    }
    run_if_asked(setup.run, setup.in_test);
}

/// Becomes a worker of a cluster, and never returns, if the environment says so.
/// In a test binary it ends with whoever started it: that is when stdin ends.
fn run_if_asked(setup: impl FnOnce(), in_test: bool) {
    let Some(url) = std::env::var_os(VARIABLE).filter(|url| !url.is_empty()) else { return };
    if in_test {
        std::thread::spawn(|| {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            std::process::exit(0)
        });
    }
    setup();
    // Whoever started it sees whether it works, as with any program in a terminal.
    let tell = |event: &ClusterEvent| eprintln!("outboard: {event}");
    let worker = ClusterWorker::new(&url.to_string_lossy());
    let worked = worker.and_then(|worker| worker.on_event(tell).run());
    match worked {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("outboard: this process cannot work for the cluster: {error}");
            std::process::exit(1);
        }
    }
}

/// Set for programs that are to work for a cluster: its URL.
const VARIABLE: &str = "OUTBOARD_WORKER";

/// SIGTERM and SIGINT.
struct Signals([tokio::signal::unix::Signal; 2]);

impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    /// Says when the first comes, and ends with the second.
    async fn twice(mut self, first: watch::Sender<bool>) {
        for _ in 0..2 {
            let [terminate, interrupt] = &mut self.0;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            first.send_replace(true);
        }
    }
}

async fn keep_joining(
    settings: &Arc<Settings>,
    client: &Client,
    tell: &(dyn Fn(&ClusterEvent) + Send + Sync),
    mut leaving: watch::Receiver<bool>,
) -> Result<(), Error> {
    let (mut pause, mut ever, mut said) = (PAUSE, false, String::new());
    let (address, listening) = loop {
        let error = match listen(settings).await {
            Ok(found) => break found,
            Err(error) => error,
        };
        if settings.listen.is_some() {
            return Err(Error::unavailable(format!("cannot listen: {error}")));
        }
        lost(settings, tell, &error, &mut said);
        if !wait(&mut pause, &mut leaving).await {
            return Ok(());
        }
    };
    loop {
        let stayed = stay::stay(settings, client, &address, &listening, tell, leaving.clone());
        match stayed.await {
            Left::Done => return Ok(()),
            Left::Refused(line) if !ever => return Err(Error::unavailable(line)),
            Left::Refused(line) => lost(settings, tell, &io::Error::other(line), &mut said),
            Left::Lost { joined, error } => {
                if joined {
                    (pause, ever) = (PAUSE, true);
                    said.clear();
                }
                lost(settings, tell, &error, &mut said);
            }
        }
        if !wait(&mut pause, &mut leaving).await {
            return Ok(());
        }
    }
}

/// Tells what is the matter, if it is something else than before.
fn lost(
    settings: &Settings,
    tell: &(dyn Fn(&ClusterEvent) + Send + Sync),
    error: &io::Error,
    said: &mut String,
) {
    let (scheduler, reason) = (settings.scheduler.to_string(), error.to_string());
    if *said != reason {
        said.clone_from(&reason);
        tell(&ClusterEvent::Lost { scheduler, reason });
    }
}

/// Waits before the next turn; false if there is to be none.
async fn wait(pause: &mut Duration, leaving: &mut watch::Receiver<bool>) -> bool {
    let leaves = leaving.wait_for(|leaving| *leaving);
    let waited = tokio::time::timeout(*pause, leaves).await;
    *pause = (2 * *pause).min(LONGEST_PAUSE);
    waited.is_err()
}

/// Listens where the scheduler, other workers and clients can connect to.
async fn listen(settings: &Settings) -> io::Result<(String, Listening)> {
    let wanted = match &settings.listen {
        Some(wanted) if wanted.contains(':') => wanted.clone(),
        Some(host) => format!("{host}:0"),
        None => SocketAddr::new(near(&settings.scheduler)?, 0).to_string(),
    };
    let listener = TcpListener::bind(&wanted).await?;
    let mut place = listener.local_addr()?;
    if place.ip().is_unspecified() {
        place.set_ip(near(&settings.scheduler)?);
    }
    let tls = settings.listening.clone().map(TlsAcceptor::from);
    let scheme = if tls.is_some() { Scheme::Tls } else { Scheme::Tcp };
    let address = Address { scheme, place: place.to_string() };
    Ok((address.to_string(), Listening::new(listener, tls)))
}

/// The address of this machine from which a scheduler is reached. Nothing is
/// sent for that.
fn near(scheduler: &Address) -> io::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    let there = scheduler.place.to_socket_addrs()?.next();
    let there = there.ok_or_else(|| io::Error::other("the scheduler's host has no address"))?;
    let any: SocketAddr = match there.ip() {
        IpAddr::V4(_) => ([0; 4], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(there)?;
    Ok(socket.local_addr()?.ip())
}

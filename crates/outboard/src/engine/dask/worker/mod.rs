//! A native worker of a Dask cluster: registers with a scheduler, and executes
//! what that sends on worker processes of its own, by the engine `local`.
//!
//! So a task of a cluster is isolated, limited and killed as on one machine.

mod duty;
mod peers;
mod register;
mod settings;
mod spec;
mod stock;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmpv::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::address::Address;
use super::connection::{Connection, Dialer, Incoming, Outgoing};
use super::frames::Bounds;
use super::message::Message;
use super::pickle::Pickle;
use super::values;
use crate::client::Client;
use crate::error::Error;
use crate::task::Function;
use settings::Settings;
use stock::Stock;

/// What one message to a worker may have: a scheduler sends many tasks at once.
const BOUNDS: Bounds = Bounds { frames: 1 << 20, bytes: 2 << 30 };

/// How long to wait before registering again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
/// once if it names none. In a test binary it ends with whoever started it: that
/// is when stdin ends.
pub(crate) fn join_if_asked(in_test: bool) {
    let Some(url) = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty()) else { return };
    if in_test {
        std::thread::spawn(|| {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            std::process::exit(0)
        });
    }
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

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// What made a worker say something, for Dask's logs.
fn stimulus(what: &str) -> Value {
    format!("{what}-{}", now()).into()
}

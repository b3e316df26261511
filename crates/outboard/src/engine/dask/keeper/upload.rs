//! Brings values to the workers of a scheduler: straight to one of them, which the
//! scheduler is told. Where no worker can be reached, scattered values go through
//! the scheduler, and arguments with their task. Workers get scattered values from
//! each other after that.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dask_protocol::Serialized;
use dask_protocol::key::Key;
use dask_protocol::message::{
    GatherCopies, Places, Question, Scatter, TellData, UpdateData, WhoHas, WorkerInfo,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use super::departure::lacks_pool;
use super::fetch::{Idle, dialer};
use super::reach::{HURRY, Way};
use super::{Keeper, Talk};
use crate::engine::dask::Flush;
use crate::engine::dask::connection::Connection;
use crate::engine::dask::shelf::{Kind, Upload};
use crate::engine::dask::wanted::Wanted;
use crate::task::outcome::Failure;

/// How many values are on their way at once.
const AT_ONCE: usize = 4;

/// How many workers are asked to take a value before the scheduler is.
const TRIES: usize = 3;

/// To how many others a worker gives a value at once.
const EACH_GIVES: usize = 2;

/// How long the first connection to a worker may take, where the other way costs more.
const HURRY_FOR_A_VALUE: Duration = Duration::from_secs(2);

/// How long a transfer may take: at least, and for each byte.
const PATIENCE: Duration = Duration::from_secs(30);
const A_BYTE: Duration = Duration::from_micros(1);

/// How often it is looked for workers, while some may still come.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the scheduler may wait for a worker that takes data.
const SOME_WORKER_S: u32 = 5;

/// How uploads to one scheduler go.
#[derive(Default)]
struct Ways {
    /// Whose turn it is among equals.
    next: AtomicUsize,
    /// Connections that are free.
    free: Mutex<Idle<Connection>>,
}

/// What uploads are done with.
#[derive(Clone, Copy)]
struct Courier<'a> {
    keeper: &'a Keeper,
    ways: &'a Ways,
}

/// Brings values there as they are asked for; ends with the scheduler.
pub(super) async fn run<T>(
    talk: &Talk<'_>,
    mut asked: mpsc::UnboundedReceiver<Upload>,
) -> io::Result<T> {
    let ways = Ways::default();
    let courier = Courier { keeper: talk.keeper, ways: &ways };
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(upload) = asked.recv(), if under_way.len() < AT_ONCE => {
                under_way.push(bring(talk, courier, upload));
            }
            Some(()) = under_way.next() => {}
        }
    }
}

async fn bring(talk: &Talk<'_>, courier: Courier<'_>, upload: Upload) {
    let workers = match upload.kind {
        Kind::Scattered => workers(talk, &upload.wanted).await,
        Kind::Arguments => Ok(workers_now(talk, &upload.wanted)),
    };
    let given = match (&workers, &upload.bytes) {
        (Err(error), _) => Err(error.clone()),
        (Ok(workers), Some(bytes)) => courier.give(&upload, bytes, workers).await,
        (Ok(_), None) => Ok(()),
    };
    if let (Ok(()), Ok(workers), Kind::Scattered) = (&given, &workers, upload.kind)
        && let Err(error) = courier.spread(&upload.key, workers).await
    {
        tracing::debug!(key = upload.key, %error, "a scattered value was not copied");
    }
    if upload.bytes.is_some() {
        let keeper = talk.keeper;
        keeper.shared.table().arrived(keeper.at, &upload.key, given);
        keeper.shared.wakes[keeper.at].flush();
    }
}

fn workers_now(talk: &Talk<'_>, wanted: &Wanted) -> Vec<WorkerInfo> {
    let cluster = talk.keeper.shared.cluster(talk.keeper.at);
    cluster.native_with(wanted).cloned().collect()
}

/// The workers that can run tasks of a function, and take data.
async fn workers(talk: &Talk<'_>, wanted: &Wanted) -> Result<Vec<WorkerInfo>, Failure> {
    let mut found = workers_now(talk, wanted);
    while found.is_empty() {
        // A worker may have come that we have not heard of.
        talk.look().await.map_err(|error| Failure::Unavailable(error.to_string()))?;
        found = workers_now(talk, wanted);
        if !found.is_empty() || !talk.is_patient() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if found.is_empty() {
        let cluster = talk.keeper.shared.cluster(talk.keeper.at);
        if let Some(advice) = lacks_pool(wanted, &cluster) {
            return Err(Failure::UnknownTask { advice: advice.into() });
        }
        return Err(match cluster.has_python() {
            true => Failure::Unavailable(NATIVE_ONLY.into()),
            false => {
                let advice = "no worker of the cluster that takes data offers it";
                Failure::UnknownTask { advice: advice.into() }
            }
        });
    }
    Ok(found)
}

/// What to do where no native worker could have a value.
const NATIVE_ONLY: &str = "scattered values go to native workers, and none of the cluster's \
     offers this function: beside Python workers, pass the value itself";

impl Courier<'_> {
    /// Gives a value to one worker.
    async fn give(
        self,
        upload: &Upload,
        bytes: &Bytes,
        workers: &[WorkerInfo],
    ) -> Result<(), Failure> {
        let key = upload.key.as_str();
        let mut why = None;
        let patience = PATIENCE + A_BYTE * u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        for place in self.in_order(workers) {
            let given = self.to_worker(place, key, bytes);
            match in_time(patience, given).await {
                Ok(()) => return Ok(()),
                Err(error) => why = Some(error),
            }
        }
        let failed = |why: &Option<io::Error>, error: &str| {
            let why = why.as_ref().map_or_else(|| error.to_owned(), ToString::to_string);
            Failure::Unavailable(format!("a value could not be given to a worker: {why}"))
        };
        if upload.kind == Kind::Scattered {
            let through = in_time(2 * patience, self.through_scheduler(key, bytes, workers));
            through.await.map_err(|error| failed(&why, &error.to_string()))?;
        }
        match upload.kind {
            Kind::Scattered => Ok(()),
            Kind::Arguments => Err(failed(&why, "no worker takes it")),
        }
    }

    /// The workers that are to be asked in turn: first those with the fewest bytes
    /// that wait there, those that were idle, those whose turn it is.
    fn in_order(self, workers: &[WorkerInfo]) -> Vec<&str> {
        if workers.is_empty() || self.keeper.reach().is_never_direct() {
            return Vec::new();
        }
        let first = self.ways.next.fetch_add(1, Relaxed) % workers.len();
        let (before, after) = workers.split_at(first);
        let mut order: Vec<_> = after.iter().chain(before).collect();
        let mut table = self.keeper.shared.table();
        let shelf = table.shelf(self.keeper.at);
        order.sort_by_cached_key(|worker| {
            (shelf.passing_at(&worker.address) / threads(worker).max(1), worker.executing > 0)
        });
        order.into_iter().take(TRIES).map(|worker| worker.address.as_str()).collect()
    }

    /// Gives a value to a worker, and tells the scheduler that it has it.
    async fn to_worker(self, place: &str, key: &str, bytes: &Bytes) -> io::Result<()> {
        self.keeper.shared.table().shelf(self.keeper.at).placed(key, place);
        let question = || UpdateData { data: value(key, bytes) };
        let sizes = self.ask(place, question).await?;
        self.tell(key, vec![place.to_owned()], sizes).await
    }

    /// Has the scheduler give a value to one of the workers.
    async fn through_scheduler(
        self,
        key: &str,
        bytes: &Bytes,
        workers: &[WorkerInfo],
    ) -> io::Result<()> {
        let question = || Scatter {
            data: value(key, bytes),
            workers: workers.iter().map(|worker| worker.address.clone()).collect(),
            client: self.keeper.client_name(),
            timeout_s: SOME_WORKER_S,
        };
        self.ask_scheduler(question).await
    }

    /// Tells the scheduler which workers have a value.
    async fn tell(self, key: &str, places: Vec<String>, nbytes: Vec<(Key, u64)>) -> io::Result<()> {
        let (who_has, client) = (vec![(key.into(), places)], self.keeper.client_name());
        let told = TellData { who_has, nbytes, client };
        in_time(PATIENCE, self.ask_scheduler(|| told.clone())).await
    }

    /// Sees to it that there are copies enough for all tasks that name the value: with
    /// one alone, all of them would go to the worker that has it. Workers get it from
    /// each other, as many at once as do not keep one that has it too busy.
    async fn spread(self, key: &str, workers: &[WorkerInfo]) -> io::Result<()> {
        let tasks = self.keeper.shared.table().shelf(self.keeper.at).tasks_of(key);
        let copies = copies(tasks, workers);
        if copies < 2 {
            return Ok(());
        }
        let question = || WhoHas { keys: vec![key.into()] };
        let mut have: Places = in_time(PATIENCE, self.ask_scheduler(question)).await?;
        let mut have = have.pop().map(|(_, places)| places).unwrap_or_default();
        let mut others: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
        others.retain(|place| !have.iter().any(|one| one == place));
        others.truncate(copies.saturating_sub(have.len()));
        while !others.is_empty() && !have.is_empty() {
            let next = others.split_off(others.len().saturating_sub(EACH_GIVES * have.len()));
            let copying = next.into_iter().map(|place| self.copy(key, &have, place));
            let copied = futures_util::future::join_all(copying).await.into_iter();
            let copied = copied.collect::<io::Result<Vec<_>>>()?;
            // It knows the size already.
            self.tell(key, copied.clone(), Vec::new()).await?;
            have.extend(copied);
        }
        Ok(())
    }

    /// Has a worker get a copy from those that have it; gives back which.
    async fn copy(self, key: &str, have: &[String], place: &str) -> io::Result<String> {
        let who_has = vec![(Key::from(key), have.to_vec())];
        let question = || GatherCopies { who_has: who_has.clone() };
        let missing = in_time(2 * PATIENCE, self.ask(place, question)).await?;
        match missing.is_empty() {
            true => Ok(place.to_owned()),
            false => Err(io::Error::other(format!("{place} could not get it"))),
        }
    }

    async fn ask_scheduler<Q: Question>(self, question: impl Fn() -> Q) -> io::Result<Q::Answer> {
        self.ask(&self.keeper.address.to_string(), question).await
    }

    /// Asks a worker or the scheduler, by a connection that is kept for the next
    /// question.
    async fn ask<Q: Question>(
        self,
        place: &str,
        question: impl Fn() -> Q,
    ) -> io::Result<Q::Answer> {
        let kept = self.free().take(place);
        if let Some(mut connection) = kept
            && let Ok(answer) = connection.ask(question()).await
        {
            self.keep(place.to_owned(), connection);
            return Ok(answer);
        }
        // The one that was kept may have been closed meanwhile.
        let mut connection = self.dial(place).await?;
        let answer = connection.ask(question()).await?;
        self.keep(place.to_owned(), connection);
        Ok(answer)
    }

    /// Connects to a worker, if that can be reached, or to the scheduler.
    async fn dial(self, place: &str) -> io::Result<Connection> {
        let dialer = dialer(self.keeper);
        if place == self.keeper.address.to_string() {
            return dialer.dial_place(place).await;
        }
        let way = self.keeper.reach().way(Instant::now(), place);
        let hurry = match way {
            Way::Direct => PATIENCE,
            Way::Try => HURRY_FOR_A_VALUE,
            Way::TryMeanwhile => HURRY,
            Way::Around => return Err(io::ErrorKind::HostUnreachable.into()),
        };
        self.keeper.noted(place, in_time(hurry, dialer.dial_place(place)).await)
    }

    fn keep(self, place: String, connection: Connection) {
        let cluster = self.keeper.shared.cluster(self.keeper.at);
        let scheduler = self.keeper.address.to_string();
        let is_there = |place: &str| place == scheduler || cluster.number(place) > 0;
        self.free().put(place, connection, is_there);
    }

    fn free(&self) -> MutexGuard<'_, Idle<Connection>> {
        self.ways.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value by its key.
fn value(key: &str, bytes: &Bytes) -> Vec<(Key, Serialized)> {
    vec![(key.into(), Serialized::from_bytes(bytes.to_vec()))]
}

async fn in_time<T>(
    patience: Duration,
    doing: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let done = tokio::time::timeout(patience, doing).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn threads(worker: &WorkerInfo) -> usize {
    usize::try_from(worker.nthreads).unwrap_or(usize::MAX)
}

/// How many workers are to have a value that so many tasks name.
fn copies(tasks: usize, workers: &[WorkerInfo]) -> usize {
    let threads: usize = workers.iter().map(threads).sum();
    let each = threads.div_ceil(workers.len().max(1)).max(1);
    tasks.div_ceil(each).min(workers.len())
}

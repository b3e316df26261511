//! Brings scattered values to the workers of a scheduler: straight to one of them,
//! which the scheduler is told; through the scheduler where no worker can be
//! reached. Workers get them from each other after that.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rmpv::Value;
use tokio::sync::mpsc;

use super::Flush;
use super::address::Address;
use super::cluster::WorkerEntry;
use super::connection::Connection;
use super::fetch::dialer;
use super::graph::resource;
use super::keeper::{Keeper, Talk, ask};
use super::message::{Message, field, list, map, text};
use super::shelf::Upload;
use super::values::from_bytes;
use crate::error::Error;
use crate::task::{Function, unknown};

/// How many values are on their way at once.
const AT_ONCE: usize = 4;

/// How many workers are asked to take a value before the scheduler is.
const TRIES: usize = 3;

/// To how many others a worker gives a value at once.
const EACH_GIVES: usize = 2;

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
    /// Workers could not be reached from here, and the scheduler could reach them.
    around: AtomicBool,
}

/// Brings values there as they are asked for; ends with the scheduler.
pub(super) async fn run<T>(
    talk: &Talk<'_>,
    mut asked: mpsc::UnboundedReceiver<Upload>,
) -> io::Result<T> {
    let ways = Ways::default();
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(upload) = asked.recv(), if under_way.len() < AT_ONCE => {
                under_way.push(bring(talk, &ways, upload));
            }
            Some(()) = under_way.next() => {}
        }
    }
}

async fn bring(talk: &Talk<'_>, ways: &Ways, upload: Upload) {
    let keeper = talk.keeper;
    let workers = workers(talk, upload.function).await;
    let given = match (&workers, &upload.bytes) {
        (Err(error), _) => Err(error.clone()),
        (Ok(workers), Some(bytes)) => give(keeper, ways, &upload.key, bytes, workers).await,
        (Ok(_), None) => Ok(()),
    };
    if let (Ok(()), Ok(workers)) = (&given, &workers)
        && let Err(error) = spread(keeper, &upload.key, workers).await
    {
        tracing::debug!(key = upload.key, %error, "a scattered value was not copied");
    }
    if upload.bytes.is_some() {
        keeper.shared.table().arrived(keeper.at, &upload.key, given);
        keeper.shared.wakes[keeper.at].flush();
    }
}

/// The workers that can run tasks of a function, and take data.
async fn workers(talk: &Talk<'_>, function: &'static Function) -> Result<Vec<WorkerEntry>, Error> {
    let resource = resource(function.name, function.signature);
    let find = || {
        let cluster = talk.keeper.shared.cluster(talk.keeper.at);
        let workers = cluster.native_with(&resource).filter(|worker| worker.running);
        workers.cloned().collect::<Vec<_>>()
    };
    let mut found = find();
    while found.is_empty() {
        // A worker may have come that we have not heard of.
        talk.look().await.map_err(|error| Error::unavailable(error.to_string()))?;
        found = find();
        if !found.is_empty() || !talk.is_patient() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if found.is_empty() {
        let cluster = talk.keeper.shared.cluster(talk.keeper.at);
        return Err(match cluster.workers.iter().any(|worker| !worker.native) {
            true => Error::unavailable(NATIVE_ONLY),
            false => unknown(function.name, "no worker of the cluster that takes data offers it"),
        });
    }
    Ok(found)
}

/// What to do where no native worker could have a value.
const NATIVE_ONLY: &str = "scattered values go to native workers, and none of the cluster's \
     offers this function: beside Python workers, pass the value itself";

/// Gives a value to one worker.
async fn give(
    keeper: &Keeper,
    ways: &Ways,
    key: &str,
    bytes: &Bytes,
    workers: &[WorkerEntry],
) -> Result<(), Error> {
    let mut why = None;
    let first = ways.next.fetch_add(1, Relaxed) % workers.len();
    let (before, after) = workers.split_at(first);
    let mut order: Vec<_> = after.iter().chain(before).collect();
    order.sort_by_key(|worker| worker.busy);
    let patience = PATIENCE + A_BYTE * u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    for worker in order.into_iter().take(if ways.around.load(Relaxed) { 0 } else { TRIES }) {
        let given = to_worker(keeper, &worker.address, key, bytes);
        match in_time(patience, given).await {
            Ok(()) => return Ok(()),
            Err(error) => why = Some(error),
        }
    }
    let through = through_scheduler(keeper, key, bytes, workers);
    in_time(2 * patience, through).await.map_err(|error| {
        let error = why.as_ref().unwrap_or(&error);
        Error::unavailable(format!("a scattered value could not be given to a worker: {error}"))
    })?;
    if let Some(error) = why
        && !ways.around.swap(true, Relaxed)
    {
        let scheduler = &keeper.address;
        tracing::warn!(%scheduler, %error, "no worker was reached: values go through the scheduler");
    }
    Ok(())
}

async fn in_time<T>(
    patience: Duration,
    doing: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let done = tokio::time::timeout(patience, doing).await;
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Gives a value to a worker, and tells the scheduler that it has it.
async fn to_worker(keeper: &Keeper, place: &str, key: &str, bytes: &Bytes) -> io::Result<()> {
    let mut worker = dial(keeper, place).await?;
    let answer = ask_with(&mut worker, "update_data", key, bytes, []).await?;
    let sizes = field(&answer.value, "nbytes").cloned().unwrap_or(Value::Map(Vec::new()));
    let mut scheduler = dialer(keeper).dial(&keeper.address).await?;
    tell(keeper, &mut scheduler, key, &[place.to_owned()], sizes).await
}

async fn dial(keeper: &Keeper, place: &str) -> io::Result<Connection> {
    let address = Address::parse(place).ok_or_else(|| io::Error::other("it has no address"))?;
    dialer(keeper).dial(&address).await
}

/// Tells the scheduler which workers have a value.
async fn tell(
    keeper: &Keeper,
    scheduler: &mut Connection,
    key: &str,
    places: &[String],
    sizes: Value,
) -> io::Result<()> {
    let places = Value::Array(places.iter().map(|place| place.as_str().into()).collect());
    let client = keeper.client_name().into();
    let who_has = Value::Map(vec![(key.into(), places)]);
    let fields = [("who_has", who_has), ("nbytes", sizes), ("client", client)];
    in_time(PATIENCE, ask(scheduler, "update_data", fields)).await.map(drop)
}

/// Has the scheduler give a value to one of the workers.
async fn through_scheduler(
    keeper: &Keeper,
    key: &str,
    bytes: &Bytes,
    workers: &[WorkerEntry],
) -> io::Result<()> {
    let mut scheduler = dialer(keeper).dial(&keeper.address).await?;
    let fields = [
        ("workers", addresses(workers)),
        ("client", keeper.client_name().into()),
        ("broadcast", false.into()),
        ("timeout", SOME_WORKER_S.into()),
    ];
    ask_with(&mut scheduler, "scatter", key, bytes, fields).await.map(drop)
}

/// Asks with a value beside the question.
async fn ask_with<const N: usize>(
    connection: &mut Connection,
    operation: &str,
    key: &str,
    bytes: &Bytes,
    fields: [(&str, Value); N],
) -> io::Result<Message> {
    let mut question = Message::new(Value::Nil);
    let place = question.attach(from_bytes(bytes.to_vec()));
    let data = Value::Map(vec![(key.into(), place)]);
    let Value::Map(mut all) =
        map([("op", operation.into()), ("reply", true.into()), ("data", data)])
    else {
        unreachable!()
    };
    all.extend(fields.map(|(name, value)| (name.into(), value)));
    question.value = Value::Map(all);
    connection.ask(question).await
}

/// Sees to it that there are copies enough for all tasks that name the value: with
/// one alone, all of them would go to the worker that has it. Workers get it from
/// each other, as many at once as do not keep one that has it too busy.
async fn spread(keeper: &Keeper, key: &str, workers: &[WorkerEntry]) -> io::Result<()> {
    let tasks = keeper.shared.table().tasks_of(keeper.at, key);
    let copies = copies(tasks, workers);
    if copies < 2 {
        return Ok(());
    }
    let mut scheduler = dialer(keeper).dial(&keeper.address).await?;
    let keys = Value::Array(vec![key.into()]);
    let answer = ask(&mut scheduler, "who_has", [("keys", keys)]).await?.value;
    let mut have: Vec<String> =
        list(&answer, key).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mut others: Vec<&str> = workers.iter().map(|worker| worker.address.as_str()).collect();
    others.retain(|place| !have.iter().any(|one| one == place));
    others.truncate(copies.saturating_sub(have.len()));
    while !others.is_empty() && !have.is_empty() {
        let next = others.split_off(others.len().saturating_sub(EACH_GIVES * have.len()));
        let copying = next.into_iter().map(|place| copy(keeper, key, &have, place));
        let copied = futures_util::future::join_all(copying).await.into_iter();
        let copied = copied.collect::<io::Result<Vec<_>>>()?;
        // It knows the size already.
        tell(keeper, &mut scheduler, key, &copied, Value::Map(Vec::new())).await?;
        have.extend(copied);
    }
    Ok(())
}

/// Has a worker get a copy from those that have it; gives back which.
async fn copy(keeper: &Keeper, key: &str, have: &[String], place: &str) -> io::Result<String> {
    let mut worker = dial(keeper, place).await?;
    let have = Value::Array(have.iter().map(|place| place.as_str().into()).collect());
    let fields = [("who_has", Value::Map(vec![(key.into(), have)]))];
    let answer = in_time(2 * PATIENCE, ask(&mut worker, "gather", fields)).await?;
    match text(&answer.value, "status") {
        Some("OK") => Ok(place.to_owned()),
        _ => Err(io::Error::other(format!("{place} could not get it"))),
    }
}

/// How many workers are to have a value that so many tasks name.
fn copies(tasks: usize, workers: &[WorkerEntry]) -> usize {
    let threads: usize = workers.iter().map(|worker| worker.threads).sum();
    let each = threads.div_ceil(workers.len().max(1)).max(1);
    tasks.div_ceil(each).min(workers.len())
}

fn addresses(workers: &[WorkerEntry]) -> Value {
    Value::Array(workers.iter().map(|worker| worker.address.as_str().into()).collect())
}

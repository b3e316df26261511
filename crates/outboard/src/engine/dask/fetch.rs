//! Brings the results of tasks, straight from the workers that have them, and
//! through the scheduler where that fails.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rmpv::Value;
use tokio::sync::mpsc;

use super::address::Address;
use super::cluster::Cluster;
use super::connection::{Connection, Dialer};
use super::frames::{Bounds, Excess};
use super::keeper::{Keeper, ask};
use super::message::{Message, field, list, text};
use super::native::{Done, Failed};
use super::{exception, values};
use crate::error::{Cause, Error, Lost, Repr};
use crate::task::RunError;
use crate::wire::{Failure, Payload, Usage};

/// How many results are looked for, and asked of a worker, at once.
const KEYS_AT_ONCE: usize = 1024;
const KEYS_OF_A_WORKER: usize = 64;

/// What a worker's answer may have beside the payloads.
const ROOM: usize = 16 << 20;

/// How long a worker or scheduler may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a busy worker, or a scheduler that has a result and cannot get it,
/// is asked again, and after what pause.
const BUSY: usize = 300;
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);

/// How a task ended, as the cluster says.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The bytes that its result is, and the number of the worker.
    Value(Vec<u8>, usize),
    /// A failure, and the number of the worker; 0 if that is not known.
    Failed(Failure, usize),
    Lost(Lost),
    Error(Error),
}

impl Outcome {
    pub(super) fn lost(cause: Cause) -> Self {
        Self::Lost(Lost { cause: Some(cause), ..Lost::default() })
    }
}

/// What came of asking.
struct Got {
    /// The connection that is free again.
    connection: Option<(String, Connection)>,
    ended: Vec<(String, Outcome)>,
    /// Not to be had in this way.
    missing: Vec<String>,
}

/// Fetches the results of keys as they come; ends with the scheduler.
pub(super) async fn run<T>(
    keeper: &Keeper,
    mut lookups: Connection,
    mut keys: mpsc::UnboundedReceiver<String>,
) -> io::Result<T> {
    let mut free: HashMap<String, Vec<Connection>> = HashMap::new();
    let mut under_way: FuturesUnordered<BoxFuture<'_, Got>> = FuturesUnordered::new();
    let mut found = Vec::new();
    loop {
        let got = tokio::select! {
            _ = keys.recv_many(&mut found, KEYS_AT_ONCE) => {
                for (place, keys) in places(keeper, &mut lookups, std::mem::take(&mut found)).await? {
                    let connection = free.get_mut(&place).and_then(Vec::pop);
                    under_way.push(Box::pin(get(keeper, place, connection, keys)));
                }
                continue;
            }
            Some(got) = under_way.next() => got,
        };
        keeper.conclude(got.ended);
        if let Some((place, connection)) = got.connection {
            free.entry(place).or_default().push(connection);
        }
        for key in got.missing {
            under_way.push(Box::pin(recover(keeper, key)));
        }
    }
}

/// Which worker has which results; those that nobody has are under "".
async fn places(
    keeper: &Keeper,
    lookups: &mut Connection,
    keys: Vec<String>,
) -> io::Result<Vec<(String, Vec<String>)>> {
    let mut places: HashMap<String, Vec<String>> = HashMap::new();
    let cluster = keeper.shared.cluster(keeper.at);
    if let Some(only) = cluster.only_worker() {
        places.insert(only.to_owned(), keys);
    } else {
        let asked = ask(lookups, "who_has", [("keys", array(&keys))]);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.map_err(|_| io::ErrorKind::TimedOut)??.value;
        for key in keys {
            let place = list(&answer, &key).first().and_then(Value::as_str).unwrap_or_default();
            places.entry(place.to_owned()).or_default().push(key);
        }
    }
    let parts = places.into_iter().flat_map(|(place, keys)| {
        let parts: Vec<_> = keys.chunks(KEYS_OF_A_WORKER).map(<[String]>::to_vec).collect();
        parts.into_iter().map(move |part| (place.clone(), part))
    });
    Ok(parts.collect())
}

fn array(keys: &[String]) -> Value {
    Value::Array(keys.iter().map(|key| key.as_str().into()).collect())
}

/// Gets results from the worker that has them.
async fn get(
    keeper: &Keeper,
    place: String,
    connection: Option<Connection>,
    keys: Vec<String>,
) -> Got {
    let asked = tokio::time::timeout(PATIENCE, get_data(keeper, &place, connection, &keys)).await;
    match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok((connection, ended)) => {
            let missing = |key: &String| !ended.iter().any(|(found, _)| found == key);
            let missing = keys.into_iter().filter(missing).collect();
            Got { connection: Some((place, connection)), ended, missing }
        }
        Err(error) => {
            let excess = error.get_ref().and_then(|inner| inner.downcast_ref::<Excess>());
            match (excess, &keys[..]) {
                (Some(excess), [key]) => {
                    let (bytes, limit) = (excess.found, keeper.gate.limits().payload as u64);
                    let failure = Failure::TooLarge { bytes, limit };
                    let ended = vec![(key.clone(), Outcome::Failed(failure, 0))];
                    Got { connection: None, ended, missing: Vec::new() }
                }
                _ => Got { connection: None, ended: Vec::new(), missing: keys },
            }
        }
    }
}

async fn get_data(
    keeper: &Keeper,
    place: &str,
    connection: Option<Connection>,
    keys: &[String],
) -> io::Result<(Connection, Vec<(String, Outcome)>)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => {
            let address = Address::parse(place);
            let address = address.ok_or_else(|| io::Error::other("it has no address"))?;
            dialer(keeper).dial(&address).await?
        }
    };
    for _ in 0..BUSY {
        let fields = [("keys", array(keys)), ("who", Value::Nil)];
        let mut answer = ask(&mut connection, "get_data", fields).await?;
        match text(&answer.value, "status") {
            Some("OK") => {
                connection.outgoing.send(Message::new("OK".into())).await?;
                let number = keeper.shared.cluster(keeper.at).number(place);
                let ended = data(&mut answer, number);
                return Ok((connection, ended));
            }
            Some("busy") => tokio::time::sleep(PAUSE).await,
            _ => return Err(io::Error::other("it did not give its data")),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Answers of workers may have one payload of the largest size.
pub(super) fn dialer(keeper: &Keeper) -> Dialer {
    let bytes = keeper.gate.limits().payload.saturating_add(ROOM);
    Dialer { bounds: Bounds { frames: 1 << 16, bytes }, ..keeper.dialer() }
}

/// The values in an answer.
fn data(answer: &mut Message, number: usize) -> Vec<(String, Outcome)> {
    let value = std::mem::replace(&mut answer.value, Value::Nil);
    let data = field(&value, "data").and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
    let mut ended = Vec::new();
    for (key, place) in data {
        let Some(key) = key.as_str() else { continue };
        let object = answer.object(place).ok().flatten();
        let bytes = object.map(values::into_bytes);
        let outcome = match bytes {
            Some(Ok(bytes)) => Outcome::Value(bytes, number),
            Some(Err(malformed)) => unreadable(malformed.0),
            None => unreadable("a value that is not there"),
        };
        ended.push((key.to_owned(), outcome));
    }
    ended
}

fn unreadable(source: &str) -> Outcome {
    let error =
        RunError::Encode { type_name: "what the cluster sent".into(), source: source.into() };
    Outcome::Failed(Failure::Codec(error), 0)
}

/// Gets a result through the scheduler, or finds out what has become of it.
async fn recover(keeper: &Keeper, key: String) -> Got {
    let mut got = Got { connection: None, ended: Vec::new(), missing: Vec::new() };
    for turn in 0..TRIES {
        if turn > 0 {
            tokio::time::sleep(PAUSE * (1 << turn)).await;
        }
        match tokio::time::timeout(PATIENCE, recover_once(keeper, &key)).await {
            Ok(Ok(Recovered::Ended(outcome))) => {
                got.ended.push((key, outcome));
                return got;
            }
            Ok(Ok(Recovered::Later)) => return got,
            Ok(Ok(Recovered::Again) | Err(_)) | Err(_) => {}
        }
    }
    got.ended.push((key, Outcome::lost(Cause::Cluster)));
    got
}

enum Recovered {
    Ended(Outcome),
    /// It is being computed again, and the scheduler will say when it is there.
    Later,
    /// It is said to be there, but could not be had.
    Again,
}

async fn recover_once(keeper: &Keeper, key: &str) -> io::Result<Recovered> {
    let mut connection = dialer(keeper).dial(&keeper.address).await?;
    let keys = || [("keys", array(&[key.to_owned()]))];
    let mut answer = ask(&mut connection, "gather", keys()).await?;
    if text(&answer.value, "status") == Some("OK")
        && let Some((_, outcome)) = data(&mut answer, 0).pop()
    {
        return Ok(Recovered::Ended(outcome));
    }
    // From here on, what the scheduler says of this key is not missed.
    keeper.shared.table().unclaim(keeper.at, key);
    let answer = ask(&mut connection, "get_task_status", keys()).await?;
    match text(&answer.value, key) {
        None | Some("forgotten") => Ok(Recovered::Ended(Outcome::lost(Cause::Cluster))),
        Some("memory") if keeper.shared.table().claim(keeper.at, key) => Ok(Recovered::Again),
        Some(_) => Ok(Recovered::Later),
    }
}

/// Takes the encoded result from a task's, and what it used if that is known.
pub(super) fn open(
    bytes: Vec<u8>,
    python: bool,
    limit: usize,
) -> (Result<Payload, Failure>, Option<Usage>) {
    let (bytes, usage) = match (python, Done::decode(&bytes)) {
        (true, _) => (bytes, None),
        (false, Some((done, result))) => {
            let memory_before_bytes = done.memory_before_bytes;
            (result.to_vec(), Some(Usage { memory_before_bytes, ..done.usage }))
        }
        (false, None) => {
            let (type_name, source) =
                ("what the worker sent".into(), "no worker of ours wrote it".into());
            let failure = Failure::Codec(RunError::Encode { type_name, source });
            return (Err(failure), None);
        }
    };
    if bytes.len() > limit {
        let (bytes, limit) = (bytes.len() as u64, limit as u64);
        return (Err(Failure::TooLarge { bytes, limit }), usage);
    }
    (Ok(bytes.into()), usage)
}

/// What a task that raised an exception ended with.
pub(super) fn raised(pickle: &[u8], traceback: Option<&[u8]>, cluster: &Cluster) -> Outcome {
    if let Some((place, failed)) = Failed::from_exception(pickle) {
        return failed_there(failed, cluster.number(&place));
    }
    let exception = exception::read(pickle, traceback);
    match exception.class.as_str() {
        "distributed.scheduler.KilledWorker" => Outcome::lost(Cause::Cluster),
        _ => Outcome::Failed(Failure::Raised(exception), 0),
    }
}

/// What a task ended with that failed at a native worker.
fn failed_there(failed: Failed, worker: usize) -> Outcome {
    match failed {
        Failed::Failure(failure) => Outcome::Failed(failure, worker),
        Failed::Lost(death) => Outcome::Lost(Lost { worker, ..death.into() }),
        Failed::Quarantined { crashes, left, death } => {
            let lost = Lost { worker, ..death.into() };
            Outcome::Error(Error::new(Repr::Quarantined { crashes, left, lost }))
        }
        Failed::TimedOut { stage, timeout } => {
            Outcome::Error(Error::new(Repr::TimedOut { stage, timeout }))
        }
        Failed::Refused(reason) => Outcome::Error(Error::unavailable(reason)),
    }
}

/// Whether the cluster let go of keys because data was lost.
pub(super) fn is_lost(operation: &Value) -> bool {
    matches!(text(operation, "reason"), Some("lost dependencies" | "already forgotten"))
}

/// How a task ended that is wanted, and that the cluster let go of.
pub(super) fn cancelled(operation: &Value) -> Outcome {
    match text(operation, "reason") {
        Some("lost dependencies") => {
            Outcome::Error(Error::unavailable("the cluster lost what the task needs"))
        }
        _ => Outcome::Error(Error::new(Repr::Cancelled)),
    }
}

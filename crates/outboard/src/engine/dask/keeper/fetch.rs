//! Brings the results of tasks, straight from the workers that have them, and
//! through the scheduler where that fails.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

use dask_protocol::Serialized;
use dask_protocol::exception::Exception;
use dask_protocol::frames::{Bounds, Excess};
use dask_protocol::key::Key;
use dask_protocol::message::{Data, Gather, GetData, TaskStatus, WhoHas};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, mpsc};

use super::Keeper;
use super::ends::Ended;
use super::reach::{HURRY, Way};
use crate::engine::dask::cluster::Cluster;
use crate::engine::dask::connection::{Connection, Dialer};
use crate::engine::dask::native::read_exception;
use crate::error::{self, Cause, Oversized};
use crate::task::outcome::Failure;

/// How many results are looked for, and asked of a worker, at once.
const KEYS_AT_ONCE: usize = 1024;
const KEYS_OF_A_WORKER: usize = 64;

/// What a worker's answer may have beside the payloads.
const ROOM: usize = 16 << 20;

/// How long a worker or scheduler may take to answer, and to go on with that.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a scheduler that has a result and cannot get it is asked again, and
/// after what pause it and a busy worker are.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);

/// How many connections to one worker are kept, and how many results are looked
/// for through the scheduler at once: a worker that is lost may have had thousands.
const KEPT: usize = 4;
const RECOVERED_AT_ONCE: usize = 16;

/// How many results are asked of the scheduler at once, and by how many connections.
const KEYS_AROUND: usize = 256;
const AROUND_AT_ONCE: usize = 4;

/// What came of asking.
#[derive(Default)]
struct Got<'a> {
    /// The connection that is free again.
    connection: Option<(String, Connection)>,
    /// A connection that is still being made.
    dialing: Option<Dialing<'a>>,
    ended: Vec<(String, Ended)>,
    /// Not to be had in this way.
    missing: Vec<String>,
    /// To be had by the scheduler.
    around: Vec<String>,
    /// The scheduler was asked.
    was_around: bool,
}

pub(super) type Dialing<'a> = BoxFuture<'a, (String, io::Result<Connection>)>;

/// What is under way to bring results.
struct Fetching<'a> {
    keeper: &'a Keeper,
    free: Idle<Connection>,
    /// How many results are recovered at once.
    room: &'a Semaphore,
    under_way: FuturesUnordered<BoxFuture<'a, Got<'a>>>,
    dialing: FuturesUnordered<Dialing<'a>>,
    /// Keys of which the scheduler is asked next, and how often it is asked now.
    around: Vec<String>,
    asked: usize,
}

/// Fetches the results of keys as they come; ends with the scheduler.
pub(super) async fn run<T>(
    keeper: &Keeper,
    mut lookups: Connection,
    mut keys: mpsc::UnboundedReceiver<String>,
) -> io::Result<T> {
    let room = Semaphore::new(RECOVERED_AT_ONCE);
    let mut fetching = Fetching {
        keeper,
        free: Idle::default(),
        room: &room,
        under_way: FuturesUnordered::new(),
        dialing: FuturesUnordered::new(),
        around: Vec::new(),
        asked: 0,
    };
    let mut found = Vec::new();
    loop {
        tokio::select! {
            _ = keys.recv_many(&mut found, KEYS_AT_ONCE) => {
                let found = std::mem::take(&mut found);
                if keeper.reach().is_never_direct() {
                    fetching.around.extend(found);
                } else {
                    for (place, keys) in places(keeper, &mut lookups, found).await? {
                        fetching.get(place, keys);
                    }
                }
            }
            Some(got) = fetching.under_way.next() => fetching.got(got),
            Some((place, dialed)) = fetching.dialing.next() => {
                if let Ok(connection) = keeper.noted(&place, dialed) {
                    fetching.keep(place, connection);
                }
            }
        }
        fetching.ask_scheduler();
    }
}

impl<'a> Fetching<'a> {
    /// Gets results from a worker, or from the scheduler, if the worker is not reached.
    fn get(&mut self, place: String, keys: Vec<String>) {
        let keeper = self.keeper;
        let kept = self.free.take(&place);
        if kept.is_some() {
            return self.under_way.push(Box::pin(get(keeper, place, kept, keys)));
        }
        if place.is_empty() {
            return self.recover(keys);
        }
        match keeper.reach().way(Instant::now(), &place) {
            Way::Direct => self.under_way.push(Box::pin(get(keeper, place, None, keys))),
            Way::Try => self.under_way.push(Box::pin(try_to_get(keeper, place, keys))),
            Way::TryMeanwhile => {
                self.dialing.push(dial(keeper, place));
                self.around.extend(keys);
            }
            Way::Around => self.around.extend(keys),
        }
    }

    fn got(&mut self, got: Got<'a>) {
        self.keeper.conclude(got.ended);
        if let Some((place, connection)) = got.connection {
            self.keep(place, connection);
        }
        self.dialing.extend(got.dialing);
        self.around.extend(got.around);
        self.asked -= usize::from(got.was_around);
        self.recover(got.missing);
    }

    fn keep(&mut self, place: String, connection: Connection) {
        let cluster = self.keeper.shared.cluster(self.keeper.at);
        let scheduler = self.keeper.address.to_string();
        let is_there = |place: &str| place == scheduler || cluster.number(place) > 0;
        self.free.put(place, connection, is_there);
    }

    fn recover(&mut self, keys: Vec<String>) {
        let (keeper, room) = (self.keeper, self.room);
        let recovered = keys.into_iter().map(|key| Box::pin(recover(keeper, room, key)) as _);
        self.under_way.extend(recovered);
    }

    /// Asks the scheduler for all that has come together, as often at once as is of use.
    fn ask_scheduler(&mut self) {
        while self.asked < AROUND_AT_ONCE && !self.around.is_empty() {
            let rest = self.around.split_off(self.around.len().min(KEYS_AROUND));
            let keys = std::mem::replace(&mut self.around, rest);
            let connection = self.free.take(&self.keeper.address.to_string());
            self.under_way.push(Box::pin(get_around(self.keeper, connection, keys)));
            self.asked += 1;
        }
    }
}

/// Connects to a worker for the first time, and gets results from it; where that takes
/// long, they come from the scheduler.
async fn try_to_get(keeper: &Keeper, place: String, keys: Vec<String>) -> Got<'_> {
    let mut dialing = dial(keeper, place);
    match tokio::time::timeout(HURRY, &mut dialing).await {
        Ok((place, dialed)) => match keeper.noted(&place, dialed) {
            Ok(connection) => get(keeper, place, Some(connection), keys).await,
            Err(_) => Got { around: keys, ..Got::default() },
        },
        Err(_) => Got { dialing: Some(dialing), around: keys, ..Got::default() },
    }
}

pub(super) fn dial(keeper: &Keeper, place: String) -> Dialing<'_> {
    Box::pin(async move {
        let dialed = dialer(keeper).dial_place(&place).await;
        (place, dialed)
    })
}

/// Gets results from the scheduler, which gets them from its workers.
async fn get_around(keeper: &Keeper, connection: Option<Connection>, keys: Vec<String>) -> Got<'_> {
    let asked = async {
        let mut connection = match connection {
            Some(connection) => connection,
            None => dialer(keeper).dial(&keeper.address).await?,
        };
        let question = Gather { keys: as_keys(&keys) };
        let data = connection.ask_while_it_beats(PATIENCE, question).await?;
        io::Result::Ok((connection, data))
    };
    let asked = asked.await;
    let mut got = Got { was_around: true, ..Got::default() };
    if let Ok((connection, data)) = asked {
        got.connection = Some((keeper.address.to_string(), connection));
        if let Data::Here(data) = data {
            got.ended = values(keeper, data, 0);
        }
    }
    got.missing = not_in(keys, &got.ended);
    got
}

/// The keys that have not ended.
fn not_in(mut keys: Vec<String>, ended: &[(String, Ended)]) -> Vec<String> {
    let found: HashSet<&str> = ended.iter().map(|(key, _)| key.as_str()).collect();
    keys.retain(|key| !found.contains(key.as_str()));
    keys
}

/// Connections to workers, and perhaps their scheduler, that nothing is asked over
/// now.
pub(super) struct Idle<T>(HashMap<String, Vec<T>>);

impl<T> Default for Idle<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Idle<T> {
    pub(super) fn take(&mut self, place: &str) -> Option<T> {
        self.0.get_mut(place)?.pop()
    }

    /// Keeps one more, unless there are enough; and none to places that are gone.
    pub(super) fn put(&mut self, place: String, connection: T, is_there: impl Fn(&str) -> bool) {
        if !self.0.contains_key(&place) {
            self.0.retain(|place, _| is_there(place));
        }
        let to_it = self.0.entry(place).or_default();
        if to_it.len() < KEPT {
            to_it.push(connection);
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
        let asked = lookups.ask(WhoHas { keys: as_keys(&keys) });
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.map_err(|_| io::ErrorKind::TimedOut)??.into_iter();
        let mut answer: HashMap<Key, Vec<String>> = answer.collect();
        for key in keys {
            let place =
                answer.remove(&Key::from(key.as_str())).unwrap_or_default().into_iter().next();
            places.entry(place.unwrap_or_default()).or_default().push(key);
        }
    }
    let parts = places.into_iter().flat_map(|(place, keys)| {
        let parts: Vec<_> = keys.chunks(KEYS_OF_A_WORKER).map(<[String]>::to_vec).collect();
        parts.into_iter().map(move |part| (place.clone(), part))
    });
    Ok(parts.collect())
}

fn as_keys(keys: &[String]) -> Vec<Key> {
    keys.iter().map(|key| key.as_str().into()).collect()
}

/// Gets results from the worker that has them.
async fn get(
    keeper: &Keeper,
    place: String,
    connection: Option<Connection>,
    keys: Vec<String>,
) -> Got<'_> {
    match get_data(keeper, &place, connection, &keys).await {
        Ok((connection, ended)) => {
            let missing = not_in(keys, &ended);
            Got { connection: Some((place, connection)), ended, missing, ..Got::default() }
        }
        Err(error) => {
            let excess = error.get_ref().and_then(|inner| inner.downcast_ref::<Excess>());
            match (excess, &keys[..]) {
                (Some(excess), [key]) => {
                    let (bytes, limit) = (excess.found(), keeper.gate.limits().payload as u64);
                    let failure = Failure::TooLarge { what: Oversized::Result, bytes, limit };
                    let ended = vec![(key.clone(), Ended::failed(failure))];
                    Got { ended, ..Got::default() }
                }
                _ => Got { missing: keys, ..Got::default() },
            }
        }
    }
}

async fn get_data(
    keeper: &Keeper,
    place: &str,
    connection: Option<Connection>,
    keys: &[String],
) -> io::Result<(Connection, Vec<(String, Ended)>)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => keeper.noted(place, dialer(keeper).dial_place(place).await)?,
    };
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let question = GetData { keys: as_keys(keys), who: None };
        match connection.get_data(PATIENCE, question).await? {
            Data::Here(data) => {
                let number = keeper.shared.cluster(keeper.at).number(place);
                return Ok((connection, values(keeper, data, number)));
            }
            Data::Busy => tokio::time::sleep(PAUSE).await,
            Data::Missing => return Err(io::Error::other("it did not give its data")),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Answers of workers may have one payload of the largest size.
pub(super) fn dialer(keeper: &Keeper) -> Dialer {
    Dialer { bounds: Bounds { frames: 1 << 16, bytes: room(keeper) }, ..keeper.dialer() }
}

/// How many bytes an answer may have, compressed or not.
pub(super) fn room(keeper: &Keeper) -> usize {
    keeper.gate.limits().payload.saturating_add(ROOM)
}

/// How tasks ended that gave these values.
fn values(keeper: &Keeper, data: Vec<(Key, Serialized)>, number: usize) -> Vec<(String, Ended)> {
    let (limit, mut room) = (keeper.gate.limits().payload, room(keeper));
    let mut ended = Vec::new();
    for (key, value) in data {
        let Some(key) = key.as_str() else { continue };
        let one = match value.into_bytes_within(&mut room) {
            Ok(bytes) => Ended::gave(bytes, keeper.is_python(key), limit, number),
            Err(malformed) => Ended::unreadable("what the cluster sent", malformed.problem()),
        };
        ended.push((key.to_owned(), one));
    }
    ended
}

/// Gets a result through the scheduler, or finds out what has become of it.
async fn recover<'a>(keeper: &'a Keeper, room: &Semaphore, key: String) -> Got<'a> {
    let mut got = Got::default();
    for turn in 0..TRIES {
        if turn > 0 {
            tokio::time::sleep(PAUSE * (1 << turn)).await;
        }
        let _permit = room.acquire().await;
        match recover_once(keeper, &key).await {
            Ok(Recovered::Ended(ended)) => {
                got.ended.push((key, ended));
                return got;
            }
            Ok(Recovered::Later) => return got,
            Ok(Recovered::Again) | Err(_) => {}
        }
    }
    got.ended.push((key, Ended::lost(Cause::Cluster)));
    got
}

enum Recovered {
    Ended(Ended),
    /// It is being computed again, and the scheduler will say when it is there.
    Later,
    /// It is said to be there, but could not be had.
    Again,
}

async fn recover_once(keeper: &Keeper, key: &str) -> io::Result<Recovered> {
    let mut connection = dialer(keeper).dial(&keeper.address).await?;
    let keys = || as_keys(&[key.to_owned()]);
    let gathered = connection.ask_while_it_beats(PATIENCE, Gather { keys: keys() }).await?;
    if let Data::Here(data) = gathered
        && let Some((_, ended)) = values(keeper, data, 0).pop()
    {
        return Ok(Recovered::Ended(ended));
    }
    // From here on, what the scheduler says of this key is not missed.
    keeper.shared.table().unclaim(keeper.at, key);
    let answer = connection.ask_while_it_beats(PATIENCE, TaskStatus { keys: keys() }).await?;
    let status = answer.into_iter().find(|(of, _)| of.as_str() == Some(key));
    match status.and_then(|(_, status)| status).as_deref() {
        None | Some("forgotten") => Ok(Recovered::Ended(Ended::lost(Cause::Cluster))),
        Some("memory") if keeper.shared.table().claim(keeper.at, key) => Ok(Recovered::Again),
        Some(_) => Ok(Recovered::Later),
    }
}

/// What a task that raised an exception ended with.
pub(super) fn raised(pickle: &[u8], traceback: Option<&[u8]>, cluster: &Cluster) -> Ended {
    if let Some((place, said, failure)) = read_exception(pickle) {
        return Ended::failed_at(cluster.number(&place), failure, said);
    }
    let Exception { class, message, traceback } = Exception::read(pickle, traceback);
    match class.as_str() {
        "distributed.scheduler.KilledWorker" => Ended::lost(Cause::Cluster),
        _ => Ended::failed(Failure::Raised(error::Exception { class, message, traceback })),
    }
}

/// Whether the cluster let go of keys because data was lost.
pub(super) fn is_lost(reason: Option<&str>) -> bool {
    matches!(reason, Some("lost dependencies" | "already forgotten"))
}

/// How a task ended that is wanted, and that the cluster let go of.
pub(super) fn cancelled(reason: Option<&str>) -> Ended {
    Ended::failed(match reason {
        Some("lost dependencies") => {
            Failure::Unavailable("the cluster lost what the task needs".into())
        }
        _ => Failure::Cancelled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_connections_are_kept_and_none_to_workers_that_are_gone() {
        let mut idle = Idle::default();
        (0..100).for_each(|number| idle.put("tcp://a:1".into(), number, |_| true));
        assert_eq!(idle.0["tcp://a:1"].len(), KEPT);
        for number in 0..1000 {
            let place = format!("tcp://b:{number}");
            idle.put(place.clone(), number, |one| one == "tcp://a:1" || one == place);
            assert!(idle.0.len() <= 2, "{number} workers came and went");
        }
        assert_eq!((idle.take("tcp://b:999"), idle.take("tcp://b:7")), (Some(999), None));
    }
}

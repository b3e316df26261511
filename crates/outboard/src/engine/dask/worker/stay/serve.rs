//! Answers those who connect to this worker: the scheduler, other workers, and
//! clients that come for results.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dask_protocol::Serialized;
use dask_protocol::key::Key;
use dask_protocol::message::{Failed, Metrics, Observed, Places, Reply, Request, Subject};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::super::outcome::Raised;
use super::messages::unix_now;
use super::metrics::metrics;
use super::{Listening, Stay, bounds};
use crate::engine::dask::connection::{Connection, Stream};

/// How many connections are served at once.
const CONNECTIONS: usize = 512;

/// How long a new one may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers of so many bytes or more are large, and how many of those are on their
/// way at once: others are told to come back.
const LARGE: usize = 1 << 20;
const LARGE_AT_ONCE: usize = 4;

/// Serves until it is dropped.
pub(super) async fn serve<T>(stay: &Arc<Stay>, listening: &Listening) -> io::Result<T> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
    let mut open = JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return Err(io::ErrorKind::Other.into());
        };
        let accepted = tokio::select! {
            accepted = listening.listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // No descriptor is left, most likely: some are closed meanwhile.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (stay, tls, large) = (stay.clone(), listening.tls.clone(), large.clone());
        open.spawn(async move {
            if let Err(error) = serve_one(&stay, stream, tls, &large).await {
                tracing::debug!(%error, "a connection to this worker ended");
            }
            drop(permit);
        });
    }
}

async fn serve_one(
    stay: &Arc<Stay>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    large: &Semaphore,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let greeted = tokio::time::timeout(PATIENCE, greet(stay, stream, tls)).await;
    let mut connection = greeted.map_err(|_| io::ErrorKind::TimedOut)??;
    while let Some(message) = connection.receive().await? {
        let Request { subject, reply, close } = Request::parse(message)?;
        let last = close || subject == Subject::Close;
        if let Subject::GetData { keys } = subject {
            give(stay, &mut connection, keys, large).await?;
        } else {
            let answer = answer(stay, subject).await;
            if reply {
                connection.send(answer.encode()).await?;
            }
        }
        if last {
            break;
        }
    }
    Ok(())
}

async fn greet(stay: &Stay, stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<Connection> {
    let stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(tls.accept(stream).await?),
        None => Box::new(stream),
    };
    Connection::shake_hands(stream, bounds(&stay.settings)).await
}

/// Gives data to whoever asks, and waits for the word that it has arrived.
async fn give(
    stay: &Stay,
    connection: &mut Connection,
    keys: Vec<Key>,
    large: &Semaphore,
) -> io::Result<()> {
    let found: Vec<_> = keys.into_iter().filter_map(|key| Some((stay.value(&key)?, key))).collect();
    let bytes: usize = found.iter().map(|(value, _)| value.size()).sum();
    let permit = (bytes >= LARGE).then(|| large.try_acquire());
    if let Some(Err(_)) = permit {
        return connection.send(Reply::Busy.encode()).await;
    }
    let data = found.into_iter().map(|(value, key)| (key, (*value).clone()));
    connection.send(Reply::Data(data.collect()).encode()).await?;
    connection.receive().await.map(drop)
}

/// What is answered to all but questions for data.
pub(super) async fn answer(stay: &Arc<Stay>, subject: Subject) -> Reply {
    match subject {
        Subject::Identity => Reply::Worker(stay.identity()),
        Subject::Versions => Reply::Versions(stay.packages.clone()),
        Subject::Ping => Reply::Pong,
        Subject::Echo(data) => Reply::Echo(data),
        Subject::Keys => Reply::Keys(stay.keys()),
        Subject::UpdateData { data } => update(stay, data).await,
        Subject::GatherCopies { who_has } => gather(stay, who_has).await,
        Subject::FreeKeys { keys } => {
            stay.free(keys);
            Reply::Nil
        }
        Subject::Terminate => {
            stay.close();
            Reply::Ok
        }
        Subject::Close => Reply::Ok,
        Subject::Plugin => Reply::Status,
        Subject::UploadFile { bytes } => Reply::Uploaded(bytes),
        Subject::Logs | Subject::Story => Reply::NoList,
        Subject::Profile => Reply::NoProfile,
        Subject::ProfileTimes { recent } => Reply::NoProfileTimes(recent.then(unix_now)),
        Subject::CallStack { keys } => Reply::CallStacks(stacks(stay, keys)),
        Subject::MonitorInfo { recent, start } => monitored(stay, recent, start),
        Subject::TakeItems(asked) => Reply::Items(stay.outflows.answer(asked).await),
        Subject::AskProgress(asked) => Reply::Progress(stay.executions.progress(asked.keys)),
        Subject::Benchmark => Reply::NoMap,
        Subject::State => Reply::State {
            worker: stay.identity(),
            address: stay.address.clone(),
            executing: stay.executing().into_iter().map(|(key, _)| key).collect(),
            in_memory: stay.keys(),
        },
        // Beside Python's workers, what is run on all of them goes on.
        Subject::Run if stay.settings.mixed => Reply::RanNothing,
        Subject::Run | Subject::Actor => {
            failed(false, "this worker runs Rust functions, no Python")
        }
        Subject::Unknown(other) => failed(true, &format!("this worker does not know `{other}`")),
        _ => failed(true, "this is a worker, and no scheduler"),
    }
}

/// What executes: it has no frames of Python.
fn stacks(stay: &Stay, keys: Option<Vec<Key>>) -> Vec<(Key, String)> {
    let executing = stay.executing().into_iter();
    let wanted = executing.filter(|(key, _)| keys.as_ref().is_none_or(|keys| keys.contains(key)));
    wanted.map(|(key, seconds)| (key, format!("a task of Rust, for {seconds:.1} s"))).collect()
}

/// What is known of this worker now, and nothing of before.
fn monitored(stay: &Stay, recent: bool, start: u64) -> Reply {
    let Metrics { time, cpu, memory, num_fds, .. } = metrics(stay);
    let now = Observed { time, cpu, memory, num_fds };
    Reply::Monitor { now, recent, known: start > 0 }
}

/// Someone scatters data.
async fn update(stay: &Arc<Stay>, data: Vec<(Key, Serialized)>) -> Reply {
    let mut sizes = Vec::new();
    for (key, value) in data {
        let bytes = value.size() as u64;
        if !stay.hold(key.clone(), value).await {
            return failed(true, "this worker has no memory left for more data");
        }
        stay.check_later(key.clone());
        sizes.push((key, bytes));
    }
    Reply::Sizes(sizes)
}

/// Someone wants this worker to have copies.
async fn gather(stay: &Stay, who_has: Places) -> Reply {
    let mut missing = Vec::new();
    for (key, places) in who_has {
        if !stay.acquire(&key, &places).await {
            missing.push(key);
        }
    }
    if missing.is_empty() { Reply::Status } else { Reply::Missing(missing) }
}

fn failed(uncaught: bool, line: &str) -> Reply {
    let Raised { pickle, text } = Raised::new("NotImplementedError", line, None);
    Reply::Failed(Failed { uncaught, exception: pickle, text })
}

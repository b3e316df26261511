//! Answers those who connect to this worker: the scheduler, other workers, and
//! clients that come for results.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmpv::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::peers::taken;
use super::stay::{Stay, bounds};
use crate::engine::dask::connection::{Connection, Stream};
use dask_protocol::Serialized;
use dask_protocol::document::{Message, field, list, map, text};
use dask_protocol::key::Key;

/// How many connections are served at once.
const CONNECTIONS: usize = 512;

/// How long a new one may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers of so many bytes or more are large, and how many of those are on their
/// way at once: others are told to come back.
const LARGE: usize = 1 << 20;
const LARGE_AT_ONCE: usize = 4;

/// Where this worker listens.
pub(super) struct Listening {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
}

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
    while let Some(message) = connection.incoming.receive().await? {
        let wants = |name| field(&message.value, name).and_then(Value::as_bool);
        let (reply, close) = (wants("reply") != Some(false), wants("close") == Some(true));
        let operation = text(&message.value, "op").unwrap_or_default().to_owned();
        if operation == "get_data" {
            give(stay, &mut connection, &message.value, large).await?;
        } else {
            let answer = answer(stay, &operation, message).await;
            if reply {
                connection.outgoing.send(answer).await?;
            }
        }
        if close || operation == "close" {
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
    question: &Value,
    large: &Semaphore,
) -> io::Result<()> {
    let keys: Vec<Key> = list(question, "keys").iter().map(Key::of).collect();
    let found: Vec<_> = keys.into_iter().filter_map(|key| Some((stay.value(&key)?, key))).collect();
    let bytes: usize = found.iter().map(|(object, _)| object.size()).sum();
    let permit = (bytes >= LARGE).then(|| large.try_acquire());
    if let Some(Err(_)) = permit {
        return connection.outgoing.send(Message::new(map([("status", "busy".into())]))).await;
    }
    let mut answer = Message::new(Value::Nil);
    let data = found.into_iter().map(|(object, key)| {
        let place = answer.attach((*object).clone());
        (key.value(), place)
    });
    let data = Value::Map(data.collect());
    answer.value = map([("status", "OK".into()), ("data", data)]);
    connection.outgoing.send(answer).await?;
    connection.incoming.receive().await.map(drop)
}

pub(super) async fn answer(stay: &Arc<Stay>, operation: &str, mut message: Message) -> Message {
    let status_ok = || Message::new(map([("status", "OK".into())]));
    match operation {
        "identity" => Message::new(stay.identity()),
        "versions" => Message::new(stay.versions()),
        "ping" => Message::new(Value::Binary(b"pong".to_vec())),
        "echo" => Message::new(field(&message.value, "data").cloned().unwrap_or(Value::Nil)),
        "keys" => Message::new(Value::Array(stay.keys())),
        "update_data" => {
            let updated = update(stay, &mut message).await;
            updated.unwrap_or_else(|line| failure("uncaught-error", &line))
        }
        "gather" => gather(stay, &message.value).await,
        "free_keys" => {
            stay.free(list(&message.value, "keys").iter().map(Key::of).collect());
            Message::new(Value::Nil)
        }
        "terminate" => {
            stay.close();
            Message::new("OK".into())
        }
        "close" => Message::new("OK".into()),
        "plugin-add" | "plugin-remove" => status_ok(),
        "get_logs" | "profile_metadata" => Message::new(Value::Array(Vec::new())),
        "profile" | "call_stack" => Message::new(Value::Map(Vec::new())),
        "run" | "run_coroutine" => failure("error", "this worker runs Rust functions, no Python"),
        other => failure("uncaught-error", &format!("this worker does not know `{other}`")),
    }
}

/// Someone scatters data.
async fn update(stay: &Arc<Stay>, message: &mut Message) -> Result<Message, String> {
    let value = std::mem::replace(&mut message.value, Value::Nil);
    let data = field(&value, "data").and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
    let mut sizes = Vec::new();
    for (key, place) in data {
        let object = taken(message, place).map_err(|error| error.to_string())?;
        let (key_there, bytes) = (Key::of(key), object.size());
        if !stay.hold(key_there.clone(), object).await {
            return Err("this worker has no memory left for more data".into());
        }
        stay.check_later(key_there);
        sizes.push((key.clone(), bytes.into()));
    }
    Ok(Message::new(map([("status", "OK".into()), ("nbytes", Value::Map(sizes))])))
}

/// Someone wants this worker to have copies.
async fn gather(stay: &Stay, question: &Value) -> Message {
    let who_has = field(question, "who_has").and_then(Value::as_map);
    let mut missing = Vec::new();
    for (key, places) in who_has.into_iter().flatten() {
        if !stay.acquire(&Key::of(key), &texts(places)).await {
            missing.push(key.clone());
        }
    }
    Message::new(match missing.is_empty() {
        true => map([("status", "OK".into())]),
        false => map([("status", "partial-fail".into()), ("keys", Value::Array(missing))]),
    })
}

/// The texts of a list.
pub(super) fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn failure(status: &str, line: &str) -> Message {
    let raised = super::outcome::Raised::new("NotImplementedError", line, None);
    let mut message = Message::new(Value::Nil);
    let exception = message.attach(Serialized::from_bytes(raised.pickle));
    message.value = map([
        ("status", status.into()),
        ("exception", exception),
        ("traceback", Value::Nil),
        ("exception_text", raised.text.into()),
        ("traceback_text", "".into()),
    ]);
    message
}

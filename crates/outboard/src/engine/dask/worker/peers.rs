//! What others ask of a worker: its results, and what every process of a
//! cluster answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmpv::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Worker;
use crate::engine::dask::address::Address;
use crate::engine::dask::connection::{Connection, Stream};
use crate::engine::dask::keeper::ask;
use crate::engine::dask::message::{Message, Serialized, field, list, map, text};
use crate::engine::dask::values;

/// How many peers may be connected.
const MOST: usize = 4096;

/// How long a handshake may take, and an answer of a peer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers whoever connects.
pub(super) async fn serve<T>(
    worker: Arc<Worker>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) -> io::Result<T> {
    let room = Arc::new(Semaphore::new(MOST));
    let mut peers = JoinSet::new();
    loop {
        while peers.try_join_next().is_some() {}
        let accepted = listener.accept().await;
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: some will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let (worker, tls) = (worker.clone(), tls.clone());
        peers.spawn(async move {
            let shaken = async {
                stream.set_nodelay(true)?;
                let stream: Box<dyn Stream> = match tls {
                    None => Box::new(stream),
                    Some(tls) => Box::new(tls.accept(stream).await?),
                };
                Connection::shake_hands(stream, worker.dialer.bounds).await
            };
            if let Ok(Ok(connection)) = tokio::time::timeout(PATIENCE, shaken).await {
                // A peer that leaves is no news.
                let _ = answer_all(&worker, connection).await;
            }
            drop(permit);
        });
    }
}

async fn answer_all(worker: &Worker, mut connection: Connection) -> io::Result<()> {
    while let Some(mut message) = connection.incoming.receive().await? {
        let question = std::mem::replace(&mut message.value, Value::Nil);
        let answer = answer(worker, &question, &mut message).await;
        if field(&question, "reply").and_then(Value::as_bool) != Some(false) {
            connection.outgoing.send(answer).await?;
        }
        let operation = text(&question, "op");
        if operation == Some("get_data") {
            // The peer confirms, and that is not answered.
            connection.incoming.receive().await?;
        }
        if operation == Some("terminate") {
            worker.leave.notify_one();
        }
        if field(&question, "close").and_then(Value::as_bool) == Some(true) {
            return Ok(());
        }
    }
    Ok(())
}

async fn answer(worker: &Worker, question: &Value, objects: &mut Message) -> Message {
    let ok = || map([("status", "OK".into())]);
    let value = match text(question, "op").unwrap_or_default() {
        "get_data" => return data(worker, question),
        "update_data" => update_data(worker, question, objects),
        "gather" => {
            let missing = fetch(worker, field(question, "who_has")).await;
            match missing.is_empty() {
                true => ok(),
                false => map([("status", "partial-fail".into()), ("keys", Value::Array(missing))]),
            }
        }
        "free_keys" => {
            let mut stock = worker.stock();
            let keys = list(question, "keys").iter().filter_map(Value::as_str);
            keys.for_each(|key| stock.drop_data(key));
            Value::Nil
        }
        "identity" => map([
            ("type", "Worker".into()),
            ("id", worker.name.as_str().into()),
            ("scheduler", worker.scheduler.to_string().into()),
            ("nthreads", worker.threads.into()),
            ("memory_limit", worker.memory_limit.into()),
        ]),
        "versions" => map([("host", map([])), ("packages", worker.packages())]),
        "keys" => Value::Array(worker.stock().keys().map(Value::from).collect()),
        "ping" => Value::Binary(b"pong".to_vec()),
        "echo" => field(question, "data").cloned().unwrap_or(Value::Nil),
        "terminate" | "close" => "OK".into(),
        "plugin-add" | "plugin-remove" => ok(),
        "get_logs" | "profile_metadata" => Value::Array(Vec::new()),
        "profile" | "call_stack" => map([]),
        other => {
            let line = format!("a native worker does not know `{other}`: it runs no Python");
            let mut message = Message::new(Value::Nil);
            let exception = message.attach(values::from_bytes(super::exception(&line)));
            let status = match other {
                "run" | "run_coroutine" => "error",
                _ => "uncaught-error",
            };
            message.value = map([
                ("status", status.into()),
                ("exception", exception),
                ("traceback", Value::Nil),
                ("exception_text", line.into()),
                ("traceback_text", "".into()),
            ]);
            return message;
        }
    };
    Message::new(value)
}

fn data(worker: &Worker, question: &Value) -> Message {
    let mut message = Message::new(Value::Nil);
    let mut found = Vec::new();
    for key in list(question, "keys") {
        let object = key.as_str().and_then(|key| worker.stock().data(key).cloned());
        if let Some(object) = object {
            found.push((key.clone(), message.attach(object)));
        }
    }
    message.value = map([("status", "OK".into()), ("data", Value::Map(found))]);
    message
}

fn update_data(worker: &Worker, question: &Value, objects: &mut Message) -> Value {
    let data = field(question, "data").and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
    let mut sizes = Vec::new();
    for (key, place) in data {
        let (Some(name), Ok(Some(object))) = (key.as_str(), objects.object(place)) else {
            continue;
        };
        let bytes = worker.stock().keep(name.to_owned(), passed_on(object));
        sizes.push((key.clone(), bytes.into()));
    }
    map([("status", "OK".into()), ("nbytes", Value::Map(sizes))])
}

/// Fetches results from other workers, and keeps them; gives the keys of those
/// that could not be had.
pub(super) async fn fetch(worker: &Worker, who_has: Option<&Value>) -> Vec<Value> {
    let who_has = who_has.and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
    let mut missing = Vec::new();
    for (key, places) in who_has {
        let known = key.as_str().is_some_and(|key| worker.stock().data(key).is_some());
        let places = places.as_array().map_or(&[][..], Vec::as_slice);
        if !known && !fetch_one(worker, key, places).await {
            missing.push(key.clone());
        }
    }
    missing
}

async fn fetch_one(worker: &Worker, key: &Value, places: &[Value]) -> bool {
    let Some(name) = key.as_str() else { return false };
    for address in places.iter().filter_map(|place| Address::parse(place.as_str()?)) {
        let got = async {
            let mut peer = worker.dialer.dial(&address).await?;
            let fields = [
                ("keys", Value::Array(vec![key.clone()])),
                ("who", worker.address.as_str().into()),
            ];
            let mut answer = ask(&mut peer, "get_data", fields).await?;
            peer.outgoing.send(Message::new("OK".into())).await?;
            let value = std::mem::replace(&mut answer.value, Value::Nil);
            let place = field(&value, "data").and_then(|data| field(data, name));
            Ok::<_, io::Error>(place.and_then(|place| answer.object(place).ok().flatten()))
        };
        if let Ok(Ok(Some(object))) = tokio::time::timeout(PATIENCE, got).await {
            worker.stock().keep(name.to_owned(), passed_on(object));
            return true;
        }
    }
    false
}

/// An object as it is passed on: its count of frames is written anew.
fn passed_on(mut object: Serialized) -> Serialized {
    if let Value::Map(pairs) = &mut object.header {
        pairs.retain(|(name, _)| name.as_str() != Some("num-sub-frames"));
    }
    object
}

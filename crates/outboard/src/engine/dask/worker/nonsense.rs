//! A scheduler and peers that talk nonsense, against a native worker's stay.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rmpv::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::messages::Say;
use super::serve::answer;
use super::settings::Settings;
use super::stay::Stay;
use super::talk::take;
use crate::engine::dask::connection::{Connection, Stream};
use crate::engine::dask::frames::{self, Bounds};
use crate::engine::dask::message::{Message, encode, list, map, text};
use crate::engine::dask::nonsense::{Numbers, packed};
use crate::engine::dask::values::from_bytes;
use crate::front::client::Client;

const SEEDS: u64 = 2_000;

const BOUNDS: Bounds = Bounds { frames: 64, bytes: 1 << 20 };

/// A task of a graph, as a scheduler sends it: negates, which is none of ours.
const TASK: &[u8] = b"\x80\x04\x8c\x0fdask._task_spec\x8c\x04Task\x93)\x81(NNNNNK\x05\x85\
    \x8c\x08operator\x8c\x0aattrgetter\x93\x8c\x0eoutboard::what\x85R\x8c\x01k}tb.";

/// One of the things that a scheduler says, or that others ask.
fn honest(numbers: &mut Numbers) -> Message {
    let mut message = Message::new(Value::Nil);
    let keys = || Value::Array(vec!["k".into()]);
    let places = || map([("d", Value::Array(vec!["tcp://127.0.0.1:1".into()]))]);
    message.value = match numbers.below(9) {
        0 | 1 => {
            let header = map([("pickled-obj", Value::Binary(TASK.to_vec()))]);
            let frames = vec![encode(&Value::Nil), encode(&header)];
            message = Message::from_frames(frames).expect("it is a message");
            map([
                ("op", "compute-task".into()),
                ("key", "k".into()),
                ("run_id", 3.into()),
                ("priority", Value::Array(vec![0.into(), 1.5.into()])),
                ("who_has", if numbers.below(2) == 0 { places() } else { map([]) }),
                ("run_spec", map([("__Pickled__", 1.into())])),
            ])
        }
        2 => map([("op", "free-keys".into()), ("keys", keys())]),
        3 => map([("op", "steal-request".into()), ("key", "k".into())]),
        4 => map([("op", "acquire-replicas".into()), ("who_has", places())]),
        5 => map([("op", "remove-replicas".into()), ("keys", keys())]),
        6 => map([("op", "worker-status-change".into()), ("status", "running".into())]),
        7 => {
            let place = message.attach(from_bytes(b"data".to_vec()));
            map([("op", "update_data".into()), ("data", map([("d", place)]))])
        }
        _ => map([("op", "gather".into()), ("who_has", places())]),
    };
    message
}

/// A worker that has whatever it is asked for, of 10 MiB, and counts that.
async fn rich(asked: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(give_anything(Box::new(stream), asked.clone()));
        }
    });
    address
}

async fn give_anything(stream: Box<dyn Stream>, asked: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut connection = Connection::shake_hands(stream, BOUNDS).await?;
    while let Some(question) = connection.incoming.receive().await? {
        asked.fetch_add(1, Relaxed);
        let key = list(&question.value, "keys")[0].clone();
        let mut answer = Message::new(Value::Nil);
        let value = answer.attach(from_bytes(vec![7; 10 << 20]));
        answer.value = map([("status", "OK".into()), ("data", Value::Map(vec![(key, value)]))]);
        connection.outgoing.send(answer).await?;
        connection.incoming.receive().await?;
    }
    Ok(())
}

/// A stay, and what it says.
async fn stay(options: &str) -> (Arc<Stay>, mpsc::UnboundedReceiver<Vec<Say>>) {
    let settings = Arc::new(Settings::parse(&format!("dask://127.0.0.1:1?{options}")).unwrap());
    let client = Client::connect("inline://?workers=1").await.unwrap();
    let (says, said) = mpsc::unbounded_channel();
    let address = "tcp://127.0.0.1:2".to_owned();
    (Arc::new(Stay::new(settings, client, address, Value::Nil, says)), said)
}

/// Another name for what is called `d`.
const ALIAS: &[u8] = b"\x80\x04\x8c\x0fdask._task_spec\x8c\x05Alias\x93\x8c\x01k\x8c\x01d\x86R.";

#[test]
fn a_task_that_needs_more_than_fits_does_not_have_it_fetched() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (stay, mut said) = stay("max_payload=1000000").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let place = Value::Array(vec![rich(asked.clone()).await.into()]);
        let needs = (0..50).map(|number| (format!("d{number}").into(), place.clone()));
        let header = map([("pickled-obj", Value::Binary(ALIAS.to_vec()))]);
        let frames = vec![encode(&Value::Nil), encode(&header)];
        let mut message = Message::from_frames(frames).unwrap();
        let task = map([
            ("op", "compute-task".into()),
            ("key", "k".into()),
            ("run_id", 3.into()),
            ("who_has", Value::Map(needs.collect())),
            ("run_spec", map([("__Pickled__", 1.into())])),
        ]);
        take(&stay, &task, &mut message).unwrap();
        let says = tokio::time::timeout(Duration::from_secs(60), said.recv()).await;
        let says = says.expect("it ends").expect("it says so");
        assert_eq!(says.iter().map(Say::operation).collect::<Vec<_>>(), ["task-erred"]);
        assert!(asked.load(Relaxed) < 5, "{} were fetched", asked.load(Relaxed));
        stay.end();
    });
}

#[test]
fn a_worker_outlives_a_scheduler_and_peers_that_talk_nonsense() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (stay, mut said) = stay("held_bytes=100000").await;
        let mut said_of = std::collections::BTreeMap::<String, usize>::new();
        for seed in 0..SEEDS {
            let mut numbers = Numbers::new(seed);
            let mut bytes = packed(honest(&mut numbers));
            if numbers.below(4) > 0 {
                numbers.spoil(&mut bytes);
            }
            let read = frames::read(&mut &bytes[..], BOUNDS).await;
            let Ok(Some(Ok(mut message))) = read.map(|read| read.map(Message::from_frames)) else {
                continue;
            };
            let value = message.value.clone();
            let _ = take(&stay, &value, &mut message);
            let operation = text(&value, "op").unwrap_or_default().to_owned();
            let answered = answer(&stay, &operation, message);
            let _ = tokio::time::timeout(Duration::from_millis(1), answered).await;
            while let Ok(says) = said.try_recv() {
                for said in &says {
                    *said_of.entry(said.operation().to_owned()).or_default() += 1;
                }
            }
        }
        let (held, bytes) = (stay.keys().len(), stay.counts().2);
        assert!(bytes <= 100_000, "{held} values of {bytes} bytes");
        assert!(said_of.len() > 2, "it comes to little: {said_of:?}");
        stay.end();
    });
}

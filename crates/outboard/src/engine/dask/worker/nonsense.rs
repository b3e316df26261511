//! A scheduler and peers that talk nonsense, against a native worker's stay.

use std::sync::Arc;
use std::time::Duration;

use rmpv::Value;
use tokio::sync::mpsc;

use super::serve::answer;
use super::settings::Settings;
use super::stay::Stay;
use super::talk::take;
use crate::client::Client;
use crate::engine::dask::frames::{self, Bounds};
use crate::engine::dask::message::{Message, encode, map, text};
use crate::engine::dask::nonsense::{Numbers, packed};
use crate::engine::dask::values::from_bytes;

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

#[test]
fn a_worker_outlives_a_scheduler_and_peers_that_talk_nonsense() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = Arc::new(Settings::parse("dask://127.0.0.1:1?held_bytes=100000").unwrap());
        let client = Client::connect("inline://?workers=1").await.unwrap();
        let (says, mut said) = mpsc::unbounded_channel();
        let address = "tcp://127.0.0.1:2".to_owned();
        let stay = Arc::new(Stay::new(settings, client, address, Value::Nil, says));
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

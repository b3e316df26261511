//! A scheduler and peers that talk nonsense, against a native worker's stay.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dask_protocol::frames::{self, Bounds, Frames};
use dask_protocol::message::{
    ComputeTask, GatherCopies, Packages, Question, Reply, Request, SchedulerToWorker, Subject,
    UpdateData, WorkerToScheduler,
};
use dask_protocol::{Pickled, Serialized};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::super::settings::Settings;
use super::Stay;
use super::serve::answer;
use super::talk::take;
use crate::engine::dask::connection::{Connection, Stream};
use crate::engine::dask::nonsense::{Numbers, packed};
use crate::front::client::Client;

const SEEDS: u64 = 2_000;

const BOUNDS: Bounds = Bounds { frames: 64, bytes: 1 << 20 };

/// A task of a graph, as a scheduler sends it: negates, which is none of ours.
const TASK: &[u8] = b"\x80\x04\x8c\x0fdask._task_spec\x8c\x04Task\x93)\x81(NNNNNK\x05\x85\
    \x8c\x08operator\x8c\x0aattrgetter\x93\x8c\x0eoutboard::what\x85R\x8c\x01k}tb.";

/// The same, as a message has it.
fn task(pickle: &[u8], who_has: Vec<(String, String)>) -> SchedulerToWorker {
    let places = who_has.into_iter().map(|(key, place)| (key.into(), vec![place]));
    SchedulerToWorker::ComputeTask(ComputeTask {
        key: "k".into(),
        run_id: 3,
        priority: vec![0.0, 1.5],
        who_has: places.collect(),
        run_spec: Some(Pickled { pickle: pickle.to_vec(), buffers: Vec::new() }),
        resources: Vec::new(),
    })
}

/// One of the things that a scheduler says, or that others ask.
fn honest(numbers: &mut Numbers) -> Frames {
    use SchedulerToWorker as Say;
    let (key, stimulus_id) = ("k".into(), String::new());
    let keys = vec!["k".into()];
    let who_has = vec![("d".into(), vec!["tcp://127.0.0.1:1".to_owned()])];
    SchedulerToWorker::encode([match numbers.below(9) {
        0 | 1 => {
            let place = ("d".to_owned(), "tcp://127.0.0.1:1".to_owned());
            task(TASK, if numbers.below(2) == 0 { vec![place] } else { Vec::new() })
        }
        2 => Say::FreeKeys { keys },
        3 => Say::StealRequest { key, stimulus_id },
        4 => Say::AcquireReplicas { who_has },
        5 => Say::RemoveReplicas { keys, stimulus_id },
        6 => Say::StatusChange { status: "running".into() },
        7 => {
            let data = vec![("d".into(), Serialized::from_bytes(b"data".to_vec()))];
            return UpdateData { data }.encode();
        }
        _ => return GatherCopies { who_has }.encode(),
    }])
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
    while let Some(question) = connection.receive().await? {
        asked.fetch_add(1, Relaxed);
        let Subject::GetData { keys } = Request::parse(question)?.subject else { break };
        let value = Serialized::from_bytes(vec![7; 10 << 20]);
        let data = keys.into_iter().map(|key| (key, value.clone())).collect();
        connection.send(Reply::Data(data).encode()).await?;
        connection.receive().await?;
    }
    Ok(())
}

/// A stay, and what it says.
async fn stay(options: &str) -> (Arc<Stay>, mpsc::UnboundedReceiver<Vec<WorkerToScheduler>>) {
    let settings = Arc::new(Settings::parse(&format!("dask://127.0.0.1:1?{options}")).unwrap());
    let client = Client::connect("inline://?workers=1").await.unwrap();
    let (says, said) = mpsc::unbounded_channel();
    let address = "tcp://127.0.0.1:2".to_owned();
    (Arc::new(Stay::new(settings, client, address, Packages::of_release("2026.8.0"), says)), said)
}

/// Another name for what is called `d`.
const ALIAS: &[u8] = b"\x80\x04\x8c\x0fdask._task_spec\x8c\x05Alias\x93\x8c\x01k\x8c\x01d\x86R.";

#[test]
fn a_task_that_needs_more_than_fits_does_not_have_it_fetched() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (stay, mut said) = stay("max_payload=1000000").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let place = rich(asked.clone()).await;
        let needs = (0..50).map(|number| (format!("d{number}"), place.clone()));
        take(&stay, task(ALIAS, needs.collect())).unwrap();
        let says = tokio::time::timeout(Duration::from_secs(60), said.recv()).await;
        let says = says.expect("it ends").expect("it says so");
        assert!(matches!(&says[..], [WorkerToScheduler::TaskErred { .. }]), "{says:?}");
        assert!(asked.load(Relaxed) < 5, "{} were fetched", asked.load(Relaxed));
        stay.end();
    });
}

#[test]
fn a_worker_outlives_a_scheduler_and_peers_that_talk_nonsense() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (stay, mut said) = stay("held_bytes=100000").await;
        let mut said_of = std::collections::HashMap::<_, usize>::new();
        for seed in 0..SEEDS {
            let mut numbers = Numbers::new(seed);
            let mut bytes = packed(honest(&mut numbers));
            if numbers.below(4) > 0 {
                numbers.spoil(&mut bytes);
            }
            let Ok(Some(message)) = frames::unpack(&mut &bytes[..], BOUNDS) else { continue };
            let heard = SchedulerToWorker::parse(message.clone()).unwrap_or_default();
            heard.into_iter().for_each(|one| drop(take(&stay, one)));
            if let Ok(Request { subject, .. }) = Request::parse(message) {
                let answered = answer(&stay, subject);
                let _ = tokio::time::timeout(Duration::from_millis(1), answered).await;
            }
            while let Ok(says) = said.try_recv() {
                for said in &says {
                    *said_of.entry(std::mem::discriminant(said)).or_default() += 1;
                }
            }
        }
        let (held, bytes) = (stay.keys().len(), stay.counts().2);
        assert!(bytes <= 100_000, "{held} values of {bytes} bytes");
        assert!(said_of.len() > 2, "it comes to little: {said_of:?}");
        stay.end();
    });
}

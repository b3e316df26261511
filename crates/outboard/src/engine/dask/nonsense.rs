//! Peers that talk nonsense, against a client and a native worker: honest messages
//! with some of their bytes changed, from seeds, so that each can be had again.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use dask_protocol::Serialized;
use dask_protocol::frames::{self, Bounds, Frames};
use dask_protocol::key::Key;
use dask_protocol::message::{
    ClientToScheduler, ClusterIdentity, Handshake, Packages, Reply, Request, SchedulerToClient,
    Subject, WorkerInfo,
};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::connection::read;
use crate::error::{Error, ErrorKind};
use crate::front::client::Client;
use crate::front::future::gather;
use crate::task::python::python;

/// How many peers of each kind there are.
const SEEDS: u64 = 150;

const BOUNDS: Bounds = Bounds { frames: 64, bytes: 1 << 20 };

/// Numbers from a seed: xorshift (Marsaglia, "Xorshift RNGs", 2003).
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Changes some bytes: other ones, missing ones, doubled ones, huge numbers.
    pub(super) fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => {
                    let part = bytes[at..].to_vec();
                    bytes.extend(part);
                }
                2 => drop(bytes.splice(at..at, [0xff; 8])),
                kind => {
                    let opcodes = b"\xff\x00\x80\x93\xdd\xdf\xc6NR.(";
                    let other = opcodes[self.below(opcodes.len())];
                    let byte = if kind == 3 { self.below(256) as u8 } else { other };
                    bytes.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
                }
            }
        }
    }
}

pub(super) fn packed(message: Frames) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames::pack(&message, &mut bytes);
    bytes
}

/// What a scheduler may say of a key.
fn says_of(key: Key, numbers: &mut Numbers) -> Frames {
    let exception = b"\x80\x04\x8c\x08builtins\x8c\x0aValueError\x93\x8c\x04oops\x85R.";
    let exception = Some(Serialized::from_bytes(exception.to_vec()));
    SchedulerToClient::encode([match numbers.below(5) {
        0 => SchedulerToClient::KeyInMemory { key },
        1 => SchedulerToClient::TaskErred { key, exception, traceback: None },
        2 => SchedulerToClient::CancelledKeys { keys: vec![key], reason: None },
        3 => SchedulerToClient::LostData { key },
        _ => SchedulerToClient::Event { topic: "all".into() },
    }])
}

/// A scheduler that is honest until a client submits something.
async fn scheduler(seed: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("dask://{}?silence_ms=6000", listener.local_addr().unwrap());
    let gathers = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, seed, gathers.clone()));
        }
    });
    url
}

/// What is said depends on the seed and on what was asked, not on who came first.
async fn serve(stream: TcpStream, seed: u64, gathers: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut numbers = Numbers::new(seed * 1000);
    let (mut incoming, mut outgoing) = stream.into_split();
    outgoing.write_all(&packed(Handshake::default().encode())).await?;
    read(&mut incoming, BOUNDS).await?;
    while let Some(message) = read(&mut incoming, BOUNDS).await? {
        let answer = match subject_of(&message) {
            Some(Subject::Gather { keys }) => {
                let mut bytes = packed(gathered(&keys));
                numbers = Numbers::new(seed * 1000 + 1 + gathers.fetch_add(1, Relaxed));
                if numbers.below(2) == 0 {
                    numbers.spoil(&mut bytes);
                }
                bytes
            }
            Some(subject) => greeting(&subject).map(packed).unwrap_or_default(),
            None => {
                let mut answer = Vec::new();
                for key in keys(message) {
                    let mut bytes = packed(says_of(key, &mut numbers));
                    if numbers.below(3) > 0 {
                        numbers.spoil(&mut bytes);
                    }
                    answer.extend(bytes);
                }
                answer
            }
        };
        outgoing.write_all(&answer).await?;
    }
    Ok(())
}

/// What is asked, if it is a question.
fn subject_of(message: &Frames) -> Option<Subject> {
    Request::parse(message.clone()).ok().map(|request| request.subject)
}

/// What any scheduler answers to a client that comes, with one worker that cannot
/// be reached.
fn greeting(subject: &Subject) -> Option<Frames> {
    Some(match subject {
        Subject::Versions => Reply::Versions(Packages::of_release("2026.8.0")).encode(),
        Subject::Identity => {
            let address = "tcp://127.0.0.1:1".to_owned();
            let worker = WorkerInfo { address, nthreads: 1, ..WorkerInfo::default() };
            Reply::Cluster(ClusterIdentity { workers: vec![worker] }).encode()
        }
        Subject::RegisterClient { .. } => {
            SchedulerToClient::encode([SchedulerToClient::StreamStart])
        }
        _ => return None,
    })
}

/// The result -7 of the first key that is asked for.
fn gathered(keys: &[Key]) -> Frames {
    let value = Serialized::from_bytes(b"\x80\x04J\xf9\xff\xff\xff.".to_vec());
    Reply::Data(keys.iter().take(1).map(|key| (key.clone(), value.clone())).collect()).encode()
}

/// Those of a graph, or of what is released.
fn keys(message: Frames) -> Vec<Key> {
    let all = ClientToScheduler::parse(message).expect("our clients are honest").into_iter();
    let keys = all.map(|one| match one {
        ClientToScheduler::UpdateGraph(graph) => graph.keys,
        ClientToScheduler::ReleaseKeys { keys, .. } => keys,
        _ => Vec::new(),
    });
    keys.flatten().collect()
}

/// A task of a client whose scheduler talks nonsense ends, in one way or another.
async fn end(seed: u64) -> Result<i64, Error> {
    let client = Client::connect(&scheduler(seed).await).await?;
    let negate = python::<(i64,), i64>("operator:neg");
    // On a machine that is busy, a result takes a while too.
    let hasty = client.timeout(Duration::from_secs(3));
    let ended = tokio::time::timeout(Duration::from_secs(30), hasty.submit(negate, 7)).await;
    client.shutdown().await;
    ended.unwrap_or_else(|_| panic!("seed {seed}: it does not end"))
}

#[test]
fn a_client_outlives_schedulers_that_talk_nonsense() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let ends = (0..SEEDS).map(|seed| tokio::spawn(async move { (seed, end(seed).await) }));
        let mut kinds = std::collections::BTreeMap::<String, usize>::new();
        for end in ends.collect::<Vec<_>>() {
            let (seed, ended) = end.await.unwrap();
            let kind =
                ended.as_ref().map_or_else(|error| format!("{:?}", error.kind()), |_| "Ok".into());
            *kinds.entry(kind).or_default() += 1;
            // It would be closed had the task that talks to the scheduler panicked.
            let closed = ended.as_ref().is_err_and(|error| error.kind() == ErrorKind::Closed);
            assert!(!closed, "seed {seed}: {ended:?}");
        }
        assert!(kinds.len() > 4, "it comes to little: {kinds:?}");
    });
}

/// Says that all results are there, at a worker that is gone; and counts how many it
/// is asked for at once.
async fn serve_for_a_lost_worker(stream: TcpStream, asked: Arc<Asked>) -> std::io::Result<()> {
    let (mut incoming, mut outgoing) = stream.into_split();
    outgoing.write_all(&packed(Handshake::default().encode())).await?;
    read(&mut incoming, BOUNDS).await?;
    while let Some(message) = read(&mut incoming, BOUNDS).await? {
        let answer = match subject_of(&message) {
            Some(Subject::Gather { keys }) => {
                let now = asked.now.fetch_add(1, Relaxed) + 1;
                asked.most.fetch_max(now, Relaxed);
                // Others come meanwhile, if they may.
                tokio::time::sleep(Duration::from_millis(20)).await;
                asked.now.fetch_sub(1, Relaxed);
                gathered(&keys)
            }
            Some(subject) => greeting(&subject).expect("it is asked nothing else"),
            None => {
                let there = |key| SchedulerToClient::KeyInMemory { key };
                SchedulerToClient::encode(keys(message).into_iter().map(there))
            }
        };
        outgoing.write_all(&packed(answer)).await?;
    }
    Ok(())
}

#[derive(Default)]
struct Asked {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[test]
fn what_a_lost_worker_had_is_not_asked_for_all_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let asked = Arc::new(Asked::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("dask://{}", listener.local_addr().unwrap());
        let serves = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_for_a_lost_worker(stream, serves.clone()));
            }
        });
        let client = Client::connect(&url).await.unwrap();
        let negate = || python::<(i64,), i64>("operator:neg");
        let results = gather((0..150).map(|_| client.submit(negate(), 7))).await.unwrap();
        assert_eq!(results, [-7; 150]);
        let most = asked.most.load(Relaxed);
        assert!((2..=16).contains(&most), "{most} at once");
        client.shutdown().await;
    });
}

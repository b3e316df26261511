//! Talks with a scheduler for one stay: registers, reads and writes, gives signs
//! of life, and leaves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rmpv::Value;
use tokio::sync::{mpsc, watch};

use super::ClusterEvent;
use super::key::Key;
use super::messages::{Say, batch, unix_now};
use super::serve::{Listening, serve};
use super::settings::Settings;
use super::stay::{Stay, bounds};
use crate::engine::dask::cluster::{Cluster, NATIVE, check_version};
use crate::engine::dask::connection::{Connection, Dialer, Incoming, Outgoing};
use crate::engine::dask::graph::resource;
use crate::engine::dask::keeper::ask;
use crate::engine::dask::message::{Message, field, list, map, text};
use crate::front::client::Client;
use crate::task::registry::registry;

/// How many tasks may use one resource at once: no number is meant to be met.
const PLENTY: f64 = 1e9;

/// For how long results are still fetched from a worker that leaves.
const FETCHED: Duration = Duration::from_secs(5);

/// How many operations leave in one message at most.
const AT_ONCE: usize = 1000;

/// Where this worker is, and who is to be told.
pub(super) struct Place<'a> {
    pub(super) settings: &'a Arc<Settings>,
    pub(super) client: &'a Client,
    pub(super) address: &'a str,
    pub(super) listening: &'a Listening,
    pub(super) tell: &'a (dyn Fn(&ClusterEvent) + Send + Sync),
}

/// What a worker that has joined has.
struct Member {
    stay: Arc<Stay>,
    stream: Connection,
    said: mpsc::UnboundedReceiver<Vec<Say>>,
    questions: Connection,
    /// How often it is to give a sign of life.
    interval: Duration,
}

/// How a stay ended.
#[derive(Debug)]
pub(super) enum Left {
    /// As was asked, here or there.
    Done,
    /// The scheduler cannot be joined as things are: a line that says why.
    Refused(String),
    /// The scheduler was lost, or does not know this worker any more.
    Lost { joined: bool, error: io::Error },
}

impl Place<'_> {
    /// Joins the scheduler, and stays as long as that goes well.
    pub(super) async fn stay(&self, leaving: watch::Receiver<bool>) -> Left {
        let mut joined = false;
        match self.talk(&mut joined, leaving).await {
            Ok(left) => left,
            Err(error) => Left::Lost { joined, error },
        }
    }

    fn dialer(&self) -> Dialer {
        Dialer { tls: self.settings.dialing.clone(), bounds: bounds(self.settings) }
    }

    async fn talk(&self, joined: &mut bool, leaving: watch::Receiver<bool>) -> io::Result<Left> {
        let joining = tokio::time::timeout(self.settings.silence, self.join()).await;
        let member = match joining.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))? {
            Ok(member) => member,
            Err(line) => return Ok(Left::Refused(line)),
        };
        *joined = true;
        (self.tell)(&ClusterEvent::Joined {
            scheduler: self.settings.scheduler.to_string(),
            address: self.address.to_owned(),
            workers: self.settings.local.workers,
        });
        let stay = member.stay.clone();
        let left = self.go_on(member, leaving).await;
        stay.end();
        left
    }

    /// Joins; or says in a line why that cannot be.
    async fn join(&self) -> io::Result<Result<Member, String>> {
        let scheduler = &self.settings.scheduler;
        let mut questions = self.dialer().dial(scheduler).await?;
        let no_packages = ("packages", Value::Array(Vec::new()));
        let versions = ask(&mut questions, "versions", [no_packages]).await?.value;
        if let Err(line) = check_version(&versions) {
            return Ok(Err(line));
        }
        let identity = ask(&mut questions, "identity", []).await?.value;
        let cluster = Cluster::read(&identity).unwrap_or_default();
        if !self.settings.mixed && cluster.workers.iter().any(|worker| !worker.native) {
            return Ok(Err(MIXED.into()));
        }
        let packages = field(&versions, "packages").cloned().unwrap_or(Value::Nil);
        let (says, said) = mpsc::unbounded_channel();
        let (settings, client) = (self.settings.clone(), self.client.clone());
        let address = self.address.to_owned();
        let stay = Arc::new(Stay::new(settings, client, address, packages.clone(), says));
        let mut stream = self.dialer().dial(scheduler).await?;
        let answer = stream.ask(Message::new(registration(&stay, packages))).await?.value;
        if text(&answer, "status") != Some("OK") {
            let said = text(&answer, "message").unwrap_or("without a word");
            return Err(io::Error::other(format!("it did not take this worker: {said}")));
        }
        Ok(Ok(Member { stay, stream, said, questions, interval: interval(&answer) }))
    }

    async fn go_on(&self, member: Member, leaving: watch::Receiver<bool>) -> io::Result<Left> {
        let Member { stay, stream, said, questions, interval } = member;
        let (stay, Connection { incoming, outgoing, .. }) = (&stay, stream);
        let (last_words, close) = tokio::sync::oneshot::channel();
        let talk = async {
            tokio::select! {
                ended = read(stay, incoming) => ended,
                ended = beat(stay, questions, interval) => ended,
                ended = serve(stay, self.listening) => ended,
                ended = stay.tend() => ended,
                () = stay.closed.notified() => Ok(Left::Done),
                ended = self.leave(stay, leaving) => ended,
            }
        };
        let talk = async {
            let left = talk.await;
            drop(last_words);
            left
        };
        let silence = self.settings.silence;
        let (left, written) =
            tokio::join!(talk, async { write(outgoing, said, close, silence).await });
        written.and(left)
    }

    /// Leaves when it is asked to: finishes what runs, hands over what it holds.
    async fn leave(
        &self,
        stay: &Arc<Stay>,
        mut leaving: watch::Receiver<bool>,
    ) -> io::Result<Left> {
        if leaving.wait_for(|leaving| *leaving).await.is_err() {
            return std::future::pending().await;
        }
        stay.leave();
        while stay.owes().0 > 0 {
            // Woken by whatever ends, and now and then in case it was missed.
            let _ = tokio::time::timeout(Duration::from_millis(100), stay.changed.notified()).await;
        }
        let mut questions = self.dialer().dial(&self.settings.scheduler).await?;
        let stimulus = format!("worker-close-gracefully-{}", unix_now());
        let workers = Value::Array(vec![self.address.into()]);
        let fields = [
            ("workers", workers),
            ("close_workers", false.into()),
            ("remove", false.into()),
            ("stimulus_id", stimulus.as_str().into()),
        ];
        let asked = ask(&mut questions, "retire_workers", fields).await?.value;
        let moved = asked.as_map().is_some_and(|map| !map.is_empty());
        let since = std::time::Instant::now();
        while !moved && stay.owes().1 && since.elapsed() < FETCHED {
            // Nobody takes what it holds: those who want it may still come.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let fields = [("address", self.address.into()), ("stimulus_id", stimulus.into())];
        ask(&mut questions, "unregister", fields).await?;
        Ok(Left::Done)
    }
}

const MIXED: &str = "the scheduler has Python workers. It does not know that this worker runs Rust \
                     functions only, and with one such worker among Python's the P2P shuffles and \
                     merges of that cluster's users fail. Give native workers a scheduler of their \
                     own; or, if nobody shuffles there, say mixed=1 in the URL";

/// How this worker introduces itself.
fn registration(stay: &Stay, packages: Value) -> Value {
    let settings = &stay.settings;
    let functions = registry().map_or(&[][..], |registry| registry.all());
    let mut resources: Vec<(Value, Value)> = functions
        .iter()
        .map(|function| (resource(function.name, function.signature).into(), PLENTY.into()))
        .collect();
    resources.push((NATIVE.into(), PLENTY.into()));
    let number = std::process::id();
    let now = unix_now();
    let directory = std::env::temp_dir().display().to_string();
    map([
        ("op", "register-worker".into()),
        ("reply", true.into()),
        ("address", stay.address.as_str().into()),
        ("status", "running".into()),
        ("server_id", format!("Worker-outboard-{number}-{now}").into()),
        ("name", stay.name().into()),
        ("nthreads", settings.local.workers.into()),
        ("now", now.into()),
        ("resources", Value::Map(resources)),
        ("memory_limit", settings.held_bytes.into()),
        ("local_directory", directory.into()),
        ("services", Value::Map(Vec::new())),
        ("nanny", Value::Nil),
        ("pid", number.into()),
        ("versions", map([("packages", packages)])),
        // What `identity` says of this worker, beside what it says of all.
        ("extra", map([("pid", number.into())])),
        ("stimulus_id", format!("worker-connect-{now}").into()),
        ("metrics", super::metrics::metrics(stay)),
    ])
}

fn interval(answer: &Value) -> Duration {
    let seconds = field(answer, "heartbeat-interval").and_then(Value::as_f64).unwrap_or(0.5);
    Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .clamp(Duration::from_millis(100), Duration::from_secs(60))
}

/// Gives signs of life.
async fn beat(stay: &Stay, mut questions: Connection, mut pause: Duration) -> io::Result<Left> {
    loop {
        tokio::time::sleep(pause).await;
        let fields = [
            ("address", stay.address.as_str().into()),
            ("now", unix_now().into()),
            ("metrics", super::metrics::metrics(stay)),
            ("executing", stay.executing()),
            ("extensions", Value::Map(Vec::new())),
        ];
        let asked = ask(&mut questions, "heartbeat_worker", fields);
        let answer = tokio::time::timeout(stay.settings.silence, asked).await;
        let answer = answer.map_err(|_| io::ErrorKind::TimedOut)??.value;
        if text(&answer, "status") == Some("missing") {
            return Err(io::Error::other("it does not know this worker any more"));
        }
        pause = interval(&answer);
    }
}

/// Writes all that has come together at once; after the end, what is left and a
/// last word.
async fn write(
    mut outgoing: Outgoing,
    mut said: mpsc::UnboundedReceiver<Vec<Say>>,
    mut close: tokio::sync::oneshot::Receiver<()>,
    silence: Duration,
) -> io::Result<()> {
    let mut all = Vec::new();
    loop {
        let ended = tokio::select! {
            biased;
            _ = said.recv_many(&mut all, AT_ONCE) => false,
            _ = &mut close => true,
        };
        let mut says: Vec<Say> = std::mem::take(&mut all).into_iter().flatten().collect();
        if ended {
            says.push(Say::close());
        }
        let sent = tokio::time::timeout(silence, outgoing.send(batch(says))).await;
        match sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) if !ended => {}
            // Nobody may be there to hear the last word.
            _ if ended => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "what was said did not arrive");
                // The reader finds out as well, and ends the stay.
                let _ = close.await;
                return Ok(());
            }
            Ok(()) => {}
        }
    }
}

/// Reads what the scheduler says.
async fn read(stay: &Arc<Stay>, mut incoming: Incoming) -> io::Result<Left> {
    loop {
        let mut message = incoming.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let all = match std::mem::replace(&mut message.value, Value::Nil) {
            Value::Array(all) => all,
            one => vec![one],
        };
        for one in &all {
            if let Some(left) = take(stay, one, &mut message)? {
                return Ok(left);
            }
        }
    }
}

pub(super) fn take(
    stay: &Arc<Stay>,
    one: &Value,
    message: &mut Message,
) -> io::Result<Option<Left>> {
    let keys = || list(one, "keys").iter().map(Key::of).collect::<Vec<_>>();
    match text(one, "op") {
        Some("compute-task") => stay.give(one, message)?,
        Some("free-keys") => stay.free(keys()),
        Some("cancel-compute") => stay.free(field(one, "key").map(Key::of).into_iter().collect()),
        Some("remove-replicas") => {
            stay.drop_copies(keys(), text(one, "stimulus_id").unwrap_or_default());
        }
        Some("steal-request") => stay.steal(one),
        Some("acquire-replicas") => stay.replicate(one),
        Some("worker-status-change") => stay.stand(text(one, "status").unwrap_or_default()),
        Some("remove-worker") => stay.forget_peer(text(one, "worker").unwrap_or_default()),
        Some("close") => {
            if stay.is_retiring() {
                return Ok(Some(Left::Done));
            }
            let reason = text(one, "reason").unwrap_or("without a word");
            return Err(io::Error::other(format!("it let this worker go: {reason}")));
        }
        Some("close-stream") => return Err(io::ErrorKind::UnexpectedEof.into()),
        Some("refresh-who-has") => {}
        other => tracing::debug!(operation = other, "scheduler said something unknown"),
    }
    Ok(None)
}

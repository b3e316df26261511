//! Talks with a scheduler for one stay: registers, reads and writes, gives signs
//! of life, and leaves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dask_protocol::message::{
    Heartbeat, HeartbeatWorker, Identity, Packages, RegisterWorker, Registered, RetireWorkers,
    SchedulerToWorker, Unregister, Versions, WorkerToScheduler,
};
use tokio::sync::{mpsc, watch};

use super::super::ClusterEvent;
use super::super::settings::Settings;
use super::messages::{stimulus, unix_now};
use super::metrics::metrics;
use super::serve::serve;
use super::{Left, Listening, Stay, bounds};
use crate::engine::dask::cluster::{Cluster, NATIVE};
use crate::engine::dask::connection::{Connection, Dialer, Incoming, Outgoing};
use crate::engine::dask::wanted::{of_pool, resource};
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
    said: mpsc::UnboundedReceiver<Vec<WorkerToScheduler>>,
    questions: Connection,
    /// How often it is to give a sign of life.
    interval: Duration,
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
            workers: self.settings.threads(),
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
        let packages = questions.ask(Versions).await?;
        if let Err(error) = packages.supported() {
            return Ok(Err(error.to_string()));
        }
        let cluster = Cluster::from(questions.ask(Identity).await?);
        if !self.settings.mixed && cluster.has_python() {
            return Ok(Err(MIXED.into()));
        }
        let (says, said) = mpsc::unbounded_channel();
        let (settings, client) = (self.settings.clone(), self.client.clone());
        let address = self.address.to_owned();
        let stay = Arc::new(Stay::new(settings, client, address, packages.clone(), says));
        let mut stream = self.dialer().dial(scheduler).await?;
        let interval = match stream.ask(registration(&stay, packages)).await? {
            Registered::Member { heartbeat_s } => interval(heartbeat_s),
            Registered::Refused(said) => {
                return Err(io::Error::other(format!("it did not take this worker: {said}")));
            }
        };
        Ok(Ok(Member { stay, stream, said, questions, interval }))
    }

    async fn go_on(&self, member: Member, leaving: watch::Receiver<bool>) -> io::Result<Left> {
        let Member { stay, stream, said, questions, interval } = member;
        let (stay, (incoming, outgoing)) = (&stay, stream.split());
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
        let (address, stimulus_id) = (self.address.to_owned(), stimulus("worker-close-gracefully"));
        let workers = vec![address.clone()];
        let retire = RetireWorkers { workers, stimulus_id: stimulus_id.clone() };
        let moved = !questions.ask(retire).await?.is_empty();
        let since = std::time::Instant::now();
        while !moved && stay.owes().1 && since.elapsed() < FETCHED {
            // Nobody takes what it holds: those who want it may still come.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        questions.ask(Unregister { address, stimulus_id }).await?;
        Ok(Left::Done)
    }
}

const MIXED: &str = "the scheduler has Python workers. It does not know that this worker runs Rust \
                     functions only, and with one such worker among Python's the P2P shuffles and \
                     merges of that cluster's users fail. Give native workers a scheduler of their \
                     own; or, if nobody shuffles there, say mixed=1 in the URL";

/// How this worker introduces itself.
fn registration(stay: &Stay, packages: Packages) -> RegisterWorker {
    let functions = registry().map_or(&[][..], |registry| registry.all());
    let offered = functions.iter().map(resource);
    let offered = offered.chain([NATIVE.to_owned()]).map(|resource| (resource, PLENTY));
    // A scheduler does not bound what it gives to a pool: the desk does.
    let pools = stay.settings.lanes();
    let pools = pools.map(|(name, workers)| (of_pool(name), workers as f64));
    let number = std::process::id();
    RegisterWorker {
        address: stay.address.clone(),
        name: stay.name().to_owned(),
        server_id: format!("Worker-outboard-{number}-{}", unix_now()),
        nthreads: stay.settings.threads() as u64,
        memory_limit: stay.settings.held_bytes as u64,
        resources: offered.chain(pools).collect(),
        local_directory: std::env::temp_dir().display().to_string(),
        pid: number,
        packages,
        metrics: metrics(stay),
    }
}

/// How long to wait between signs of life, as a scheduler says.
fn interval(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .clamp(Duration::from_millis(100), Duration::from_secs(60))
}

/// Gives signs of life.
async fn beat(stay: &Stay, mut questions: Connection, mut pause: Duration) -> io::Result<Left> {
    loop {
        tokio::time::sleep(pause).await;
        let (address, executing) = (stay.address.clone(), stay.executing());
        let asked = questions.ask(HeartbeatWorker { address, metrics: metrics(stay), executing });
        let answer = tokio::time::timeout(stay.settings.silence, asked).await;
        match answer.map_err(|_| io::ErrorKind::TimedOut)?? {
            Heartbeat::Known { heartbeat_s } => pause = interval(heartbeat_s),
            Heartbeat::Missing => {
                return Err(io::Error::other("it does not know this worker any more"));
            }
        }
    }
}

/// Writes all that has come together at once; after the end, what is left and a
/// last word.
async fn write(
    mut outgoing: Outgoing,
    mut said: mpsc::UnboundedReceiver<Vec<WorkerToScheduler>>,
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
        let says = std::mem::take(&mut all).into_iter().flatten();
        let says = says.chain(ended.then_some(WorkerToScheduler::CloseStream));
        let message = WorkerToScheduler::encode(says);
        let sent = tokio::time::timeout(silence, outgoing.send(message)).await;
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
        for one in SchedulerToWorker::parse(incoming.next().await?)? {
            if let Some(left) = take(stay, one)? {
                return Ok(left);
            }
        }
    }
}

pub(super) fn take(stay: &Arc<Stay>, one: SchedulerToWorker) -> io::Result<Option<Left>> {
    match one {
        SchedulerToWorker::ComputeTask(task) => stay.give(task),
        SchedulerToWorker::FreeKeys { keys } => stay.free(keys),
        SchedulerToWorker::CancelCompute { key } => stay.free(vec![key]),
        SchedulerToWorker::RemoveReplicas { keys, stimulus_id } => {
            stay.drop_copies(keys, &stimulus_id);
        }
        SchedulerToWorker::StealRequest { key, stimulus_id } => stay.steal(key, stimulus_id),
        SchedulerToWorker::AcquireReplicas { who_has } => stay.replicate(who_has),
        SchedulerToWorker::StatusChange { status } => stay.stand(&status),
        SchedulerToWorker::RemoveWorker { worker } => stay.peers.forget(&worker),
        SchedulerToWorker::Close { .. } if stay.is_retiring() => return Ok(Some(Left::Done)),
        SchedulerToWorker::Close { reason } => {
            let reason = reason.unwrap_or_else(|| "without a word".into());
            return Err(io::Error::other(format!("it let this worker go: {reason}")));
        }
        SchedulerToWorker::CloseStream => return Err(io::ErrorKind::UnexpectedEof.into()),
        SchedulerToWorker::Unknown(operation) => {
            tracing::debug!(operation, "scheduler said something unknown");
        }
        // The answer to a question that is not asked.
        _ => {}
    }
    Ok(None)
}

//! Many requests at the same instant.
//!
//! All tasks wait at a barrier; the clock starts when it opens. From then on
//! everything counts, as it does for a visitor: connecting, waiting for the
//! server, and reading the whole answer. Looking the host up comes before.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinSet;

use super::Target;
use super::request::{self, Fault};

/// How long the slow request is ahead, once its connection stands: enough for
/// a server on this machine to have begun on it.
const HEAD_START: Duration = Duration::from_millis(5);

/// What to send, and what to make of the answers.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The page.
    pub(crate) target: Target,
    /// How many requests.
    pub(crate) requests: usize,
    /// When to give one up.
    pub(crate) timeout: Duration,
    /// The right body, where it is known.
    pub(crate) expected: Option<String>,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// How many requests were sent.
    pub(crate) requests: usize,
    /// From the common start to the last answer, good or bad.
    pub(crate) total: Duration,
    /// From the common start to each good answer, shortest first.
    latencies: Vec<Duration>,
    /// How many requests failed, by kind.
    pub(crate) faults: BTreeMap<Fault, usize>,
}

impl Load {
    /// Sends all requests at once; each answer moves the bar by one.
    pub(crate) async fn run(&self, bar: &ProgressBar) -> anyhow::Result<Measurement> {
        let address = self.target.resolve().await?;
        let load = Arc::new(self.clone());
        let start = Arc::new(Start::new(self.requests));
        let mut tasks = JoinSet::new();
        for _ in 0..self.requests {
            tasks.spawn(one(Arc::clone(&load), address, Arc::clone(&start)));
        }
        let mut measurement = Measurement::empty(self.requests);
        while let Some(ended) = tasks.join_next().await {
            measurement.add(ended?);
            bar.inc(1);
        }
        measurement.latencies.sort_unstable();
        Ok(measurement)
    }

    /// Sends one request of `slow`, then, when it is under way, this load.
    pub(crate) async fn run_behind(
        &self,
        slow: &Load,
        bar: &ProgressBar,
    ) -> anyhow::Result<(Measurement, Measurement)> {
        let (connected, under_way) = oneshot::channel();
        let slow = tokio::spawn(slow.clone().run_ahead(connected));
        // An error here means that the slow request failed already; its own result says so.
        let _ = under_way.await;
        tokio::time::sleep(HEAD_START).await;
        let quick = self.run(bar).await?;
        Ok((quick, slow.await??))
    }

    /// One request, which tells when its connection stands.
    async fn run_ahead(self, connected: oneshot::Sender<()>) -> anyhow::Result<Measurement> {
        let address = self.target.resolve().await?;
        let mut measurement = Measurement::empty(1);
        let start = Instant::now();
        let answer = self.bounded(self.exchange(address, Some(connected))).await;
        measurement.add((answer, start.elapsed()));
        Ok(measurement)
    }

    async fn exchange(
        &self,
        address: SocketAddr,
        connected: Option<oneshot::Sender<()>>,
    ) -> Result<(), Fault> {
        let stream = request::connect(address).await?;
        if let Some(connected) = connected {
            // Nobody waits when the caller has gone; the request goes on.
            let _ = connected.send(());
        }
        let body = request::get(&self.target, stream).await?;
        match &self.expected {
            Some(expected) if expected.as_bytes() != body => Err(Fault::WrongBody),
            _ => Ok(()),
        }
    }

    async fn bounded(
        &self,
        exchange: impl Future<Output = Result<(), Fault>>,
    ) -> Result<(), Fault> {
        tokio::time::timeout(self.timeout, exchange).await.unwrap_or(Err(Fault::TimedOut))
    }
}

impl Measurement {
    /// How many requests failed.
    pub(crate) fn errors(&self) -> usize {
        self.faults.values().sum()
    }

    /// The time within which this share of the good answers came, by nearest
    /// rank; `None` if no answer was good.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.latencies.len() as f64).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied()
    }

    /// Figures of tasks that ran one after the other, outside HTTP.
    pub(crate) fn of_latencies(mut latencies: Vec<Duration>, total: Duration) -> Self {
        latencies.sort_unstable();
        Self { requests: latencies.len(), total, latencies, faults: BTreeMap::new() }
    }

    /// Of one request.
    pub(crate) fn of_one(answer: Result<(), Fault>, elapsed: Duration) -> Self {
        let mut one = Self::empty(1);
        one.add((answer, elapsed));
        one
    }

    fn empty(requests: usize) -> Self {
        Self { requests, total: Duration::ZERO, latencies: Vec::new(), faults: BTreeMap::new() }
    }

    fn add(&mut self, (answer, elapsed): (Result<(), Fault>, Duration)) {
        self.total = self.total.max(elapsed);
        match answer {
            Ok(()) => self.latencies.push(elapsed),
            Err(fault) => *self.faults.entry(fault).or_default() += 1,
        }
    }
}

/// The instant that all requests of a load have in common.
struct Start {
    barrier: Barrier,
    instant: OnceLock<Instant>,
}

impl Start {
    fn new(requests: usize) -> Self {
        Self { barrier: Barrier::new(requests), instant: OnceLock::new() }
    }

    async fn wait(&self) -> Instant {
        self.barrier.wait().await;
        *self.instant.get_or_init(Instant::now)
    }
}

/// One request of a load: what came of it, and when.
async fn one(
    load: Arc<Load>,
    address: SocketAddr,
    start: Arc<Start>,
) -> (Result<(), Fault>, Duration) {
    let start = start.wait().await;
    let answer = load.bounded(load.exchange(address, None)).await;
    (answer, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::Measurement;
    use std::time::Duration;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred = (1..=100).map(Duration::from_millis).collect();
        let measurement = Measurement::of_latencies(hundred, Duration::ZERO);
        assert_eq!(measurement.percentile(0.50), Some(Duration::from_millis(50)));
        assert_eq!(measurement.percentile(0.99), Some(Duration::from_millis(99)));
        assert_eq!(measurement.percentile(1.0), Some(Duration::from_millis(100)));

        let one = Measurement::of_latencies(vec![Duration::from_millis(7)], Duration::ZERO);
        assert_eq!(one.percentile(0.50), Some(Duration::from_millis(7)));
        assert_eq!(one.percentile(0.99), Some(Duration::from_millis(7)));
        assert_eq!(Measurement::empty(3).percentile(0.5), None);
    }
}

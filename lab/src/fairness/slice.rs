//! One slice of time: nine tenants send short tasks, and one floods, or not.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::carrier::Carrier;
use crate::measure::Measurement;

/// Who sends short tasks.
pub(super) const NINE: [&str; 9] = ["ann", "bob", "cyd", "dee", "eve", "fay", "gus", "hal", "ivy"];

/// Who floods.
const FLOODER: &str = "zoe";

/// How many long tasks the flood keeps waiting or running, for each worker.
pub(super) const FLOOD_DEPTH: usize = 10;

/// From one short task to the next, of another of the nine: long enough that
/// they are not in each other's way.
pub(super) const GAP: Duration = Duration::from_millis(7);

/// What all slices have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) workers: usize,
    pub(super) length: Duration,
    pub(super) short_n: u64,
    pub(super) long_n: u64,
}

/// What came of a slice.
#[derive(Debug)]
pub(super) struct Slice {
    /// From submit to result, of the nine's tasks.
    pub(super) latencies: Measurement,
    /// How long each of the flood's tasks ran that ended.
    pub(super) long: Measurement,
}

impl Plan {
    /// Runs one slice.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops all tasks, but those on threads.
    pub(super) async fn run(&self, carrier: &Carrier, flood: bool) -> anyhow::Result<Slice> {
        carrier.idle().await;
        let mut flood = match flood {
            true => Some(Flood::begin(carrier, self.long_n, FLOOD_DEPTH * self.workers).await?),
            false => None,
        };
        let latencies = self.visit(carrier).await?;
        let long = match &mut flood {
            Some(flood) => flood.end(carrier).await?,
            None => Vec::new(),
        };
        Ok(Slice { latencies: measured(latencies), long: measured(long) })
    }

    /// The nine, in turn: each task at its time, whatever became of those before.
    async fn visit(&self, carrier: &Carrier) -> anyhow::Result<Vec<Duration>> {
        let count = (self.length.as_nanos() / GAP.as_nanos()).max(1) as usize;
        let mut ticks = tokio::time::interval(GAP);
        let mut visits = JoinSet::new();
        for tenant in NINE.into_iter().cycle().take(count) {
            ticks.tick().await;
            let (carrier, n) = (carrier.clone(), self.short_n);
            visits.spawn(async move {
                let sent = Instant::now();
                carrier.compute(tenant, n).await.map(|_| sent.elapsed())
            });
        }
        visits.join_all().await.into_iter().collect()
    }
}

/// Many long tasks of one tenant, each followed by another.
struct Flood {
    tasks: JoinSet<anyhow::Result<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// The first long task has ended: the flood stands.
    stands: Notify,
    ran: Mutex<Vec<Duration>>,
}

impl Flood {
    /// Returns when the first of its tasks has ended.
    async fn begin(carrier: &Carrier, n: u64, depth: usize) -> anyhow::Result<Self> {
        let (mut tasks, shared) = (JoinSet::new(), Arc::new(Shared::default()));
        for _ in 0..depth {
            tasks.spawn(shared.clone().flood(carrier.clone(), n));
        }
        tokio::select! {
            () = shared.stands.notified() => Ok(Self { tasks, shared }),
            Some(failed) = tasks.join_next() => {
                failed??;
                anyhow::bail!("the flood ended by itself")
            }
        }
    }

    /// Stops it, or waits for what cannot be stopped; gives its run times.
    async fn end(&mut self, carrier: &Carrier) -> anyhow::Result<Vec<Duration>> {
        self.shared.over.store(true, Relaxed);
        // What ends from here on would end alone.
        let ran =
            std::mem::take(&mut *self.shared.ran.lock().unwrap_or_else(PoisonError::into_inner));
        if !carrier.cannot_stop() {
            self.tasks.abort_all();
        }
        while let Some(ended) = self.tasks.join_next().await {
            match ended {
                Ok(result) => result?,
                Err(error) if error.is_cancelled() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(ran)
    }
}

impl Shared {
    async fn flood(self: Arc<Self>, carrier: Carrier, n: u64) -> anyhow::Result<()> {
        while !self.over.load(Relaxed) {
            let run_time = carrier.compute(FLOODER, n).await?;
            self.ran.lock().unwrap_or_else(PoisonError::into_inner).push(run_time);
            self.stands.notify_one();
        }
        Ok(())
    }
}

fn measured(times: Vec<Duration>) -> Measurement {
    let total = times.iter().sum();
    Measurement::of_latencies(times, total)
}

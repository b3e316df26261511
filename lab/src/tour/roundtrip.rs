//! The round trip of a task that does next to nothing, one after the other.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::measure::Measurement;
use crate::site::Places;
use crate::tasks::add_one;

/// The task, as the report shows it.
pub(super) const TASK: &str = "x + 1";

/// How many round trips are measured.
pub(super) const TIMES: usize = 3000;

/// How many go before them, unmeasured.
const WARM_UP: usize = 300;

/// Submits to the client of `after`, on the runtime that its handlers run on.
pub(super) async fn of_client(places: &Places, times: usize) -> anyhow::Result<Measurement> {
    let client = places.client.clone();
    let round_trips = measure(times, move || {
        let submitted = client.submit(add_one, 10);
        async { Ok(submitted.await?) }
    });
    places.runtime.spawn(round_trips).await?
}

/// Does the same on `spawn_blocking` threads of the runtime that this is called on.
pub(super) async fn of_threads(times: usize) -> anyhow::Result<Measurement> {
    let round_trips = measure(times, || {
        let spawned = tokio::task::spawn_blocking(|| add_one(10));
        async { Ok(spawned.await?) }
    });
    tokio::spawn(round_trips).await?
}

async fn measure<R>(times: usize, round_trip: impl Fn() -> R) -> anyhow::Result<Measurement>
where
    R: Future<Output = anyhow::Result<u64>>,
{
    for _ in 0..WARM_UP {
        round_trip().await?;
    }
    let mut latencies: Vec<Duration> = Vec::with_capacity(times);
    let start = Instant::now();
    for _ in 0..times {
        let sent = Instant::now();
        let result = round_trip().await?;
        latencies.push(sent.elapsed());
        ensure!(result == 11, "{TASK} of 10 gave {result}");
    }
    Ok(Measurement::of_latencies(latencies, start.elapsed()))
}

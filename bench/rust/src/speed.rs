//! Speed: first result, round trip, a task after each pause, many at once, 1 MiB, and 20 tasks
//! that burn CPU.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::Sizes;
use crate::cpu;
use crate::peer::{Outcome, Peer};

/// Between two tasks.
const PAUSE: Duration = Duration::from_millis(1);

/// Measures a peer that is started here, so that its start counts too.
pub(crate) async fn speed<P: Peer>(sizes: Sizes) -> Outcome<Value> {
    let began = Instant::now();
    let peer = P::start(&sizes).await?;
    assert_eq!(peer.add_one(1).await?, 2);
    let first_result_ms = 1e3 * began.elapsed().as_secs_f64();
    let roundtrip = roundtrip(&peer, sizes.length()).await?;
    let (paced, cpu_us) = paced(&peer, sizes.length()).await?;
    let figures = json!({
        "first_result_ms": first_result_ms,
        "roundtrip_us": roundtrip,
        "paced_us": paced,
        "cpu_us": cpu_us,
        "throughput_per_s": throughput(&peer, &sizes).await?,
        "echo_ms": echo(&peer, sizes.length()).await?,
        "twenty_s": twenty(&peer, sizes.burn_seconds).await?,
    });
    peer.stop().await;
    Ok(figures)
}

async fn roundtrip<P: Peer>(peer: &P, length: Duration) -> Outcome<Value> {
    let (last, calls, times) = one_by_one(|x| peer.add_one(x), 0, length).await?;
    assert_eq!(last, calls);
    Ok(percentiles(times, 1e6))
}

/// A task after each pause, and the CPU time of all processes for one, in microseconds.
async fn paced<P: Peer>(peer: &P, length: Duration) -> Outcome<(Value, f64)> {
    assert_eq!(peer.add_one(0).await?, 1);
    let processes = cpu::processes()?;
    let before_ns = cpu::used_ns(&processes);
    let mut times = Vec::new();
    let end = Instant::now() + length;
    while times.len() < 10 || Instant::now() < end {
        tokio::time::sleep(PAUSE).await;
        let (began, number) = (Instant::now(), times.len() as u64);
        assert_eq!(peer.add_one(number).await?, number + 1);
        times.push(began.elapsed());
    }
    let used_ns = cpu::used_ns(&processes).saturating_sub(before_ns);
    let cpu_us = 1e-3 * used_ns as f64 / times.len() as f64;
    Ok((percentiles(times, 1e6), cpu_us))
}

async fn echo<P: Peer>(peer: &P, length: Duration) -> Outcome<Value> {
    let data: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let sent = Bytes::from(data.clone());
    let (back, _, times) = one_by_one(|data| peer.echo(data), sent, length).await?;
    assert_eq!(*back, data);
    Ok(percentiles(times, 1e3))
}

/// Gives each call what the one before gave. What the last gave, the number of
/// calls, and how long they took; the first quarter of the time warms up.
async fn one_by_one<T, R: Future<Output = Outcome<T>>>(
    call: impl Fn(T) -> R,
    mut value: T,
    length: Duration,
) -> Outcome<(T, u64, Vec<Duration>)> {
    let warm = Instant::now() + length / 4;
    let mut calls = 0;
    while Instant::now() < warm {
        value = call(value).await?;
        calls += 1;
    }
    let mut times = Vec::new();
    let end = Instant::now() + length;
    while times.len() < 10 || Instant::now() < end {
        let began = Instant::now();
        value = call(value).await?;
        times.push(began.elapsed());
        calls += 1;
    }
    Ok((value, calls, times))
}

/// Trivial tasks a second, so many submitted at once and all awaited, again and again.
async fn throughput<P: Peer>(peer: &P, sizes: &Sizes) -> Outcome<f64> {
    peer.add_many(0..sizes.batch / 10).await?;
    let began = Instant::now();
    let mut done = 0;
    while done == 0 || began.elapsed() < sizes.length() {
        let results = peer.add_many(done..done + sizes.batch).await?;
        done += sizes.batch;
        assert_eq!(results.last(), Some(&done));
    }
    Ok(done as f64 / began.elapsed().as_secs_f64())
}

/// How long 20 tasks of so much CPU time take, in seconds.
async fn twenty<P: Peer>(peer: &P, seconds: f64) -> Outcome<f64> {
    let began = Instant::now();
    let submitted: Vec<_> = (0..20).map(|index| peer.burn(index, seconds)).collect();
    for (index, one) in (0..).zip(submitted) {
        assert_eq!(one.await?, index);
    }
    Ok(began.elapsed().as_secs_f64())
}

fn percentiles(mut times: Vec<Duration>, scale: f64) -> Value {
    times.sort();
    let at = |share: f64| {
        let index = (share * times.len() as f64) as usize;
        scale * times[index.min(times.len() - 1)].as_secs_f64()
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "n": times.len() })
}

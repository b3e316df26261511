//! Stop: whether the CPU is free after a timeout, a drop and a cancel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::Sizes;
use crate::crash::{ms, next_result};
use crate::peer::{Outcome, Peer};
use crate::tasks::monotonic;

/// How long to wait for tasks to start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long things take, all from how long the tasks run if nobody stops them.
struct Times {
    task_s: f64,
    /// The timeout of the tasks that have one.
    timeout: Duration,
    /// A task that still runs so long after the stop was not stopped.
    window: Duration,
    /// Without a beat for so long, a task does not run.
    silence: Duration,
}

impl Times {
    fn new(task_s: f64) -> Self {
        let share = |part: f64| Duration::from_secs_f64(task_s / part);
        Self { task_s, timeout: share(6.0), window: share(2.0), silence: share(6.0) }
    }
}

/// One case after the other, each with a task on every worker.
pub(crate) async fn stop<P: Peer>(sizes: Sizes) -> Outcome<Value> {
    let mut figures = Map::new();
    let times = Times::new(sizes.task_seconds);
    let mut peer = P::start(&sizes).await?;
    for name in ["timeout", "drop", "cancel"] {
        let beats: Vec<_> =
            (0..sizes.workers).map(|n| sizes.scratch.join(format!("{name}.{n}"))).collect();
        next_result(&peer, START_LIMIT).await.ok_or("no pool to begin with")?;
        let case = match name {
            "timeout" => timeout_case(&peer, &beats, &times).await,
            "drop" => drop_case(&peer, &beats, &times).await,
            _ => cancel_case(&peer, &beats, &times).await,
        };
        until_silent(&beats, &times).await;
        if case["works_after"] == false {
            peer.stop().await;
            peer = P::start(&sizes).await?;
        }
        figures.insert(name.into(), case);
    }
    peer.stop().await;
    Ok(figures.into())
}

async fn timeout_case<P: Peer>(peer: &P, beats: &[PathBuf], times: &Times) -> Value {
    let asked = monotonic() + times.timeout;
    let submit = |beat: &PathBuf| peer.beat_within(times.timeout, text(beat), times.task_s);
    let within: Vec<_> = beats.iter().map(submit).collect();
    let mut errors = Vec::new();
    for one in within {
        errors.extend(one.await.err());
    }
    let error_ms = ms(monotonic().saturating_sub(asked));
    case(P::TIMEOUT, errors, error_ms, watch(peer, beats, asked, times).await)
}

async fn drop_case<P: Peer>(peer: &P, beats: &[PathBuf], times: &Times) -> Value {
    // As handlers of a web server: tokio tasks that await, and are dropped.
    let awaiting: Vec<_> =
        beats.iter().map(|beat| tokio::spawn(peer.beat(text(beat), times.task_s))).collect();
    until_started(beats).await;
    let asked = monotonic();
    awaiting.iter().for_each(|handler| handler.abort());
    for handler in awaiting {
        let _ = handler.await;
    }
    let error_ms = ms(monotonic() - asked);
    let how = ("the awaiting tokio task is aborted, which drops the future", false);
    case(how, Vec::new(), error_ms, watch(peer, beats, asked, times).await)
}

async fn cancel_case<P: Peer>(peer: &P, beats: &[PathBuf], times: &Times) -> Value {
    let submitted = beats.iter().map(|beat| peer.beat_cancellable(text(beat), times.task_s));
    let (futures, cancels): (Vec<_>, Vec<_>) = submitted.unzip();
    let awaiting: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    until_started(beats).await;
    let asked = monotonic();
    cancels.into_iter().for_each(|cancel| cancel());
    let (watched, (errors, error_ms)) =
        tokio::join!(watch(peer, beats, asked, times), errors_of(awaiting, asked));
    case(P::CANCEL, errors, error_ms, watched)
}

/// What those who wait are told, and when the last of them is.
async fn errors_of(
    awaiting: Vec<tokio::task::JoinHandle<Outcome<u64>>>,
    asked: Duration,
) -> (Vec<String>, f64) {
    let mut errors = Vec::new();
    for one in awaiting {
        errors.extend(one.await.expect("nobody aborts it").err());
    }
    (errors, ms(monotonic() - asked))
}

fn case((how, own): (&str, bool), errors: Vec<String>, error_ms: f64, watched: Value) -> Value {
    let mut case = json!({ "how": how, "own": own, "error": errors.first(), "error_ms": error_ms });
    let (Value::Object(all), Value::Object(watched)) = (&mut case, watched) else {
        unreachable!("both are objects");
    };
    all.extend(watched);
    case
}

/// What became of the tasks that were asked to stop at that time, and of the pool.
async fn watch<P: Peer>(peer: &P, beats: &[PathBuf], asked: Duration, times: &Times) -> Value {
    let limit = Duration::from_secs_f64(3.0 * times.task_s);
    let works_after = next_result(peer, limit).await.is_some();
    let next_result_ms = works_after.then(|| ms(monotonic() - asked));
    sleep((asked + times.window).saturating_sub(monotonic())).await;
    let last: Vec<Duration> = beats.iter().filter_map(|beat| last_beat(beat)).collect();
    let latest = last.iter().max().copied().unwrap_or(asked);
    let stopped = latest < asked + times.window - times.silence;
    json!({
        "started": last.len(),
        "stopped": stopped,
        "cpu_free_ms": stopped.then(|| ms(latest.saturating_sub(asked))),
        "works_after": works_after,
        "next_result_ms": next_result_ms,
    })
}

/// Waits until all tasks run; or as many as will, if some wait behind others.
async fn until_started(beats: &[PathBuf]) {
    let end = monotonic() + START_LIMIT;
    while monotonic() < end && beats.iter().any(|beat| last_beat(beat).is_none()) {
        sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until no task of this case runs any more.
async fn until_silent(beats: &[PathBuf], times: &Times) {
    let runs =
        |beat: &PathBuf| last_beat(beat).is_some_and(|last| last + times.silence > monotonic());
    while beats.iter().any(runs) {
        sleep(Duration::from_millis(20)).await;
    }
}

/// When a task last wrote the time.
fn last_beat(path: &Path) -> Option<Duration> {
    let data = std::fs::read(path).ok()?;
    let nanos = i64::from_le_bytes(data.try_into().ok()?);
    Some(Duration::from_nanos(nanos as u64))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

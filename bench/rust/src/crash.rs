//! Crash: what one task that ends its process by SIGABRT costs the others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::Sizes;
use crate::peer::{Outcome, Peer, Submitted, first_line};

/// How long to wait for whatever a peer does about a crash.
const LIMIT: Duration = Duration::from_secs(60);

const WAITING: u64 = 4;

pub(crate) async fn crash<P: Peer>(sizes: Sizes) -> Outcome<Value> {
    let peer = P::start(&sizes).await?;
    assert_eq!(peer.add_one(1).await?, 2);
    let scratch = sizes.scratch.to_string_lossy().into_owned();
    let sibling = peer.sibling(scratch.clone(), sizes.task_seconds / 3.0);
    while count(&sizes, "sibling.starts") == 0 {
        sleep(Duration::from_millis(2)).await;
    }
    let began = Instant::now();
    let crashing = peer.crash(scratch);
    let waiting: Vec<Submitted<u64>> =
        (0..WAITING).map(|number| Box::pin(peer.add_one(number)) as _).collect();
    let error = outcome(crashing).await;
    let error_ms = ms(began.elapsed());
    let told_while_sibling_ran = count(&sizes, "sibling.ends") == 0;
    let next_result_ms = next_result(&peer, LIMIT).await;
    let sibling = outcome(sibling).await;
    let mut waiting_finished = 0;
    for one in waiting {
        waiting_finished += u64::from(outcome(one).await == "finished");
    }
    peer.stop().await;
    Ok(json!({
        "error": error,
        "error_ms": error_ms,
        "crash_starts": count(&sizes, "crash.starts"),
        "told_while_sibling_ran": told_while_sibling_ran,
        "sibling": sibling,
        "sibling_starts": count(&sizes, "sibling.starts"),
        "waiting": WAITING,
        "waiting_finished": waiting_finished,
        "works_after": next_result_ms.is_some(),
        "next_result_ms": next_result_ms,
        "server": "alive",
    }))
}

/// `finished`, or what went wrong.
async fn outcome(task: Submitted<u64>) -> String {
    match timeout(LIMIT, task).await {
        Ok(Ok(_)) => "finished".into(),
        Ok(Err(error)) => error,
        Err(error) => first_line(error),
    }
}

/// After how many milliseconds the pool gives a result, if it does.
pub(crate) async fn next_result<P: Peer>(peer: &P, limit: Duration) -> Option<f64> {
    let began = Instant::now();
    let result = timeout(limit, peer.add_one(1)).await;
    (result == Ok(Ok(2))).then(|| ms(began.elapsed()))
}

pub(crate) fn ms(duration: Duration) -> f64 {
    1e3 * duration.as_secs_f64()
}

fn count(sizes: &Sizes, name: &str) -> u64 {
    std::fs::metadata(sizes.scratch.join(name)).map_or(0, |data| data.len())
}

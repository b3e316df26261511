//! A batch that crashes: of those who are in it, only the one that is to blame may fail.

use futures_util::future::join_all;
use outboard::ErrorKind;
use outboard_axum::{Compute, Problem};

/// How many items a page submits beside the one that crashes.
const INNOCENT: u64 = 4;

/// The item that takes its worker down.
const CRASHES: u64 = u64::MAX;

/// Submits items together, one of which crashes; whether the others got what is theirs.
pub(super) async fn submit(compute: &Compute) -> Result<bool, Problem> {
    let crash = compute.batched(successors, CRASHES);
    let innocent = join_all((0..INNOCENT).map(|item| compute.batched(successors, item)));
    let (crash, innocent) = futures_util::future::join(crash, innocent).await;
    let told = crash.is_err_and(|error| is_of_a_crash(error.kind()));
    let outputs = innocent.into_iter().collect::<Result<Vec<u64>, _>>()?;
    Ok(told && outputs.into_iter().eq(1..=INNOCENT))
}

/// What a task that takes its worker down may be told here.
fn is_of_a_crash(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WorkerLost
            | ErrorKind::OutOfMemory
            | ErrorKind::TimedOut
            | ErrorKind::Overloaded
    )
}

/// One more than each, unless one crashes.
#[outboard::task(batch(max = 8, wait = "5ms"))]
fn successors(items: Vec<u64>) -> Vec<u64> {
    if items.contains(&CRASHES) {
        std::process::abort();
    }
    items.into_iter().map(|item| item + 1).collect()
}

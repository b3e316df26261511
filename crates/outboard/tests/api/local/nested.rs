//! Tasks that submit tasks, to workers of their own. (With `Client::from_env` they
//! stay in their process, as the conformance suite shows.)

use std::path::PathBuf;

use outboard::{Client, gather};

use super::client;
use crate::support::process::Process;
use crate::support::run;
use crate::support::scratch::{Scratch, note};
use crate::support::tasks::{hold, pid};

fn add(numbers: Vec<u64>) -> u64 {
    numbers.iter().sum()
}

/// Has two workers of its own add; says which processes they were.
async fn add_elsewhere(numbers: Vec<u64>) -> Result<(u64, Vec<u32>), String> {
    let own = Client::local().workers(2).spares(0).await.map_err(|error| error.to_string())?;
    let halves = numbers.chunks(2).map(|pair| own.submit(add, pair.to_vec()));
    let sums: Vec<u64> = gather(halves).await.map_err(|error| error.to_string())?;
    let at = own.submit(pid, ()).await.map_err(|error| error.to_string())?;
    own.shutdown().await;
    Ok((sums.iter().sum(), vec![std::process::id(), at]))
}

#[test]
fn a_task_may_have_workers_of_its_own() {
    run(async {
        let client = client(1).await;
        for _ in 0..2 {
            let (sum, pids) =
                client.submit(add_elsewhere, vec![1, 2, 3, 4, 5]).await.unwrap().unwrap();
            assert_eq!(sum, 15);
            assert!(pids[0] != pids[1] && !pids.contains(&std::process::id()), "{pids:?}");
            assert!(Process::find(pids[1]).is_none_or(|worker| worker.has_ended()));
        }
    });
}

/// Waits for a worker of its own, which is held.
async fn hold_elsewhere(at: PathBuf) -> Result<u32, String> {
    note(&at, "outer", &std::process::id().to_string());
    let own = Client::local().workers(1).spares(0).await.map_err(|error| error.to_string())?;
    own.submit(hold, at).await.map_err(|error| error.to_string())
}

#[test]
fn a_task_that_is_stopped_takes_its_own_workers_along() {
    run(async {
        let client = client(1).await;
        let scratch = Scratch::new();
        let running = client.submit(hold_elsewhere, scratch.path());
        scratch.started(1).await;
        let inner = Process::open(scratch.pid());
        let outer = Process::open(scratch.notes("outer")[0].parse().unwrap());
        assert_ne!(inner.pid, outer.pid);
        drop(running);
        outer.ends().await;
        inner.ends().await;
    });
}

//! How soon a task that is dropped frees its CPU, beside the system's own kill
//! of the same process.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use outboard::Client;

use crate::support::process::Process;
use crate::support::scratch::{Scratch, start};
use crate::support::tasks::pid;
use crate::support::{found, run};

/// How often each is measured.
const ROUNDS: usize = 11;

/// How often they are compared at most: what else the machine does comes between.
const TRIES: usize = 5;

/// How many times longer a drop may take than the system's own kill.
const RATIO: u32 = 4;

/// Fills so many MiB, says that it started, and keeps a core busy.
#[outboard::task]
fn fill_and_burn(at: PathBuf, mib: usize) -> usize {
    let filled = std::hint::black_box(vec![1_u8; mib << 20]);
    start(&at);
    loop {
        std::hint::black_box(&filled);
    }
}

#[test]
fn a_drop_ends_a_worker_about_as_soon_as_the_system_can() {
    run(async {
        for mib in [0, 64, 256] {
            let mut quick = false;
            for _ in 0..TRIES {
                quick = quick || ratio_holds(mib).await;
            }
            assert!(quick, "{mib} MiB: a drop never took under {RATIO} times a bare SIGKILL");
        }
    });
}

/// One comparison, by medians of several.
async fn ratio_holds(mib: usize) -> bool {
    let (mut dropped, mut killed, mut strong) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let [drop, next] = one(mib, true).await;
        dropped.push(drop);
        strong.push(next);
        killed.push(one(mib, false).await[0]);
    }
    let [dropped, killed, strong] = [dropped, killed, strong].map(median);
    println!(
        "{mib} MiB: ended {dropped:?} after the drop, {killed:?} after a bare SIGKILL; \
         the next result came {strong:?} after the drop"
    );
    dropped <= killed * RATIO
}

/// How long it takes until a worker with a task has ended, and until the next
/// task has its result: from the drop of the task's future, or from a signal.
async fn one(mib: usize, by_drop: bool) -> [Duration; 2] {
    let client = Client::local().workers(1).await.unwrap();
    let spare = found("a spare stands by", || {
        let workers = client.admin().snapshot().per_worker;
        workers.iter().find(|worker| workers.len() == 2 && worker.standby).map(|one| one.pid)
    })
    .await;
    let scratch = Scratch::new();
    let future = client.submit(fill_and_burn, (scratch.path(), mib));
    scratch.started(1).await;
    let worker = Process::open(scratch.pid());
    let waiting = std::thread::spawn({
        let worker = Process::open(scratch.pid());
        move || {
            worker.wait();
            Instant::now()
        }
    });
    let begin = Instant::now();
    if by_drop {
        drop(future);
    } else {
        worker.kill();
    }
    let next = client.submit(pid, ()).await.unwrap();
    let strong = begin.elapsed();
    assert_eq!(next, spare, "no start of a process is waited for");
    [waiting.join().unwrap().duration_since(begin), strong]
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

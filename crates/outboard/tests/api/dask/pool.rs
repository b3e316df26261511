//! Many schedulers in one Python process: a test of the contract has one of its
//! own, without the second that starting Python takes.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use outboard::Client;

use super::Release;
use crate::support::eventually;

/// Starts a scheduler for each empty line of stdin, and writes its address; ends
/// the one that a line names.
const SCHEDULERS: &str = "
import asyncio, os, sys
from distributed import Scheduler
async def main():
    loop, schedulers = asyncio.get_running_loop(), {}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.strip():
            await schedulers.pop(line.strip()).close()
            continue
        scheduler = await Scheduler(host='127.0.0.1', port=0, dashboard_address='127.0.0.1:0')
        schedulers[scheduler.address] = scheduler
        print(scheduler.address, flush=True)
    os._exit(0)
asyncio.run(main())
";

/// The Python process of a release; it ends with this one, whose pipe it reads.
struct Pool {
    asked: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Does something with the pool of a release, alone.
#[expect(clippy::zombie_processes, reason = "it lives as long as this process")]
fn with_pool<T>(release: Release, act: impl FnOnce(&mut Pool) -> T) -> T {
    static POOLS: [Mutex<Option<Pool>>; 2] = [Mutex::new(None), Mutex::new(None)];
    let mut pool = POOLS[release as usize].lock().unwrap_or_else(PoisonError::into_inner);
    act(pool.get_or_insert_with(|| {
        let mut python = Command::new(release.python())
            .args(["-c", SCHEDULERS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(python.stdout.take().unwrap()).lines();
        Pool { asked: python.stdin.take().unwrap(), answers }
    }))
}

fn new_scheduler(release: Release) -> String {
    with_pool(release, |pool| {
        pool.asked.write_all(b"\n").unwrap();
        pool.answers.next().unwrap().unwrap()
    })
}

/// A scheduler and its native worker, ended when this is dropped.
struct Native {
    release: Release,
    scheduler: String,
    worker: Child,
}

impl Drop for Native {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
        // The pool may be at its end as well.
        let _ = with_pool(self.release, |pool| writeln!(pool.asked, "{}", self.scheduler));
    }
}

/// A client of a cluster of its own, with one native worker; options are those of
/// `local://`. The cluster ends with the runtime.
pub(crate) async fn client(release: Release, options: &str) -> Client {
    let address = tokio::task::spawn_blocking(move || new_scheduler(release)).await.unwrap();
    let of_workers =
        |option: &&str| ["workers=", "spares=", "pool."].iter().any(|it| option.starts_with(it));
    let (mut workers, rest): (Vec<&str>, Vec<&str>) = options.split('&').partition(of_workers);
    // Of both: how large a payload may be.
    workers.extend(rest.iter().filter(|option| option.starts_with("max_payload=")));
    let worker = crate::support::server::binary()
        .args(["outboard_test_worker", "--exact", "--nocapture"])
        .env("OUTBOARD_WORKER", format!("{address}?{}", workers.join("&")))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let cluster = Native { release, scheduler: address.clone(), worker };
    tokio::spawn(async move {
        let _cluster = cluster;
        std::future::pending::<()>().await;
    });
    let client = Client::connect(&format!("{address}?{}", rest.join("&"))).await.unwrap();
    eventually("the native worker joins", || client.admin().snapshot().per_worker.len() == 1).await;
    client
}

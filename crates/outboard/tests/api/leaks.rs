//! What is left of many tasks, whichever way they end: nothing, on either side.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use outboard::{Client, TaskFuture};

use crate::chaos::Left;
use crate::support::scratch::note;
use crate::support::server::{Server, binary};
use crate::support::tasks::pid;
use crate::support::{eventually, run};

/// How many tasks, and how many of them before memory is looked at first.
const TASKS: usize = 200_000;
const WARM: usize = 40_000;

/// How many are under way at once.
const BURST: usize = 500;

/// How much a process may have grown over the other tasks, in bytes: less than
/// 26 bytes for each.
const GROWTH: u64 = 4 << 20;

#[test]
fn two_hundred_thousand_tasks_leave_nothing_behind() {
    run(async {
        let mut command = binary();
        command.env("RUST_BACKTRACE", "0");
        let mut server = Server::start_as("leaks", command);
        server.succeeds().await;
        println!("{}", server.says("outcome").await.join("\n"));
    });
}

/// A task that gives its arguments back, or fails.
fn echo(n: usize, padding: Vec<u8>) -> Result<Vec<u8>, usize> {
    match n % 5 {
        0 => Err(n),
        1 if n % 125 == 1 => std::panic::panic_any("no message is as short"),
        _ => Ok(padding),
    }
}

/// The scenario: in a process of its own, because it counts what is left.
pub(crate) fn play(at: &Path) {
    run(async {
        tokio::spawn(async {}).await.unwrap();
        let before = Left::here();
        let client = Client::local().workers(2).spares(0).await.unwrap();
        let mut first = None;
        for burst in 0..TASKS / BURST {
            if burst * BURST == WARM {
                first = Some(Memory::here(&client).await);
            }
            end_in_every_way(&client, burst).await;
        }
        let (first, last) = (first.unwrap(), Memory::here(&client).await);
        let text = format!("{first:?} after {WARM} tasks, {last:?} after {TASKS}");
        assert!(last.server <= first.server + GROWTH, "the server grew: {text}");
        assert!(last.worker <= first.worker + GROWTH, "a worker grew: {text}");
        assert!(last.children <= first.children, "{text}");
        note(at, "outcome", &text);
        let counted = client.admin().snapshot();
        let all = counted.submitted + counted.coalesced;
        assert!(all as usize >= TASKS && counted.failed > 0, "{counted:?}");
        assert!(counted.cancelled > 0 && counted.timed_out > 0, "{counted:?}");
        client.shutdown().await;
        drop(client);
        eventually(format_args!("{before:?} is left"), || Left::here() == before).await;
    });
}

/// Tasks whose results are used, whose futures are dropped, cancelled, detached,
/// and which time out; of some tenants, with some keys.
async fn end_in_every_way(client: &Client, burst: usize) {
    let tenant = client.tenant(format!("tenant {}", burst % 50));
    // A task that runs is not killed for its drop: workers are to live on.
    let tenant = tenant.grace(Duration::from_secs(60));
    let futures: Vec<TaskFuture<_>> = (0..BURST)
        .map(|n| {
            let bytes = if n % 100 == 0 { 20_000 } else { n % 50 };
            let args = (n, vec![n as u8; bytes]);
            match n % 10 {
                0 => tenant.timeout(Duration::from_micros(1)).submit(echo, args),
                1 => tenant.key(format!("key {}", n % 30)).submit(echo, args),
                _ => tenant.submit(echo, args),
            }
        })
        .collect();
    let mut kept = Vec::new();
    for (n, future) in futures.into_iter().enumerate() {
        match n % 4 {
            0 => drop(future),
            1 => {
                future.cancel();
                kept.push(future);
            }
            2 if n % 50 == 2 => future.detach(),
            _ => kept.push(future),
        }
    }
    join_all(kept).await;
}

/// Resident memory of both sides, in bytes, and how many children there are.
#[derive(Debug)]
struct Memory {
    server: u64,
    worker: u64,
    children: usize,
}

impl Memory {
    /// When nothing is under way.
    async fn here(client: &Client) -> Self {
        eventually("all has ended", || client.admin().snapshot().running == 0).await;
        client.submit(pid, ()).await.unwrap();
        let children = crate::support::process::children(std::process::id());
        let worker = children.iter().filter_map(|pid| resident(&pid.to_string())).max();
        let server = resident("self").unwrap();
        Self { server, worker: worker.unwrap(), children: children.len() }
    }
}

fn resident(process: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

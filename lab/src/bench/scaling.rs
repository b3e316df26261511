//! 20 tasks on all workers, against the same 20 in as many bare processes.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use outboard::{Client, gather};
use tokio::runtime::Runtime;

use super::peer::{Peer, Role};
use super::plan::Plan;
use super::row::{Goal, Row, Unit};
use super::slices::{Subject, take_turns};
use super::work::{rounds_of, work};

const TASKS: usize = 20;

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let milliseconds = if plan.quick { 10 } else { 100 };
    let rounds = rounds_of(Duration::from_millis(milliseconds));
    let runtime = Runtime::new()?;
    let client = runtime.block_on(async { Client::local().await })?;
    let workers = client.admin().snapshot().workers;
    let start = |_| Peer::start(Role::Work, 0);
    let mut bare = (0..workers).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let [ours, bare] = take_turns(
        plan.time(),
        [
            Subject::single(|| {
                let start = Instant::now();
                runtime.block_on(gather((0..TASKS).map(|_| client.submit(work, rounds))))?;
                Ok(start.elapsed().as_secs_f64())
            }),
            Subject::single(|| in_processes(&mut bare, rounds)),
        ],
    )?
    .map(|one| one.column(0));
    runtime.block_on(client.shutdown());
    let name = format!("{TASKS} tasks of {milliseconds} ms");
    Ok(vec![Row::new(name, Unit::Seconds, ours, ("bare processes", bare), Goal::AtMost(1.1))])
}

/// Each process has the next one when it is through with the one before.
fn in_processes(bare: &mut [Peer], rounds: u64) -> anyhow::Result<f64> {
    let taken = AtomicUsize::new(0);
    let drive = |peer: &mut Peer| {
        while taken.fetch_add(1, Relaxed) < TASKS {
            peer.exchange(&rounds.to_le_bytes(), &mut [0; 8])?;
        }
        anyhow::Ok(())
    };
    let start = Instant::now();
    thread::scope(|scope| {
        let drivers: Vec<_> = bare.iter_mut().map(|peer| scope.spawn(|| drive(peer))).collect();
        let join = |driver: thread::ScopedJoinHandle<'_, _>| {
            driver.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
        };
        drivers.into_iter().try_for_each(join)
    })?;
    Ok(start.elapsed().as_secs_f64())
}

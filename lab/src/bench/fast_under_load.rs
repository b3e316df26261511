//! A quick page while every worker computes, against the same page while none
//! does.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::ensure;
use outboard::Client;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::http::Site;
use super::load::Generator;
use super::plan::Plan;
use super::process::wait_until;
use super::row::{Goal, Row, Unit};
use super::slices::{Subject, take_turns};
use super::work::{rounds_of, work};

/// How long each of the tasks runs that keep the workers busy.
const TASK: Duration = Duration::from_millis(5);

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let site = Site::start()?;
    let load = RefCell::new(Generator::start()?);
    let order = site.fast();
    let rounds = rounds_of(TASK);
    let ask = || load.borrow_mut().run(&order).map(|outcome| vec![outcome.p50, outcome.p99]);
    let [busy, idle] = take_turns(
        plan.time(),
        [
            Subject::new(|| {
                let saturation = Saturation::start(&site, rounds)?;
                let asked = ask();
                saturation.stop(&site.runtime)?;
                asked
            }),
            Subject::new(ask),
        ],
    )?;
    site.stop();
    let reference = ("all workers idle", idle.column(1));
    let row = Row::new("p99 of /fast", Unit::Seconds, busy.column(1), reference, Goal::AtMost(1.5))
        .beside("p50", busy.column(0))
        .beside("p50, all workers idle", idle.column(0));
    Ok(vec![row])
}

/// Two tasks for each worker, all the time: one that it runs and one that waits.
struct Saturation {
    over: Arc<AtomicBool>,
    callers: JoinSet<Result<(), outboard::Error>>,
}

impl Saturation {
    fn start(site: &Site, rounds: u64) -> anyhow::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        let workers = site.client.admin().snapshot().workers;
        for _ in 0..2 * workers {
            let caller = keep_busy(site.client.clone(), rounds, over.clone());
            callers.spawn_on(caller, site.runtime.handle());
        }
        let busy = || {
            let workers = site.client.admin().snapshot().per_worker;
            workers.iter().all(|worker| worker.busy || worker.standby)
        };
        wait_until("all workers are busy", busy)?;
        Ok(Self { over, callers })
    }

    fn stop(self, runtime: &Runtime) -> anyhow::Result<()> {
        let was_over = self.over.swap(true, Relaxed);
        ensure!(!was_over, "the workers had nothing to do any more");
        for ended in runtime.block_on(self.callers.join_all()) {
            ended?;
        }
        Ok(())
    }
}

async fn keep_busy(
    client: Client,
    rounds: u64,
    over: Arc<AtomicBool>,
) -> Result<(), outboard::Error> {
    while !over.load(Relaxed) {
        client.submit(work, rounds).await?;
    }
    Ok(())
}

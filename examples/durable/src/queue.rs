//! The queue: what is enqueued together with a report, and the handlers that take it up.

use std::time::Duration;

use anyhow::Context;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, TaskHandler, Worker, WorkerContext, WorkerOptions,
    WorkerRecoveryConfig, WorkerUtils,
};
use outboard::Client;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use tokio::sync::oneshot;

use crate::{Settings, compute, reports};

/// How often a handler looks whether its report was cancelled. That is a look at one row, and
/// nothing is lost if one is late.
const LOOK: Duration = Duration::from_millis(250);

/// How often the computation of a report is tried, if it fails.
const ATTEMPTS: i16 = 3;

/// The job of a report.
#[derive(Debug, Serialize, Deserialize)]
pub struct Render {
    report: i64,
}

/// The job that adds totals up.
#[derive(Debug, Serialize, Deserialize)]
struct AddUp {}

/// Enqueues a report in the transaction that inserts it: both are there, or none.
///
/// Among those that wait the smallest `priority` is first.
///
/// # Errors
///
/// The database's.
pub async fn enqueue(
    utils: &WorkerUtils,
    transaction: &mut PgConnection,
    pages: i32,
    priority: i16,
) -> anyhow::Result<i64> {
    let report = reports::insert(transaction, pages).await?;
    let spec = JobSpec {
        job_key: Some(key(report)),
        priority: Some(priority),
        max_attempts: Some(ATTEMPTS),
        ..JobSpec::default()
    };
    utils.clone().with_executor(transaction).add_job(Render { report }, spec).await?;
    Ok(report)
}

/// Cancels a report; whether it had not ended. What waits is removed from the queue, and the
/// handler of what runs sees it at its next look.
pub(crate) async fn cancel(
    utils: &WorkerUtils,
    transaction: &mut PgConnection,
    report: i64,
) -> anyhow::Result<bool> {
    let cancelled = reports::cancel(transaction, report).await?;
    if cancelled {
        utils.clone().with_executor(transaction).remove_job(&key(report)).await?;
    }
    Ok(cancelled)
}

fn key(report: i64) -> String {
    format!("report:{report}")
}

/// What handlers have.
#[derive(Clone, Debug)]
struct Shared {
    pool: PgPool,
    client: Client,
}

impl TaskHandler for Render {
    const IDENTIFIER: &'static str = "render";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let shared = context.get_ext::<Shared>().context("the server has set it")?;
        let Some((attempt, pages)) = reports::begin(&shared.pool, self.report).await? else {
            return Ok(());
        };
        let output = tokio::select! {
            output = shared.client.submit(compute::render, pages.unsigned_abs()) => output,
            // Dropping the future kills the worker process that computes.
            ended = stopped(&shared.pool, self.report, attempt) => return ended,
        };
        match output {
            Ok(output) => {
                reports::end(&shared.pool, self.report, attempt, "done", &output).await?;
                Ok(())
            }
            Err(error) => {
                let said = error.kind().as_str();
                reports::end(&shared.pool, self.report, attempt, "failed", said).await?;
                // The queue tries again, after a rest.
                Err(error.into())
            }
        }
    }
}

/// Waits until an attempt is not to go on.
async fn stopped(pool: &PgPool, report: i64, attempt: i32) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK).await;
        if !reports::goes_on(pool, report, attempt).await? {
            return Ok(());
        }
    }
}

impl TaskHandler for AddUp {
    const IDENTIFIER: &'static str = "add_up";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let shared = context.get_ext::<Shared>().context("the server has set it")?;
        let pages = reports::done_pages(&shared.pool).await?;
        let total = shared.client.submit(compute::total, pages).await?;
        reports::note_total(&shared.pool, total).await?;
        anyhow::Ok(())
    }
}

/// What takes jobs up until the other end of `ended` is dropped: as many at once as there are
/// workers, so that the others wait in the database, where any server may take them up.
///
/// # Errors
///
/// The database's, or that the times of cron are none.
pub(crate) async fn worker(
    settings: &Settings,
    pool: PgPool,
    client: Client,
    workers: usize,
    ended: oneshot::Receiver<()>,
) -> anyhow::Result<Worker> {
    let patience = settings.patience;
    let recovery = WorkerRecoveryConfig::default()
        .heartbeat_interval(patience / 6)
        .sweep_interval(patience / 3)
        .sweep_threshold(patience)
        .recovery_delay(Duration::ZERO);
    let options = WorkerOptions::default()
        .concurrency(workers)
        .worker_recovery(recovery)
        // It would hear signals only some time after the server listens, and SIGPIPE as well.
        .listen_os_shutdown_signals(false)
        .shutdown_signal(async { drop(ended.await) })
        .define_job::<Render>()
        .define_job::<AddUp>()
        // Also what a server missed while none was up, of the last day.
        .with_cron(format!("{} add_up ?fill=1d {{}}", settings.cron))?
        .add_extension(Shared { pool: pool.clone(), client })
        .pg_pool(pool);
    Ok(options.init().await?)
}

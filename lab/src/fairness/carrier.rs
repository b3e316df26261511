//! The arrangements that are compared: what carries a task to a core.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;
use outboard::Client;
use serde::Serialize;
use tokio::task::spawn_blocking;

use crate::tasks;

/// The pool in which it is measured, if it is in one.
const POOL: &str = "measured";

/// One arrangement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Arrangement {
    /// Each tenant has its fair share, and no more than all workers but one.
    Capped,
    /// Each tenant has its fair share: what a client does by itself.
    Uncapped,
    /// Nobody names a tenant, and no worker is kept free.
    SharesOff,
    /// tokio's `spawn_blocking`.
    Threads,
}

/// An arrangement that stands.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub(super) arrangement: Arrangement,
    /// None for threads.
    client: Option<Client>,
}

impl Arrangement {
    pub(super) const ALL: [Self; 4] =
        [Self::Capped, Self::Uncapped, Self::SharesOff, Self::Threads];

    fn url(self, workers: usize, in_pool: bool) -> Option<String> {
        let option = match self {
            Self::Capped => &format!("&tenant_limit={}", workers - 1),
            Self::Uncapped => "",
            Self::SharesOff => "&tenant_reserve=0",
            Self::Threads => return None,
        };
        Some(match in_pool {
            true => format!("local://?workers=1{option}&pool.{POOL}.workers={workers}"),
            false => format!("local://?workers={workers}{option}"),
        })
    }
}

impl fmt::Display for Arrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capped => "capped",
            Self::Uncapped => "uncapped",
            Self::SharesOff => "shares off",
            Self::Threads => "threads",
        })
    }
}

impl Carrier {
    /// Starts what the arrangement needs.
    pub(super) async fn start(
        arrangement: Arrangement,
        workers: usize,
        in_pool: bool,
    ) -> anyhow::Result<Self> {
        let client = match arrangement.url(workers, in_pool) {
            Some(url) if in_pool => Some(Client::connect(&url).await?.pool(POOL)),
            Some(url) => Some(Client::connect(&url).await?),
            None => None,
        };
        Ok(Self { arrangement, client })
    }

    /// Computes fib(`n`) for a tenant, and gives how long it ran.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the task, but not on threads.
    pub(super) async fn compute(&self, tenant: &str, n: u64) -> anyhow::Result<Duration> {
        let (fib, run_time) = match &self.client {
            Some(client) => {
                let client = match self.arrangement {
                    Arrangement::SharesOff => client.clone(),
                    _ => client.tenant(tenant),
                };
                let (fib, report) = client.submit(tasks::fib, n).with_report().await?;
                (fib, report.run_time)
            }
            None => spawn_blocking(move || timed(n)).await?,
        };
        ensure!(fib == tasks::fib_by_addition(n), "{}: fib({n}) gave {fib}", self.arrangement);
        Ok(run_time)
    }

    /// Whether what was dropped goes on all the same.
    pub(super) fn cannot_stop(&self) -> bool {
        self.client.is_none()
    }

    /// Waits until nothing is left to do and all workers are there.
    pub(super) async fn idle(&self) {
        let Some(client) = &self.client else { return };
        loop {
            let now = client.admin().snapshot();
            let up = now.per_worker.iter().filter(|worker| !worker.standby).count();
            if now.running + now.queued == 0 && up >= now.workers {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) async fn end(self) {
        if let Some(client) = self.client {
            client.shutdown().await;
        }
    }
}

fn timed(n: u64) -> (u64, Duration) {
    let start = Instant::now();
    (tasks::fib(n), start.elapsed())
}

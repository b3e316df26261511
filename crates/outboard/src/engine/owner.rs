//! Keeps an engine running as long as a client or a future needs it.

use std::sync::{Arc, OnceLock};

use futures_util::future::{join_all, try_join_all};

use super::Gate;
use super::pools::{PoolId, Pools};
use crate::error::Error;
use crate::observe::snapshot::Snapshot;
use crate::value::scatter::home::Home;

/// Keeps an engine running as long as someone may want something of it.
#[derive(Debug)]
pub(crate) struct Owner {
    pools: Pools,
    /// What was scattered, from the first time on.
    home: OnceLock<Arc<Home>>,
}

impl Owner {
    pub(crate) fn new(pools: Pools) -> Arc<Self> {
        Arc::new(Self { pools, home: OnceLock::new() })
    }

    /// The engine behind gates, when each has its first slot up, but for those that are lazy; it
    /// ends if one will have none.
    pub(crate) async fn when_up(pools: Pools) -> Result<Arc<Self>, Error> {
        let owner = Self::new(pools);
        let eager = owner.gates().iter().filter(|gate| !gate.is_lazy());
        if let Err(error) = try_join_all(eager.map(|gate| gate.up())).await {
            owner.shutdown().await;
            return Err(error);
        }
        Ok(owner)
    }

    /// The gate of the default pool.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        self.pools.default_pool()
    }

    /// The gates of all pools.
    pub(crate) fn gates(&self) -> &[Arc<Gate>] {
        self.pools.all()
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.pools
    }

    /// The gate of a pool.
    pub(crate) fn pool(&self, pool: PoolId) -> &Arc<Gate> {
        self.pools.get(pool)
    }

    /// Takes nothing new, and waits until everything is done.
    pub(crate) async fn drain(&self) {
        join_all(self.gates().iter().map(|gate| gate.drain())).await;
    }

    /// Ends the engine and all tasks at once, and waits for that.
    pub(crate) async fn shutdown(&self) {
        self.gates().iter().for_each(|gate| gate.end(&Error::closed("it was shut down")));
        join_all(self.gates().iter().map(|gate| gate.ended())).await;
    }

    /// Counters at this moment: of all pools, and of each where there are several.
    pub(crate) fn snapshot(&self) -> Snapshot {
        match self.gates() {
            [gate] => gate.snapshot(),
            gates => Snapshot::sum(gates.iter().map(|gate| gate.pool_snapshot()).collect()),
        }
    }

    /// Where scattered values are kept, once there are any.
    pub(crate) fn home(&self) -> Option<&Arc<Home>> {
        self.home.get()
    }

    /// Where scattered values are kept, from now on.
    ///
    /// # Errors
    ///
    /// `Closed` or `Unavailable` where no task could have one.
    pub(crate) fn open_home(&self) -> Result<&Arc<Home>, Error> {
        let workers = self.pools.workers()?;
        let most_bytes = self.gate().limits().payload;
        Ok(self.home.get_or_init(|| Home::new(workers, most_bytes)))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.gates().iter().for_each(|gate| gate.release());
    }
}

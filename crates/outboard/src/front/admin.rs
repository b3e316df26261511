//! What an operator asks of a client and does to its workers.

use std::fmt;
use std::sync::Arc;

use crate::engine::Gate;
use crate::engine::owner::Owner;
use crate::engine::pools::PoolId;
use crate::error::Error;
use crate::ids::TaskId;

pub use crate::front::story::Story;
pub use crate::front::watch::{Batch, Watch};
pub use crate::ids::ParseTaskIdError;
pub use crate::observe::batches::BatchFigures;
pub use crate::observe::event::{Event, EventKind, ExitReason, RecycleReason, RunUsage};
pub use crate::observe::figures::{Figures, FunctionSnapshot, TenantSnapshot};
pub use crate::observe::histogram::Histogram;
pub use crate::observe::roster::{CrashReport, PanicReport, Restarts};
pub use crate::observe::snapshot::{
    CurrentTask, LineSnapshot, PoolSnapshot, Snapshot, WorkerSnapshot, WorkerState,
};

/// Shows and changes what an engine does, for operators and their pages.
///
/// From [`Client::admin`](crate::Client::admin). It speaks for all clones of that
/// client: their tasks, their workers, in all pools. [`pool`](Self::pool) gives the handle of
/// one pool.
///
/// # Drop
///
/// It keeps the engine running, as a clone of the client does.
///
/// # Examples
///
/// ```
/// # async fn example(client: outboard::Client) {
/// let now = client.admin().snapshot();
/// println!("{} tasks wait, {} run", now.queued, now.running);
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    owner: Arc<Owner>,
    /// The pool that it is for, if that is not all of them.
    pool: Option<PoolId>,
}

impl Admin {
    pub(crate) fn new(owner: Arc<Owner>) -> Self {
        Self { owner, pool: None }
    }

    /// The handle of one pool; `None` if the client has no pool of that name.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// if let Some(gpu) = client.admin().pool("gpu") {
    ///     println!("{} tasks wait for a GPU", gpu.snapshot().queued);
    ///     gpu.scale(4)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn pool(&self, name: &str) -> Option<Self> {
        let pool = self.owner.pools().find(name)?;
        Some(Self { owner: self.owner.clone(), pool: Some(pool) })
    }

    /// The gates that it is for.
    fn gates(&self) -> &[Arc<Gate>] {
        match self.pool {
            None => self.owner.gates(),
            Some(pool) => std::slice::from_ref(self.owner.pool(pool)),
        }
    }

    /// The state of the engine now: tasks, workers, the queue, counters.
    ///
    /// It is the sum over all pools, and [`Snapshot::per_pool`] has each.
    pub fn snapshot(&self) -> Snapshot {
        match self.pool {
            None => self.owner.snapshot(),
            Some(pool) => self.owner.pool(pool).snapshot(),
        }
    }

    /// Follows what happens to tasks and workers from now on.
    ///
    /// Without a watch no events are recorded, which costs nothing. With one, a task
    /// costs some hundred nanoseconds more; `benches/src/bin/watch_cost.rs` measures it.
    /// Above some 30,000 tasks in a second, not all are told.
    ///
    /// To know what there was before, take a [`Snapshot`] as well: after the watch, so
    /// that nothing is missed between the two.
    pub fn watch(&self) -> Watch {
        Watch::new(self.gates())
    }

    /// Keeps the last `events` events of each pool from now on, so that [`story`](Self::story) can
    /// tell them; 0 ends that.
    ///
    /// By default none are kept, unless there is a [`watch`](Self::watch). An event
    /// takes 72 bytes, and a task has three or four.
    pub fn record(&self, events: usize) {
        self.gates().iter().for_each(|gate| gate.record(events));
    }

    /// What happened to one task, event by event.
    ///
    /// `None` if no event of it is kept: it was long ago, or there was neither a
    /// [watch](Self::watch) nor a [record](Self::record).
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// let admin = client.admin();
    /// admin.record(10_000);
    /// let future = client.submit(|n: u64| n + 1, 1);
    /// let id = future.id();
    /// future.await?;
    /// if let Some(story) = id.and_then(|id| admin.story(id)) {
    ///     println!("{story}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn story(&self, task: TaskId) -> Option<Story> {
        self.gates().iter().find_map(|gate| Story::of(task, &gate.events_since(0, false).0))
    }

    /// Cancels a task for all callers that wait for it.
    ///
    /// Each of them gets an error of kind `Cancelled`, as if it had called
    /// [`TaskFuture::cancel`](crate::TaskFuture::cancel). `false` if the task had
    /// ended before.
    pub fn cancel_task(&self, task: TaskId) -> bool {
        self.gates().iter().any(|gate| gate.cancel_task(task))
    }

    /// Replaces a worker, by its number in a [`Snapshot`].
    ///
    /// Another one is started first, and takes over when it is ready; the old one
    /// finishes what it runs. `false` if no worker with that number serves, or its
    /// engine cannot replace it: a thread of `inline`, or a worker of a cluster.
    pub fn recycle(&self, worker: usize) -> bool {
        self.gates().iter().any(|gate| gate.recycle(worker))
    }

    /// Changes the number of workers of a pool: that of this handle, else the default one.
    ///
    /// If there are too many, those that are not needed finish what they run, and
    /// leave.
    ///
    /// # Errors
    ///
    /// `Unavailable` on a cluster, whose workers are not this client's to start. The same
    /// for more workers than the limit of open files has room for, with the number that
    /// fits; `Closed` after [`shutdown`](crate::Client::shutdown).
    ///
    /// # Panics
    ///
    /// If it is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// client.admin().scale(8)?;
    /// # Ok(()) }
    /// ```
    pub fn scale(&self, workers: usize) -> Result<(), Error> {
        assert!(workers > 0, "at least one worker is needed");
        self.owner.pool(self.pool.unwrap_or_default()).scale(workers)
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("engine", &self.owner.gate().engine()).finish_non_exhaustive()
    }
}

//! Tasks whose arguments are still being encoded: they are owed, count in the bounds, and
//! cannot start.

use std::sync::Arc;

use super::{Asked, Key, Ledger, Next, Position, QueuePlace, Request, Task};
use crate::ids::TaskId;
use crate::value::args::{Args, ENCODED_AT_ONCE};

impl<W> Ledger<W> {
    /// What a submit takes of the bound in bytes: arguments, key, name of the tenant.
    /// Arguments that are still being encoded have more than [`ENCODED_AT_ONCE`] bytes; how
    /// many is asked for once they are there.
    pub(crate) fn asks_for(&self, request: &Request<'_>, key: Option<&Key>) -> usize {
        let named = key.map_or(0, Key::held_bytes) + request.options.tenant_bytes();
        match &request.args {
            Some(args) => args.len() + named,
            None => (ENCODED_AT_ONCE + named).min(self.bounds.bytes),
        }
    }

    /// A task whose arguments are still being encoded.
    pub(crate) fn preparing(&self, id: TaskId) -> Option<&Task> {
        self.task(id).filter(|task| matches!(task.position, Position::Preparing(_)))
    }

    /// The arguments of a task are encoded: it waits from now on. No other task has that key
    /// ([`shared`](Self::shared)).
    pub(crate) fn prepared(&mut self, id: TaskId, args: Args, key: Option<Arc<Key>>) -> Next {
        let Some(Position::Preparing(place)) = self.task(id).map(|task| task.position) else {
            return Next::Nothing;
        };
        if let Some(key) = key {
            self.keys.insert(key.clone(), id);
            let task = &mut self.tasks[id.0.key()];
            self.bytes -= task.held_bytes();
            task.seldom.get_or_insert_default().key = Some(key);
            self.bytes += task.held_bytes();
        }
        let task = &mut self.tasks[id.0.key()];
        self.bytes += args.len();
        task.args = args;
        task.position = Position::Queued(place);
        Next::Requeue(place, task.queued(id))
    }

    /// Those who wait for a task that is not prepared wait for another one instead, as if
    /// they had joined that at once. Gives the other's place, if that is to have the
    /// priority of the first.
    pub(crate) fn merge(&mut self, id: TaskId, other: TaskId) -> (Next, Option<QueuePlace>) {
        let waiters = self.waiters(id);
        let task = self.tasks.remove(id.0.key());
        self.bytes -= task.held_bytes();
        self.queued -= 1;
        let (priority, retries) = (task.place().priority(), task.retries);
        let asked = Asked { priority, retries, grace: task.grace(), backoff: task.backoff() };
        let mut better = None;
        for waiter in waiters {
            self.waiters[waiter.0.key()].task = other;
            better = better.or(self.share(other, waiter, asked));
        }
        (Next::Ended(task.place()), better)
    }
}

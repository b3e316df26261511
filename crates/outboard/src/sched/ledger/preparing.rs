//! Tasks whose arguments are still being encoded: they are owed, count in the bounds, and
//! cannot start.

use std::sync::Arc;

use super::{Key, Ledger, Next, Position, Request, Task};
use crate::ids::TaskId;
use crate::observe::event::EventKind;
use crate::observe::record::tell;
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

    /// The arguments of a task are encoded: it waits from now on. Those who wait for it
    /// wait for another one instead, if that has the same key by now.
    pub(crate) fn prepared(&mut self, id: TaskId, args: Args, key: Option<Arc<Key>>) -> Next {
        let Some(Position::Preparing(place)) = self.task(id).map(|task| task.position) else {
            return Next::Nothing;
        };
        if let Some(key) = key {
            if let Some(other) = self.keys.get(&key).copied().filter(|other| *other != id) {
                return self.merge(id, other);
            }
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

    /// Those who wait for a task that is not prepared wait for another one instead.
    fn merge(&mut self, id: TaskId, other: TaskId) -> Next {
        let waiters = self.waiters(id);
        let task = self.tasks.remove(id.0.key());
        self.bytes -= task.held_bytes();
        self.queued -= 1;
        tell(&mut self.record, || EventKind::Joined { task: other });
        let into = &mut self.tasks[other.0.key()];
        into.retries = into.retries.max(task.retries);
        into.share_terms(task.grace(), task.backoff());
        for waiter in waiters {
            self.waiters[waiter.0.key()].task = other;
            self.tasks[other.0.key()].waiters.push(waiter);
        }
        Next::Ended(task.place())
    }
}

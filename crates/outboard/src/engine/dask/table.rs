//! Pure: which slot has which task, and at which scheduler.
//!
//! Slots are places for tasks, no matter at which scheduler: there are as many
//! as the windows of all schedulers allow together. A task that starts is given
//! to the scheduler with most room. It is **queued** until its graph is written,
//! then **sent**; when nobody wants it any more it is **released**, and its slot
//! is free when the scheduler has been told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::graph::Terms;
use super::shelf::{Found, Kind, Named, Shelf, Upload};
use super::stream::Stream;
use super::wanted::Wanted;
use super::window::Window;
use crate::ids::{SlotId, TaskId};
use crate::task::outcome::Failure;
use crate::task::registry::Function;
use crate::value::payload::Payload;

/// How often a task may lose the values that it needs, with the workers that had
/// them, before it is lost itself: as often as Dask lets it lose its worker.
const LOSSES: u32 = 3;

/// Of a window of so many tasks, half keeps a scheduler busy for some milliseconds.
const MANY: usize = 256;

/// Everything that is at, or on its way to, the schedulers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: HashMap<SlotId, Vec<Held>>,
    /// How many slots there are to be.
    wanted: usize,
    schedulers: Vec<Scheduler>,
}

/// One scheduler.
#[derive(Debug, Default)]
struct Scheduler {
    up: bool,
    window: Window,
    held: usize,
    /// What has not left yet, in order.
    outbox: Vec<Outgoing>,
    keys: HashMap<String, (SlotId, TaskId)>,
    /// Which scattered values its workers have.
    shelf: Shelf,
}

/// A task at a slot.
#[derive(Debug)]
struct Held {
    task: TaskId,
    attempt: u32,
    key: String,
    scheduler: usize,
    since: Instant,
    state: State,
    /// What its worker must have, and since when nobody can execute it, for which reason.
    wanted: Wanted,
    stranded: Option<(Offered, Instant)>,
    /// Since when the scheduler does not know its key, as far as it was asked.
    unknown: Option<Instant>,
    /// Its result is being fetched.
    fetching: bool,
    /// As it was sent: it leaves again if the cluster loses it, or what it needs.
    again: Option<Box<Start>>,
    losses: u32,
    /// The number of its arguments, if they go straight to a worker.
    arguments: Option<u64>,
    /// What it sends items through, if it streams.
    stream: Option<Stream>,
    /// An item has arrived: it is not sent again.
    delivered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Sent,
    Released,
}

/// A task to be started.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    pub(crate) key: String,
    pub(crate) function: &'static Function,
    /// The pool that it is for, if it is for one.
    pub(crate) pool: Option<Arc<str>>,
    pub(crate) args: Payload,
    pub(crate) priority: i32,
    pub(crate) terms: Terms,
    pub(crate) values: Vec<Named>,
    /// What it sends items through, if it streams.
    pub(crate) stream: Option<Stream>,
    /// It was sent before: a worker is waited for that can execute it.
    pub(crate) again: bool,
}

/// What leaves for a scheduler.
#[derive(Debug)]
enum Outgoing {
    Start(Box<Start>),
    /// Nobody wants this key any more; that slot is through with it.
    Release(String, Option<(SlotId, TaskId)>),
    /// It was taken back before it left.
    Skipped(SlotId, TaskId),
}

/// All that leaves for a scheduler at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) released: Vec<String>,
    pub(crate) started: Vec<Start>,
    /// Slots that are free when this has left.
    pub(crate) skipped: Vec<(SlotId, TaskId)>,
    /// Scattered values that tasks wait for.
    pub(crate) uploads: Vec<Upload>,
    /// Keys of tasks whose values could not be uploaded.
    pub(crate) failed: Vec<(String, Failure)>,
}

/// A task that a scheduler has, as it is known by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) slot: SlotId,
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    /// When it was given to the scheduler.
    pub(crate) since: Instant,
    /// Whether Python executes it.
    pub(crate) python: bool,
}

/// What follows when the cluster has lost a task, or data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// It is uploaded or sent again.
    Again,
    /// The task had that happen too often.
    TooOften,
    /// It is nothing that can be sent again.
    Other,
}

impl Table {
    pub(crate) fn new(schedulers: usize, window: Window) -> Self {
        let schedulers =
            (0..schedulers).map(|_| Scheduler { window, ..Scheduler::default() }).collect();
        Self { slots: HashMap::new(), wanted: 0, schedulers }
    }

    /// A scheduler can be given tasks, and has so many threads.
    pub(crate) fn up(&mut self, at: usize, threads: usize) {
        let scheduler = &mut self.schedulers[at];
        scheduler.up = true;
        scheduler.window.threads(threads);
    }

    pub(crate) fn is_up(&self, at: usize) -> bool {
        self.schedulers[at].up
    }

    pub(crate) fn any_up(&self) -> bool {
        self.schedulers.iter().any(|scheduler| scheduler.up)
    }

    /// How many tasks the schedulers may hold together, which is how many slots there
    /// are to be from now on; `None` if that is as before.
    pub(crate) fn resize(&mut self) -> Option<usize> {
        let capacity = self.capacity();
        (std::mem::replace(&mut self.wanted, capacity) != capacity).then_some(capacity)
    }

    fn capacity(&self) -> usize {
        let up = self.schedulers.iter().filter(|scheduler| scheduler.up);
        up.map(|scheduler| scheduler.window.size()).sum()
    }

    /// How many slots are missing.
    pub(crate) fn missing(&self) -> usize {
        self.wanted.saturating_sub(self.slots.len())
    }

    /// One slot less is wanted.
    pub(crate) fn want_less(&mut self) {
        self.wanted = self.wanted.saturating_sub(1);
    }

    pub(crate) fn add_slot(&mut self, slot: SlotId) {
        self.slots.insert(slot, Vec::new());
    }

    /// Forgets a slot, and all that would be said of it later.
    pub(crate) fn remove_slot(&mut self, slot: SlotId) {
        for held in self.slots.remove(&slot).into_iter().flatten() {
            let scheduler = &mut self.schedulers[held.scheduler];
            scheduler.held -= 1;
            scheduler.forget(&held);
            scheduler.outbox.retain_mut(|one| match one {
                Outgoing::Start(start) => start.task != held.task,
                Outgoing::Skipped(at, _) => *at != slot,
                Outgoing::Release(_, at) => {
                    at.take_if(|(at, _)| *at == slot);
                    true
                }
            });
        }
    }

    /// Gives a task to the scheduler with most room; says to which.
    pub(crate) fn start(&mut self, now: Instant, slot: SlotId, start: Start) -> usize {
        let room = |scheduler: &Scheduler| {
            let size = scheduler.window.size() as i64;
            (scheduler.up, size - scheduler.held as i64)
        };
        let best = (0..self.schedulers.len()).max_by_key(|at| room(&self.schedulers[*at]));
        let at = best.expect("an engine has a scheduler");
        let scheduler = &mut self.schedulers[at];
        let Start { task, attempt, .. } = start;
        let (key, wanted, stream) = (start.key.clone(), start.wanted(None), start.stream.clone());
        let arguments = start.values.iter().find(|value| value.kind == Kind::Arguments);
        let arguments = arguments.map(|value| value.id);
        scheduler.held += 1;
        scheduler.keys.insert(key.clone(), (slot, task));
        scheduler.outbox.push(Outgoing::Start(Box::new(start)));
        let held = Held {
            task,
            attempt,
            key,
            scheduler: at,
            since: now,
            state: State::Queued,
            wanted,
            stranded: None,
            unknown: None,
            fetching: false,
            again: None,
            losses: 0,
            arguments,
            stream,
            delivered: false,
        };
        self.slots.entry(slot).or_default().push(held);
        at
    }

    fn find(&mut self, slot: SlotId, task: TaskId) -> Option<&mut Held> {
        let held = self.slots.get_mut(&slot)?;
        held.iter_mut().find(|held| held.task == task && held.state != State::Released)
    }

    /// Nobody wants a task any more. True if it had not left; then, or when its
    /// release has left, its slot is among those of the [`Batch`]. Says which
    /// scheduler has it.
    pub(crate) fn stop(&mut self, slot: SlotId, task: TaskId) -> Option<(bool, usize)> {
        let held = self.find(slot, task)?;
        let (unsent, at) = (held.state == State::Queued, held.scheduler);
        held.state = State::Released;
        let (key, arguments) = (held.key.clone(), held.arguments);
        let scheduler = &mut self.schedulers[at];
        scheduler.keys.remove(&key);
        match unsent {
            true => {
                scheduler.unqueue(task);
                scheduler.outbox.push(Outgoing::Skipped(slot, task));
            }
            false => scheduler.outbox.push(Outgoing::Release(key, Some((slot, task)))),
        }
        scheduler.forget_value(arguments);
        Some((unsent, at))
    }

    /// Takes back what has not left.
    pub(crate) fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId> {
        let held = self.slots.get(&slot).into_iter().flatten();
        let queued: Vec<TaskId> =
            held.filter(|held| held.state == State::Queued).map(|held| held.task).collect();
        for task in &queued {
            self.stop(slot, *task);
        }
        queued
    }

    /// Whether a task has left.
    pub(crate) fn has_left(&self, slot: SlotId, task: TaskId) -> bool {
        let mut held = self.slots.get(&slot).into_iter().flatten();
        held.any(|held| held.task == task && held.state == State::Sent)
    }

    /// How long a slot has had a task.
    pub(crate) fn held_for(&self, now: Instant, slot: SlotId, task: TaskId) -> Option<Duration> {
        let held = self.slots.get(&slot)?.iter().find(|held| held.task == task)?;
        Some(now.saturating_duration_since(held.since))
    }

    /// How much waits to leave for a scheduler.
    pub(crate) fn waiting(&self, at: usize) -> usize {
        self.schedulers[at].outbox.len()
    }

    /// Whether what waits to leave may wait a moment for more: the scheduler has so
    /// much to do that nothing stands still, and no task waits to be stopped.
    pub(crate) fn may_gather(&self, at: usize) -> bool {
        let Scheduler { window, held, outbox, .. } = &self.schedulers[at];
        let (size, waiting) = (window.size(), outbox.len());
        let calm = |one: &Outgoing| matches!(one, Outgoing::Start(_) | Outgoing::Release(_, None));
        size >= MANY
            && waiting < size / 4
            && held.saturating_sub(waiting) >= size / 2
            && outbox.iter().all(calm)
    }

    /// Takes all that can leave for a scheduler, which counts as sent: not what
    /// names values that have to be uploaded first.
    pub(crate) fn take(&mut self, at: usize) -> Batch {
        let mut batch = Batch::default();
        let Scheduler { outbox, shelf, .. } = &mut self.schedulers[at];
        shelf.begin();
        for one in std::mem::take(outbox) {
            match one {
                Outgoing::Start(mut start) => {
                    let wanted = start.wanted(None);
                    match shelf.look(&mut start.values, &wanted, &mut batch.uploads) {
                        Found::There => batch.started.push(*start),
                        Found::Coming => outbox.push(Outgoing::Start(start)),
                        Found::Failed(failure) => batch.failed.push((start.key, failure)),
                    }
                }
                Outgoing::Release(key, slot) => {
                    batch.released.push(key);
                    batch.skipped.extend(slot);
                }
                Outgoing::Skipped(slot, task) => batch.skipped.push((slot, task)),
            }
        }
        shelf.end();
        for start in &batch.started {
            self.sent(at, &start.key, Some(Box::new(start.clone())));
        }
        batch.failed.iter().for_each(|(key, _)| self.sent(at, key, None));
        batch
    }

    fn sent(&mut self, at: usize, key: &str, again: Option<Box<Start>>) {
        let Some((slot, task)) = self.schedulers[at].keys.get(key).copied() else { return };
        if let Some(held) = self.find(slot, task) {
            (held.state, held.again) = (State::Sent, again);
        }
    }

    /// The task that a scheduler knows by a key, if it is wanted.
    pub(crate) fn by_key(&self, at: usize, key: &str) -> Option<Entry> {
        let (slot, task) = *self.schedulers[at].keys.get(key)?;
        let held = self.slots.get(&slot)?.iter().find(|held| held.is(task, key))?;
        let Held { attempt, since, ref wanted, .. } = *held;
        Some(Entry { slot, task, attempt, since, python: wanted.function.python })
    }

    /// Whether the result of a key is to be fetched now: it is wanted, and nobody
    /// fetches it yet.
    pub(crate) fn claim(&mut self, at: usize, key: &str) -> bool {
        let held = self.held_mut(at, key);
        held.is_some_and(|held| !std::mem::replace(&mut held.fetching, true))
    }

    /// The result of a key is not fetched any more: it is not there.
    pub(crate) fn unclaim(&mut self, at: usize, key: &str) {
        if let Some(held) = self.held_mut(at, key) {
            held.fetching = false;
        }
    }

    /// The stream of a task that a scheduler has and that has not ended there, and whether an
    /// item has arrived.
    pub(crate) fn stream(&mut self, at: usize, key: &str) -> Option<(Stream, bool)> {
        let held = self.held_mut(at, key).filter(|held| !held.fetching)?;
        Some((held.stream.clone()?, held.delivered))
    }

    /// An item of a task has arrived.
    pub(crate) fn delivered(&mut self, at: usize, key: &str) {
        if let Some(held) = self.held_mut(at, key) {
            held.delivered = true;
        }
    }

    /// Where a task is that has left, and the key by which it is known there.
    pub(crate) fn place(&self, slot: SlotId, task: TaskId) -> Option<(usize, &str)> {
        let held = self.slots.get(&slot)?.iter().find(|held| held.task == task)?;
        (held.state == State::Sent).then_some((held.scheduler, held.key.as_str()))
    }

    fn held_mut(&mut self, at: usize, key: &str) -> Option<&mut Held> {
        let (slot, task) = *self.schedulers[at].keys.get(key)?;
        self.slots.get_mut(&slot)?.iter_mut().find(|held| held.is(task, key))
    }

    /// A task has ended; its key is to be released.
    pub(crate) fn ended(&mut self, now: Instant, at: usize, key: &str) {
        let Some(entry) = self.by_key(at, key) else { return };
        let scheduler = &mut self.schedulers[at];
        let after = now.saturating_duration_since(entry.since);
        scheduler.window.ended(after, scheduler.held);
        scheduler.outbox.push(Outgoing::Release(key.to_owned(), None));
        self.freed(entry.slot, entry.task);
    }

    /// A slot is through with a task.
    pub(crate) fn freed(&mut self, slot: SlotId, task: TaskId) {
        let Some(all) = self.slots.get_mut(&slot) else { return };
        let Some(place) = all.iter().position(|held| held.task == task) else { return };
        let held = all.swap_remove(place);
        let scheduler = &mut self.schedulers[held.scheduler];
        scheduler.held -= 1;
        scheduler.forget(&held);
    }

    /// An upload for a scheduler's workers has ended.
    pub(crate) fn arrived(&mut self, at: usize, key: &str, result: Result<(), Failure>) {
        let scheduler = &mut self.schedulers[at];
        if !scheduler.shelf.arrived(key, result) {
            scheduler.outbox.push(Outgoing::Release(key.to_owned(), None));
        }
    }

    /// Nobody has a scattered value any more: the schedulers that are to be told.
    pub(crate) fn forget_value(&mut self, id: u64) -> Vec<usize> {
        let all = self.schedulers.iter_mut().enumerate();
        all.filter_map(|(at, scheduler)| scheduler.forget_value(Some(id)).then_some(at)).collect()
    }

    /// What is known of the values of a scheduler's workers.
    pub(crate) fn shelf(&mut self, at: usize) -> &mut Shelf {
        &mut self.schedulers[at].shelf
    }

    /// A scheduler's workers have lost a value, or what a task needs: the value is
    /// uploaded again, and the task leaves again, when there is need.
    pub(crate) fn missed(&mut self, at: usize, key: &str) -> Missed {
        if self.schedulers[at].shelf.lost(key) {
            return Missed::Again;
        }
        let Some(held) = self.held_mut(at, key) else { return Missed::Other };
        if held.delivered {
            return Missed::TooOften;
        }
        let names_values = held.again.as_ref().is_some_and(|start| !start.values.is_empty());
        if names_values && held.losses == LOSSES {
            return Missed::TooOften;
        }
        let Some(start) = held.again.take_if(|_| names_values) else { return Missed::Other };
        held.requeue();
        held.losses += 1;
        let Scheduler { outbox, shelf, .. } = &mut self.schedulers[at];
        shelf.left(&start.values);
        // Which one it was is not said: of those that are not lost, a new copy is made.
        let lost = start.values.iter().filter(|value| shelf.lost(&value.key));
        outbox.extend(lost.map(|value| Outgoing::Release(value.key.clone(), None)));
        outbox.push(Outgoing::Start(start));
        Missed::Again
    }

    /// A scheduler is gone: the slots that had something there, with what they
    /// had sent. What had not left stays for [`withdraw`](Self::withdraw).
    pub(crate) fn down(&mut self, at: usize) -> Vec<(SlotId, Vec<(TaskId, u32)>)> {
        self.schedulers[at].up = false;
        self.schedulers[at].shelf.clear();
        self.schedulers[at].outbox.retain(|one| matches!(one, Outgoing::Start(_)));
        let there = |all: &Vec<Held>| all.iter().any(|held| held.scheduler == at);
        let slots = self.slots.iter().filter(|(_, all)| there(all));
        let sent = |held: &&Held| held.state == State::Sent;
        slots
            .map(|(slot, all)| {
                let tasks = all.iter().filter(sent).map(|held| (held.task, held.attempt));
                (*slot, tasks.collect())
            })
            .collect()
    }
}

impl Start {
    /// What its worker must have, if it goes to a native one, or to one with a program of a build
    /// beside it.
    pub(super) fn wanted(&self, build: Option<&'static str>) -> Wanted {
        Wanted { function: self.function, build, pool: self.pool.clone() }
    }
}

impl Held {
    /// It is to leave again.
    fn requeue(&mut self) {
        (self.state, self.fetching) = (State::Queued, false);
        (self.stranded, self.unknown) = (None, None);
    }

    fn is(&self, task: TaskId, key: &str) -> bool {
        self.task == task && self.key == key && self.state == State::Sent
    }
}

impl Scheduler {
    /// Nobody has a value any more; whether that is to be told.
    fn forget_value(&mut self, id: Option<u64>) -> bool {
        let key = id.and_then(|id| self.shelf.forget(id));
        let release = key.map(|key| Outgoing::Release(key, None));
        let told = release.is_some();
        self.outbox.extend(release);
        told
    }

    fn unqueue(&mut self, task: TaskId) {
        let is_it = |one: &Outgoing| matches!(one, Outgoing::Start(start) if start.task == task);
        // From the back: it is among the latest.
        if let Some(place) = self.outbox.iter().rposition(is_it) {
            self.outbox.remove(place);
        }
    }

    fn forget(&mut self, held: &Held) {
        if let Some(start) = &held.again {
            self.shelf.left(&start.values);
        }
        self.forget_value(held.arguments);
        // The key may be another task's by now, if both are the same call.
        if self.keys.get(&held.key).is_some_and(|(_, task)| *task == held.task) {
            self.keys.remove(&held.key);
        }
    }
}

mod stranded;
pub(crate) use stranded::{Offered, PATIENCE, Said};

#[cfg(test)]
mod tests;

//! Batches: tasks of one function that a slot executes in one call.
//!
//! [`assign`](Placement::assign) gives a task to a slot. If its function takes batches,
//! [`join`](Placement::join) gives more of its tasks to the same slot, those first whose turn it
//! is. A batch has its slot to itself: it goes to an empty one, and nothing is sent ahead behind
//! it. So what waits while slots are busy forms the next batch. Its members take no slot from
//! anyone, so they join whatever their tenants hold.
//!
//! A function may ask for a batch to be **held open**. Its tasks are then held beside the queue,
//! where they keep no slot idle and no other task from its turn. They enter the queue together:
//! when the oldest has waited so long, when a batch is full, or when another batch of the
//! function starts. The wait counts from the submit, so that nothing is held that waited for
//! a slot already.
//!
//! Members share what their slot did since it was through with the task before: each tenant is
//! charged for its part.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use super::{Outstanding, Placement, Slot};
use crate::ids::{SlotId, TaskId};
use crate::observe::batches::{BatchCounts, BatchFigures};
use crate::sched::shares::{QueuePlace, Queued};
use crate::task::batch::Batching;
use crate::task::registry::Function;

/// The functions that take batches, and their tasks that are held.
#[derive(Debug, Default)]
pub(super) struct Batches {
    functions: BTreeMap<NonZeroU16, Kind>,
    /// How many tasks are held.
    held: usize,
}

/// A function that takes batches.
#[derive(Debug)]
struct Kind {
    terms: Batching,
    /// Its tasks that are held, by their order in the queue.
    held: BTreeMap<u64, (QueuePlace, Queued)>,
    counts: BatchCounts,
}

impl Kind {
    /// When the batch that is held open has to go.
    fn due(&self) -> Option<Instant> {
        let first = |(_, queued): &(_, Queued)| queued.submitted.at();
        let oldest = self.held.values().map(first).min()?;
        Some(oldest + self.terms.wait)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.held.len() >= usize::from(self.terms.most) || self.due().is_some_and(|due| due <= now)
    }
}

impl Batches {
    /// The most tasks of a batch of that function.
    fn most(&self, number: NonZeroU16) -> usize {
        self.functions.get(&number).map_or(1, |kind| usize::from(kind.terms.most))
    }

    /// Holds a task back that is to wait for others; false if it is not.
    pub(super) fn hold(&mut self, place: QueuePlace, queued: Queued) -> bool {
        let kind = queued.batch.and_then(|number| self.functions.get_mut(&number));
        let Some(kind) = kind.filter(|kind| !kind.terms.wait.is_zero()) else { return false };
        self.held += usize::from(kind.held.insert(place.order(), (place, queued)).is_none());
        true
    }

    /// A task that may be held ends, or gets another place.
    pub(super) fn replace(&mut self, place: QueuePlace, better: Option<QueuePlace>) {
        if self.held == 0 {
            return;
        }
        for kind in self.functions.values_mut() {
            if let Some((_, queued)) = kind.held.remove(&place.order()) {
                match better {
                    Some(better) => drop(kind.held.insert(place.order(), (better, queued))),
                    None => self.held -= 1,
                }
            }
        }
    }

    /// Those that are held no longer, of all functions or of one, due or not.
    fn released(&mut self, now: Instant, of: Option<NonZeroU16>) -> Vec<(QueuePlace, Queued)> {
        let mut released = Vec::new();
        if self.held == 0 {
            return released;
        }
        for (number, kind) in &mut self.functions {
            if kind.held.is_empty() || !(of == Some(*number) || kind.is_due(now)) {
                continue;
            }
            let opened = kind.due().map(|due| due - kind.terms.wait);
            kind.counts.held(opened.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)));
            released.extend(std::mem::take(&mut kind.held).into_values());
        }
        self.held -= released.len();
        released
    }

    /// When the first batch that is held open has to go.
    fn next_due(&self) -> Option<Instant> {
        if self.held == 0 { None } else { self.functions.values().filter_map(Kind::due).min() }
    }

    /// All that are held.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (QueuePlace, TaskId)> {
        let held = self.functions.values().flat_map(|kind| kind.held.values());
        held.map(|(place, queued)| (*place, queued.task))
    }
}

impl Placement {
    /// Tasks of this function come, and slots take batches of them.
    pub(crate) fn meets(&mut self, function: &Function) {
        if let (Some(number), Some(terms)) = (function.batch_number(), function.batching) {
            let (held, counts) = (BTreeMap::new(), BatchCounts::default());
            self.batches.functions.entry(number).or_insert(Kind { terms, held, counts });
        }
    }

    /// When a batch that is held open has to go.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.batches.next_due()
    }

    /// Those that were held long enough wait in the queue from now on; all of a function, if one
    /// is named.
    pub(super) fn release(&mut self, now: Instant, of: Option<NonZeroU16>) {
        for (place, queued) in self.batches.released(now, of) {
            self.shares.enqueue(place, queued);
        }
    }

    /// One more task for what [`assign`](Self::assign) gave to a slot last; to be called until it
    /// gives `None`.
    pub(crate) fn join(&mut self, now: Instant, id: SlotId) -> Option<TaskId> {
        let slot = self.slots.get(id.index())?;
        let (tasks, number) = (slot.outstanding.len(), slot.outstanding.front()?.batch?);
        if tasks >= self.batches.most(number) {
            return None;
        }
        self.release(now, Some(number));
        let (place, queued) = self.shares.take_member(now, number)?;
        self.give(now, id.index(), place, queued);
        let slot = &mut self.slots[id.index()];
        slot.outstanding.iter_mut().for_each(|one| one.grouped = true);
        Some(queued.task)
    }

    /// A slot was given so many tasks of a function for one call.
    pub(crate) fn started(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(id.index()) else { return };
        let number = slot.outstanding.front().and_then(|one| one.batch);
        let kind = number.and_then(|number| self.batches.functions.get_mut(&number));
        if let Some(kind) = kind {
            kind.counts.started(slot.outstanding.len());
        }
    }

    /// Whether a slot has a task together with others.
    pub(crate) fn is_grouped(&self, id: SlotId, task: TaskId) -> bool {
        let one = self.slots.get(id.index()).and_then(|slot| slot.find(task));
        one.is_some_and(|one| one.grouped)
    }

    /// A task left the batch that it is in, which goes on for the others; whether there are any.
    pub(crate) fn leave(&mut self, id: SlotId, task: TaskId) -> bool {
        let Some(slot) = self.slots.get_mut(id.index()) else { return false };
        let mut live = slot.outstanding.iter_mut().rev().filter(|one| !one.revoked);
        if let Some(one) = live.find(|one| one.task == task) {
            one.left = true;
        }
        slot.live().any(|one| !one.left)
    }

    /// How the batches of a function were.
    pub(crate) fn batch_figures(&self, number: NonZeroU16) -> Option<BatchFigures> {
        Some(self.batches.functions.get(&number)?.counts.figures())
    }
}

impl Slot {
    /// The latest sending of a task that was not taken back.
    fn find(&self, task: TaskId) -> Option<&Outstanding> {
        self.outstanding.iter().rev().find(|one| one.task == task && !one.revoked)
    }

    /// Whether it has a task of a function that takes batches: nothing is sent behind that.
    pub(super) fn has_a_batch(&self) -> bool {
        self.outstanding.front().is_some_and(|one| one.batch.is_some())
    }

    /// What a task that left the slot owes of the time that passed meanwhile, for which those
    /// that are in the batch with it owe their parts.
    pub(super) fn part_ns(&mut self, one: &Outstanding, passed_ns: u64) -> u64 {
        if !one.grouped || one.revoked {
            return one.owed_ns + passed_ns;
        }
        let others = self.outstanding.iter_mut().filter(|other| other.grouped && !other.revoked);
        let others: Vec<&mut Outstanding> = others.collect();
        let (count, part_ns) = (others.len() as u64, passed_ns / (others.len() as u64 + 1));
        others.into_iter().for_each(|other| other.owed_ns += part_ns);
        one.owed_ns + passed_ns - count * part_ns
    }
}

#[cfg(test)]
mod tests;

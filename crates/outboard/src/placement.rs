//! What runs where and when: the queue, and the slots that tasks are given to.
//!
//! Pure: events and the time come in, assignments come out. A **slot** is what
//! executes one task at a time (local and inline: a worker). States of a slot:
//!
//! | state | event | next |
//! |---|---|---|
//! | (none) | `slot_up` | up, empty |
//! | up | `assign` gave it a task | up, one more outstanding |
//! | up, outstanding | `freed` | up, one fewer |
//! | up | `slot_closing` | closing: gets no more tasks |
//! | any | `slot_down` | (none) |
//!
//! The queue is strict by priority, then first in, first out. A task that was
//! given to a slot and taken back keeps its place, and so returns to the front.
//!
//! **Sent ahead.** A slot may be given a few tasks while it runs one, so that
//! microsecond tasks stream. The depth follows the run times that were
//! measured: about [`AHEAD`] worth of work, one task when runs are longer or
//! unknown, and one when a slot has made no progress for [`STALE`]. Large
//! arguments are never sent ahead. [`steal`](Placement::steal) names tasks to
//! take back: when a slot is empty and so is the queue, and when a slot makes no
//! progress while newer tasks wait, which would overtake what was sent to it.
//!
//! Invariants: a task is in the queue or in one slot, never in both; no slot
//! has more than [`MAX_DEPTH`] outstanding; an idle slot that is up and a
//! queued task do not both remain after `assign` gave `None`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::ledger::TaskId;

/// A place in the queue: less is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    priority: Reverse<i32>,
    order: u64,
}

impl Place {
    pub(crate) fn priority(self) -> i32 {
        self.priority.0
    }
}

/// Names a slot; reused after `slot_down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u32);

impl SlotId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The most tasks outstanding at one slot.
pub(crate) const MAX_DEPTH: usize = 64;

/// How much work is sent ahead to a slot.
const AHEAD: Duration = Duration::from_micros(500);

/// After how long without progress a slot is sent nothing ahead.
const STALE: Duration = Duration::from_millis(1);

/// The most bytes of arguments outstanding at one slot with tasks sent ahead.
const AHEAD_BYTES: usize = 64 << 10;

/// The queue and the slots.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    queue: BTreeMap<Place, Queued>,
    slots: Slab<Slot>,
    next_order: u64,
    /// Smoothed run time of tasks, in nanoseconds; `None` before the first.
    mean_run_ns: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    task: TaskId,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    closing: bool,
    outstanding: VecDeque<Outstanding>,
    bytes: usize,
    progress: Instant,
}

/// A task at a slot; `revoked` ones no longer count as work, but the slot has
/// not said yet that it skipped them.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    task: TaskId,
    bytes: usize,
    revoked: bool,
}

impl Placement {
    /// A new place at the end of its priority.
    pub(crate) fn place(&mut self, priority: i32) -> Place {
        self.next_order += 1;
        Place { priority: Reverse(priority), order: self.next_order }
    }

    /// A task waits at a place.
    pub(crate) fn enqueue(&mut self, place: Place, task: TaskId, bytes: usize) {
        self.queue.insert(place, Queued { task, bytes });
    }

    /// Whatever waited at a place no longer does.
    pub(crate) fn dequeue(&mut self, place: Place) {
        self.queue.remove(&place);
    }

    /// Nothing waits any more.
    pub(crate) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    /// Moves a waiting task to a better priority; gives its new place.
    pub(crate) fn promote(&mut self, place: Place, priority: i32) -> Place {
        let better = Place { priority: Reverse(priority), order: place.order };
        if let Some(queued) = self.queue.remove(&place) {
            self.queue.insert(better, queued);
        }
        better
    }

    /// A slot can be given tasks.
    pub(crate) fn slot_up(&mut self, now: Instant) -> SlotId {
        let slot = Slot { closing: false, outstanding: VecDeque::new(), bytes: 0, progress: now };
        SlotId(u32::try_from(self.slots.insert(slot)).expect("far fewer slots than four billion"))
    }

    /// A slot is about to go down: it gets no more tasks.
    pub(crate) fn slot_closing(&mut self, slot: SlotId) {
        if let Some(slot) = self.slots.get_mut(slot.index()) {
            slot.closing = true;
        }
    }

    /// A slot is gone. What it had was taken back or ended before.
    pub(crate) fn slot_down(&mut self, slot: SlotId) {
        self.slots.try_remove(slot.index());
    }

    /// What runs next, and where; to be called until it gives `None`.
    pub(crate) fn assign(&mut self, now: Instant) -> Option<(TaskId, SlotId)> {
        let next = *self.queue.first_key_value()?.1;
        let depth = self.depth();
        let room = |slot: &Slot| slot.has_room(now, depth, next.bytes);
        let (key, _) = (self.slots.iter())
            .filter(|(_, slot)| room(slot))
            .min_by_key(|(_, slot)| slot.outstanding.len())?;
        self.queue.pop_first();
        let slot = &mut self.slots[key];
        if slot.outstanding.is_empty() {
            slot.progress = now;
        }
        slot.bytes += next.bytes;
        slot.outstanding.push_back(Outstanding {
            task: next.task,
            bytes: next.bytes,
            revoked: false,
        });
        Some((next.task, SlotId(u32::try_from(key).expect("made by slot_up"))))
    }

    /// A slot is through with a task: it ran, or was skipped.
    pub(crate) fn freed(&mut self, slot: SlotId, task: TaskId, now: Instant) {
        let Some(slot) = self.slots.get_mut(slot.index()) else { return };
        if let Some(at) = slot.outstanding.iter().position(|one| one.task == task) {
            let one = slot.outstanding.remove(at).expect("position is in range");
            slot.bytes -= one.bytes;
            slot.progress = now;
        }
    }

    /// A slot's task was taken back; it is still to be skipped there.
    pub(crate) fn revoked(&mut self, slot: SlotId, task: TaskId) {
        let Some(slot) = self.slots.get_mut(slot.index()) else { return };
        // From the back: a task that returned to its slot is there twice.
        if let Some(one) = slot.outstanding.iter_mut().rev().find(|one| one.task == task) {
            one.revoked = true;
        }
    }

    /// The task to take back, and from where: when a slot is idle and nothing
    /// waits, or when newer tasks would overtake it because its slot is stuck.
    pub(crate) fn steal(&self, now: Instant) -> Option<(TaskId, SlotId)> {
        let idle = self.queue.is_empty() && self.has_idle();
        let stuck = |slot: &Slot| !self.queue.is_empty() && slot.is_stale(now);
        let (key, last, _) = (self.slots.iter())
            .filter(|(_, slot)| !slot.closing && (idle || stuck(slot)))
            .filter_map(|(key, slot)| {
                let mut live = slot.outstanding.iter().filter(|one| !one.revoked);
                let first = live.next()?;
                let last = live.next_back().filter(|last| last.task != first.task)?;
                Some((key, last.task, slot.outstanding.len()))
            })
            .max_by_key(|(_, _, outstanding)| *outstanding)?;
        Some((last, SlotId(u32::try_from(key).expect("made by slot_up"))))
    }

    /// Whether a slot has nothing to do.
    pub(crate) fn has_idle(&self) -> bool {
        self.slots.iter().any(|(_, slot)| !slot.closing && slot.outstanding.is_empty())
    }

    /// A task ran for so long.
    pub(crate) fn observed(&mut self, run_ns: u64) {
        let sample = run_ns as f64;
        self.mean_run_ns = Some(match self.mean_run_ns {
            None => sample,
            // A long run says at once that nothing should wait behind it.
            Some(mean) if sample > mean => (mean + sample) / 2.0,
            Some(mean) => mean + (sample - mean) / 16.0,
        });
    }

    /// How long the tasks that wait need to start, at the speed seen of late.
    pub(crate) fn predicted_wait(&self) -> Duration {
        let slots = self.slots.iter().filter(|(_, slot)| !slot.closing).count().max(1);
        let total_ns = self.mean_run_ns.unwrap_or_default() * self.queue.len() as f64;
        Duration::from_nanos((total_ns / slots as f64) as u64)
    }

    /// How many tasks a slot may have outstanding.
    fn depth(&self) -> usize {
        match self.mean_run_ns {
            None => 1,
            Some(mean) => {
                let ahead = AHEAD.as_nanos() as f64 / mean.max(1.0);
                (1.0 + ahead).min(MAX_DEPTH as f64) as usize
            }
        }
    }

    /// Slots that are up.
    pub(crate) fn slots(&self) -> usize {
        self.slots.iter().filter(|(_, slot)| !slot.closing).count()
    }

    /// Re-checks the invariants of the module's documentation.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let mut live = std::collections::HashSet::new();
        let queued = self.queue.values().map(|queued| queued.task);
        let placed = (self.slots.iter().flat_map(|(_, slot)| &slot.outstanding))
            .filter(|one| !one.revoked)
            .map(|one| one.task);
        for task in queued.chain(placed) {
            assert!(live.insert(task), "{task:?} is in two places");
        }
        for (_, slot) in &self.slots {
            assert!(slot.outstanding.len() <= MAX_DEPTH);
            assert_eq!(slot.bytes, slot.outstanding.iter().map(|one| one.bytes).sum::<usize>());
        }
        let idle = self.has_idle() && !self.queue.is_empty();
        assert!(!idle, "a task waits although a slot is idle");
    }

    /// The task that waits at a place.
    #[cfg(test)]
    pub(crate) fn at(&self, place: Place) -> Option<TaskId> {
        self.queue.get(&place).map(|queued| queued.task)
    }

    /// Whether a slot has a task that was not taken back.
    #[cfg(test)]
    pub(crate) fn has(&self, slot: SlotId, task: TaskId) -> bool {
        let live = |one: &Outstanding| one.task == task && !one.revoked;
        self.slots.get(slot.index()).is_some_and(|slot| slot.outstanding.iter().any(live))
    }

    /// How many tasks wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl Slot {
    fn has_room(&self, now: Instant, depth: usize, bytes: usize) -> bool {
        if self.closing {
            return false;
        }
        if self.outstanding.is_empty() {
            return true;
        }
        self.outstanding.len() < depth && self.bytes + bytes <= AHEAD_BYTES && !self.is_stale(now)
    }

    fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.progress) >= STALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u32) -> TaskId {
        TaskId::for_test(number)
    }

    /// A placement with a queue and so many slots.
    fn placement(slots: usize, now: Instant) -> (Placement, Vec<SlotId>) {
        let mut placement = Placement::default();
        let slots = (0..slots).map(|_| placement.slot_up(now)).collect();
        (placement, slots)
    }

    fn enqueue(placement: &mut Placement, number: u32, priority: i32) -> Place {
        let place = placement.place(priority);
        placement.enqueue(place, task(number), 8);
        place
    }

    #[test]
    fn higher_priority_runs_first_then_first_in_first_out() {
        let now = Instant::now();
        let (mut placement, slots) = placement(1, now);
        for (number, priority) in [(1, 0), (2, 5), (3, 0), (4, 5)] {
            enqueue(&mut placement, number, priority);
        }
        let mut order = Vec::new();
        while let Some((next, slot)) = placement.assign(now) {
            placement.freed(slot, next, now);
            order.push(next);
        }
        assert_eq!(order, [2, 4, 1, 3].map(task));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn nothing_is_sent_ahead_before_run_times_are_known_or_when_they_are_long() {
        let now = Instant::now();
        let (mut placement, _) = placement(1, now);
        (0..10).for_each(|number| {
            enqueue(&mut placement, number, 0);
        });
        assert!(placement.assign(now).is_some());
        assert!(placement.assign(now).is_none(), "run times are unknown");
        placement.observed(2_000_000);
        assert!(placement.assign(now).is_none(), "tasks run for 2 ms");
    }

    #[test]
    fn microsecond_tasks_are_sent_ahead_unless_the_slot_is_stuck() {
        let now = Instant::now();
        let (mut placement, _) = placement(1, now);
        (0..200).for_each(|number| {
            enqueue(&mut placement, number, 0);
        });
        placement.observed(1_000);
        let sent = std::iter::from_fn(|| placement.assign(now)).count();
        assert_eq!(sent, MAX_DEPTH);
        let (mut stuck, _) = self::placement(1, now);
        (0..2).for_each(|number| {
            enqueue(&mut stuck, number, 0);
        });
        stuck.observed(1_000);
        let later = now + 2 * STALE;
        assert!(stuck.assign(now).is_some());
        stuck.dequeue(stuck.queue.first_key_value().map(|(place, _)| *place).unwrap());
        enqueue(&mut stuck, 9, 0);
        assert!(stuck.assign(later).is_none(), "no progress for {:?}", 2 * STALE);
    }

    #[test]
    fn large_arguments_are_not_sent_ahead() {
        let now = Instant::now();
        let (mut placement, _) = placement(1, now);
        placement.observed(1_000);
        for number in 0..2 {
            let place = placement.place(0);
            placement.enqueue(place, task(number), AHEAD_BYTES);
        }
        assert!(placement.assign(now).is_some());
        assert!(placement.assign(now).is_none());
    }

    #[test]
    fn an_idle_slot_steals_the_last_task_of_the_fullest() {
        let now = Instant::now();
        let (mut placement, slots) = placement(1, now);
        placement.observed(1_000);
        (0..3).for_each(|number| {
            enqueue(&mut placement, number, 0);
        });
        while placement.assign(now).is_some() {}
        assert_eq!(placement.steal(now), None, "no slot is idle");
        placement.slot_up(now);
        assert_eq!(placement.steal(now), Some((task(2), slots[0])));
        placement.revoked(slots[0], task(2));
        assert_eq!(placement.steal(now), Some((task(1), slots[0])));
        placement.revoked(slots[0], task(1));
        assert_eq!(placement.steal(now), None, "what runs is not stolen");
    }

    #[test]
    fn what_was_sent_ahead_to_a_stuck_slot_is_taken_back_before_newer_tasks() {
        let now = Instant::now();
        let (mut placement, slots) = placement(1, now);
        placement.observed(1_000);
        (0..3).for_each(|number| {
            enqueue(&mut placement, number, 0);
        });
        while placement.assign(now).is_some() {}
        let later = now + STALE;
        assert_eq!(placement.steal(later), None, "nothing else waits");
        enqueue(&mut placement, 9, 0);
        assert_eq!(placement.steal(now), None, "it may only just have started");
        assert_eq!(placement.steal(later), Some((task(2), slots[0])));
        placement.revoked(slots[0], task(2));
        assert_eq!(placement.steal(later), Some((task(1), slots[0])));
        placement.revoked(slots[0], task(1));
        assert_eq!(placement.steal(later), None);
    }

    #[test]
    fn a_closing_slot_gets_nothing() {
        let now = Instant::now();
        let (mut placement, slots) = placement(1, now);
        placement.slot_closing(slots[0]);
        enqueue(&mut placement, 1, 0);
        assert!(placement.assign(now).is_none());
        assert_eq!(placement.slots(), 0);
    }
}

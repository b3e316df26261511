//! What runs where and when: the slots that tasks are given to.
//!
//! Pure: events and the time come in, assignments come out. Whose task is next
//! says [`Shares`]; here is decided whether a slot takes it. A **slot** is what
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
//! A task that was given to a slot and taken back keeps its place in the queue,
//! and so returns to the front of its tenant's tasks.
//!
//! **Sent ahead.** A slot may be given a few tasks while it runs one, so that microsecond
//! tasks stream. The depth follows the run times that were measured. It is about [`AHEAD`]
//! worth of work. It is one task when runs are longer or unknown, and when a slot has made
//! no progress for [`STALE`]. Large arguments are never sent ahead.
//! [`steal`](Placement::steal) names tasks to take back: when a slot is empty that their
//! tenant may hold, and when a slot makes no progress while newer tasks wait, which would
//! overtake them.
//!
//! **One tenant leaves a slot free.** A tenant may hold so many slots at once as its limit
//! says. While another tenant was seen of late, it may not hold all of them. A short task
//! of the other need not wait for a long one to end.
//!
//! Invariants: a task is in the queue or in one slot, never in both; no slot
//! has more than [`MAX_DEPTH`] outstanding; an idle slot that is up and a task
//! whose tenant may hold it do not both remain after `assign` gave `None`.

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::error::Bound;
use crate::ids::SlotId;
use crate::ids::TaskId;
use crate::ids::TenantId;
use crate::sched::admission::{Estimate, Part};
use crate::sched::shares::{QueuePlace, Queued, Shares};

use batch::Batches;

/// Tasks that a slot executes in one call.
mod batch;
/// How long a new task would wait.
mod forecast;
/// What is shown of slots and queue.
mod view;

/// The most tasks outstanding at one slot.
const MAX_DEPTH: usize = 64;

/// How much work is sent ahead to a slot.
const AHEAD: Duration = Duration::from_micros(500);

/// After how long without progress a slot is sent nothing ahead.
const STALE: Duration = Duration::from_millis(1);

/// The most bytes of arguments outstanding at one slot with tasks sent ahead.
const AHEAD_BYTES: usize = 64 << 10;

/// The queue and the slots.
#[derive(Debug)]
pub(crate) struct Placement {
    shares: Shares,
    slots: Slab<Slot>,
    batches: Batches,
    /// How many slots are up.
    up: usize,
    rules: Rules,
    /// Smoothed run time of tasks, in nanoseconds; `None` before the first.
    mean_run_ns: Option<f64>,
    /// How long functions run that are not steady, without that bias to the
    /// long side.
    plain: Estimate,
    /// How long each steady function runs, by its number.
    steady: Vec<Estimate>,
}

/// What a tenant may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The most slots that one tenant may hold at once.
    pub(crate) tenant_limit: usize,
    /// Whether a slot is kept free of a tenant while others are about.
    pub(crate) reserve: bool,
    /// The most tasks of one tenant that may wait.
    pub(crate) tenant_queue: usize,
    /// The longest that a task may be expected to wait.
    pub(crate) max_wait: Option<Duration>,
    /// Above how many waiting tasks of a tenant its newest goes first.
    pub(crate) lifo_above: usize,
    /// How long a task waits to count one priority higher, if it ever does.
    pub(crate) ageing: Option<Duration>,
    /// Whether small tasks are sent ahead to slots that are busy.
    pub(crate) ahead: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            tenant_limit: usize::MAX,
            reserve: true,
            tenant_queue: usize::MAX,
            max_wait: None,
            lifo_above: usize::MAX,
            ageing: None,
            ahead: true,
        }
    }
}

#[derive(Debug)]
struct Slot {
    closing: bool,
    /// Was asked to stop this task, and is sent nothing ahead meanwhile.
    halted: Option<TaskId>,
    outstanding: VecDeque<Outstanding>,
    bytes: usize,
    progress: Instant,
}

/// A task at a slot; `revoked` ones no longer count as work, but the slot has
/// not said yet that it skipped them.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    task: TaskId,
    tenant: TenantId,
    bytes: usize,
    sent: Instant,
    /// What its tenant was charged when it was sent.
    estimate_ns: u64,
    /// How long its function runs, where that is known, in nanoseconds.
    steady_ns: Option<NonZeroU64>,
    revoked: bool,
    /// Its function, if that takes batches.
    batch: Option<NonZeroU16>,
    /// It is in a batch with others.
    grouped: bool,
    /// Nobody waits for it any more, and its batch goes on.
    left: bool,
    /// What its tenant owes for it so far.
    owed_ns: u64,
}

impl Placement {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            shares: Shares::new(rules.lifo_above).ageing(rules.ageing),
            slots: Slab::new(),
            batches: Batches::default(),
            up: 0,
            rules,
            mean_run_ns: None,
            plain: Estimate::default(),
            steady: Vec::new(),
        }
    }

    /// A tenant submits; `None` is the tenant of submits that name none.
    pub(crate) fn seen(
        &mut self,
        tenant: Option<&Arc<str>>,
        weight: u32,
        now: Instant,
    ) -> TenantId {
        self.shares.seen(tenant, weight, now)
    }

    /// A tenant that has tasks, or was seen of late.
    pub(crate) fn known(&self, tenant: Option<&Arc<str>>) -> Option<TenantId> {
        self.shares.known(tenant)
    }

    /// A new place at the end of a tenant's tasks of that priority.
    pub(crate) fn place(&mut self, priority: i32, tenant: TenantId) -> QueuePlace {
        self.shares.place(priority, tenant)
    }

    /// Tenants forgotten since this was asked last.
    pub(crate) fn forgotten(&mut self) -> std::vec::Drain<'_, TenantId> {
        self.shares.forgotten()
    }

    /// Tenants that have tasks or were seen of late: number, name, last submit,
    /// tasks that wait.
    pub(crate) fn tenants(
        &self,
    ) -> impl Iterator<Item = (TenantId, Option<&Arc<str>>, Instant, usize)> {
        self.shares.tenants()
    }

    /// The bound that one more task of that tenant and priority would break, if
    /// it may fill so much of it.
    pub(crate) fn full(
        &self,
        (tenant, priority): (TenantId, i32),
        fill: Part,
        now: Instant,
    ) -> Option<Bound> {
        if self.places_of(tenant, fill) == 0 {
            return Some(Bound::Tenant(self.rules.tenant_queue));
        }
        let limit = self.rules.max_wait?;
        let wait = self.predicted_wait((tenant, priority), now);
        (wait > fill.of_wait(limit)).then_some(Bound::Wait(limit))
    }

    fn places_of(&self, tenant: TenantId, fill: Part) -> usize {
        fill.of_own(self.rules.tenant_queue).saturating_sub(self.shares.waiting_of(tenant))
    }

    /// How many more tasks of that tenant and priority may come, if they may fill so
    /// much of its bounds.
    pub(crate) fn places(
        &self,
        (tenant, priority): (TenantId, i32),
        fill: Part,
        now: Instant,
    ) -> usize {
        match self.full((tenant, priority), fill, now) {
            Some(_) => 0,
            None => self.places_of(tenant, fill),
        }
    }

    /// A task is to wait at a place once its arguments are encoded.
    pub(crate) fn prepare(&mut self, place: QueuePlace) {
        self.shares.prepare(place);
    }

    /// A task waits at a place.
    pub(crate) fn enqueue(&mut self, place: QueuePlace, queued: Queued) {
        match self.batches.hold(place, queued) {
            true => self.shares.prepare(place),
            false => self.shares.enqueue(place, queued),
        }
    }

    /// The task of a place has ended, whether it waited there or not.
    pub(crate) fn ended(&mut self, place: QueuePlace) {
        self.batches.replace(place, None);
        self.shares.dequeue(place);
        self.shares.released(place.tenant);
    }

    /// Moves a waiting task to a better priority; gives its new place.
    pub(crate) fn promote(&mut self, place: QueuePlace, priority: i32) -> QueuePlace {
        let better = self.shares.promote(place, priority);
        self.batches.replace(place, Some(better));
        better
    }

    /// A slot can be given tasks.
    pub(crate) fn slot_up(&mut self, now: Instant) -> SlotId {
        let slot = Slot {
            closing: false,
            halted: None,
            outstanding: VecDeque::new(),
            bytes: 0,
            progress: now,
        };
        self.up += 1;
        SlotId::at(self.slots.insert(slot))
    }

    /// A slot is about to go down: it gets no more tasks.
    pub(crate) fn slot_closing(&mut self, slot: SlotId) {
        if let Some(slot) = self.slots.get_mut(slot.index())
            && !std::mem::replace(&mut slot.closing, true)
        {
            self.up -= 1;
        }
    }

    /// A slot was asked to stop a task: until that has ended it is sent nothing.
    pub(crate) fn halt(&mut self, slot: SlotId, task: TaskId) {
        if let Some(slot) = self.slots.get_mut(slot.index()) {
            slot.halted = Some(task);
        }
    }

    /// How long what a slot executes is expected to go on, if it is not overdue.
    pub(crate) fn expected_left(&self, slot: SlotId, now: Instant) -> Option<Duration> {
        let progress = self.slots.get(slot.index())?.progress;
        let mean = Duration::from_nanos(self.mean_run_ns? as u64);
        mean.checked_sub(now.saturating_duration_since(progress))
    }

    /// A slot is gone. What it had was taken back or ended before.
    pub(crate) fn slot_down(&mut self, slot: SlotId, now: Instant) {
        while let Some(task) = self.slots.get(slot.index()).and_then(Slot::first) {
            self.freed(slot, task, now);
        }
        self.slot_closing(slot);
        self.slots.try_remove(slot.index());
    }

    /// What runs next, and where; to be called until it gives `None`.
    pub(crate) fn assign(&mut self, now: Instant) -> Option<(TaskId, SlotId)> {
        self.release(now, None);
        let depth = self.depth();
        let Self { shares, slots, up, rules, .. } = self;
        // Else each tenant that waits would be offered to each slot, for nothing.
        if !slots.iter().any(|(_, slot)| slot.has_room(now, depth, 0)) {
            return None;
        }
        let (place, queued, key) = shares.take(now, |shares, tenant, queued| {
            // Others join it while it waits, so it is not sent ahead.
            let depth = if queued.batch.is_some() { 1 } else { depth };
            let room = |slot: &Slot| slot.has_room(now, depth, queued.bytes as usize);
            best(slots, room, tenant, rules.at_limit(*up, shares, tenant, now))
        })?;
        self.give(now, key, place, queued);
        Some((queued.task, SlotId::at(key)))
    }

    /// Gives a slot a task that was taken from the queue.
    fn give(&mut self, now: Instant, key: usize, place: QueuePlace, queued: Queued) {
        let estimate_ns = self.mean_run_ns.unwrap_or_default() as u64;
        let (shares, slot) = (&mut self.shares, &mut self.slots[key]);
        shares.charge(place.tenant, estimate_ns.into());
        if slot.outstanding.is_empty() {
            slot.progress = now;
        }
        if !slot.is_held_by(place.tenant) {
            shares.holds_slot(place.tenant);
        }
        slot.bytes += queued.bytes as usize;
        slot.outstanding.push_back(Outstanding {
            task: queued.task,
            tenant: place.tenant,
            bytes: queued.bytes as usize,
            sent: now,
            estimate_ns,
            steady_ns: queued.steady_ns,
            revoked: false,
            batch: queued.batch,
            grouped: false,
            left: false,
            owed_ns: 0,
        });
    }

    /// What `assign` gave last does not start after all: the slot is as before.
    pub(crate) fn unassign(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(id.index()) else { return };
        let Some(one) = slot.outstanding.pop_back() else { return };
        slot.bytes -= one.bytes;
        self.shares.charge(one.tenant, -i128::from(one.estimate_ns));
        if !slot.is_held_by(one.tenant) {
            self.shares.left_slot(one.tenant);
        }
        self.shares.released(one.tenant);
    }

    /// A slot is through with a task: it ran, or was skipped. Its tenant is
    /// charged for what the slot did since it was through with the one before.
    pub(crate) fn freed(&mut self, id: SlotId, task: TaskId, now: Instant) {
        let Some(slot) = self.slots.get_mut(id.index()) else { return };
        let Some(at) = slot.outstanding.iter().position(|one| one.task == task) else { return };
        let one = slot.outstanding.remove(at).expect("position is in range");
        let passed = now.saturating_duration_since(one.sent.max(slot.progress));
        let used = i128::from(slot.part_ns(&one, passed.as_nanos() as u64));
        slot.bytes -= one.bytes;
        slot.progress = now;
        slot.halted = slot.halted.filter(|halted| *halted != task);
        if !one.revoked {
            self.shares.charge(one.tenant, used - i128::from(one.estimate_ns));
            if !slot.is_held_by(one.tenant) {
                self.shares.left_slot(one.tenant);
            }
        }
        self.shares.released(one.tenant);
    }

    /// A slot's task was taken back; it is still to be skipped there.
    pub(crate) fn revoked(&mut self, slot: SlotId, task: TaskId) {
        let Some(slot) = self.slots.get_mut(slot.index()) else { return };
        // From the back: a task that returned to its slot is there twice.
        let mut live = slot.outstanding.iter_mut().rev().filter(|one| !one.revoked);
        let Some(one) = live.find(|one| one.task == task) else { return };
        one.revoked = true;
        let tenant = one.tenant;
        self.shares.charge(tenant, -i128::from(one.estimate_ns));
        if !slot.is_held_by(tenant) {
            self.shares.left_slot(tenant);
        }
    }

    /// The task to take back, and from where, when a slot is idle that its
    /// tenant may hold, or when newer tasks would overtake it because its slot is
    /// stuck; to be asked when `assign` gave `None`.
    pub(crate) fn steal(&self, now: Instant) -> Option<(TaskId, SlotId)> {
        let (idle, waiting) = (self.has_idle(), self.shares.waiting() > 0);
        let (key, last, _) = (self.slots.iter())
            .filter(|(_, slot)| !slot.closing && (idle || waiting && slot.is_stale(now)))
            .filter_map(|(key, slot)| {
                let mut live = slot.live();
                // A batch is one, as what runs is.
                let first = live.next().filter(|first| first.batch.is_none())?;
                let last = live.last().filter(|last| last.task != first.task)?;
                let wanted = waiting && slot.is_stale(now) || self.may_start(last.tenant, now);
                wanted.then_some((key, last.task, slot.outstanding.len()))
            })
            .max_by_key(|(_, _, outstanding)| *outstanding)?;
        Some((last, SlotId::at(key)))
    }

    /// Whether a slot is up.
    pub(crate) fn is_up(&self, slot: SlotId) -> bool {
        self.slots.get(slot.index()).is_some_and(|slot| !slot.closing)
    }

    /// Whether a slot has nothing outstanding.
    pub(crate) fn is_empty(&self, slot: SlotId) -> bool {
        self.slots.get(slot.index()).is_some_and(|slot| slot.outstanding.is_empty())
    }

    /// The slots that have nothing to do.
    pub(crate) fn idle(&self) -> impl Iterator<Item = SlotId> {
        let idle = self.slots.iter().filter(|(_, slot)| slot.is_idle());
        idle.map(|(key, _)| SlotId::at(key))
    }

    fn has_idle(&self) -> bool {
        self.idle().next().is_some()
    }

    /// Whether a slot has nothing to do that a tenant may hold.
    pub(crate) fn may_start(&self, tenant: TenantId, now: Instant) -> bool {
        let at_limit = self.rules.at_limit(self.up, &self.shares, tenant, now);
        best(&self.slots, Slot::is_idle, tenant, at_limit).is_some()
    }

    /// Whether a slot has nothing to do, for a tenant that is not known yet.
    pub(crate) fn has_room(&self) -> bool {
        self.has_idle() && self.shares.waiting() == 0
    }

    /// How many tasks a slot may have outstanding.
    fn depth(&self) -> usize {
        match self.mean_run_ns {
            Some(mean) if self.rules.ahead => {
                let ahead = AHEAD.as_nanos() as f64 / mean.max(1.0);
                (1.0 + ahead).min(MAX_DEPTH as f64) as usize
            }
            _ => 1,
        }
    }

    /// Slots that are up.
    pub(crate) fn slots(&self) -> usize {
        self.up
    }

    /// Re-checks the invariants of the module's documentation.
    #[cfg(test)]
    pub(crate) fn check_invariants(&self, now: Instant) {
        self.shares.check_invariants();
        let mut known = std::collections::HashSet::new();
        for (task, _) in self.all() {
            assert!(known.insert(task), "{task:?} is in two places");
        }
        assert_eq!(self.up, self.slots.iter().filter(|(_, slot)| !slot.closing).count());
        let mut held = std::collections::BTreeSet::new();
        for (key, slot) in &self.slots {
            held.extend(slot.live().map(|one| (one.tenant, key)));
        }
        let counted: usize =
            self.shares.tenants().map(|(tenant, ..)| self.shares.held(tenant)).sum();
        assert_eq!(held.len(), counted, "who holds which slots");
        for (tenant, _) in &held {
            let slots = held.range((*tenant, 0)..=(*tenant, usize::MAX)).count();
            assert_eq!(self.shares.held(*tenant), slots);
        }
        for (_, slot) in &self.slots {
            assert!(slot.outstanding.len() <= MAX_DEPTH);
            assert_eq!(slot.bytes, slot.outstanding.iter().map(|one| one.bytes).sum::<usize>());
        }
        for tenant in self.shares.backlogged() {
            assert!(!self.may_start(tenant, now), "a task waits although a slot is idle");
        }
    }

    /// All tasks: those that wait, each with its place, and those that slots have.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = (TaskId, Result<QueuePlace, SlotId>)> {
        let waiting = self.shares.waits().chain(self.batches.all());
        let waiting = waiting.map(|(place, task)| (task, Ok(place)));
        let placed = self
            .slots
            .iter()
            .flat_map(|(key, slot)| slot.live().map(move |one| (one.task, Err(SlotId::at(key)))));
        waiting.chain(placed)
    }
}

impl Rules {
    /// Whether a tenant may hold no other slot than it does, when so many are up.
    fn at_limit(self, up: usize, shares: &Shares, tenant: TenantId, now: Instant) -> bool {
        let kept_free = usize::from(self.reserve && up > 1 && shares.contested(tenant, now));
        let limit = self.tenant_limit.min(up - kept_free);
        limit < up && shares.held(tenant) >= limit
    }
}

impl Slot {
    fn has_room(&self, now: Instant, depth: usize, bytes: usize) -> bool {
        looked();
        if self.closing || self.halted.is_some() {
            return false;
        }
        if self.outstanding.is_empty() {
            return true;
        }
        let ahead = self.outstanding.len() < depth && !self.has_a_batch();
        ahead && self.bytes + bytes <= AHEAD_BYTES && !self.is_stale(now)
    }

    fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.progress) >= STALE
    }

    fn is_idle(&self) -> bool {
        looked();
        !self.closing && self.outstanding.is_empty()
    }

    fn live(&self) -> impl Iterator<Item = &Outstanding> {
        looked();
        self.outstanding.iter().filter(|one| !one.revoked)
    }

    fn is_held_by(&self, tenant: TenantId) -> bool {
        self.live().any(|one| one.tenant == tenant)
    }

    fn first(&self) -> Option<TaskId> {
        self.outstanding.front().map(|one| one.task)
    }
}

/// A slot was looked at, which tests count.
fn looked() {
    #[cfg(test)]
    tests::LOOKS.set(tests::LOOKS.get() + 1);
}

/// The slot with the least to do of those that have room and that a tenant may hold. At its
/// limit, only what it holds already.
fn best(
    slots: &Slab<Slot>,
    room: impl Fn(&Slot) -> bool,
    tenant: TenantId,
    at_limit: bool,
) -> Option<usize> {
    (slots.iter())
        .filter(|(_, slot)| room(slot) && (!at_limit || slot.is_held_by(tenant)))
        .min_by_key(|(_, slot)| slot.outstanding.len())
        .map(|(key, _)| key)
}

#[cfg(test)]
mod tests;

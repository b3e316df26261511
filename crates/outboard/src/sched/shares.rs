//! Whose turn it is: the queue, shared fairly between tenants.
//!
//! Pure. Priorities are strict, unless they age: a task of a higher class goes before all
//! of a lower one. Inside a class the next task is that of the tenant whose
//! **virtual time** is least, and inside a tenant it is first in, first out
//! (unless overload lasts, and then as the builder's `lifo_above` says).
//! This is start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair
//! Queuing", SIGCOMM 1996) with the length of a task known only at its end:
//!
//! * When a task is handed out, its tenant's virtual time grows by an estimate (the mean
//!   run time) divided by the tenant's weight. When it ends, by the difference to what it
//!   really took, from start to end by the engine's own clock. So a tenant that sleeps in
//!   its tasks pays for the worker it holds, and what a worker reports of itself does not
//!   count.
//! * A tenant that comes, or comes back, starts at the virtual time of the task
//!   that was handed out last: being idle earns no credit.
//!
//! It follows that no tenant with tasks waiting is further behind its share than `workers +
//! 1` of the longest tasks and two estimates. What runs is charged no more than an estimate.
//! Property tests hold it to that, also with tenants that come and go. The tasks that the estimate is the mean of count among the longest. While it is far
//! above what tasks take by now, tenants get workers by number, and weights are made good
//! only as it falls.
//!
//! A tenant without tasks is forgotten [`REMEMBERED`] after its last submit, or sooner
//! while the names of all take more than [`NAMES_BYTES`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::num::{NonZeroU16, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::ids::TaskId;
use crate::ids::TenantId;
use crate::sched::stamp::Stamp;

mod line;

use line::Line;

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QueuePlace {
    priority: i32,
    pub(crate) tenant: TenantId,
    order: u64,
}

impl QueuePlace {
    pub(crate) fn priority(self) -> i32 {
        self.priority
    }

    /// Whose place it is among all: it stays the same when the priority changes.
    pub(crate) fn order(self) -> u64 {
        self.order
    }
}

/// How long a tenant counts as present after its last submit.
const REMEMBERED: Duration = Duration::from_secs(10);

/// What the names of all tenants may take, in bytes, before those without tasks are
/// forgotten: whoever is refused leaves its name behind.
const NAMES_BYTES: usize = 16 << 20;

/// How many tenants are looked at in one submit, to forget them.
const FORGOTTEN_AT_ONCE: usize = 16;

/// Virtual time of one nanosecond at weight 1: room for weights to divide.
const SCALE: u128 = 1 << 20;

/// A task that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued {
    pub(crate) task: TaskId,
    /// Of its arguments, as far as they count; the most that a message has.
    pub(crate) bytes: u32,
    pub(crate) submitted: Stamp,
    /// Whether it has a timeout.
    pub(crate) hurried: bool,
    /// How long its function runs, where that is known, in nanoseconds.
    pub(crate) steady_ns: Option<NonZeroU64>,
    /// Its function, if that takes batches and the task is to run in one.
    pub(crate) batch: Option<NonZeroU16>,
}

/// An amount of work: tasks of unknown length, and time that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Backlog {
    plain: usize,
    steady_ns: u64,
}

impl Backlog {
    fn add(&mut self, queued: Queued) {
        match queued.steady_ns {
            Some(ns) => self.steady_ns += ns.get(),
            None => self.plain += 1,
        }
    }

    fn remove(&mut self, queued: Queued) {
        match queued.steady_ns {
            Some(ns) => self.steady_ns -= ns.get(),
            None => self.plain -= 1,
        }
    }

    fn ns(self, plain_ns: f64) -> f64 {
        self.plain as f64 * plain_ns + self.steady_ns as f64
    }
}

/// How long the oldest of a tenant's tasks waits before the newest goes first.
const LIFO_AFTER: Duration = Duration::from_millis(100);

/// How many tenants are looked at for one prediction; the rest count as they do.
const LOOKED_AT: usize = 256;

/// The queue; see the module's documentation.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Above how many tasks of a tenant in one class the newest goes first.
    lifo_above: usize,
    /// How long a task waits to count one priority higher, if it ever does.
    ageing: Option<Duration>,
    classes: BTreeMap<Reverse<i32>, Class>,
    tenants: Slab<Tenant>,
    names: HashMap<Arc<str>, TenantId>,
    names_bytes: usize,
    /// The tenant of submits that name none.
    unnamed: Option<TenantId>,
    /// The virtual time of the task that was handed out last.
    virtual_now: u128,
    /// The two tenants that submitted last.
    recent: [Option<(TenantId, Instant)>; 2],
    /// Tenants by the time they were last seen when they ran out of tasks.
    leaving: VecDeque<(Instant, TenantId)>,
    next_order: u64,
    waiting: usize,
    /// Places whose tasks are not prepared: they count, and are in no queue.
    preparing: HashSet<u64>,
    /// How many tenants have tasks that wait, and hold no slot.
    without_slot: usize,
    /// Tenants forgotten since this was asked last.
    forgotten: Vec<TenantId>,
}

/// The tasks of one priority.
#[derive(Debug, Default)]
struct Class {
    /// Tenants with tasks in this class, the next one first.
    turns: BTreeSet<(u128, TenantId)>,
    queues: HashMap<TenantId, Line>,
    work: Backlog,
}

/// The task whose turn it is. Newest first is for an overload that lasts
/// (Maurer, "Fail at Scale", ACM Queue 2015): whoever came first has most
/// likely stopped waiting. A task without a timeout waits for ever, so it
/// neither overtakes nor is it a reason.
fn next(line: &Line, now: Instant, lifo_above: usize) -> Option<(u64, Queued)> {
    let (order, first) = line.first()?;
    if line.len() > lifo_above
        && now.saturating_duration_since(first.submitted.at()) > LIFO_AFTER
        && let Some((newest, last)) = line.last()
        && first.hurried
        && last.hurried
    {
        return Some((newest, last));
    }
    Some((order, first))
}

#[derive(Debug)]
struct Tenant {
    name: Option<Arc<str>>,
    weight: u32,
    virtual_time: u128,
    /// The classes in which it has tasks waiting.
    classes: Vec<i32>,
    /// Its tasks that are owed, and those that slots are not through with.
    tasks: usize,
    /// Its tasks that wait.
    waiting: usize,
    /// Its tasks that are not prepared.
    preparing: usize,
    /// The slots with tasks of it.
    held: usize,
    seen: Instant,
}

impl Tenant {
    fn waits_without_a_slot(&self) -> bool {
        self.waiting > 0 && self.held == 0
    }
}

impl Shares {
    pub(crate) fn new(lifo_above: usize) -> Self {
        Self {
            lifo_above,
            ageing: None,
            classes: BTreeMap::new(),
            tenants: Slab::new(),
            names: HashMap::new(),
            names_bytes: 0,
            unnamed: None,
            virtual_now: 0,
            recent: [None; 2],
            leaving: VecDeque::new(),
            next_order: 0,
            waiting: 0,
            preparing: HashSet::new(),
            without_slot: 0,
            forgotten: Vec::new(),
        }
    }

    /// A task counts one priority higher for each such time that it has waited.
    pub(crate) fn ageing(self, ageing: Option<Duration>) -> Self {
        Self { ageing, ..self }
    }

    /// A tenant submits; gives its number, and forgets those long gone.
    pub(crate) fn seen(&mut self, name: Option<&Arc<str>>, weight: u32, now: Instant) -> TenantId {
        self.forget(now);
        let id = self.known(name).unwrap_or_else(|| self.enter(name.cloned(), now));
        let tenant = &mut self.tenants[id.index()];
        (tenant.weight, tenant.seen) = (weight.max(1), now);
        if tenant.tasks == 0 {
            tenant.virtual_time = tenant.virtual_time.max(self.virtual_now);
        }
        match &mut self.recent {
            [Some((last, at)), _] if *last == id => *at = now,
            recent => *recent = [Some((id, now)), recent[0]],
        }
        id
    }

    /// A tenant that has tasks, or was seen of late.
    pub(crate) fn known(&self, name: Option<&Arc<str>>) -> Option<TenantId> {
        match name {
            Some(name) => self.names.get(name).copied(),
            None => self.unnamed,
        }
    }

    fn enter(&mut self, name: Option<Arc<str>>, now: Instant) -> TenantId {
        let key = self.tenants.insert(Tenant {
            name: name.clone(),
            weight: 1,
            virtual_time: self.virtual_now,
            classes: Vec::new(),
            tasks: 0,
            waiting: 0,
            preparing: 0,
            held: 0,
            seen: now,
        });
        let id = TenantId::at(key);
        match name {
            Some(name) => {
                self.names_bytes += name.len();
                self.names.insert(name, id);
            }
            None => self.unnamed = Some(id),
        }
        self.leaving.push_back((now, id));
        id
    }

    /// Forgets tenants that have no tasks and were not seen for long; a few at a
    /// time, but more than one submit can add.
    fn forget(&mut self, now: Instant) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((noted, id)) = self.leaving.front().copied() else { return };
            let crowded = self.names_bytes > NAMES_BYTES;
            let is_of_late = |at| !crowded && now.saturating_duration_since(at) < REMEMBERED;
            if is_of_late(noted) {
                return;
            }
            self.leaving.pop_front();
            let tenant = &self.tenants[id.index()];
            if tenant.tasks > 0 || is_of_late(tenant.seen) {
                self.leaving.push_back((now, id));
                continue;
            }
            match self.tenants.remove(id.index()).name {
                Some(name) => {
                    self.names_bytes -= name.len();
                    self.names.remove(&name);
                }
                None => self.unnamed = None,
            }
            self.recent = self.recent.map(|one| one.filter(|(recent, _)| *recent != id));
            self.forgotten.push(id);
        }
    }

    /// The tenants forgotten since this was asked last.
    pub(crate) fn forgotten(&mut self) -> std::vec::Drain<'_, TenantId> {
        self.forgotten.drain(..)
    }

    /// The tenants that have tasks or were seen of late: number, name, last
    /// submit, tasks that wait.
    pub(crate) fn tenants(
        &self,
    ) -> impl Iterator<Item = (TenantId, Option<&Arc<str>>, Instant, usize)> {
        self.tenants.iter().map(|(key, tenant)| {
            let id = TenantId::at(key);
            (id, tenant.name.as_ref(), tenant.seen, tenant.waiting)
        })
    }

    /// The name of a tenant that is known, if it has one.
    pub(crate) fn name(&self, id: TenantId) -> Option<&Arc<str>> {
        self.tenants.get(id.index())?.name.as_ref()
    }

    /// Who waits, the highest priority first: priority, tenant, how many tasks,
    /// and when the oldest of them was submitted.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (i32, TenantId, usize, Instant)> {
        self.classes.iter().flat_map(|(priority, class)| {
            class.queues.iter().filter_map(move |(tenant, line)| {
                let (_, oldest) = line.first()?;
                Some((priority.0, *tenant, line.len(), oldest.submitted.at()))
            })
        })
    }

    /// Whether another tenant was seen of late.
    pub(crate) fn contested(&self, id: TenantId, now: Instant) -> bool {
        let mut others = self.recent.iter().flatten().filter(|(other, _)| *other != id);
        others.any(|(_, at)| now.saturating_duration_since(*at) < REMEMBERED)
    }

    /// A new place at the end of a tenant's tasks of a priority. The tenant
    /// counts it among its tasks until `released`.
    pub(crate) fn place(&mut self, priority: i32, tenant: TenantId) -> QueuePlace {
        self.next_order += 1;
        self.tenants[tenant.index()].tasks += 1;
        QueuePlace { priority, tenant, order: self.next_order }
    }

    /// The task of a place is to wait there once it is prepared.
    pub(crate) fn prepare(&mut self, place: QueuePlace) {
        if self.preparing.insert(place.order) {
            self.tenants[place.tenant.index()].preparing += 1;
        }
    }

    /// The task of a place is prepared, or has ended.
    fn prepared(&mut self, place: QueuePlace) {
        if !self.preparing.is_empty() && self.preparing.remove(&place.order) {
            self.tenants[place.tenant.index()].preparing -= 1;
        }
    }

    /// A task of a tenant, for which a place was made, has ended; or a slot is
    /// through with one that was taken.
    pub(crate) fn released(&mut self, tenant: TenantId) {
        self.tenants[tenant.index()].tasks -= 1;
    }

    /// A task waits at a place.
    pub(crate) fn enqueue(&mut self, place: QueuePlace, queued: Queued) {
        self.prepared(place);
        let QueuePlace { priority, tenant: id, order } = place;
        let tenant = &mut self.tenants[id.index()];
        let class = self.classes.entry(Reverse(priority)).or_default();
        let queue = class.queues.entry(id).or_default();
        if queue.is_empty() {
            tenant.classes.push(priority);
            class.turns.insert((tenant.virtual_time, id));
        }
        if queue.insert(order, queued) {
            class.work.add(queued);
            self.waiting += 1;
            self.change(id, |tenant| tenant.waiting += 1);
        }
    }

    /// What waited at a place no longer does.
    pub(crate) fn dequeue(&mut self, place: QueuePlace) -> Option<Queued> {
        self.prepared(place);
        let QueuePlace { priority, tenant: id, order } = place;
        let class = self.classes.get_mut(&Reverse(priority))?;
        let queue = class.queues.get_mut(&id)?;
        let queued = queue.remove(order)?;
        class.work.remove(queued);
        self.waiting -= 1;
        if queue.is_empty() {
            let tenant = &mut self.tenants[id.index()];
            tenant.classes.retain(|class| *class != priority);
            class.queues.remove(&id);
            class.turns.remove(&(tenant.virtual_time, id));
            if class.queues.is_empty() {
                self.classes.remove(&Reverse(priority));
            }
        }
        self.change(id, |tenant| tenant.waiting -= 1);
        Some(queued)
    }

    /// A slot has a task of a tenant, and had none.
    pub(crate) fn holds_slot(&mut self, id: TenantId) {
        self.change(id, |tenant| tenant.held += 1);
    }

    /// A slot has no task of a tenant any more.
    pub(crate) fn left_slot(&mut self, id: TenantId) {
        self.change(id, |tenant| tenant.held -= 1);
    }

    /// Changes what of a tenant waits or is held, and counts who waits in vain.
    fn change(&mut self, id: TenantId, change: impl Fn(&mut Tenant)) {
        let tenant = &mut self.tenants[id.index()];
        self.without_slot -= usize::from(tenant.waits_without_a_slot());
        change(tenant);
        self.without_slot += usize::from(tenant.waits_without_a_slot());
    }

    /// How many slots a tenant holds.
    pub(crate) fn held(&self, id: TenantId) -> usize {
        self.tenants[id.index()].held
    }

    /// Whether a task waits whose tenant holds no slot.
    pub(crate) fn any_waits_without_a_slot(&self) -> bool {
        self.without_slot > 0
    }

    /// Moves a waiting task to another priority; gives its new place.
    pub(crate) fn promote(&mut self, place: QueuePlace, priority: i32) -> QueuePlace {
        let better = QueuePlace { priority, ..place };
        if self.preparing.contains(&place.order) {
            return better;
        }
        if let Some(queued) = self.dequeue(place) {
            self.enqueue(better, queued);
        }
        better
    }

    /// Takes the first task, in order of turns, for which `accept` gives
    /// something; of each tenant only its first task is offered.
    pub(crate) fn take<R>(
        &mut self,
        now: Instant,
        accept: impl Fn(&Self, TenantId, Queued) -> Option<R>,
    ) -> Option<(QueuePlace, Queued, R)> {
        let lifo_above = self.lifo_above;
        self.take_by(now, usize::MAX, |line| next(line, now, lifo_above), accept)
    }

    /// Takes the first task of a function that takes batches, in order of turns. Tenants that
    /// have others waiting are passed over, but not too many.
    pub(crate) fn take_member(
        &mut self,
        now: Instant,
        batch: NonZeroU16,
    ) -> Option<(QueuePlace, Queued)> {
        let taken = self.take_by(now, LOOKED_AT, |line| line.member(batch), |_, _, _| Some(()));
        taken.map(|(place, queued, ())| (place, queued))
    }

    /// Takes a task that is the one of its tenant in a class, and that is accepted; `most` turns
    /// are looked at.
    fn take_by<R>(
        &mut self,
        now: Instant,
        most: usize,
        choose: impl Fn(&Line) -> Option<(u64, Queued)>,
        accept: impl Fn(&Self, TenantId, Queued) -> Option<R>,
    ) -> Option<(QueuePlace, Queued, R)> {
        let aged = self.ageing.map(|step| self.by_age(now, step));
        let strict = self.classes.iter().filter(|_| aged.is_none());
        let classes = strict.map(|(priority, class)| (priority.0, class));
        let turns = classes.chain(aged.iter().flatten().copied()).flat_map(|(priority, class)| {
            class.turns.iter().map(move |(_, id)| (priority, class, *id))
        });
        let (place, accepted) = turns.take(most).find_map(|(priority, class, tenant)| {
            let (order, queued) = choose(class.queues.get(&tenant)?)?;
            let accepted = accept(self, tenant, queued)?;
            Some((QueuePlace { priority, tenant, order }, accepted))
        })?;
        let virtual_time = self.tenants[place.tenant.index()].virtual_time;
        self.virtual_now = self.virtual_now.max(virtual_time);
        let queued = self.dequeue(place)?;
        self.tenants[place.tenant.index()].tasks += 1;
        Some((place, queued, accepted))
    }

    /// The classes, those first whose next task has most of priority and age together. While
    /// none of a class is taken its next task stays the same, so that its turn comes.
    fn by_age(&self, now: Instant, step: Duration) -> Vec<(i32, &Class)> {
        let step = step.as_nanos().max(1);
        let effective = |priority: i32, class: &Class| {
            let (_, tenant) = class.turns.first()?;
            let (_, first) = class.queues.get(tenant)?.first()?;
            let waited = now.saturating_duration_since(first.submitted.at()).as_nanos();
            Some(i128::from(priority) * step as i128 + waited as i128)
        };
        let mut classes: Vec<_> =
            self.classes.iter().map(|(priority, class)| (priority.0, class)).collect();
        // Stable: of equals, the higher priority stays before.
        classes.sort_by_cached_key(|(priority, class)| Reverse(effective(*priority, class)));
        classes
    }

    /// Charges a tenant for worker time, or gives some back.
    pub(crate) fn charge(&mut self, id: TenantId, ns: i128) {
        let tenant = &mut self.tenants[id.index()];
        let before = tenant.virtual_time;
        let change = ns * SCALE as i128 / i128::from(tenant.weight);
        tenant.virtual_time = before.saturating_add_signed(change);
        for priority in &tenant.classes {
            if let Some(class) = self.classes.get_mut(&Reverse(*priority)) {
                class.turns.remove(&(before, id));
                class.turns.insert((tenant.virtual_time, id));
            }
        }
    }

    /// The work, in nanoseconds, that goes before one more task. It is all that waits in
    /// higher classes, what its tenant has waiting in its own. To that comes what each
    /// other tenant there gets meanwhile by its weight. `plain_ns` is how long a task runs
    /// whose function is not steady.
    pub(crate) fn ahead(&self, id: TenantId, priority: i32, plain_ns: f64) -> f64 {
        let above = self.classes.range(..Reverse(priority));
        let above: f64 = above.map(|(_, class)| class.work.ns(plain_ns)).sum();
        let Some(class) = self.classes.get(&Reverse(priority)) else { return above };
        let own = class.queues.get(&id).map_or(0.0, |line| line.work.ns(plain_ns));
        if class.queues.len() <= 1 && own > 0.0 {
            return above + own;
        }
        let weight = |id: TenantId| f64::from(self.tenants[id.index()].weight);
        let share = (own + plain_ns) / weight(id);
        let others = class.queues.iter().take(LOOKED_AT).filter(|(other, _)| **other != id);
        let others = others.map(|(other, line)| line.work.ns(plain_ns).min(share * weight(*other)));
        let scale = class.queues.len() as f64 / class.queues.len().clamp(1, LOOKED_AT) as f64;
        above + own + others.sum::<f64>() * scale
    }

    /// All work that waits, in nanoseconds.
    pub(crate) fn work_ns(&self, plain_ns: f64) -> f64 {
        self.classes.values().map(|class| class.work.ns(plain_ns)).sum()
    }

    /// How many tasks of a tenant wait, or will once they are prepared.
    pub(crate) fn waiting_of(&self, id: TenantId) -> usize {
        let tenant = &self.tenants[id.index()];
        tenant.waiting + tenant.preparing
    }

    /// How many tasks wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests;

//! Which slot had which key last, and whether a task waits for it.
//!
//! A task with a key goes to that slot where it idles. Where the slot is busy and expected to be
//! free in time, the task is sent ahead to it. Until that time is over nobody takes it away;
//! after that, a slot that idles has it. A key stands for a tenant and what the tenant calls its
//! session. It is a digest, for two that are the same cost no more than a preference.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use slab::Slab;

use super::{AHEAD_BYTES, MAX_DEPTH, Outstanding, Placement, Slot};
use crate::sched::ledger::Options;
use crate::sched::stamp::Stamp;

/// How long a task waits for its worker, where that was not said.
const WAIT: Duration = Duration::from_millis(50);

/// How many keys are noted in each half of the table.
const HALF: usize = 8 << 10;

/// Where a task would like to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    key: u64,
    /// How long it waits for that.
    until: Stamp,
}

/// Which slot had each key last. When one half is full, the other is forgotten: so keys of
/// which there was a task of late are there, and memory is bounded.
#[derive(Debug, Default)]
pub(super) struct Affinities {
    young: HashMap<u64, Seat>,
    old: HashMap<u64, Seat>,
    /// When the first of those that wait for their slots has waited for long enough.
    pub(super) next: Option<Instant>,
}

/// A slot, and which of those that had its place.
type Seat = (usize, u64);

/// The digest of what a caller calls a session.
pub(crate) fn digest(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

impl Home {
    /// That of a submit, if it has a key.
    pub(crate) fn of(options: &Options, now: Instant) -> Option<Self> {
        let session = options.affinity?;
        let mut hasher = DefaultHasher::new();
        (session, &options.tenant).hash(&mut hasher);
        let until = now.checked_add(options.affinity_wait.unwrap_or(WAIT)).unwrap_or(now);
        Some(Self { key: hasher.finish(), until: until.into() })
    }

    pub(super) fn until(self) -> Instant {
        self.until.at()
    }
}

impl Affinities {
    /// The slot that had the key last, if that is up.
    pub(super) fn find<'a>(&self, home: Home, slots: &'a Slab<Slot>) -> Option<(usize, &'a Slot)> {
        let (at, serial) = *self.young.get(&home.key).or_else(|| self.old.get(&home.key))?;
        let slot = slots.get(at).filter(|slot| slot.serial == serial && !slot.closing)?;
        Some((at, slot))
    }

    /// A slot has a key from now on.
    pub(super) fn note(&mut self, home: Home, at: usize, slot: &Slot) {
        if self.young.len() >= HALF && !self.young.contains_key(&home.key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(home.key, (at, slot.serial));
    }
}

impl Slot {
    /// Whether a task may wait here for what the slot has, until then at the latest.
    pub(super) fn is_worth_waiting(
        &self,
        until: Instant,
        bytes: usize,
        (plain_ns, now): (f64, Instant),
    ) -> bool {
        let fits = self.outstanding.len() < MAX_DEPTH && self.bytes + bytes <= AHEAD_BYTES;
        let left = || Duration::from_nanos(self.left_ns(now, plain_ns) as u64);
        fits && self.halted.is_none() && until > now && left() <= until - now
    }
}

impl Outstanding {
    /// Whether it waits for this slot, and not for any.
    pub(super) fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| until.at() > now)
    }
}

impl Placement {
    /// When a task will have waited for long enough for its slot: then `steal` may name it.
    pub(crate) fn next_held(&mut self, now: Instant) -> Option<Instant> {
        if self.affinities.next? <= now {
            let outstanding = self.slots.iter().flat_map(|(_, slot)| &slot.outstanding);
            let held = outstanding.filter(|one| one.is_held(now) && !one.revoked);
            self.affinities.next = held.filter_map(|one| one.held_until).min().map(Stamp::at);
        }
        self.affinities.next
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::Rules;
    use super::super::tests::task;
    use super::*;
    use crate::ids::{SlotId, TaskId};
    use crate::sched::shares::Queued;

    const MS: Duration = Duration::from_millis(1);

    fn home(key: u64, until: Instant) -> Home {
        Home { key, until: until.into() }
    }

    struct Fixture {
        placement: Placement,
        now: Instant,
        tasks: u32,
        /// The slot that had each key last, as far as it is up.
        last: BTreeMap<u64, SlotId>,
        /// What each slot has, and until when each task may wait there.
        sent: BTreeMap<SlotId, Vec<(TaskId, Option<Home>)>>,
        homes: BTreeMap<TaskId, Option<Home>>,
    }

    impl Fixture {
        fn new(slots: usize) -> Self {
            let now = Instant::now();
            let mut placement = Placement::new(Rules::default());
            let sent = (0..slots).map(|_| (placement.slot_up(now), Vec::new())).collect();
            let (last, homes) = (BTreeMap::new(), BTreeMap::new());
            Self { placement, now, tasks: 0, last, sent, homes }
        }

        fn submit(&mut self, key: Option<u64>, wait: Duration) -> TaskId {
            self.tasks += 1;
            let (task, submitted) = (task(self.tasks), self.now.into());
            let home = key.map(|key| home(key, self.now + wait));
            let tenant = self.placement.seen(None, 1, self.now);
            let place = self.placement.place(0, tenant);
            let (bytes, hurried, steady_ns) = (8, false, None);
            self.homes.insert(task, home);
            self.placement.enqueue(
                place,
                Queued { task, bytes, submitted, hurried, steady_ns, home, batch: None },
            );
            self.pump();
            task
        }

        /// As the gate does: assigns, and takes back what another slot could have.
        fn pump(&mut self) {
            loop {
                while let Some((task, slot)) = self.placement.assign(self.now) {
                    let home = self.homes[&task];
                    self.sent.get_mut(&slot).unwrap().push((task, home));
                    if let Some(home) = home {
                        self.last.insert(home.key, slot);
                    }
                }
                let Some((task, slot)) = self.placement.steal(self.now) else { break };
                let sent = self.sent.get_mut(&slot).unwrap();
                assert!(sent[0].0 != task, "the first runs");
                sent.retain(|(one, _)| *one != task);
                let home = self.homes[&task];
                assert!(home.is_none_or(|home| home.until() <= self.now), "it waits for its slot");
                self.placement.revoked(slot, task);
                self.placement.freed(slot, task, self.now);
                let tenant = self.placement.seen(None, 1, self.now);
                let place = self.placement.place(0, tenant);
                let (bytes, submitted, hurried, steady_ns) = (8, self.now.into(), false, None);
                let queued =
                    Queued { task, bytes, submitted, hurried, steady_ns, home, batch: None };
                self.placement.enqueue(place, queued);
            }
            let next = self.placement.next_held(self.now);
            assert!(next.is_none_or(|at| at > self.now), "the clock would wake for nothing");
            self.placement.check_invariants(self.now);
        }

        fn end(&mut self, at: usize) {
            let at = at % self.sent.len();
            let Some((slot, sent)) = self.sent.iter_mut().nth(at) else { return };
            if sent.is_empty() {
                return;
            }
            let (task, _) = sent.remove(0);
            self.placement.freed(*slot, task, self.now);
            self.placement.observed(self.now, 5_000_000, None);
            self.pump();
        }

        /// A worker is lost, with what it has, and another one comes up.
        fn replace(&mut self, at: usize) {
            let slot = *self.sent.keys().nth(at % self.sent.len()).unwrap();
            self.sent.remove(&slot);
            self.placement.slot_closing(slot);
            self.placement.slot_down(slot, self.now);
            self.last.retain(|_, last| *last != slot);
            self.sent.insert(self.placement.slot_up(self.now), Vec::new());
            self.pump();
        }

        fn slot_of(&self, task: TaskId) -> Option<SlotId> {
            let has = |sent: &[(TaskId, _)]| sent.iter().any(|(one, _)| *one == task);
            self.sent.iter().find(|(_, sent)| has(sent)).map(|(slot, _)| *slot)
        }
    }

    #[test]
    fn a_key_goes_where_it_was_and_waits_no_longer_than_was_said() {
        let mut fixture = Fixture::new(3);
        let tasks = [1, 2, 3].map(|key| fixture.submit(Some(key), 50 * MS));
        let [first, second, third] = tasks.map(|task| fixture.slot_of(task).unwrap());
        fixture.now += 10 * MS;
        (0..3).for_each(|at| fixture.end(at));
        for _ in 0..2 {
            let tasks = [3, 2].map(|key| fixture.submit(Some(key), 50 * MS));
            assert_eq!(tasks.map(|task| fixture.slot_of(task)), [Some(third), Some(second)]);
            // It takes the one that idles only when it has waited for its own.
            let waits = fixture.submit(Some(3), 50 * MS);
            assert_eq!(fixture.slot_of(waits), Some(third));
            let hasty = fixture.submit(Some(3), Duration::ZERO);
            assert_eq!(fixture.slot_of(hasty), Some(first));
            fixture.end(0);
            let due = fixture.placement.next_held(fixture.now);
            assert_eq!(due, Some(fixture.homes[&waits].unwrap().until()));
            fixture.now = due.unwrap();
            fixture.pump();
            assert_eq!(fixture.slot_of(waits), Some(first), "the key has moved there");
            (0..3).for_each(|at| fixture.end(at));
            // Back where it was, for the next round.
            let held = [0, 1].map(|_| fixture.submit(None, MS));
            let moved = fixture.submit(Some(3), Duration::ZERO);
            assert_eq!(fixture.slot_of(moved), Some(third));
            assert!(held.iter().all(|task| fixture.slot_of(*task) != Some(third)));
            (0..3).for_each(|at| fixture.end(at));
        }
    }

    #[test]
    fn a_worker_that_took_the_place_of_another_has_none_of_its_keys() {
        let mut fixture = Fixture::new(2);
        let one = [0, 1].map(|key| fixture.submit(Some(key), 50 * MS))[1];
        let place = fixture.slot_of(one).unwrap();
        (0..2).for_each(|at| fixture.end(at));
        fixture.replace(1);
        assert!(fixture.sent.contains_key(&place), "it has the same place");
        let again = fixture.submit(Some(1), 50 * MS);
        assert_ne!(fixture.slot_of(again), Some(place));
    }

    #[test]
    fn the_last_keys_are_kept_and_no_more() {
        let mut fixture = Fixture::new(1);
        for key in 0..5 * HALF as u64 {
            fixture.submit(Some(key), MS);
            fixture.end(0);
            let table = &fixture.placement.affinities;
            assert!(table.young.len() <= HALF && table.old.len() <= HALF);
            let known =
                |key| table.find(home(key, fixture.now), &fixture.placement.slots).is_some();
            assert!(known(key) && known(key.saturating_sub(HALF as u64 - 1)));
        }
    }

    #[test]
    fn a_key_is_of_its_tenant() {
        let of = |tenant: &str, session: &str| {
            let options = Options {
                affinity: Some(digest(session)),
                tenant: Some(tenant.into()),
                ..Options::default()
            };
            Home::of(&options, Instant::now()).unwrap().key
        };
        assert_eq!(of("a", "1"), of("a", "1"));
        assert!(of("a", "1") != of("b", "1") && of("a", "1") != of("a", "2"));
        assert_eq!(Home::of(&Options::default(), Instant::now()), None);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Submit(Option<u64>, u64),
        End(usize),
        Pass(u64),
        Replace(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (prop::option::weighted(0.8, 0..4_u64), 0..80_u64)
                .prop_map(|(key, wait)| Event::Submit(key, wait)),
            4 => any::<usize>().prop_map(Event::End),
            2 => (0..40_u64).prop_map(Event::Pass),
            1 => any::<usize>().prop_map(Event::Replace),
        ]
    }

    proptest! {
        #[test]
        fn an_idle_slot_has_its_keys_and_nobody_waits_too_long(
            slots in 1..4_usize,
            events in prop::collection::vec(event(), 0..120),
        ) {
            let mut fixture = Fixture::new(slots);
            for event in events {
                match event {
                    Event::Submit(key, wait) => {
                        let before = key.and_then(|key| fixture.last.get(&key)).copied();
                        let idle = before.filter(|slot| fixture.sent[slot].is_empty());
                        let task = fixture.submit(key, Duration::from_millis(wait));
                        let slot = fixture.slot_of(task);
                        prop_assert!(idle.is_none() || slot == idle, "its slot idled");
                    }
                    Event::End(at) => fixture.end(at),
                    Event::Pass(ms) => {
                        fixture.now += Duration::from_millis(ms);
                        fixture.pump();
                    }
                    Event::Replace(at) => fixture.replace(at),
                }
                let idles = fixture.sent.values().any(Vec::is_empty);
                let mut behind = fixture.sent.values().flat_map(|sent| sent.iter().skip(1));
                let held = |home: Home| home.until() > fixture.now;
                prop_assert!(!idles || behind.all(|(_, home)| home.is_some_and(held)));
            }
        }
    }
}

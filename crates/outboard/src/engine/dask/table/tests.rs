//! Whatever happens, in any order: every task ends once, every key is released,
//! and the counts agree.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::sched::placement::{Placement, Rules};
use crate::task::function::TaskFunction;
use crate::task::registry::function;

/// The most schedulers of a table.
const SCHEDULERS: usize = 3;

/// What may happen. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Event {
    SlotUp,
    SlotGone(usize),
    /// A task starts; with a key that an equal call has too, or of its own.
    Start(Option<u8>),
    /// Its caller leaves.
    Stop(usize),
    /// All that waits for a scheduler leaves.
    Write(usize),
    /// A scheduler says something of a key.
    Says(usize, usize, Saying),
    /// A result arrives, or turns out not to be there.
    Fetched(usize, usize, bool),
    Up(usize, usize),
    Down(usize),
    Later(u16),
}

#[derive(Clone, Copy, Debug)]
enum Saying {
    InMemory,
    /// It failed, or was cancelled, or the scheduler was started anew.
    Ended,
    /// Of a key that nobody has, or has any more.
    Stray,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let saying = prop_oneof![3 => Just(Saying::InMemory), 2 => Just(Saying::Ended), 1 => Just(Saying::Stray)];
    let event = prop_oneof![
        3 => Just(Event::SlotUp),
        1 => any::<usize>().prop_map(Event::SlotGone),
        6 => prop::option::of(0..3_u8).prop_map(Event::Start),
        3 => any::<usize>().prop_map(Event::Stop),
        6 => any::<usize>().prop_map(Event::Write),
        6 => (any::<usize>(), any::<usize>(), saying)
            .prop_map(|(at, which, what)| Event::Says(at, which, what)),
        5 => (any::<usize>(), any::<usize>(), any::<bool>())
            .prop_map(|(at, which, found)| Event::Fetched(at, which, found)),
        2 => (any::<usize>(), 0..20_usize).prop_map(|(at, threads)| Event::Up(at, threads)),
        1 => any::<usize>().prop_map(Event::Down),
        1 => (0..1000_u16).prop_map(Event::Later),
    ];
    prop::collection::vec(event, 0..150)
}

/// A task that is at a slot and has not ended.
#[derive(Clone, Debug)]
struct Live {
    slot: SlotId,
    key: String,
    at: usize,
    sent: bool,
}

/// A table, with what the gate and the schedulers would know.
struct Model {
    table: Table,
    now: Instant,
    slots: Vec<SlotId>,
    live: BTreeMap<u32, Live>,
    /// Slots that are to be free when what nobody wants any more has left.
    skipping: Vec<(SlotId, TaskId)>,
    /// Tasks that have no slot.
    waiting: Vec<u32>,
    ended: BTreeSet<u32>,
    tasks: u32,
    keys: u32,
    placement: Placement,
    /// The keys that each scheduler has for this client.
    known: Vec<BTreeSet<String>>,
    /// Those whose results are being fetched.
    fetching: Vec<Vec<String>>,
}

impl Model {
    fn new(schedulers: usize) -> Self {
        Self {
            table: Table::new(schedulers, Window::default()),
            now: Instant::now(),
            slots: Vec::new(),
            live: BTreeMap::new(),
            skipping: Vec::new(),
            waiting: Vec::new(),
            ended: BTreeSet::new(),
            tasks: 0,
            keys: 0,
            placement: Placement::new(Rules::default()),
            known: vec![BTreeSet::new(); schedulers],
            fetching: vec![Vec::new(); schedulers],
        }
    }

    fn happens(&mut self, event: Event) {
        let schedulers = self.known.len();
        match event {
            Event::SlotUp => {
                let slot = self.placement.slot_up(self.now);
                self.table.add_slot(slot);
                self.slots.push(slot);
            }
            Event::SlotGone(which) => {
                if let Some(slot) = chosen(&self.idle(), which) {
                    self.table.remove_slot(slot);
                    self.slots.retain(|one| *one != slot);
                }
            }
            Event::Start(shared) => self.start(shared),
            Event::Stop(which) => {
                let all: Vec<u32> = self.live.keys().copied().collect();
                chosen(&all, which).into_iter().for_each(|task| self.stop(task));
            }
            Event::Write(at) => self.write(at % schedulers),
            Event::Says(at, which, what) => self.says(at % schedulers, which, what),
            Event::Fetched(at, which, found) => self.fetched(at % schedulers, which, found),
            Event::Up(at, threads) => self.table.up(at % schedulers, threads),
            Event::Down(at) => self.down(at % schedulers),
            Event::Later(ms) => self.now += Duration::from_millis(ms.into()),
        }
        self.table.resize();
        self.check();
    }

    fn idle(&self) -> Vec<SlotId> {
        let busy = |slot: &SlotId| {
            self.live.values().any(|live| live.slot == *slot)
                || self.skipping.iter().any(|(one, _)| one == slot)
        };
        self.slots.iter().copied().filter(|slot| !busy(slot)).collect()
    }

    fn start(&mut self, shared: Option<u8>) {
        let Some(slot) = self.idle().first().copied() else { return };
        if !self.table.any_up() {
            return;
        }
        let task = self.waiting.pop().unwrap_or_else(|| {
            self.tasks += 1;
            self.tasks
        });
        // Of equal calls that are wanted, the ledger makes one.
        let shared = shared.map(|key| format!("shared-{key}"));
        let shared = shared.filter(|key| self.live.values().all(|live| live.key != *key));
        self.keys += 1;
        let key = shared.unwrap_or_else(|| format!("own-{}", self.keys));
        let start = start(task, key.clone());
        let at = self.table.start(self.now, slot, start);
        assert!(self.table.is_up(at), "a task goes to a scheduler that is there");
        self.live.insert(task, Live { slot, key, at, sent: false });
    }

    fn stop(&mut self, number: u32) {
        let live = self.live.remove(&number).expect("it was chosen");
        let task = TaskId::for_test(number);
        assert_eq!(self.table.stop(live.slot, task), Some((!live.sent, live.at)));
        assert_eq!(self.table.stop(live.slot, task), None, "once");
        self.skipping.push((live.slot, task));
        self.end(number);
    }

    fn end(&mut self, task: u32) {
        assert!(self.ended.insert(task), "a task ends once");
    }

    fn write(&mut self, at: usize) {
        if !self.table.is_up(at) {
            return;
        }
        let batch = self.table.take(at);
        for key in batch.released {
            assert!(self.known[at].remove(&key), "{key} is released, and not known");
        }
        for start in batch.started {
            assert!(self.known[at].insert(start.key.clone()), "{} is there twice", start.key);
            let live = self.live.values_mut().find(|live| live.key == start.key);
            live.expect("only what is wanted leaves").sent = true;
        }
        for (slot, task) in batch.skipped {
            let place = self.skipping.iter().position(|one| *one == (slot, task));
            self.skipping.remove(place.expect("a slot is freed once"));
            self.table.freed(slot, task);
        }
    }

    fn says(&mut self, at: usize, which: usize, what: Saying) {
        let keys: Vec<String> = self.known[at].iter().cloned().collect();
        match (what, chosen(&keys, which)) {
            (Saying::InMemory, Some(key)) => {
                let wanted = self.sent(at, &key).is_some() && !self.fetching[at].contains(&key);
                let claimed = self.table.claim(at, &key);
                assert!(claimed || !wanted, "{key} is there, and nobody fetches it");
                assert!(!self.table.claim(at, &key), "it is fetched once");
                if claimed {
                    self.fetching[at].push(key);
                }
            }
            (Saying::Ended, Some(key)) => self.conclude(at, &key),
            (Saying::Stray, _) | (_, None) => {
                for key in ["stray", "shared-0", "own-1"] {
                    if self.sent(at, key).is_none() {
                        assert_eq!(self.table.by_key(at, key), None);
                        assert!(!self.table.claim(at, key));
                        self.table.ended(self.now, at, key);
                    }
                }
            }
        }
    }

    /// The task that a scheduler has by a key, and that is wanted.
    fn sent(&self, at: usize, key: &str) -> Option<u32> {
        let is_it = |live: &Live| live.sent && live.at == at && live.key == key;
        self.live.iter().find(|(_, live)| is_it(live)).map(|(task, _)| *task)
    }

    fn conclude(&mut self, at: usize, key: &str) {
        let found = self.table.by_key(at, key).map(|entry| entry.task);
        let wanted = self.sent(at, key);
        assert_eq!(found, wanted.map(TaskId::for_test));
        self.table.ended(self.now, at, key);
        if let Some(task) = wanted {
            self.live.remove(&task);
            self.end(task);
        }
    }

    fn fetched(&mut self, at: usize, which: usize, found: bool) {
        if self.fetching[at].is_empty() {
            return;
        }
        let place = which % self.fetching[at].len();
        let key = self.fetching[at].swap_remove(place);
        match found {
            true => self.conclude(at, &key),
            false => self.table.unclaim(at, &key),
        }
    }

    fn down(&mut self, at: usize) {
        (self.known[at], self.fetching[at]) = Default::default();
        for (slot, running) in self.table.down(at) {
            for task in self.table.withdraw(slot) {
                let moves = |(number, _): &(&u32, &Live)| TaskId::for_test(**number) == task;
                let number = *self.live.iter().find(moves).expect("it is wanted").0;
                assert!(!self.live.remove(&number).expect("found").sent);
                self.waiting.push(number);
            }
            for (task, _) in running {
                let lost = |(number, _): &(&u32, &Live)| TaskId::for_test(**number) == task;
                let number = *self.live.iter().find(lost).expect("it is wanted").0;
                let live = self.live.remove(&number).expect("found");
                assert!(live.sent && live.at == at, "only what that scheduler had is lost");
                self.end(number);
            }
            assert!(self.live.values().all(|live| live.slot != slot), "nothing is left behind");
            self.skipping.retain(|(one, _)| *one != slot);
            self.slots.retain(|one| *one != slot);
            self.table.remove_slot(slot);
        }
        assert!(self.live.values().all(|live| live.at != at));
    }

    fn check(&self) {
        self.table.check_invariants();
        let schedulers = self.table.schedulers.iter();
        let up = schedulers.filter(|it| it.up).map(|it| it.window.size()).sum::<usize>();
        assert_eq!(self.table.capacity(), up);
        assert_eq!(self.table.missing(), up.saturating_sub(self.slots.len()));
        for (at, known) in self.known.iter().enumerate() {
            let held = self.live.values().filter(|live| live.at == at).count();
            assert!(self.table.schedulers[at].held >= held);
            for key in known {
                let released =
                    |one: &Outgoing| matches!(one, Outgoing::Release(it, _) if it == key);
                let leaves = self.table.schedulers[at].outbox.iter().any(released);
                assert!(leaves || self.sent(at, key).is_some(), "{key} is never released");
            }
        }
        for (number, live) in &self.live {
            let task = TaskId::for_test(*number);
            assert_eq!(self.table.has_left(live.slot, task), live.sent);
            assert!(self.table.held_for(self.now, live.slot, task).is_some());
            assert!(!live.sent || self.known[live.at].contains(&live.key));
        }
    }

    /// All schedulers come back, and answer.
    fn drain(&mut self) {
        for at in 0..self.known.len() {
            self.happens(Event::Up(at, 1));
            self.happens(Event::Write(at));
            while let Some(key) = self.known[at].first().cloned() {
                self.conclude(at, &key);
                self.happens(Event::Write(at));
            }
        }
        assert!(self.live.is_empty() && self.skipping.is_empty(), "all have ended");
        assert_eq!(self.ended.len() + self.waiting.len(), self.tasks as usize);
        for scheduler in &self.table.schedulers {
            assert!(scheduler.keys.is_empty() && scheduler.outbox.is_empty());
            assert_eq!(scheduler.held, 0);
        }
    }
}

impl Table {
    /// What holds between any two calls.
    fn check_invariants(&self) {
        for (at, scheduler) in self.schedulers.iter().enumerate() {
            let there =
                || self.slots.iter().flat_map(|(slot, all)| all.iter().map(|it| (*slot, it)));
            let there = || there().filter(|(_, held)| held.scheduler == at);
            assert_eq!(scheduler.held, there().count());
            let wanted = there().filter(|(_, held)| held.state != State::Released);
            let wanted: BTreeMap<_, _> =
                wanted.map(|(slot, held)| (held.key.as_str(), (slot, held.task))).collect();
            let keys = scheduler.keys.iter();
            let keys: BTreeMap<_, _> = keys.map(|(key, at)| (key.as_str(), *at)).collect();
            assert_eq!(format!("{keys:?}"), format!("{wanted:?}"), "keys lead to what is wanted");
            let starts = scheduler.outbox.iter();
            let starts = starts.filter(|one| matches!(one, Outgoing::Start(_))).count();
            let queued = there().filter(|(_, held)| held.state == State::Queued).count();
            assert_eq!(starts, queued, "what has not left is in the outbox");
            assert!(scheduler.window.size() > 0);
        }
    }
}

pub(super) fn start(task: u32, key: String) -> Start {
    Start {
        task: TaskId::for_test(task),
        attempt: 1,
        key,
        function: known(|x: u8| x),
        pool: None,
        args: vec![1].into(),
        priority: 0,
        terms: Terms::default(),
        values: Vec::new(),
        stream: None,
        again: false,
    }
}

/// One of several, by a number.
fn chosen<T: Clone>(all: &[T], which: usize) -> Option<T> {
    all.get(which.checked_rem(all.len())?).cloned()
}

fn known<F: TaskFunction<M>, M>(_: F) -> &'static Function {
    function::<F, M>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_task_ends_once_and_every_key_is_released(
        schedulers in 1..=SCHEDULERS,
        events in events(),
    ) {
        let mut model = Model::new(schedulers);
        (0..schedulers).for_each(|at| model.happens(Event::Up(at, 2)));
        (0..4).for_each(|_| model.happens(Event::SlotUp));
        events.into_iter().for_each(|event| model.happens(event));
        model.drain();
    }
}

#[test]
fn what_leaves_for_a_busy_scheduler_may_wait_for_more_unless_a_task_is_to_be_stopped() {
    let (mut table, now) = (Table::new(1, Window::default()), Instant::now());
    let mut placement = Placement::new(Rules::default());
    let slots: Vec<SlotId> = (0..MANY).map(|_| placement.slot_up(now)).collect();
    table.up(0, 2);
    let starts = |table: &mut Table, numbers: std::ops::Range<usize>| {
        for number in numbers {
            table.add_slot(slots[number]);
            table.start(now, slots[number], start(number as u32, format!("k{number}")));
        }
    };
    starts(&mut table, 0..MANY / 2 - 1);
    assert!(!table.may_gather(0), "nothing has left yet");
    table.take(0);
    starts(&mut table, MANY / 2 - 1..MANY / 2);
    assert!(!table.may_gather(0), "it may have nothing to do soon");
    table.take(0);
    starts(&mut table, MANY / 2..MANY / 2 + 1);
    assert!(table.may_gather(0));
    table.stop(slots[0], TaskId::for_test(0));
    assert!(!table.may_gather(0), "a task is to be stopped");
    table.take(0);
    starts(&mut table, MANY / 2 + 1..MANY * 3 / 4 + 1);
    assert!(!table.may_gather(0), "they are many already");
}

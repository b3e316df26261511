//! How many workers have a slot, who stands by, and whose worker is to be replaced.
//!
//! Pure: what there is comes in, and steps come out. The order of the steps is the
//! algorithm; see [`Strength::plan`]. Which number in `0..workers` a worker's slot has, and
//! keeps for its replacement, is told in `tally`.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::ids::SlotId;

use count::WorkerCount;
use elastic::{Elastic, Excess};
use tally::Tally;
use wanted::Wanted;

pub(crate) use elastic::Load;

/// A number of workers, or a range.
pub(crate) mod count;
/// How many of a range there are to be.
mod elastic;
/// Which numbers are held.
mod tally;
/// Which numbers are to be held.
mod wanted;

/// How many workers there are to be, and which are on their way out.
#[derive(Debug, Default)]
pub(crate) struct Strength {
    kind: Slots,
    /// Those that are to have a slot.
    wanted: Wanted,
    /// How many are to stand by.
    spares: usize,
    /// What decides how many are wanted, where that follows the load.
    elastic: Option<Elastic>,
    /// How long a worker of an elastic pool may have nothing to do.
    idle: Duration,
    /// The numbers of the slots that are up.
    numbers: Vec<(SlotId, usize)>,
    /// Slots that are up and whose workers wait to be replaced.
    worn: VecDeque<SlotId>,
    /// Slots whose workers leave when they have ended what they have.
    leaving: Vec<SlotId>,
    /// Whether there may be one slot more than workers were asked for.
    lent: bool,
    /// Whether there may be another worker, or another slot, than before.
    changed: bool,
}

/// What a slot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Slots {
    /// A place in someone else's queue: one is as good as another.
    #[default]
    Alike,
    /// A worker's place, with a number that the worker in its place has next. For a while two
    /// may have the same: one that leaves and its replacement, or one that was lent.
    Numbered,
    /// The same, but a worker has its number from its start, and starts when the one before is
    /// gone. So no two ever have the same.
    Exclusive,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Present {
    /// Slots that are up.
    pub(crate) slots: usize,
    /// Those of them that have nothing to do.
    pub(crate) idle: Vec<SlotId>,
    /// Workers that are ready and have no slot.
    pub(crate) standby: usize,
    /// Whether a tenant waits without a slot, while others hold all.
    pub(crate) wants_spare: bool,
}

/// One thing to do, after those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A worker that stands by gets a new slot.
    Give,
    /// The worker of a slot ends what it has, and leaves.
    Leave(SlotId),
    /// The worker of an idle slot stands by, without it.
    Take(SlotId),
    /// A worker that stands by is let go.
    Dismiss,
}

impl Strength {
    /// Of workers that are numbered.
    pub(crate) fn new(workers: usize, spares: usize) -> Self {
        let wanted = Wanted::all_below(workers);
        Self { kind: Slots::Numbered, wanted, spares, ..Self::default() }
    }

    /// Of workers of which no two have the same number at a time.
    pub(crate) fn exclusive(workers: usize) -> Self {
        let wanted = Wanted::all_below(workers);
        Self { kind: Slots::Exclusive, wanted, ..Self::default() }
    }

    /// So many, or as many of a range as the load asks for; of those that have nothing to do for
    /// so long, some end.
    pub(crate) fn following(mut self, count: WorkerCount, idle: Duration) -> Self {
        self.idle = idle;
        self.bound(count);
        self
    }

    /// How many are to have a slot.
    pub(crate) fn workers(&self) -> usize {
        self.wanted.count()
    }

    /// How many there are to be at least and at most.
    pub(crate) fn bounds(&self) -> (usize, usize) {
        let fixed = WorkerCount::from(self.workers());
        let count = self.elastic.as_ref().map_or(fixed, |elastic| elastic.count);
        (count.least(), count.most())
    }

    /// Whether it follows the load.
    pub(crate) fn is_elastic(&self) -> bool {
        self.elastic.is_some()
    }

    /// Whether it follows the load, and there is none.
    pub(crate) fn rests(&self) -> bool {
        self.is_elastic() && self.workers() == 0
    }

    /// How many workers there are to be: those that leave are still there, and count
    /// beside those that stay.
    ///
    /// Where slots are exclusive, the worker of a slot starts when the one before is gone.
    pub(crate) fn kept(&self) -> usize {
        match self.kind {
            Slots::Exclusive => self.wanted.below(),
            _ => self.workers() + self.standby() + self.leaving.len(),
        }
    }

    /// The numbers of exclusive slots below [`kept`](Self::kept) that are to have no worker now.
    pub(crate) fn absent(&self) -> &BTreeSet<usize> {
        static NONE: BTreeSet<usize> = BTreeSet::new();
        if self.kind == Slots::Exclusive { self.wanted.absent() } else { &NONE }
    }

    /// Workers that stand by: one more while another is to be replaced. Where no worker is
    /// wanted, nobody stands by for it.
    fn standby(&self) -> usize {
        if self.workers() == 0 { 0 } else { self.spares + self.worn.len().min(1) }
    }

    /// So many are to have a slot from now on, or as many of a range as the load asks for.
    pub(crate) fn bound(&mut self, count: WorkerCount) {
        self.wanted = match count.is_elastic() {
            true => self.wanted.within(count.most(), count.least()),
            false => Wanted::all_below(count.most()),
        };
        self.elastic = count.is_elastic().then(|| Elastic::new(count, self.idle));
        self.changed = true;
    }

    /// When it is to be asked again whether the load asks for more workers, or for fewer.
    pub(crate) fn alarm(&self) -> Option<Instant> {
        self.elastic.as_ref().and_then(Elastic::alarm)
    }

    /// How many are to have a slot and have none.
    pub(crate) fn missing(&self) -> usize {
        self.vacant().count()
    }

    fn vacant(&self) -> impl DoubleEndedIterator<Item = usize> {
        let held = |number: &usize| self.numbers.iter().any(|(_, held)| held == number);
        let numbered = self.kind != Slots::Alike;
        self.wanted.iter().filter(move |number| numbered && !held(number))
    }

    /// Orders the workers that the load asks for; whether there are some. `wait` says how long
    /// what waits would need to start if so many more were ordered now.
    pub(crate) fn grow(&mut self, load: &Load, wait: impl Fn(usize) -> Duration) -> bool {
        let crew = self.crew();
        let Some(elastic) = &mut self.elastic else { return false };
        let more = elastic.grow(load, crew, wait);
        let raised = (0..more).take_while(|_| self.wanted.raise()).count();
        self.changed |= raised > 0;
        raised > 0
    }

    /// Gives the slots of workers that the load does not need any more; they are to leave.
    pub(crate) fn shrink<I: Iterator<Item = (SlotId, Instant)>>(
        &mut self,
        load: &Load,
        idle: impl FnOnce() -> I,
    ) -> Vec<SlotId> {
        let crew = self.crew();
        let Some(elastic) = &mut self.elastic else { return Vec::new() };
        let Excess { slots, missing } = elastic.shrink(load, crew, idle);
        let vacant: Vec<_> = self.vacant().rev().take(missing).collect();
        let left = slots.iter().filter_map(|slot| self.number(*slot));
        let given_up: Vec<_> = left.chain(vacant).collect();
        self.changed |= !given_up.is_empty();
        given_up.into_iter().for_each(|number| self.wanted.give_up(number));
        slots
    }

    fn crew(&self) -> elastic::Crew {
        match self.is_elastic() {
            true => elastic::Crew { wanted: self.workers(), coming: self.missing() },
            false => elastic::Crew { wanted: 0, coming: 0 },
        }
    }

    fn number(&self, slot: SlotId) -> Option<usize> {
        self.numbers.iter().find(|(one, _)| *one == slot).map(|(_, number)| *number)
    }

    /// A slot is up; gives its number. `own` is that which its worker has had from its start.
    ///
    /// Without that it is the lowest that no other has, or of those that others have the one
    /// that the fewest have.
    pub(crate) fn give(&mut self, slot: SlotId, own: Option<usize>) -> usize {
        // Of those there may be thousands, and nobody asks for their numbers.
        if self.kind == Slots::Alike {
            return 0;
        }
        let number = own.unwrap_or_else(|| self.tally(0).next_number());
        self.numbers.push((slot, number));
        if let Some(elastic) = &mut self.elastic {
            elastic.came_up();
        }
        number
    }

    /// The slot is up no more, and its worker stands by.
    pub(crate) fn taken(&mut self, slot: SlotId) {
        self.numbers.retain(|(one, _)| *one != slot);
    }

    /// Slots that are up and have a number that is to have no worker any more.
    pub(crate) fn beyond(&self) -> Vec<SlotId> {
        let beyond = self.numbers.iter().filter(|(_, number)| !self.wanted.has(*number));
        beyond.map(|(slot, _)| *slot).collect()
    }

    fn tally(&self, slots: usize) -> Tally<'_> {
        Tally::new(self.kind, &self.wanted, &self.numbers, slots)
    }

    /// There is another worker that is ready, or one fewer.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
    }

    /// The worker of a slot that is up is to be replaced as soon as another is ready.
    pub(crate) fn worn(&mut self, slot: SlotId) {
        if !self.worn.contains(&slot) {
            self.worn.push_back(slot);
            self.changed = true;
        }
    }

    /// A slot is up no more: its worker is killed, dies, or leaves.
    pub(crate) fn closing(&mut self, slot: SlotId) {
        self.worn.retain(|worn| *worn != slot);
        self.taken(slot);
        self.changed = true;
    }

    /// The worker of a closing slot leaves when it has ended what it has.
    pub(crate) fn leaves(&mut self, slot: SlotId) {
        self.leaving.push(slot);
    }

    pub(crate) fn is_leaving(&self, slot: SlotId) -> bool {
        self.leaving.contains(&slot)
    }

    /// A slot is gone.
    pub(crate) fn gone(&mut self, slot: SlotId) {
        self.closing(slot);
        self.leaving.retain(|leaving| *leaving != slot);
    }

    /// Whether there may be something to do: it is asked at every turn of the gate.
    pub(crate) fn is_due(&self, wants_spare: bool) -> bool {
        wants_spare || self.lent || self.changed
    }

    /// What is to be done, step by step:
    ///
    /// 1. Slots that are too many are taken from idle workers: those whose number another one
    ///    has too. A worn worker does not stand by.
    /// 2. Slots that are missing are filled, for a worn worker still works.
    /// 3. Then worn workers leave, each when another has a slot in its place: one that
    ///    stood by, or one too many. Where slots are exclusive, nobody can be there before; so
    ///    one leaves at a time, and while none is missing.
    /// 4. Only of those that stand by after that is one lent, and one at a time.
    /// 5. Whoever is left over goes, but none that a missing slot may need.
    pub(crate) fn plan(&mut self, present: &Present) -> Vec<Step> {
        self.changed = false;
        let mut standby = present.standby;
        let mut tally = Tally::new(self.kind, &self.wanted, &self.numbers, present.slots);
        let mut steps = Vec::new();
        for idle in present.idle.iter().filter(|idle| !self.worn.contains(idle)) {
            if tally.is_too_many(*idle) {
                tally.remove(*idle);
                standby += 1;
                steps.push(Step::Take(*idle));
            }
        }
        while tally.is_missing() && standby > 0 {
            standby -= 1;
            tally.fill();
            steps.push(Step::Give);
        }
        let exclusive = self.kind == Slots::Exclusive;
        while let Some(at) = self.worn.iter().position(|worn| match exclusive {
            true => !tally.is_missing(),
            false => standby > 0 || tally.is_too_many(*worn),
        }) {
            let Some(worn) = self.worn.remove(at) else { break };
            let too_many = tally.is_too_many(worn);
            tally.remove(worn);
            steps.push(Step::Leave(worn));
            if !exclusive && !too_many {
                standby -= 1;
                tally.fill();
                steps.push(Step::Give);
            }
        }
        self.lent = tally.has_too_many();
        if present.wants_spare && !self.lent && standby > 0 {
            (standby, self.lent) = (standby - 1, true);
            steps.push(Step::Give);
        }
        if !tally.is_missing() {
            let left_over = standby.saturating_sub(self.standby());
            steps.extend(std::iter::repeat_n(Step::Dismiss, left_over));
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Step::*;
    use super::*;

    fn slot(key: usize) -> SlotId {
        SlotId::at(key)
    }

    struct Case {
        name: &'static str,
        /// Workers, spares.
        wanted: (usize, usize),
        worn: &'static [usize],
        /// Slots that are up, workers that stand by.
        there: (usize, usize),
        idle: &'static [usize],
        wants_spare: bool,
        steps: Vec<Step>,
    }

    fn base() -> Case {
        Case {
            name: "all is as it should be",
            wanted: (2, 1),
            worn: &[],
            there: (2, 1),
            idle: &[],
            wants_spare: false,
            steps: vec![],
        }
    }

    fn check<const N: usize>(cases: [Case; N]) {
        for case in cases {
            let (mut strength, present) = case.given();
            assert_eq!(strength.plan(&present), case.steps, "{}", case.name);
        }
    }

    #[test]
    fn missing_slots_are_filled_and_worn_workers_replaced() {
        check([
            base(),
            Case { name: "a slot is missing", there: (1, 2), steps: vec![Give], ..base() },
            Case { name: "nobody can fill it", there: (0, 0), ..base() },
            Case {
                name: "a missing slot goes before a worn worker",
                worn: &[0],
                there: (1, 1),
                steps: vec![Give],
                ..base()
            },
            Case {
                name: "a worn worker is replaced",
                worn: &[1],
                steps: vec![Leave(slot(1)), Give],
                ..base()
            },
            Case { name: "it goes on while none is ready", worn: &[1], there: (2, 0), ..base() },
            Case {
                name: "of two that are worn, one is replaced, and a spare is kept for the other",
                worn: &[1, 0],
                there: (2, 1),
                steps: vec![Leave(slot(1)), Give],
                ..base()
            },
            Case {
                name: "a worn worker whose number another one has needs no other",
                worn: &[0],
                there: (3, 1),
                steps: vec![Leave(slot(0))],
                ..base()
            },
            Case {
                name: "one that has its number alone is replaced all the same",
                worn: &[1],
                there: (3, 1),
                steps: vec![Leave(slot(1)), Give],
                ..base()
            },
        ]);
    }

    #[test]
    fn slots_too_many_are_taken_and_spares_are_lent_or_go() {
        check([
            Case {
                name: "an idle slot too many is taken",
                there: (3, 0),
                idle: &[2, 0],
                steps: vec![Take(slot(2))],
                ..base()
            },
            Case {
                name: "what is taken is left over where spares are enough",
                there: (4, 1),
                idle: &[2, 3],
                steps: vec![Take(slot(2)), Take(slot(3)), Dismiss, Dismiss],
                ..base()
            },
            Case {
                name: "one that leaves is not taken as well",
                worn: &[2],
                there: (4, 0),
                idle: &[2, 3],
                steps: vec![Take(slot(3)), Leave(slot(2))],
                ..base()
            },
            Case { name: "the spare is lent", wants_spare: true, steps: vec![Give], ..base() },
            Case { name: "but one only", wants_spare: true, there: (3, 1), ..base() },
            Case {
                name: "a worn worker is replaced before the spare is lent",
                worn: &[0],
                wants_spare: true,
                steps: vec![Leave(slot(0)), Give],
                ..base()
            },
            Case {
                name: "those left over go",
                there: (2, 3),
                steps: vec![Dismiss, Dismiss],
                ..base()
            },
            Case {
                name: "one more stands by while a worker is worn",
                wanted: (2, 0),
                worn: &[0],
                there: (2, 0),
                ..base()
            },
        ]);
    }

    impl Case {
        fn given(&self) -> (Strength, Present) {
            let mut strength = Strength::new(self.wanted.0, self.wanted.1);
            for up in 0..self.there.0 {
                strength.give(slot(up), None);
            }
            self.worn.iter().for_each(|worn| strength.worn(slot(*worn)));
            let idle = self.idle.iter().map(|idle| slot(*idle)).collect();
            let (slots, standby) = self.there;
            (strength, Present { slots, idle, standby, wants_spare: self.wants_spare })
        }
    }

    /// What there is, which steps change.
    struct World {
        kind: Slots,
        up: BTreeSet<usize>,
        idle: BTreeSet<usize>,
        standby: usize,
        next: usize,
        /// Of workers that left and are not gone, and of those that stand by, where they have
        /// one from their start.
        taken: BTreeSet<usize>,
        waiting: BTreeSet<usize>,
    }

    impl World {
        fn new(strength: &mut Strength, slots: &[(bool, bool)], standby: usize) -> Self {
            let mut world = Self {
                kind: strength.kind,
                up: BTreeSet::new(),
                idle: (0..slots.len()).filter(|at| slots[*at].0).collect(),
                standby,
                next: slots.len(),
                taken: BTreeSet::new(),
                waiting: (slots.len()..slots.len() + standby).collect(),
            };
            for (at, (_, worn)) in slots.iter().enumerate() {
                let own = (world.kind == Slots::Exclusive).then_some(at);
                strength.give(slot(at), own);
                world.up.insert(at);
                if *worn {
                    strength.worn(slot(at));
                }
            }
            world
        }

        fn present(&self, wants_spare: bool) -> Present {
            let idle = self.idle.iter().map(|idle| slot(*idle)).collect();
            Present { slots: self.up.len(), idle, standby: self.standby, wants_spare }
        }

        /// Does a step, which must be possible.
        fn apply(&mut self, strength: &mut Strength, step: Step) {
            match step {
                Give => {
                    self.standby = self.standby.checked_sub(1).expect("someone stands by");
                    let own = self.waiting.pop_first().filter(|_| self.kind == Slots::Exclusive);
                    strength.give(slot(self.next), own);
                    self.up.insert(self.next);
                    self.idle.insert(self.next);
                    self.next += 1;
                }
                Leave(slot) => {
                    assert!(self.up.remove(&slot.index()), "it was up");
                    self.idle.remove(&slot.index());
                    self.taken.extend(strength.number(slot));
                    strength.closing(slot);
                    strength.leaves(slot);
                }
                Take(slot) => {
                    assert!(self.idle.remove(&slot.index()), "it was idle");
                    assert!(self.up.remove(&slot.index()), "it was up");
                    strength.taken(slot);
                    self.standby += 1;
                }
                Dismiss => {
                    self.standby = self.standby.checked_sub(1).expect("someone stands by");
                }
            }
        }
    }

    fn held(strength: &Strength) -> BTreeSet<usize> {
        strength.numbers.iter().map(|(_, number)| *number).collect()
    }

    proptest! {
        #[test]
        fn afterwards_there_is_what_was_wanted(
            (workers, spares) in (1..6_usize, 0..3_usize),
            slots in prop::collection::vec((any::<bool>(), any::<bool>()), 0..8),
            standby in 0..6_usize,
            wants_spare in any::<bool>(),
        ) {
            let mut strength = Strength::new(workers, spares);
            let mut world = World::new(&mut strength, &slots, standby);
            let (before, worn) = (world.up.len(), strength.worn.len());
            let numbers = held(&strength).len();
            let steps = strength.plan(&world.present(wants_spare));
            steps.iter().for_each(|step| world.apply(&mut strength, *step));
            let (up, lent) = (world.up.len(), usize::from(wants_spare));
            let held = held(&strength);
            prop_assert!(held.iter().all(|number| *number < workers));
            prop_assert!(held.len() == workers || world.standby == 0, "a slot is empty for nothing");
            prop_assert!(held.len() >= numbers, "no number is given up");
            prop_assert!(up <= before.max(workers + lent));
            prop_assert!(up >= before.min(workers), "capacity is never given up");
            prop_assert!(world.standby <= strength.standby() || held.len() < workers);
            let left = steps.iter().filter(|step| matches!(step, Leave(_))).count();
            prop_assert_eq!(strength.worn.len(), worn - left);
            prop_assert!(!wants_spare || up > workers || world.standby == 0, "none was lent");
            let shared = |idle: &&usize| {
                let own = strength.number(slot(**idle));
                strength.numbers.iter().filter(|(_, number)| Some(*number) == own).count() > 1
            };
            let idle: Vec<_> = world.idle.iter().filter(shared).collect();
            prop_assert!(up <= workers + lent || idle.is_empty(), "an idle one too many");
            world.idle.clear();
            prop_assert_eq!(strength.plan(&world.present(wants_spare)), []);
        }

        #[test]
        fn of_an_exclusive_number_there_is_one_worker(
            slots in prop::collection::vec((any::<bool>(), any::<bool>()), 1..6),
            standby in 0..3_usize,
            wants_spare in any::<bool>(),
        ) {
            let mut strength = Strength::exclusive(slots.len() + standby);
            let mut world = World::new(&mut strength, &slots, standby);
            let worn = strength.worn.len();
            for _ in 0..3 {
                let steps = strength.plan(&world.present(wants_spare));
                steps.iter().for_each(|step| world.apply(&mut strength, *step));
                let all: Vec<_> = strength.numbers.iter().map(|(_, number)| *number).collect();
                prop_assert_eq!(all.len(), held(&strength).len(), "no two have the same");
                prop_assert!(held(&strength).is_disjoint(&world.taken), "the old one is gone first");
                prop_assert!(world.taken.len() <= 1, "one leaves at a time");
                prop_assert_eq!(strength.kept(), slots.len() + standby, "none is started beside it");
            }
            prop_assert_eq!(world.taken.len(), worn.min(1));
        }
    }

    #[test]
    fn a_number_that_was_lost_is_filled_although_a_lent_one_makes_up_the_count() {
        let mut strength = Strength::new(2, 1);
        let numbers = [0, 1, 2].map(|at| strength.give(slot(at), None));
        assert_eq!(numbers, [0, 1, 0]);
        strength.gone(slot(1));
        let present = Present { slots: 2, standby: 1, ..Present::default() };
        assert_eq!(strength.plan(&present), [Give]);
        assert_eq!(strength.give(slot(3), None), 1);
        strength.bound(1.into());
        assert_eq!(strength.beyond(), [slot(3)]);
    }
}

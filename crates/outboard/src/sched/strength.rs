//! How many workers have a slot, who stands by, and whose worker is to be replaced.
//!
//! Pure: what there is comes in, and steps come out. The order of the steps is the
//! algorithm; see [`Strength::plan`].

use std::collections::VecDeque;

use crate::ids::SlotId;

/// How many workers there are to be, and which are on their way out.
#[derive(Debug, Default)]
pub(crate) struct Strength {
    /// How many are to have a slot.
    workers: usize,
    /// How many are to stand by.
    spares: usize,
    /// Slots that are up and whose workers wait to be replaced.
    worn: VecDeque<SlotId>,
    /// Slots whose workers leave when they have ended what they have.
    leaving: Vec<SlotId>,
    /// Whether there may be one slot more than workers were asked for.
    lent: bool,
    /// Whether there may be another worker, or another slot, than before.
    changed: bool,
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
    pub(crate) fn new(workers: usize, spares: usize) -> Self {
        Self { workers, spares, ..Self::default() }
    }

    /// How many are to have a slot.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// How many workers there are to be: those that leave are still there, and count
    /// beside those that stay.
    pub(crate) fn kept(&self) -> usize {
        self.workers + self.standby() + self.leaving.len()
    }

    /// Workers that stand by: one more while another is to be replaced.
    fn standby(&self) -> usize {
        self.spares + self.worn.len().min(1)
    }

    /// So many are to have a slot from now on.
    pub(crate) fn resize(&mut self, workers: usize) {
        self.workers = workers;
        self.changed = true;
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
    /// 1. Slots that are missing are filled first, for a worn worker still works.
    /// 2. Then worn workers leave, each when another has a slot in its place: one that
    ///    stood by, or one too many.
    /// 3. Slots that are still too many are taken from idle workers.
    /// 4. Only of those that stand by after that is one lent, and one at a time.
    /// 5. Whoever is left over goes, but none that a missing slot may need.
    pub(crate) fn plan(&mut self, present: &Present) -> Vec<Step> {
        self.changed = false;
        let Present { mut slots, mut standby, .. } = *present;
        let mut steps = Vec::new();
        while slots < self.workers && standby > 0 {
            (slots, standby) = (slots + 1, standby - 1);
            steps.push(Step::Give);
        }
        while slots > self.workers || standby > 0 {
            let Some(worn) = self.worn.pop_front() else { break };
            steps.push(Step::Leave(worn));
            match slots > self.workers {
                true => slots -= 1,
                false => {
                    standby -= 1;
                    steps.push(Step::Give);
                }
            }
        }
        let idle = present.idle.iter().filter(|slot| !steps.contains(&Step::Leave(**slot)));
        let idle: Vec<_> = idle.take(slots.saturating_sub(self.workers)).collect();
        (slots, standby) = (slots - idle.len(), standby + idle.len());
        steps.extend(idle.into_iter().map(|slot| Step::Take(*slot)));
        self.lent = slots > self.workers;
        if present.wants_spare && !self.lent && standby > 0 {
            (slots, standby, self.lent) = (slots + 1, standby - 1, true);
            steps.push(Step::Give);
        }
        if slots >= self.workers {
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
                name: "a worn worker of a slot too many needs no other",
                worn: &[1],
                there: (3, 1),
                steps: vec![Leave(slot(1))],
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
                idle: &[2, 0],
                steps: vec![Take(slot(2)), Take(slot(0)), Dismiss, Dismiss],
                ..base()
            },
            Case {
                name: "one that leaves is not taken as well",
                worn: &[2],
                there: (4, 0),
                idle: &[2, 0],
                steps: vec![Leave(slot(2)), Take(slot(0))],
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
            self.worn.iter().for_each(|worn| strength.worn(slot(*worn)));
            let idle = self.idle.iter().map(|idle| slot(*idle)).collect();
            let (slots, standby) = self.there;
            (strength, Present { slots, idle, standby, wants_spare: self.wants_spare })
        }
    }

    #[derive(Clone)]
    struct World {
        up: BTreeSet<usize>,
        idle: BTreeSet<usize>,
        standby: usize,
        next: usize,
    }

    impl World {
        fn present(&self, wants_spare: bool) -> Present {
            let idle = self.idle.iter().map(|idle| slot(*idle)).collect();
            Present { slots: self.up.len(), idle, standby: self.standby, wants_spare }
        }

        /// Does a step, which must be possible.
        fn apply(&mut self, strength: &mut Strength, step: Step) {
            match step {
                Give => {
                    self.standby = self.standby.checked_sub(1).expect("someone stands by");
                    self.up.insert(self.next);
                    self.idle.insert(self.next);
                    self.next += 1;
                }
                Leave(slot) => {
                    assert!(self.up.remove(&slot.index()), "it was up");
                    self.idle.remove(&slot.index());
                    strength.closing(slot);
                    strength.leaves(slot);
                }
                Take(slot) => {
                    assert!(self.idle.remove(&slot.index()), "it was idle");
                    assert!(self.up.remove(&slot.index()), "it was up");
                    self.standby += 1;
                }
                Dismiss => {
                    self.standby = self.standby.checked_sub(1).expect("someone stands by");
                }
            }
        }
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
                let mut world = World {
                    up: (0..slots.len()).collect(),
                    idle: (0..slots.len()).filter(|at| slots[*at].0).collect(),
                    standby,
                    next: slots.len(),
                };
                let worn: Vec<_> = (0..slots.len()).filter(|at| slots[*at].1).collect();
                worn.iter().for_each(|worn| strength.worn(slot(*worn)));
                let before = world.clone();
                let steps = strength.plan(&world.present(wants_spare));
                steps.iter().for_each(|step| world.apply(&mut strength, *step));
                let (up, lent) = (world.up.len(), usize::from(wants_spare));
                prop_assert!(up >= workers || world.standby == 0, "a slot is empty for nothing");
                prop_assert!(up <= before.up.len().max(workers + lent));
                prop_assert!(up <= workers + lent || world.idle.is_empty(), "an idle one too many");
                prop_assert!(world.standby <= strength.standby() || up < workers);
                prop_assert!(up >= before.up.len().min(workers), "capacity is never given up");
                let left = steps.iter().filter(|step| matches!(step, Leave(_))).count();
                prop_assert_eq!(strength.worn.len(), worn.len() - left);
                prop_assert!(!wants_spare || up > workers || world.standby == 0, "none was lent");
    world.idle.clear();
                prop_assert_eq!(strength.plan(&world.present(wants_spare)), []);
            }
        }
}

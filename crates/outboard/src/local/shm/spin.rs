//! Whether it pays to look for what is to come, for a while, before one sleeps for it. Pure.
//!
//! To be woken takes 30 to 80 µs where a core was halted; to see a word change takes less than
//! one. But who looks uses a core. So each side looks only while that has won most of the
//! time: what the last waits were says what the next one will be. The adaptive polling of
//! halted virtual cores (Linux, `halt_poll_ns`) does the same. After looks that found nothing a side
//! sleeps at once, and each time that it was wrong to begin again, it waits twice as long.

/// A wait of so many looks' length would have been shorter had the other side looked, too: it
/// includes its wake-up.
const SHORT: u64 = 3;

/// What a side begins with, how much a look that found nothing costs, and how much it may have.
const START: u8 = 8;
const LOSS: u8 = 4;
const MOST: u8 = 16;

/// How many short waits in a row it takes to begin again: the first time, and at most.
const FEW: u16 = 4;
const MANY: u16 = 1024;

/// How long one that was kept from its core does not look.
pub(crate) const OUSTED_NS: u64 = 100_000_000;

/// A look that takes so much longer than it should was kept from its core by something else.
pub(crate) const KEPT_FROM_CORE_NS: u64 = 100_000;

/// How the last waits went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Experience {
    /// Wins, less what losses cost; 0 while it sleeps at once.
    score: u8,
    /// How many short waits in a row there were since.
    short: u16,
    /// How many it takes.
    wanted: u16,
}

impl Default for Experience {
    fn default() -> Self {
        Self { score: START, short: 0, wanted: FEW }
    }
}

impl Experience {
    /// Whether to look in the next wait.
    pub(crate) fn pays(self) -> bool {
        self.score > 0
    }

    /// A look has found something, or has not.
    pub(crate) fn spun(&mut self, found: bool) {
        if found {
            self.score = (self.score + 1).min(MOST);
            if self.score == MOST {
                self.wanted = FEW;
            }
            return;
        }
        self.score = self.score.saturating_sub(LOSS);
        if self.score == 0 {
            self.give_up();
        }
    }

    /// It was kept from its core: others want that.
    pub(crate) fn ousted(&mut self) {
        self.score = 0;
        self.give_up();
    }

    /// What it slept for came after so long, and a look would have lasted so long.
    pub(crate) fn slept(&mut self, waited_ns: u64, spin_ns: u64) {
        if self.pays() {
            return;
        }
        if waited_ns > spin_ns.saturating_mul(SHORT) {
            self.short = 0;
            return;
        }
        self.short += 1;
        if self.short >= self.wanted {
            (self.score, self.short) = (START, 0);
        }
    }

    fn give_up(&mut self) {
        (self.short, self.wanted) = (0, (self.wanted * 2).min(MANY));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPIN_NS: u64 = 50_000;

    /// A side whose waits take so long, and which sees what comes while it looks; how often it
    /// looked, and how often in vain.
    fn waits(experience: &mut Experience, waits: impl IntoIterator<Item = u64>) -> (u32, u32) {
        let (mut looks, mut lost) = (0, 0);
        for waited_ns in waits {
            if experience.pays() {
                looks += 1;
                lost += u32::from(waited_ns > SPIN_NS);
                experience.spun(waited_ns <= SPIN_NS);
            } else {
                experience.slept(waited_ns, SPIN_NS);
            }
        }
        (looks, lost)
    }

    #[test]
    fn one_that_wins_goes_on_and_survives_a_loss() {
        let mut side = Experience::default();
        assert_eq!(waits(&mut side, [1_000; 100]), (100, 0));
        assert_eq!(waits(&mut side, [1_000_000]), (1, 1));
        assert_eq!(waits(&mut side, [1_000; 100]), (100, 0));
    }

    #[test]
    fn one_that_loses_soon_sleeps_at_once() {
        let mut side = Experience::default();
        let (looks, _) = waits(&mut side, [1_000_000; 10_000]);
        assert_eq!(looks, u32::from(START / LOSS));
        // It needs no more than a few waits to see that things have changed.
        let (looks, lost) = waits(&mut side, [100_000; 20].into_iter().chain([1_000; 100]));
        assert!(looks > 90 && lost <= 2, "{looks} looks, {lost} in vain");
    }

    #[test]
    fn waits_just_too_long_are_tried_ever_more_seldom() {
        let mut side = Experience::default();
        waits(&mut side, [100_000; 10_000]);
        let (looks, _) = waits(&mut side, [100_000; 10_000]);
        assert!(looks <= 40, "{looks} looks in vain");
    }

    #[test]
    fn one_that_was_ousted_does_not_look() {
        let mut side = Experience::default();
        side.ousted();
        assert!(!side.pays());
    }

    proptest! {
        #[test]
        fn it_never_looks_in_vain_for_more_than_a_share_of_the_waits(
            mut long in prop::collection::vec(any::<bool>(), 200..2_000),
        ) {
            let mut side = Experience::default();
            long.push(false);
            let waits_ns = long.iter().map(|long| if *long { 1_000_000 } else { 1_000 });
            let (looks, lost) = waits(&mut side, waits_ns);
            // What is lost was won before, but for what it begins with each time.
            let won = looks - lost;
            let slept = long.len() as u32 - looks;
            prop_assert!(
                lost * u32::from(LOSS) <= won + u32::from(START + LOSS) * (1 + slept / u32::from(FEW)),
                "{won} won, {lost} lost, {slept} slept",
            );
        }
    }
}

//! How many workers have each number, while it is decided who gets one and who gives one up.

use super::Slots;
use super::wanted::Wanted;
use crate::ids::SlotId;

/// The numbers that are held, and what becomes of them step by step.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    kind: Slots,
    wanted: &'a Wanted,
    up: Vec<(SlotId, usize)>,
    /// How many slots are up.
    slots: usize,
    /// How many workers have each number.
    held: Vec<usize>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(
        kind: Slots,
        wanted: &'a Wanted,
        numbers: &[(SlotId, usize)],
        slots: usize,
    ) -> Self {
        let mut held = vec![0; wanted.below()];
        for (_, number) in numbers {
            if let Some(count) = held.get_mut(*number) {
                *count += 1;
            }
        }
        Self { kind, wanted, up: numbers.to_vec(), slots, held }
    }

    /// The lowest number that the fewest have.
    pub(super) fn next_number(&self) -> usize {
        self.wanted.iter().min_by_key(|number| self.held[*number]).unwrap_or(0)
    }

    /// Whether a slot is missing.
    pub(super) fn is_missing(&self) -> bool {
        match self.kind {
            Slots::Alike => self.slots < self.wanted.count(),
            _ => self.wanted.iter().any(|number| self.held[number] == 0),
        }
    }

    /// A slot that was missing is filled.
    pub(super) fn fill(&mut self) {
        self.slots += 1;
        let number = self.next_number();
        if let Some(count) = self.held.get_mut(number) {
            *count += 1;
        }
    }

    /// Whether a slot can be done without: another one has its number, or there is no such
    /// number any more.
    pub(super) fn is_too_many(&self, slot: SlotId) -> bool {
        let others = |number| !self.wanted.has(number) || self.held[number] > 1;
        match self.kind {
            Slots::Alike => self.slots > self.wanted.count(),
            _ => self.number(slot).is_some_and(others),
        }
    }

    /// Whether some can be done without.
    pub(super) fn has_too_many(&self) -> bool {
        match self.kind {
            Slots::Alike => self.slots > self.wanted.count(),
            _ => self.up.iter().any(|(slot, _)| self.is_too_many(*slot)),
        }
    }

    /// A slot is given up.
    pub(super) fn remove(&mut self, slot: SlotId) {
        self.slots = self.slots.saturating_sub(1);
        let number = self.number(slot);
        self.up.retain(|(one, _)| *one != slot);
        if let Some(count) = number.and_then(|number| self.held.get_mut(number)) {
            *count -= 1;
        }
    }

    fn number(&self, slot: SlotId) -> Option<usize> {
        self.up.iter().find(|(one, _)| *one == slot).map(|(_, number)| *number)
    }
}

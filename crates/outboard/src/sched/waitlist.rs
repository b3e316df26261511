//! Callers that wait for room in the queue, and which of them are called when there
//! is some.
//!
//! Pure. A caller that is **called** looks again: then it goes, or it waits on at its old
//! turn. Where others wait for a worker, no more callers are called at once than there are
//! places, for each of them may take one. Whoever has looked, or is dropped after it was
//! called, has the rest called again. So no call is lost with it, nor with a caller that
//! does not use its place.
//!
//! Callers of one tenant and priority are a line, for the queue has room for all of them
//! or for none. Lines take turns; inside a line the first goes first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// What decides whether there is room for a caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) priority: i32,
}

/// When a caller came, which is when its turn is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn(u64);

/// See the module's documentation; `W` calls a caller.
#[derive(Debug)]
pub(crate) struct Waitlist<W> {
    lines: HashMap<Wish, Line<W>>,
    /// Lines in which someone waits, the next one first.
    order: VecDeque<Wish>,
    /// How many were called, and have not looked.
    called: usize,
    next_turn: u64,
}

#[derive(Debug)]
struct Line<W> {
    waiting: BTreeMap<Turn, W>,
    called: usize,
}

impl<W> Default for Waitlist<W> {
    fn default() -> Self {
        Self { lines: HashMap::new(), order: VecDeque::new(), called: 0, next_turn: 0 }
    }
}

impl<W> Waitlist<W> {
    /// Whether nobody waits to be called.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// A caller waits: a new one, or one that has looked in vain, at its old turn.
    pub(crate) fn enter(&mut self, wish: &Wish, turn: Option<Turn>, caller: W) -> Turn {
        let turn = turn.unwrap_or_else(|| {
            self.next_turn += 1;
            Turn(self.next_turn)
        });
        let new = || Line { waiting: BTreeMap::new(), called: 0 };
        let line = self.lines.entry(wish.clone()).or_insert_with(new);
        if line.waiting.is_empty() {
            self.order.push_back(wish.clone());
        }
        line.waiting.insert(turn, caller);
        turn
    }

    /// A caller does not wait: it looks again, or is gone. Whether it had been called.
    pub(crate) fn leave(&mut self, wish: &Wish, turn: Turn) -> bool {
        let Some(line) = self.lines.get_mut(wish) else { return false };
        let called = line.waiting.remove(&turn).is_none();
        if called {
            line.called -= 1;
            self.called -= 1;
        } else if line.waiting.is_empty() {
            self.order.retain(|one| one != wish);
        }
        if line.waiting.is_empty() && line.called == 0 {
            self.lines.remove(wish);
        }
        called
    }

    /// Calls callers until as many are called as there are places, of all and in their
    /// line; `places_for` says how many those are.
    pub(crate) fn call(
        &mut self,
        places: usize,
        places_for: impl Fn(&Wish) -> usize,
        calls: &mut Vec<W>,
    ) {
        let mut in_vain = 0;
        while self.called < places && in_vain < self.order.len() {
            let Some(wish) = self.order.pop_front() else { return };
            let line = self.lines.get_mut(&wish).expect("a line in order exists");
            if line.called >= places_for(&wish) {
                in_vain += 1;
                self.order.push_back(wish);
                continue;
            }
            if let Some((_, caller)) = line.waiting.pop_first() {
                (in_vain, line.called, self.called) = (0, line.called + 1, self.called + 1);
                calls.push(caller);
            }
            if !line.waiting.is_empty() {
                self.order.push_back(wish);
            }
        }
    }

    /// Calls everyone.
    pub(crate) fn call_all(&mut self, calls: &mut Vec<W>) {
        for wish in self.order.drain(..) {
            let line = self.lines.get_mut(&wish).expect("a line in order exists");
            let callers = std::mem::take(&mut line.waiting);
            line.called += callers.len();
            self.called += callers.len();
            calls.extend(callers.into_values());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wish(tenant: u8) -> Wish {
        Wish { tenant: Some(tenant.to_string().into()), priority: 0 }
    }

    fn call(waitlist: &mut Waitlist<u32>, places: usize, own: usize) -> Vec<u32> {
        let mut calls = Vec::new();
        waitlist.call(places, |_| own, &mut calls);
        calls
    }

    #[test]
    fn no_more_are_called_than_there_are_places() {
        let mut waitlist = Waitlist::default();
        let turns: Vec<_> = (0..5).map(|n| waitlist.enter(&wish(1), None, n)).collect();
        assert_eq!(call(&mut waitlist, 2, 9), [0, 1]);
        assert!(call(&mut waitlist, 2, 9).is_empty(), "two are on their way");
        assert!(waitlist.leave(&wish(1), turns[0]));
        assert_eq!(call(&mut waitlist, 2, 9), [2]);
        assert!(!waitlist.leave(&wish(1), turns[3]), "it still waited");
        assert_eq!(call(&mut waitlist, 3, 9), [4]);
        assert!(waitlist.is_empty());
    }

    #[test]
    fn who_looked_in_vain_keeps_its_turn() {
        let mut waitlist = Waitlist::default();
        let turns: Vec<_> = (0..2).map(|n| waitlist.enter(&wish(1), None, n)).collect();
        assert_eq!(call(&mut waitlist, 1, 9), [0]);
        waitlist.leave(&wish(1), turns[0]);
        assert_eq!(waitlist.enter(&wish(1), Some(turns[0]), 0), turns[0]);
        assert_eq!(call(&mut waitlist, 1, 9), [0]);
    }

    #[test]
    fn tenants_take_turns_and_one_without_room_does_not_hold_up_others() {
        let mut waitlist = Waitlist::default();
        for (tenant, caller) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            waitlist.enter(&wish(tenant), None, caller);
        }
        let mut calls = Vec::new();
        waitlist.call(3, |one| if *one == wish(2) { 0 } else { 1 }, &mut calls);
        assert_eq!(calls, [10, 30], "the second of the first has one before it");
        waitlist.call(3, |_| 1, &mut calls);
        assert_eq!(calls, [10, 30, 20]);
        waitlist.call_all(&mut calls);
        assert_eq!(calls, [10, 30, 20, 11]);
    }

    proptest! {
        /// Whoever comes, goes and is called: what the list counts is what there is.
        #[test]
        fn it_counts_right(steps in prop::collection::vec((0..5_u8, 0..3_u8, 0..8_usize), 1..200)) {
            let mut waitlist = Waitlist::default();
            let (mut waiting, mut called, mut next) = (Vec::new(), Vec::new(), 0);
            for (step, tenant, number) in steps {
                let wish = wish(tenant);
                let mut calls: Vec<u32> = Vec::new();
                match step {
                    0 | 1 => {
                        next += 1;
                        let turn = waitlist.enter(&wish, None, next);
                        waiting.push((wish, turn, next));
                    }
                    2 => waitlist.call(number, |_| 2, &mut calls),
                    3 if !called.is_empty() => {
                        let (wish, turn, caller) = called.swap_remove(number % called.len());
                        prop_assert!(waitlist.leave(&wish, turn));
                        if number % 2 == 0 {
                            waitlist.enter(&wish, Some(turn), caller);
                            waiting.push((wish, turn, caller));
                        }
                    }
                    4 if !waiting.is_empty() => {
                        let (wish, turn, _) = waiting.swap_remove(number % waiting.len());
                        prop_assert!(!waitlist.leave(&wish, turn));
                    }
                    _ if number == 7 => waitlist.call_all(&mut calls),
                    _ => {}
                }
                for call in calls {
                    let at = waiting.iter().position(|(.., caller)| *caller == call);
                    called.push(waiting.swap_remove(at.expect("it waited")));
                }
                prop_assert_eq!(waitlist.called, called.len());
                let lines = waitlist.lines.values();
                prop_assert_eq!(lines.clone().map(|line| line.called).sum::<usize>(), called.len());
                prop_assert_eq!(lines.map(|line| line.waiting.len()).sum::<usize>(), waiting.len());
                prop_assert_eq!(waitlist.is_empty(), waiting.is_empty());
                let queued = waitlist.lines.iter().filter(|(_, line)| !line.waiting.is_empty());
                prop_assert_eq!(queued.count(), waitlist.order.len());
            }
        }
    }
}

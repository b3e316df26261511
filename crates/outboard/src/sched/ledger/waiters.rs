//! Who waits for one task.

use std::collections::BTreeSet;

use crate::ids::WaiterId;

/// The waiters of one task; nearly always one.
#[derive(Debug)]
pub(super) enum Waiters {
    One(WaiterId),
    #[expect(clippy::box_collection, reason = "a task with one waiter needs no room for it")]
    Many(Box<BTreeSet<WaiterId>>),
}

impl Waiters {
    pub(super) fn push(&mut self, id: WaiterId) {
        match self {
            Self::One(first) => *self = Self::Many(Box::new(BTreeSet::from([*first, id]))),
            Self::Many(all) => drop(all.insert(id)),
        }
    }

    pub(super) fn remove(&mut self, id: WaiterId) {
        if let Self::Many(all) = self {
            all.remove(&id);
            if all.len() == 1 {
                *self = Self::One(*all.first().expect("there is one"));
            }
        }
    }
}

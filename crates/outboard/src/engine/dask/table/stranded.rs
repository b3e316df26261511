//! Tasks of Rust that no worker can execute any more: the last that knew their function
//! has left, and a scheduler would keep them until another came, for ever if need be. Those
//! of Python wait, as Dask's own do: a cluster that adapts starts workers for them.

use std::time::{Duration, Instant};

use super::{Held, State, Table};
use crate::task::registry::Function;

/// How long a worker is waited for that knows a function, where there was one: after it
/// has left, and when a scheduler is back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl Table {
    /// A task goes to native workers, or to those with a program of this build
    /// beside them.
    pub(crate) fn placed(&mut self, at: usize, key: &str, build: Option<&'static str>) {
        if let Some(held) = self.held_mut(at, key) {
            (held.build, held.stranded) = (build, None);
        }
    }

    /// The keys of tasks at a scheduler whose function no worker has known for
    /// [so long](PATIENCE), as far as this was asked.
    pub(crate) fn stranded(
        &mut self,
        now: Instant,
        at: usize,
        mut known: impl FnMut(&Function, Option<&'static str>) -> bool,
    ) -> Vec<String> {
        let there = |held: &&mut Held| {
            let runs = held.state == State::Sent && !held.fetching;
            held.scheduler == at && runs && !held.function.python
        };
        let mut stranded = Vec::new();
        for held in self.slots.values_mut().flatten().filter(there) {
            if known(held.function, held.build) {
                held.stranded = None;
            } else if *held.stranded.get_or_insert(now) + PATIENCE <= now {
                stranded.push(held.key.clone());
            }
        }
        stranded
    }
}

#[cfg(test)]
mod tests {
    use super::super::Window;
    use super::super::tests::start;
    use super::*;
    use crate::sched::placement::{Placement, Rules};

    #[test]
    fn a_task_is_stranded_when_nobody_knew_it_for_long_enough() {
        let (mut table, start_at) = (Table::new(1, Window::default()), Instant::now());
        table.up(0, 1);
        let slot = Placement::new(Rules::default()).slot_up(start_at);
        table.add_slot(slot);
        table.start(start_at, slot, start(1, "key".to_owned()));
        let after = |seconds| start_at + Duration::from_secs(seconds);
        assert!(table.stranded(after(60), 0, |_, _| false).is_empty(), "it has not left");
        table.take(0);
        table.placed(0, "key", Some("build"));
        let mut asked = |seconds, known| {
            table.stranded(after(seconds), 0, |_, build| {
                assert_eq!(build, Some("build"));
                known
            })
        };
        assert!(asked(60, false).is_empty());
        assert!(asked(69, true).is_empty());
        assert!(asked(75, false).is_empty(), "it was known meanwhile");
        assert_eq!(asked(85, false), ["key"]);
        table.placed(0, "key", None);
        assert!(table.stranded(after(90), 0, |_, build| build.is_some()).is_empty());
        assert!(table.claim(0, "key"));
        assert!(table.stranded(after(110), 0, |_, _| false).is_empty(), "its result is there");
    }
}

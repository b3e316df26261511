//! Whether callers look for the answers of a worker: by how that has gone.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Ears, Link};
use crate::engine::spin::{Spin, Spun};
use crate::local::shm::spin::{Experience, OUSTED_NS};
use crate::observe::snapshot::Spins;

/// How callers have fared that waited for a worker.
#[derive(Debug)]
pub(super) struct Waits {
    /// The longest look; zero for none.
    limit: Duration,
    /// Taken last of all.
    experience: Mutex<State>,
    /// What looks have come to: nanoseconds, wins, losses.
    figures: [AtomicU64; 3],
}

#[derive(Debug, Default)]
struct State {
    experience: Experience,
    ousted: Option<Instant>,
}

impl Waits {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, experience: Mutex::default(), figures: Default::default() }
    }

    fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.experience.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pays(&self) -> bool {
        let long_ago = |at: Instant| at.elapsed() >= Duration::from_nanos(OUSTED_NS);
        !self.limit.is_zero()
            && self.with(|state| state.experience.pays() && state.ousted.is_none_or(long_ago))
    }

    /// An answer came so long after its task was sent, and nobody may have looked for it.
    pub(super) fn answered(&self, waited_ns: u64) {
        if !self.limit.is_zero() {
            let limit_ns = self.limit.as_nanos() as u64;
            self.with(|state| state.experience.slept(waited_ns, limit_ns));
        }
    }

    /// A caller has looked for so long.
    pub(super) fn spun(&self, spun: Duration, how: Spun) {
        let [time, wins, losses] = &self.figures;
        time.fetch_add(spun.as_nanos() as u64, Relaxed);
        match how {
            Spun::Found => wins.fetch_add(1, Relaxed),
            _ => losses.fetch_add(1, Relaxed),
        };
        self.with(|state| match how {
            Spun::Found => state.experience.spun(true),
            Spun::InVain => state.experience.spun(false),
            Spun::Ousted => {
                state.experience.ousted();
                state.ousted = Some(Instant::now());
            }
            Spun::Left => {}
        });
    }
}

impl Link {
    /// How the worker has waited for tasks, and callers for its answers.
    pub(in crate::local::server) fn spins(&self) -> (Spins, Spins) {
        let (time, found, in_vain) = self.page.spins();
        let figures = self.waits.figures.each_ref().map(|figure| figure.load(Relaxed));
        let [caller_ns, caller_found, caller_in_vain] = figures;
        let callers = Spins::new(Duration::from_nanos(caller_ns), caller_found, caller_in_vain);
        (Spins::new(time, found, in_vain), callers)
    }

    /// A caller that waits for the only task that the worker has may look for its answer, if
    /// that pays.
    pub(in crate::local::server) fn spin(&self) -> Option<Spin> {
        if !self.waits.pays() || self.locked().outgoing.sent.len() != 1 {
            return None;
        }
        let ears: Arc<Ears> = self.ears.get()?.upgrade()?;
        Some(Spin::new(ears, self.waits.limit))
    }
}

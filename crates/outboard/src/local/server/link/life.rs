//! What a worker process has come to: pure.
//!
//! Two things are known of it. How far it came up is its own word ([`Stage`]); what
//! was done to it is the server's ([`Life`]):
//!
//! ```text
//!   Starting ──hello──▶ WarmingUp ──ready──▶ Serving
//!
//!   Up ──dismiss──▶ Leaving
//!    └──────kill───────┴──▶ Killed ──reap──▶ Reaped
//! ```

use std::time::Instant;

use crate::error::Cause;

/// How far a worker came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// The process has not come as far as `init`.
    #[default]
    Starting,
    /// It runs its own setup.
    WarmingUp { since: Instant },
    /// It executes tasks, on that thread by its own word.
    Serving { thread: u32 },
}

impl Stage {
    /// It said hello; whether that was due.
    pub(super) fn greet(&mut self, now: Instant) -> bool {
        let due = *self == Self::Starting;
        if due {
            *self = Self::WarmingUp { since: now };
        }
        due
    }

    /// It said that it executes tasks; whether that was due.
    pub(super) fn serve(&mut self, thread: u32) -> bool {
        let due = matches!(self, Self::WarmingUp { .. });
        if due {
            *self = Self::Serving { thread };
        }
        due
    }
}

/// What was done to a worker. A reason is never forgotten: it is asked for when the
/// process has long been reaped, and a stronger one may come even then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Life {
    /// Nothing: it lives, or its end was not noticed yet.
    #[default]
    Up,
    /// It was sent away, and may exit by itself.
    Leaving,
    /// Its process group was sent SIGKILL.
    Killed(Reason),
    /// It was reaped, so its number may be another process's: no signal is sent any
    /// more. Without a reason it ended unasked.
    Reaped(Option<Reason>),
}

/// Why a worker was ended by its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its stream broke, which its own end may explain: that is unasked.
    Broken,
    /// Nobody wants it, or the task that it executes.
    Unwanted,
    /// For what it did, which its loss is put down to.
    Blame(Cause),
}

impl Reason {
    /// The stronger of both; of two blames the first.
    fn or(self, later: Self) -> Self {
        match (self, later) {
            (Self::Blame(_), _) | (_, Self::Broken) => self,
            (_, later) => later,
        }
    }
}

impl Life {
    /// It is sent away.
    pub(super) fn dismiss(&mut self) {
        match self {
            Self::Up => *self = Self::Leaving,
            _ => self.add(Reason::Unwanted),
        }
    }

    /// It is to be killed; whether it has to be signalled for that now.
    pub(super) fn kill(&mut self, reason: Reason) -> bool {
        let first = matches!(self, Self::Up | Self::Leaving);
        if first {
            *self = Self::Killed(self.reason().map_or(reason, |before| before.or(reason)));
        } else {
            self.add(reason);
        }
        first
    }

    /// It was reaped.
    pub(super) fn reap(&mut self) {
        *self = Self::Reaped(self.reason());
    }

    fn add(&mut self, later: Reason) {
        match self {
            Self::Up | Self::Leaving => {}
            Self::Killed(reason) => *reason = reason.or(later),
            Self::Reaped(reason) => {
                *reason = Some(reason.map_or(later, |reason| reason.or(later)));
            }
        }
    }

    fn reason(self) -> Option<Reason> {
        match self {
            Self::Up => None,
            Self::Leaving => Some(Reason::Unwanted),
            Self::Killed(reason) => Some(reason),
            Self::Reaped(reason) => reason,
        }
    }

    /// Whether its end was wanted.
    pub(super) fn is_unwanted(self) -> bool {
        matches!(self.reason(), Some(Reason::Unwanted | Reason::Blame(_)))
    }

    /// What its loss is put down to, if that is not for the system to say.
    pub(super) fn blame(self) -> Option<Cause> {
        match self.reason() {
            Some(Reason::Blame(cause)) => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Life::{Killed as K, Leaving, Reaped as R, Up};
    use super::*;

    const B: Reason = Reason::Broken;
    const U: Reason = Reason::Unwanted;
    const STUCK: Reason = Reason::Blame(Cause::Stuck);
    const WROTE: Reason = Reason::Blame(Cause::Protocol);

    #[test]
    fn each_state_has_one_next_for_each_step() {
        // From; dismissed, killed as broken, as unwanted, because it is stuck; reaped.
        let table = [
            (Up, [Leaving, K(B), K(U), K(STUCK), R(None)]),
            (Leaving, [Leaving, K(U), K(U), K(STUCK), R(Some(U))]),
            (K(B), [K(U), K(B), K(U), K(STUCK), R(Some(B))]),
            (K(U), [K(U), K(U), K(U), K(STUCK), R(Some(U))]),
            (K(WROTE), [K(WROTE), K(WROTE), K(WROTE), K(WROTE), R(Some(WROTE))]),
            (R(None), [R(Some(U)), R(Some(B)), R(Some(U)), R(Some(STUCK)), R(None)]),
            (R(Some(U)), [R(Some(U)), R(Some(U)), R(Some(U)), R(Some(STUCK)), R(Some(U))]),
        ];
        for (from, next) in table {
            let mut after = [from; 5];
            after[0].dismiss();
            let signalled = [B, U, STUCK].map(|reason| {
                let mut life = from;
                let signals = life.kill(reason);
                (life, signals)
            });
            for (at, (life, signals)) in (1..).zip(signalled) {
                after[at] = life;
                assert_eq!(signals, matches!(from, Up | Leaving), "{from:?}: one signal");
            }
            after[4].reap();
            assert_eq!(after, next, "{from:?}");
        }
    }

    #[test]
    fn what_is_said_of_an_end() {
        let table = [
            (Up, false, None),
            (Leaving, true, None),
            (K(B), false, None),
            (K(U), true, None),
            (R(None), false, None),
            (R(Some(B)), false, None),
            (R(Some(STUCK)), true, Some(Cause::Stuck)),
        ];
        for (life, unwanted, blame) in table {
            assert_eq!((life.is_unwanted(), life.blame()), (unwanted, blame), "{life:?}");
        }
    }

    #[test]
    fn a_worker_comes_up_in_order_and_once() {
        let now = Instant::now();
        let mut stage = Stage::default();
        assert!(!stage.serve(1) && stage.greet(now));
        assert_eq!(stage, Stage::WarmingUp { since: now });
        assert!(!stage.greet(now) && stage.serve(7));
        assert!(!stage.greet(now) && !stage.serve(8));
        assert_eq!(stage, Stage::Serving { thread: 7 });
    }
}

//! Pure: whether this worker takes tasks, and what it has told the scheduler
//! about that.
//!
//! A stray task, which only Python can execute, is given back. The scheduler
//! would often send it here again at once; so the worker calls itself paused for
//! a while, and for twice as long with each stray that follows.

use std::time::{Duration, Instant};

/// The first pause after a stray, the longest, and how long without strays makes
/// the next pause the first again.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
const CALM: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Standing {
    told: &'static str,
    /// It holds as much as fits.
    pub(super) full: bool,
    /// It is to leave, as the scheduler says or as it was asked here.
    pub(super) retiring: bool,
    pub(super) leaving: bool,
    paused_until: Option<Instant>,
    last_stray: Option<Instant>,
    pause: Duration,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            told: "running",
            full: false,
            retiring: false,
            leaving: false,
            paused_until: None,
            last_stray: None,
            pause: FIRST,
        }
    }
}

impl Standing {
    /// A stray was given back.
    pub(super) fn stray(&mut self, now: Instant) {
        let calm = self.last_stray.is_none_or(|last| now.duration_since(last) > CALM);
        // Those of one pause count as one.
        if calm {
            self.pause = FIRST;
        } else if self.paused_until.is_none() {
            self.pause = (2 * self.pause).min(LONGEST);
        }
        self.last_stray = Some(now);
        self.paused_until = Some(now + self.pause);
    }

    /// Whether it stays.
    pub(super) fn is_open(&self) -> bool {
        !self.retiring && !self.leaving
    }

    /// When there is something to say that nobody asked for.
    pub(super) fn due(&self) -> Option<Instant> {
        self.paused_until
    }

    /// What is to be told now, if it is something else than before.
    pub(super) fn news(&mut self, now: Instant) -> Option<&'static str> {
        self.paused_until.take_if(|until| *until <= now);
        let status = match self {
            Self { leaving: true, .. } | Self { retiring: true, .. } => "closing_gracefully",
            Self { full: true, .. } | Self { paused_until: Some(_), .. } => "paused",
            _ => "running",
        };
        (std::mem::replace(&mut self.told, status) != status).then_some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stray_makes_the_pause_longer_until_it_is_calm() {
        let mut standing = Standing::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            standing.stray(now);
            standing.stray(now);
            assert_eq!(standing.news(now), Some("paused"));
            let until = standing.due().expect("it is paused");
            pauses.push((until - now).as_millis());
            now = until;
            assert_eq!(standing.news(now), Some("running"));
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        now += CALM + FIRST;
        standing.stray(now);
        assert_eq!(standing.due(), Some(now + FIRST));
    }

    #[test]
    fn a_worker_that_leaves_is_neither_paused_nor_running() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        standing.full = true;
        assert_eq!(standing.news(now), Some("paused"));
        standing.leaving = true;
        assert_eq!(standing.news(now), Some("closing_gracefully"));
        standing.full = false;
        assert_eq!(standing.news(now), None);
    }
}

//! Which workers can be reached from here. A client may reach the scheduler alone, through a
//! port-forward, a bastion, or from outside of Kubernetes. Then an attempt to connect to a
//! worker may take ten seconds to fail. So it is remembered, and the scheduler is asked.

use std::collections::HashMap;
use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Keeper;

/// How long what is asked of a worker waits for the first connection to it, before the
/// scheduler is asked.
pub(super) const HURRY: Duration = Duration::from_millis(300);

/// How long whoever tries may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a worker is not tried again: at first, and at most.
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);

/// How many workers are remembered.
const PLACES: usize = 1 << 16;

/// How to get at what a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It was reached before.
    Direct,
    /// It is to be tried: for a moment, before the scheduler is asked.
    Try,
    /// It is to be tried while the scheduler is asked, for others are not reached.
    TryMeanwhile,
    /// By the scheduler.
    Around,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    Reached,
    /// Whoever tries may have been dropped meanwhile.
    Trying {
        until: Instant,
        pause: Duration,
    },
    Unreachable {
        until: Instant,
        pause: Duration,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Reach {
    /// Whether workers are to be tried at all.
    direct: bool,
    places: HashMap<String, Known>,
    reached: bool,
    failed: bool,
}

impl Reach {
    pub(super) fn new(direct: bool) -> Self {
        Self { direct, places: HashMap::new(), reached: false, failed: false }
    }

    /// Whether all is asked of the scheduler.
    pub(super) fn is_never_direct(&self) -> bool {
        !self.direct
    }

    /// How to get at what a worker has. Whoever is told to try says what came of it.
    pub(super) fn way(&mut self, now: Instant, place: &str) -> Way {
        if !self.direct {
            return Way::Around;
        }
        let pause = match self.places.get(place) {
            Some(Known::Reached) => return Way::Direct,
            // What comes at the same time need not know of each other.
            Some(Known::Trying { until, .. }) if now + PATIENCE < *until + HURRY => {
                return match self.how_to_try() {
                    Way::TryMeanwhile => Way::Around,
                    way => way,
                };
            }
            Some(Known::Trying { until, .. } | Known::Unreachable { until, .. })
                if now < *until =>
            {
                return Way::Around;
            }
            Some(Known::Trying { pause, .. }) => *pause,
            Some(Known::Unreachable { pause, .. }) => (2 * *pause).min(LONGEST_PAUSE),
            None => PAUSE,
        };
        if self.places.len() >= PLACES {
            self.places.clear();
        }
        self.places.insert(place.to_owned(), Known::Trying { until: now + PATIENCE, pause });
        self.how_to_try()
    }

    fn how_to_try(&self) -> Way {
        if self.failed && !self.reached { Way::TryMeanwhile } else { Way::Try }
    }

    /// A worker was reached.
    pub(super) fn reached(&mut self, place: &str) {
        self.reached = true;
        self.places.insert(place.to_owned(), Known::Reached);
    }

    /// A worker was not reached. Whether that is news.
    pub(super) fn failed(&mut self, now: Instant, place: &str) -> bool {
        let pause = match self.places.get(place) {
            Some(Known::Trying { pause, .. } | Known::Unreachable { pause, .. }) => *pause,
            Some(Known::Reached) | None => PAUSE,
        };
        let known = Known::Unreachable { until: now + pause, pause };
        self.places.insert(place.to_owned(), known);
        !std::mem::replace(&mut self.failed, true)
    }
}

impl Keeper {
    /// What is known of the ways to workers.
    pub(super) fn reach(&self) -> MutexGuard<'_, Reach> {
        self.reach.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers whether a worker was reached.
    pub(super) fn noted<T>(&self, place: &str, dialed: io::Result<T>) -> io::Result<T> {
        match &dialed {
            Ok(_) => self.reach().reached(place),
            Err(error) => {
                let is_news = self.reach().failed(Instant::now(), place);
                // One that has just ended is not reached either.
                if is_news && self.shared.cluster(self.at).number(place) > 0 {
                    let scheduler = &self.address;
                    tracing::warn!(
                        %scheduler, worker = place, %error,
                        "a worker cannot be reached from here: what it has comes through the \
                         scheduler, which `?direct=0` asks for from the start"
                    );
                }
            }
        }
        dialed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reached_is_tried_again_more_and_more_seldom() {
        let (mut reach, mut now) = (Reach::new(true), Instant::now());
        assert_eq!(reach.way(now, "a"), Way::Try);
        assert_eq!(reach.way(now, "a"), Way::Try, "at the same time");
        assert_eq!(reach.way(now + HURRY, "a"), Way::Around, "it is being tried");
        assert!(reach.failed(now, "a"));
        for minutes in [1, 2, 4, 8, 15, 15] {
            let again = now + Duration::from_secs(60 * minutes);
            assert_eq!(reach.way(again - Duration::from_millis(1), "a"), Way::Around);
            assert_eq!(reach.way(again, "a"), Way::TryMeanwhile);
            assert!(!reach.failed(again, "a"), "it is said once");
            now = again;
        }
        assert_eq!(reach.way(now, "b"), Way::TryMeanwhile, "others were not reached either");
        reach.reached("b");
        assert_eq!((reach.way(now, "b"), reach.way(now, "c")), (Way::Direct, Way::Try));
    }

    #[test]
    fn nobody_is_tried_where_that_was_said() {
        let mut reach = Reach::new(false);
        assert_eq!(reach.way(Instant::now(), "a"), Way::Around);
        assert!(reach.is_never_direct());
    }
}

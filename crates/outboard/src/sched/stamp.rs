//! Points in time in half the room of an `Instant`, for what there may be a million
//! of.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What all are counted from: somewhat before the first.
static START: OnceLock<Instant> = OnceLock::new();

/// Those that came before the first one may be this much earlier, and stay exact.
const EARLIER: Duration = Duration::from_secs(86_400);

/// A point in time, to the nanosecond, for 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn at(self) -> Instant {
        *START.get().expect("it was made of an instant") + Duration::from_nanos(self.0)
    }
}

impl From<Instant> for Stamp {
    fn from(at: Instant) -> Self {
        let start = START.get_or_init(|| at.checked_sub(EARLIER).unwrap_or(at));
        let since = at.saturating_duration_since(*start);
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, Stamp};

    #[test]
    fn a_stamp_is_its_instant() {
        let now = Instant::now();
        for at in [now, now - Duration::from_secs(3600), now + Duration::from_nanos(1_234_567_891)]
        {
            assert_eq!(Stamp::from(at).at(), at);
        }
        assert!(Stamp::from(now) < Stamp::from(now + Duration::from_nanos(1)));
        assert_eq!(size_of::<Stamp>(), 8);
    }
}

//! How long a section is to measure, and beside what.

use std::time::Duration;

/// How a section is to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) quick: bool,
    /// Whether spinners keep the cores awake meanwhile.
    pub(super) spinners: bool,
}

impl Plan {
    /// How long subjects take turns, at least.
    pub(super) fn time(self) -> Duration {
        if self.quick { Duration::from_millis(300) } else { Duration::from_secs(6) }
    }
}

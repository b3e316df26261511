//! What one worker may use.

use serde::{Deserialize, Serialize};

/// What one worker may use, as it is told in its welcome; nothing is limited by
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerLimits {
    pub(crate) memory_bytes: Option<u64>,
    /// CPU seconds of one task.
    pub(crate) cpu_s: Option<u64>,
    pub(crate) stack_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
}

//! The word of one task that was sent to a worker: which side decided what
//! about it.
//!
//! ```text
//!            worker              worker
//!   SENT ────────────▶ RUNNING ────────────▶ DONE
//!     │ server            │ server             ▲
//!     ▼                   ▼                    │ worker
//!   REVOKED            STOPPING ───────────────┘
//!                         │ server
//!                         ▼
//!                      KILLING (then SIGKILL)
//! ```
//!
//! Every arrow is one compare-and-swap, so exactly one side wins it. A worker that finds
//! REVOKED skips the task. STOPPING tells the task that nobody wants it, and it may end by
//! itself; one that finds KILLING parks until it is killed. The word holds the task's
//! number too: a late swap for an older task in the same place fails.
//!
//! The atomic is the parent module's, so that a model checker can bring its own
//! (`tests/model`).

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use super::AtomicU64;

const STATE_BITS: u32 = 3;

/// What has become of a task that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Word {
    Revoked = 0,
    Sent = 1,
    Running = 2,
    Done = 3,
    Stopping = 4,
    Killing = 5,
}

/// Where the word of a task lies, and the task's number.
pub(crate) struct TaskWord<'a> {
    pub(crate) at: &'a AtomicU64,
    pub(crate) seq: u64,
}

impl TaskWord<'_> {
    fn pack(&self, word: Word) -> u64 {
        self.seq << STATE_BITS | word as u64
    }

    fn swap(&self, from: Word, to: Word) -> bool {
        self.at.compare_exchange(self.pack(from), self.pack(to), AcqRel, Acquire).is_ok()
    }

    /// What has become of the task; `None` if the word is nonsense.
    pub(crate) fn read(&self) -> Option<Word> {
        let value = self.at.load(Acquire);
        let known = [Word::Revoked, Word::Sent, Word::Running, Word::Done];
        let known = known.into_iter().chain([Word::Stopping, Word::Killing]);
        known.into_iter().find(|word| self.pack(*word) == value)
    }

    /// Server: the task is about to be sent.
    pub(crate) fn send(&self) {
        self.at.store(self.pack(Word::Sent), Release);
    }

    /// Server: takes the task back, unless it has started.
    pub(crate) fn revoke(&self) -> bool {
        self.swap(Word::Sent, Word::Revoked)
    }

    /// Server: asks the task to stop, if it runs.
    pub(crate) fn stop(&self) -> bool {
        self.swap(Word::Running, Word::Stopping)
    }

    /// Server: claims a task that was asked to stop for its kill, unless it has
    /// finished.
    pub(crate) fn kill(&self) -> bool {
        self.swap(Word::Stopping, Word::Killing)
    }

    /// Worker: takes the task to run it, unless it was revoked.
    pub(crate) fn start(&self) -> bool {
        self.swap(Word::Sent, Word::Running)
    }

    /// Worker: the task has ended, unless this worker is being killed for it.
    pub(crate) fn finish(&self) -> bool {
        self.swap(Word::Running, Word::Done) || self.swap(Word::Stopping, Word::Done)
    }

    /// Worker: whether nobody wants the task, which runs or was taken back.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.is_stopping() || self.read() == Some(Word::Revoked)
    }

    /// Worker: whether the task is to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.read(), Some(Word::Stopping | Word::Killing))
    }
}

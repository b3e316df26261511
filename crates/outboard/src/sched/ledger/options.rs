//! What a submit is, and what its caller asks of it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::Backoff;
use crate::error::{Oversized, Repr};
use crate::task::registry::Function;
use crate::trace::Origin;
use crate::value::args::Args;

/// What a caller asks of one submit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) priority: i32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    /// How long it rests before each further attempt, if it does.
    pub(crate) backoff: Option<Backoff>,
    pub(crate) tenant: Option<Arc<str>>,
    pub(crate) weight: u32,
    pub(crate) key: Option<Arc<str>>,
    /// The pool of workers that it is for, where its gate has workers of several.
    pub(crate) pool: Option<Arc<str>>,
    /// How long it may go on after it was asked to stop, if that was said.
    pub(crate) grace: Option<Duration>,
    /// The caller has just waited for room, and is let in although another
    /// caller may have been quicker.
    pub(crate) found_room: bool,
    /// It runs in no batch: it comes from a cluster, one by one.
    pub(crate) alone: bool,
    /// The digest of the session that it belongs to, whose worker it prefers.
    pub(crate) affinity: Option<u64>,
    /// How long it waits for that worker, if that was said.
    pub(crate) affinity_wait: Option<Duration>,
    /// The longest pause between two items of a stream.
    pub(crate) idle_timeout: Option<Duration>,
}

/// One submit.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) function: &'static Function,
    /// `None` while they are still being encoded.
    pub(crate) args: Option<Args>,
    pub(crate) options: &'a Options,
    /// How long the function runs, where that is steady and known.
    pub(crate) steady_ns: Option<NonZeroU64>,
    /// The span in which it was submitted.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// The longest key of a task, and the longest name of a tenant, in bytes.
pub(crate) const NAME_BYTES: usize = 8 << 10;

impl Options {
    /// The name that is too long, if one is.
    pub(crate) fn oversized(&self) -> Option<Repr> {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        let names = [(Oversized::Key, key), (Oversized::Tenant, self.tenant_bytes())];
        let (what, bytes) = names.into_iter().find(|(_, bytes)| *bytes > NAME_BYTES)?;
        Some(Repr::TooLarge { what, bytes: bytes as u64, limit: NAME_BYTES as u64 })
    }

    /// Whether something is to happen to the task when nothing else does.
    pub(crate) fn needs_clock(&self) -> bool {
        self.timeout.is_some() || self.backoff.is_some() || self.affinity.is_some()
    }

    pub(super) fn tenant_bytes(&self) -> usize {
        self.tenant.as_ref().map_or(0, |name| name.len())
    }
}

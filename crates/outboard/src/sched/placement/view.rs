//! What is shown of slots and queue: what a slot executes, and who waits.

use std::sync::Arc;
use std::time::Instant;

use super::Placement;
use crate::ids::{SlotId, TaskId, TenantId};
use crate::observe::snapshot::LineSnapshot;

impl Placement {
    /// What a slot executes, and since when; `None` if it has nothing to do, or
    /// is about to skip what was taken back.
    pub(crate) fn current(&self, slot: SlotId) -> Option<(TaskId, Instant)> {
        let slot = self.slots.get(slot.index())?;
        let front = slot.outstanding.front()?;
        // Of a batch, one that somebody waits for.
        let wanted = slot.live().find(|one| front.grouped && !one.left);
        let one = wanted.unwrap_or(front);
        let stopping = slot.halted == Some(one.task);
        (stopping || !one.revoked).then_some((one.task, one.sent.max(slot.progress)))
    }

    /// How many tasks a slot has, with those that it is about to skip.
    pub(crate) fn outstanding(&self, slot: SlotId) -> usize {
        self.slots.get(slot.index()).map_or(0, |slot| slot.outstanding.len())
    }

    /// The name of a tenant that has tasks.
    pub(crate) fn name(&self, tenant: TenantId) -> Option<&Arc<str>> {
        self.shares.name(tenant)
    }

    /// Who waits: at most so many lines, the highest priority first.
    pub(crate) fn lines(&self, now: Instant, most: usize) -> Vec<LineSnapshot> {
        let lines = self.shares.lines().take(most);
        lines
            .map(|(priority, tenant, queued, oldest)| LineSnapshot {
                priority,
                tenant: self.name(tenant).map(ToString::to_string),
                queued,
                oldest: now.saturating_duration_since(oldest),
            })
            .collect()
    }
}

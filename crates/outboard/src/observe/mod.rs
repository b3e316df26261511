//! What is remembered of tasks and workers, for people to look at. Pure.

pub(crate) mod batches;
pub(crate) mod event;
pub(crate) mod figures;
pub(crate) mod histogram;
pub(crate) mod record;
pub(crate) mod roster;
pub(crate) mod snapshot;
mod sum;

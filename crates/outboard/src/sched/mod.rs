//! Decides: what is owed to whom, who is let in, and what runs where and when.
//!
//! Pure: events and the time come in, decisions go out. No clock, no I/O, no
//! runtime.

pub(crate) mod admission;
pub(crate) mod ledger;
pub(crate) mod placement;
pub(crate) mod quarantine;
pub(crate) mod shares;
mod stamp;
pub(crate) mod stopping;
pub(crate) mod strength;
pub(crate) mod waitlist;

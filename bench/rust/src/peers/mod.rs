//! One adaptor for each peer.

pub(crate) mod outboard;
pub(crate) mod outboard_python;
pub(crate) mod procspawn;
pub(crate) mod spawn_blocking;

//! Values as bytes: how arguments and results become payloads, and back.

pub(crate) mod args;
pub(crate) mod array;
pub(crate) mod channel;
pub(crate) mod codec;
pub(crate) mod feed;
pub(crate) mod message;
pub(crate) mod payload;
#[cfg(all(feature = "local", unix))]
pub(crate) mod room;
pub(crate) mod scatter;

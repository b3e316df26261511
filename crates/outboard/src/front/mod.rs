//! What a handler types: the client, its options, futures, and what comes of them.

pub mod admin;
pub(crate) mod batched;
pub(crate) mod builder;
pub(crate) mod client;
pub(crate) mod future;
pub(crate) mod init;
pub(crate) mod map;
pub(crate) mod progress;
pub(crate) mod story;
pub(crate) mod stream;
pub(crate) mod watch;

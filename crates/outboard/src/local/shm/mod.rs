//! Memory that a server and a worker share: a page of atomic words, an arena for
//! payloads, rings for answers and items, and sealed files.

pub(crate) mod answers;
pub(crate) mod arena;
mod handover;
pub(crate) mod items;
mod mapping;
mod memfd;
pub(crate) mod page;
pub(crate) mod passing;
pub(crate) mod sealed;

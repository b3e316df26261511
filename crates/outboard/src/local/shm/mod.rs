//! Memory that a server and a worker share: a page of atomic words, an arena for
//! payloads, rings for answers and items, and sealed files.

pub(crate) mod answers;
pub(crate) mod arena;
mod handover;
pub(crate) mod items;
mod mapping;
pub(crate) mod page;
pub(crate) mod passing;
#[cfg(all(target_os = "linux", not(outboard_portable)))]
pub(crate) mod sealed;
/// Payloads in files of their own, where no file can be sealed.
#[cfg(not(all(target_os = "linux", not(outboard_portable))))]
#[path = "unsealed.rs"]
pub(crate) mod sealed;
pub(crate) mod spin;

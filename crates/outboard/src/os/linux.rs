//! The system calls and files that only Linux has.

/// Processes that a server adopts, by a mark.
pub(crate) mod adopted;
/// Memory that processes share, which nobody can shrink.
pub(crate) mod memory;
/// Processes: descriptors of them, and what `/proc` says.
pub(crate) mod process;
/// What a process uses, by `/proc`.
pub(crate) mod usage;

//! The system calls and files that only Linux has.

/// Memory that processes share, which nobody can shrink.
pub(crate) mod memory;
/// Processes: descriptors of them, and what `/proc` says.
pub(crate) mod process;
/// What a process uses, by `/proc`.
pub(crate) mod usage;

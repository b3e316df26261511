//! What `linux` has, by what every Unix has.

/// Memory that processes share: POSIX shared memory, without a name.
pub(crate) mod memory;
/// Processes: a thread waits for the end of each.
pub(crate) mod process;
/// What a process uses, as far as the system tells.
pub(crate) mod usage;

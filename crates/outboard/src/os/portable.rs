//! What `linux` has, by what every Unix has.

/// Processes that a server adopts, which nothing marks.
pub(crate) mod adopted;
/// Memory that processes share: POSIX shared memory, without a name.
pub(crate) mod memory;
/// Processes: a thread waits for the end of each.
pub(crate) mod process;
/// What a process uses, as far as the system tells.
pub(crate) mod usage;

//! Which process this is: one that was forked has all that its parent had, but the
//! threads.
//!
//! What a client or a worker is made of (sockets, shared memory, locks that a thread held)
//! is its own process's affair. The word that tells the two apart lies on a page that the
//! system empties in a fork. So to ask costs one load, and no call that makes a process is
//! missed. Where no system does that, the process's number has to do.

#[cfg(all(feature = "local", target_os = "linux", not(outboard_portable)))]
mod word;

/// A process, as it knows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64);

#[cfg(all(feature = "local", target_os = "linux", not(outboard_portable)))]
impl Identity {
    /// This process.
    pub(crate) fn here() -> Self {
        Self(word::here())
    }

    /// Whether this process is still the same, and not one that was forked from it.
    pub(crate) fn is_here(self) -> bool {
        word::word() == self.0
    }
}

#[cfg(not(all(feature = "local", target_os = "linux", not(outboard_portable))))]
impl Identity {
    /// This process.
    pub(crate) fn here() -> Self {
        Self(std::process::id().into())
    }

    /// Whether this process is still the same, and not one that was forked from it.
    pub(crate) fn is_here(self) -> bool {
        self == Self::here()
    }
}

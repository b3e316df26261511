//! What C libraries do in tasks, and safe Rust does not.

#![expect(unsafe_code, reason = "system calls that no safe crate offers")]

/// Forks; whether this is the child.
pub(super) fn fork() -> bool {
    // SAFETY: the child does nothing but come back from its task.
    unsafe { libc::fork() == 0 }
}

/// Becomes another user, where this one may.
pub(super) fn become_nobody() {
    const NOBODY: u32 = 65_534;
    // SAFETY: the calls take integers. Where they are refused, nothing has changed.
    unsafe {
        libc::setgid(NOBODY);
        libc::setuid(NOBODY);
    }
}

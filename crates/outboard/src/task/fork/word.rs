//! A word that is 0 in a process that was forked.

#![expect(unsafe_code, reason = "this module owns the mapping that the word lies on")]

use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::param::page_size;

/// `None` where the system refused the page: then nobody counts as forked.
static WORD: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();

/// The number of the next process that asks; one that was forked goes on counting, so no
/// two of a line have the same.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The number of this process, which has one from now on.
pub(super) fn here() -> u64 {
    let Some(word) = WORD.get_or_init(map) else { return 0 };
    match word.load(Relaxed) {
        0 => {
            let new = NEXT.fetch_add(1, Relaxed);
            word.compare_exchange(0, new, Relaxed, Relaxed).map_or_else(|other| other, |_| new)
        }
        known => known,
    }
}

/// The number of this process, or 0 if it has none.
pub(super) fn word() -> u64 {
    WORD.get().copied().flatten().map_or(0, |word| word.load(Relaxed))
}

fn map() -> Option<&'static AtomicU64> {
    let (bytes, protection) = (page_size(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: the kernel chooses where the mapping lies, so it replaces no memory that
    // Rust knows of, and nothing unmaps it. It is private, as the advice asks for, all
    // zeros, and aligned for more than a word. In a fork it is there, with zeros again,
    // which is a value of an atomic as any other.
    unsafe {
        let page = mmap_anonymous(null_mut(), bytes, protection, MapFlags::PRIVATE).ok()?;
        madvise(page, bytes, Advice::LinuxWipeOnFork).ok()?;
        NonNull::new(page.cast::<AtomicU64>()).map(|word| word.as_ref())
    }
}

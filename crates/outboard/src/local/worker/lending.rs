//! Arguments that a task has in place, while it forks.
//!
//! They are memory that the server writes again after the task's end, and a child may go on
//! reading them. So just before a fork they become this process's own pages, with the same
//! bytes, of which the child gets its copy. Of what is shared beyond that it gets nothing,
//! nor does a child that was made without the C library.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use super::kept::cannot_keep;
use crate::local::process::before_forks;
use crate::local::shm::arena::Arena;

/// What the task that runs has in place: it has one value of arguments.
static LENT: Mutex<Option<Lending>> = Mutex::new(None);

struct Lending {
    arena: Arc<Arena>,
    file: Arc<OwnedFd>,
    offset: u64,
    bytes: u64,
    /// They are this process's own.
    apart: bool,
}

fn lock() -> MutexGuard<'static, Option<Lending>> {
    LENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task gets arguments in place.
pub(super) fn lend(arena: &Arc<Arena>, file: &Arc<OwnedFd>, offset: u64, bytes: u64) {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| before_forks(set_apart));
    let (arena, file) = (arena.clone(), file.clone());
    *lock() = Some(Lending { arena, file, offset, bytes, apart: false });
}

/// The task has ended; whether its arguments were set apart, and the rest of that mapping
/// is gone.
pub(super) fn take_back() -> bool {
    lock().take().is_some_and(|lent| lent.apart)
}

/// Called by the C library, on whatever thread forks.
extern "C" fn set_apart() {
    if let Some(lent) = lock().as_mut().filter(|lent| !lent.apart) {
        let done: io::Result<()> = lent.arena.set_apart(&lent.file, lent.offset, lent.bytes);
        done.unwrap_or_else(|error| cannot_keep(lent.bytes, &error));
        lent.apart = true;
    }
}

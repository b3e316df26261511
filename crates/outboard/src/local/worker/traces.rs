//! What a task changes of its process, set back before another task runs.
//!
//! Set back are the signal mask, `alarm`, umask, working directory, environment, limits,
//! what the process does at signals, and the timers of CPU time. What costs next to nothing
//! is looked at after each task, by four system calls of about 0.1 µs; the rest, by some
//! forty, after a task that ran for longer, and whenever this worker has nothing to do. Tasks
//! that were sent ahead of each other, and run for less than that, may find the rest as the
//! one before them left it.
//!
//! Not set back are threads and processes that a task leaves, open descriptors, timers made
//! by `timer_create`, the root directory, namespaces, niceness, locale, statics, and the
//! handlers for faults, which runtimes install once. A worker whose task has changed its
//! user, or lowered a limit that it may not raise, is replaced.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use rustix::process::{
    Resource, Rlimit, Uid, fchdir, geteuid, getrlimit, getuid, setrlimit, umask,
};

use crate::local::process::environment::Environment;
use crate::local::process::signals::{Actions, Mask, stop_alarm, stop_cpu_timers};

/// From how long a task has run on all is looked at after it: that takes a few µs.
pub(super) const ALL_FROM_NS: u64 = 200_000;

const LIMITS: [Resource; 9] = [
    Resource::As,
    Resource::Core,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Memlock,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Stack,
];

/// What was found, from the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    #[default]
    Nothing,
    /// Something, which was set back.
    Undone,
    /// Something that could not be set back.
    Lasting,
}

impl Found {
    fn undone(changed: bool) -> Self {
        if changed { Self::Undone } else { Self::Nothing }
    }
}

/// A process as it was before its first task.
pub(super) struct Traces {
    mask: Mask,
    umask: Mode,
    directory: Option<Directory>,
    environment: Environment,
    limits: [Rlimit; LIMITS.len()],
    actions: Actions,
    user: (Uid, Uid),
}

impl Traces {
    /// This process as it is now. Called on the thread that tasks run on.
    pub(super) fn before() -> Self {
        let now = umask(Mode::empty());
        umask(now);
        Self {
            mask: Mask::now(),
            umask: now,
            directory: Directory::current().ok(),
            environment: Environment::keep(),
            limits: LIMITS.map(getrlimit),
            actions: Actions::now(),
            user: (getuid(), geteuid()),
        }
    }

    /// Sets back what is looked at after each task. The timer first: its signal may be
    /// what the mask holds back.
    pub(super) fn undo(&self) -> Found {
        let changed = [
            stop_alarm(),
            self.mask.set(),
            umask(self.umask) != self.umask,
            self.environment.restore(),
        ];
        let directory = self.directory.as_ref().map_or(Found::Nothing, Directory::return_to);
        Found::undone(changed.contains(&true)).max(directory)
    }

    /// Sets back the rest.
    pub(super) fn undo_rest(&self) -> Found {
        let changed = [stop_cpu_timers(), self.actions.restore()];
        let limits =
            LIMITS.into_iter().zip(&self.limits).map(|(limit, before)| raise(limit, before));
        let limits = limits.max().unwrap_or_default();
        let user = if self.user == (getuid(), geteuid()) { Found::Nothing } else { Found::Lasting };
        Found::undone(changed.contains(&true)).max(limits).max(user)
    }
}

/// Sets a limit to what it was, or as near to that as this process may.
fn raise(limit: Resource, before: &Rlimit) -> Found {
    let now = getrlimit(limit);
    if now == *before {
        return Found::Nothing;
    }
    if setrlimit(limit, *before).is_ok() {
        return Found::Undone;
    }
    let current = match (before.current, now.maximum) {
        (Some(before), Some(most)) => Some(before.min(most)),
        (before, most) => before.or(most),
    };
    let _ = setrlimit(limit, Rlimit { current, maximum: now.maximum });
    Found::Lasting
}

/// A working directory.
struct Directory {
    opened: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
}

impl Directory {
    fn current() -> io::Result<Self> {
        let opened =
            openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&opened)?;
        Ok(Self { opened, identity: (stat.st_dev, stat.st_ino) })
    }

    /// Compared first: not everybody may return to where it is.
    fn return_to(&self) -> Found {
        let now = statat(CWD, c"", AtFlags::EMPTY_PATH);
        if now.is_ok_and(|now| (now.st_dev, now.st_ino) == self.identity) {
            return Found::Nothing;
        }
        match fchdir(&self.opened) {
            Ok(()) => Found::Undone,
            Err(_) => Found::Lasting,
        }
    }
}

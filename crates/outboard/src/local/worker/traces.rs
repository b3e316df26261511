//! What a task changes of its process, set back before another task runs.
//!
//! Set back are `alarm` and the timers of CPU time, the signal mask, umask, working
//! directory, environment, limits, and what the process does at signals. So are stdout and
//! stderr, the CPUs that the thread may use and its niceness. To look costs some forty system calls, a few µs, after the answer, which nobody waits longer for. A worker
//! that answers many thousand tasks in a second would feel it. So it looks once in a
//! millisecond, and after each task that ran for longer. It also looks if the function is
//! not known to leave the process alone ([`Trust`]).
//!
//! Not set back are threads, processes and open descriptors that a task leaves, and timers
//! made by `timer_create`. Nor are the root directory, namespaces, locale and
//! statics, nor the handlers for faults, which runtimes install once. A worker whose task
//! has changed its user, or lowered a limit or its priority and may not raise it, is replaced.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{
    Resource, Rlimit, Uid, fchdir, geteuid, getpriority_process, getrlimit, setpriority_process,
    setrlimit, umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};

use crate::local::process::environment::Environment;
use crate::local::process::signals::{Actions, Mask, stop_alarm, stop_cpu_timers};
use crate::local::wire::FunctionRef;
use crate::os::process::Cpus;

/// How long a task runs at least whose cost the look is no part of, and how often is looked
/// in any case.
const LONG_NS: u64 = 200_000;
const INTERVAL_NS: u64 = 1_000_000;

/// How often a function leaves the process as it was until that is taken for granted.
const TRUSTED_AFTER: u32 = 64;

const LIMITS: [Resource; 8] = [
    Resource::As,
    Resource::Core,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
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

    /// Something that was to be set back.
    fn after(setting: rustix::io::Result<()>) -> Self {
        if setting.is_ok() { Self::Undone } else { Self::Lasting }
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
    outputs: [Option<Output>; 2],
    cpus: Option<Cpus>,
    niceness: rustix::io::Result<i32>,
    user: Uid,
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
            outputs: [
                Output::current(stdout, |kept| dup2_stdout(kept)),
                Output::current(stderr, |kept| dup2_stderr(kept)),
            ],
            cpus: Cpus::current(),
            niceness: getpriority_process(None),
            user: geteuid(),
        }
    }

    /// Sets back what has changed. The timer first: its signal may be what the mask holds
    /// back.
    pub(super) fn undo(&self) -> Found {
        let changed = [
            stop_alarm(),
            stop_cpu_timers(),
            self.mask.set(),
            self.actions.restore(),
            umask(self.umask) != self.umask,
            self.environment.restore(),
        ];
        let directory = self.directory.as_ref().map_or(Found::Nothing, Directory::return_to);
        let limits =
            LIMITS.into_iter().zip(&self.limits).map(|(limit, before)| raise(limit, before));
        let limits = limits.max().unwrap_or_default();
        let user = if self.user == geteuid() { Found::Nothing } else { Found::Lasting };
        let outputs = self.outputs.iter().flatten().map(Output::restore).max().unwrap_or_default();
        let found = [directory, limits, user, outputs, self.schedule()];
        found.into_iter().fold(Found::undone(changed.contains(&true)), Found::max)
    }

    /// Sets back where and with which priority this thread runs.
    fn schedule(&self) -> Found {
        let cpus = match &self.cpus {
            Some(cpus) if Cpus::current().as_ref() != Some(cpus) => Found::after(cpus.set()),
            _ => Found::Nothing,
        };
        let niceness = match self.niceness {
            Ok(niceness) if getpriority_process(None) != Ok(niceness) => {
                Found::after(setpriority_process(None, niceness))
            }
            _ => Found::Nothing,
        };
        cpus.max(niceness)
    }
}

/// After which tasks is looked: pure.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// How often each function has left the process as it was; `None` from the time on
    /// when one did not.
    functions: HashMap<FunctionRef, Option<u32>>,
    looked_ns: u64,
}

impl Trust {
    /// Whether to look after a task of this function that ran for so long, at a time in
    /// nanoseconds.
    pub(super) fn looks(&self, function: FunctionRef, run_ns: u64, now_ns: u64) -> bool {
        let known = self.functions.get(&function).copied().unwrap_or(Some(0));
        run_ns >= LONG_NS
            || known.is_none_or(|times| times < TRUSTED_AFTER)
            || now_ns.saturating_sub(self.looked_ns) >= INTERVAL_NS
    }

    /// What a look after a task of this function found.
    pub(super) fn found(&mut self, function: FunctionRef, found: Found, now_ns: u64) {
        self.looked_ns = now_ns;
        let known = self.functions.entry(function).or_insert(Some(0));
        *known = known.filter(|_| found == Found::Nothing).map(|times| times.saturating_add(1));
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

/// How a directory is opened that is only returned to: by who may not list it, too, where
/// the system can.
#[cfg(target_os = "linux")]
const REFERENCE: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const REFERENCE: OFlags = OFlags::RDONLY;

/// The working directory, though it may not be searched, where the system can.
#[cfg(target_os = "linux")]
const HERE: (&std::ffi::CStr, AtFlags) = (c"", AtFlags::EMPTY_PATH);
#[cfg(not(target_os = "linux"))]
const HERE: (&std::ffi::CStr, AtFlags) = (c".", AtFlags::empty());

#[expect(clippy::unnecessary_cast, reason = "each is another integer on some system")]
fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
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
            openat(CWD, ".", REFERENCE | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&opened)?;
        Ok(Self { opened, identity: identity(&stat) })
    }

    /// Compared first: not everybody may return to where it is.
    fn return_to(&self) -> Found {
        let now = statat(CWD, HERE.0, HERE.1);
        if now.is_ok_and(|now| identity(&now) == self.identity) {
            return Found::Nothing;
        }
        Found::after(fchdir(&self.opened))
    }
}

/// Stdout or stderr.
struct Output {
    kept: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
    now: fn() -> BorrowedFd<'static>,
    set: fn(&OwnedFd) -> rustix::io::Result<()>,
}

impl Output {
    fn current(
        now: fn() -> BorrowedFd<'static>,
        set: fn(&OwnedFd) -> rustix::io::Result<()>,
    ) -> Option<Self> {
        let kept = fcntl_dupfd_cloexec(now(), 3).ok()?;
        Some(Self { identity: identity_of(&kept)?, kept, now, set })
    }

    fn restore(&self) -> Found {
        match identity_of((self.now)()) {
            Some(now) if now == self.identity => Found::Nothing,
            _ => Found::after((self.set)(&self.kept)),
        }
    }
}

fn identity_of(file: impl AsFd) -> Option<(u64, u64)> {
    fstat(file).ok().as_ref().map(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: FunctionRef = FunctionRef::Index(1);
    const DIRTY: FunctionRef = FunctionRef::Index(2);

    #[test]
    fn functions_are_trusted_that_leave_the_process_alone() {
        let mut trust = Trust::default();
        for now in 0..TRUSTED_AFTER.into() {
            assert!(trust.looks(CLEAN, 0, now) && trust.looks(DIRTY, 0, now));
            trust.found(CLEAN, Found::Nothing, now);
            let undone = if now == 7 { Found::Undone } else { Found::Nothing };
            trust.found(DIRTY, undone, now);
        }
        let now = u64::from(TRUSTED_AFTER);
        assert!(!trust.looks(CLEAN, LONG_NS - 1, now));
        assert!(trust.looks(CLEAN, LONG_NS, now), "a long task pays for it");
        assert!(trust.looks(CLEAN, 0, now + INTERVAL_NS), "once in a while");
        assert!((0..100).all(|_| trust.looks(DIRTY, 0, now)), "it did once");
    }
}

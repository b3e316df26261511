//! Signals: what a process does at each, which ones a thread blocks, and timers that
//! send them.

#![expect(unsafe_code, reason = "signal actions, masks and timers are raw system calls")]

use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};

use libc::c_int;

use crate::os::process::{last_signal, parents_end};

/// Sets back what was ignored when this program was started: a server's choice is
/// neither its workers' nor that of programs which tasks start. SIGPIPE is Rust's own.
pub(crate) fn stop_ignoring() {
    for signal in (1..=last_signal()).filter(|signal| *signal != libc::SIGPIPE) {
        if action(signal).is_some_and(|now| now.sa_sigaction == libc::SIG_IGN) {
            // SAFETY: the default action runs no code of this process.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// What this process does at a signal; `None` for one that is the system's own.
fn action(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: an all-zero sigaction is a valid value: no flags, an empty mask.
    let mut now: libc::sigaction = unsafe { zeroed() };
    // SAFETY: the action is only read, into a live value.
    (unsafe { libc::sigaction(signal, null(), &mut now) } == 0).then_some(now)
}

/// Signals whose actions tasks are not to pass on. Not those that say of a fault. A runtime
/// in this process, such as that of WebAssembly or of Java, installs its handlers for them
/// when it is first used, and once.
const PASSED_ON: [c_int; 12] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGCHLD,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGXCPU,
];

/// What a process does at signals.
pub(crate) struct Actions(Vec<(c_int, libc::sigaction)>);

impl Actions {
    /// Those of this process now.
    pub(crate) fn now() -> Self {
        let signals = PASSED_ON.into_iter().chain(parents_end());
        Self(signals.filter_map(|signal| Some((signal, action(signal)?))).collect())
    }

    /// Sets back what has changed since; whether anything had.
    pub(crate) fn restore(&self) -> bool {
        let mut changed = false;
        for (signal, before) in &self.0 {
            let same = |now: libc::sigaction| {
                now.sa_sigaction == before.sa_sigaction && now.sa_flags == before.sa_flags
            };
            if !action(*signal).is_some_and(same) {
                changed = true;
                // SAFETY: this is the action that the process had before: its handler, if
                // there is one, is code that is still there.
                unsafe { libc::sigaction(*signal, before, null_mut()) };
            }
        }
        changed
    }
}

/// The signals that a thread blocks.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

impl Mask {
    /// That of this thread now.
    pub(crate) fn now() -> Self {
        swap(None)
    }

    /// All signals but the one at the parent's end and the one that enters a sandbox. Not
    /// those of the C library's own,
    /// by which all threads change their user together.
    pub(crate) fn all_but_parents_end() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigfillset` fills in the whole set; the others change it.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            if let Some(signal) = parents_end() {
                libc::sigdelset(set.as_mut_ptr(), signal);
            }
            #[cfg(all(feature = "sandbox", target_os = "linux"))]
            libc::sigdelset(set.as_mut_ptr(), super::every_thread::request());
            Self(set.assume_init())
        }
    }

    /// Has this thread block these signals; whether it was another mask before.
    pub(crate) fn set(&self) -> bool {
        swap(Some(self)).bytes() != self.bytes()
    }

    fn bytes(&self) -> &[u8] {
        // The kernel has one bit for each signal; what follows says nothing.
        const BYTES: usize = 8;
        // SAFETY: the set is at least so long, was filled in by the C library, and is
        // plain integers.
        unsafe { std::slice::from_raw_parts((&raw const self.0).cast(), BYTES) }
    }
}

fn swap(new: Option<&Mask>) -> Mask {
    let new = new.map_or(null(), |mask| &raw const mask.0);
    // SAFETY: an all-zero set is a valid, empty one; both pointers are null or to live
    // sets. Through the C library, which keeps its own signals unblocked.
    unsafe {
        let mut before: libc::sigset_t = zeroed();
        libc::pthread_sigmask(libc::SIG_SETMASK, new, &mut before);
        Mask(before)
    }
}

/// Stops the timer behind `alarm`; whether it ran.
pub(crate) fn stop_alarm() -> bool {
    // SAFETY: the call takes an integer, and cannot fail.
    unsafe { libc::alarm(0) > 0 }
}

/// Stops the timers that count CPU time; whether one ran.
pub(crate) fn stop_cpu_timers() -> bool {
    let stop = |timer| {
        // SAFETY: all-zero is a valid value that stops a timer; both are live values.
        unsafe {
            let (none, mut before): (libc::itimerval, libc::itimerval) = (zeroed(), zeroed());
            libc::setitimer(timer, &none, &mut before);
            before.it_value.tv_sec != 0 || before.it_value.tv_usec != 0
        }
    };
    // Both are stopped.
    stop(libc::ITIMER_VIRTUAL) | stop(libc::ITIMER_PROF)
}

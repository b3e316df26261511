//! What the system takes from one thread only, taken from every thread of this process.
//!
//! The system restricts the thread that asks, and those that it starts later. So each of
//! the others is sent a signal, whose handler asks.

#![expect(unsafe_code, reason = "signal actions and landlock's call are raw system calls")]

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::Duration;

use libc::{c_int, pid_t};

use super::end::handle;

/// How often is looked whether a thread has answered, and how often in a row it may block
/// the signal. A thread that starts another one blocks it for a moment.
const PAUSE: Duration = Duration::from_micros(200);
const BLOCKED: u32 = 5_000;

/// What a thread answers: 0, or the system's error.
const WAITING: c_int = -1;

/// The ruleset, for the signal handler.
static RULESET: AtomicI32 = AtomicI32::new(-1);
static ANSWER: AtomicI32 = AtomicI32::new(WAITING);

/// The signal that asks a thread for it.
pub(super) fn request() -> c_int {
    libc::SIGRTMIN() + 12
}

/// Restricts all threads of this process, this one last.
///
/// The handler and the ruleset stay: a signal may come late, to a thread that blocked it.
///
/// # Errors
///
/// The system's, or the name of a thread that blocks all signals.
pub(crate) fn restrict_every_thread(ruleset: OwnedFd) -> io::Result<()> {
    RULESET.store(ruleset.into_raw_fd(), Release);
    handle(request(), on_request)?;
    // SAFETY: the call takes nothing.
    let own = unsafe { libc::gettid() };
    let mut asked = vec![own];
    loop {
        // A thread that was not asked yet may have started others meanwhile.
        let new: Vec<pid_t> = threads()?.into_iter().filter(|it| !asked.contains(it)).collect();
        if new.is_empty() {
            return answer(restrict());
        }
        for thread in new {
            ask(thread)?;
            asked.push(thread);
        }
    }
}

fn threads() -> io::Result<Vec<pid_t>> {
    let listed = std::fs::read_dir("/proc/self/task")?.flatten();
    Ok(listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Has one thread restrict itself, and waits until it has, or has ended.
fn ask(thread: pid_t) -> io::Result<()> {
    ANSWER.store(WAITING, Release);
    // SAFETY: the call takes integers; the signal has a handler that may run anywhere.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, request()) };
    let mut blocked = 0;
    loop {
        match ANSWER.load(Acquire) {
            WAITING => {}
            code => return answer(code),
        }
        match blocks(thread) {
            None => return Ok(()),
            Some(true) if blocked == BLOCKED => {
                let name = std::fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
                let name = name.unwrap_or_default();
                let name = name.trim_end();
                return Err(io::Error::other(format!(
                    "the thread `{name}` blocks all signals: start it after `#[on_start]`"
                )));
            }
            Some(true) => blocked += 1,
            Some(false) => blocked = 0,
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a thread blocks the signal; `None` once it has ended.
fn blocks(thread: pid_t) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).ok()?;
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    // It is dead, and was not reaped: the first thread of a process may be.
    if field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X'])) {
        return None;
    }
    let mask = u64::from_str_radix(field("SigBlk:")?.trim(), 16).ok()?;
    Some(mask & (1 << (request() - 1)) != 0)
}

fn answer(code: c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

extern "C" fn on_request(_: c_int) {
    let code = restrict();
    let _ = ANSWER.compare_exchange(WAITING, code, AcqRel, Acquire);
}

/// Rights of root over other processes, devices and the kernel. In linux/capability.h they
/// are `NET_ADMIN` and `NET_RAW`, `IPC_OWNER` to `SYS_BOOT`, `SYS_TIME` to `MKNOD`. The
/// second word has `MAC_ADMIN`, `SYSLOG`, `PERFMON` to `CHECKPOINT_RESTORE`. With some of them
/// the memory of others can be read whatever landlock says.
const DROPPED: [u32; 2] = [0b11 << 12 | 0b1111_1111 << 15 | 0b111 << 25, 0b110 | 0b111 << 6];

/// Drops them from this thread. Called in a signal handler.
fn drop_capabilities() -> bool {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    // Effective, permitted and inheritable, for each word.
    let mut sets = [[0_u32; 3]; 2];
    let (header, all) = (header.as_mut_ptr(), sets.as_mut_ptr());
    // SAFETY: both pointers are to live values of that layout.
    if unsafe { libc::syscall(libc::SYS_capget, header, all) } != 0 {
        return false;
    }
    for (sets, dropped) in sets.iter_mut().zip(DROPPED) {
        sets.iter_mut().for_each(|set| *set &= !dropped);
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_capset, header, sets.as_ptr()) == 0 }
}

/// Restricts this thread; 0, or the system's error. Called in a signal handler.
fn restrict() -> c_int {
    // SAFETY: the calls take integers, and may be made anywhere. The location is this
    // thread's own, and what the handler interrupted finds there what it left.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let mut done = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
        done = done && drop_capabilities();
        let ruleset = RULESET.load(Acquire);
        done = done && libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) == 0;
        let code = if done { 0 } else { *errno };
        *errno = before;
        code
    }
}

//! What C libraries do in tasks, and safe Rust does not: forks, signals, alarms.

#![expect(unsafe_code, reason = "system calls that no safe crate offers")]

use std::mem::zeroed;
use std::ptr::{null, null_mut};

/// Maps a file, for as long as the process lives.
pub(crate) fn map(path: &std::path::Path) -> &'static [u8] {
    let file = std::fs::File::open(path).unwrap();
    // SAFETY: nobody changes the file while tests run.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    Box::leak(Box::new(map))
}

/// Forks; 0 in the child, in its parent the child's number.
pub(crate) fn fork() -> i32 {
    // SAFETY: the child does little but what a task of one thread may do.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "a process more can be had");
    child
}

/// Ends a process that was forked, at once.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: it takes an integer, and does not return.
    unsafe { libc::_exit(code) }
}

/// How a child ended, once it has: its exit code, or the signal as a negative number.
pub(crate) fn wait_for(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the pointer is to a live value.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// Waits for a signal whose handler does not return, or for ever.
pub(crate) fn pause() {
    // SAFETY: it takes nothing.
    unsafe { libc::pause() };
}

/// Has this process sent SIGALRM in so many seconds; gives what an earlier alarm had left.
pub(crate) fn alarm(seconds: u32) -> u32 {
    // SAFETY: it takes an integer.
    unsafe { libc::alarm(seconds) }
}

/// Has this process sent SIGPROF after so much CPU time; whether a timer ran for that.
pub(crate) fn profile(seconds: i64) -> bool {
    // SAFETY: all-zero is a valid value, and both are live.
    unsafe {
        let (mut timer, mut before): (libc::itimerval, libc::itimerval) = (zeroed(), zeroed());
        timer.it_value.tv_sec = seconds;
        libc::setitimer(libc::ITIMER_PROF, &timer, &mut before);
        before.it_value.tv_sec != 0
    }
}

/// Ignores a signal; whether that was so before.
pub(crate) fn ignore(signal: i32) -> bool {
    // SAFETY: no handler of this process runs.
    unsafe { libc::signal(signal, libc::SIG_IGN) == libc::SIG_IGN }
}

/// Blocks all signals in this thread; whether SIGUSR2 was blocked before.
pub(crate) fn block_all_signals() -> bool {
    // SAFETY: the sets are live, and filled in before they are read.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, &mut before);
        libc::sigismember(&before, libc::SIGUSR2) == 1
    }
}

/// Whether this thread blocks SIGUSR2.
pub(crate) fn blocks_signals() -> bool {
    // SAFETY: as above.
    unsafe {
        let mut now: libc::sigset_t = zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, null(), &mut now);
        libc::sigismember(&now, libc::SIGUSR2) == 1
    }
}

/// Whether a signal is ignored.
pub(crate) fn ignores(signal: i32) -> bool {
    // SAFETY: the action is only read, into a live value.
    unsafe {
        let mut now: libc::sigaction = zeroed();
        libc::sigaction(signal, null(), &mut now);
        now.sa_sigaction == libc::SIG_IGN
    }
}

/// Gives up root.
pub(crate) fn give_up_root() {
    // SAFETY: they take integers.
    unsafe {
        assert_eq!((libc::setgid(65_534), libc::setuid(65_534)), (0, 0));
    }
}

/// Sets a variable of the environment.
pub(crate) fn set_variable(name: &str, value: &str) {
    // SAFETY: no other thread of this worker reads the environment.
    unsafe { std::env::set_var(name, value) };
}

/// Removes a variable from the environment.
pub(crate) fn remove_variable(name: &str) {
    // SAFETY: as above.
    unsafe { std::env::remove_var(name) };
}

/// Forks without telling the C library; 0 in the child.
pub(crate) fn fork_by_system_call() -> i64 {
    // SAFETY: as `fork`; a null stack has the child use a copy of this one.
    unsafe {
        let none = null_mut::<libc::c_void>();
        libc::syscall(libc::SYS_clone, libc::SIGCHLD, none, none, none, none)
    }
}

/// A system call with numbers only, or addresses of what lives; what it gives, or the error.
pub(crate) fn call(number: i64, arguments: [i64; 5]) -> Result<i64, i32> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the callers pass numbers, null, or addresses of live values of the right type.
    match unsafe { libc::syscall(number, a, b, c, d, e) } {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        result => Ok(result),
    }
}

/// Sorts with the C library, which calls back.
pub(crate) fn sort(numbers: &mut [i32]) {
    extern "C" fn compare(a: *const libc::c_void, b: *const libc::c_void) -> i32 {
        // SAFETY: the library passes two elements.
        unsafe { (*a.cast::<i32>()).cmp(&*b.cast::<i32>()) as i32 }
    }
    // SAFETY: the slice is live, of so many elements of that size.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), numbers.len(), 4, Some(compare)) };
}

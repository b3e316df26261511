//! What a process uses. POSIX tells its CPU time, and of this process the most memory that it
//! ever had. What memory there is now, Apple's systems and FreeBSD tell in ways of their own.

#![expect(unsafe_code, reason = "this module asks for what processes use by raw system calls")]

use std::mem::zeroed;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::os::{Memory, peak_of};

/// What a process has of memory; `None` if that is not known.
#[cfg(not(any(target_vendor = "apple", target_os = "freebsd")))]
pub(crate) fn memory(_: u32) -> Option<Memory> {
    None
}

/// It does not tell what is shared.
#[cfg(target_os = "freebsd")]
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    // SAFETY: all-zero is a valid value: it consists of integers and pointers that nobody follows.
    let mut found: libc::kinfo_proc = unsafe { zeroed() };
    let mut bytes = size_of_val(&found);
    let name = [libc::CTL_KERN, libc::KERN_PROC, libc::KERN_PROC_PID, pid as libc::c_int];
    // SAFETY: the name has as many parts as is said, and the system writes no more than `bytes`
    // to where the pointer leads.
    let result = unsafe {
        let to = (&raw mut found).cast();
        libc::sysctl(name.as_ptr(), 4, to, &raw mut bytes, std::ptr::null(), 0)
    };
    let resident_bytes = found.ki_rssize as u64 * rustix::param::page_size() as u64;
    let known = result == 0 && bytes == size_of_val(&found);
    known.then_some(Memory { resident_bytes, own_bytes: resident_bytes })
}

#[cfg(target_vendor = "apple")]
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    let usage = usage(pid)?;
    Some(Memory { resident_bytes: usage.ri_resident_size, own_bytes: usage.ri_phys_footprint })
}

/// It does not tell whom pages belong to.
pub(crate) fn proportional_bytes(_: u32) -> Option<u64> {
    None
}

/// What this process has of memory.
pub(crate) fn own_memory() -> Option<Memory> {
    memory(std::process::id())
}

/// User and system time of a process; `None` if it is not there.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the pointer is to a live value of the right type.
    if unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) } != 0 {
        return None;
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above. The process may have ended meanwhile: then the call fails.
    let known = unsafe { libc::clock_gettime(clock, &mut time) } == 0;
    known.then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(target_vendor = "apple")]
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    /// How many nanoseconds so many ticks are (`mach_timebase_info`).
    #[repr(C)]
    struct Timebase {
        ns: u32,
        ticks: u32,
    }
    unsafe extern "C" {
        fn mach_timebase_info(info: *mut Timebase) -> libc::c_int;
    }
    let usage = usage(pid)?;
    let mut base = Timebase { ns: 1, ticks: 1 };
    // SAFETY: the pointer is to a live value of the layout that the call is declared with.
    unsafe { mach_timebase_info(&raw mut base) };
    let ticks = u128::from(usage.ri_user_time + usage.ri_system_time);
    let ns = ticks * u128::from(base.ns) / u128::from(base.ticks.max(1));
    Some(Duration::from_nanos(ns as u64))
}

#[cfg(target_vendor = "apple")]
fn usage(pid: u32) -> Option<libc::rusage_info_v2> {
    // SAFETY: all-zero is a valid value: it consists of integers.
    let mut usage: libc::rusage_info_v2 = unsafe { zeroed() };
    // SAFETY: the flavor says what the pointer leads to, which is live.
    let result = unsafe {
        libc::proc_pid_rusage(pid as libc::c_int, libc::RUSAGE_INFO_V2, (&raw mut usage).cast())
    };
    (result == 0).then_some(usage)
}

/// The most resident memory that this process ever had, in bytes.
pub(crate) fn peak_bytes() -> Option<u64> {
    // SAFETY: all-zero is a valid value: it consists of integers.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: the pointer is to a live value of the right type.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    (result == 0).then(|| peak_of(&usage))
}

/// The most resident memory of this process, if that has grown since this was asked last.
pub(crate) fn take_peak_bytes() -> Option<u64> {
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    let peak = peak_bytes()?;
    (peak > BEFORE.swap(peak, Relaxed)).then_some(peak)
}

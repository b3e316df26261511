//! What a process uses of memory and CPU time, by `/proc`.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::os::Memory;

/// What a process has of memory; `None` if it is not there.
pub(crate) fn memory(pid: u32) -> Option<Memory> {
    statm(&format!("/proc/{pid}/statm"))
}

/// Resident memory of a process, in bytes, with each page divided by how many processes have it.
/// `None` if the process is not there, or is another user's. The system walks all its pages.
pub(crate) fn proportional_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    in_kib(&text, "Pss:")
}

/// The bytes that a line of `NAME: 123 kB` says.
fn in_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// What this process has of memory.
pub(crate) fn own_memory() -> Option<Memory> {
    statm("/proc/self/statm")
}

/// What a `statm` file says (proc_pid_statm(5), fields 2 and 3).
fn statm(file: &str) -> Option<Memory> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
    let (resident, shared) = (pages.next()?.ok()?, pages.next()?.ok()?);
    let page = rustix::param::page_size() as u64;
    let own_bytes = resident.saturating_sub(shared) * page;
    Some(Memory { resident_bytes: resident * page, own_bytes })
}

/// The most resident memory of this process, in bytes.
pub(crate) fn peak_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    in_kib(&text, "VmHWM:")
}

/// The most resident memory of this process since this was asked last, in bytes; `None` if
/// the system does not tell.
pub(crate) fn take_peak_bytes() -> Option<u64> {
    /// The last one, where the system could not begin to count anew.
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    let peak = peak_bytes()?;
    // proc_pid_clear_refs(5)
    let anew = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = BEFORE.swap(if anew { 0 } else { peak }, Relaxed);
    (peak > before).then_some(peak)
}

/// User and system time of a process, to a clock tick (proc_pid_stat(5), fields
/// 14 and 15).
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in brackets, and may hold anything.
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64((user + system) as f64 / per_second as f64))
}

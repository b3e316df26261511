//! Memory that processes share: POSIX shared memory, without a name.
//!
//! A worker could shrink it under its server's mapping, where Linux would not let it.

#![expect(unsafe_code, reason = "this module changes mappings that callers own")]

use std::ffi::{CStr, c_void};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use rustix::fs::{Mode, fstat, ftruncate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::shm;

use crate::os::{refused, within_limit};

/// How often is looked whether a word has changed: no system call for that is everywhere.
const LOOKS: Duration = Duration::from_millis(1);

static MADE: AtomicU64 = AtomicU64::new(0);

/// How pages are used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Advice {
    NotInDumps,
    NotInChildren,
    SmallPages,
    HugePages,
}

/// Makes a file of that size, all zeros, to be mapped by two processes.
///
/// # Errors
///
/// The system's; or a limit of this process forbids files of that length.
pub(crate) fn create(_: &CStr, bytes: usize) -> io::Result<OwnedFd> {
    within_limit(bytes)?;
    let flags = shm::OFlags::CREATE | shm::OFlags::EXCL | shm::OFlags::RDWR;
    loop {
        // Apple's systems take 31 characters.
        let name = format!("/outboard-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        match shm::open(&name, flags, Mode::RUSR | Mode::WUSR) {
            // Left by a process of that number that was killed just here.
            Err(Errno::EXIST) => continue,
            Err(error) => return Err(refused("shm_open", error)),
            Ok(fd) => {
                shm::unlink(&name)?;
                ftruncate(&fd, bytes as u64)?;
                return Ok(fd);
            }
        }
    }
}

/// Looks whether a file that was received has that size. Some systems count whole pages.
///
/// # Errors
///
/// It has not.
pub(crate) fn check(fd: &OwnedFd, bytes: usize) -> io::Result<()> {
    let whole = bytes.next_multiple_of(rustix::param::page_size());
    let size = usize::try_from(fstat(fd)?.st_size).map_err(io::Error::other)?;
    if ![bytes, whole].contains(&size) {
        return Err(io::Error::other("shared memory has the wrong size"));
    }
    Ok(())
}

/// Nothing that every system knows.
///
/// # Safety
///
/// None is needed here.
pub(crate) unsafe fn advise(_: *mut c_void, _: usize, _: Advice) {}

/// Nothing: the pages stay until both processes have unmapped them.
///
/// # Safety
///
/// None is needed here.
pub(crate) unsafe fn give_back(_: *mut c_void, _: usize) {}

/// Makes pages of a shared file this process's own, with what they hold and where they are.
/// A file of its own takes their place, in one step for whoever reads them meanwhile.
///
/// # Errors
///
/// The system's. The pages may be unmapped by then.
///
/// # Safety
///
/// They are whole pages, mapped readable, and nobody writes them.
pub(crate) unsafe fn set_apart(start: *mut c_void, bytes: usize) -> io::Result<()> {
    let name = format!("outboard-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    // SAFETY: mapped, and written by nobody, by the caller's word.
    file.write_all_at(unsafe { std::slice::from_raw_parts(start.cast(), bytes) }, 0)?;
    let (protection, flags) =
        (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED);
    // SAFETY: the place is the caller's mapping. The new pages hold the same bytes.
    unsafe { mmap(start, bytes, protection, flags, &file, 0)? };
    Ok(())
}

/// Nothing: a device that still reads what was set apart may see what the server writes
/// there next.
///
/// # Errors
///
/// None here.
pub(crate) fn punch(_: &OwnedFd, _: usize, _: usize) -> io::Result<()> {
    Ok(())
}

/// Sleeps a little, unless the word, which processes share, is another number than that one.
/// It wakes early, and whoever sleeps looks again.
pub(crate) fn sleep_while(word: &AtomicU32, number: u32) {
    if word.load(Acquire) == number {
        std::thread::sleep(LOOKS);
    }
}

/// Nothing: whoever sleeps on a word looks by itself.
pub(crate) fn wake(_: &AtomicU32) {}

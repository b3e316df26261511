//! Memory that processes share: files in memory, sealed, so that a worker cannot shrink one
//! under its server's mapping.

#![expect(unsafe_code, reason = "this module changes mappings that callers own")]

use std::ffi::{CStr, c_void};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;

use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat,
    ftruncate, memfd_create,
};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap_fixed};
use rustix::thread::futex;

use crate::os::{refused, within_limit};

/// How pages are used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Advice {
    /// They are no business of whoever reads a core dump, which is small without.
    NotInDumps,
    /// A child has no part in them.
    NotInChildren,
    SmallPages,
    /// The pages are large and new, where the system has such.
    HugePages,
}

/// Makes an empty file that can be sealed, and may become so long.
///
/// # Errors
///
/// The system's; or a limit of this process forbids files of that length.
pub(crate) fn file(name: &CStr, bytes: usize) -> io::Result<OwnedFd> {
    within_limit(bytes)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    memfd_create(name, flags).map_err(|error| refused("memfd_create", error))
}

/// Makes a file of that size, all zeros, to be mapped by two processes.
///
/// # Errors
///
/// As [`file`].
pub(crate) fn create(name: &CStr, bytes: usize) -> io::Result<OwnedFd> {
    let fd = file(name, bytes)?;
    ftruncate(&fd, bytes as u64)?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Looks whether a file that was received has that size, for good.
///
/// # Errors
///
/// It has not.
pub(crate) fn check(fd: &OwnedFd, bytes: usize) -> io::Result<()> {
    let sealed = fcntl_get_seals(fd)?.contains(SealFlags::SHRINK);
    if !sealed || fstat(fd)?.st_size != bytes as i64 {
        return Err(io::Error::other("shared memory has the wrong size"));
    }
    Ok(())
}

/// Tells the system how pages are used. What it cannot do is done without.
///
/// # Safety
///
/// They are mapped, and whoever has them knows what a child then lacks.
pub(crate) unsafe fn advise(start: *mut c_void, bytes: usize, advice: Advice) {
    let advice = match advice {
        Advice::NotInDumps => rustix::mm::Advice::LinuxDontDump,
        Advice::NotInChildren => rustix::mm::Advice::LinuxDontFork,
        Advice::SmallPages => rustix::mm::Advice::LinuxNoHugepage,
        Advice::HugePages => rustix::mm::Advice::LinuxHugepage,
    };
    // SAFETY: the caller's word. The advice leaves what they hold as it is, in this process.
    let _ = unsafe { madvise(start, bytes, advice) };
}

/// Gives pages of a shared file back to the system: they read as zeros, and take no memory.
///
/// # Safety
///
/// They are mapped, and no reference leads there.
pub(crate) unsafe fn give_back(start: *mut c_void, bytes: usize) {
    // SAFETY: the caller's word; the bytes become zeros.
    let _ = unsafe { madvise(start, bytes, rustix::mm::Advice::LinuxRemove) };
}

/// Makes pages of a shared file this process's own, with what they hold and where they are,
/// in one step for whoever reads them meanwhile.
///
/// # Errors
///
/// The system's. The pages may be unmapped by then.
///
/// # Safety
///
/// They are whole pages, mapped readable, and nobody writes them.
pub(crate) unsafe fn set_apart(start: *mut c_void, bytes: usize) -> io::Result<()> {
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: new memory, where the kernel chooses. The rest is the caller's word. The new
    // pages take the place of the old ones in one step, as `mremap` says, with the same bytes.
    unsafe {
        let copy = mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags)?;
        advise(copy, bytes, Advice::NotInDumps);
        std::ptr::copy_nonoverlapping(start.cast::<u8>(), copy.cast(), bytes);
        mremap_fixed(copy, bytes, bytes, MremapFlags::MAYMOVE, start)?;
    }
    Ok(())
}

/// Takes pages from a file, which has others when it is written there again. A device that
/// still reads goes on with those that it had.
///
/// # Errors
///
/// The system's.
pub(crate) fn punch(file: &OwnedFd, offset: usize, bytes: usize) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, offset as u64, bytes as u64)?)
}

/// Sleeps until the word, which processes share, is [woken](wake), unless it is another number
/// than that one. It may wake too early.
pub(crate) fn sleep_while(word: &AtomicU32, number: u32) {
    let _ = futex::wait(word, futex::Flags::empty(), number, None);
}

/// Wakes whoever sleeps on a word.
pub(crate) fn wake(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

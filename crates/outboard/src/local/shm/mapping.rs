//! Memory that a server and a worker share, or that a file holds which nobody
//! can change any more.
//!
//! A [`Shared`] mapping may change at any moment, for the other process writes to it.
//! Nothing here makes a reference into it but [`Shared::lent`], and the rest copies. What
//! is still lent when that stops being safe is [set apart](Shared::set_apart). A [`Sealed`]
//! one cannot change, and is lent as it is.

#![expect(unsafe_code, reason = "this module owns mappings of shared memory")]

use std::ffi::CStr;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::OnceLock;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::handover::Handover;
use crate::os::memory::{self, Advice};
use crate::os::refused;
use crate::value::room::room_for;

/// Pages of this process that a file backs; unmapped when dropped.
#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    bytes: usize,
    /// What is left of them, if not all.
    left: OnceLock<Range<usize>>,
}

// SAFETY: the pages belong to this value until `drop`, whatever thread has it.
// What is done with them from several at once is argued where it is done.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    fn map(fd: impl AsFd, bytes: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: the kernel chooses where the mapping lies, so it replaces no
        // memory that Rust knows of; it is unmapped only in `drop`.
        let pointer =
            unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, fd, 0) };
        let pointer = pointer.map_err(|error| refused("mmap", error))?;
        let start = NonNull::new(pointer.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        let pages = Self { start, bytes, left: OnceLock::new() };
        pages.advise(Advice::NotInDumps);
        Ok(pages)
    }

    /// Tells the system how they are used. What it cannot do is done without.
    fn advise(&self, advice: Advice) {
        // SAFETY: they are mapped. What a child does not get of them, it has no use for.
        unsafe { memory::advise(self.start.as_ptr().cast(), self.bytes, advice) };
    }

    fn left(&self) -> Range<usize> {
        self.left.get().cloned().unwrap_or(0..self.bytes)
    }

    fn at(&self, range: &Range<usize>) -> *mut u8 {
        let left = self.left();
        let inside = left.start <= range.start && range.end <= left.end;
        assert!(inside && range.start <= range.end, "inside of the mapping");
        // SAFETY: just checked: the offset is at most the length of one mapping.
        unsafe { self.start.as_ptr().add(range.start) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let left = self.left();
        // SAFETY: mapped in `map`, and this is left of it; what was lent of it does
        // not outlive `self`.
        let _ = unsafe { munmap(self.at(&left).cast(), left.len()) };
    }
}

/// A file of fixed size that both processes map and write.
#[derive(Debug)]
pub(crate) struct Shared(Pages, Handover);

impl Shared {
    /// Makes the file, and the descriptor to hand to the worker. On Linux a
    /// worker cannot shrink it under the server's mapping.
    pub(crate) fn create(name: &CStr, bytes: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = memory::create(name, bytes)?;
        Ok((Self::map(&fd, bytes)?, fd))
    }

    /// Maps a file that was received.
    pub(crate) fn open(fd: &OwnedFd, bytes: usize) -> io::Result<Self> {
        memory::check(fd, bytes)?;
        let shared = Self::map(fd, bytes)?;
        // A child of a worker has no part in what its server writes there later.
        shared.0.advise(Advice::NotInChildren);
        Ok(shared)
    }

    fn map(fd: &OwnedFd, bytes: usize) -> io::Result<Self> {
        let pages = Pages::map(fd, bytes, ProtFlags::READ | ProtFlags::WRITE)?;
        // Of a huge page no part could be taken from the file while a device reads it
        // (`set_apart`).
        pages.advise(Advice::SmallPages);
        Ok(Self(pages, Handover::default()))
    }

    /// Copies bytes to a place.
    ///
    /// # Panics
    ///
    /// If they reach outside of the mapping.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.0.at(&(offset..offset.saturating_add(bytes.len())));
        // SAFETY: `at` checked that so many bytes are mapped there. No reference
        // of this process leads there: `lent` is called in the worker, for what
        // only the server writes. What the other process does to them at the
        // same time is its own loss.
        unsafe { self.1.write(bytes, to) };
    }

    /// Copies bytes from a place, whatever they are by then.
    ///
    /// # Panics
    ///
    /// If the place reaches outside of the mapping.
    pub(crate) fn read(&self, range: Range<usize>) -> Vec<u8> {
        let (from, bytes) = (self.0.at(&range), range.len());
        let mut copy = room_for(bytes);
        // SAFETY: `at` checked that so many bytes are mapped there, and the
        // vector has room for them, in memory of its own. They are read once,
        // through a raw pointer; every bit pattern is a valid `u8`, so it does
        // not matter that the other process may be writing them.
        unsafe {
            std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), bytes);
            copy.set_len(bytes);
        }
        copy
    }

    /// As `read`, to where there is memory already.
    ///
    /// # Panics
    ///
    /// As `read`.
    pub(crate) fn copy(&self, offset: usize, to: &mut [u8]) {
        let from = self.0.at(&(offset..offset.saturating_add(to.len())));
        // SAFETY: as in `read`; `to` is this process's own memory.
        unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    }

    /// A place of the worker's mapping, in place.
    ///
    /// Only for a worker, and only for arguments: nothing in a worker writes
    /// there, and the server, which is the same program and which the worker is
    /// at the mercy of anyway, does not before it has the worker's answer, which
    /// is written after this borrow has ended, or its place was
    /// [set apart](Self::set_apart).
    ///
    /// # Panics
    ///
    /// If the place reaches outside of the mapping.
    pub(crate) fn lent(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: `at` checked that so many bytes are mapped there; that nobody
        // writes them while they are lent is what the documentation asks for.
        unsafe { std::slice::from_raw_parts(self.0.at(&range), range.len()) }
    }

    /// Makes pages of this mapping this process's own, with what they hold and where
    /// they are, and takes them from its file. All the rest of the mapping is gone
    /// after that.
    ///
    /// Whoever reads the pages meanwhile reads the same: a thread, and a device that
    /// the system has them read by (`O_DIRECT`, `MSG_ZEROCOPY`), which goes on with
    /// those that the file had. The file has others when it is written there again.
    ///
    /// # Errors
    ///
    /// The system's. The pages may be unmapped by then, so whoever has them lent must
    /// not go on.
    ///
    /// # Panics
    ///
    /// If the place reaches outside of the mapping, or is not one of whole pages; the
    /// second time.
    pub(crate) fn set_apart(&self, file: &OwnedFd, pages: Range<usize>) -> io::Result<()> {
        let page = rustix::param::page_size();
        let (place, bytes) = (self.0.at(&pages), pages.len());
        assert!(pages.start.is_multiple_of(page) && bytes.is_multiple_of(page), "whole pages");
        let rest = [0..pages.start, pages.end..self.0.bytes];
        let rest = rest.map(|rest| (self.0.at(&rest).cast(), rest.len()));
        // SAFETY: whole pages of this mapping, as just checked. Of the place, as for
        // `lent`, nobody writes what is copied.
        unsafe { memory::set_apart(place.cast(), bytes)? };
        assert!(self.0.left.set(pages.clone()).is_ok(), "set apart once");
        for (at, bytes) in rest.into_iter().filter(|(_, bytes)| *bytes > 0) {
            // SAFETY: mapped in `map`, and still: only this unmaps it, once, as just
            // checked. Nothing of it is lent.
            unsafe { munmap(at, bytes)? };
        }
        memory::punch(file, pages.start, bytes)
    }

    /// Gives pages back to the system, where that can be: they read as zeros, and take no
    /// memory.
    ///
    /// # Panics
    ///
    /// If the place reaches outside of the mapping.
    pub(crate) fn forget(&self, range: Range<usize>) {
        let at = self.0.at(&range);
        // SAFETY: `at` checked that the range is mapped. No reference of this
        // process leads there, as for `write`; the bytes may become zeros, which is
        // one more thing that shared memory may do at any moment.
        unsafe { memory::give_back(at.cast(), range.len()) };
    }
}

#[cfg(all(target_os = "linux", not(outboard_portable)))]
/// What a sealed file holds: it can be read, and nobody can change it.
#[derive(Debug)]
pub(crate) struct Sealed(Option<Pages>);

#[cfg(all(target_os = "linux", not(outboard_portable)))]
impl Sealed {
    /// Maps a file.
    ///
    /// # Errors
    ///
    /// The system's; or it can still be changed.
    pub(crate) fn open(fd: &OwnedFd) -> io::Result<Self> {
        let bytes = super::sealed::size(fd)?;
        let pages = (bytes > 0).then(|| Pages::map(fd, bytes, ProtFlags::READ));
        Ok(Self(pages.transpose()?))
    }
}

#[cfg(all(target_os = "linux", not(outboard_portable)))]
impl AsRef<[u8]> for Sealed {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |pages| {
            // SAFETY: so many bytes are mapped, readable, for as long as `self`
            // lives. `size` checked that the file is sealed against writing, and
            // against shrinking: the kernel grants that seal only while nobody has
            // the file mapped for writing, and nobody can again. So the bytes
            // never change, in whatever process.
            unsafe { std::slice::from_raw_parts(pages.start.as_ptr(), pages.bytes) }
        })
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let (server, fd) = Shared::create(c"test", 3 << 12).unwrap();
        let worker = Shared::open(&fd, 3 << 12).unwrap();
        server.write(4090, b"0123456789");
        assert_eq!(worker.read(4090..4100), b"0123456789");
        assert_eq!(worker.lent(4092..4094), b"23");
        server.forget(0..3 << 12);
        assert_eq!(worker.read(4090..4100), [0; 10]);
    }

    #[test]
    fn what_a_device_still_reads_stays_as_it_was() {
        let page = rustix::param::page_size();
        let (server, fd) = Shared::create(c"test", 8 * page).unwrap();
        let worker = Shared::open(&fd, 8 * page).unwrap();
        let places = page..5 * page;
        server.write(places.start, &vec![7; places.len()]);
        let lent = worker.lent(places.clone());
        let (mut read, write) = std::io::pipe().unwrap();
        let whole = rustix::pipe::IoSliceRaw::from_slice(lent);
        // SAFETY: nothing of this process writes these pages. The pipe has the pages
        // themselves, as a device would.
        let given = unsafe {
            rustix::pipe::vmsplice(&write, &[whole], rustix::pipe::SpliceFlags::empty()).unwrap()
        };
        worker.set_apart(&fd, places.clone()).unwrap();
        server.write(0, &vec![8; 8 * page]);
        assert!(lent.iter().all(|byte| *byte == 7));
        let mut sent = vec![0; given];
        std::io::Read::read_exact(&mut read, &mut sent).unwrap();
        assert!(given >= page && sent.iter().all(|byte| *byte == 7));
    }

    #[test]
    #[should_panic(expected = "inside of the mapping")]
    fn what_was_not_set_apart_is_gone() {
        let page = rustix::param::page_size();
        let (shared, fd) = Shared::create(c"test", 2 * page).unwrap();
        shared.set_apart(&fd, page..2 * page).unwrap();
        shared.read(0..1);
    }

    #[test]
    #[should_panic(expected = "inside of the mapping")]
    fn nothing_is_read_outside() {
        let (server, _fd) = Shared::create(c"test", 4096).unwrap();
        server.read(4000..4097);
    }

    #[test]
    fn a_file_that_could_shrink_is_refused() {
        let fd = memfd_create(c"test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, 4096).unwrap();
        assert!(Shared::open(&fd, 4096).is_err());
        assert!(Sealed::open(&fd).is_err());
    }
}

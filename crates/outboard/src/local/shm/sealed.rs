//! Files in memory that nobody can change any more: a payload too large for the
//! arena, or a scattered value.
//!
//! Whoever makes one writes it, seals it, and sends the descriptor; whoever
//! receives one looks at its size and seals first, and so is not at the sender's
//! mercy: it can be neither cut nor changed after that.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs};
use rustix::io::{Errno, pwrite};

use crate::local::shm::mapping::Sealed;
use crate::os::memory;
use crate::value::payload::Payload;

/// What the file system says that it is (`TMPFS_MAGIC`).
const TMPFS: i64 = 0x0102_1994;

const SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// Makes a file of these bytes.
pub(crate) fn create(payload: &Payload) -> io::Result<OwnedFd> {
    let fd = memory::file(c"outboard-payload", payload.len())?;
    let mut offset = 0;
    for mut piece in payload.pieces() {
        while !piece.is_empty() {
            match pwrite(&fd, piece, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    piece = &piece[written..];
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    fcntl_add_seals(&fd, SEALS)?;
    Ok(fd)
}

/// The size of a file that was received.
///
/// # Errors
///
/// The system's; or it can still be changed, or is no ordinary memory.
pub(crate) fn size(fd: &OwnedFd) -> io::Result<usize> {
    let sealed = fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(SEALS));
    if !sealed || fstatfs(fd)?.f_type != TMPFS {
        return Err(io::Error::other("the received file is not sealed memory"));
    }
    usize::try_from(fstat(fd)?.st_size).map_err(io::Error::other)
}

/// What a file holds that was received.
pub(crate) fn open_whole(fd: &OwnedFd) -> io::Result<Bytes> {
    Ok(Bytes::from_owner(Sealed::open(fd)?))
}

/// What a file holds that was received, if it is as long as was said.
pub(crate) fn open(fd: &OwnedFd, bytes: u64) -> io::Result<Bytes> {
    let sealed = Sealed::open(fd)?;
    if sealed.as_ref().len() as u64 != bytes {
        return Err(io::Error::other("the received file has the wrong size"));
    }
    Ok(Bytes::from_owner(sealed))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn a_file_holds_what_it_was_made_of() {
        for bytes in [vec![], vec![7; 1], vec![9; 3 << 20]] {
            let fd = create(&Payload::from(bytes.clone())).unwrap();
            assert_eq!(size(&fd).unwrap(), bytes.len());
            assert!(open(&fd, bytes.len() as u64).unwrap() == bytes);
            assert!(open(&fd, bytes.len() as u64 + 1).is_err());
            assert!(pwrite(&fd, b"x", 0).is_err(), "nobody can change it");
        }
    }

    #[test]
    fn what_can_still_change_is_refused() {
        let file = memfd_create(c"open", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        pwrite(&file, b"12345", 0).unwrap();
        assert!(open(&file, 5).is_err());
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        assert!(open(&file, 5).is_err());
        let file = OwnedFd::from(std::fs::File::open("/proc/self/exe").unwrap());
        assert!(size(&file).is_err());
        let (_, pipe) = rustix::pipe::pipe().unwrap();
        assert!(size(&pipe).is_err());
    }
}

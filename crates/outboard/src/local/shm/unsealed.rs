//! Files of payloads where the system cannot seal them: too large for the arena, or a
//! scattered value.
//!
//! They have no name, and whoever receives one can only read it. It is copied: its maker may
//! still write it, and a mapping of a file that was cut kills whoever reads there.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use rustix::fs::FileType;

use crate::os::{refused, within_limit};
use crate::value::payload::Payload;
use crate::value::room::room_for;

/// Makes a file of these bytes.
pub(crate) fn create(payload: &Payload) -> io::Result<OwnedFd> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    within_limit(payload.len())?;
    let name = format!("outboard-{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
    let path = std::env::temp_dir().join(name);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = made.map_err(|error| refused(&format!("create {}", path.display()), error))?;
    let read = File::open(&path);
    std::fs::remove_file(&path)?;
    payload.pieces().try_for_each(|piece| file.write_all(piece))?;
    Ok(read?.into())
}

/// The size of a file that was received.
///
/// # Errors
///
/// The system's; or it is no ordinary file.
pub(crate) fn size(fd: &OwnedFd) -> io::Result<usize> {
    let stat = rustix::fs::fstat(fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("the received descriptor is no file"));
    }
    usize::try_from(stat.st_size).map_err(io::Error::other)
}

/// What a file holds that was received.
pub(crate) fn open_whole(fd: &OwnedFd) -> io::Result<Bytes> {
    read(fd, size(fd)?)
}

/// What a file holds that was received, if it is as long as was said.
pub(crate) fn open(fd: &OwnedFd, bytes: u64) -> io::Result<Bytes> {
    let whole = open_whole(fd)?;
    if whole.len() as u64 != bytes {
        return Err(io::Error::other("the received file has the wrong size"));
    }
    Ok(whole)
}

/// Reads from the start of a file, which others read, too: their place in it is the same.
fn read(fd: &OwnedFd, bytes: usize) -> io::Result<Bytes> {
    /// Reads at a place of its own.
    struct At<'a>(&'a OwnedFd, u64);
    impl Read for At<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let read = rustix::io::pread(self.0, to, self.1)?;
            self.1 += read as u64;
            Ok(read)
        }
    }
    let mut copy = room_for(bytes);
    At(fd, 0).take(bytes as u64).read_to_end(&mut copy)?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_it_was_made_of() {
        for bytes in [vec![], vec![7; 1], vec![9; 3 << 20]] {
            let fd = create(&Payload::from(bytes.clone())).unwrap();
            for _ in 0..2 {
                assert!(open(&fd, bytes.len() as u64).unwrap() == bytes);
            }
            assert!(open(&fd, bytes.len() as u64 + 1).is_err());
            assert!(rustix::io::pwrite(&fd, b"x", 0).is_err(), "nobody can change it");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (_, pipe) = rustix::pipe::pipe().unwrap();
        assert!(size(&pipe).is_err());
    }
}

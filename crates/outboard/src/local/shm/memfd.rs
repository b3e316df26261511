//! Files in memory: how all of them are made.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, getrlimit};

use crate::task::system::refused;

/// Makes an empty file that can be sealed, and may become so long.
///
/// # Errors
///
/// The system's; or a limit of this process forbids files of that length, which it would
/// be killed for (SIGXFSZ) otherwise.
pub(super) fn create(name: &CStr, bytes: usize) -> io::Result<OwnedFd> {
    within(getrlimit(Resource::Fsize).current, bytes)?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    memfd_create(name, flags).map_err(|error| refused("memfd_create", error))
}

fn within(limit: Option<u64>, bytes: usize) -> io::Result<()> {
    match limit {
        Some(limit) if bytes as u64 > limit => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!(
                "a file in memory of {bytes} bytes exceeds the limit of file sizes, which is \
                 {limit}: raise it (`ulimit -f`, `LimitFSIZE=`)"
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_file_sizes_is_named() {
        assert!(within(None, usize::MAX).is_ok() && within(Some(9), 9).is_ok());
        let error = within(Some(9), 10).unwrap_err().to_string();
        assert!(error.contains("of 10 bytes") && error.contains("LimitFSIZE"), "{error}");
    }
}

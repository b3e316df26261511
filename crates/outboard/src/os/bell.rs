//! A bell that one process rings and another waits for: a counter in the kernel, where the
//! system has that. Elsewhere there is none, and who would ring writes to a socket instead.
//!
//! A ring of it takes two system calls that touch eight bytes, where a socket allocates,
//! queues and frees a buffer: see `eventfd(2)`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

/// A bell that was not rung; `None` where the system has none.
///
/// # Errors
///
/// The system's.
#[cfg(all(target_os = "linux", not(outboard_portable)))]
pub(crate) fn create() -> io::Result<Option<OwnedFd>> {
    use rustix::event::{EventfdFlags, eventfd};

    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    bell.map(Some).map_err(|error| super::refused("eventfd", error))
}

#[cfg(not(all(target_os = "linux", not(outboard_portable))))]
#[expect(clippy::unnecessary_wraps, reason = "it may fail elsewhere")]
pub(crate) fn create() -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Rings it; never waits.
///
/// # Errors
///
/// The system's.
pub(crate) fn ring(bell: impl AsFd) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::io::write(&bell, &1_u64.to_ne_bytes())) {
        // It was rung as often as can be counted, and nobody has heard it.
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How often it was rung since this was asked last; 0 if it was not.
///
/// # Errors
///
/// The system's.
pub(crate) fn rung(bell: impl AsFd) -> io::Result<u64> {
    let mut count = [0; 8];
    match rustix::io::retry_on_intr(|| rustix::io::read(&bell, &mut count[..])) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(test, target_os = "linux", not(outboard_portable)))]
mod tests {
    use super::*;

    #[test]
    fn rings_are_counted_until_they_are_heard() {
        let bell = create().unwrap().expect("Linux has bells");
        assert_eq!(rung(&bell).unwrap(), 0);
        for _ in 0..3 {
            ring(&bell).unwrap();
        }
        assert_eq!(rung(&bell).unwrap(), 3);
        assert_eq!(rung(&bell).unwrap(), 0);
    }

    #[test]
    fn a_bell_that_nobody_hears_makes_nobody_wait() {
        let bell = create().unwrap().expect("Linux has bells");
        let most = u64::MAX - 1;
        rustix::io::write(&bell, &most.to_ne_bytes()).unwrap();
        ring(&bell).unwrap();
        assert_eq!(rung(&bell).unwrap(), most);
    }
}

//! Where in what this worker writes to stderr a task begins. A report has what its task
//! wrote, and nothing of another one, which may be another tenant's.
//!
//! The two ends of the pipe know it together. The server says, in the page, how much it
//! has read, and whether it is reading; what is in the pipe the system says. When a task
//! begins, its worker adds the two up, by one system call.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::ioctl_fionread;

use crate::local::shm::page::Page;

/// How often the page is looked at before others get the core.
const SPINS: u32 = 100;

/// How long is waited then each time, and how often at most: a task may have written to
/// the page.
const PAUSE: Duration = Duration::from_micros(20);
const PAUSES: u32 = 500;

/// An end of the pipe that tells how much is in it, whatever a task does to its stderr.
pub(super) struct Stderr(OwnedFd);

impl Stderr {
    /// That of this process now.
    pub(super) fn take() -> io::Result<Self> {
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?))
    }

    /// By an end of it that the server has passed.
    pub(super) fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// What is written from now on is another's than what was written before. If that
    /// cannot be told apart, a report will have nothing at all.
    pub(super) fn mark(&self, page: &Page) {
        for turn in 0..SPINS + PAUSES {
            let read = page.stderr_read();
            // It is no pipe only where this program was not started by a server of ours.
            let Ok(unread) = ioctl_fionread(&self.0) else { return };
            // Nothing was read meanwhile, so all that was written is one or the other.
            if !read.is_going_on() && page.stderr_read() == read {
                return page.set_stderr_before(read.bytes().saturating_add(unread));
            }
            match turn {
                0..SPINS => std::hint::spin_loop(),
                _ => std::thread::sleep(PAUSE),
            }
        }
        page.set_stderr_before(u64::MAX);
    }
}

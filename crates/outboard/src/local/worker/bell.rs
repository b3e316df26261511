//! How a worker wakes its server. Where the system has no bells, it sends an empty frame.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crate::local::shm::answers::BELL;
use crate::os::bell;

/// A server's bell; whoever clones it rings the same.
#[derive(Clone)]
pub(super) enum Bell {
    Of(Arc<OwnedFd>),
    Socket(Arc<UnixStream>),
}

impl Bell {
    /// # Errors
    ///
    /// There is no descriptor left.
    pub(super) fn new(bell: Option<OwnedFd>, socket: &UnixStream) -> io::Result<Self> {
        match bell {
            Some(bell) => Ok(Self::Of(Arc::new(bell))),
            None => Ok(Self::Socket(Arc::new(socket.try_clone()?))),
        }
    }

    /// # Errors
    ///
    /// The system's: the server is gone, or a task has closed the descriptor.
    pub(super) fn ring(&self) -> io::Result<()> {
        match self {
            Self::Of(bell) => bell::ring(bell),
            Self::Socket(socket) => (&**socket).write_all(&BELL),
        }
    }
}

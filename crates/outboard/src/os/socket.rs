//! Socket pairs, whose flags are not the same everywhere.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, SendFlags};

/// A write to a peer that is gone is an error, and no signal. On Apple's systems the socket
/// says so itself, since [`pair`].
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Descriptors that arrive are closed when this process executes another program; see
/// [`keep_from_programs`].
#[cfg(not(target_vendor = "apple"))]
pub(crate) const RECEIVING: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(target_vendor = "apple")]
pub(crate) const RECEIVING: RecvFlags = RecvFlags::empty();

/// The peer has hung up: it sends no more. Where the system does not tell that by itself, it
/// has shut both directions, as a server of ours does.
#[cfg(all(target_os = "linux", not(outboard_portable)))]
pub(crate) const HUNG_UP: PollFlags = PollFlags::RDHUP;
#[cfg(not(all(target_os = "linux", not(outboard_portable))))]
pub(crate) const HUNG_UP: PollFlags = PollFlags::HUP;

/// Two sockets that are connected.
///
/// # Errors
///
/// The system's.
pub(crate) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let pair = UnixStream::pair()?;
    #[cfg(target_vendor = "apple")]
    for socket in [&pair.0, &pair.1] {
        rustix::net::sockopt::set_socket_nosigpipe(socket, true)?;
    }
    Ok(pair)
}

/// Does what [`RECEIVING`] asks for, where it cannot: a program that another thread starts
/// just then may still have it.
#[cfg_attr(
    not(target_vendor = "apple"),
    expect(clippy::unnecessary_wraps, reason = "it may fail elsewhere")
)]
pub(crate) fn keep_from_programs(received: OwnedFd) -> rustix::io::Result<OwnedFd> {
    #[cfg(target_vendor = "apple")]
    rustix::io::fcntl_setfd(&received, rustix::io::FdFlags::CLOEXEC)?;
    Ok(received)
}

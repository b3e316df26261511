//! A line into a worker process.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::Line;
use crate::os::socket;

/// What the socket is asked to hold. Linux takes it twice, for its own records count as well.
/// One write may go beyond it by half, so at most 240 KiB are out.
const BUFFER_BYTES: usize = 80 << 10;

/// The caller's end, and the task's.
pub(super) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (near, far) = socket::pair()?;
    set_socket_send_buffer_size(&near, BUFFER_BYTES)?;
    near.set_nonblocking(true)?;
    Ok((near, far))
}

/// The caller's end.
pub(super) struct Near(tokio::net::UnixStream);

impl Near {
    /// For the runtime that this is called on.
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        tokio::net::UnixStream::from_std(socket).map(Self)
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A server may have the signal of a peer that is gone set back: none is to come.
        let write = || Ok(send(&self.0, bytes, SendFlags::DONTWAIT | socket::NO_SIGNAL)?);
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_io(Interest::WRITABLE, write) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The task's end. Dropping it alone leaves the line open: a task that has not started may
/// be given to another worker.
pub(crate) struct Socket(UnixStream);

impl From<OwnedFd> for Socket {
    fn from(socket: OwnedFd) -> Self {
        Self(socket.into())
    }
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.0.as_fd(), bytes, socket::NO_SIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Line for Socket {
    fn close(&mut self) {
        // The server has this end as well.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_holds_no_more_than_the_window() {
        let (near, _far) = pair().unwrap();
        for piece in [1000, 64 << 10, 1 << 20] {
            let (near, _far) = (near.try_clone().unwrap(), &_far);
            let bytes = vec![7; piece];
            let mut held = 0;
            while let Ok(sent) = send(&near, &bytes, SendFlags::DONTWAIT) {
                held += sent;
            }
            assert!(held <= 256 << 10, "{held} bytes in pieces of {piece}");
            let mut rest = vec![0; held];
            (&*_far).read_exact(&mut rest).unwrap();
        }
    }
}

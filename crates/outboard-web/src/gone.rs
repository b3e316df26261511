//! When a client is gone, by what the system says of its connection.

use std::future::poll_fn;
use std::io;
#[cfg(unix)]
use std::task::ready;
use std::task::{Context, Poll};

#[cfg(unix)]
pub(crate) use std::os::fd::AsFd as Socket;
#[cfg(unix)]
use std::os::fd::OwnedFd;

#[cfg(unix)]
use tokio::io::Interest;
#[cfg(unix)]
use tokio::io::unix::AsyncFd;

/// Where the system does not say it, any type will do.
#[cfg(not(unix))]
pub trait Socket {}
#[cfg(not(unix))]
impl<S> Socket for S {}

/// Tells when the client of a connection is gone, whatever of its bytes nobody has read.
///
/// A server notices the end of a connection when it reads that far. While a handler runs it
/// may not read: a second request, a stray byte, or a body that nobody asks for lies before
/// the end. This asks the system instead (`EPOLLRDHUP` and `EPOLLHUP` on Linux).
///
/// For frameworks that serve on a stream there is [`Watched`](crate::Watched). This is for
/// those that only show theirs: give each connection one, and wait for it beside the handler.
///
/// # Half-closed connections
///
/// A client that has closed its sending half and reads on looks like one that is gone, until
/// something is written. It counts as gone, unless `half_close` is set. Then only a reset
/// connection is gone, and a client that leaves in an orderly way is not noticed.
///
/// # Cost
///
/// A second descriptor of the socket, registered with the runtime. Drop it with the connection:
/// the socket is open until both are closed. Outside of Unix nobody is ever gone.
///
/// # Examples
///
/// ```
/// # async fn serve(_: tokio::net::TcpStream) {}
/// # async fn example(stream: tokio::net::TcpStream) -> std::io::Result<()> {
/// let gone = outboard_web::Gone::watch(&stream, false)?;
/// tokio::select! {
///     () = serve(stream) => {}
///     () = gone.wait() => {} // drops what serves it
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Gone {
    #[cfg(unix)]
    descriptor: AsyncFd<OwnedFd>,
}

#[cfg(unix)]
impl Gone {
    /// Watches a connection. With `half_close`, one whose client has only closed its sending
    /// half is not gone.
    ///
    /// # Errors
    ///
    /// That of the system, where no descriptor is free.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that has its I/O enabled.
    pub fn watch(stream: &impl Socket, half_close: bool) -> io::Result<Self> {
        // The stream's own descriptor is registered already, and its readiness is the reader's.
        let descriptor = stream.as_fd().try_clone_to_owned()?;
        let interest = if half_close { RESET } else { Interest::READABLE };
        #[expect(deprecated, reason = "the new name is unsafe, and an OwnedFd is what it asks for")]
        let descriptor = AsyncFd::with_interest(descriptor, interest)?;
        Ok(Self { descriptor })
    }

    /// Whether the client is gone; wakes the task that asked last. For several tasks there is
    /// [`wait`](Self::wait).
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut guard) = ready!(self.descriptor.poll_read_ready(context)) else {
                return Poll::Pending; // The runtime ends, and the connection with it.
            };
            if guard.ready().is_read_closed() {
                return Poll::Ready(());
            }
            // Bytes have come, which are for others to read.
            guard.clear_ready();
        }
    }

    /// Waits until the client is gone.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe, and several tasks may wait.
    pub async fn wait(&self) {
        while let Ok(mut guard) = self.descriptor.ready(Interest::READABLE).await {
            if guard.ready().is_read_closed() {
                return;
            }
            guard.clear_ready();
        }
        // The runtime ends, and the connection with it.
        poll_fn(|_| Poll::Pending).await
    }
}

/// Linux tells errors and hang-ups whatever is asked for, and this asks for nothing that
/// happens. Elsewhere a reset is not told.
#[cfg(all(unix, any(target_os = "linux", target_os = "android")))]
const RESET: Interest = Interest::PRIORITY;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const RESET: Interest = Interest::WRITABLE;

#[cfg(not(unix))]
impl Gone {
    /// Watches nothing: on this system nobody is ever gone.
    ///
    /// # Errors
    ///
    /// None.
    pub fn watch(_: &impl Socket, _: bool) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Never: on this system nobody is ever gone.
    pub fn poll(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Waits for ever: on this system nobody is ever gone.
    pub async fn wait(&self) {
        poll_fn(|_| Poll::Pending).await
    }
}

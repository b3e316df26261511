//! Whether a connection is alive: a large answer over a slow link takes its time,
//! and goes on coming.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has to move in the time that one is patient: less is a peer that plays dead.
const LEAST_BYTES: u64 = 256 << 10;

/// How many bytes have moved over a connection, in both directions.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Does something over the connection, for as long as that goes on.
    ///
    /// # Errors
    ///
    /// What that gives; `TimedOut` when hardly anything has moved for so long.
    pub(super) async fn while_it_beats<T>(
        &self,
        patience: Duration,
        doing: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut doing = pin!(doing);
        loop {
            let before = self.0.load(Relaxed);
            if let Ok(done) = tokio::time::timeout(patience, &mut doing).await {
                return done;
            }
            if self.0.load(Relaxed) - before < LEAST_BYTES {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

/// A stream that counts what moves over it.
pub(super) struct Counted<S> {
    pub(super) stream: S,
    pub(super) pulse: Pulse,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        self.pulse.0.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.pulse.0.fetch_add(*written.as_ref().unwrap_or(&0) as u64, Relaxed);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// Reads what another end sends in that many parts, with a pause before each.
    async fn received(parts: usize, bytes: usize, pause: Duration) -> io::Result<usize> {
        let (here, mut there) = tokio::io::duplex(64 << 10);
        let pulse = Pulse::default();
        let mut counted = Counted { stream: here, pulse: pulse.clone() };
        let sends = async {
            let part = vec![7; bytes];
            for _ in 0..parts {
                tokio::time::sleep(pause).await;
                there.write_all(&part).await?;
            }
            drop(there);
            Ok::<_, io::Error>(())
        };
        let mut whole = Vec::new();
        let reads = pulse.while_it_beats(PATIENCE, counted.read_to_end(&mut whole));
        tokio::select! {
            read = reads => read,
            Err(error) = sends => Err(error),
        }
    }

    #[test]
    fn what_is_slow_is_waited_for_and_what_plays_dead_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let pause = PATIENCE / 4;
            // More than twice as long as one is patient.
            let slow = received(10, 1 << 20, pause);
            let dead = received(usize::MAX, 1, pause);
            let (slow, dead) = tokio::join!(slow, dead);
            assert_eq!(slow.unwrap(), 10 << 20);
            assert_eq!(dead.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }
}

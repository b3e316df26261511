//! A line within this process.

use std::io::{self, Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{Thread, current, park};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::coop::unconstrained;

use super::Line;

/// As much is out that the task has not taken.
const WINDOW_BYTES: usize = 256 << 10;

/// The caller's end, and the task's.
pub(super) fn pair() -> (DuplexStream, DuplexStream) {
    duplex(WINDOW_BYTES)
}

/// The end of a task, which blocks its thread.
pub(super) struct Here(pub(super) DuplexStream);

impl Read for Here {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        wait(self.0.read(bytes))
    }
}

impl Write for Here {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        wait(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Line for Here {
    fn close(&mut self) {
        self.0 = duplex(1).0;
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread, which may be one of a runtime: an `async fn` may wait as well.
fn wait<T>(future: impl Future<Output = T>) -> T {
    // The budget of such a thread would be used up, and never renewed.
    let mut future = pin!(unconstrained(future));
    let waker = Arc::new(Unpark(current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => park(),
        }
    }
}

//! What goes into a task while it runs: the items of one stream, from the caller's process to
//! the task.
//!
//! A **feed** has two ends that are connected when its task is given to a worker. On `inline` they
//! meet in memory, on `local` they are a socket pair. The task's end, a [`Line`], says one byte when it wants
//! the first item, so nothing is taken from the stream before. Then a task of the caller's
//! runtime writes the items, each as its length (four bytes, little endian) and its bytes. What
//! the two ends hold bounds how much is out that the task has not taken. The last length is
//! no length: it tells that the stream ended, or why it broke off. A line that ends without
//! one was left by its caller.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
#[cfg(all(feature = "local", unix))]
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use futures_util::stream::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::payload::Payload;
use here::Here;

mod here;
#[cfg(all(feature = "local", unix))]
pub(crate) mod socket;

/// The longest piece of an item that is nothing but bytes.
const PIECE_BYTES: usize = 64 << 10;

/// From here on a length is none.
const MARKS: u32 = u32::MAX - 2;
const TOO_LARGE: u32 = u32::MAX - 2;
const FAILED: u32 = u32::MAX - 1;
const ENDED: u32 = u32::MAX;

/// So much room is made for an item before it comes.
const ROOM_BYTES: usize = 1 << 20;

/// The encoded items of a stream, or why it has no more.
pub(crate) type Items = Pin<Box<dyn Stream<Item = Result<Payload, String>> + Send>>;

/// The caller's end, which belongs to the arguments of one task. Dropping it has the stream
/// dropped, by its runtime: this may happen under a gate's mutex, where no code of users runs.
pub(crate) struct Feed {
    /// What the encoded arguments have in its place.
    pub(crate) id: u64,
    /// What carries the items; `None` without a runtime.
    carrier: Option<AbortHandle>,
    /// Gives it the line, once.
    connect: Mutex<Option<oneshot::Sender<Near>>>,
    /// The most bytes that all items may have.
    most_bytes: Arc<AtomicU64>,
    #[cfg(all(feature = "local", unix))]
    far: OnceLock<Option<Arc<std::os::fd::OwnedFd>>>,
}

/// The caller's end of a line.
enum Near {
    Here(DuplexStream),
    #[cfg(all(feature = "local", unix))]
    Socket(std::os::unix::net::UnixStream),
}

/// The task's end.
pub(crate) trait Line: Read + Write + Send {
    /// The task takes no more items.
    fn close(&mut self);
}

/// Why a stream broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It gave an error.
    Failed(String),
    TooLarge {
        bytes: u64,
        limit: u64,
    },
    /// Its caller has left.
    Left,
}

impl Feed {
    /// That of a stream, which is polled on the runtime that this thread is in. Items that are
    /// `plain` are nothing but bytes, and may come in pieces.
    pub(crate) fn new(items: Items, plain: bool) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let (connect, line) = oneshot::channel();
        let most_bytes = Arc::new(AtomicU64::new(u64::MAX));
        let limit = most_bytes.clone();
        let carrier = async move {
            // What becomes of it is told to the task, by the end of the line at least.
            let _ = match line.await {
                Ok(Near::Here(near)) => carry(near, items, plain, &limit).await,
                #[cfg(all(feature = "local", unix))]
                Ok(Near::Socket(near)) => match socket::Near::new(near) {
                    Ok(near) => carry(near, items, plain, &limit).await,
                    Err(error) => Err(error),
                },
                Err(_) => Ok(()),
            };
        };
        let runtime = Handle::try_current().ok();
        Self {
            id: IDS.fetch_add(1, Relaxed),
            carrier: runtime.map(|runtime| runtime.spawn(carrier).abort_handle()),
            connect: Mutex::new(Some(connect)),
            most_bytes,
            #[cfg(all(feature = "local", unix))]
            far: OnceLock::new(),
        }
    }

    /// Sets the most bytes that all items may have.
    pub(crate) fn limit(&self, bytes: u64) {
        self.most_bytes.store(bytes, Relaxed);
    }

    /// Whether there is a runtime to poll the stream on.
    pub(crate) fn has_runtime(&self) -> bool {
        self.carrier.is_some()
    }

    /// Connects it with a task of this process; `None` if it is connected already.
    pub(crate) fn here(&self) -> Option<Box<dyn Line>> {
        let connect = self.connect()?;
        let (near, far) = here::pair();
        // Without its runtime, the line ends at once.
        let _ = connect.send(Near::Here(near));
        Some(Box::new(Here(far)))
    }

    /// The other end of a socket, for a worker process; `None` if the system has none to give.
    #[cfg(all(feature = "local", unix))]
    pub(crate) fn descriptor(&self) -> Option<Arc<std::os::fd::OwnedFd>> {
        let open = || {
            let (near, far) = socket::pair().ok()?;
            let _ = self.connect()?.send(Near::Socket(near));
            Some(Arc::new(far.into()))
        };
        self.far.get_or_init(open).clone()
    }

    fn connect(&self) -> Option<oneshot::Sender<Near>> {
        self.connect.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        if let Some(carrier) = &self.carrier {
            carrier.abort();
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Writes all items, and how the stream ended, until the task takes no more.
async fn carry(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    mut items: Items,
    plain: bool,
    limit: &AtomicU64,
) -> io::Result<()> {
    near.read_exact(&mut [0]).await?;
    let (mut bytes, most_bytes) = (0_u64, limit.load(Relaxed));
    while let Some(item) = next(&mut near, &mut items).await? {
        let item = match item {
            Ok(item) => item.into_bytes(),
            Err(error) => return say_failed(&mut near, &error).await,
        };
        bytes = bytes.saturating_add(item.len() as u64);
        if bytes > most_bytes {
            near.write_all(&TOO_LARGE.to_le_bytes()).await?;
            near.write_all(&bytes.to_le_bytes()).await?;
            return near.write_all(&most_bytes.to_le_bytes()).await;
        }
        if plain {
            for piece in item.chunks(PIECE_BYTES) {
                write(&mut near, piece).await?;
            }
        } else if item.len() >= MARKS as usize {
            return say_failed(&mut near, "an item of 4 GiB or more").await;
        } else {
            write(&mut near, &item).await?;
        }
    }
    near.write_all(&ENDED.to_le_bytes()).await
}

/// The next item; an error if the task takes no more.
async fn next(
    near: &mut (impl AsyncRead + Unpin),
    items: &mut Items,
) -> io::Result<Option<Result<Payload, String>>> {
    poll_fn(|context| {
        if let Poll::Ready(item) = items.as_mut().poll_next(context) {
            return Poll::Ready(Ok(item));
        }
        // The task says nothing more, so what can be read is its end.
        let mut byte = [0];
        Pin::new(&mut *near)
            .poll_read(context, &mut ReadBuf::new(&mut byte))
            .map(|_| Err(io::ErrorKind::BrokenPipe.into()))
    })
    .await
}

async fn write(near: &mut (impl AsyncWrite + Unpin), item: &[u8]) -> io::Result<()> {
    near.write_all(&(item.len() as u32).to_le_bytes()).await?;
    near.write_all(item).await
}

async fn say_failed(near: &mut (impl AsyncWrite + Unpin), error: &str) -> io::Result<()> {
    near.write_all(&FAILED.to_le_bytes()).await?;
    write(near, crate::error::one_line(error).as_bytes()).await
}

/// Asks for the first item.
pub(crate) fn ask(line: &mut dyn Line) -> Result<(), Broken> {
    line.write_all(&[1]).map_err(|_| Broken::Left)
}

/// Reads the next item; blocks until it is here.
pub(crate) fn read(line: &mut dyn Line) -> Option<Result<Bytes, Broken>> {
    match read_length(line) {
        Ok(ENDED) => None,
        read => Some(read.and_then(|length| read_item(line, length)).map_err(|why| match why {
            Why::Broken(broken) => broken,
            Why::Line => Broken::Left,
        })),
    }
}

enum Why {
    Broken(Broken),
    /// The line ended.
    Line,
}

impl From<io::Error> for Why {
    fn from(_: io::Error) -> Self {
        Self::Line
    }
}

fn read_length(line: &mut dyn Line) -> Result<u32, Why> {
    let mut length = [0; 4];
    line.read_exact(&mut length)?;
    Ok(u32::from_le_bytes(length))
}

fn read_item(line: &mut dyn Line, length: u32) -> Result<Bytes, Why> {
    match length {
        TOO_LARGE => {
            let [mut bytes, mut limit] = [[0; 8]; 2];
            line.read_exact(&mut bytes)?;
            line.read_exact(&mut limit)?;
            let (bytes, limit) = (u64::from_le_bytes(bytes), u64::from_le_bytes(limit));
            Err(Why::Broken(Broken::TooLarge { bytes, limit }))
        }
        FAILED => {
            let length = read_length(line)?;
            let text = read_bytes(line, length)?;
            Err(Why::Broken(Broken::Failed(String::from_utf8_lossy(&text).into_owned())))
        }
        length => Ok(read_bytes(line, length)?.into()),
    }
}

fn read_bytes(line: &mut dyn Line, length: u32) -> Result<Vec<u8>, Why> {
    let mut bytes = Vec::with_capacity((length as usize).min(ROOM_BYTES));
    let read = line.take(length.into()).read_to_end(&mut bytes)?;
    if read == length as usize { Ok(bytes) } else { Err(Why::Line) }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    fn feed(items: Vec<Result<Bytes, String>>, plain: bool, most_bytes: u64) -> Feed {
        let items = items.into_iter().map(|item| item.map(Payload::from));
        let feed = Feed::new(Box::pin(stream::iter(items)), plain);
        feed.limit(most_bytes);
        feed
    }

    /// The task's ends: in memory, and of a socket.
    fn lines(of: impl Fn() -> Feed) -> Vec<(Feed, Box<dyn Line>)> {
        let feed = of();
        let line = feed.here().unwrap();
        #[cfg_attr(not(all(feature = "local", unix)), expect(unused_mut, reason = "one line"))]
        let mut lines = vec![(feed, line)];
        #[cfg(all(feature = "local", unix))]
        {
            let feed = of();
            let far = feed.descriptor().unwrap().try_clone().unwrap();
            lines.push((feed, Box::new(socket::Socket::from(far))));
        }
        lines
    }

    fn all(line: &mut dyn Line) -> (Vec<Bytes>, Option<Broken>) {
        ask(line).unwrap();
        let mut items = Vec::new();
        while let Some(item) = read(line) {
            match item {
                Ok(item) => items.push(item),
                Err(broken) => return (items, Some(broken)),
            }
        }
        (items, None)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn an_error_and_a_limit_come_after_the_items_before_them() {
        let runtime = runtime();
        let _entered = runtime.enter();
        let item = |byte: u8| Ok(Bytes::from(vec![byte; 10]));
        let failing = || feed(vec![item(1), Err("no\nmore".into()), item(2)], true, u64::MAX);
        let long = || feed(vec![item(1), item(2), item(3)], false, 25);
        for (_feed, mut line) in lines(failing) {
            let (items, broken) = all(&mut *line);
            assert_eq!((items.len(), broken), (1, Some(Broken::Failed("no\\nmore".into()))));
        }
        for (_feed, mut line) in lines(long) {
            let (items, broken) = all(&mut *line);
            assert_eq!((items.len(), broken), (2, Some(Broken::TooLarge { bytes: 30, limit: 25 })));
        }
    }

    #[test]
    fn a_feed_that_is_dropped_leaves_its_line() {
        let runtime = runtime();
        let _entered = runtime.enter();
        for (feed, mut line) in lines(|| Feed::new(Box::pin(stream::pending()), true)) {
            ask(&mut *line).unwrap();
            drop(feed);
            assert_eq!(read(&mut *line), Some(Err(Broken::Left)));
        }
    }

    #[test]
    fn it_is_connected_once() {
        let runtime = runtime();
        let _entered = runtime.enter();
        let feed = feed(Vec::new(), true, 0);
        assert!(feed.here().is_some() && feed.here().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        #[test]
        fn items_arrive_as_they_are(
            lengths in prop::collection::vec(0..200_000_usize, 0..12),
            plain: bool,
        ) {
            let runtime = runtime();
            let _entered = runtime.enter();
            let item = |(n, length)| Bytes::from(vec![n as u8; length]);
            let items: Vec<Bytes> = lengths.into_iter().enumerate().map(item).collect();
            let sent = || feed(items.iter().cloned().map(Ok).collect(), plain, u64::MAX);
            for (_feed, mut line) in lines(sent) {
                let (got, broken) = all(&mut *line);
                prop_assert_eq!(broken, None);
                match plain {
                    false => prop_assert_eq!(&got, &items),
                    true => {
                        prop_assert!(got.iter().all(|item| item.len() <= PIECE_BYTES));
                        prop_assert_eq!(got.concat(), items.concat());
                    }
                }
            }
        }
    }
}

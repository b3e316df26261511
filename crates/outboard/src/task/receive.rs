//! Tasks that get items while they run: what they get them from.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use futures_util::stream::{Stream, StreamExt};
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Oversized, one_line};
use crate::task::outcome::Failure;
use crate::value::args;
use crate::value::codec::{Input, decode, encode_result, is_bytes};
use crate::value::feed::{self, Broken, Feed, Line};
use crate::value::payload::Payload;

/// A stream that a task receives while it runs: an upload, for example.
///
/// The caller makes it of a `Stream` and passes it as an argument, anywhere among the others.
/// The task reads it: it is an `Iterator`, and a `Receiver<Bytes>` is an [`io::Read`] as well.
/// It works with [`submit`](crate::Client::submit) and with [`stream`](crate::Client::stream).
///
/// Nothing is taken from the stream before the task reads. Then at most 256 KiB, and one item,
/// are out that the task has not read. Items of [`Bytes`] come in pieces of at most 64 KiB.
///
/// # Errors
///
/// If the stream gives an error, the task gets it as a [`ReceiveError`]. Whatever it returns
/// then, the caller's error is of kind [`InputFailed`](crate::ErrorKind::InputFailed), or
/// `TooLarge` for [`limit`](Self::limit). The task has one attempt: no
/// [`retries`](crate::Client::retries) apply. The engines `local` and `inline` have it. On a
/// cluster, for a function of Python, and for one that takes batches the submit is `Unsupported`.
///
/// # Drop
///
/// A task that drops it ends the stream, which is dropped. The stream is also dropped when the
/// task ends, or the future is dropped.
///
/// # Examples
///
/// ```
/// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
/// use std::io::{self, BufRead, BufReader};
///
/// use futures_util::stream;
/// use outboard::{Bytes, Receiver};
///
/// fn lines(upload: Receiver<Bytes>) -> usize {
///     BufReader::new(upload).lines().map_while(Result::ok).count()
/// }
/// let parts = [Ok("one\ntw"), Err(io::Error::other("the browser has gone"))];
/// let upload = stream::iter(parts.map(|part| part.map(Bytes::from)));
/// let error = client.submit(lines, Receiver::new(upload)).await.unwrap_err();
/// assert_eq!(error.to_string(), "input failed: the browser has gone");
/// # Ok(()) }
/// ```
pub struct Receiver<T> {
    end: End,
    /// It gives values, and has none.
    items: PhantomData<fn() -> T>,
}

enum End {
    Caller(Arc<Feed>),
    Task(Incoming),
}

/// The task's end.
struct Incoming {
    /// Until the last item was read.
    line: Option<Box<dyn Line>>,
    has_asked: bool,
    /// What was not read of the last piece.
    rest: Bytes,
    broken: Arc<OnceLock<Broken>>,
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Receiver<T> {
    /// Makes one of a stream, which is polled on the tokio runtime that this is called on.
    ///
    /// A submit outside of a runtime fails: its error is of kind `Codec`.
    pub fn new<E: fmt::Display>(stream: impl Stream<Item = Result<T, E>> + Send + 'static) -> Self {
        let items = stream.map(|item| match item {
            Ok(item) => encode_result(item).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        });
        let feed = Feed::new(Box::pin(items), is_bytes::<T>());
        Self { end: End::Caller(Arc::new(feed)), items: PhantomData }
    }
}

impl<T> Receiver<T> {
    /// Sets the most bytes that all items may have together; by default there is no bound.
    ///
    /// A stream that has more ends as one that fails. The caller's error is of kind `TooLarge`,
    /// which web servers answer with 413.
    #[must_use = "the limit is one of the receiver that this returns"]
    pub fn limit(self, bytes: u64) -> Self {
        if let End::Caller(feed) = &self.end {
            feed.limit(bytes);
        }
        self
    }
}

impl<T: DeserializeOwned + 'static> Receiver<T> {
    /// Waits for the next item, and blocks this thread; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`ReceiveError`]: the stream broke off, the caller has left, or the item is not what the
    /// task expects. It is the last item.
    ///
    /// # Panics
    ///
    /// In the process of the caller: it is for the task that it is passed to.
    pub fn recv(&mut self) -> Option<Result<T, ReceiveError>> {
        let incoming = match &mut self.end {
            End::Task(incoming) => incoming,
            End::Caller(_) => panic!("a `Receiver` is read by the task that it is passed to"),
        };
        let received = incoming.next()?.and_then(|item| {
            let item = Payload::from(item);
            decode(Input::Owned(item)).map_err(|error| Broken::Failed(one_line(&error.to_string())))
        });
        Some(received.map_err(|broken| incoming.end(broken)))
    }
}

impl Incoming {
    fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        if !self.rest.is_empty() {
            return Some(Ok(std::mem::take(&mut self.rest)));
        }
        let line = self.line.as_deref_mut()?;
        if !std::mem::replace(&mut self.has_asked, true)
            && let Err(broken) = feed::ask(line)
        {
            return Some(Err(broken));
        }
        let item = feed::read(line);
        if item.is_none() {
            self.close();
        }
        item
    }

    /// It broke off, which is the end of its task.
    fn end(&mut self, broken: Broken) -> ReceiveError {
        self.close();
        ReceiveError(self.broken.get_or_init(|| broken).into())
    }

    fn close(&mut self) {
        if let Some(mut line) = self.line.take() {
            line.close();
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T: DeserializeOwned + 'static> Iterator for Receiver<T> {
    type Item = Result<T, ReceiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.recv()
    }
}

impl Read for Receiver<Bytes> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(mut piece) = self.recv().transpose().map_err(io::Error::other)? else {
            return Ok(0);
        };
        let read = piece.len().min(buffer.len());
        piece.copy_to_slice(&mut buffer[..read]);
        if let End::Task(incoming) = &mut self.end {
            incoming.rest = piece;
        }
        Ok(read)
    }
}

impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.end {
            End::Caller(feed) if !feed.has_runtime() => {
                Err(S::Error::custom("a receiver was made outside of a tokio runtime"))
            }
            End::Caller(feed) if args::meet_feed(feed) => serializer.serialize_u64(feed.id),
            _ => Err(S::Error::custom("a receiver can only be an argument of a task")),
        }
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = u64::deserialize(deserializer)?;
        let incoming = ARRIVED.with_borrow_mut(|arrived| {
            let Arrived { lines, broken } = arrived.as_mut()?;
            let at = lines.iter().position(|(of, _)| *of == id)?;
            let (line, broken) = (Some(lines.swap_remove(at).1), broken.clone());
            Some(Incoming { line, has_asked: false, rest: Bytes::new(), broken })
        });
        let missing = "the stream did not reach this worker: it may have no descriptor left";
        let incoming = incoming.ok_or_else(|| D::Error::custom(missing))?;
        Ok(Self { end: End::Task(incoming), items: PhantomData })
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

/// Why a task receives no more items: the stream broke off.
///
/// It can be encoded, so that a task function may return it with `?`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiveError(Why);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Why {
    Failed(String),
    TooLarge { bytes: u64, limit: u64 },
    Left,
}

impl From<&Broken> for Why {
    fn from(broken: &Broken) -> Self {
        match broken {
            Broken::Failed(error) => Self::Failed(error.clone()),
            Broken::TooLarge { bytes, limit } => Self::TooLarge { bytes: *bytes, limit: *limit },
            Broken::Left => Self::Left,
        }
    }
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Failed(error) => f.write_str(error),
            Why::TooLarge { bytes, limit } => {
                write!(f, "the stream has {bytes} bytes or more; its limit is {limit}")
            }
            Why::Left => f.write_str("the caller has left, or its runtime ended: end the task"),
        }
    }
}

impl std::error::Error for ReceiveError {}

impl From<ReceiveError> for String {
    fn from(error: ReceiveError) -> Self {
        error.to_string()
    }
}

thread_local! {
    /// The lines of the task that this thread runs.
    static ARRIVED: RefCell<Option<Arrived>> = const { RefCell::new(None) };
}

struct Arrived {
    lines: Vec<(u64, Box<dyn Line>)>,
    /// Why one of them broke off, if the task was told so.
    broken: Arc<OnceLock<Broken>>,
}

/// Runs a task that has these lines. Gives why it has no result, although it may have returned
/// one: its input broke off.
pub(crate) fn scope<R>(
    lines: Vec<(u64, Box<dyn Line>)>,
    run: impl FnOnce() -> R,
) -> (R, Option<Failure>) {
    if lines.is_empty() {
        return (run(), None);
    }
    let broken = Arc::<OnceLock<Broken>>::default();
    let arrived = Arrived { lines, broken: broken.clone() };
    let before = ARRIVED.replace(Some(arrived));
    let result = run();
    ARRIVED.set(before);
    let failure = broken.get().map(|broken| match broken {
        Broken::TooLarge { bytes, limit } => {
            Failure::TooLarge { what: Oversized::Input, bytes: *bytes, limit: *limit }
        }
        broken => Failure::InputFailed(ReceiveError(broken.into()).to_string()),
    });
    (result, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_happened_and_travels() {
        let error = ReceiveError(Why::TooLarge { bytes: 8, limit: 7 });
        assert_eq!(error.to_string(), "the stream has 8 bytes or more; its limit is 7");
        assert_eq!(String::from(ReceiveError(Why::Left)).lines().count(), 1);
        let encoded = encode_result(error.clone()).unwrap();
        assert_eq!(decode::<ReceiveError>(Input::Owned(encoded)).unwrap(), error);
    }

    #[test]
    fn only_arguments_have_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let items = || futures_util::stream::empty::<Result<Bytes, String>>();
        let outside = encode_result(Receiver::new(items())).unwrap_err().to_string();
        assert!(outside.contains("outside of a tokio runtime"), "{outside}");
        let _entered = runtime.enter();
        let result = encode_result(Receiver::new(items())).unwrap_err().to_string();
        assert!(result.contains("only be an argument"), "{result}");
    }
}

//! What a peer has to offer so that all can be asked the same.

use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::Sizes;

/// The result of a task, or what its peer says is wrong.
pub(crate) type Outcome<T> = Result<T, String>;

/// A submitted task. Dropping it is what a web server does when a browser leaves.
pub(crate) type Submitted<T> = Pin<Box<dyn Future<Output = Outcome<T>> + Send>>;

/// How a peer does something, and whether it is the peer itself that does it.
pub(crate) type Means = (&'static str, bool);

/// A pool of workers that an async server uses. What a method does is known by
/// the name of its task in [`tasks`](crate::tasks).
pub(crate) trait Peer: Clone + Send + Sync + Sized + 'static {
    /// How a task gets a timeout.
    const TIMEOUT: Means;
    /// The strongest documented way to end a task that runs.
    const CANCEL: Means;

    /// Starts a pool with so many workers.
    fn start(sizes: &Sizes) -> impl Future<Output = Outcome<Self>> + Send;

    /// Ends the pool.
    fn stop(self) -> impl Future<Output = ()> + Send;

    fn add_one(&self, x: u64) -> impl Future<Output = Outcome<u64>> + Send + 'static;

    /// The results of one `add_one` for each number, all submitted at once.
    fn add_many(
        &self,
        numbers: Range<u64>,
    ) -> impl Future<Output = Outcome<Vec<u64>>> + Send + 'static;

    fn echo(&self, data: Bytes) -> impl Future<Output = Outcome<Bytes>> + Send + 'static;
    fn burn(&self, index: u64, seconds: f64) -> Submitted<u64>;
    fn sibling(&self, scratch: String, seconds: f64) -> Submitted<u64>;
    fn crash(&self, scratch: String) -> Submitted<u64>;
    fn beat(&self, path: String, seconds: f64) -> Submitted<u64>;

    /// As `beat`, with a timeout.
    fn beat_within(&self, timeout: Duration, path: String, seconds: f64) -> Submitted<u64>;

    /// As `beat`, with what ends it as `CANCEL` says.
    fn beat_cancellable(
        &self,
        path: String,
        seconds: f64,
    ) -> (Submitted<u64>, Box<dyn FnOnce() + Send>);
}

/// The first line of what an error says.
pub(crate) fn first_line(error: impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().chars().take(200).collect()
}

//! Submits one item to a function that takes batches.

use super::client::Client;
use super::future::TaskFuture;
use crate::task::batch::BatchFunction;

impl Client {
    /// Submits one item to a function that takes batches, and gives the future of its output.
    ///
    /// `f` has the attribute `#[task(batch)]`, or is a [function of
    /// Python](crate::PythonFunction::batch). It takes a `Vec<T>` and returns a `Vec<R>` with one
    /// output for each item, or a `Result<Vec<R>, E>`. Callers hand in one `T`, and get one `R`
    /// or one `Result<R, E>`.
    ///
    /// What waits while workers are busy runs in the next call, up to `max` items of all
    /// callers. All options are those of one item: its tenant, timeout, key, priority. If the
    /// future is dropped before the call starts, the item is not in it. A call ends early only
    /// when nobody waits for any of its items.
    ///
    /// The function itself stays callable, and [`submit`](Self::submit) runs it with a `Vec` of
    /// one caller's.
    ///
    /// # Errors
    ///
    /// As [`submit`](Self::submit). If a call with several items panics, raises or takes its worker
    /// down, each item runs once more, alone. So only the item fails that is to blame. A wrong number
    /// of outputs is an error of kind `Codec` for each item. A function without `#[task(batch)]`
    /// is `UnknownTask`.
    ///
    /// # Examples
    ///
    /// ```
    /// #[outboard::task(batch(max = 32, wait = "2ms"))]
    /// fn lengths(texts: Vec<String>) -> Vec<usize> {
    ///     texts.iter().map(String::len).collect()
    /// }
    ///
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// let length = client.batched(lengths, "hello".to_owned()).await?;
    /// assert_eq!(length, 5);
    /// # Ok(()) }
    /// ```
    pub fn batched<F: BatchFunction<M>, M>(&self, f: F, item: F::Item) -> TaskFuture<F::Output> {
        self.submit(f.task(), item)
    }
}

//! Functions of Python that are called once for the items of several callers.
//!
//! The arguments of one task are a list of one item, and its result is a list of one output. So
//! one that is called alone, here or by a cluster, is an ordinary call.

use std::any::TypeId;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Calls, PythonFunction, known};
use crate::error::Error;
use crate::task::batch::{BatchFunction, Batches, Batching, Outputs, wrong_number};
use crate::task::function::{Known, TaskFunction};
use crate::value::args::ENCODED_AT_ONCE;
use crate::value::codec::{Refused, ValueError};
use crate::value::payload::Payload;

/// A Python function of lists, as it is called for several callers at once.
type OfLists<A, R> = PythonFunction<(Vec<A>,), Vec<R>>;

impl<A, R> PythonFunction<(Vec<A>,), Vec<R>>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    /// The same, which takes the items of up to `max` callers in one call.
    ///
    /// Submit one item with [`Client::batched`](crate::Client::batched). Python gets a list of
    /// items, and returns a list with one output for each, in the same order.
    ///
    /// What waits while workers are busy runs in the next call. `wait` holds a call open for
    /// more items, from the submit of its first one; with [`Duration::ZERO`] not at all. On a
    /// cluster each item is a call of its own.
    ///
    /// # Panics
    ///
    /// If `max` is 0 or above 64.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
    /// use std::time::Duration;
    ///
    /// let embed = outboard::python::<(Vec<String>,), Vec<Vec<f32>>>("app.model:embed");
    /// let embed = embed.batch(32, Duration::from_millis(2));
    /// let vector = client.batched(embed, "one text".to_owned()).await?;
    /// # Ok(()) }
    /// ```
    pub fn batch(self, max: u16, wait: Duration) -> PythonBatch<A, R> {
        PythonBatch { function: self, batching: Batching::new(max, wait) }
    }
}

/// A Python function that takes batches; made by [`PythonFunction::batch`].
pub struct PythonBatch<A, R> {
    function: OfLists<A, R>,
    batching: Batching,
}

impl<A, R> Clone for PythonBatch<A, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A, R> Copy for PythonBatch<A, R> {}

impl<A, R> fmt::Debug for PythonBatch<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PythonBatch").field(&self.function.name).finish()
    }
}

impl<A, R> BatchFunction<Calls> for PythonBatch<A, R>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Item = A;
    type Output = R;
    type Task = Self;

    fn call(self, _: Vec<A>) -> Outputs<R> {
        unreachable!("`{}` is called by Python", self.function.name)
    }

    fn task(self) -> Self {
        self
    }
}

impl<A, R> TaskFunction<Batches<Calls>> for PythonBatch<A, R>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Args = A;
    type Output = R;

    fn call(self, _: A) -> R {
        unreachable!("`{}` is called by Python", self.function.name)
    }

    fn known(&self) -> Result<Known, Error> {
        known(TypeId::of::<Self>(), self.function.name, false, Some(self.batching))
    }

    fn encode(item: A) -> Result<Payload, ValueError> {
        OfLists::<A, R>::encode(vec![item])
    }

    fn encode_within(item: A, limit: usize) -> Result<Payload, Refused<A>> {
        OfLists::<A, R>::encode_within(vec![item], limit).map_err(|refused| match refused {
            Refused::Failed(error) => Refused::Failed(error),
            Refused::Overrun(mut items) => Refused::Overrun(items.remove(0)),
        })
    }

    fn decode_args(args: Payload) -> Result<A, ValueError> {
        only(OfLists::<A, R>::decode_args(args)?)
    }

    fn encode_output(output: R) -> Result<Payload, ValueError> {
        OfLists::<A, R>::encode_output(vec![output])
    }

    fn decode(output: Payload) -> Result<R, ValueError> {
        only(OfLists::<A, R>::decode(output)?)
    }

    fn is_quick(output: &Payload) -> bool {
        output.len() <= ENCODED_AT_ONCE
    }
}

/// The one value of a list.
fn only<T>(mut values: Vec<T>) -> Result<T, ValueError> {
    match values.len() {
        1 => Ok(values.remove(0)),
        count => Err(ValueError::new(wrong_number(count, 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::python::python;

    type Squares = PythonBatch<u64, u64>;

    fn squares(max: u16) -> Squares {
        python("app:squares").batch(max, Duration::ZERO)
    }

    #[test]
    fn a_task_is_a_list_of_one_both_ways() {
        assert_eq!(
            Squares::encode(7).unwrap().to_vec(),
            OfLists::<u64, u64>::encode(vec![7]).unwrap().to_vec()
        );
        assert_eq!(Squares::decode_args(Squares::encode(7).unwrap()).unwrap(), 7);
        assert_eq!(Squares::decode(Squares::encode_output(49).unwrap()).unwrap(), 49);
        let two = OfLists::<u64, u64>::encode_output(vec![1, 4]).unwrap();
        let error = Squares::decode(two).unwrap_err().to_string();
        assert!(error.contains("returned 2 outputs for a batch of 1"), "{error}");
    }

    #[test]
    fn an_item_that_takes_too_many_bytes_comes_back() {
        type Lengths = PythonBatch<String, usize>;
        let Err(Refused::Overrun(text)) = Lengths::encode_within("x".repeat(100), 99) else {
            panic!()
        };
        assert_eq!(text.len(), 100);
    }

    #[test]
    fn each_form_of_batches_is_a_function_of_its_own() {
        let number = |of: Squares| of.known().unwrap().0.number;
        assert_eq!(number(squares(8)), number(squares(8)));
        assert_ne!(number(squares(8)), number(squares(16)));
        let known = squares(8).known().unwrap().0;
        assert_eq!(known.batching, Some(Batching { most: 8, wait: Duration::ZERO }));
        assert!(known.python && known.batch_number().is_some());
    }

    #[test]
    #[should_panic(expected = "a batch has 1 to 64 tasks")]
    fn a_batch_has_at_most_as_many_as_a_worker_has_words_for() {
        squares(65);
    }
}

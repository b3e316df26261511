//! Functions that are called once for several tasks: which there are, and what each task gets.

use std::future::Future;
use std::marker::PhantomData;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::closure::conjure;
use super::function::{Awaits, Returns, TaskFunction, bad_arguments, bad_result, block_on};
use super::outcome::{Failure, MOST_TOGETHER};
use super::registry::Function;
use crate::error::{Step, short};
use crate::value::codec::{Input, decode, encode_result};
use crate::value::payload::Payload;

/// A function that can be submitted with [`Client::batched`](crate::Client::batched).
///
/// It takes one `Vec`, and returns a `Vec` with one output for each item, or a `Result` of one.
///
/// It is an `fn` or an `async fn` with the attribute `#[task(batch)]`, or a function of Python
/// with [`batch`](crate::PythonFunction::batch). The parameter `M` tells the shapes of functions
/// apart; it is always inferred.
///
/// Implemented for every function that fits; there is no need to implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a task function that takes batches",
    note = "it takes one `Vec<T>`, and returns a `Vec<R>` or a `Result<Vec<R>, E>`",
    note = "`T`, `R` and `E` are `Serialize + DeserializeOwned + Send`",
    note = "submit other functions with `Client::submit`"
)]
pub trait BatchFunction<M>: Copy + Send + Sync + 'static {
    /// What a caller passes: one item.
    type Item: Serialize + DeserializeOwned + Send + 'static;
    /// What a caller gets: `R`, or `Result<R, E>`.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The same as a task function, which takes one item.
    #[doc(hidden)]
    type Task: TaskFunction<Batches<M>, Args = Self::Item, Output = Self::Output>;

    /// Calls the function, and drives its future to the end if it is async.
    #[doc(hidden)]
    fn call(self, items: Vec<Self::Item>) -> Outputs<Self::Output>;

    #[doc(hidden)]
    fn task(self) -> Self::Task;
}

/// What a function returned for a batch.
#[doc(hidden)]
#[derive(Debug)]
pub enum Outputs<T> {
    /// One for each item, if the function did as it should.
    Each(Vec<T>),
    /// The same for all: its error.
    All(T),
}

impl<R> Outputs<R> {
    fn of_result<E>(result: Result<Vec<R>, E>) -> Outputs<Result<R, E>> {
        match result {
            Ok(each) => Outputs::Each(each.into_iter().map(Ok).collect()),
            Err(error) => Outputs::All(Err(error)),
        }
    }
}

macro_rules! impl_batch_function {
    ($shape:ident, [$($error:ident)?], $gives:ty, $output:ty, $wrap:expr) => {
        impl<F, A, R, $($error)?> BatchFunction<($shape, fn(Vec<A>) -> $gives)> for F
        where
            F: Fn(Vec<A>) -> $gives + Copy + Send + Sync + 'static,
            A: Serialize + DeserializeOwned + Send + 'static,
            R: Serialize + DeserializeOwned + Send + 'static,
            $($error: Serialize + DeserializeOwned + Send + 'static,)?
        {
            type Item = A;
            type Output = $output;
            type Task = Batched<F>;

            fn call(self, items: Vec<A>) -> Outputs<$output> {
                $wrap(self(items))
            }

            fn task(self) -> Batched<F> {
                Batched(self)
            }
        }
    };
    (async [$($error:ident)?], $gives:ty, $output:ty, $wrap:expr) => {
        impl<F, A, R, P, $($error)?> BatchFunction<(Awaits, fn(Vec<A>) -> (P, $gives))> for F
        where
            F: Fn(Vec<A>) -> P + Copy + Send + Sync + 'static,
            P: Future<Output = $gives>,
            A: Serialize + DeserializeOwned + Send + 'static,
            R: Serialize + DeserializeOwned + Send + 'static,
            $($error: Serialize + DeserializeOwned + Send + 'static,)?
        {
            type Item = A;
            type Output = $output;
            type Task = Batched<F>;

            fn call(self, items: Vec<A>) -> Outputs<$output> {
                $wrap(block_on(self(items)))
            }

            fn task(self) -> Batched<F> {
                Batched(self)
            }
        }
    };
}

impl_batch_function!(Returns, [], Vec<R>, R, Outputs::Each);
impl_batch_function!(Returns, [E], Result<Vec<R>, E>, Result<R, E>, Outputs::of_result);
impl_batch_function!(async [], Vec<R>, R, Outputs::Each);
impl_batch_function!(async [E], Result<Vec<R>, E>, Result<R, E>, Outputs::of_result);

/// A function that takes batches, as a task function of one item.
///
/// It is another type than the function, which is submitted with a whole `Vec` by its name.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Batched<F>(F);

/// Marks functions that take batches.
#[doc(hidden)]
#[derive(Debug)]
pub struct Batches<M>(PhantomData<M>);

/// A function that takes batches, as a task function.
#[doc(hidden)]
pub const fn batched<F: Copy>(f: F) -> Batched<F> {
    Batched(f)
}

impl<F: BatchFunction<M>, M> TaskFunction<Batches<M>> for Batched<F> {
    type Args = F::Item;
    type Output = F::Output;
    const ARITY: usize = 1;
    const HAS_NO_SIZE: () = assert!(
        size_of::<F>() == 0,
        "a task function is the function itself: write its name instead of a pointer to \
         it, and pass what a closure captures as arguments"
    );
    const TOGETHER: Option<Together> = Some(Together(run_all::<F, M>));

    fn call(self, item: F::Item) -> F::Output {
        let mut outputs = match self.0.call(vec![item]) {
            Outputs::All(output) => return output,
            Outputs::Each(outputs) => outputs,
        };
        match (outputs.pop(), outputs.len()) {
            (Some(output), 0) => output,
            (last, others) => panic!("{}", wrong_number(others + usize::from(last.is_some()), 1)),
        }
    }

    fn argument_type(at: usize) -> Option<&'static str> {
        (at == 0).then(std::any::type_name::<F::Item>)
    }

    fn type_name() -> &'static str {
        std::any::type_name::<F>()
    }
}

/// Decodes the arguments of several tasks, calls a function once, and encodes what each gets.
pub(crate) type RunAll = fn(Vec<Input<'_>>) -> Vec<Result<Payload, Failure>>;

/// How a function is called for several tasks.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Together(pub(crate) RunAll);

/// What a function says of its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batching {
    /// The most tasks of one.
    pub(crate) most: u16,
    /// How long one is held open for more.
    pub(crate) wait: Duration,
}

impl Batching {
    /// # Panics
    ///
    /// If there cannot be so many in one.
    pub(crate) const fn new(most: u16, wait: Duration) -> Self {
        assert!(0 < most && most <= MOST_TOGETHER, "a batch has 1 to 64 tasks");
        Self { most, wait }
    }
}

impl Function {
    /// Stands for the function where what waits is small. `None` if it takes no batches, or if
    /// there are more functions than such numbers.
    pub(crate) fn batch_number(&self) -> Option<NonZeroU16> {
        self.batching?;
        u16::try_from(self.number + 1).ok().and_then(NonZeroU16::new)
    }
}

/// The [`RunAll`] of one function. Arguments that cannot be decoded harm no other task.
fn run_all<F: BatchFunction<M>, M>(inputs: Vec<Input<'_>>) -> Vec<Result<Payload, Failure>> {
    let mut items = Vec::with_capacity(inputs.len());
    let mut decode_one = |input| match decode::<F::Item>(input) {
        Ok(item) => {
            items.push(item);
            None
        }
        Err(error) => Some(bad_arguments::<Batched<F>, Batches<M>>(Step::DecodeArguments, error)),
    };
    let refused: Vec<Option<Failure>> = inputs.into_iter().map(&mut decode_one).collect();
    let mut outputs = match items.len() {
        0 => Vec::new(),
        count => encoded(conjure::<F>().call(items), count),
    }
    .into_iter();
    let answer = |refused: Option<Failure>| match refused {
        Some(failure) => Err(failure),
        None => outputs.next().expect("one output for each item"),
    };
    refused.into_iter().map(answer).collect()
}

/// What each of so many tasks gets.
fn encoded<T: Serialize + DeserializeOwned + 'static>(
    outputs: Outputs<T>,
    count: usize,
) -> Vec<Result<Payload, Failure>> {
    let encode = |output: T| encode_result(output).map_err(bad_result::<T>);
    match outputs {
        Outputs::Each(each) if each.len() == count => each.into_iter().map(encode).collect(),
        Outputs::Each(each) => vec![Err(miscounted::<T>(each.len(), count)); count],
        Outputs::All(output) => vec![encode(output); count],
    }
}

/// What is wrong with so many outputs.
pub(crate) fn wrong_number(outputs: usize, count: usize) -> String {
    format!(
        "the function returned {outputs} outputs for a batch of {count}: return one for each \
         item, in the same order"
    )
}

fn miscounted<T>(outputs: usize, count: usize) -> Failure {
    Failure::Codec {
        step: Step::EncodeResult,
        subject: format!("the result ({})", short(std::any::type_name::<T>())),
        source: wrong_number(outputs, count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::function::run;
    use crate::value::codec::encode;

    fn all<F: BatchFunction<M>, M>(_: F, items: &[Payload]) -> Vec<Result<Vec<u8>, Failure>> {
        let inputs = items.iter().map(|item| Input::Lent(item)).collect();
        let answers = run_all::<F, M>(inputs);
        answers.into_iter().map(|one| one.map(|output| output.to_vec())).collect()
    }

    fn encoded_of(values: &[u64]) -> Vec<Payload> {
        values.iter().map(|value| encode(*value).unwrap()).collect()
    }

    fn result(of: Result<u64, String>) -> Result<Vec<u8>, Failure> {
        Ok(encode_result(of).unwrap().to_vec())
    }

    #[test]
    fn shapes_of_functions_are_told_apart_without_help() {
        fn shape<F: BatchFunction<M>, M>(_: F) -> [&'static str; 2] {
            [std::any::type_name::<F::Item>(), std::any::type_name::<F::Output>()]
        }
        fn plain(items: Vec<u8>) -> Vec<u16> {
            items.into_iter().map(u16::from).collect()
        }
        fn fails(_: Vec<u8>) -> Result<Vec<u16>, u32> {
            Err(7)
        }
        async fn later(items: Vec<u8>) -> Vec<u16> {
            plain(items)
        }
        async fn later_fails(items: Vec<u8>) -> Result<Vec<u16>, u32> {
            fails(items)
        }
        assert_eq!(shape(plain), ["u8", "u16"]);
        assert_eq!(shape(fails), ["u8", "core::result::Result<u16, u32>"]);
        assert_eq!(shape(later), ["u8", "u16"]);
        assert_eq!(shape(later_fails), ["u8", "core::result::Result<u16, u32>"]);
        assert_eq!(shape(|items: Vec<(u8, u8)>| items), ["(u8, u8)", "(u8, u8)"]);
    }

    #[test]
    fn each_task_gets_its_own_output_and_an_error_is_for_all() {
        let double = |items: Vec<u64>| -> Vec<u64> { items.into_iter().map(|x| 2 * x).collect() };
        let expected: Vec<_> =
            encoded_of(&[6, 8]).iter().map(|output| Ok(output.to_vec())).collect();
        assert_eq!(all(double, &encoded_of(&[3, 4])), expected);
        let checked = |items: Vec<u64>| -> Result<Vec<u64>, String> {
            if items.contains(&0) { Err("a zero".into()) } else { Ok(items) }
        };
        assert_eq!(all(checked, &encoded_of(&[1, 2])), [result(Ok(1)), result(Ok(2))]);
        assert_eq!(
            all(checked, &encoded_of(&[1, 0])),
            [(); 2].map(|()| result(Err("a zero".into())))
        );
    }

    #[test]
    fn a_wrong_number_of_outputs_is_an_error_of_each() {
        let short_of_one = |mut items: Vec<u64>| -> Vec<u64> {
            items.pop();
            items
        };
        for answer in all(short_of_one, &encoded_of(&[1, 2, 3])) {
            let Err(Failure::Codec { step: Step::EncodeResult, source, .. }) = answer else {
                panic!("{answer:?}")
            };
            assert!(source.contains("returned 2 outputs for a batch of 3"), "{source}");
        }
        fn alone<F: BatchFunction<M>, M>(_: F, item: &Payload) -> Result<Payload, Failure> {
            run::<Batched<F>, Batches<M>>(Input::Lent(item))
        }
        let failure = alone(short_of_one, &encoded_of(&[1])[0]).unwrap_err();
        assert!(matches!(failure, Failure::Codec { .. }), "{failure:?}");
    }

    #[test]
    fn arguments_that_cannot_be_decoded_harm_no_other_task() {
        let same = |items: Vec<u64>| -> Vec<u64> { items };
        let mut items = encoded_of(&[1, 2, 3]);
        items[1] = encode("no number".to_owned()).unwrap();
        let answers = all(same, &items);
        assert_eq!(answers[0].as_deref(), Ok(&items[0][..]));
        assert!(matches!(answers[1], Err(Failure::Codec { step: Step::DecodeArguments, .. })));
        assert_eq!(answers[2].as_deref(), Ok(&items[2][..]));
    }
}

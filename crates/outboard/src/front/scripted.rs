//! A client whose answers a test writes.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use crate::engine::scripted::{Answer, End, Line, Outcome, Scripts, Step, start};
use crate::error::{Cause, Exception, Panic, Shortage, WorkerLoss};
use crate::task::function::{TaskFunction, run_other};
use crate::task::outcome::Failure;
use crate::task::registry::Function;
use crate::task::stream::{StreamFunction, Streamed, Streams, streamed};
use crate::value::payload::Payload;

impl Client {
    /// Makes a client for tests, whose answers the test writes.
    ///
    /// No task function runs, and no process is started. Timeouts and delays go by tokio's
    /// clock, which a test may [pause](https://docs.rs/tokio/latest/tokio/time/fn.pause.html).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that has its timer enabled.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), outboard::Error> {
    /// use outboard::Client;
    ///
    /// fn fib(n: u64) -> u64 {
    ///     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
    /// }
    ///
    /// let scripted = Client::scripted();
    /// let fib_script = scripted.on(fib);
    /// fib_script.returns(8);
    /// fib_script.once().lost();
    ///
    /// let client = scripted.client();
    /// assert!(client.submit(fib, 90).await.unwrap_err().is_worker_lost());
    /// assert_eq!(client.submit(fib, 6).await?, 8);
    /// assert_eq!(fib_script.calls(), [90, 6]);
    /// # Ok(()) }
    /// ```
    pub fn scripted() -> Scripted {
        let scripts = Arc::default();
        let owner = start(&scripts).unwrap_or_else(|error| panic!("{error}"));
        Scripted { client: Self::of(owner), scripts }
    }
}

/// Answers the tasks of a client as a test says; made by [`Client::scripted`].
///
/// Errors, retries, keys, counts and events are those of the other engines. These things are
/// different:
///
/// - A call without an answer is `UnknownTask`, with the name of the function.
/// - At most 256 calls are answered at once; more of them wait in the queue.
/// - A pool of any name is the default one.
/// - Values of any size are encoded and decoded on the thread of the caller: a paused clock
///   would run ahead of another one.
///
/// # Drop
///
/// Its client goes on, with the answers that it has.
pub struct Scripted {
    client: Client,
    scripts: Arc<Scripts>,
}

impl Scripted {
    /// The client, to be given to what is tested.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The script of a function, for [`Client::submit`] and what is made of it.
    ///
    /// # Panics
    ///
    /// If the function cannot be submitted: for one of Python, if its name is no
    /// `module:function`.
    pub fn on<F: TaskFunction<M>, M>(&self, f: F) -> Script<F, M> {
        let () = F::HAS_NO_SIZE;
        let function = f.known().unwrap_or_else(|error| panic!("{error}")).0;
        let (scripts, plan) = (self.scripts.clone(), Plan::default());
        Script { function, scripts, plan, types: PhantomData }
    }

    /// The script of a function that streams, for [`Client::stream`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), outboard::Error> {
    /// # use outboard::{Client, Sender};
    /// fn tokens(prompt: String, out: Sender<String>) -> usize {
    ///     prompt.split(' ').filter(|word| out.send(word.to_string()).is_ok()).count()
    /// }
    ///
    /// let scripted = Client::scripted();
    /// scripted.on_stream(tokens).yields(["a".to_owned(), "b".to_owned()]).panics("no more");
    ///
    /// let mut stream = scripted.client().stream(tokens, "…".to_owned());
    /// assert_eq!(stream.next().await.unwrap()?, "a");
    /// assert_eq!(stream.next().await.unwrap()?, "b");
    /// assert!(stream.next().await.unwrap().unwrap_err().is_panicked());
    /// # Ok(()) }
    /// ```
    pub fn on_stream<F, M>(&self, f: F) -> Script<Streamed<F>, Streams<M>>
    where
        F: StreamFunction<M>,
    {
        self.on(streamed(f))
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

/// The script of one task function: what answers its calls, and which there were.
///
/// An answer is for every call from then on, until there is another one. After
/// [`once`](Self::once) it is for one call: those are used up first, in their order. Each attempt
/// of a task with [retries](Client::retries) is a call.
///
/// [`after`](Self::after), [`held`](Self::held) and [`yields`](Self::yields) come before the
/// answer, in the order in which they are written:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # use std::time::Duration;
/// # use outboard::Client;
/// # fn fib(n: u64) -> u64 { n }
/// # let scripted = Client::scripted();
/// scripted.on(fib).once().after(Duration::from_secs(2)).panics("too deep");
/// # }
/// ```
#[must_use = "a script without an answer answers nothing"]
pub struct Script<F, M> {
    function: &'static Function,
    scripts: Arc<Scripts>,
    plan: Plan,
    types: PhantomData<fn(F) -> M>,
}

/// What is written of an answer so far.
#[derive(Clone, Debug, Default)]
struct Plan {
    once: bool,
    steps: Vec<Step>,
}

impl<F: TaskFunction<M>, M> Script<F, M> {
    /// The same, for one call.
    pub fn once(&self) -> Self {
        self.with(|plan| plan.once = true)
    }

    /// The same, after so long by tokio's clock.
    pub fn after(&self, time: Duration) -> Self {
        self.with(|plan| plan.steps.push(Step::Wait(time)))
    }

    /// The same, after the next [`release`](Self::release).
    pub fn held(&self) -> Self {
        self.with(|plan| plan.steps.push(Step::Hold))
    }

    fn with(&self, change: impl FnOnce(&mut Plan)) -> Self {
        let mut plan = self.plan.clone();
        change(&mut plan);
        Self { function: self.function, scripts: self.scripts.clone(), plan, types: PhantomData }
    }

    /// Answers with a value.
    ///
    /// # Panics
    ///
    /// If the value cannot be encoded.
    pub fn returns(&self, value: F::Output) {
        let output = F::encode_output(value).unwrap_or_else(|error| {
            panic!("could not encode the result ({}): {error}", type_name::<F::Output>())
        });
        self.ends(move |_| Ok(output.clone()));
    }

    /// Answers with what a closure makes of the arguments.
    ///
    /// If it panics, so does the task. It runs on the runtime of the client, which it must not
    /// block.
    pub fn computes(&self, answer: impl Fn(F::Args) -> F::Output + Send + Sync + 'static) {
        self.ends(move |args| run_other::<F, M>(args, &answer));
    }

    /// Panics with a message.
    pub fn panics(&self, message: &str) {
        let (message, location) = (message.to_owned(), String::new());
        let backtrace = String::new();
        self.fails(Failure::Panicked(Panic { message, location, backtrace }));
    }

    /// Raises an exception, as a Python function does.
    pub fn raises(&self, class: &str, message: &str) {
        let (class, message) = (class.to_owned(), message.to_owned());
        self.fails(Failure::Raised(Exception { class, message, ..Exception::default() }));
    }

    /// Loses its worker: that is killed by SIGKILL.
    pub fn lost(&self) {
        let cause = Some(Cause::Signal(SIGKILL));
        self.fails(Failure::Lost(Box::new(WorkerLoss { cause, ..WorkerLoss::default() })));
    }

    /// Loses its worker because the machine has no more memory.
    pub fn runs_out_of_memory(&self) {
        let (cause, shortage) = (Some(Cause::Signal(SIGKILL)), Some(Shortage::System));
        let lost = WorkerLoss { cause, shortage, ..WorkerLoss::default() };
        self.fails(Failure::Lost(Box::new(lost)));
    }

    /// Times out at once, as if the [timeout](Client::timeout) had passed.
    ///
    /// To see the timeout itself, answer later than it ends, on a paused clock.
    pub fn times_out(&self) {
        self.answers(End::TimesOut);
    }

    /// Refuses the submit because the queue is full; the error says when to retry.
    ///
    /// Such a submit is not a call, so nothing that comes before the answer applies.
    pub fn overloaded(&self, retry_after: Duration) {
        self.scripts.write(self.function, Line::Overloaded(retry_after), self.plan.once);
    }

    /// The arguments of the calls so far, in their order.
    ///
    /// # Panics
    ///
    /// If they cannot be decoded.
    pub fn calls(&self) -> Vec<F::Args> {
        let args = |args| {
            F::decode_args(args).unwrap_or_else(|error| {
                panic!("could not decode the arguments of `{}`: {error}", self.function.name)
            })
        };
        self.scripts.calls(self.function).into_iter().map(|call| args(call.args)).collect()
    }

    /// Waits until there were so many calls in all.
    ///
    /// # Cancel safety
    ///
    /// It is cancel safe.
    pub async fn called(&self, times: usize) {
        self.scripts.called(self.function, times).await;
    }

    /// Lets each call that has begun go on after one [`held`](Self::held).
    pub fn release(&self) {
        self.scripts.release(self.function);
    }

    fn fails(&self, failure: Failure) {
        self.ends(move |_| Err(failure.clone()));
    }

    fn ends(&self, end: impl Fn(Payload) -> Result<Payload, Failure> + Send + Sync + 'static) {
        let outcome: Outcome = Arc::new(end);
        self.answers(End::Outcome(outcome));
    }

    fn answers(&self, end: End) {
        let Plan { once, steps } = self.plan.clone();
        self.scripts.write(self.function, Line::Answer(Answer { steps, end }), once);
    }
}

impl<F: StreamFunction<M>, M> Script<Streamed<F>, Streams<M>> {
    /// The same, after these items.
    ///
    /// # Panics
    ///
    /// If an item cannot be encoded.
    pub fn yields(&self, items: impl IntoIterator<Item = F::Item>) -> Self {
        let item = |item| {
            F::encode_item(item).map(Step::Item).unwrap_or_else(|error| {
                panic!("could not encode an item ({}): {error}", type_name::<F::Item>())
            })
        };
        self.with(|plan| plan.steps.extend(items.into_iter().map(item)))
    }
}

impl<F, M> fmt::Debug for Script<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("function", &self.function.name)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// The number of the signal, on each Unix.
const SIGKILL: i32 = 9;

#[cfg(test)]
mod tests;

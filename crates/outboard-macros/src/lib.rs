//! The attributes of Outboard: `#[main]`, `#[task]` and `#[on_start]`.
//!
//! Use them as `outboard::main`, `outboard::task` and `outboard::on_start`. The code that they
//! write refers to the crate `outboard`. Where that has another name, `crate` says which:
//! `#[ob::task(crate = "ob")]`.

mod attribute;
mod batch;
mod entry;
mod expansion;
mod on_start;
mod options;
mod signature;
mod streaming;

use proc_macro::TokenStream;

/// Runs an `async fn main` on a tokio runtime, in a program that has worker processes.
///
/// Worker processes are this program, started again. The attribute writes a `main` that first
/// calls `outboard::init`, where a worker stays and serves tasks. The server goes on, builds the
/// runtime and runs the body. In all else it is `#[tokio::main]`.
///
/// ```
/// use outboard::{Client, Error};
///
/// #[outboard::task]
/// fn fib(n: u64) -> u64 {
///     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
/// }
///
/// #[outboard::main]
/// async fn main() -> Result<(), Error> {
///     let client = Client::from_env().await?;
///     assert_eq!(client.submit(fib, 20).await?, 6765);
///     Ok(())
/// }
/// ```
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `flavor = "multi_thread"` | tokio's threads take turns at all futures; the default |
/// | `flavor = "current_thread"` | all futures run on the main thread |
/// | `worker_threads = 4` | how many threads `multi_thread` has; by default one for each core |
/// | `crate = "my::path::outboard"` | where the library is, if it is not `::outboard` |
///
/// These threads are tokio's, in the server. How many worker processes there are, the client
/// says: `Client::local().workers(4)`.
///
/// ```
/// #[outboard::main(flavor = "multi_thread", worker_threads = 2)]
/// async fn main() {
///     // ...
/// }
/// ```
///
/// The runtime is that of the crate tokio that Outboard depends on. Your crate may have tokio
/// under another name, or not at all.
///
/// # Another main
///
/// A program that needs another runtime, or that sets up its workers, writes a plain `fn main`,
/// which calls `outboard::init` or `outboard::init_with` first. Tests use `outboard::test_worker!`.
///
/// On a function of another name the attribute does the same. Such a function may take arguments.
/// It has to be called first in `main`: what comes before it runs in each worker too.
///
/// # Errors
///
/// These do not compile: a function that is not `async`, a `main` with arguments or generic
/// parameters, `worker_threads` with `current_thread`, and other options.
///
/// # Panics
///
/// As `outboard::init`, and if the system has no threads or descriptors for a runtime.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(attribute.into(), item.into()).into()
}

/// Makes a function a *task function*: a worker process finds it by its name.
///
/// The function itself stays as it is written, so it can still be called, tested and documented
/// like any other. Beside it, the attribute registers the function at link time; nothing runs
/// before `main`.
///
/// ```
/// #[outboard::task]
/// fn fib(n: u64) -> u64 {
///     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
/// }
///
/// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
/// let f = client.submit(fib, 40).await?;
/// # Ok(()) }
/// ```
///
/// # The function
///
/// A `fn` or an `async fn` of zero to eight arguments. Arguments and result travel between
/// processes. So their types are owned, and implement serde's `Serialize` and `Deserialize`:
/// `String` rather than `&str`, `Bytes` rather than `&[u8]`. Arguments may be patterns.
///
/// Large bytes are quickest as `Bytes`, wherever they are: they are copied once, into memory
/// that server and worker share. A `Vec<u8>` beside other arguments is copied on each side, too.
///
/// ```
/// use outboard::Bytes;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Size {
///     width: u32,
///     height: u32,
/// }
///
/// #[outboard::task]
/// async fn resize(image: Bytes, Size { width, height }: Size) -> Result<Bytes, String> {
///     # let _ = (width, height);
///     // ...
///     Ok(image)
/// }
/// ```
///
/// A `Result` that the function returns is its output: the caller gets exactly that, inside
/// Outboard's own `Result`.
///
/// # The name
///
/// A task function goes by the path of its module and its own name, such as
/// `shop::images::resize`. A function that moves to another module changes its name then. Give
/// it a fixed name where old and new programs meet, as on a cluster. A name has letters, digits
/// and `_ . : -`, and is checked to be unique when the program starts.
///
/// ```
/// #[outboard::task(name = "images::resize")]
/// fn resize(image: outboard::Bytes, width: u32) -> outboard::Bytes {
///     # let _ = width;
///     // ...
///     image
/// }
/// ```
///
/// # Versions
///
/// On a cluster, callers and workers may be of two builds for a while. A function is found by its
/// name and its `version`, which is 1 if left out. Types of arguments and result can change
/// without another version, as far as serde reads the one as the other. A field that the reader
/// ignores is no difference, and neither is a missing one with `#[serde(default)]`. A missing
/// field without a default is an error of the call, which names it.
///
/// Raise the `version` when old and new callers must not meet: the meaning of an argument has
/// changed, say. A call of another version than the workers offer is an error of kind
/// `UnknownTask`, which says which they offer. A program may keep the old version beside the new
/// one:
///
/// ```
/// #[outboard::task(name = "shop::total", version = 2)]
/// fn total(cents: Vec<u64>) -> u64 {
///     cents.iter().sum()
/// }
///
/// #[outboard::task(name = "shop::total", version = 1)]
/// fn total_of_euros(euros: Vec<f64>) -> f64 {
///     euros.iter().sum()
/// }
/// ```
///
/// Python's callers get the latest version, or the one that they write behind the name:
/// `shop::total@1`.
///
/// # Pure functions
///
/// `pure` promises that equal arguments give equal results, and that a call has no other
/// effect. Identical calls in flight at the same time, by the same tenant, are then one
/// execution that all their callers share.
///
/// ```
/// #[outboard::task(pure, name = "reports::total")]
/// fn total(year: u16) -> u64 {
///     // ...
///     # u64::from(year)
/// }
/// ```
///
/// # Pools
///
/// `pool` names the pool whose workers run the tasks, of a client that has several. See
/// `LocalBuilder::pool`.
///
/// ```
/// #[outboard::task(pool = "gpu")]
/// fn classify(image: Vec<u8>) -> String {
///     // ...
///     # format!("{} bytes", image.len())
/// }
/// ```
///
/// # Batches
///
/// `batch` has the function called for several callers at once. It takes one `Vec`, and returns a
/// `Vec` with one output for each item, or a `Result` of that. Callers hand in one item with
/// `client.batched`. `max` is the most items of a call, 32 by default and at most 64. `wait` holds
/// a call open for more items, in `us`, `ms` or `s`; by default it is not held open.
///
/// ```
/// #[outboard::task(batch(max = 16, wait = "2ms"))]
/// fn classify(images: Vec<outboard::Bytes>) -> Vec<usize> {
///     images.iter().map(|image| image.len()).collect()
/// }
///
/// # async fn example(client: outboard::Client) -> Result<(), outboard::Error> {
/// let label = client.batched(classify, "an image".into()).await?;
/// # Ok(()) }
/// ```
///
/// # Async functions
///
/// A worker polls the future of an `async fn` on the thread that runs its tasks. Timers, sockets
/// and what tasks spawn are driven by a tokio runtime with one thread beside it. So pools of
/// connections and tickers go on between tasks. The runtime is made by the first async function
/// and lives as long as the worker. What is spawned has no task: nobody waits for it, and it ends
/// when the worker is killed or replaced.
///
/// # Steady functions
///
/// `steady` promises that runs take about the same time, whatever the arguments. The wait of a
/// task is then predicted from this function's own run times. A task is not started if less than
/// half of its usual run time is left until its timeout. It is not the default: `fib(5)` says
/// nothing about `fib(50)`.
///
/// ```
/// #[outboard::task(steady)]
/// fn thumbnail(image: outboard::Bytes) -> outboard::Bytes {
///     // ...
///     image
/// }
/// ```
///
/// # Streams
///
/// A function streams whose last parameter is an `outboard::Sender<T>`, or that returns an
/// `impl Iterator<Item = T>`. It is submitted with `client.stream`, and not with `submit`. It
/// cannot be `pure`, for a stream has one reader.
///
/// ```
/// use outboard::{SendError, Sender};
///
/// #[outboard::task]
/// fn words(text: String, out: Sender<String>) -> Result<(), SendError> {
///     text.split(' ').try_for_each(|word| out.send(word.to_owned()))
/// }
///
/// #[outboard::task]
/// fn squares(to: u64) -> impl Iterator<Item = u64> {
///     (0..to).map(|n| n * n)
/// }
/// ```
///
/// # The crate's name
///
/// The generated code refers to `::outboard`. If your `Cargo.toml` gives the dependency another
/// name, or you have it through another crate, say where it is:
///
/// ```
/// # use outboard as ob;
/// #[ob::task(crate = "ob")]
/// fn double(n: u64) -> u64 {
///     2 * n
/// }
/// ```
///
/// # Errors
///
/// These do not compile, and the error shows the place:
///
/// - generic parameters and `where` clauses: a name stands for one function;
/// - `self`, references, `impl Trait` other than a stream's iterator, and types that serde cannot carry:
///   arguments and results travel to another process;
/// - with `batch`, what takes no `Vec`, or returns neither a `Vec` nor a `Result` of one;
/// - more than eight arguments, `unsafe fn`, `extern fn`, and what is no function.
///
/// # Limits
///
/// - A function in an `impl` block or a trait cannot be a task, because an attribute does not see
///   the type around it. The compiler says "enum is not supported in `trait`s or `impl`s". Write a
///   free function that calls the associated one.
/// - Two functions of one name in one module need a `name`, or a `version`. (They can stand in two blocks.)
///   Otherwise `outboard::init` ends the program, and says where both of them stand.
/// - A pointer to a task function is not a task function, and neither is a closure that captures
///   something: see [`TaskFunction`](../outboard/trait.TaskFunction.html).
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expansion::expand(attribute.into(), item.into()).into()
}

/// Runs a function once in each worker, before its first task: to load a model or fill a table.
///
/// ```
/// use std::sync::OnceLock;
///
/// static MODEL: OnceLock<Vec<f32>> = OnceLock::new();
///
/// #[outboard::on_start]
/// fn load() -> Result<(), std::num::ParseFloatError> {
///     let weights = "0.5 -1.5 2".split(' ').map(str::parse); // from a file, in a program
///     let weights = weights.collect::<Result<_, _>>()?;
///     MODEL.get_or_init(|| weights);
///     Ok(())
/// }
///
/// #[outboard::task]
/// fn predict(x: f32) -> Option<f32> {
///     Some(MODEL.get()?.iter().rev().fold(0.0, |sum, weight| sum * x + weight))
/// }
/// ```
///
/// # When
///
/// After the setup of `outboard::init_with`, on the thread that runs the worker's tasks. The
/// worker takes tasks when all of them have returned, and has `warm_up_timeout` for that. A
/// spare has done it before it is needed, and so has a replacement before a worn worker leaves.
///
/// In the server itself nothing runs, but for the engine `inline`: there it is once in the
/// process, at the start of its first client.
///
/// Several run in the order of their `order`, 0 if left out, and then of their paths:
///
/// ```
/// #[outboard::on_start(order = -1)]
/// fn logging() {
///     // ... comes before the others
/// }
/// ```
///
/// # The function
///
/// A `fn` or an `async fn` that returns `()` or `Result<(), E>`, where `E` implements `Display`.
/// It may take one argument: the value that `start_with` gave its pool.
///
/// ```
/// #[outboard::on_start(pool = "gpu")]
/// async fn connect(address: String) -> std::io::Result<()> {
///     // ... what it spawns goes on between tasks
///     # let _ = address;
///     Ok(())
/// }
/// ```
///
/// `pool = "gpu"` has it run in the workers of that pool. Without it, it runs in those of the
/// default pool, and in no other.
///
/// After an `Err`, a panic, a crash or a timeout, the worker's start has failed. The
/// next one starts after a pause. After three failures in a row, tasks that wait or are submitted
/// are `Unavailable`, with the message of the last one. So is a client that is being started.
///
/// # Errors
///
/// These do not compile:
///
/// - two arguments or more, generic parameters, or another return type;
/// - `unsafe fn` and `extern fn`;
/// - a function in an `impl` block or a trait, and what is not a function.
///
/// `crate = "…"` says where the library is, as for `#[task]`.
#[proc_macro_attribute]
pub fn on_start(attribute: TokenStream, item: TokenStream) -> TokenStream {
    on_start::expand(attribute.into(), item.into()).into()
}

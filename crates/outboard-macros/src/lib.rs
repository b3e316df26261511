//! The attributes of Outboard: `#[task]` registers a function under a stable name, `#[on_start]`
//! has one run at the start of each worker.
//!
//! Use them as `outboard::task` and `outboard::on_start`; the code that they write needs that
//! crate.

mod attribute;
mod entry;
mod expansion;
mod on_start;
mod options;
mod signature;

use proc_macro::TokenStream;

/// Makes a function a *task function*: one that any worker process finds by its name.
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
/// processes, so their types own what they hold and implement serde's `Serialize` and
/// `Deserialize`: `String` rather than `&str`, `Vec<u8>` rather than `&[u8]`. The patterns of
/// the arguments are free.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Size {
///     width: u32,
///     height: u32,
/// }
///
/// #[outboard::task]
/// async fn resize(image: Vec<u8>, Size { width, height }: Size) -> Result<Vec<u8>, String> {
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
/// `shop::images::resize`. A function that moves to another module changes its name then; give
/// it one to stay with where old and new programs meet, as on a cluster. It has letters, digits
/// and `_ . : -`, and is checked to be unique when the program starts.
///
/// ```
/// #[outboard::task(name = "images::resize")]
/// fn resize(image: Vec<u8>, width: u32) -> Vec<u8> {
///     # let _ = width;
///     // ...
///     image
/// }
/// ```
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
/// # Steady functions
///
/// `steady` promises that runs take about the same time, whatever the arguments. How long a
/// task will wait is then predicted from this function's own run times, and a task is not
/// started if less than half of its usual run time is left of its timeout. It is not the
/// default: `fib(5)` says nothing about `fib(50)`.
///
/// ```
/// #[outboard::task(steady)]
/// fn thumbnail(image: Vec<u8>) -> Vec<u8> {
///     // ...
///     image
/// }
/// ```
///
/// # Errors
///
/// These do not compile, each with an error at the place: generic parameters and `where`
/// clauses (a name stands for one function), `self`, references and `impl Trait` among the
/// types, more than eight arguments, `unsafe fn` and `extern fn`, a type that serde cannot
/// carry, and anything that is not a function.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expansion::expand(attribute.into(), item.into()).into()
}

/// Has a function run once in each worker, before its first task: to load a model, to fill a
/// table, to open what all tasks use.
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
/// A `fn` without arguments that returns `()` or `Result<(), E>`, where `E` implements
/// `Display`. An `Err`, a panic, a crash, or too little time: the worker's start has failed. The
/// next one is started after a pause, and after three in a row what waits and what is submitted
/// is `Unavailable`, with what the last one said; so is a client that is being started.
///
/// # Errors
///
/// These do not compile: arguments, generic parameters, `async fn`, `unsafe fn` and `extern fn`,
/// another return type, and anything that is not a function.
#[proc_macro_attribute]
pub fn on_start(attribute: TokenStream, item: TokenStream) -> TokenStream {
    on_start::expand(attribute.into(), item.into()).into()
}

/// Starts a program with worker processes: calls `init`, then runs an `async fn main`.
#[proc_macro_attribute]
pub fn main(attribute: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(attribute.into(), item.into()).into()
}

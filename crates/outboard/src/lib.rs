//! Run the CPU-heavy functions of an async Rust server in worker processes, and stop them
//! when nobody waits any more.
//!
//! - **The event loop stays free.** A handler awaits [`client.submit(f, args)`](Client::submit),
//!   and `f` runs in another process.
//! - **Cancelled work stops.** When the browser leaves or the timeout expires, the worker is
//!   killed, even inside native code.
//! - **A crash fails one request.** A panic, segfault, stack overflow or (with
//!   [`memory_limit`](LocalBuilder::memory_limit)) out-of-memory ends that task alone.
//! - **Overload is bounded.** The queue has a limit, [tenants](Client::tenant) share the
//!   workers fairly, and a refusal says [when to retry](Error::retry_after).
//! - **Nothing else to deploy.** Workers are your own binary, started again. There is no
//!   broker and no open port.
//!
//! ```no_run
//! use axum::{Router, extract::Path, routing::get};
//! use outboard::Client;
//!
//! #[outboard::task]
//! fn fib(n: u64) -> u64 {
//!     if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
//! }
//!
//! #[outboard::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::from_env().await?; // OUTBOARD_URL, or worker processes on this machine
//!     let app = Router::new()
//!         .route("/fast", get(|| async { "Hello, world" }))
//!         .route("/fib/{n}", get(move |Path(n): Path<u64>| async move {
//!             client.submit(fib, n).await.map(|f| f.to_string()).map_err(|e| e.to_string())
//!         }));
//!     axum::serve(tokio::net::TcpListener::bind("127.0.0.1:9000").await?, app).await?;
//!     Ok(())
//! }
//! ```
//!
//! # What happens
//!
//! [`#[main]`](macro@main) calls [`init`] before it starts a tokio runtime. A worker is this
//! program, started again: it stays in `init` and serves tasks. A `main` that builds its own
//! runtime calls `init` itself, as the first thing.
//!
//! A [`Client`] is a cheap handle. [`submit`](Client::submit) encodes the arguments, starts the
//! task and returns a [`TaskFuture`]. Awaiting it gives exactly what the function returns, or
//! one [`Error`] with a [`kind`](Error::kind). **Dropping it stops the task.**
//!
//! # What you get
//!
//! | you write | you get |
//! |---|---|
//! | `#[outboard::main] async fn main()` | a tokio runtime, in a program that has workers |
//! | `#[outboard::task] fn f(..)` | a task function with a stable name |
//! | `client.submit(f, args)` | a task; pass one argument bare, several as a tuple |
//! | `client.timeout(SEC).priority(1).submit(..)` | options, on a cheap clone of the client |
//! | `future.await`, `.wait()`, `.with_report()` | the result; blocking; with times and memory |
//! | `drop(future)`, `.cancel()`, `.detach()` | stop the task; stop it; let it finish without a caller |
//! | `client.stream(f, args)` | items while the task runs, through a [`Sender`], and then its result |
//! | `outboard::progress(done, total, text)` | how far a task is, for its caller and the status page |
//! | `client.map(f, items)` | a stream of results, submitted as the queue has room |
//! | [`gather`], [`as_completed`], [`wait`] | several futures awaited together |
//! | `client.scatter(value)` | a large value that is sent to each worker once |
//! | `#[outboard::on_start] fn f()` | a function that runs once in each worker, before its first task |
//! | `Client::scripted()` | a client for tests, [whose answers a test writes](Scripted) |
//! | `client.admin()` | [for operators](admin::Admin): a snapshot, live events, one task's history, the number of workers |
//! | `client.drain()`, `.shutdown()` | finish what runs and take nothing new; end at once |
//!
//! # Engines
//!
//! A URL chooses the engine: `local://` runs worker processes on this machine (Unix),
//! `inline://` threads of this process, for tests and other platforms. With the feature `dask`,
//! `dask://host:port` runs tasks on a Dask cluster. [`Client::connect`] lists the options.
//!
//! # The guide
//!
//! The guide is part of the repository.
//!
//! | chapter | about |
//! |---|---|
//! | [The first task][first] | a program, many tasks, engines |
//! | [Cancelling and timeouts][cancelling] | what drop, cancel and timeout stop, and how to end gently |
//! | [Errors and retries][errors] | each kind of error, and what to do |
//! | [Overload and fairness][overload] | bounds, 503 with `Retry-After`, tenants, priorities |
//! | [Memory and crashes][memory] | limits, crash reports, leaks, quarantine |
//! | [Untrusted input][sandbox] | workers without network, programs and files |
//! | [Streams][streams] | items before the result, backpressure, progress |
//! | [Data][data] | which types can travel, bytes, scattered values |
//! | [Models][models] | load once in each worker |
//! | [Python][python-chapter] | functions of Python in worker processes |
//! | [axum and other frameworks][axum] | errors as responses, tenants, disconnects |
//! | [Seeing it][seeing] | status page, metrics, logs, traces |
//! | [Testing][testing] | workers in tests, and answers without workers |
//! | [A cluster][cluster] | Dask: native workers, the plugin, Python |
//! | [systemd][systemd], [containers][containers], [deploys][deploys] | for operators |
//! | [Guarantees][guarantees], [limits][limits] | what each engine promises, and what it does not do |
//!
//! [first]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/first-task.md
//! [cancelling]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/cancelling.md
//! [errors]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/errors.md
//! [overload]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/overload.md
//! [memory]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/memory.md
//! [sandbox]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/sandbox.md
//! [streams]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/streams.md
//! [data]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/data.md
//! [models]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/models.md
//! [python-chapter]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/python.md
//! [axum]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/axum.md
//! [seeing]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/seeing.md
//! [testing]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/testing.md
//! [cluster]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/cluster.md
//! [systemd]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/systemd.md
//! [containers]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/containers.md
//! [deploys]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/deploys.md
//! [guarantees]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/guarantees.md
//! [limits]: https://github.com/outboard-rs/outboard/blob/main/docs/book/src/limits.md
//!
//! # Bounds
//!
//! The queue holds 16,384 tasks and 256 MiB of arguments, and one payload has at most 128 MiB.
//! The [builder](LocalBuilder) sets other bounds. A full queue refuses at once.
//!
//! A worker may use all memory and CPU time unless the builder sets a limit:
//! [`memory_limit`](LocalBuilder::memory_limit), [`cpu_limit`](LocalBuilder::cpu_limit),
//! [`stack_size`](LocalBuilder::stack_size), [`open_files`](LocalBuilder::open_files). It may do
//! what the server may, unless it has a [`sandbox`](LocalBuilder::sandbox).
//!
//! There is one worker for each core that the server may use: its affinity and the CPU quota of
//! its control group count.
//!
//! # What arguments can be
//!
//! Types that implement serde's `Serialize` and `Deserialize`. A value arrives exactly as it
//! was, or the task ends with an error of kind [`Codec`](ErrorKind::Codec) that names
//! argument, field and cause.
//!
//! * All attributes of serde work (`skip_serializing_if`, `default`, `flatten`, `tag`,
//!   `untagged`, ...), and so does `serde_json::Value`. Nested options, NaNs with their
//!   payload, maps with keys of any type and integers of 128 bits arrive exactly.
//! * Fields and variants travel by name. A field that is added with a `default`, or one
//!   that the reader ignores, is compatible between two versions of a program on a
//!   cluster. A missing field is an error that names it.
//! * A value may be nested 128 levels deep: each sequence, map, struct, `Some`, newtype
//!   and variant that holds something is a level.
//! * What cannot travel is refused before the task is sent: `RawValue` of serde_json, a
//!   path that is not UTF-8. A result is checked in the worker.
//! * serde itself cannot read integers of 128 bits in a type that is `flatten`,
//!   `untagged` or has a `tag`. That is an error, too.
//! * A panic in `Serialize` or `Deserialize` is an error of kind `Codec`.
//!
//! [`Bytes`] of 16 KiB and more are not encoded, wherever they are in a value, nor is a lone
//! `Vec<u8>`. Sequences of plain numbers, such as `Vec<f32>`, are copied as they lie in memory.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `bytemuck` | no | `Array`: plain numbers with a shape, which are not encoded |
//! | `dask` | no | the engine `dask`: tasks on a Dask cluster |
//! | `local` | yes | worker processes on this machine; on Unix; on Windows it adds nothing |
//! | `macros` | yes | the attributes [`#[main]`](macro@main), [`#[task]`](macro@task) and [`#[on_start]`](macro@on_start) |
//! | `python` | no | `python`: functions of Python, in workers of this machine; part of `dask` |
//! | `sandbox` | no | [`LocalBuilder::sandbox`]: workers that tasks on untrusted input cannot leave |
//! | `trace` | no | `trace::relay`: a layer for `tracing-subscriber` that sends events of tasks to the server |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "local", unix)),
    expect(dead_code, reason = "much of the gate serves engines whose workers can die")
)]

mod engine;
pub mod error;
mod front;
mod ids;
#[cfg(all(feature = "local", unix))]
mod local;
mod observe;
mod offload;
#[cfg(all(feature = "local", unix))]
mod os;
mod sched;
mod task;
pub mod trace;
mod value;

#[cfg(feature = "macros")]
pub use outboard_macros::{main, on_start, task};

pub use bytes::Bytes;
pub use error::{Error, ErrorKind};
pub use front::admin;
pub use front::builder::LocalBuilder;
pub use front::client::Client;
pub use front::future::{
    AsCompleted, Status, TaskFuture, Waited, When, as_completed, gather, wait,
};
pub use front::init::{init, init_with, is_worker};
pub use front::map::Map;
pub use front::progress::TaskProgress;
pub use front::scripted::{Script, Scripted};
pub use front::stream::TaskStream;
pub use ids::TaskId;
pub use sched::ledger::Report;
pub use sched::strength::count::WorkerCount;
pub use task::batch::BatchFunction;
pub use task::current::{cancelled, deadline, slot};
pub use task::function::TaskFunction;
pub use task::interpreter::Python;
pub use task::progress::{Progress, progress};
#[cfg(feature = "python")]
pub use task::python::{PythonArgs, PythonBatch, PythonFunction, PythonStream, python};
pub use task::receive::{ReceiveError, Receiver};
pub use task::sandbox::Sandbox;
pub use task::stream::{SendError, Sender, StreamFunction};
#[cfg(feature = "bytemuck")]
pub use value::array::Array;
pub use value::scatter::Scattered;

/// Dask clusters: this program as a worker, and functions of Python.
#[cfg(feature = "dask")]
pub mod dask {
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub use crate::engine::dask::worker::{ClusterEvent, ClusterWorker};
    pub use crate::task::python::{PythonArgs, PythonFunction, python};
}

/// What fuzz targets check.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
#[path = "fuzz.rs"]
pub mod __fuzz;

/// What the macros' output refers to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use linkme;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub use crate::engine::restart::OUTBOARD_0_1_0_TEST_WORKERS as TEST_WORKERS;
    #[cfg(feature = "macros")]
    pub use crate::front::init::runtime;
    pub use crate::front::init::test_worker;
    pub use crate::task::batch::batched;
    pub use crate::task::function::block_on;
    pub use crate::task::registry::{
        Entry, OUTBOARD_0_1_0_NAMES as NAMES, OUTBOARD_0_1_0_TASKS as TASKS,
    };
    pub use crate::task::start::{
        Config, OUTBOARD_0_1_0_START_NAMES as START_NAMES, OUTBOARD_0_1_0_STARTS as STARTS, Start,
        StartOutput,
    };
    pub use crate::task::stream::streamed;
    pub use crate::value::codec::{read_from, write_to};

    /// Says that a type parameter is a certain type, in a `where` clause.
    pub trait Is {
        /// The type itself.
        type Type;
    }

    impl<T> Is for T {
        type Type = T;
    }

    /// What a task function can take.
    #[diagnostic::on_unimplemented(
        message = "a task cannot take `{Self}`: it does not travel to another process",
        label = "needs `serde::Serialize` and `serde::de::DeserializeOwned`",
        note = "derive both for a type of yours: `#[derive(serde::Serialize, serde::Deserialize)]`"
    )]
    pub trait TaskArgument: Serialize + DeserializeOwned {}

    #[diagnostic::do_not_recommend]
    impl<T: Serialize + DeserializeOwned> TaskArgument for T {}

    /// What a task function can return.
    #[diagnostic::on_unimplemented(
        message = "a task cannot return `{Self}`: it does not travel back from another process",
        label = "needs `serde::Serialize` and `serde::de::DeserializeOwned`",
        note = "derive both for a type of yours: `#[derive(serde::Serialize, serde::Deserialize)]`"
    )]
    pub trait TaskOutput: Serialize + DeserializeOwned {}

    #[diagnostic::do_not_recommend]
    impl<T: Serialize + DeserializeOwned> TaskOutput for T {}
}

/// README.md and the guide, whose examples have to compile. What needs the web crate is
/// in that crate.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/book/src/first-task.md")]
    struct FirstTask;
    #[doc = include_str!("../../../docs/book/src/cancelling.md")]
    struct Cancelling;
    #[doc = include_str!("../../../docs/book/src/errors.md")]
    struct Errors;
    #[doc = include_str!("../../../docs/book/src/memory.md")]
    struct Memory;
    #[doc = include_str!("../../../docs/book/src/sandbox.md")]
    struct Sandbox;
    #[doc = include_str!("../../../docs/book/src/streams.md")]
    struct Streams;
    #[doc = include_str!("../../../docs/book/src/data.md")]
    struct Data;
    #[doc = include_str!("../../../docs/book/src/models.md")]
    struct Models;
    #[cfg(feature = "python")]
    #[doc = include_str!("../../../docs/book/src/python.md")]
    struct Python;
    #[doc = include_str!("../../../docs/book/src/testing.md")]
    struct Testing;
    #[cfg(feature = "dask")]
    #[doc = include_str!("../../../docs/book/src/cluster.md")]
    struct Cluster;
}

//! Off-process compute for async Rust servers.
//!
//! A handler writes `client.submit(fib, n).await`; the function runs in another
//! process on this machine, and the web server stays as quick as if nothing
//! were happening. A browser that leaves, a timeout or a cancel really stops
//! the work; a panic, abort, segfault or stack overflow costs one request.
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
//!     let client = Client::from_env().await?; // OUTBOARD_URL, or processes on this machine
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
//! Worker processes are this very program, started again. [`#[main]`](macro@main)
//! calls [`init`] before it starts a tokio runtime, and a worker goes no further
//! than that: it serves tasks there. A `main` that builds its own runtime calls
//! `init` itself, as the first thing. A [`Client`] is a
//! cheap handle to an engine; [`submit`](Client::submit) encodes the arguments,
//! starts the task and gives a [`TaskFuture`]. Awaiting it gives exactly what
//! the function returns, or one [`Error`] with a [`kind`](Error::kind).
//! **Dropping it stops the task**, even inside native code.
//!
//! | you write | it means |
//! |---|---|
//! | `#[outboard::main] async fn main()` | `main` on a tokio runtime, in a program with workers |
//! | `#[outboard::task] fn f(..)` | a task function with a stable name |
//! | `client.submit(f, args)` | start a task: one argument bare, several as a tuple |
//! | `#[outboard::on_start] fn f()` | runs once in each worker, before its first task |
//! | `client.timeout(SEC).priority(1).submit(..)` | options, on a cheap derived client |
//! | `future.await`, `.wait()`, `.with_report()` | the result; blocking; with times and memory |
//! | `drop(future)`, `.cancel()`, `.detach()` | stop it; stop it; let it go on |
//! | `client.map(f, items)` | a stream of results, submitted as there is room |
//! | `client.scatter(value)` | put it where all workers have it; pass the handle to tasks |
//! | [`gather`], [`as_completed`], [`wait`] | await several futures |
//! | `client.admin()` | for operators: snapshots, events, one task's story; replace a worker, [and more](admin::Admin) |
//! | `client.drain()`, `.shutdown()` | finish what runs, take nothing new; end at once |
//!
//! # Engines
//!
//! A URL chooses: `local://` runs worker processes on this machine (Linux),
//! `inline://` threads of this process, for tests and other platforms. On both
//! a closure that captures nothing can be submitted as well. With the feature
//! `dask`, `dask://host:port` runs tasks on a Dask cluster: those with a name on
//! any program with [`init`] that was started with `OUTBOARD_WORKER=dask://host:port`,
//! and functions of Python on ordinary Dask workers.
//!
//! # Bounds
//!
//! The queue holds 16,384 tasks and 256 MiB of arguments, one payload 128 MiB,
//! unless the [builder](LocalBuilder) says otherwise. A full queue refuses at
//! once, with an error that says when to come back.
//!
//! What a worker may use has no bound unless the builder sets one:
//! [`memory_limit`](LocalBuilder::memory_limit), [`cpu_limit`](LocalBuilder::cpu_limit)
//! of each task, [`stack_size`](LocalBuilder::stack_size) and
//! [`open_files`](LocalBuilder::open_files). There are as many workers as cores, by
//! the server's affinity and the quota of its control group, and libraries in them are
//! told to start [no more threads](LocalBuilder::library_threads) than that.
//!
//! # What arguments can be
//!
//! Whatever serde encodes without knowing the format: the codec, postcard, does
//! not describe itself. `#[serde(untagged)]`, `#[serde(flatten)]` and
//! `serde_json::Value` give an error of kind [`Codec`](ErrorKind::Codec); send
//! such values as text. Do not use `skip_serializing_if` on a type that travels:
//! the fields after the one left out would be read in its place.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `dask` | no | the engine `dask`: tasks on a Dask cluster |
//! | `local` | yes | worker processes on this machine; only on Linux, elsewhere it adds nothing |
//! | `macros` | yes | the [`#[main]`](macro@main), [`#[task]`](macro@task) and [`#[on_start]`](macro@on_start) attributes |
//! | `trace` | no | `trace::relay`: a layer for `tracing-subscriber` that sends events of tasks back, beside others |

#![cfg_attr(
    not(all(feature = "local", target_os = "linux")),
    expect(dead_code, reason = "much of the gate serves engines whose workers can die")
)]

mod engine;
pub mod error;
mod front;
mod ids;
#[cfg(all(feature = "local", target_os = "linux"))]
mod local;
mod observe;
mod offload;
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
pub use ids::TaskId;
pub use sched::ledger::Report;
pub use task::current::{cancelled, deadline};
pub use task::function::TaskFunction;
pub use value::scatter::Scattered;

/// Dask clusters: functions of Python, and this program as a worker.
#[cfg(feature = "dask")]
pub mod dask {
    pub use crate::engine::dask::python::{PythonArgs, PythonFunction, python};
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub use crate::engine::dask::worker::{ClusterEvent, ClusterWorker};
}

/// What the macros' output refers to; not for use by hand.
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
#[path = "fuzz.rs"]
pub mod __fuzz;

#[doc(hidden)]
pub mod __private {
    pub use linkme;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub use crate::engine::restart::OUTBOARD_0_1_0_TEST_WORKERS as TEST_WORKERS;
    #[cfg(feature = "macros")]
    pub use crate::front::init::runtime;
    pub use crate::front::init::test_worker;
    pub use crate::task::registry::{
        Entry, OUTBOARD_0_1_0_NAMES as NAMES, OUTBOARD_0_1_0_TASKS as TASKS,
    };
    pub use crate::task::start::{
        OUTBOARD_0_1_0_START_NAMES as START_NAMES, OUTBOARD_0_1_0_STARTS as STARTS, Start,
        StartOutput,
    };

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

/// README.md, whose examples have to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

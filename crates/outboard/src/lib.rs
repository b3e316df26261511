//! Off-process compute for async Rust servers.
//!
//! A handler writes `client.submit(fib, n).await`; the function runs in another
//! process on this machine, and the web server stays as quick as if nothing
//! were happening.

mod client;
mod closure;
mod engine;
mod error;
mod execute;
mod future;
mod init;
mod ledger;
mod placement;
#[cfg(all(feature = "local", target_os = "linux"))]
mod shared;
mod snapshot;
mod task;
mod wire;
#[cfg(all(feature = "local", target_os = "linux"))]
mod worker;

#[cfg(feature = "macros")]
pub use outboard_macros::task;

pub use client::{Client, LocalBuilder, Map};
pub use error::{Cause, Error, ErrorKind, Lost, Panic, Stage};
pub use future::{AsCompleted, Status, TaskFuture, Waited, When, as_completed, gather, wait};
pub use init::{init, init_with};
pub use ledger::Report;
pub use snapshot::{Snapshot, WorkerSnapshot};
pub use task::TaskFunction;

/// What the macros' output refers to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use linkme;
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    pub use crate::init::{TEST_WORKERS, test_worker};
    pub use crate::task::{Entry, NAMES, TASKS};

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

    impl<T: Serialize + DeserializeOwned> TaskArgument for T {}

    /// What a task function can return.
    #[diagnostic::on_unimplemented(
        message = "a task cannot return `{Self}`: it does not travel back from another process",
        label = "needs `serde::Serialize` and `serde::de::DeserializeOwned`",
        note = "derive both for a type of yours: `#[derive(serde::Serialize, serde::Deserialize)]`"
    )]
    pub trait TaskOutput: Serialize + DeserializeOwned {}

    impl<T: Serialize + DeserializeOwned> TaskOutput for T {}
}

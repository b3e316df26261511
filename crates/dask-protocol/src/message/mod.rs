//! What schedulers, workers and clients say to each other.
//!
//! | who speaks | over a stream | over a connection for questions |
//! |---|---|---|
//! | a scheduler to a client | [`SchedulerToClient`] | answers |
//! | a client to a scheduler | [`ClientToScheduler`], after [`RegisterClient`] | questions |
//! | a scheduler to a worker | [`SchedulerToWorker`] | answers |
//! | a worker to a scheduler | [`WorkerToScheduler`], after [`RegisterWorker`] | questions |
//! | anyone to a worker | | questions: [`GetData`] and others |
//!
//! Each connection begins with a [`Handshake`] of both ends. A [`Question`] is read on
//! the other side as a [`Request`], and answered by a [`Reply`].
//!
//! What is not known is ignored: an operation is an `Unknown` with its name, a field is
//! not there. What is known and of another type is [`Malformed`](crate::Malformed).

mod client;
pub(crate) mod fields;
mod handshake;
mod identity;
mod metrics;
mod question;
mod request;
mod worker;

pub use client::{ClientToScheduler, SchedulerToClient, UpdateGraph};
pub use fields::Places;
pub use handshake::Handshake;
pub use identity::{ClusterIdentity, Packages, Unsupported, WorkerIdentity, WorkerInfo};
pub use metrics::Metrics;
pub use question::{
    AskProgress, Data, Gather, GatherCopies, GetData, Heartbeat, HeartbeatWorker, Identity, Items,
    NoAnswer, Processing, Proxy, Question, Ran, RegisterClient, RegisterWorker,
    RegisterWorkerPlugin, Registered, RetireWorkers, RunOnWorkers, Scatter, TakeItems,
    TaskProgress, TaskStatus, TellData, Unregister, UpdateData, Versions, WhoHas,
};
pub use request::{Failed, Observed, Opaque, Reply, Request, Subject};
pub use worker::{ComputeTask, Run, SchedulerToWorker, WorkerToScheduler};

#[cfg(test)]
mod tests;

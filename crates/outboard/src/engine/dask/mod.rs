//! The `dask` engine: the scheduler and workers of an unmodified Dask cluster.
//!
//! From bytes to meaning: `frames`, `message`, `connection`; `pickle`, `values`,
//! `graph` and `exception` are what is in the messages, `native` what Rust says
//! to Rust inside of them.

pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod exception;
pub(crate) mod frames;
pub(crate) mod graph;
pub(crate) mod message;
pub(crate) mod native;
pub(crate) mod pickle;
pub(crate) mod tls;
pub(crate) mod values;

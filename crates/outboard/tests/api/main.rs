//! The library from outside: what it promises, proved on every engine, and what
//! only processes have, proved with real ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// Workers killed at random while tasks flow.
#[cfg(target_os = "linux")]
mod chaos;
/// The contract of every engine, one suite.
mod conformance;
/// Real Dask clusters, of the oldest and the newest release supported.
#[cfg(all(feature = "dask", target_os = "linux"))]
mod dask;
/// The programs in `examples/`.
mod examples;
/// What is left of many tasks.
#[cfg(target_os = "linux")]
mod leaks;
/// What only worker processes have: crashes, orphans, isolation.
#[cfg(target_os = "linux")]
mod local;
/// What tasks log, as the server's own logs have it.
#[cfg(target_os = "linux")]
mod logs;
/// Users' own crates, outside this workspace.
#[cfg(target_os = "linux")]
mod outside;
/// Functions of Python, on this machine and on clusters.
#[cfg(target_os = "linux")]
mod python;
/// Servers that a test needs in a process of their own.
#[cfg(target_os = "linux")]
mod scenario;
/// Waiting for conditions, tasks under a test's control, processes.
mod support;
/// One trace across server and worker.
mod traces;

outboard::test_worker!();

//! What the notebook reports: "Asynchronous Computation: Web Servers + Dask",
//! a Tornado server and Dask on a 2-core machine.

use super::experiment::{Host, Name};

/// The n of the notebook's short computation.
pub(super) const SHORT_N: u64 = 28;

/// How long it took its Python.
pub(super) const SHORT_SECONDS: f64 = 0.111;

/// The n of the notebook's long computation.
pub(super) const LONG_N: u64 = 35;

/// How long it took its Python.
pub(super) const LONG_SECONDS: f64 = 3.21;

/// How many simultaneous requests its bursts have.
pub(super) const BURST: usize = 100;

/// How many simultaneous requests its parallel experiment has.
pub(super) const PARALLEL: usize = 20;

/// The total time that the notebook reports, `None` for what it did not measure.
///
/// Its 20 parallel requests after offloading are a figure of coalesced
/// computing: Dask computes identical calls once. It never measured 20 that
/// are computed each.
pub(super) fn seconds(name: Name, requests: usize, host: Host) -> Option<f64> {
    match (name, requests, host) {
        (Name::Fast, 1, Host::Before) => Some(0.0053),
        (Name::Fast, BURST, Host::Before) => Some(0.217),
        (Name::Fib, 1, Host::Before) => Some(SHORT_SECONDS),
        (Name::Fib, BURST, Host::Before) => Some(11.35),
        (Name::FastBehindSlow, _, Host::Before) => Some(3.44),
        (Name::FastBehindSlow, _, Host::After) => Some(0.0058),
        (Name::Slow, _, Host::Before) => Some(3.44),
        (Name::Slow, _, Host::After) => Some(3.65),
        (Name::Parallel, PARALLEL, Host::Before) => Some(2.30),
        (Name::ParallelCoalesced, PARALLEL, Host::After) => Some(0.34),
        (Name::Roundtrip, _, Host::After) => Some(0.014_38),
        _ => None,
    }
}

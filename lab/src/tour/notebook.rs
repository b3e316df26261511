//! What the notebook reports: "Asynchronous Computation: Web Servers + Dask",
//! a Tornado server and Dask on a 2-core machine.

use crate::site::Host;

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

/// What an experiment shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A quick page alone.
    Fast,
    /// A short computation.
    Fib,
    /// A quick page just after a long computation began.
    FastBehindSlow,
    /// That long computation.
    Slow,
    /// Short computations at the same time, each computed.
    Parallel,
    /// The same, computed once for all.
    ParallelCoalesced,
    /// The first line of a page that is written as it is computed.
    FirstLine,
    /// All of it.
    AllLines,
    /// A trivial task, again and again.
    Roundtrip,
}

impl Name {
    /// As reports have it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Fib => "fib",
            Self::FastBehindSlow => "fast_behind_slow",
            Self::Slow => "slow",
            Self::Parallel => "parallel",
            Self::ParallelCoalesced => "parallel_coalesced",
            Self::FirstLine => "first_line",
            Self::AllLines => "all_lines",
            Self::Roundtrip => "roundtrip",
        }
    }
}

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

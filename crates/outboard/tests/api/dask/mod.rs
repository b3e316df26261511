//! Real Dask clusters, of the oldest and of the newest release that is
//! supported.

/// A scheduler and workers, started and ended.
mod cluster;
/// Clusters that compress what goes from host to host.
mod compression;
/// What Dask's own pages show of native workers.
mod dashboard;
/// Schedulers and workers that die, cut connections, nonsense.
mod faults;
/// Hosts that are cut off.
mod hosts;
/// Arguments that go straight to workers.
pub(crate) mod large;
/// Native workers, with clients of Rust and of Python.
mod native;
/// Cancel, timeout, priority, bounds, functions that nobody has.
mod options;
/// Functions of Rust beside ordinary Python workers.
mod plugin;
/// Schedulers for the contract's suite.
pub(crate) mod pool;
/// Pools, which are resources of a cluster's workers.
mod pools;
/// Values that go to a cluster once.
pub(crate) mod scatter;
/// Streams and progress, through the scheduler and with what dies.
mod streams;
/// Clusters that speak TLS.
mod tls;
/// One trace across client and cluster.
mod traces;
/// Clients and workers of two builds of one program.
mod upgrade;
/// Values between native workers and Python.
mod values;
/// Tasks on which a scheduler would sit, and clients that leave.
mod waits;
/// What native workers promise to a cluster: leaving, losses, Python clients.
mod workers;

pub(crate) use cluster::Release;

/// Makes a test of each of these, for each release.
macro_rules! on_every_release {
    ($($name:ident),* $(,)?) => {
        mod oldest {
            $(#[test] fn $name() {
                crate::support::run(super::$name(super::super::Release::Oldest));
            })*
        }

        mod newest {
            $(#[test] fn $name() {
                crate::support::run(super::$name(super::super::Release::Newest));
            })*
        }
    };
}
use on_every_release;

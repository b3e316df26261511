//! Functions of Python: what holds wherever they are called, and what holds on this machine.

/// Items of several callers in one call.
mod batches;
/// Calls, errors, values of some shapes.
mod calls;
/// Workers that are in a sandbox.
mod confined;
/// What becomes of workers that are Python.
mod local;
/// What is said of what is missing or wrong.
mod missing;
/// Pools of other names, slots and environments.
mod pools;
/// Items before the result.
mod streams;
/// Values of every shape.
pub(crate) mod values;

use std::path::{Path, PathBuf};

pub(crate) use local::play;

use outboard::{Client, LocalBuilder, Python};

/// Where there is Python.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Local,
    #[cfg(feature = "dask")]
    Dask(crate::dask::Release),
}

impl Place {
    pub(crate) async fn client(self) -> Client {
        match self {
            Self::Local => {
                let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
                builder(|python| python.path(tests.join("dask/modules"))).await.unwrap()
            }
            #[cfg(feature = "dask")]
            Self::Dask(release) => release.shared().await.client().await,
        }
    }
}

/// The interpreter of the tests: one with numpy, where there is one.
fn interpreter() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/newest/bin/python");
    if own.exists() { own } else { "python3".into() }
}

/// A client with one worker of Rust and one of Python, without spares.
fn builder(set: impl FnOnce(Python) -> Python) -> LocalBuilder {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/python/modules");
    let python = Python::new(interpreter()).path(modules).workers(1);
    Client::local().workers(1).spares(0).python(set(python))
}

async fn client() -> Client {
    builder(|python| python).await.unwrap()
}

/// Makes a test of each of these, for each place.
macro_rules! everywhere {
    ($($name:ident),* $(,)?) => {
        mod local {
            $(#[test] fn $name() {
                crate::support::run(super::$name(super::Place::Local));
            })*
        }

        #[cfg(feature = "dask")]
        mod dask {
            mod oldest {
                $(#[test] fn $name() {
                    let place = crate::python::Place::Dask(crate::dask::Release::Oldest);
                    crate::support::run(super::super::$name(place));
                })*
            }

            mod newest {
                $(#[test] fn $name() {
                    let place = crate::python::Place::Dask(crate::dask::Release::Newest);
                    crate::support::run(super::super::$name(place));
                })*
            }
        }
    };
}
use everywhere;

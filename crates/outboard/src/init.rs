//! Decides, before `main` goes on, whether this process is a worker.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use linkme::distributed_slice;

/// Whether `init` ran in this process.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// The paths of the tests that `test_worker!` makes, without the crate's name.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_TEST_WORKERS: [&'static str];

/// Turns this process into a worker if it was started as one; otherwise returns
/// at once. [`#[main]`](macro@crate::main) calls it; a program with a `main` of
/// another form calls it itself.
///
/// Call it as the first thing in `main`, before any runtime: worker processes
/// are this very program, started again, and whatever comes before `init` runs
/// in each of them. It never returns in a worker.
///
/// With the feature `dask`, and `OUTBOARD_WORKER=dask://host:port` in the
/// environment, the process works for that cluster instead, and never returns
/// either: see [`ClusterWorker`](crate::ClusterWorker).
///
/// # Panics
///
/// Inside an async runtime; and if two task functions have the same name, or
/// the entry of one was lost when the program was linked.
///
/// # Examples
///
/// ```
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     outboard::init();
///     let runtime = tokio::runtime::Builder::new_multi_thread()
///         .enable_all()
///         .thread_name("web")
///         .build()?;
///     Ok(runtime.block_on(serve())?)
/// }
///
/// async fn serve() -> Result<(), outboard::Error> {
///     let client = outboard::Client::from_env().await?;
///     assert_eq!(client.submit(|x: u64| x + 1, 10).await?, 11);
///     Ok(())
/// }
/// ```
pub fn init() {
    init_with(|| {});
}

/// As [`init`]; in a worker, `setup` runs before the first task, for example to
/// set up logging. What a worker writes to stdout and stderr appears in the
/// server's, line by line, with the worker's number. What tasks need is better
/// loaded by a function marked `#[on_start]`, which runs after it.
///
/// # Panics
///
/// As [`init`]. If `setup` panics, the worker ends and counts as failed at its
/// start.
pub fn init_with(setup: impl FnOnce()) {
    assert!(
        tokio::runtime::Handle::try_current().is_err(),
        "outboard::init() must come before any runtime: call it first in a plain `fn main`, \
         and start the runtime after it"
    );
    if let Err(problem) = crate::task::registry() {
        panic!("outboard::init(): {problem}");
    }
    INITIALISED.store(true, Release);
    #[cfg(all(feature = "local", target_os = "linux"))]
    let setup = match crate::worker::is_worker() {
        true => crate::worker::run_as_worker(setup, false),
        false => setup,
    };
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    let setup = match crate::engine::dask::plugin::asked() {
        Some(asked) => crate::engine::dask::plugin::serve(&asked, setup),
        None => setup,
    };
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    crate::engine::dask::worker::run_if_asked(setup, false);
    #[cfg(not(all(feature = "dask", feature = "local", target_os = "linux")))]
    drop(setup);
}

/// Whether this process is a worker: for code that both the server and its tasks
/// run, such as a pool of connections that a worker need not open. The answer is
/// the same before [`init`].
pub fn is_worker() -> bool {
    #[cfg(all(feature = "local", target_os = "linux"))]
    return became_worker() || (!INITIALISED.load(Acquire) && crate::worker::is_worker());
    #[cfg(not(all(feature = "local", target_os = "linux")))]
    false
}

/// Whether this process is a worker and came to `init`.
pub(crate) fn became_worker() -> bool {
    #[cfg(all(feature = "local", target_os = "linux"))]
    return crate::worker::became_worker();
    #[cfg(not(all(feature = "local", target_os = "linux")))]
    false
}

/// The runtimes of `#[main]`.
#[cfg(feature = "macros")]
#[doc(hidden)]
pub mod runtime {
    use tokio::runtime::{Builder, Runtime};

    /// The flavor `multi_thread`, with so many threads, or as many as tokio takes.
    pub fn multi_thread(worker_threads: Option<usize>) -> Runtime {
        let mut builder = Builder::new_multi_thread();
        if let Some(threads) = worker_threads {
            builder.worker_threads(threads);
        }
        built(builder)
    }

    /// The flavor `current_thread`.
    pub fn current_thread() -> Runtime {
        built(Builder::new_current_thread())
    }

    fn built(mut builder: Builder) -> Runtime {
        builder.enable_all().build().expect("the system has threads and descriptors for a runtime")
    }
}

/// What the test that `test_worker!` makes does.
#[doc(hidden)]
pub fn test_worker() {
    #[cfg(all(feature = "local", target_os = "linux"))]
    if crate::worker::is_worker() {
        INITIALISED.store(true, Release);
        crate::worker::run_as_worker(|| {}, true)
    }
    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    {
        if let Some(asked) = crate::engine::dask::plugin::asked() {
            crate::engine::dask::plugin::serve(&asked, || {});
        }
        crate::engine::dask::worker::run_if_asked(|| {}, true);
    }
}

/// Lets tests use worker processes: put it once into a test binary, at the root
/// of an integration test or in any module of a crate's unit tests.
///
/// It makes a `#[test]` that becomes the worker in a worker process, and passes
/// at once otherwise. Workers of a test binary are that binary, told to run
/// this one test. Works with `cargo test` and with nextest.
///
/// # Examples
///
/// ```ignore
/// #[cfg(test)]
/// mod tests {
///     outboard::test_worker!();
///
///     #[test]
///     fn adds() {
///         let runtime = tokio::runtime::Runtime::new().unwrap();
///         let sum = runtime.block_on(async {
///             let client = outboard::Client::local().workers(1).await?;
///             client.submit(|a: u64, b: u64| a + b, (1, 2)).await
///         });
///         assert_eq!(sum.unwrap(), 3);
///     }
/// }
/// ```
#[macro_export]
macro_rules! test_worker {
    () => {
        #[test]
        fn outboard_test_worker() {
            $crate::__private::test_worker();
        }

        #[cfg(test)]
        const _: () = {
            #[$crate::__private::linkme::distributed_slice($crate::__private::TEST_WORKERS)]
            #[linkme(crate = $crate::__private::linkme)]
            static PATH: &'static str =
                ::core::concat!(::core::module_path!(), "::outboard_test_worker");
        };
    };
}

/// How this program is started again as a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// As it is: `init` is in its `main`.
    Main,
    /// As the test of that name.
    Test(&'static str),
}

/// How to start workers, or why they could not become workers.
pub(crate) fn restart() -> Result<Restart, String> {
    if INITIALISED.load(Acquire) {
        return Ok(match OUTBOARD_0_1_0_TEST_WORKERS.first() {
            Some(path) => Restart::Test(test_name(path)),
            None => Restart::Main,
        });
    }
    match OUTBOARD_0_1_0_TEST_WORKERS[..] {
        [path] => Ok(Restart::Test(test_name(path))),
        [] => Err("`outboard::init()` did not run in this process: call it first in `main` \
                   (in a test binary, put `outboard::test_worker!()` beside the tests)"
            .into()),
        _ => Err(format!(
            "`outboard::test_worker!()` stands more than once in this test binary: {}",
            OUTBOARD_0_1_0_TEST_WORKERS.join(", ")
        )),
    }
}

/// The name by which a test harness knows a test: its path without the crate.
fn test_name(path: &'static str) -> &'static str {
    path.split_once("::").map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new version renames the statics; linkme takes the sections' names from them.
    #[cfg(target_os = "linux")]
    #[test]
    fn sections_are_named_after_the_library_and_its_version() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let version = env!("CARGO_PKG_VERSION").replace(['.', '-', '+'], "_");
        let has = |name: &str| {
            let name = format!("\0linkme_{name}\0").into_bytes();
            program.windows(name.len()).any(|part| part == name)
        };
        for slice in ["TASKS", "NAMES", "STARTS", "START_NAMES", "TEST_WORKERS"] {
            assert!(has(&format!("OUTBOARD_{version}_{slice}")), "{slice} has another name");
            assert!(!has(slice), "{slice} has a name that others may take");
        }
    }

    #[test]
    fn a_test_is_named_without_its_crate() {
        assert_eq!(test_name("krate::outboard_test_worker"), "outboard_test_worker");
        assert_eq!(test_name("krate::a::outboard_test_worker"), "a::outboard_test_worker");
    }
}

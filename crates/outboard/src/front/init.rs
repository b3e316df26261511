//! Decides, before `main` goes on, whether this process is a worker.

use crate::engine::{registry, restart};
use crate::task;

/// Turns this process into a worker if it was started as one; otherwise returns at once.
///
/// [`#[main]`](macro@crate::main) calls it. A program with a `main` of another form calls it
/// as the first thing in `main`, before any runtime. Worker processes are this program,
/// started again, so whatever comes before `init` runs in each of them. It never returns in
/// a worker.
///
/// A worker leads a process group of its own, which is killed with it, and ends with its
/// server however that ends. SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 do not end
/// it while the server lives. A service manager sends them to all processes, and the server
/// finishes what runs.
/// Programs that a task starts have the default actions. A worker ignores no signal because
/// the server does, and of its descriptors it has only stdout and stderr. A process that a
/// task forks and that returns from the task function exits there.
///
/// With the feature `dask`, and `OUTBOARD_WORKER=dask://host:port` in the environment, the
/// process becomes a worker of that cluster. It says on stderr that it has joined, or why it
/// cannot. Then it never returns either: see [`ClusterWorker`](crate::dask::ClusterWorker).
///
/// # Panics
///
/// Inside an async runtime. Also if two task functions have the same name, or if the linker
/// dropped the entry of one.
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

/// Does what [`init`] does, and runs `setup` in each worker before its first task.
///
/// Use it to set up logging. What a worker writes to stdout and stderr appears in the
/// server's output, line by line, with the worker's number. What tasks need is better
/// loaded by a function marked `#[on_start]`, which runs after the setup.
///
/// # Panics
///
/// As [`init`]. If `setup` panics, the worker ends and counts as failed at its start.
pub fn init_with(setup: impl FnOnce()) {
    assert!(
        tokio::runtime::Handle::try_current().is_err(),
        "outboard::init() must come before any runtime: call it first in a plain `fn main`, \
         and start the runtime after it"
    );
    if let Err(problem) = task::registry::registry() {
        panic!("outboard::init(): {problem}");
    }
    restart::initialised();
    registry::become_worker(setup, false);
}

/// Says whether this process is a worker.
///
/// Use it in code that both the server and its tasks run, for example to skip a pool of
/// connections. The answer is the same before [`init`].
pub fn is_worker() -> bool {
    task::current::in_worker() || (!restart::is_initialised() && registry::is_worker())
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
    if registry::is_worker() {
        restart::initialised();
    }
    registry::become_worker(|| {}, true);
}

/// Lets tests use worker processes.
///
/// Put it once into a test binary: at the root of an integration test, or in any module of
/// a crate's unit tests. It makes a `#[test]` that becomes the worker in a worker process,
/// and passes at once otherwise. Workers of a test binary are that binary, told to run this
/// one test. It works with `cargo test` and with nextest.
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

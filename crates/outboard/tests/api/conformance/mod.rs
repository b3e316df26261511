//! The contract of every engine, stated once and run against each.
//!
//! 1. A task's result is exactly `f(args)`, or one typed error; every future
//!    ends.
//! 2. A task whose future is dropped never starts if it has not; if it runs,
//!    its CPU is freed.
//! 3. A timeout ends the task wherever it is, and frees what it held.
//! 4. A lost worker fails only what it was running, or re-runs it if `retries`
//!    allows; what only waited moves on unharmed.
//! 5. Crashes are never retried unless asked. Attempts are numbered; a late
//!    message of an older attempt is ignored.
//! 6. Everything is bounded. Full means `Overloaded` now.
//! 7. When the caller's process dies, its queued and running tasks die with
//!    it, and no worker process is orphaned.
//! 8. A worker stopped by a signal for a second is lost.
//!
//! What an engine cannot promise stands in [`EXCEPTIONS`], and nowhere else. A
//! test of an excepted promise shows what the engine does instead, so that an
//! exception which is no longer needed fails too.

/// Sessions, and the workers that they prefer.
mod affinity;
/// 1 to 5: several tasks in one call.
mod batches;
/// 6: bounds of queue and payload.
mod bounds;
/// 2: drop and cancel.
mod cancel;
/// The client: options, clones, URLs, counters.
mod client;
/// 1, 6: drain, shutdown, the end of handles and of runtimes.
mod ending;
/// The future as a handle: status, detach, report, blocking wait.
mod handle;
/// 1, 6: values that take long to encode.
mod large;
/// 4, 5, 7, 8: panics, lost workers, retries.
mod loss;
/// Priorities, and map.
mod order;
/// 6: predicted waits, when to come back, figures.
mod overload;
/// 1, 6: payloads of every size.
mod payloads;
/// Pools: workers, queues and bounds of their own.
mod pools;
/// How far a task says that it is.
mod progress;
/// 1 to 6: items that a task gets while it runs.
mod receiving;
/// 1: results and errors are exactly those of the function.
mod results;
/// Values that go to each worker once.
mod scatter;
/// gather, as_completed, wait.
mod several;
/// Coalescing by `pure` and `key`.
mod sharing;
/// 2, 3: a task is asked to stop, and knows its deadline.
mod stopping;
/// 1 to 6: items before the result.
mod streams;
/// Fair shares between tenants.
mod tenants;
/// 3: timeouts, in the queue and while running.
mod timeout;
/// Events, stories, snapshots; tasks by their names.
mod watching;
/// 1: values of every shape.
mod zoo;

use outboard::Client;

use crate::support::eventually;

/// An engine that the suite runs against.
#[derive(Clone, Copy, Debug)]
struct Engine {
    name: &'static str,
    /// Of a cluster.
    #[cfg(all(feature = "dask", target_os = "linux"))]
    release: crate::dask::Release,
}

/// A promise that not every engine can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// 2, 3: what runs is stopped, and its CPU and worker are free again.
    StopsWhatRuns,
    /// 4, 8: a crash of a task fails that task alone.
    SurvivesCrashes,
    /// 1: futures are `Closed` when the client's runtime ends.
    EndsWithItsRuntime,
    /// A report tells CPU time and memory of tasks that ran for a while.
    Measures,
    /// A function without a name can be submitted.
    RunsUnnamed,
    /// A task that others share knows when the most patient of them leaves.
    TellsSharedDeadlines,
    /// A snapshot tells which worker has which task, and what each has done.
    KnowsProcesses,
    /// Workers and their pools are the client's: it can have more or fewer, and they end with it.
    OwnsItsWorkers,
    /// Tasks of a function that takes batches run together.
    Batches,
    /// A task can receive a stream while it runs.
    Receives,
}

/// Everything that an engine does not promise, and why.
const EXCEPTIONS: &[(&str, Promise, &str)] = &[
    (
        "inline",
        Promise::StopsWhatRuns,
        "a thread cannot be stopped: its caller is released, and it goes on to its end",
    ),
    ("inline", Promise::SurvivesCrashes, "a crash takes the process along: it is the worker"),
    ("inline", Promise::EndsWithItsRuntime, "its threads need no runtime: tasks just go on"),
    ("inline", Promise::Measures, "CPU time and memory are those of the whole server"),
    (
        "dask",
        Promise::RunsUnnamed,
        "a cluster knows functions by name, and refuses one that has none",
    ),
    (
        "dask",
        Promise::TellsSharedDeadlines,
        "a task that others may share is not told when the most patient of them leaves",
    ),
    (
        "dask",
        Promise::KnowsProcesses,
        "a scheduler does not say which worker has a task before it ends",
    ),
    (
        "dask",
        Promise::OwnsItsWorkers,
        "a cluster has the workers that it has, and they outlive its clients",
    ),
    (
        "dask",
        Promise::Batches,
        "a scheduler gives tasks to workers one by one: each is a batch of one",
    ),
    (
        "dask",
        Promise::Receives,
        "a cluster takes all that a task gets before it starts it: a `Receiver` is refused",
    ),
];

/// On what condition an engine promises the rest: tests that need it say so in
/// their options, which other engines do not have.
const CONDITIONS: &[(&str, &str, &str)] = &[(
    "dask",
    "window=",
    "bounds, order and shares hold for what waits here; what a scheduler was given counts as running",
)];

impl Engine {
    fn named(name: &'static str) -> Self {
        Self {
            name,
            #[cfg(all(feature = "dask", target_os = "linux"))]
            release: crate::dask::Release::Newest,
        }
    }

    #[cfg(all(feature = "dask", target_os = "linux"))]
    fn dask(release: crate::dask::Release) -> Self {
        Self { name: "dask", release }
    }

    /// A client of this engine, with options as a URL takes them; all its workers
    /// are up.
    async fn client(self, options: &str) -> Client {
        #[cfg(all(feature = "dask", target_os = "linux"))]
        if self.name == "dask" {
            return crate::dask::pool::client(self.release, options).await;
        }
        let options = options.split('&').filter(|option| !is_condition(option));
        let options = options.collect::<Vec<_>>().join("&");
        let client = Client::connect(&format!("{}://?{options}", self.name)).await.unwrap();
        let all_up = || {
            let now = client.admin().snapshot();
            now.per_worker.iter().filter(|worker| !worker.standby).count() == now.workers
        };
        eventually("all workers are up", all_up).await;
        client
    }

    fn promises(self, promise: Promise) -> bool {
        !EXCEPTIONS.iter().any(|(engine, what, _)| (*engine, *what) == (self.name, promise))
    }
}

fn is_condition(option: &str) -> bool {
    CONDITIONS.iter().any(|(_, condition, _)| option.starts_with(condition))
}

/// Makes a test of each of these, for each engine.
macro_rules! on_every_engine {
    ($($name:ident),* $(,)?) => {
        mod inline {
            $(#[test] fn $name() {
                crate::support::run(super::$name(super::super::Engine::named("inline")));
            })*
        }

        #[cfg(target_os = "linux")]
        mod local {
            $(#[test] fn $name() {
                crate::support::run(super::$name(super::super::Engine::named("local")));
            })*
        }

        #[cfg(all(feature = "dask", target_os = "linux"))]
        mod dask {
            mod oldest {
                $(#[test] fn $name() {
                    let engine = crate::conformance::Engine::dask(crate::dask::Release::Oldest);
                    crate::support::run(super::super::$name(engine));
                })*
            }

            mod newest {
                $(#[test] fn $name() {
                    let engine = crate::conformance::Engine::dask(crate::dask::Release::Newest);
                    crate::support::run(super::super::$name(engine));
                })*
            }
        }
    };
}
use on_every_engine;

/// A function with a name, written where it is used: of one without, a cluster
/// knows nothing.
macro_rules! named {
    ($name:literal, || -> $output:ty $body:block) => {
        named!($name, | | -> $output $body)
    };
    ($name:literal, |$($arg:ident: $type:ty),*| -> $output:ty $body:block) => {{
        #[outboard::task(name = $name)]
        fn function($($arg: $type),*) -> $output $body
        function
    }};
}
use named;

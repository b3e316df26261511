//! How an engine on this machine is set up: by a builder, or by a URL.

use std::ffi::OsString;
use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::engine::option::Value;
use crate::engine::pools;
use crate::engine::settings::{Env, MOST_PAYLOAD, Settings};
use crate::error::Error;
use crate::front::client::Client;
use crate::sched::strength::count::WorkerCount;
use crate::task::interpreter::Python;
use crate::task::sandbox::Sandbox;
use crate::task::start::Config;
use crate::trace::WorkerOutput;

/// Configures worker processes on this machine; await it to start them.
///
/// Made by [`Client::local`]. Awaiting returns a [`Client`] when the first worker is up.
///
/// # Errors
///
/// Awaiting gives `Unavailable`, and says which of these it is:
///
/// - [`init`](crate::init) did not run in this process.
/// - The platform has no worker processes: use `inline://`.
/// - There is no tokio runtime.
/// - Workers die at their start.
///
/// # Panics
///
/// Awaiting panics in a tokio runtime whose I/O driver is not enabled.
#[derive(Clone, Debug, Default)]
#[must_use = "await the builder to start the workers"]
pub struct LocalBuilder {
    settings: Settings,
}

impl LocalBuilder {
    /// Sets an option, within the bounds that URLs have too.
    fn with(mut self, name: &str, value: Value<'_>) -> Self {
        if let Err(refusal) = self.settings.set(name, value) {
            panic!("{refusal}");
        }
        self
    }

    /// Adds a pool: workers of their own beside those of the pool `default`.
    ///
    /// `set` gets the options that this builder has so far, and gives those of the pool. So a
    /// pool has the client's options that come before it, and changes some. A pool has its own
    /// workers, spares, queue, bounds, shares and limits. Tasks of a function marked
    /// `#[task(pool = "gpu")]` run in it, and those that are submitted by
    /// [`client.pool("gpu")`](Client::pool).
    ///
    /// # Panics
    ///
    /// If the name has other characters than letters (A-Z, a-z), digits, `_` and `-`. If it is
    /// `default`, or that of another pool. If `set` adds a pool.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), outboard::Error> {
    /// let client = outboard::Client::local()
    ///     .workers(4)
    ///     .pool("gpu", |pool| pool.workers(2).spares(0).memory_limit(8 << 30))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn pool(mut self, name: &str, set: impl FnOnce(Self) -> Self) -> Self {
        let so_far = Self { settings: pools::begin(&self.settings) };
        if let Err(refusal) = pools::add(&mut self.settings, name, set(so_far).settings) {
            panic!("{refusal}");
        }
        self
    }

    /// Sets the number of workers; by default one for each core.
    ///
    /// With a range, such as `0..=8`, the pool is **elastic**: it starts with the lower bound and
    /// follows its load.
    ///
    /// - From none, a worker starts as soon as a task waits.
    /// - Otherwise as many start as it takes for what waits to begin within the time of a start.
    /// - If tasks have waited for that time without a pause, one starts for each that waits.
    /// - A worker that has had no task for [`idle`](Self::idle) ends, down to the lower bound.
    ///
    /// The time of a start is measured, and counts as 10 ms at least. Predicted waits
    /// ([`max_wait`](Self::max_wait), `retry_after`) include what is left of it. While no worker
    /// is up, a task whose timeout is shorter is `Overloaded` at once; a worker starts all the
    /// same. Spares stand by while a worker is wanted. A slot's number is below the upper bound.
    ///
    /// # Panics
    ///
    /// If it is 0, or a range without a worker in it.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), outboard::Error> {
    /// use std::time::Duration;
    ///
    /// let minute = Duration::from_secs(60);
    /// let client = outboard::Client::local()
    ///     .pool("gpu", |pool| pool.workers(0..=8).idle(5 * minute))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn workers(self, workers: impl Into<WorkerCount>) -> Self {
        self.with("workers", Value::Text(&workers.into().to_string()))
    }

    /// Sets after how long without a task a worker of an elastic pool ends; by default a minute.
    ///
    /// See [`workers`](Self::workers).
    ///
    /// # Panics
    ///
    /// If it is under a millisecond.
    pub fn idle(self, time: Duration) -> Self {
        self.with("idle", Value::Time(time))
    }

    /// Sets the number of spares: workers that stand by; by default one.
    ///
    /// A spare takes the place of a worker that is killed, lost or recycled. It costs what an
    /// idle worker costs: a whole model, if workers load one.
    pub fn spares(self, spares: usize) -> Self {
        self.with("spares", Value::Number(spares as u64))
    }

    /// Sets how many tasks may wait; by default 16,384.
    ///
    /// An idle worker always accepts a task.
    pub fn queue_tasks(self, tasks: usize) -> Self {
        self.with("queue_tasks", Value::Number(tasks as u64))
    }

    /// Sets how many bytes of encoded arguments, keys and names of tenants may be held; by
    /// default 256 MiB.
    pub fn queue_bytes(self, bytes: usize) -> Self {
        self.with("queue_bytes", Value::Number(bytes as u64))
    }

    /// Bounds the encoded arguments of one task, and its encoded result; by default 128 MiB.
    ///
    /// At most 2 GiB.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.with("max_payload", Value::Number(bytes.min(MOST_PAYLOAD) as u64))
    }

    /// Sets how many workers one tenant may hold at once; by default all.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn tenant_limit(self, workers: usize) -> Self {
        self.with("tenant_limit", Value::Number(workers as u64))
    }

    /// Sets how many tasks of one tenant may wait; by default as many as the queue holds.
    ///
    /// Beyond that the tenant's submits are `Overloaded`, and
    /// [`is_tenant_limited`](Error::is_tenant_limited).
    pub fn tenant_queue(self, tasks: usize) -> Self {
        self.with("tenant_queue", Value::Number(tasks as u64))
    }

    /// Refuses tasks whose predicted wait for a worker is longer; by default never.
    ///
    /// The error is `Overloaded`. Unlike a timeout, this refuses before anyone has waited. An
    /// idle worker always accepts a task.
    ///
    /// The prediction adds what is left of the running tasks to the waiting work that goes
    /// before this task by priority and fair share. It spreads that over the workers. A
    /// waiting task counts as long as recent ones took: those of its function if that is
    /// `#[task(steady)]`, otherwise all that are not. A run time loses half its weight in ten
    /// seconds.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.with("max_wait", Value::Time(wait))
    }

    /// Runs the newest task of a tenant first while more than so many of its tasks wait; by
    /// default never.
    ///
    /// It also requires that the tenant's oldest task has waited for more than 100 ms. In an
    /// overload that lasts, first in, first out answers everybody late; newest first answers
    /// some in time. Tasks without a [timeout](Client::timeout) keep their order. Shares of
    /// tenants do not change.
    pub fn lifo_above(self, tasks: usize) -> Self {
        self.with("lifo_above", Value::Number(tasks as u64))
    }

    /// Counts a task one [priority](Client::priority) higher for each such time that it has
    /// waited; by default priorities are strict.
    ///
    /// So a low priority is served late, and not never. At least 1 ms. The predictions of
    /// [`max_wait`](Self::max_wait) do not know of it. Each start looks at every priority that
    /// waits, so use few of them.
    pub fn ageing(self, wait: Duration) -> Self {
        self.with("ageing", Value::Time(wait))
    }

    /// Sets whether one worker is kept free of a tenant's tasks while others are active; by
    /// default yes.
    ///
    /// Active means seen in the last ten seconds. A short task of one tenant then never waits
    /// for the long tasks of another. A tenant that is alone has all workers.
    pub fn tenant_reserve(self, reserve: bool) -> Self {
        self.with("tenant_reserve", Value::Flag(reserve))
    }

    /// Sets how many workers one tenant may cost in a second by tasks that are stopped while
    /// they run.
    ///
    /// By default as many as take a quarter of the workers' time to replace, by the start-up
    /// times measured. That is hundreds where a worker starts in milliseconds, and few where it
    /// loads a model. A task beyond that runs on, and its result is thrown away. It is stopped
    /// when the tenant may cost a worker again.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn tenant_kills(self, per_second: u32) -> Self {
        self.with("tenant_kills", Value::Number(per_second.into()))
    }

    /// Replaces a worker after it has executed so many tasks; by default never.
    ///
    /// The number varies by up to a fifth downwards, so that workers are not replaced together.
    /// The replacement is ready before the old worker leaves, and what that one runs is
    /// finished.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn recycle_after_tasks(self, tasks: u64) -> Self {
        self.with("recycle_after_tasks", Value::Number(tasks))
    }

    /// Replaces a worker at this age, or up to a fifth younger; by default never.
    ///
    /// It happens as with [`recycle_after_tasks`](Self::recycle_after_tasks).
    ///
    /// # Panics
    ///
    /// If it is under a second: workers would do little but start.
    pub fn recycle_after(self, age: Duration) -> Self {
        self.with("recycle_after", Value::Time(age))
    }

    /// Replaces a worker that has more memory of its own than this after a task, in bytes; by
    /// default never.
    ///
    /// That is resident memory without what is shared or backed by a file: neither the
    /// program's code nor payloads count. It is measured after tasks that ran for a millisecond
    /// or more, and after every 1024th. It happens as with
    /// [`recycle_after_tasks`](Self::recycle_after_tasks).
    pub fn recycle_above(self, memory_bytes: u64) -> Self {
        self.with("recycle_above", Value::Number(memory_bytes))
    }

    /// Replaces a worker after a task that changed its process; by default not, for most of
    /// that is set back before the next task.
    ///
    /// Set back are `alarm` and the timers of CPU time, the signal mask, umask, working
    /// directory, environment, limits, and signal handlers. A worker looks after each task
    /// that runs for 0.2 ms or longer, and at least once in a millisecond. After shorter tasks
    /// it looks until their function has left the process as it was 64 times. A worker whose
    /// task has changed its user, or lowered a hard limit, is replaced in any case.
    ///
    /// Some changes are not noticed and not set back. They are threads, processes and open
    /// descriptors that a task leaves, timers made by `timer_create`, and handlers for
    /// faults such as SIGSEGV. The same holds for the root directory, namespaces, niceness,
    /// the locale and statics. What tasks share, such as a handler for a signal, belongs
    /// into `#[on_start]`: that stays.
    pub fn recycle_changed(self, recycle: bool) -> Self {
        self.with("recycle_changed", Value::Flag(recycle))
    }

    /// Sets the workers' niceness, from 0 to 19; by default 10.
    ///
    /// A higher niceness gives way to other processes, and so to the server.
    ///
    /// # Panics
    ///
    /// If it is above 19.
    pub fn niceness(self, niceness: u8) -> Self {
        self.with("niceness", Value::Number(niceness.into()))
    }

    /// Sets how long a worker waits for its next task, and a caller for its answer, before it
    /// sleeps for it; at most 50 µs. By default both sleep at once.
    ///
    /// To wake a process takes longer than a short task, so both may look first. They do so only
    /// while it has paid lately: a task every millisecond, or a machine that has other work, ends
    /// it. A future that looks yields to its event loop each time. It pays on a `current_thread`
    /// runtime with short tasks one after the other; measure your own before you set it.
    /// [`WorkerSnapshot::spins`](crate::admin::WorkerSnapshot::spins) has what it came to.
    pub fn spin(self, time: Duration) -> Self {
        self.with("spin", Value::Time(time))
    }

    /// Limits the memory of each worker, in bytes; by default there is no limit.
    ///
    /// A task that needs more ends as [`OutOfMemory`](crate::ErrorKind::OutOfMemory), and no
    /// other task with it.
    ///
    /// What counts is private writable memory (`RLIMIT_DATA`), touched or not: the heap, but
    /// not what wasmtime or jemalloc only reserve. An allocation beyond the limit fails, which
    /// aborts a Rust program unless it used `try_reserve`.
    ///
    /// Where the server may make control groups, each worker also has one with the same limit
    /// and without swap. That covers shared memory and processes that a task starts. It needs
    /// version 2 and a group beside the server's own: systemd's `Delegate=memory` with
    /// `DelegateSubgroup=`.
    ///
    /// A worker is replaced when tasks have left behind half of what was free at its start, so
    /// that none pays for others. Where [`recycle_above`](Self::recycle_above) is set, that
    /// decides instead.
    ///
    /// # Panics
    ///
    /// If it is under 16 MiB, which a worker needs for itself.
    pub fn memory_limit(self, bytes: u64) -> Self {
        self.with("memory_limit", Value::Number(bytes))
    }

    /// Limits the CPU time of each task, on all threads of its worker; by default there is no
    /// limit.
    ///
    /// A task that needs more is `WorkerLost` by SIGXCPU, unless it handles that signal. Unlike
    /// a [timeout](Client::timeout), the limit does not count while a task waits for a core, a
    /// disk or a lock.
    ///
    /// The system counts whole seconds (`RLIMIT_CPU`). So the limit is rounded up, and a task
    /// may have up to a second more. Processes that it starts have the limit for themselves.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn cpu_limit(self, time: Duration) -> Self {
        self.with("cpu_limit", Value::Time(time))
    }

    /// Sets the size of the stack that tasks run on, in bytes; by default that of the worker's
    /// main thread.
    ///
    /// The default is `ulimit -s`, mostly 8 MiB. A task that needs more crashes its worker, and
    /// `WorkerLost` names the signal.
    ///
    /// Tasks then run on a thread of their own, because the main thread's stack is fixed when a
    /// program starts. Thread-locals that [`init_with`](crate::init_with) set are not seen
    /// there.
    ///
    /// # Panics
    ///
    /// If it is under 64 KiB.
    pub fn stack_size(self, bytes: usize) -> Self {
        self.with("stack_size", Value::Number(bytes as u64))
    }

    /// Limits the files and sockets that a worker may have open; by default as many as the
    /// server.
    ///
    /// It is `RLIMIT_NOFILE`, and includes a handful that the worker needs for itself. A task
    /// that opens more gets the system's error. It cannot exceed the server's hard limit.
    ///
    /// # Panics
    ///
    /// If it is under 16.
    pub fn open_files(self, files: u64) -> Self {
        self.with("open_files", Value::Number(files))
    }

    /// Locks workers up after `#[on_start]`, for tasks on untrusted input; by default they may
    /// do what the server may.
    ///
    /// [`Sandbox`] says which rules there are, and what they do not stop. If a
    /// worker cannot have them, its start has failed. The error names what the kernel lacks, the
    /// path that is not there, or the feature `sandbox`.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), outboard::Error> {
    /// use outboard::{Client, Sandbox};
    ///
    /// let locked = Sandbox::new().no_network().no_exec().read_only(["/models"]);
    /// let client = Client::local().sandbox(locked).await?;
    /// # Ok(()) }
    /// ```
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.settings.sandbox = Some(sandbox);
        self
    }

    /// Sets where the lines go that workers write to stdout and stderr; by default to the
    /// server's own, with the worker's number before each.
    ///
    /// They can be events of `tracing`, go through as they are, or be given to a function:
    /// see [`WorkerOutput`].
    pub fn output(mut self, output: WorkerOutput) -> Self {
        self.settings.output = output;
        self
    }

    /// Has the client there at once, before its first worker is ready.
    ///
    /// So a server can listen while its first model loads. Tasks wait in the queue meanwhile, and
    /// the probe `/readyz` of outboard-axum answers 503. If workers cannot be started, that is the
    /// error of the tasks. It holds for each [pool](Self::pool) by itself: awaiting the builder
    /// waits for those that are not lazy.
    pub fn lazy(self) -> Self {
        self.with("lazy", Value::Flag(true))
    }

    /// Gives a value to the functions marked `#[on_start]` that take one, in each worker.
    ///
    /// Such a function has one argument, of the type of this value. A
    /// [`Scattered`](crate::Scattered) in it may be of any client of this process that has workers
    /// on this machine. Functions without an argument run as well. If a function takes another
    /// type, or the value is missing, the worker's start has failed and the error says so.
    ///
    /// The value is encoded at once. If that fails, awaiting the builder is an error of kind
    /// `Unavailable`.
    ///
    /// # Examples
    ///
    /// ```
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct ModelConfig {
    ///     path: String,
    /// }
    ///
    /// #[outboard::on_start(pool = "gpu")]
    /// async fn load(config: ModelConfig) {
    ///     println!("{:?} loads {}", outboard::slot(), config.path);
    /// }
    ///
    /// # async fn example() -> Result<(), outboard::Error> {
    /// let config = ModelConfig { path: "/models/small.gguf".to_owned() };
    /// let client = outboard::Client::local()
    ///     .pool("gpu", |pool| pool.workers(2).exclusive(true).start_with(config))
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn start_with<T: Serialize + 'static>(mut self, config: T) -> Self {
        self.settings.config = Some(Arc::new(Config::new(config)));
        self
    }

    /// Sets whether no two workers of one [slot](crate::slot) are there at once; by default two may
    /// be, while one replaces the other.
    ///
    /// It is for what only one process can have: the memory of a device, a port, a lock. The
    /// worker of a slot starts when the one before is reaped. It has its slot from its start, so
    /// `#[on_start]` functions can ask for it.
    ///
    /// It costs capacity. There are no [spares](Self::spares). From a kill, a crash or the start of
    /// a recycling on, a slot is empty until its next worker is ready. For a model that is the
    /// time to load it. Workers are recycled one at a time.
    pub fn exclusive(self, exclusive: bool) -> Self {
        self.with("exclusive", Value::Flag(exclusive))
    }

    /// Sets environment variables of workers by their [slot](crate::slot), such as the device that
    /// each is to use.
    ///
    /// A process has its environment from its start, so the pool is
    /// [`exclusive`](Self::exclusive) from now on.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn example() -> Result<(), outboard::Error> {
    /// let client = outboard::Client::local()
    ///     .pool("gpu", |pool| {
    ///         pool.workers(2).env(|slot| [("CUDA_VISIBLE_DEVICES", slot.to_string())])
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn env<N, V, I>(mut self, env: impl Fn(usize) -> I + Send + Sync + 'static) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
        I: IntoIterator<Item = (N, V)>,
    {
        let env = move |slot| {
            let variables = env(slot).into_iter();
            variables.map(|(name, value)| (name.into(), value.into())).collect()
        };
        self.settings.env = Some(Env(Arc::new(env)));
        self.exclusive(true)
    }

    /// Has the workers of another program execute the tasks; by default this program is started
    /// again.
    ///
    /// It is for a process that cannot be started again as a worker: a notebook, an extension
    /// of another language, a program behind a loader. That process need not call
    /// [`init`](crate::init). The program does so first in its `main`, and links the same
    /// functions marked `#[task]`, by the same version of Outboard. They are found by name and
    /// version.
    ///
    /// A worker lists its functions when it starts. A submit of a function that the program
    /// lacks, or has in another version, is `UnknownTask` and says which.
    ///
    /// # Panics
    ///
    /// If the path is relative.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), outboard::Error> {
    /// let client = outboard::Client::local().program("/opt/app/tasks").await?;
    /// # Ok(()) }
    /// ```
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        assert!(path.is_absolute(), "`program` must be an absolute path, not {}", path.display());
        self.settings.program = Some(path);
        self
    }

    /// Adds workers that are Python, which call the functions of [`outboard::python`].
    ///
    /// They are a pool of their own named `python`, with the client's options. Set others by
    /// [`pool`](Self::pool): `pool("python", |pool| pool.memory_limit(4 << 30))`. Inside of
    /// `pool` it makes that pool's workers Python, for functions that are submitted by
    /// [`client.pool`](Client::pool).
    ///
    /// A worker starts as this program, which sets its limits and then executes the
    /// interpreter. [`start_with`](Self::start_with), [`program`](Self::program) and
    /// [`recycle_changed`](Self::recycle_changed) change nothing there, and a
    /// [`sandbox`](Self::sandbox) is refused.
    ///
    /// # Errors
    ///
    /// Awaiting the builder gives `Unavailable` without the feature `python`, and if the
    /// interpreter is missing or older than 3.10. It does so if a module of
    /// [`Python::preload`] cannot be imported.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), outboard::Error> {
    /// use outboard::{Client, Python};
    ///
    /// let python = Python::new(".venv/bin/python").path("models").preload("app.model");
    /// let client = Client::local().workers(2).python(python).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// [`outboard::python`]: https://docs.rs/outboard/latest/outboard/fn.python.html
    pub fn python(mut self, python: Python) -> Self {
        self.settings.python = Some(python);
        self
    }

    /// Sets how many threads a library may start in each worker; by default the worker's share
    /// of the cores, at least one.
    ///
    /// Without it, all workers together would start cores x workers threads. 0 leaves the
    /// number to the libraries.
    ///
    /// It sets the variables that they read: `OMP_NUM_THREADS`,
    /// `OPENBLAS_NUM_THREADS`, `MKL_NUM_THREADS`, `BLIS_NUM_THREADS`,
    /// `NUMEXPR_NUM_THREADS`, `VECLIB_MAXIMUM_THREADS`, `RAYON_NUM_THREADS`,
    /// `POLARS_MAX_THREADS` and `TOKIO_WORKER_THREADS`. One that is set in the
    /// server's environment is left as it is.
    pub fn library_threads(self, threads: usize) -> Self {
        self.with("library_threads", Value::Number(threads as u64))
    }

    /// Refuses arguments that have crashed so many workers, for so long; by default never.
    ///
    /// Crashes of one function with the same arguments count together, whoever submitted them,
    /// and each attempt counts. Each has to be within `time` of the one before. Once there are
    /// `crashes`, the task is not tried again. Others like it are
    /// [`Quarantined`](crate::ErrorKind::Quarantined) until `time` has passed, with the report
    /// of the last crash. After that all is forgotten. A worker that a signal stopped does not
    /// count.
    ///
    /// Arguments are compared by their bytes. Those of the last 1,024 crashes are kept, and
    /// 64 MiB in all; larger ones are never refused.
    ///
    /// # Panics
    ///
    /// If `crashes` is 0 or `time` is zero.
    pub fn quarantine(self, crashes: u32, time: Duration) -> Self {
        let builder = self.with("quarantine", Value::Number(crashes.into()));
        builder.with("quarantine_time", Value::Time(time))
    }

    /// Sets how long a worker may take from its start to [`init`](crate::init); by default ten
    /// seconds.
    ///
    /// It is killed after that. Most likely `init` is not the first thing that `main` does.
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.with("start_timeout", Value::Time(timeout))
    }

    /// Sets how long a worker may take from [`init`](crate::init) to its first task; by default
    /// five minutes.
    ///
    /// That is the time for the setup of [`init_with`](crate::init_with) and for functions
    /// marked `#[on_start]`. The worker is killed after that, and its start has failed.
    pub fn warm_up_timeout(self, timeout: Duration) -> Self {
        self.with("warm_up_timeout", Value::Time(timeout))
    }
}

impl IntoFuture for LocalBuilder {
    type Output = Result<Client, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(Client::start_local(self.settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::settings::OPTIONS;
    use crate::engine::url::Url;

    /// For each option of the table its example, as the builder has it.
    fn examples() -> [(&'static str, LocalBuilder); 36] {
        let (local, second) = (Client::local, Duration::from_secs(1));
        let default = crate::sched::quarantine::Terms::default();
        let python = || Python::new("python3");
        [
            ("workers", local().workers(4)),
            ("idle", local().idle(300 * second)),
            ("spares", local().spares(2)),
            ("queue_tasks", local().queue_tasks(1_000)),
            ("queue_bytes", local().queue_bytes(64 << 20)),
            ("max_payload", local().max_payload(16 << 20)),
            ("max_wait", local().max_wait(second)),
            ("lifo_above", local().lifo_above(100)),
            ("ageing", local().ageing(10 * second)),
            ("tenant_limit", local().tenant_limit(2)),
            ("tenant_queue", local().tenant_queue(100)),
            ("tenant_reserve", local().tenant_reserve(false)),
            ("tenant_kills", local().tenant_kills(5)),
            ("recycle_after_tasks", local().recycle_after_tasks(1_000)),
            ("recycle_after", local().recycle_after(12 * 3_600 * second)),
            ("recycle_above", local().recycle_above(256 << 20)),
            ("recycle_changed", local().recycle_changed(true)),
            ("niceness", local().niceness(5)),
            ("spin", local().spin(Duration::from_micros(20))),
            ("memory_limit", local().memory_limit(512 << 20)),
            ("cpu_limit", local().cpu_limit(9 * second)),
            ("stack_size", local().stack_size(1 << 20)),
            ("open_files", local().open_files(64)),
            ("sandbox", local().sandbox(Sandbox::new().no_network().no_exec())),
            ("output", local().output(WorkerOutput::events())),
            ("lazy", local().lazy()),
            ("exclusive", local().exclusive(true)),
            ("program", local().program("/opt/app/tasks")),
            ("python", local().python(Python::new(".venv/bin/python"))),
            ("python.path", local().python(python().path("models"))),
            ("python.preload", local().python(python().preload("app.model"))),
            ("library_threads", local().library_threads(2)),
            ("quarantine", local().quarantine(5, default.time)),
            ("quarantine_time", local().quarantine(default.crashes, 3_600 * second)),
            ("start_timeout", local().start_timeout(30 * second)),
            ("warm_up_timeout", local().warm_up_timeout(60 * second)),
        ]
    }

    #[test]
    fn a_url_sets_what_the_builder_sets() {
        let names = examples().map(|(name, _)| name);
        assert_eq!(names, OPTIONS.iter().map(|option| option.name).collect::<Vec<_>>()[..]);
        let shown = |settings: &Settings| format!("{settings:?}");
        for (option, (name, builder)) in OPTIONS.iter().zip(examples()) {
            let mut url = Url::parse(&format!("local://?{name}={}", option.example)).unwrap();
            let settings = url.settings("local").unwrap();
            assert_eq!(shown(&settings), shown(&builder.settings), "{name}");
            // A machine may have four cores.
            let default = Settings { workers: 3.into(), ..Settings::default() };
            let workers = if name == "workers" { 4 } else { 3 };
            let from = Settings { workers: workers.into(), ..settings };
            assert_ne!(shown(&from), shown(&default), "{name}");
        }
    }

    #[test]
    fn a_payload_has_an_end() {
        let settings = Client::local().max_payload(usize::MAX).settings;
        assert_eq!(settings.limits.payload, MOST_PAYLOAD);
    }
}

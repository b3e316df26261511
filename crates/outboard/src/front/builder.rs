//! How an engine on this machine is set up: by a builder, or by a URL.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use crate::engine::option::Value;
use crate::engine::settings::{MOST_PAYLOAD, Settings};
use crate::error::Error;
use crate::front::client::Client;

/// Sets up worker processes on this machine; await it to start them.
///
/// Made by [`Client::local`]. Awaiting returns when the first worker is up.
///
/// # Errors
///
/// Awaiting gives `Unavailable` if [`init`](crate::init) did not run in this
/// process, if the platform has no worker processes (use `inline://`), outside
/// a tokio runtime, or if workers die at their start; the error says which.
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

    /// How many workers; by default one for each core.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn workers(self, workers: usize) -> Self {
        self.with("workers", Value::Number(workers as u64))
    }

    /// How many more workers stand by, ready to take the place of one that is
    /// killed, lost or recycled; by default one. A spare costs what a worker
    /// costs while it is idle: a whole model, if workers load one.
    pub fn spares(self, spares: usize) -> Self {
        self.with("spares", Value::Number(spares as u64))
    }

    /// How many tasks may wait; by default 16,384. An idle worker always
    /// accepts.
    pub fn queue_tasks(self, tasks: usize) -> Self {
        self.with("queue_tasks", Value::Number(tasks as u64))
    }

    /// How many bytes of encoded arguments, keys and names of tenants may be held; by
    /// default 256 MiB.
    pub fn queue_bytes(self, bytes: usize) -> Self {
        self.with("queue_bytes", Value::Number(bytes as u64))
    }

    /// The most bytes of the encoded arguments of one task, and of its encoded
    /// result; by default 128 MiB, at most 2 GiB.
    pub fn max_payload(self, bytes: usize) -> Self {
        self.with("max_payload", Value::Number(bytes.min(MOST_PAYLOAD) as u64))
    }

    /// How many workers one tenant may hold at once; by default all.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn tenant_limit(self, workers: usize) -> Self {
        self.with("tenant_limit", Value::Number(workers as u64))
    }

    /// How many tasks of one tenant may wait; by default as many as there is
    /// room for. Beyond that its submits are `Overloaded`, and
    /// [`is_tenant_limited`](Error::is_tenant_limited).
    pub fn tenant_queue(self, tasks: usize) -> Self {
        self.with("tenant_queue", Value::Number(tasks as u64))
    }

    /// The longest that a task may be expected to wait for a worker; by default
    /// there is no such bound. Beyond that its submit is `Overloaded`. Unlike a
    /// timeout, this refuses before anyone has waited; an idle worker always
    /// accepts.
    ///
    /// Expected is: what is left of what runs, and the work that goes before this
    /// task by priority and fair share, spread over the workers. A waiting task
    /// counts as long as tasks ran of late: those of its function where that is
    /// `#[task(steady)]`, and otherwise all that are not. A run time loses half
    /// its weight in ten seconds.
    pub fn max_wait(self, wait: Duration) -> Self {
        self.with("max_wait", Value::Time(wait))
    }

    /// Answers newest first while more than so many tasks of a tenant wait and
    /// its oldest has waited for more than 100 ms; by default never.
    ///
    /// In an overload that lasts, first in, first out gives every answer late, to
    /// people who have mostly gone; newest first gives some of them in time.
    /// Tasks without a [timeout](Client::timeout) keep their order. Tenants'
    /// shares are as before.
    pub fn lifo_above(self, tasks: usize) -> Self {
        self.with("lifo_above", Value::Number(tasks as u64))
    }

    /// Whether one worker is kept free of a tenant's tasks while another tenant
    /// was seen in the last ten seconds; by default yes. A long task of one then
    /// never keeps a short one of another waiting, and a tenant alone still has
    /// all workers.
    pub fn tenant_reserve(self, reserve: bool) -> Self {
        self.with("tenant_reserve", Value::Flag(reserve))
    }

    /// How many workers one tenant may cost in a second by tasks that were
    /// stopped while they ran. By default as many as take no more than a quarter
    /// of the workers' time to replace, by the start-up times measured: hundreds,
    /// where a worker is up in milliseconds, and one in a while where it loads a
    /// model first. What is beyond that runs on, its result is thrown away, and
    /// it is stopped when the tenant has a kill left again.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn tenant_kills(self, per_second: u32) -> Self {
        self.with("tenant_kills", Value::Number(per_second.into()))
    }

    /// Replaces a worker after it has executed so many tasks, or up to a fifth
    /// fewer, so that workers which started together are not replaced together;
    /// by default never. A replacement is ready before the old worker leaves,
    /// and what that one runs is finished.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn recycle_after_tasks(self, tasks: u64) -> Self {
        self.with("recycle_after_tasks", Value::Number(tasks))
    }

    /// Replaces a worker that is so old, or up to a fifth younger; by default
    /// never. As [`recycle_after_tasks`](Self::recycle_after_tasks).
    ///
    /// # Panics
    ///
    /// If it is under a second: then workers would do little but start.
    pub fn recycle_after(self, age: Duration) -> Self {
        self.with("recycle_after", Value::Time(age))
    }

    /// Replaces a worker that has more memory of its own than this, in bytes,
    /// after a task; by default never. That is what is resident, without what a
    /// file backs and what is shared: neither the program's code nor payloads
    /// count. It is measured after tasks that ran for a millisecond or more, and
    /// after every 1024th. As
    /// [`recycle_after_tasks`](Self::recycle_after_tasks).
    pub fn recycle_above(self, memory_bytes: u64) -> Self {
        self.with("recycle_above", Value::Number(memory_bytes))
    }

    /// Replaces a worker after a task that changed its process; by default not, for most of
    /// that is set back before the next task.
    ///
    /// Set back are `alarm` and the timers of CPU time, the signal mask, umask, working
    /// directory, environment, limits, and what the process does at signals. A worker looks
    /// after each task that runs for 0.2 ms or longer, and at least once in a millisecond;
    /// after shorter ones until their function has left the process as it was 64 times. A
    /// worker whose task has changed its user, or lowered a hard limit, is replaced in any
    /// case.
    ///
    /// Not noticed and not set back are threads, processes and open descriptors that a task
    /// leaves, timers made by `timer_create`, the root directory, namespaces, niceness, the
    /// locale, statics, and handlers for faults such as SIGSEGV. What tasks share, such as a
    /// handler for a signal, belongs into `#[on_start]`: that stays.
    pub fn recycle_changed(self, recycle: bool) -> Self {
        self.with("recycle_changed", Value::Flag(recycle))
    }

    /// The workers' niceness: how far they stand back for other processes,
    /// from 0 to 19; by default 10.
    ///
    /// # Panics
    ///
    /// If it is above 19.
    pub fn niceness(self, niceness: u8) -> Self {
        self.with("niceness", Value::Number(niceness.into()))
    }

    /// The most memory that a worker may have, in bytes; by default there is no
    /// such limit. A task that wants more ends as
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory), and no other with it.
    ///
    /// What counts is memory that the worker's process can write to and has to
    /// itself (`RLIMIT_DATA`), whether it has touched it or not: its heap, but not
    /// what wasmtime or jemalloc only reserve. An allocation beyond it fails, which
    /// ends a Rust program unless that asked for it (`try_reserve`). Where the
    /// server may make control groups (version 2, beside its own one: systemd's
    /// `Delegate=memory` with `DelegateSubgroup=`), each worker has one with the
    /// same limit and without swap: it also covers processes that a task starts,
    /// and shared memory.
    ///
    /// A worker is replaced, as with [`recycle_after_tasks`](Self::recycle_after_tasks),
    /// when half of what it had left before its first task is gone after another one,
    /// so that none pays for what others left behind. Where
    /// [`recycle_above`](Self::recycle_above) is set, that decides instead.
    ///
    /// # Panics
    ///
    /// If it is under 16 MiB, which a worker needs for itself.
    pub fn memory_limit(self, bytes: u64) -> Self {
        self.with("memory_limit", Value::Number(bytes))
    }

    /// The most CPU time of one task, on all threads of its worker together; by
    /// default there is no such limit. A task that wants more is `WorkerLost` by
    /// SIGXCPU, unless it handles that signal.
    ///
    /// The system counts whole seconds (`RLIMIT_CPU`), so this is rounded up, and
    /// a task may have up to a second more. Processes that it starts count for
    /// themselves. Unlike a [timeout](Client::timeout) it does not tick while a
    /// task waits: for a core, a disk or a lock.
    ///
    /// # Panics
    ///
    /// If it is zero.
    pub fn cpu_limit(self, time: Duration) -> Self {
        self.with("cpu_limit", Value::Time(time))
    }

    /// The size of the stack that tasks run on, in bytes; by default that of the
    /// worker's main thread (`ulimit -s`, mostly 8 MiB). A task that wants more
    /// takes its worker down, by a signal that is said in `WorkerLost`.
    ///
    /// Tasks then have a thread of their own, for the system fixes where the main
    /// thread's stack ends when a program starts. What the setup of
    /// [`init_with`](crate::init_with) left in thread-locals is not seen there.
    ///
    /// # Panics
    ///
    /// If it is under 64 KiB.
    pub fn stack_size(self, bytes: usize) -> Self {
        self.with("stack_size", Value::Number(bytes as u64))
    }

    /// How many files and sockets a worker may have open (`RLIMIT_NOFILE`), with
    /// a handful that it needs for itself; by default as many as the server. A
    /// task that wants more gets the system's error. No more than the server may
    /// have at most.
    ///
    /// # Panics
    ///
    /// If it is under 16.
    pub fn open_files(self, files: u64) -> Self {
        self.with("open_files", Value::Number(files))
    }

    /// How many threads a library may start for itself in each worker; by default
    /// as many as there are cores for a worker, at least one, so that all workers
    /// together do not start cores x workers. 0 leaves that to the libraries.
    ///
    /// It is said in the variables that they read: `OMP_NUM_THREADS`,
    /// `OPENBLAS_NUM_THREADS`, `MKL_NUM_THREADS`, `BLIS_NUM_THREADS`,
    /// `NUMEXPR_NUM_THREADS`, `VECLIB_MAXIMUM_THREADS`, `RAYON_NUM_THREADS`,
    /// `POLARS_MAX_THREADS` and `TOKIO_WORKER_THREADS`. One that is set in the
    /// server's environment is left as it is.
    pub fn library_threads(self, threads: usize) -> Self {
        self.with("library_threads", Value::Number(threads as u64))
    }

    /// Refuses arguments that took down so many workers, for so long; by default
    /// nothing is refused.
    ///
    /// A crash counts whoever submitted the task, and so does that of each of its
    /// attempts. Once there were so many of one function with the same arguments,
    /// each within `time` of the one before, the task is not tried again, and
    /// others like it are [`Quarantined`](crate::ErrorKind::Quarantined) until
    /// `time` has passed; the error has the report of the last crash. After that
    /// all is forgotten. A worker that a signal stopped does not count.
    ///
    /// Arguments are compared by their bytes. Those of the last 1,024 crashes are
    /// kept, and 64 MiB in all; larger ones are never refused.
    ///
    /// # Panics
    ///
    /// If `crashes` is 0 or `time` is zero.
    pub fn quarantine(self, crashes: u32, time: Duration) -> Self {
        let builder = self.with("quarantine", Value::Number(crashes.into()));
        builder.with("quarantine_time", Value::Time(time))
    }

    /// How long a worker may take from its start to [`init`](crate::init); by
    /// default ten seconds. It is killed after that: most likely `init` is not
    /// the first thing that `main` does.
    pub fn start_timeout(self, timeout: Duration) -> Self {
        self.with("start_timeout", Value::Time(timeout))
    }

    /// How long a worker may take from [`init`](crate::init) to its first task:
    /// for the setup of [`init_with`](crate::init_with), and what runs
    /// `#[on_start]`. By default five minutes, for models that are loaded from a
    /// slow disk. It is killed after that, and its start has failed.
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
    fn examples() -> [(&'static str, LocalBuilder); 25] {
        let (local, second) = (Client::local, Duration::from_secs(1));
        let default = crate::sched::quarantine::Terms::default();
        [
            ("workers", local().workers(4)),
            ("spares", local().spares(2)),
            ("queue_tasks", local().queue_tasks(1_000)),
            ("queue_bytes", local().queue_bytes(64 << 20)),
            ("max_payload", local().max_payload(16 << 20)),
            ("max_wait", local().max_wait(second)),
            ("lifo_above", local().lifo_above(100)),
            ("tenant_limit", local().tenant_limit(2)),
            ("tenant_queue", local().tenant_queue(100)),
            ("tenant_reserve", local().tenant_reserve(false)),
            ("tenant_kills", local().tenant_kills(5)),
            ("recycle_after_tasks", local().recycle_after_tasks(1_000)),
            ("recycle_after", local().recycle_after(12 * 3_600 * second)),
            ("recycle_above", local().recycle_above(256 << 20)),
            ("recycle_changed", local().recycle_changed(true)),
            ("niceness", local().niceness(5)),
            ("memory_limit", local().memory_limit(512 << 20)),
            ("cpu_limit", local().cpu_limit(9 * second)),
            ("stack_size", local().stack_size(1 << 20)),
            ("open_files", local().open_files(64)),
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
            let default = Settings { workers: 3, ..Settings::default() };
            let from = Settings { workers: if name == "workers" { 4 } else { 3 }, ..settings };
            assert_ne!(shown(&from), shown(&default), "{name}");
        }
    }

    #[test]
    fn a_payload_has_an_end() {
        let settings = Client::local().max_payload(usize::MAX).settings;
        assert_eq!(settings.limits.payload, MOST_PAYLOAD);
    }
}

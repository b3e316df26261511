//! How an engine on this machine is set up: by a builder, or by a URL.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use crate::engine::settings::{LEAST_FILES, LEAST_MEMORY, LEAST_STACK, Settings};
use crate::error::Error;
use crate::front::client::Client;
use crate::sched::quarantine::Terms;

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
    /// How many workers; by default one for each core.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "at least one worker is needed");
        self.settings.workers = workers;
        self
    }

    /// How many more workers stand by, ready to take the place of one that is
    /// killed, lost or recycled; by default one. A spare costs what a worker
    /// costs while it is idle: a whole model, if workers load one.
    pub fn spares(mut self, spares: usize) -> Self {
        self.settings.spares = spares;
        self
    }

    /// How many tasks may wait; by default 16,384. An idle worker always
    /// accepts.
    pub fn queue_tasks(mut self, tasks: usize) -> Self {
        self.settings.limits.queue.tasks = tasks;
        self
    }

    /// How many bytes of encoded arguments may be held; by default 256 MiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.queue.bytes = bytes;
        self
    }

    /// The most bytes of the encoded arguments of one task, and of its encoded
    /// result; by default 128 MiB, at most 2 GiB.
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.settings.limits.payload = bytes.min(2 << 30);
        self
    }

    /// How many workers one tenant may hold at once; by default all.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn tenant_limit(mut self, workers: usize) -> Self {
        assert!(workers > 0, "a tenant needs at least one worker");
        self.settings.limits.tenants.tenant_limit = workers;
        self
    }

    /// How many tasks of one tenant may wait; by default as many as there is
    /// room for. Beyond that its submits are `Overloaded`, and
    /// [`is_tenant_limited`](Error::is_tenant_limited).
    pub fn tenant_queue(mut self, tasks: usize) -> Self {
        self.settings.limits.tenants.tenant_queue = tasks;
        self
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
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.settings.limits.tenants.max_wait = Some(wait);
        self
    }

    /// Answers newest first while more than so many tasks of a tenant wait and
    /// its oldest has waited for more than 100 ms; by default never.
    ///
    /// In an overload that lasts, first in, first out gives every answer late, to
    /// people who have mostly gone; newest first gives some of them in time.
    /// Tasks without a [timeout](Client::timeout) keep their order. Tenants'
    /// shares are as before.
    pub fn lifo_above(mut self, tasks: usize) -> Self {
        self.settings.limits.tenants.lifo_above = tasks;
        self
    }

    /// Whether one worker is kept free of a tenant's tasks while another tenant
    /// was seen in the last ten seconds; by default yes. A long task of one then
    /// never keeps a short one of another waiting, and a tenant alone still has
    /// all workers.
    pub fn tenant_reserve(mut self, reserve: bool) -> Self {
        self.settings.limits.tenants.reserve = reserve;
        self
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
    pub fn tenant_kills(mut self, per_second: u32) -> Self {
        assert!(per_second > 0, "a task that never ends must be stopped some time");
        self.settings.limits.tenant_kills = Some(per_second);
        self
    }

    /// Replaces a worker after it has executed so many tasks, or up to a fifth
    /// fewer, so that workers which started together are not replaced together;
    /// by default never. A replacement is ready before the old worker leaves,
    /// and what that one runs is finished.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn recycle_after_tasks(mut self, tasks: u64) -> Self {
        assert!(tasks > 0, "a worker must be allowed a task");
        self.settings.recycling.tasks = Some(tasks);
        self
    }

    /// Replaces a worker that is so old, or up to a fifth younger; by default
    /// never. As [`recycle_after_tasks`](Self::recycle_after_tasks).
    ///
    /// # Panics
    ///
    /// If it is under a second: then workers would do little but start.
    pub fn recycle_after(mut self, age: Duration) -> Self {
        assert!(age >= Duration::from_secs(1), "a worker must be allowed a second");
        self.settings.recycling.age = Some(age);
        self
    }

    /// Replaces a worker that has more memory of its own than this, in bytes,
    /// after a task; by default never. That is what is resident, without what a
    /// file backs and what is shared: neither the program's code nor payloads
    /// count. It is measured after tasks that ran for a millisecond or more, and
    /// after every 1024th. As
    /// [`recycle_after_tasks`](Self::recycle_after_tasks).
    pub fn recycle_above(mut self, memory_bytes: u64) -> Self {
        self.settings.recycling.memory_bytes = Some(memory_bytes);
        self
    }

    /// The workers' niceness: how far they stand back for other processes,
    /// from 0 to 19; by default 10.
    ///
    /// # Panics
    ///
    /// If it is above 19.
    pub fn niceness(mut self, niceness: u8) -> Self {
        assert!(niceness <= 19, "niceness goes from 0 to 19");
        self.settings.niceness = niceness;
        self
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
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        assert!(bytes >= LEAST_MEMORY, "a worker needs 16 MiB for itself");
        self.settings.worker.memory_bytes = Some(bytes);
        self
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
    pub fn cpu_limit(mut self, time: Duration) -> Self {
        assert!(!time.is_zero(), "a task needs CPU time");
        self.settings.worker.cpu_s = Some(time.as_secs() + u64::from(time.subsec_nanos() > 0));
        self
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
    pub fn stack_size(mut self, bytes: usize) -> Self {
        assert!(bytes >= LEAST_STACK, "a task needs 64 KiB of stack");
        self.settings.worker.stack_bytes = Some(bytes as u64);
        self
    }

    /// How many files and sockets a worker may have open (`RLIMIT_NOFILE`), with
    /// a handful that it needs for itself; by default as many as the server. A
    /// task that wants more gets the system's error. No more than the server may
    /// have at most.
    ///
    /// # Panics
    ///
    /// If it is under 16.
    pub fn open_files(mut self, files: u64) -> Self {
        assert!(files >= LEAST_FILES, "a worker needs 16 files for itself");
        self.settings.worker.open_files = Some(files);
        self
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
    pub fn library_threads(mut self, threads: usize) -> Self {
        self.settings.library_threads = Some(threads);
        self
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
    pub fn quarantine(mut self, crashes: u32, time: Duration) -> Self {
        assert!(crashes > 0, "what never crashed cannot be told apart");
        assert!(!time.is_zero(), "a quarantine takes time");
        self.settings.limits.quarantine = Some(Terms { crashes, time });
        self
    }

    /// How long a worker may take from its start to [`init`](crate::init); by
    /// default ten seconds. It is killed after that: most likely `init` is not
    /// the first thing that `main` does.
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.settings.start_timeout = timeout;
        self
    }

    /// How long a worker may take from [`init`](crate::init) to its first task:
    /// for the setup of [`init_with`](crate::init_with), and what runs
    /// `#[on_start]`. By default five minutes, for models that are loaded from a
    /// slow disk. It is killed after that, and its start has failed.
    pub fn warm_up_timeout(mut self, timeout: Duration) -> Self {
        self.settings.warm_up_timeout = timeout;
        self
    }
}

impl IntoFuture for LocalBuilder {
    type Output = Result<Client, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(Client::start_local(self.settings))
    }
}

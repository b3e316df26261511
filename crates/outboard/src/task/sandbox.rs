//! What a worker may no longer do once its start is over.

use std::ffi::OsString;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What workers may no longer do after `#[on_start]`, for tasks on untrusted input.
///
/// Set it with [`LocalBuilder::sandbox`](crate::LocalBuilder::sandbox), or in a URL:
/// `local://?sandbox=no_network,no_exec,read_only:/models`. It needs Linux 6.2 and the
/// feature `sandbox`.
///
/// Every sandbox has these rules; the methods add others. They hold for all threads of a
/// worker, also those that `#[on_start]` has started, and for the processes that it forks.
/// Nothing lifts them: a worker is replaced by one with the same rules.
///
/// Workers that are [Python](crate::Python) are in it from their start, imports included. They
/// cannot have [`no_exec`](Self::no_exec) and [`read_only`](Self::read_only).
///
/// - Writing: no file is created, written, truncated, renamed or removed, unless
///   [`read_write`](Self::read_write) names it. Owners, modes and extended attributes of
///   files stay.
/// - Privileges: executing a setuid program gives none. No namespace is made or entered. A
///   worker of root loses the capabilities over other processes, devices and the kernel.
/// - Other processes: no `ptrace`, no reading of their memory, no change of their limits, no
///   System V or POSIX message queues and shared memory.
/// - The kernel: no mounts, modules, `bpf`, `io_uring`, `userfaultfd`, `perf_event_open` or
///   keyrings, and no change of the clock.
///
/// A refused call gives `EPERM` or `EACCES`, and the task goes on. Threads, memory, the
/// descriptors that are open, `memfd_create` and temporary files in directories of
/// `read_write` work as before.
///
/// # What it does not stop
///
/// - CPU time and memory: set a [timeout](crate::Client::timeout),
///   [`cpu_limit`](crate::LocalBuilder::cpu_limit) and
///   [`memory_limit`](crate::LocalBuilder::memory_limit).
/// - Descriptors that `#[on_start]` has opened, such as a connection to a database.
/// - What `#[on_start]` and the setup of [`init_with`](crate::init_with) do, and programs
///   that they start.
/// - A task that reads what an earlier task left in its worker's memory, which may be
///   another tenant's. A false answer of such a worker. [`recycle_after_tasks(1)`]
///   separates tasks.
/// - Reading of all files that the worker's user may read, without
///   [`read_only`](Self::read_only). Names and metadata of files are seen in any case.
/// - Changes of the times of files, and of modes where `read_write` names something: the
///   kernel has no rule for directories there.
/// - Signals to other processes of the same user, without [`no_exec`](Self::no_exec), and
///   changes of their priority and affinity.
/// - Side channels, such as the processor's caches, and faults of the kernel.
///
/// [`recycle_after_tasks(1)`]: crate::LocalBuilder::recycle_after_tasks
///
/// # Examples
///
/// ```
/// use outboard::Sandbox;
///
/// let locked = Sandbox::new().no_network().no_exec().read_only(["/models"]);
/// # let _ = locked;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a sandbox does nothing until a client has it"]
pub struct Sandbox {
    pub(crate) no_network: bool,
    pub(crate) no_exec: bool,
    /// `None` for all files.
    pub(crate) readable: Option<Vec<OsString>>,
    pub(crate) writable: Vec<OsString>,
    pub(crate) best_effort: bool,
}

impl Sandbox {
    /// A sandbox with the rules that every one has.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses sockets of all kinds: TCP, UDP, Unix, netlink.
    ///
    /// A pair of connected Unix sockets, as runtimes use within a process, is allowed.
    pub fn no_network(mut self) -> Self {
        self.no_network = true;
        self
    }

    /// Refuses to execute programs, and to signal other processes.
    ///
    /// A fork goes on in the program that it is. It cannot signal itself: `abort` ends it by
    /// another signal than SIGABRT.
    pub fn no_exec(mut self) -> Self {
        self.no_exec = true;
        self
    }

    /// Restricts reading to these files and directories, and those of
    /// [`read_write`](Self::read_write); called again, it adds to them.
    ///
    /// The worker's own needs stay readable: its program, `/proc/self`, and `/dev/null`,
    /// `zero`, `full`, `random` and `urandom`. What a library opens later has to be named: time
    /// zones, fonts, certificates, shared libraries of `dlopen`.
    ///
    /// # Panics
    ///
    /// If a path is not absolute.
    pub fn read_only<P: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.readable.get_or_insert_default().extend(absolute(paths));
        self
    }

    /// Allows reading and writing of these files and directories, and of what is below them;
    /// called again, it adds to them. A directory has to exist when a worker starts.
    ///
    /// # Panics
    ///
    /// If a path is not absolute.
    pub fn read_write<P: AsRef<Path>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.writable.extend(absolute(paths));
        self
    }

    /// Does without rules that the kernel lacks, with one warning in the log. By default the
    /// client's start then fails, and the error names them.
    pub fn best_effort(mut self) -> Self {
        self.best_effort = true;
        self
    }

    /// Reads the form that URLs have.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.split(',').try_fold(Self::new(), |sandbox, word| {
            let path = |path: &str| Path::new(path).is_absolute().then(|| [path.to_owned()]);
            Some(match word.split_once(':') {
                Some(("read_only", place)) => sandbox.read_only(path(place)?),
                Some(("read_write", place)) => sandbox.read_write(path(place)?),
                Some(_) => return None,
                None => match word {
                    "1" => sandbox,
                    "no_network" => sandbox.no_network(),
                    "no_exec" => sandbox.no_exec(),
                    "best_effort" => sandbox.best_effort(),
                    _ => return None,
                },
            })
        })
    }
}

fn absolute<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> impl Iterator<Item = OsString> {
    paths.into_iter().map(|path| {
        let path = path.as_ref();
        assert!(path.is_absolute(), "a sandbox needs absolute paths, not `{}`", path.display());
        path.as_os_str().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_the_builder_says() {
        let text = "no_network,no_exec,read_only:/a,read_only:/b c,read_write:/d,best_effort";
        let built = Sandbox::new().no_network().no_exec().read_only(["/a", "/b c"]);
        assert_eq!(Sandbox::parse(text), Some(built.read_write(["/d"]).best_effort()));
        assert_eq!(Sandbox::parse("1"), Some(Sandbox::new()));
        for wrong in
            ["", "0", "no_network,", "no_exec:/a", "read_only", "read_only:", "read_only:a"]
        {
            assert_eq!(Sandbox::parse(wrong), None, "{wrong}");
        }
    }
}

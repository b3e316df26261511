//! The report of a worker process that ended: how, its last lines of stderr, and what
//! it was doing.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line::write_line;

/// How a worker process ended, and what it was doing.
///
/// Serialized without `task` and the fields after it, which only the server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerLoss {
    /// The number of the worker, as in its log lines.
    pub worker: usize,
    /// The process that it was.
    pub pid: u32,
    /// What ended it.
    pub cause: Option<Cause>,
    /// Which memory ran out, if that ended it.
    pub shortage: Option<Shortage>,
    /// The last lines that it wrote to stderr, oldest first.
    pub stderr: Vec<String>,
    /// The most resident memory, in bytes, that was seen of the process.
    pub memory_bytes: Option<u64>,
    /// Resident memory, in bytes, before the task: as of the last task that ran
    /// for a millisecond or more, or of the worker's start.
    pub memory_at_start_bytes: Option<u64>,
    /// How long it had been executing the task.
    pub run_time: Option<Duration>,
    /// CPU time that the process used for the task.
    pub cpu_time: Option<Duration>,
    /// The task function.
    #[serde(skip)]
    pub task: &'static str,
    /// Which execution of the task it was, counting from 1.
    #[serde(skip)]
    pub attempt: u32,
    /// How many bytes the encoded arguments had.
    #[serde(skip)]
    pub argument_bytes: usize,
    /// A digest of the encoded arguments, to recognise them by: equal for equal
    /// arguments within one build of a program, and not for security.
    #[serde(skip)]
    pub argument_digest: u64,
}

/// Which memory of a worker process ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Shortage {
    /// An allocation failed, at [`memory_limit`](crate::LocalBuilder::memory_limit)
    /// or because it is more than any machine has, and the program ended itself.
    ///
    /// Rust's runtime, or that of C++, wrote so to stderr just before the process
    /// aborted. A task that writes the same line and then aborts gets this kind too.
    Allocation {
        /// How many bytes it asked for, where that was said.
        bytes: Option<u64>,
    },
    /// The system killed it at `memory_limit`, which its control group has.
    Limit,
    /// The system killed it because the machine, or the container, has no more.
    System,
}

/// What ended a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// A signal, by its number.
    Signal(i32),
    /// The process exited by itself with this code.
    Exited(i32),
    /// A signal such as SIGSTOP held it for a second, so it was killed.
    Stopped,
    /// It did not come to [`init`](crate::init) in time, so it was killed.
    Silent,
    /// It came to `init`, but was not ready for a task in time, so it was killed.
    Unready,
    /// It kept running for a second after its task was cancelled, although it had said
    /// that the task was done; so it was killed.
    Stuck,
    /// It violated the protocol between server and worker, so it was killed.
    Protocol,
    /// It closed its connection to the server and lived on, so it was killed.
    HungUp,
    /// It is another build of this program than the server, so it was killed.
    OtherBuild,
    /// The cluster's scheduler cannot be reached: what became of the worker is not known.
    Scheduler,
    /// The cluster lost it, or lost several workers that had the task, or has had no
    /// worker for a while that knows the function.
    Cluster,
}

impl fmt::Display for WorkerLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.shortage.is_some() { "ran out of memory" } else { "was lost" };
        match self.pid {
            // A cluster does not always say.
            0 => write!(f, "a worker {how}")?,
            pid => write!(f, "worker {} (pid {pid}) {how}", self.worker)?,
        }
        if !self.task.is_empty() {
            write!(f, " in `{}`", self.task)?;
        }
        if let Some(shortage) = self.shortage {
            write!(f, ": {shortage}")?;
        }
        let sign = if self.shortage.is_some() { "," } else { ":" };
        match self.cause {
            Some(cause) => write!(f, "{sign} {cause}")?,
            None => write!(f, "{sign} how it ended is unknown")?,
        }
        if let Some(bytes) = self.memory_bytes {
            write!(f, "; memory {:.1} MiB", bytes as f64 / f64::from(1 << 20))?;
        }
        match self.last_words() {
            Some(line) => write_line(f, format_args!("; on stderr: {line}")),
            None => Ok(()),
        }
    }
}

impl WorkerLoss {
    /// The line of stderr that says most: a last one of ours, or what a panic
    /// that aborted said, and otherwise the last one.
    fn last_words(&self) -> Option<&str> {
        let lines = &self.stderr;
        if let Some(ours) = lines.last().filter(|line| line.starts_with(OUR_WORDS)) {
            return Some(ours);
        }
        let panic = lines.iter().rposition(|line| line.contains(" panicked at "));
        let line = panic.and_then(|at| lines.get(at + 1)).or(of_python(lines)).or(lines.last());
        line.map(|line| line.trim_start())
    }
}

/// Where Python was when a signal ended it: its traceback has the innermost frame first.
fn of_python(lines: &[String]) -> Option<&String> {
    let fatal = lines.iter().rposition(|line| line.starts_with("Fatal Python error: "))?;
    lines[fatal..].iter().find(|line| line.starts_with("  File "))
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allocation { bytes: Some(bytes) } => {
                write!(f, "an allocation of {bytes} bytes failed")
            }
            Self::Allocation { bytes: None } => f.write_str("an allocation failed"),
            Self::Limit => f.write_str("it was at its memory limit"),
            Self::System => f.write_str("the machine or container has no more"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(SIGXCPU) => f.write_str("killed by SIGXCPU, at its limit of CPU time"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {number}"),
            },
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Stopped => f.write_str("killed by us: a signal stopped it for 1 s"),
            Self::Silent => {
                f.write_str("killed by us: it did not reach `outboard::init()` in time")
            }
            Self::Unready => f.write_str("killed by us: its warm-up did not end in time"),
            Self::Stuck => {
                f.write_str("killed by us: it kept running for 1 s after its task was cancelled")
            }
            Self::Protocol => f.write_str("killed by us: it violated the worker protocol"),
            Self::HungUp => f.write_str("killed by us: it closed its connection to the server"),
            Self::OtherBuild => {
                f.write_str("killed by us: it is another build of this program; restart the server")
            }
            Self::Scheduler => f.write_str("its scheduler cannot be reached"),
            Self::Cluster => f.write_str("the cluster does not have it any more"),
        }
    }
}

/// What a process gets that has used up its CPU time.
const SIGXCPU: i32 = 24;

/// How a worker begins what it has to say before it exits.
pub(crate) const OUR_WORDS: &str = "outboard: ";

/// The names of the signals that end worker processes, as on Linux.
fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_worker_says_how_and_with_which_last_words() {
        let lost = WorkerLoss {
            worker: 2,
            pid: 7,
            cause: Some(Cause::Signal(11)),
            stderr: vec!["first".into(), "last".into()],
            memory_bytes: Some(3 << 20),
            task: "pages::render",
            ..WorkerLoss::default()
        };
        assert_eq!(
            lost.to_string(),
            "worker 2 (pid 7) was lost in `pages::render`: killed by SIGSEGV; memory 3.0 MiB; on stderr: last"
        );
    }

    #[test]
    fn a_worker_that_gave_up_says_so_itself() {
        let said = ["thread 'main' panicked at src/main.rs:3:5:", "no", "outboard: `load` failed"];
        let lost = WorkerLoss { stderr: said.map(String::from).into(), ..WorkerLoss::default() };
        assert!(lost.to_string().ends_with("on stderr: outboard: `load` failed"), "{lost}");
    }

    #[test]
    fn where_python_was_says_more_than_who_called_it() {
        let said = [
            "Fatal Python error: Segmentation fault",
            "",
            "Current thread 0x7f (most recent call first):",
            "  File \"model.py\", line 3 in load",
            "  File \"<outboard>\", line 4 in execute",
        ];
        let lost = WorkerLoss { stderr: said.map(String::from).into(), ..WorkerLoss::default() };
        let shown = lost.to_string();
        assert!(shown.ends_with("on stderr: File \"model.py\", line 3 in load"), "{shown}");
    }

    #[test]
    fn a_panic_that_aborted_says_more_than_the_end_of_its_backtrace() {
        let said = ["thread 'main' (7) panicked at src/main.rs:3:5:", "no such page", "  9: main"];
        let lost = WorkerLoss { stderr: said.map(String::from).into(), ..WorkerLoss::default() };
        assert!(lost.to_string().ends_with("on stderr: no such page"), "{lost}");
    }
}

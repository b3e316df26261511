//! The ways in which workers are hit: by signals from outside, and by tasks
//! that crash from inside.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use outboard_axum::{Compute, Problem};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::deep::{DEEP, Nest, TOO_DEEP};
use super::verdict::Expected;
use super::{batch, leftover, raw};

/// One way to hit a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hit {
    Outside(Outside),
    Inside(Inside),
}

/// By a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outside {
    Sigkill,
    Sigsegv,
    Sigstop,
    /// SIGTERM and its like to all workers, as a service manager or a terminal sends
    /// them to a group.
    Requests,
}

/// By a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Inside {
    Abort,
    StackOverflow,
    MemoryExhaustion,
    Exit,
    /// Comes back twice.
    Fork,
    /// Gives root up, where the server has it.
    User,
    /// Leaves a thread that computes.
    Thread,
    /// Crashes a batch, in which others are.
    Batch,
    /// Takes and gives a value that is nested as deeply as values may be.
    DeepValues,
    /// Is to take one that is nested deeper.
    TooDeepArguments,
    /// Gives such a one.
    TooDeepResult,
}

impl Hit {
    pub(super) const ALL: [Self; 15] = [
        Self::Outside(Outside::Sigkill),
        Self::Outside(Outside::Sigsegv),
        Self::Outside(Outside::Sigstop),
        Self::Inside(Inside::Abort),
        Self::Inside(Inside::StackOverflow),
        Self::Inside(Inside::MemoryExhaustion),
        Self::Inside(Inside::Exit),
        Self::Outside(Outside::Requests),
        Self::Inside(Inside::Fork),
        Self::Inside(Inside::User),
        Self::Inside(Inside::Thread),
        Self::Inside(Inside::Batch),
        Self::Inside(Inside::DeepValues),
        Self::Inside(Inside::TooDeepArguments),
        Self::Inside(Inside::TooDeepResult),
    ];

    /// As reports have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Outside(Outside::Sigkill) => "sigkill",
            Self::Outside(Outside::Sigsegv) => "sigsegv",
            Self::Outside(Outside::Sigstop) => "sigstop",
            Self::Outside(Outside::Requests) => "requests_to_end",
            Self::Inside(inside) => inside.name(),
        }
    }

    /// All of them in random order, each twice; SIGSTOP once, because it takes a
    /// worker away for a second.
    pub(super) fn deck(random: &mut fastrand::Rng) -> Vec<Self> {
        let again = Self::ALL.into_iter().filter(|hit| *hit != Self::Outside(Outside::Sigstop));
        let mut deck: Vec<_> = Self::ALL.into_iter().chain(again).collect();
        random.shuffle(&mut deck);
        deck
    }
}

impl Outside {
    fn signals(self) -> &'static [Signal] {
        match self {
            Self::Sigkill => &[Signal::KILL],
            Self::Sigsegv => &[Signal::SEGV],
            Self::Sigstop => &[Signal::STOP],
            Self::Requests => {
                &[Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2]
            }
        }
    }

    /// Whether it is for all workers, and none is to be harmed by it.
    pub(super) fn is_for_all(self) -> bool {
        self == Self::Requests
    }

    /// Hits a worker of ours; `false` if there is none with that number (any
    /// more).
    pub(super) async fn strike(self, pid: u32) -> bool {
        let Some(process) = Worker::find(pid) else { return false };
        if !self.signals().iter().all(|signal| process.signal(*signal)) {
            return false;
        }
        // Rust's own handler takes the first one, and leaves the next to the system.
        while self == Self::Sigsegv && !process.has_ended() {
            tokio::time::sleep(Duration::from_millis(1)).await;
            process.signal(Signal::SEGV);
        }
        true
    }
}

/// Lets a worker that was stopped go on, if it is still there.
pub(super) fn go_on(pid: u32) {
    if let Some(process) = Worker::find(pid) {
        process.signal(Signal::CONT);
    }
}

/// A worker's process, which no other can be taken for.
struct Worker(rustix::fd::OwnedFd);

impl Worker {
    fn find(pid: u32) -> Option<Self> {
        let process = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty());
        // Asked when it is held: the number may have been another's before.
        process.ok().filter(|_| leftover::is_live_child(pid)).map(Self)
    }

    fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.0, signal).is_ok()
    }

    fn has_ended(&self) -> bool {
        let mut end = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut end, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

impl Inside {
    fn name(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::StackOverflow => "stack_overflow",
            Self::MemoryExhaustion => "memory_exhaustion",
            Self::Exit => "exit",
            Self::Fork => "fork",
            Self::User => "user",
            Self::Thread => "thread",
            Self::Batch => "batch",
            Self::DeepValues => "deep_values",
            Self::TooDeepArguments => "too_deep_arguments",
            Self::TooDeepResult => "too_deep_result",
        }
    }

    /// What the page has to say.
    pub(super) fn expected(self) -> Expected {
        match self {
            Self::Fork | Self::User | Self::Thread | Self::Batch | Self::DeepValues => {
                Expected::Body(UNHARMED.to_string())
            }
            Self::Abort
            | Self::StackOverflow
            | Self::MemoryExhaustion
            | Self::Exit
            | Self::TooDeepArguments
            | Self::TooDeepResult => Expected::Error,
        }
    }

    /// The page whose task does it.
    pub(super) fn page(self) -> String {
        format!("/crash/{}", self.name())
    }
}

/// The pages whose tasks crash; only this command has them.
pub(super) fn pages() -> Router {
    Router::new().route("/crash/{hit}", get(page))
}

async fn page(compute: Compute, Path(hit): Path<Inside>) -> Result<String, Problem> {
    if hit == Inside::Batch {
        let unharmed = batch::submit(&compute).await?;
        return Ok(if unharmed { UNHARMED } else { 0 }.to_string());
    }
    let levels = match hit {
        Inside::DeepValues => DEEP,
        Inside::TooDeepArguments => TOO_DEEP,
        _ => 1,
    };
    let (given, nest) = compute.submit(crash, (hit, Nest::of(levels))).await?;
    Ok(if nest.levels() == levels { given } else { 0 }.to_string())
}

/// What a task gives that does not end its worker.
const UNHARMED: u64 = 7;

/// How long a thread that a task leaves computes, if nobody ends it.
const COMPUTES: Duration = Duration::from_secs(2);

/// Harms or ends its worker, and leaves a process behind for others to clear away. Gives the
/// value that it was given, or one that is too deep.
#[outboard::task]
fn crash(hit: Inside, nest: Nest) -> (u64, Nest) {
    leave_a_child();
    let given = match hit {
        Inside::Abort => std::process::abort(),
        Inside::StackOverflow => dig(0),
        Inside::MemoryExhaustion => hoard(),
        Inside::Exit => std::process::exit(3),
        Inside::Fork => UNHARMED + u64::from(raw::fork()),
        Inside::User => {
            raw::become_nobody();
            UNHARMED
        }
        Inside::Thread => {
            std::thread::spawn(compute);
            UNHARMED
        }
        Inside::Batch | Inside::DeepValues | Inside::TooDeepArguments | Inside::TooDeepResult => {
            UNHARMED
        }
    };
    (given, if hit == Inside::TooDeepResult { Nest::of(TOO_DEEP) } else { nest })
}

fn compute() {
    let start = Instant::now();
    while start.elapsed() < COMPUTES {
        black_box(start);
    }
}

fn leave_a_child() {
    let mut child = Command::new("sleep");
    child.arg("600").stdin(Stdio::null()).stdout(Stdio::null());
    // Without the program there is one thing less to clear away.
    let _ = child.spawn();
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn dig(depth: u64) -> u64 {
    let ground = black_box([depth; 64]);
    dig(depth + 1) + ground[0]
}

/// Takes memory until there is none.
fn hoard() -> u64 {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; 4 << 20]));
    }
}

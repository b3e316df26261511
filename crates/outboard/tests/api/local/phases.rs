//! A task that ends badly in every phase of a call, in every way: its future
//! alone gets an error, of the kind that the phase has, and nothing is left.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outboard::{Client, Error, ErrorKind, gather};
use rustix::process::Signal;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::crash::segfault;
use crate::chaos::Left;
use crate::support::process::Process;
use crate::support::scratch::{Scratch, note};
use crate::support::server::Server;
use crate::support::tasks::{hold, pid};
use crate::support::{eventually, found, run};

/// Where in a call it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// In the caller, while the arguments are encoded.
    Encode,
    /// In the caller, when the arguments are dropped.
    DropEncoded,
    /// In the worker, while the arguments are decoded.
    Decode,
    /// In the worker, in the task function.
    Run,
    /// In the worker, when the arguments are dropped.
    Drop,
    /// In the worker, while the value is encoded.
    EncodeReply,
    /// In the worker, when the value is dropped.
    DropReply,
    /// In the worker, on another thread, while the reply is written.
    Reply,
    /// In the caller, while the value is decoded.
    DecodeReply,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    /// An error of serde.
    Fail,
    Panic,
    Abort,
    Exit,
    Segfault,
    Kill,
}

use How::{Abort, Exit, Fail, Kill, Panic, Segfault};
use Phase::*;

/// All phases, with the ways that there are to end in them.
const PHASES: [(Phase, &[How]); 9] = [
    (Encode, &[Fail, Panic]),
    (DropEncoded, &[Panic]),
    (Decode, &[Fail, Panic, Abort, Exit, Segfault, Kill]),
    (Run, &[Panic, Abort, Exit, Segfault, Kill]),
    (Drop, &[Panic, Abort, Exit, Segfault, Kill]),
    (EncodeReply, &[Fail, Panic, Abort, Exit, Segfault, Kill]),
    (DropReply, &[Panic, Abort, Exit, Segfault, Kill]),
    (Reply, &[Abort, Exit, Segfault, Kill]),
    (DecodeReply, &[Fail, Panic]),
];

impl How {
    /// Ends the process, or this call.
    fn happen(self) -> Result<(), &'static str> {
        match self {
            Fail => return Err("a trap"),
            Panic => panic!("a trap"),
            Abort => std::process::abort(),
            Exit => std::process::exit(7),
            Segfault => drop(segfault()),
            Kill => Process::open(std::process::id()).kill(),
        }
        // The signal is on its way to the whole process.
        loop {
            std::thread::park();
        }
    }

    /// What the error of a worker that ended so says.
    fn cause(self) -> outboard::error::Cause {
        match self {
            Abort => outboard::error::Cause::Signal(6),
            Exit => outboard::error::Cause::Exited(7),
            Segfault => outboard::error::Cause::Signal(11),
            _ => outboard::error::Cause::Signal(9),
        }
    }
}

/// Arguments or a value that end badly in one phase.
#[derive(Debug, PartialEq)]
struct Trap {
    plan: Plan,
    /// Whether it is the value.
    reply: bool,
    padding: Vec<u8>,
}

/// What is to happen, when, and which process the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Plan {
    phase: Phase,
    how: How,
    caller: u32,
    /// How long after the value was encoded.
    after_us: u64,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {:?}", self.how, self.phase)
    }
}

impl Trap {
    fn new(plan: Plan) -> Self {
        Self { plan, reply: false, padding: vec![7; 100] }
    }

    fn springs(&self, phase: Phase) -> Result<(), &'static str> {
        if self.plan.phase == phase { self.plan.how.happen() } else { Ok(()) }
    }

    fn in_caller(&self) -> bool {
        self.plan.caller == std::process::id()
    }

    /// Has it happen on another thread, from now on.
    fn springs_later(&self) {
        let (how, after) = (self.plan.how, Duration::from_micros(self.plan.after_us));
        std::thread::spawn(move || {
            std::thread::sleep(after);
            how.happen()
        });
    }
}

impl Serialize for Trap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let phase = if self.in_caller() { Encode } else { EncodeReply };
        self.springs(phase).map_err(S::Error::custom)?;
        let done = (self.plan, self.reply, &self.padding).serialize(serializer)?;
        if self.plan.phase == Reply && !self.in_caller() {
            self.springs_later();
        }
        Ok(done)
    }
}

impl<'de> Deserialize<'de> for Trap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (plan, reply, padding) = Deserialize::deserialize(deserializer)?;
        let trap = std::mem::ManuallyDrop::new(Self { plan, reply, padding });
        let phase = if trap.in_caller() { DecodeReply } else { Decode };
        trap.springs(phase).map_err(D::Error::custom)?;
        Ok(std::mem::ManuallyDrop::into_inner(trap))
    }
}

impl std::ops::Drop for Trap {
    fn drop(&mut self) {
        let phase = match (self.in_caller(), self.reply) {
            (true, false) => DropEncoded,
            (false, false) => Drop,
            (false, true) => DropReply,
            (true, true) => return,
        };
        let _ = self.springs(phase);
    }
}

/// More than a socket holds.
const REPLY: usize = 512 << 10;

/// Gives a value that has the same plan.
#[outboard::task]
fn call(trap: Trap) -> Trap {
    let _ = trap.springs(Run);
    let bytes = if trap.plan.phase == Reply { REPLY } else { 100 };
    Trap { plan: trap.plan, reply: true, padding: vec![9; bytes] }
}

/// How a call ended.
#[derive(Debug)]
enum Ended {
    Value(Trap),
    Typed(Error),
    /// A panic on the caller's own stack.
    Unwound,
}

async fn submit(client: &Client, plan: Plan) -> Ended {
    // The trap is made before, so that the submit alone is in question.
    let trap = Trap::new(plan);
    let Ok(future) = catch_unwind(AssertUnwindSafe(|| client.submit(call, trap))) else {
        return Ended::Unwound;
    };
    match tokio::spawn(future).await {
        Ok(Ok(value)) => Ended::Value(value),
        Ok(Err(error)) => Ended::Typed(error),
        Err(_) => Ended::Unwound,
    }
}

/// Whether that is how such a plan has to end.
fn check(plan: Plan, ended: &Ended) -> bool {
    match (ended, plan.how) {
        (Ended::Typed(error), Fail) => error.kind() == ErrorKind::Codec,
        // Of the task function, or of what encodes and decodes its values.
        (Ended::Typed(error), Panic) if matches!(plan.phase, Run | Drop) => {
            error.panic().is_some_and(|panic| panic.message == "a trap")
        }
        (Ended::Typed(error), Panic) => {
            error.kind() == ErrorKind::Codec && error.to_string().contains("a trap")
        }
        (Ended::Typed(error), how) => {
            let cause = error.worker_loss().and_then(|lost| lost.cause);
            cause == Some(how.cause())
        }
        // It had been written in time.
        (Ended::Value(value), _) => plan.phase == Reply && value.padding == vec![9; REPLY],
        (Ended::Unwound, _) => false,
    }
}

/// One call that ends badly, with a sibling that runs and others behind it.
async fn one(client: &Client, plan: Plan) -> Ended {
    let scratch = Scratch::new();
    let sibling = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let worker = found("the other one", || idle(client, &scratch)).await;
    // What ends while a reply is written may end when that is through: no task
    // is to follow then.
    let behind = if plan.phase == Reply { 0 } else { 4 };
    let (ended, behind) = tokio::join!(submit(client, plan), async {
        let behind = (0..behind).map(|_| client.submit(pid, ()).with_report());
        futures_util::future::try_join_all(behind).await
    });
    assert!(check(plan, &ended), "{plan}: {ended:?}");
    if plan.phase == Reply {
        worker.ends().await;
    }
    let behind = behind.unwrap_or_else(|error| panic!("{plan}: {error}"));
    assert!(behind.iter().all(|(_, report)| report.attempt == 1), "{plan}: {behind:?}");
    assert_ne!(client.submit(pid, ()).await.unwrap(), scratch.pid(), "the next one is right");
    scratch.release();
    let (at, report) = sibling.with_report().await.unwrap();
    assert_eq!((at, report.attempt, scratch.starts()), (scratch.pid(), 1, 1), "{plan}");
    ended
}

/// The worker that does not run the task that is held there.
fn idle(client: &Client, held: &Scratch) -> Option<Process> {
    super::workers(client).into_iter().find(|one| one.pid != held.pid())
}

#[test]
fn whatever_happens_in_any_phase_of_a_call_costs_that_call_alone() {
    run(async {
        let mut server = Server::start("phases");
        server.succeeds().await;
        println!("{}", server.says("outcome").await.join("\n"));
    });
}

/// The scenario: in a process of its own, because it counts what is left.
pub(crate) async fn play(at: PathBuf) {
    tokio::spawn(async {}).await.unwrap();
    let before = Left::here();
    let client = super::client(2).await;
    let mut failed = 0;
    for (phase, ways) in PHASES {
        for how in ways {
            failed += all_delays(&client, phase, *how, &at).await;
        }
    }
    let counted = client.admin().snapshot().failed;
    assert!(counted <= failed, "{counted} tasks failed, {failed} were to");
    client.shutdown().await;
    drop(client);
    eventually(format_args!("{before:?} is left"), || Left::here() == before).await;
}

/// How often each moment is tried, until the case costs its call.
const TRIES: usize = 10;

/// One case; the one that depends on the moment, at several. How many failed.
async fn all_delays(client: &Client, phase: Phase, how: How, at: &Path) -> u64 {
    let delays: &[u64] = if phase == Reply { &[0, 100, 1_000] } else { &[0] };
    let (mut failed, mut tried) = (0, 0);
    for after_us in delays.iter().cycle() {
        let plan = Plan { phase, how, caller: std::process::id(), after_us: *after_us };
        let ended = one(client, plan).await;
        failed += u64::from(!matches!(ended, Ended::Value(_)));
        tried += 1;
        // A busy machine may have written the whole reply at each of these moments.
        if tried >= delays.len() && failed > 0 || tried >= TRIES * delays.len() {
            break;
        }
    }
    assert!(failed > 0, "{how:?} in {phase:?} never cost its call");
    note(at, "outcome", &format!("{how:?} in {phase:?}: {failed} of {tried}"));
    failed
}

#[test]
fn a_worker_that_ends_while_large_arguments_are_on_their_way_costs_nothing() {
    run(async {
        for signal in [Signal::KILL, Signal::ABORT, Signal::TRAP] {
            let client = super::client(2).await;
            let scratch = Scratch::new();
            let sibling = client.submit(hold, scratch.path());
            scratch.started(1).await;
            let idle = idle(&client, &scratch).expect("there are two");
            idle.signal(Signal::STOP);
            eventually("it is stopped", || idle.is_stopped()).await;
            let length = |bytes: Vec<u8>| (bytes.len(), std::process::id());
            let sent = client.submit(length, vec![1; 16 << 20]);
            let behind = [1, 2, 3].map(|n| client.submit(|n: u64| n, n));
            idle.signal(signal);
            idle.signal(Signal::CONT);
            let ((bytes, at), report) = sent.with_report().await.unwrap();
            assert_eq!((bytes, report.attempt), (16 << 20, 1), "{signal:?}");
            assert!(at != idle.pid && at != scratch.pid(), "{signal:?}");
            assert_eq!(gather(behind).await.unwrap(), [1, 2, 3]);
            scratch.release();
            assert_eq!(sibling.await.unwrap(), scratch.pid());
            assert_eq!(client.admin().snapshot().failed, 0);
        }
    });
}

#[test]
fn a_panic_in_the_drop_of_arguments_submits_nothing() {
    struct Bomb(PathBuf);
    impl Serialize for Bomb {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.serialize(serializer)
        }
    }
    impl<'de> Deserialize<'de> for Bomb {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            PathBuf::deserialize(deserializer).map(Self)
        }
    }
    impl std::ops::Drop for Bomb {
        fn drop(&mut self) {
            assert!(outboard::is_worker(), "dropped in the caller");
        }
    }
    run(async {
        let client = super::client(1).await;
        let scratch = Scratch::new();
        let bomb = Bomb(scratch.path());
        let task = |bomb: Bomb| note(&bomb.0, "starts", "");
        let error = client.submit(task, bomb).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        assert_eq!(client.admin().snapshot().submitted, 0);
        assert!(client.submit(pid, ()).await.is_ok());
        assert_eq!(scratch.starts(), 0);
    });
}

//! A worker whose task took over its socket and its page. Whatever it writes,
//! the server stands, that task gets a typed error in bounded time, and nobody
//! else notices.

use std::fs::File;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use outboard::error::Cause;
use outboard::{Client, Error, ErrorKind};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::chaos::Left;
use crate::support::scratch::{Scratch, note};
use crate::support::server::Server;
use crate::support::tasks::{hold, pid};
use crate::support::{eventually, run};

/// What the task does to its server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Attack {
    /// Random bytes.
    Garbage(u64),
    /// A frame longer than any, in the socket or where answers lie.
    Oversized,
    OversizedAnswer,
    /// A frame as long as is allowed, of which nothing follows.
    Announced,
    /// Half a frame.
    Half,
    /// The bell without end.
    Flood,
    /// Half an answer, and more answers than there is room for.
    HalfAnswer,
    FullAnswers,
    /// An answer in the socket that was not announced; and one that was, and
    /// does not come.
    Unannounced,
    Missing,
    /// A message that no version has.
    Unknown,
    /// The first message, again.
    Hello,
    /// The second message, again.
    Ready,
    /// An answer to a task that was never sent.
    Ahead,
    /// It says that it skipped what it runs.
    Skipped,
    /// The right answer to the task that it runs, twice.
    Twice,
    /// Its own result, before the real one.
    Forged,
    /// The same, with a page that agrees.
    Perfect,
    /// A panic whose message is said to be longer than the frame.
    LongString,
    /// A failure with that number, which executing a task never has; the page agrees.
    Claimed(u8),
    /// The socket is closed in both directions, or in one.
    Close,
    CloseWrite,
    CloseRead,
    /// All words of the page are as random as the garbage.
    Page(u64),
    /// The word of its task, set to a state.
    Word(u64),
}

/// How it goes on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Then {
    Return,
    Exit,
    Park,
}

/// The value that an honest execution gives.
const HONEST: u32 = 7;

/// What a forged answer says.
const FORGED: u8 = 8;

/// The numbers of the messages, as they are encoded.
const HELLO: u8 = 0;
const READY: u8 = 1;
const DONE: u8 = 2;
const FAILED: u8 = 3;
const SKIPPED: u8 = 4;
const BESIDE: u8 = 6;

/// What a task used: nothing, in each of the fields.
const USAGE: [u8; 5] = [0; 5];

/// The numbers of the failures that only servers and clusters report: an exception, the
/// codec's of arguments, arguments too large, a loss, a quarantine, a timeout, cancelled,
/// unavailable.
const CLAIMS: [u8; 8] = [1, 2, 3, 5, 6, 7, 8, 9];

/// The places in the page of how far answers were written, and of whether the
/// server sleeps; and where in the arena they lie.
const SAID: u64 = 5;
const HEARD: u64 = 6;
const ASLEEP: u64 = 7;
const ANSWERS: u64 = 128 << 20;

/// As many bits of a word are its state.
const STATE_BITS: u32 = 3;
const RUNNING: u64 = 2;
const DONE_STATE: u64 = 3;

impl Attack {
    /// All of them.
    fn all() -> Vec<Self> {
        use Attack::*;
        let plain = [Oversized, OversizedAnswer, Announced, Half, HalfAnswer, FullAnswers];
        let wrong = [Flood, Unannounced, Missing, Unknown, Hello, Ready, Ahead, Skipped];
        let more = [Twice, Forged, Perfect, LongString, Close, CloseWrite, CloseRead];
        let random =
            (1..=4).flat_map(|seed| [Garbage(seed * 0x9e37_79b9), Page(seed * 0x9e37_79b9)]);
        plain
            .into_iter()
            .chain(wrong)
            .chain(more)
            .chain(random)
            .chain((0..8).map(Word))
            .chain(CLAIMS.map(Claimed))
            .collect()
    }

    /// Whether the server can tell at once that no worker writes that.
    fn is_nonsense(self) -> bool {
        use Attack::*;
        matches!(
            self,
            Oversized
                | OversizedAnswer
                | Announced
                | Half
                | FullAnswers
                | Unannounced
                | Flood
                | Unknown
                | Hello
                | Ready
                | Ahead
                | Skipped
                | Twice
                | Forged
                | LongString
                | Claimed(_)
        )
    }

    /// Whether it gives a result that the server may not tell from the real one.
    fn forges(self) -> bool {
        matches!(self, Self::Twice | Self::Forged | Self::Perfect)
    }
}

#[outboard::task]
fn attack(attack: Attack, then: Then) -> u32 {
    act(attack);
    match then {
        Then::Return => HONEST,
        Then::Exit => std::process::exit(3),
        Then::Park => loop {
            std::thread::park();
        },
    }
}

fn act(attack: Attack) {
    let mut socket = socket();
    // A server that has hung up is no reason to stop.
    let mut write = |bytes: &[u8]| socket.write_all(bytes).is_ok();
    match attack {
        Attack::Garbage(seed) => drop(write(&random(seed, 100_000))),
        Attack::Oversized => drop(write(&u32::MAX.to_le_bytes())),
        Attack::OversizedAnswer => say(&600_u32.to_le_bytes()),
        Attack::Announced => drop(write(&(64_u32 << 20).to_le_bytes())),
        Attack::Half => drop(write(&[20, 0, 0, 0, DONE])),
        Attack::HalfAnswer => say(&[20, 0, 0, 0, DONE]),
        Attack::FullAnswers => {
            let page = Page::find();
            page.set(SAID, page.get(SAID) + 65_537);
            ring(&page);
            // The worker itself would set it back.
            std::thread::sleep(Duration::from_secs(1000));
        }
        Attack::Flood => while write(&[0; 4096]) {},
        Attack::Unannounced => drop(write(&done(own_number()))),
        Attack::Missing => say(&frame(&[BESIDE])),
        Attack::Unknown => say(&frame(&[99, 1, 2, 3])),
        Attack::Hello => drop(write(&frame(&[HELLO, 1, 1]))),
        Attack::Ready => drop(write(&frame(&[READY, 1]))),
        Attack::Ahead => say(&done(own_number() + 1)),
        Attack::Skipped => say(&frame(&[&[SKIPPED][..], &varint(own_number())].concat())),
        Attack::Twice => {
            let answer = done(own_number());
            say(&[&answer[..], &answer].concat());
        }
        Attack::Forged => say(&done(own_number())),
        Attack::Perfect => {
            let answer = done(own_number());
            agree();
            say(&answer);
        }
        Attack::LongString => {
            let own = varint(own_number());
            let huge = varint(u64::from(u32::MAX));
            say(&frame(&[&[FAILED][..], &own, &USAGE, &[0][..], &huge, b"short"].concat()));
        }
        Attack::Claimed(failure) => {
            let own = varint(own_number());
            // All its fields are zero or empty; what is left over is not looked at.
            let fields = [0; 16];
            agree();
            say(&frame(&[&[FAILED][..], &own, &USAGE, &[failure], &fields].concat()));
        }
        Attack::Close => socket.shutdown(Shutdown::Both).unwrap(),
        Attack::CloseWrite => socket.shutdown(Shutdown::Write).unwrap(),
        Attack::CloseRead => socket.shutdown(Shutdown::Read).unwrap(),
        Attack::Page(seed) => Page::find().fill(&random(seed, 4096)),
        Attack::Word(state) => {
            let page = Page::find();
            let (place, word) = page.own();
            page.set(place, word >> STATE_BITS << STATE_BITS | state);
        }
    }
}

/// Has the page say that this task is done.
fn agree() {
    let page = Page::find();
    let (place, word) = page.own();
    page.set(place, word >> STATE_BITS << STATE_BITS | DONE_STATE);
}

/// Writes to where answers lie, and wakes the server, as a worker does. Waits
/// until that was read: the worker itself writes to the same place after it.
pub(super) fn say(bytes: &[u8]) {
    let (page, arena) = (Page::find(), mapped("outboard-arena"));
    let said = page.get(SAID);
    for (byte, position) in bytes.iter().zip(said..) {
        page.memory.write_all_at(&[*byte], arena + ANSWERS + position % 65_536).unwrap();
    }
    page.set(SAID, said + bytes.len() as u64);
    ring(&page);
    while page.get(HEARD) == said {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ring(page: &Page) {
    if page.get(ASLEEP) == 1 {
        page.set(ASLEEP, 0);
        let _ = socket().write_all(&[0; 4]);
    }
}

/// Where shared memory is mapped.
fn mapped(name: &str) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains(name)).unwrap();
    u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap()
}

/// This worker's connection to its server.
pub(super) fn socket() -> UnixStream {
    let own = rustix::process::getpid();
    let own = pidfd_open(own, PidfdFlags::empty()).unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let sockets = open.filter_map(|entry| {
        let link = std::fs::read_link(entry.path()).ok()?;
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        link.to_str()?.starts_with("socket:").then_some(number)
    });
    let number = sockets.min().expect("a worker has its socket");
    pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).unwrap().into()
}

fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_le_bytes()[..], content].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The answer that a task is done, in no time, with a value.
fn done(seq: u64) -> Vec<u8> {
    let in_the_frame = 0;
    frame(&[&[DONE][..], &varint(seq), &USAGE, &[in_the_frame, FORGED]].concat())
}

/// This worker's page, by its memory.
struct Page {
    memory: File,
    address: u64,
}

impl Page {
    fn find() -> Self {
        let address = mapped("outboard-page");
        let memory = File::options().read(true).write(true).open("/proc/self/mem").unwrap();
        Self { memory, address }
    }

    fn fill(&self, bytes: &[u8]) {
        self.memory.write_all_at(bytes, self.address).unwrap();
    }

    fn get(&self, place: u64) -> u64 {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, self.address + 8 * place).unwrap();
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, place: u64, word: u64) {
        self.memory.write_all_at(&word.to_ne_bytes(), self.address + 8 * place).unwrap();
    }

    /// The place and the word of the task that runs.
    fn own(&self) -> (u64, u64) {
        let words = (64..64 + 128).map(|place| (place, self.get(place)));
        let running = |(_, word): &(u64, u64)| word & ((1 << STATE_BITS) - 1) == RUNNING;
        words.into_iter().find(running).expect("this task runs")
    }
}

fn own_number() -> u64 {
    Page::find().own().1 >> STATE_BITS
}

/// How long a task may run that does not end by itself.
const TIMEOUT: Duration = Duration::from_millis(300);

/// One attack, with a sibling that runs and others that wait.
async fn one(client: &Client, what: Attack, then: Then) -> Result<u32, Error> {
    let scratch = Scratch::new();
    let sibling = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let attacking = match then {
        // What is nonsense ends it by itself, however busy the machine is.
        Then::Park if !what.is_nonsense() => client.timeout(TIMEOUT).submit(attack, (what, then)),
        _ => client.submit(attack, (what, then)),
    };
    let result = attacking.await;
    for n in 0..4 {
        assert_eq!(client.submit(|n: u64| n + 1, n).await.unwrap(), n + 1, "{what:?}, {then:?}");
    }
    assert_ne!(client.submit(pid, ()).await.unwrap(), scratch.pid());
    scratch.release();
    let (at, report) = sibling.with_report().await.unwrap();
    assert_eq!((at, report.attempt), (scratch.pid(), 1), "{what:?}, {then:?}");
    result
}

/// Whether an attack may end like that.
fn check(what: Attack, then: Then, result: &Result<u32, Error>) -> bool {
    // So that attacks are known to arrive where the server reads.
    if let (Attack::Perfect, Then::Return | Then::Exit) = (what, then) {
        return matches!(result, Ok(value) if *value == u32::from(FORGED));
    }
    let error = match result {
        Ok(HONEST) => return !what.is_nonsense() && matches!(then, Then::Return),
        Ok(value) => return *value == u32::from(FORGED) && what.forges(),
        Err(error) => error,
    };
    match (error.kind(), error.worker_loss().and_then(|lost| lost.cause)) {
        (ErrorKind::WorkerLost, Some(Cause::Exited(3))) => matches!(then, Then::Exit),
        (ErrorKind::WorkerLost, cause) => cause == Some(Cause::Protocol) || !what.is_nonsense(),
        (ErrorKind::TimedOut, _) => !what.is_nonsense() && matches!(then, Then::Park),
        _ => false,
    }
}

#[test]
fn a_worker_that_attacks_its_server_costs_its_own_task() {
    run(async {
        let mut server = Server::start("hostile");
        server.succeeds().await;
        println!("{}", server.says("outcome").await.join("\n"));
    });
}

/// How many clients are attacked at the same time.
const CLIENTS: usize = 6;

/// The scenario: in a process of its own, whose memory is watched.
pub(crate) async fn play(at: PathBuf) {
    tokio::spawn(async {}).await.unwrap();
    let before = Left::here();
    let small = peak_bytes();
    let ways = [Then::Return, Then::Exit, Then::Park];
    let all = Attack::all().into_iter().flat_map(|what| ways.map(|then| (what, then)));
    let all: Vec<_> = all.collect();
    let one_client = async |first: usize| {
        let client = super::client(2).await;
        for (what, then) in all.iter().skip(first).step_by(CLIENTS) {
            let result = one(&client, *what, *then).await;
            assert!(check(*what, *then, &result), "{what:?}, {then:?}: {result:?}");
            note(&at, "outcome", &format!("{what:?}, {then:?}: {}", outcome(&result)));
        }
        client.shutdown().await;
    };
    futures_util::future::join_all((0..CLIENTS).map(one_client)).await;
    let grown = peak_bytes() - small;
    assert!(grown < 48 << 20, "the server grew by {grown} bytes");
    eventually(format_args!("{before:?} is left"), || Left::here() == before).await;
}

fn outcome(result: &Result<u32, Error>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// The most resident memory that this process ever had.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

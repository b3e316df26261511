//! What holds with every framework: the same tests for each, over plain sockets.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outboard::{Client, Sender};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What a framework's server is to have: `/quick` answers "quick"; `/held` submits [`hold`] and
/// `/crash` [`crash`], both as a user would, with errors as problems; `/stream` is the items of
/// [`two`], as they come.
pub(crate) struct Setup {
    pub(crate) client: Client,
    /// What [`hold`] gets.
    pub(crate) at: PathBuf,
    /// Whether a client that has closed its sending half is answered.
    pub(crate) half_close: bool,
}

/// A framework's server, and how it is told to end in order.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    /// Ends with the server, after the client.
    pub(crate) ended: JoinHandle<()>,
}

/// The tests, of a framework that `start` starts: `async fn start(setup: Setup) -> Server`; without
/// the setting for half-closed clients, where a framework has none.
macro_rules! conformance {
    ($start:path) => {
        $crate::conformance::conformance!($start, half_close: [false, true]);
    };
    ($start:path, half_close: $settings:expr) => {
        #[test]
        fn a_client_that_leaves_is_noticed_whatever_it_sent() {
            $crate::conformance::leave($start);
        }

        #[test]
        fn a_half_closed_client_is_gone_unless_it_is_to_be_answered() {
            $crate::conformance::half_close($start, &$settings);
        }

        #[test]
        fn a_crash_costs_one_request() {
            $crate::conformance::crash_costs_one($start);
        }

        #[test]
        fn a_timeout_is_504_and_a_full_queue_503_with_when_to_come_back() {
            $crate::conformance::timeout_and_overload($start);
        }

        #[test]
        fn a_stream_comes_as_it_is_made_and_ends_with_its_reader_or_before_its_server() {
            $crate::conformance::stream($start);
        }

        #[test]
        fn a_server_that_ends_answers_what_runs_and_leaves_no_worker() {
            $crate::conformance::shutdown($start);
        }
    };
}
pub(crate) use conformance;

pub(crate) fn leave(start: impl AsyncFn(Setup) -> Server) {
    let head = "GET /held HTTP/1.1\r\nhost: test\r\n";
    let sent = [
        ("one request", format!("{head}\r\n")),
        ("a second one, pipelined", format!("{head}\r\nGET /quick HTTP/1.1\r\nhost: x\r\n\r\n")),
        ("an empty line after it", format!("{head}\r\n\r\n")),
        ("a body that is not read", format!("{head}content-length: 3\r\n\r\nabc")),
        ("a body that never comes", format!("{head}content-length: 3\r\n\r\n")),
        ("expects 100", format!("{head}expect: 100-continue\r\ncontent-length: 3\r\n\r\n")),
    ];
    run(async {
        for ((what, sent), reset) in sent.iter().flat_map(|sent| [(sent, false), (sent, true)]) {
            let client = Client::local().workers(1).spares(0).await.unwrap();
            let scratch = Scratch::new();
            let (at, half_close) = (scratch.path(), false);
            let server = start(Setup { client: client.clone(), at, half_close }).await;
            let stream = connect(server.address, sent).await;
            scratch.started().await;
            if reset {
                stream.set_zero_linger().unwrap();
            }
            drop(stream);
            let noticed = || client.admin().snapshot().cancelled == 1;
            eventually(&format!("{what} is cancelled, reset: {reset}"), noticed).await;
            assert!(!scratch.is_finished(), "{what}");
            assert_eq!(get(server.address, "/quick").await.body, "quick", "it serves on");
        }
    });
}

pub(crate) fn half_close(start: impl AsyncFn(Setup) -> Server, settings: &[bool]) {
    run(async {
        for &half_close in settings {
            let client = Client::local().workers(1).spares(0).await.unwrap();
            let scratch = Scratch::new();
            let at = scratch.path();
            let server = start(Setup { client: client.clone(), at, half_close }).await;
            let mut held = send(server.address, "/held", "").await;
            scratch.started().await;
            held.shutdown().await.unwrap();
            if half_close {
                // Longer than a server without the setting takes to give up on it.
                tokio::time::sleep(Duration::from_millis(500)).await;
                scratch.release();
                assert_eq!(receive(held).await.expect("an answer").status, 200);
            } else {
                eventually("it counts as gone", || client.admin().snapshot().cancelled == 1).await;
                let answer = receive(held).await;
                assert!(answer.is_none_or(|answer| answer.status == 499));
            }
        }
    });
}

pub(crate) fn crash_costs_one(start: impl AsyncFn(Setup) -> Server) {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let scratch = Scratch::new();
        let (at, half_close) = (scratch.path(), false);
        let server = start(Setup { client, at, half_close }).await;
        let crashed = get(server.address, "/crash").await;
        assert_eq!(crashed.status, 500);
        assert_eq!(crashed.header("content-type"), Some("application/problem+json"));
        assert!(crashed.body.contains("worker_lost"), "{crashed:?}");
        scratch.release();
        assert_eq!(get(server.address, "/held").await.status, 200);
    });
}

pub(crate) fn timeout_and_overload(start: impl AsyncFn(Setup) -> Server) {
    run(async {
        let client = Client::local().workers(1).queue_tasks(1).await.unwrap();
        let never = Scratch::new();
        let (at, half_close) = (never.path(), false);
        let quick_to_give_up = client.timeout(Duration::from_millis(50));
        let timed = start(Setup { client: quick_to_give_up, at, half_close }).await;
        assert_eq!(get(timed.address, "/held").await.status, 504);
        drop(never);

        let scratch = Scratch::new();
        let setup = Setup { client: client.clone(), at: scratch.path(), half_close };
        let server = start(setup).await;
        let running = send(server.address, "/held", "").await;
        scratch.started().await;
        let waiting = send(server.address, "/held", "").await;
        eventually("one waits", || client.admin().snapshot().queued == 1).await;
        let refused = get(server.address, "/held").await;
        assert_eq!(refused.status, 503);
        let seconds = refused.header("retry-after").expect("when to come back");
        assert!(seconds.parse::<u64>().unwrap() >= 1, "{refused:?}");
        scratch.release();
        for held in [running, waiting] {
            assert_eq!(receive(held).await.expect("an answer").status, 200);
        }
    });
}

pub(crate) fn stream(start: impl AsyncFn(Setup) -> Server) {
    run(async {
        for (leaves, ends) in [(false, false), (true, false), (false, true)] {
            let client = Client::local().workers(1).spares(0).await.unwrap();
            let scratch = Scratch::new();
            let (at, half_close) = (scratch.path(), false);
            let server = start(Setup { client: client.clone(), at, half_close }).await;
            let mut reader = send(server.address, "/stream", "").await;
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains("first") {
                assert!(reader.read_buf(&mut seen).await.unwrap() > 0, "it goes on");
            }
            scratch.started().await;
            if leaves {
                drop(reader);
                eventually("it is cancelled", || client.admin().snapshot().cancelled == 1).await;
                assert!(!scratch.is_finished());
                continue;
            }
            if ends {
                server.stop.send(()).unwrap();
            }
            scratch.release();
            let mut rest = String::new();
            reader.read_to_string(&mut rest).await.unwrap();
            assert!(rest.contains("second"), "the server ends: {ends}, {rest}");
            if ends {
                server.ended.await.unwrap();
                assert!(!lives(scratch.pid()), "a worker is left");
            }
        }
    });
}

pub(crate) fn shutdown(start: impl AsyncFn(Setup) -> Server) {
    run(async {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let (at, half_close) = (scratch.path(), false);
        let server = start(Setup { client: client.clone(), at, half_close }).await;
        let running = send(server.address, "/held", "").await;
        scratch.started().await;
        let worker = scratch.pid();
        server.stop.send(()).unwrap();
        scratch.release();
        assert_eq!(receive(running).await.expect("what runs is answered").status, 200);
        server.ended.await.unwrap();
        assert!(!lives(worker), "a worker is left");
        assert!(client.submit(|| 1_u8, ()).await.unwrap_err().is_closed());
    });
}

/// How long a test waits for what must happen before it fails.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs an async test; what never ends fails it.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(2 * DEADLINE, test).await.expect("the test does not hang");
    });
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "did not happen within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// An answer, its head in lower case.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

async fn connect(address: SocketAddr, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream
}

/// Sends a request, and leaves the answer to be read.
pub(crate) async fn send(address: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    connect(address, &head).await
}

/// Reads an answer to its end; `None` if there is none.
pub(crate) async fn receive(mut stream: TcpStream) -> Option<Answer> {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    receive(send(address, path, "").await).await.expect("an answer")
}

/// A directory through which a test and its tasks talk.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    pub(crate) async fn started(&self) {
        eventually("the task starts", || self.has("started")).await;
    }

    /// The process of the task.
    pub(crate) fn pid(&self) -> u32 {
        fs::read_to_string(self.0.path().join("started")).unwrap().parse().unwrap()
    }

    pub(crate) fn release(&self) {
        fs::write(self.0.path().join("released"), "").unwrap();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.has("finished")
    }
}

/// Says that it started, waits until it is released, and says that it finished.
#[outboard::task]
pub(crate) fn hold(at: PathBuf) -> u32 {
    let say = |name: &str| {
        fs::write(at.join("part"), std::process::id().to_string())
            .and_then(|()| fs::rename(at.join("part"), at.join(name)))
    };
    let _ = say("started");
    while Path::exists(&at) && !at.join("released").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = say("finished");
    std::process::id()
}

/// Sends an item at once, and another one when [`hold`] is released.
#[outboard::task]
pub(crate) fn two(at: PathBuf, out: Sender<String>) {
    let _ = out.send("first ".to_owned());
    hold(at);
    let _ = out.send("second".to_owned());
}

#[outboard::task]
pub(crate) fn crash() {
    std::process::abort()
}

/// Whether a process is there.
pub(crate) fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

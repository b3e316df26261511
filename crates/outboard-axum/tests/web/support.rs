use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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

/// Serves an application as `axum::serve` does, to the end of the runtime.
pub(crate) async fn start(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
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

/// Sends a request, and leaves the answer to be read.
pub(crate) async fn send(address: SocketAddr, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
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
    get_with(address, path, "").await
}

pub(crate) async fn get_with(address: SocketAddr, path: &str, headers: &str) -> Answer {
    receive(send(address, path, headers).await).await.expect("an answer")
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

/// Whether a process is there.
pub(crate) fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

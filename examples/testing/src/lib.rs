//! A server of an example, for its tests.

pub mod drawings;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for anything that works, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(20);

/// A server of its own on a free port; it is killed when it is dropped, and its workers with it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts a program that takes its port as the first argument, and waits until it listens.
    pub fn start(program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.arg("0").args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let address = stdout.lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("listening on http://").map(|rest| rest.trim_end_matches('/').into())
        });
        let address = address.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("{program} ended before it listened: {:?}", child.wait())
        });
        Self { child, address }
    }

    /// The URL of a path that begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Asks for a path, and gives what is read of the response; dropping it leaves.
    pub fn get(&self, path: &str) -> BufReader<TcpStream> {
        self.ask(&format!("GET {path} HTTP/1.0\r\n\r\n"))
    }

    /// Sends JSON to a path, and gives what is read of the response; dropping it leaves.
    pub fn post(&self, path: &str, json: &str) -> BufReader<TcpStream> {
        let length = json.len();
        let head = "content-type: application/json\r\ncontent-length";
        self.ask(&format!("POST {path} HTTP/1.0\r\n{head}: {length}\r\n\r\n{json}"))
    }

    fn ask(&self, request: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.write_all(request.as_bytes()).expect("it reads");
        BufReader::new(stream)
    }

    /// The whole response to a GET: its head and its body.
    pub fn text(&self, path: &str) -> (String, String) {
        let mut text = String::new();
        self.get(path).read_to_string(&mut text).expect("it answers in time");
        let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
        (head.to_owned(), body.to_owned())
    }

    /// What the client's snapshot has: the JSON of the page `/status`.
    pub fn status(&self) -> Value {
        let (head, body) = self.text("/status/status.json");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {head}"))
    }

    /// Waits until the snapshot is as wanted, and gives it.
    pub fn wait_for(&self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: not in {DEADLINE:?}; {status:#}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until no task runs or waits, and gives the snapshot of then.
    pub fn wait_until_idle(&self) -> Value {
        self.wait_for("nothing runs", |status| {
            status["tasks"]["running"] == 0 && status["tasks"]["queued"] == 0
        })
    }

    /// Waits until so many workers are busy, or more, and gives their processes.
    pub fn busy_workers(&self, least: usize) -> Vec<i64> {
        let mut busy = Vec::new();
        self.wait_for("workers are busy", |status| {
            let workers = status["workers"].as_array().expect("there is a list");
            let workers = workers.iter().filter(|worker| worker["state"] == "busy");
            busy = workers.map(|worker| worker["pid"].as_i64().expect("a number")).collect();
            busy.len() >= least
        });
        busy
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a process, as the kernel does one that wants too much memory.
pub fn kill(pid: i64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("it is a process");
    kill_process(pid, Signal::KILL).expect("it is there");
}

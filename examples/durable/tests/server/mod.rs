//! The service as a process, and one who asks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A server with one worker; it is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start(database: &str, more: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_durable"))
            .env("DATABASE_URL", database)
            .env("OUTBOARD_URL", "local://?workers=1")
            .envs(more.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").expect("it says where it is");
        let address = address.parse().unwrap();
        // Once it answers it also heeds signals.
        get(address, "/");
        // What it says at its end goes nowhere.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { child, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for a report; its number.
    pub(crate) fn submit(&self, pages: u32, priority: i16) -> i64 {
        let answer = post(self.address, "/reports", &format!("pages={pages}&priority={priority}"));
        let at = answer.lines().find_map(|line| line.strip_prefix("location: /reports/"));
        at.unwrap_or_else(|| panic!("{answer}")).trim().parse().unwrap()
    }

    /// Kills it, as a lack of memory or an operator does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end, and waits for that.
    pub(crate) fn end(mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path}"), "")
}

pub(crate) fn post(address: SocketAddr, path: &str, form: &str) -> String {
    ask(address, &format!("POST {path}"), form)
}

/// The answer, with its head.
fn ask(address: SocketAddr, what: &str, form: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "{what} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let good = ["HTTP/1.1 2", "HTTP/1.1 3"].iter().any(|good| answer.starts_with(good));
    assert!(good, "{what}: {answer}");
    answer
}

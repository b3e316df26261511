use std::io::{Read, Write};
use std::net::TcpStream;

use crate::program::DEADLINE;

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value, in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Asks for a page, and leaves the answer to come.
pub(crate) fn ask(address: &str, path: &str) -> TcpStream {
    ask_with(address, path, "")
}

/// The same with more headers, each with its line end.
pub(crate) fn ask_with(address: &str, path: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket has a timeout");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    write!(stream, "{head}{headers}\r\n").expect("the server reads");
    stream
}

/// Posts a body, and reads the answer.
pub(crate) fn post_with(address: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket has a timeout");
    let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let length = body.len();
    write!(stream, "{head}{headers}Content-Length: {length}\r\n\r\n{body}").expect("it reads");
    answer(stream)
}

/// Reads the answer to [`ask`].
pub(crate) fn answer(mut stream: TcpStream) -> Answer {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the server answers in time");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("an answer has a status"),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

/// Asks for a page and reads the answer.
pub(crate) fn get_with(address: &str, path: &str, headers: &str) -> Answer {
    answer(ask_with(address, path, headers))
}

/// The same without more headers.
pub(crate) fn get(address: &str, path: &str) -> Answer {
    answer(ask(address, path))
}

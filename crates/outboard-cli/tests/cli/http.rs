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

/// Asks for a page, and leaves the answer to come.
pub(crate) fn ask(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket has a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("the server reads");
    stream
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
pub(crate) fn get(address: &str, path: &str) -> Answer {
    answer(ask(address, path))
}

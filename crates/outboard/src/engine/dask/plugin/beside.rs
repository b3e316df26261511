//! The program beside a Python worker: executes, by an engine `local` of its
//! own, what the plugin passes on.
//!
//! Stdin is a socket to the plugin. A hello goes out on it; a connection comes in
//! on it for each task that is under way at once, and when it ends, so does this
//! process. A connection that is closed takes its task along.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketType, recvmsg, send,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::{PROTOCOL, build, resource};
use crate::builder::Settings;
use crate::client::Client;
use crate::engine::dask::native::{Death, Done, Failed};
use crate::engine::local::process::die_with_parent;
use crate::error::{Cause, Error, Lost};
use crate::task::{Function, registry};

/// Set by the plugin: the version that it speaks, and options of `local`.
const VARIABLE: &str = "OUTBOARD_PLUGIN_OF";

/// What a task has before its arguments: two numbers and two lengths.
const HEAD: usize = 18;

/// What a request may have beside its arguments.
const ROOM: usize = 256 << 10;

/// Becomes the program beside a Python worker, and never returns, if this process
/// was started as that. What a task starts inherits the variable, but not the
/// socket.
pub(crate) fn serve_if_asked() {
    let Ok(asked) = std::env::var(VARIABLE) else { return };
    let socket_type = rustix::net::sockopt::socket_type(rustix::stdio::stdin());
    if socket_type != Ok(SocketType::STREAM) {
        return;
    }
    match take_stdin().and_then(|control| serve(&control, &asked)) {
        Ok(()) => exit(0),
        Err(error) => {
            eprintln!("outboard: this process cannot serve beside a worker: {error}");
            exit(1)
        }
    }
}

/// Takes the socket, and leaves stdin empty for the tasks.
fn take_stdin() -> io::Result<OwnedFd> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(control)
}

/// Serves until the plugin hangs up.
fn serve(control: &OwnedFd, asked: &str) -> io::Result<()> {
    set_apart()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (version, options) = asked.split_once('?').unwrap_or((asked, ""));
    let started = match version.parse() {
        Ok(PROTOCOL) => runtime.block_on(start(options)).map_err(|error| error.to_string()),
        _ => Err(format!("the plugin speaks version {version} of its protocol, not {PROTOCOL}")),
    };
    let mut rest = &hello(started.as_ref().err().map_or("", String::as_str))?[..];
    while !rest.is_empty() {
        let sent = send(control, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    match started {
        Ok(client) => accept(control, &runtime, client),
        // The plugin hangs up when it has read why.
        Err(_) => drop(connection(control)),
    }
    Ok(())
}

/// Into a process group of its own, which is killed when the thread of the plugin
/// that started this process ends.
fn set_apart() -> io::Result<()> {
    let own = rustix::process::getpid();
    if rustix::process::getpgrp() != own {
        rustix::process::setpgid(None, None)?;
    }
    die_with_parent()
}

async fn start(options: &str) -> Result<Client, Error> {
    let mut settings = Settings::default();
    for pair in options.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        settings.set(name, value).map_err(Error::unavailable)?;
    }
    settings.start_local().await
}

/// What the plugin is told at first, as parts with their lengths: the version, what
/// is wrong, which build this is, what to say when it is lost, and all that it
/// offers.
fn hello(problem: &str) -> io::Result<Vec<u8>> {
    let build = build()?;
    let functions = registry().map_err(io::Error::other)?.functions();
    let lost = Lost { pid: std::process::id(), cause: Some(Cause::Cluster), ..Lost::default() };
    let mut parts = vec![
        PROTOCOL.to_string().into_bytes(),
        problem.as_bytes().to_vec(),
        build.as_bytes().to_vec(),
        Failed::Lost(Death::from(&lost)).to_bytes(),
    ];
    let offered = functions.iter().map(|it| resource(build, it.name, it.signature).into_bytes());
    parts.extend(offered);
    let mut hello = vec![0; 4];
    for part in parts {
        hello.extend((part.len() as u32).to_le_bytes());
        hello.extend(part);
    }
    let length = (hello.len() - 4) as u32;
    hello[..4].copy_from_slice(&length.to_le_bytes());
    Ok(hello)
}

/// Serves the connections that come, until no more can.
fn accept(control: &OwnedFd, runtime: &Runtime, client: Client) {
    let client = Arc::new(client);
    while let Some(connection) = connection(control) {
        let (client, entered) = (client.clone(), runtime.enter());
        let stream =
            connection.set_nonblocking(true).and_then(|()| UnixStream::from_std(connection));
        drop(entered);
        match stream {
            Ok(stream) => {
                runtime.spawn(async move {
                    if let Err(error) = talk(stream, &client).await {
                        tracing::debug!(%error, "a connection of the plugin broke");
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "a connection of the plugin cannot be used"),
        }
    }
}

/// The next connection; `None` when the plugin has hung up.
fn connection(control: &OwnedFd) -> Option<StdStream> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        match recvmsg(control.as_fd(), &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes > 0 => {}
            Err(rustix::io::Errno::INTR) => continue,
            _ => return None,
        }
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        if let Some(descriptor) = descriptor {
            return Some(StdStream::from(descriptor));
        }
    }
}

/// Executes what comes over a connection, one task at a time.
async fn talk(stream: UnixStream, client: &Client) -> io::Result<()> {
    let (incoming, mut outgoing) = stream.into_split();
    let mut incoming = BufReader::new(incoming);
    let limit = client.payload_limit().saturating_add(ROOM);
    while !incoming.fill_buf().await?.is_empty() {
        let length = incoming.read_u64_le().await?;
        if length > limit as u64 {
            tokio::io::copy(&mut (&mut incoming).take(length), &mut tokio::io::sink()).await?;
            let line = format!(
                "the program beside the worker takes {limit} bytes at most, not \
                                {length}: give it `plugin.max_payload` in the URL"
            );
            outgoing.write_all(&failed(&Failed::Refused(line.clone()), &line)).await?;
            continue;
        }
        let mut request = Vec::new();
        (&mut incoming).take(length).read_to_end(&mut request).await?;
        let request = Request::read(request).ok_or(io::ErrorKind::InvalidData)?;
        let answer = tokio::select! {
            answer = request.execute(client) => answer,
            // Nothing is sent while a task is under way: it was hung up.
            _ = incoming.fill_buf() => return Ok(()),
        };
        outgoing.write_all(&answer).await?;
    }
    Ok(())
}

/// A task that the plugin passes on.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    timeout: Option<Duration>,
    priority: i32,
    name: String,
    key: String,
    args: Vec<u8>,
}

impl Request {
    fn read(mut bytes: Vec<u8>) -> Option<Self> {
        let (timeout, rest) = bytes.split_first_chunk()?;
        let (priority, rest) = rest.split_first_chunk()?;
        let (name_length, rest) = rest.split_first_chunk()?;
        let (key_length, rest) = rest.split_first_chunk()?;
        let name_length = usize::from(u16::from_le_bytes(*name_length));
        let key_length = u32::from_le_bytes(*key_length) as usize;
        let (name, rest) = rest.split_at_checked(name_length)?;
        let (key, _) = rest.split_at_checked(key_length)?;
        let timeout = u64::try_from(i64::from_le_bytes(*timeout)).ok().map(Duration::from_millis);
        let priority = i32::from_le_bytes(*priority);
        let [name, key] = [name, key].map(|text| String::from_utf8(text.to_vec()));
        bytes.drain(..HEAD + name_length + key_length);
        Some(Self { timeout, priority, name: name.ok()?, key: key.ok()?, args: bytes })
    }

    /// Gives the answer's bytes.
    async fn execute(self, client: &Client) -> Vec<u8> {
        let Some(function) = find(&self.name) else {
            let line = format!("no function is named `{}` here", self.name);
            return failed(&Failed::Refused(line.clone()), &line);
        };
        let mut client = client.priority(self.priority);
        if let Some(timeout) = self.timeout {
            client = client.timeout(timeout);
        }
        if function.pure {
            // What is shared has one key on the cluster already.
            client = client.key(&self.key);
        }
        match client.submit_encoded(function, self.args).with_report().await {
            Ok((output, report)) => answer(0, &[&Done::of(&report).encode(&output)]),
            Err(error) => failed(&Failed::of(&error), &error.to_string()),
        }
    }
}

fn find(name: &str) -> Option<&'static Function> {
    let functions = registry().ok()?.functions();
    let at = functions.binary_search_by_key(&name, |function| function.name).ok()?;
    Some(&functions[at])
}

/// A line for those who read Python only, then all that is known.
fn failed(failed: &Failed, line: &str) -> Vec<u8> {
    let length = (line.len() as u32).to_le_bytes();
    answer(1, &[&length, line.as_bytes(), &failed.to_bytes()])
}

fn answer(status: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut answer = Vec::with_capacity(9 + length);
    answer.extend((length as u64).to_le_bytes());
    answer.push(status);
    parts.iter().for_each(|part| answer.extend(*part));
    answer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As `struct.pack("<qiHI", …)` writes it.
    fn packed(timeout: i64, name: &str, key: &str, args: &[u8]) -> Vec<u8> {
        let mut bytes = timeout.to_le_bytes().to_vec();
        bytes.extend((-3_i32).to_le_bytes());
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend((key.len() as u32).to_le_bytes());
        bytes.extend([name.as_bytes(), key.as_bytes(), args].concat());
        bytes
    }

    #[test]
    fn a_request_is_as_the_plugin_packs_it() {
        let request = Request::read(packed(-1, "fib", "fib-1", b"\x07")).unwrap();
        assert_eq!((request.timeout, request.priority), (None, -3));
        assert_eq!((request.name.as_str(), request.key.as_str()), ("fib", "fib-1"));
        assert_eq!(request.args, b"\x07");
        let timed = Request::read(packed(1500, "f", "k", b"")).unwrap();
        assert_eq!(timed.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(Request::read(packed(0, "fib", "fib-1", b"")[..HEAD + 7].to_vec()), None);
    }

    #[test]
    fn the_hello_has_parts_with_their_lengths() {
        let hello = hello("no").unwrap();
        assert_eq!(hello[..4], ((hello.len() - 4) as u32).to_le_bytes());
        assert_eq!(hello[4..15], *b"\x01\0\0\01\x02\0\0\0no");
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Request::read(bytes);
        }
    }
}

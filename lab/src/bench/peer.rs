//! Second processes: this very program, started again in a hidden mode, with a
//! blocking socket pair between.
//!
//! The socket is the peer's stdin. When it ends, because this process has ended
//! in whatever way, the peer ends too.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::work::work;

/// The bytes of a message of a bare ping-pong, and of a bare stream: about what
/// a trivial task has on the wire.
pub(super) const MESSAGE_BYTES: usize = 16;

/// What a peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Gives back so many bytes, again and again
    Echo,
    /// Answers every message of a stream by a write of its own
    Answer,
    /// Works so many rounds, as it is told
    Work,
    /// Keeps all cores awake
    Spin,
    /// Holds so many MiB, and computes until it is killed
    Hold,
    /// Sends requests to a server
    Load,
    /// Reads a text of a server, a hundred times at once
    Browsers,
    /// Starts a client, and tells when the first result came
    FirstResult,
    /// Fills a queue with so many tasks
    Queue,
}

/// A second process, as its parent sees it; killed when dropped.
#[derive(Debug)]
pub(super) struct Peer {
    child: Child,
    pub(super) socket: UnixStream,
}

impl Peer {
    pub(super) fn start(role: Role, number: u64) -> anyhow::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let role = role.to_possible_value().expect("no role is skipped");
        // A deploy may have replaced the file.
        let mut command = Command::new("/proc/self/exe");
        command.args(["peer", role.get_name(), &number.to_string()]);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let child = command.spawn().context("cannot start a second process")?;
        Ok(Self { child, socket })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the one byte by which a peer says that it has come so far.
    pub(super) fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        self.socket.read_exact(&mut [0]).context("a second process ended at its start")
    }

    /// Sends bytes, and reads as many into `back`.
    pub(super) fn exchange(&mut self, bytes: &[u8], back: &mut [u8]) -> anyhow::Result<()> {
        self.socket.write_all(bytes)?;
        Ok(self.socket.read_exact(back)?)
    }

    /// What the peer says.
    pub(super) fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        hear(&mut self.socket)?.context("a second process ended without a word")
    }

    pub(super) fn say(&mut self, what: &impl Serialize) -> anyhow::Result<()> {
        say(&mut self.socket, what)
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This process's end of the socket, if it is a peer.
pub(super) fn parent() -> anyhow::Result<UnixStream> {
    Ok(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?.into())
}

/// What the other end says: its length, and JSON. `None` when it says no more.
pub(super) fn hear<T: DeserializeOwned>(socket: &mut UnixStream) -> anyhow::Result<Option<T>> {
    let mut length = [0; 4];
    if !fill(socket, &mut length)? {
        return Ok(None);
    }
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    socket.read_exact(&mut text)?;
    Ok(Some(serde_json::from_slice(&text)?))
}

pub(super) fn say(socket: &mut UnixStream, what: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_vec(what)?;
    socket.write_all(&u32::try_from(text.len())?.to_le_bytes())?;
    Ok(socket.write_all(&text)?)
}

/// Ends this process when the parent's end of the socket closes, from now on.
pub(super) fn end_with_parent(socket: &UnixStream) -> anyhow::Result<()> {
    let socket = socket.try_clone()?;
    std::thread::spawn(move || {
        wait_for_the_end(socket);
        std::process::exit(0);
    });
    Ok(())
}

/// Returns when the parent's end of the socket closes.
pub(super) fn wait_for_the_end(mut socket: UnixStream) {
    while matches!(socket.read(&mut [0]), Ok(1)) {}
}

pub(super) fn echo(mut socket: UnixStream, bytes: usize) -> anyhow::Result<()> {
    let mut buffer = vec![0; bytes];
    while fill(&mut socket, &mut buffer)? {
        socket.write_all(&buffer)?;
    }
    Ok(())
}

pub(super) fn answer(mut socket: UnixStream) -> anyhow::Result<()> {
    let mut buffer = [0; 4096];
    let mut held = 0;
    loop {
        match socket.read(&mut buffer[held..])? {
            0 => return Ok(()),
            more => held += more,
        }
        let whole = held - held % MESSAGE_BYTES;
        for message in buffer[..whole].chunks(MESSAGE_BYTES) {
            socket.write_all(message)?;
        }
        buffer.copy_within(whole..held, 0);
        held -= whole;
    }
}

pub(super) fn work_as_told(mut socket: UnixStream) -> anyhow::Result<()> {
    let mut rounds = [0; 8];
    while fill(&mut socket, &mut rounds)? {
        let result = work(u64::from_le_bytes(rounds));
        socket.write_all(&result.to_le_bytes())?;
    }
    Ok(())
}

/// Reads the whole buffer; `false` at an end that comes before its first byte.
fn fill(socket: &mut UnixStream, buffer: &mut [u8]) -> anyhow::Result<bool> {
    let first = socket.read(buffer)?;
    if first == 0 && !buffer.is_empty() {
        return Ok(false);
    }
    match socket.read_exact(&mut buffer[first..]) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bail!("half a message"),
        Err(error) => Err(error.into()),
    }
}

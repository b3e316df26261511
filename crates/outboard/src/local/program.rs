//! Which program this process is, and whether it was started as a worker: what
//! both ends have to agree on before they talk.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use rustix::fs::{FileType, fstat};

use code::Code;

use super::wire::VERSION;
use crate::task::registry::registry;

mod code;
#[cfg(all(feature = "sandbox", target_os = "linux"))]
pub(crate) mod kernel;

/// Set for worker processes: the number of the process that started it.
pub(crate) const VARIABLE: &str = "OUTBOARD_WORKER_OF";

/// Set beside it: the version of this library that started it. Another version in
/// the same program has an `init` of its own, and leaves that worker alone.
pub(crate) const VERSION_VARIABLE: &str = "OUTBOARD_WORKER_VERSION";

/// Set beside it: the inode of the worker's socket, which is its stdin.
pub(crate) const SOCKET_VARIABLE: &str = "OUTBOARD_WORKER_SOCKET";

/// Whether this process was started as a worker. Programs that a task starts
/// inherit the variables, but not the socket: a worker takes that from its stdin
/// before it runs anything. Their parent proves nothing, for it may be the server,
/// where that adopts processes.
pub(crate) fn is_worker() -> bool {
    let version = std::env::var(VERSION_VARIABLE);
    if version.is_ok_and(|version| version != env!("CARGO_PKG_VERSION")) {
        return false;
    }
    let named: Option<u64> = std::env::var(SOCKET_VARIABLE).ok().and_then(|it| it.parse().ok());
    let stdin = || socket_inode(rustix::stdio::stdin()).ok();
    named_parent().is_some() && named.is_some_and(|socket| stdin() == Some(socket))
}

pub(super) fn named_parent() -> Option<u32> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}

/// The number by which the system knows a socket.
///
/// # Errors
///
/// The system's; or it is no socket.
pub(crate) fn socket_inode(socket: impl AsFd) -> io::Result<u64> {
    let stat = fstat(socket)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => Ok(stat.st_ino),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A digest of this binary and its task functions: equal in every process that
/// may exchange code addresses.
pub(crate) fn digest() -> u64 {
    static DIGEST: OnceLock<u64> = OnceLock::new();
    *DIGEST.get_or_init(make_digest)
}

fn make_digest() -> u64 {
    let mut hasher = DefaultHasher::new();
    VERSION.hash(&mut hasher);
    registry().map_or(0, |registry| registry.digest()).hash(&mut hasher);
    Code::running().hash(&mut hasher);
    hasher.finish()
}

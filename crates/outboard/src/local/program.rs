//! Which program this process is, and whether it was started as a worker: what
//! both ends have to agree on before they talk.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use rustix::net::SocketType;

use code::Code;

use super::wire::VERSION;
use crate::task::registry::registry;

mod code;

/// Set for worker processes: the number of the process that started it.
pub(crate) const VARIABLE: &str = "OUTBOARD_WORKER_OF";

/// Set beside it: the version of this library that started it. Another version in
/// the same program has an `init` of its own, and leaves that worker alone.
pub(crate) const VERSION_VARIABLE: &str = "OUTBOARD_WORKER_VERSION";

/// Whether this process was started as a worker. Programs that a task starts
/// inherit the variable, but not the parent.
pub(crate) fn is_worker() -> bool {
    let version = std::env::var(VERSION_VARIABLE);
    if version.is_ok_and(|version| version != env!("CARGO_PKG_VERSION")) {
        return false;
    }
    named_parent().is_some_and(|parent| parent == std::os::unix::process::parent_id() || orphaned())
}

pub(super) fn named_parent() -> Option<u32> {
    std::env::var(VARIABLE).ok()?.parse().ok()
}

/// Whether the process that started this worker is already gone: the socket is
/// there, which no program that a task starts inherits.
fn orphaned() -> bool {
    let socket_type = rustix::net::sockopt::socket_type(rustix::stdio::stdin());
    socket_type == Ok(SocketType::STREAM)
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

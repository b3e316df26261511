//! Rust functions on ordinary Python workers: a plugin keeps this very program
//! beside each worker, and passes tasks on to it.
//!
//! `ship` is the client's side: it gives the plugin, as source, to the scheduler.
//! `beside` is the program's: it executes by the engine `local` what comes over
//! its stdin. What lies between is Python, in `python/outboard_dask`.

/// The program beside a worker.
#[cfg(all(feature = "local", target_os = "linux"))]
mod beside;
/// The plugin, on its way to the workers.
mod ship;

#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use beside::{asked, serve};
pub(super) use ship::{Plugin, ship, why_not};

use std::io::{self, Read};
use std::sync::OnceLock;
use std::time::Duration;

use dask_protocol::pickle::Pickle;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::graph::Terms;
use crate::task::registry::Function;
use crate::value::message;

/// The version of what is said between client, plugin and program.
#[cfg(all(feature = "local", target_os = "linux"))]
const PROTOCOL: u32 = 3;

/// The module by which tasks know the plugin.
const MODULE: &str = "outboard_dask_v3";

/// What the program is told of a task before its arguments: the plugin does not
/// look into it, and both ends are of one build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head<'a> {
    name: &'a str,
    key: &'a str,
    /// The pool that it is for, if one is named.
    pool: Option<&'a str>,
    priority: i32,
    timeout: Option<Duration>,
    grace: Option<Duration>,
    context: Option<String>,
    level: u8,
    topic: Option<String>,
}

/// What a program is asked: the first byte of a request.
mod asked {
    /// To execute a task: a [`Head`](super::Head) and the arguments.
    pub(super) const TASK: u8 = 0;
    /// For items: three numbers of eight bytes, of which the last may be -1, and the stream.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(super) const ITEMS: u8 = 1;
    /// For progress: keys, each after its length in four bytes.
    #[cfg(all(feature = "local", target_os = "linux"))]
    pub(super) const PROGRESS: u8 = 2;
}

/// A pickle that, when a worker loads it, calls the plugin of that build with a request.
pub(super) fn call(build: &str, key: &str, request: &[u8]) -> Vec<u8> {
    let mut pickle = Pickle::new();
    pickle.global(MODULE, "call");
    pickle.tuple(|pickle| {
        pickle.str(build);
        pickle.str(key);
        pickle.bytes(request);
    });
    pickle.call();
    pickle.finish()
}

/// What the program is told of a task, and its arguments.
pub(super) fn request(
    name: &str,
    key: &str,
    pool: Option<&str>,
    priority: i32,
    terms: &Terms,
    payload: &[u8],
) -> Vec<u8> {
    let Terms { timeout, grace, context, level, topic } = terms.clone();
    let head = Head { name, key, pool, priority, timeout, grace, context, level, topic };
    let mut request = Vec::with_capacity(payload.len() + 256);
    request.push(asked::TASK);
    message::append(&head, &mut request);
    request.extend_from_slice(payload);
    request
}

/// The resource of Python workers with a program beside them that offers a Rust
/// function.
pub(super) fn resource(build: &str, function: &Function) -> String {
    format!("outboard@{build}:{}:{}", function.name, function.version)
}

/// What tells this program from every other, and from other builds of itself: a
/// digest of its file. It reads all of that, once.
///
/// # Errors
///
/// The system's.
fn build() -> io::Result<&'static str> {
    static BUILD: OnceLock<String> = OnceLock::new();
    if let Some(known) = BUILD.get() {
        return Ok(known);
    }
    let digest = digest_of(std::fs::File::open("/proc/self/exe")?)?;
    Ok(BUILD.get_or_init(|| digest))
}

/// The same, on a thread where that may take a while.
///
/// # Errors
///
/// The system's.
pub(super) async fn own_build() -> io::Result<&'static str> {
    tokio::task::spawn_blocking(build).await.map_err(io::Error::other)?
}

fn digest_of(mut file: impl Read) -> io::Result<String> {
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => digest.update(&buffer[..length]),
        }
    }
    let digest = digest.finish();
    Ok(digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_loaded_by_the_worker() {
        let request = request("fib", "k-1", None, -1, &Terms::default(), b"\x07");
        let expected = b"\x80\x04\x8c\x10outboard_dask_v3\x8c\x04call\x93(\x8c\x02ab\x8c\x03k-1\
            C\x11\0\x03fib\x03k-1\0\x01\0\0\0\0\0\x07tR.";
        assert_eq!(call("ab", "k-1", &request), expected);
    }

    #[test]
    fn the_module_has_the_protocols_number() {
        assert!(MODULE.ends_with(&format!("_v{PROTOCOL}")));
        assert!(ship::SOURCE.contains(&format!("\nPROTOCOL = {PROTOCOL}\n")));
    }

    #[test]
    fn builds_are_told_apart_by_their_bytes() {
        assert_eq!(digest_of(&b""[..]).unwrap(), "e3b0c44298fc1c14");
        assert_ne!(digest_of(&b"a"[..]).unwrap(), digest_of(&b"b"[..]).unwrap());
        assert_eq!(build().unwrap(), build().unwrap());
    }
}

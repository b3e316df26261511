//! The thread of a worker that notices the end of its server, whatever its tasks do to the
//! signal that says so.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::Builder;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use crate::local::process::end::{kill_own_group, parent_has_ended};
use crate::local::process::signals::Mask;
use crate::os::process::parent;
use crate::os::refused;
use crate::os::socket::HUNG_UP;

/// How long an idle worker may take to leave after its server has hung up.
const LINGER: Duration = Duration::from_secs(10);

/// How often is looked whether the server lives, where nothing tells it.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often is looked for the server's process, where no descriptor tells its end.
const LOOKS: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// It calls nothing deep.
const STACK_BYTES: usize = 128 << 10;

/// Starts the thread. `is_idle` says whether this worker is on its way out by itself when
/// its server hangs up.
///
/// # Errors
///
/// The system's.
pub(super) fn start(socket: &UnixStream, is_idle: fn() -> bool) -> io::Result<()> {
    let socket = socket.try_clone()?;
    let server = parent();
    // The thread is born with its mask: signals that tasks have use for are not for it.
    let mask = Mask::now();
    Mask::all_but_parents_end().set();
    let thread =
        Builder::new().name("outboard-watch".into()).stack_size(STACK_BYTES).spawn(move || {
            wait_for_the_end(&socket, server.as_ref());
            linger(is_idle);
        });
    mask.set();
    thread.map(drop).map_err(|error| refused("start a thread", error))
}

/// Waits until the server hangs up, or its process ends. Where nothing tells that but the
/// socket, whose other end a child of the server may have, it is looked now and then.
fn wait_for_the_end(socket: &UnixStream, server: Option<&OwnedFd>) {
    let mut watched = vec![PollFd::new(socket, HUNG_UP)];
    watched.extend(server.map(|server| PollFd::new(server, PollFlags::IN)));
    let patience = server.is_none().then_some(&LOOKS);
    loop {
        match poll(&mut watched, patience) {
            Err(Errno::INTR) => {}
            Ok(0) if !parent_has_ended() => {}
            _ => return,
        }
    }
}

/// The server has ended or hung up: ends this process if it does not end by itself.
///
/// A server that lives has sent an idle worker away, which exits as programs do. It wants
/// nothing more of a busy one, and may not be able to kill it: it may have given up the
/// right to.
fn linger(is_idle: fn() -> bool) {
    let mut left = LINGER;
    while is_idle() && !parent_has_ended() && !left.is_zero() {
        std::thread::sleep(INTERVAL);
        left = left.saturating_sub(INTERVAL);
    }
    kill_own_group();
}

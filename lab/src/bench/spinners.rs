//! Idle-class threads, one on each core, in a process of their own.
//!
//! A virtual core that has nothing to do halts, and to wake it again costs a
//! trip through the host, which says nothing about Outboard. A thread of the
//! idle class keeps it awake and gives way at once to everyone else. In another
//! process, so that this one's memory maps are nobody's business there.

use std::hint::black_box;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, anyhow};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::cores::{bind, cores};
use super::peer::{Peer, Role, wait_for_the_end};

/// Spins until dropped.
#[derive(Debug)]
pub(super) struct Spinners {
    _peer: Peer,
}

impl Spinners {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut peer = Peer::start(Role::Spin, 0)?;
        peer.wait_until_ready().context("no spinners")?;
        Ok(Self { _peer: peer })
    }
}

/// The process of the spinners.
pub(super) fn serve(mut socket: UnixStream) -> anyhow::Result<()> {
    let (ready, started) = channel();
    let cores = cores()?;
    for core in cores.clone() {
        let ready = ready.clone();
        thread::spawn(move || spin(core, &ready));
    }
    for _ in cores {
        started.recv().context("a spinner ended")??;
    }
    socket.write_all(b".")?;
    wait_for_the_end(socket);
    Ok(())
}

fn spin(core: usize, ready: &Sender<anyhow::Result<()>>) {
    let prepared = prepare(core);
    let failed = prepared.is_err();
    // The one that listens ends when any has failed.
    let _ = ready.send(prepared);
    if failed {
        return;
    }
    loop {
        black_box(());
    }
}

/// Binds this thread to a core, and makes it give way to all others.
fn prepare(core: usize) -> anyhow::Result<()> {
    bind(None, core)?;
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
        .map_err(|error| anyhow!("no idle class: {error:?}"))
}

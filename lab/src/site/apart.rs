//! A server as a process of its own, so that a crash is its own as well. When
//! it has died it is started again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process, setrlimit, waitid,
};
use tokio::sync::watch;

use super::{before, start, threads};
use crate::failure::Failure;
use crate::limits;
use crate::signals::Signals;

/// How long a server that died is away: long enough to be seen.
const AWAY: Duration = Duration::from_millis(1500);

/// The memory that such a server may have, in bytes, as a container would limit
/// it.
const MEMORY_BYTES: u64 = 1 << 30;

/// Which server a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    Before,
    Threads,
}

/// The arguments of `lab apart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    role: Role,
}

/// A server in a process of its own.
///
/// Dropping it kills it, without waiting for the end.
#[derive(Debug)]
pub(crate) struct Apart {
    role: Role,
    address: SocketAddr,
    kept: Arc<Kept>,
    ended: watch::Receiver<bool>,
}

/// What the thread that keeps the process shares with others.
#[derive(Debug, Default)]
struct Kept {
    state: Mutex<State>,
    /// Somebody wants it to end.
    stop: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The process, while there is one.
    pid: Option<Pid>,
    stopping: bool,
}

/// Whether a server is there, for those who show it.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<Kept>);

impl Pulse {
    /// The process, if it is there.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.0.lock().pid.map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the process, and lets no other follow it.
    fn end(&self, signal: Signal) {
        let mut state = self.lock();
        state.stopping = true;
        if let Some(pid) = state.pid {
            // It was not waited for yet, so the number is still its own.
            let _ = kill_process(pid, signal);
        }
        self.stop.notify_all();
    }

    /// Waits until it is time to start it again; `false` if it is not to be.
    fn is_to_return(&self) -> bool {
        let until = Instant::now() + AWAY;
        let mut state = self.lock();
        while !state.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.stop.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

impl Role {
    /// The server's name.
    fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Threads => "threads",
        }
    }
}

impl Apart {
    /// Starts the process, which serves on `listener`.
    pub(crate) fn start(role: Role, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let kept = Arc::new(Kept::default());
        let (end, ended) = watch::channel(false);
        let thread = std::thread::Builder::new().name(format!("keep {}", role.name()));
        let child = Arc::clone(&kept);
        // The process ends with the thread that started it: this one stays.
        thread.spawn(move || {
            keep(role, listener, &child);
            end.send_replace(true);
        })?;
        Ok(Self { role, address, kept, ended })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.role.name()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(Arc::clone(&self.kept))
    }

    /// Asks it to finish what runs, and to end.
    pub(crate) fn stop(&self) {
        self.kept.end(Signal::TERM);
    }

    /// Waits until it has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping it stops the waiting only.
    pub(crate) async fn ended(&mut self) {
        // An error means that the thread has gone, and the process with it.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.kept.end(Signal::KILL);
    }
}

/// Starts the process, again and again, until it is not to be there any more.
fn keep(role: Role, listener: TcpListener, kept: &Kept) {
    let address = listener.local_addr();
    let mut listener = Ok(listener);
    loop {
        let ended = listener.and_then(|listener| attend(role, listener, kept));
        let again = kept.is_to_return();
        if !again {
            return;
        }
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        eprintln!("lab: {} ended ({how}), and is started again", role.name());
        listener = address
            .as_ref()
            .map_or(Err(io::ErrorKind::AddrNotAvailable.into()), |address| start::bind(*address));
    }
}

/// Starts the process and waits for its end.
fn attend(role: Role, listener: TcpListener, kept: &Kept) -> io::Result<ExitStatus> {
    let child = {
        let mut state = kept.lock();
        if state.stopping {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let child = spawn(role, listener)?;
        state.pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        child
    };
    wait(child, kept)
}

fn spawn(role: Role, listener: TcpListener) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["apart", role.name()])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        // Ctrl-C is for the one who started it.
        .process_group(0)
        .spawn()
}

fn wait(mut child: Child, kept: &Kept) -> io::Result<ExitStatus> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It keeps its number until nobody will send it a signal any more.
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    }
    kept.lock().pid = None;
    child.wait()
}

/// `lab apart`: is that process.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(io::Error::from)?;
    limits::raise_open_files();
    let limit = Rlimit { current: Some(MEMORY_BYTES), maximum: Some(MEMORY_BYTES) };
    setrlimit(Resource::Data, limit).map_err(io::Error::from)?;

    let listener = rustix::stdio::stdin().try_clone_to_owned().context("stdin is no listener")?;
    let listener = TcpListener::from(listener);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let server = match args.role {
        Role::Before => start::serve_before(listener, before::harmful())?,
        Role::Threads => start::serve_threads(listener, threads::harmful())?,
    };
    runtime.block_on(async {
        signals.next().await;
        if let Some(cut) = server.stop().ended().await {
            eprintln!("lab: {cut}");
        }
    });
    // What it still computes, nothing can stop but the end of this process.
    Ok(())
}

//! How a worker process is started: what it is told, and what is watched of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::net::SendFlags;
use tokio::io::Interest;

use super::Supervisor;
use crate::engine::restart::Restart;
use crate::engine::settings::{Env, Settings};
use crate::local::process::reaping::{Reaper, start_worker, worker_is_reaped};
use crate::local::process::{Owning, Watched, watch};
use crate::local::program::{SOCKET_VARIABLE, VARIABLE, VERSION_VARIABLE, socket_inode};
use crate::local::server::Start;
use crate::local::server::link::{Ears, Link, Process, Reader};
use crate::local::server::output::{Output, Stream};
use crate::local::server::wear::Wear;
use crate::local::shm::arena::Arena;
use crate::local::shm::page::Page;
use crate::local::shm::{passing, sealed};
use crate::local::wire::{self, InPool, ToWorker};
use crate::os::process::{Handle, PIPES_TELL_READERS, program};
use crate::os::{bell, refused, socket};
use crate::value::args::Args;

/// Where libraries look for how many threads they may start.
const THREADS: [&str; 9] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "TOKIO_WORKER_THREADS",
];

impl Supervisor {
    /// Starts a process, from this thread: its parent-death signal fires when that ends.
    ///
    /// `slot` is the one that it has from its start, if it has one.
    pub(super) fn spawn(&self, number: usize, slot: Option<usize>) -> io::Result<Process> {
        let in_pool = slot.map(|slot| slot as u32);
        let pair = socket::pair();
        let (ours, theirs) = pair.map_err(|error| refused("socketpair", error))?;
        let (page, page_fd) = Page::create()?;
        let (arena, arena_fd) = Arena::create()?;
        // The first message is in the socket before its reader exists.
        let (stderr, writes) = io::pipe().map_err(|error| refused("pipe", error))?;
        let mut passed = vec![page_fd.as_fd(), arena_fd.as_fd()];
        let bell = bell::create()?;
        // The worker tells them apart by the system.
        passed.extend(bell.as_ref().map(AsFd::as_fd));
        passed.extend(PIPES_TELL_READERS.then_some(stderr.as_fd()));
        page.request(self.welcome(&ours, (number, in_pool), &passed)?);
        let file = self.file()?;
        let mut command = self.command(file, number)?;
        command.stderr(writes);
        if let (Some(slot), Some(Env(env))) = (slot, &self.settings.env) {
            command.envs(env(slot));
        }
        command.env(SOCKET_VARIABLE, socket_inode(&theirs)?.to_string());
        let spawned = start_worker(command.stdin(OwnedFd::from(theirs)));
        let execute = || format!("execute {}", file.display());
        let mut child = spawned.map_err(|error| refused(&execute(), error))?;
        let numbers = (number, in_pool);
        let adopted = self.adopt(numbers, &mut child, (ours, bell), stderr.into(), (page, arena));
        if adopted.is_err() {
            child.kill()?;
            child.wait()?;
            worker_is_reaped(child.id());
        }
        adopted
    }

    /// Makes a process that was started one that is looked after.
    fn adopt(
        &self,
        (number, in_pool): (usize, Option<u32>),
        child: &mut Child,
        (stream, bell): (StdUnixStream, Option<OwnedFd>),
        stderr: OwnedFd,
        memory: (Page, Arena),
    ) -> io::Result<Process> {
        let handle = Arc::new(Handle::of(child.id())?);
        let ended = watch(handle.clone(), Interest::READABLE)?;
        let stdout = child.stdout.take().map(|out| self.output(out.into(), Stream::Stdout, number));
        let stdout = stdout.transpose()?;
        let stderr = self.output(stderr, Stream::Stderr, number)?;
        let streams = [Arc::new(stream.try_clone()?), Arc::new(stream)];
        streams[0].set_nonblocking(true)?;
        let read = self.register(streams[0].clone())?;
        let bell = bell.map(|bell| self.register(Arc::new(bell))).transpose()?;
        let Settings { recycling, worker, .. } = self.settings;
        let wear = Wear::of(recycling, worker.memory_bytes, Instant::now());
        let link = Link::new(
            number,
            child.id(),
            handle,
            memory,
            streams,
            self.runtime.clone(),
            (wear, in_pool, self.settings.python.is_some(), self.settings.spin()),
        );
        self.read(&link, read, bell);
        let reaper = Reaper::start(child.id());
        let reaper = reaper.map_err(|error| refused("start a thread", error))?;
        let group = self.groups.borrow_mut().add(number, child.id());
        Ok(Process::new(link, ended, (group, reaper), stdout, stderr))
    }

    /// Has the client's runtime watch what a worker's reader reads, which lives there.
    fn register<T: Owning>(&self, read: Arc<T>) -> io::Result<Watched<T>> {
        let _inside = self.runtime.enter();
        watch(read, Interest::READABLE)
    }

    fn read(&self, link: &Arc<Link>, read: Watched<StdUnixStream>, bell: Option<Watched<OwnedFd>>) {
        let (gate, links) = (self.gate.clone(), self.links.clone());
        let hears = self.level() > 0;
        let elsewhere = self.start.elsewhere();
        let ears = Ears::new(gate, links, self.control.clone(), link.clone(), elsewhere);
        self.runtime.spawn(Reader::new(ears, bell, hears).serve(read));
    }

    /// The level of what tasks may say.
    fn level(&self) -> u8 {
        crate::trace::level().max(self.settings.said)
    }

    fn output(&self, pipe: OwnedFd, stream: Stream, number: usize) -> io::Result<Output> {
        let printer = self.printer.clone().expect("there until the supervisor ends");
        Output::new(pipe, stream, number, printer)
    }

    /// What is executed.
    fn file(&self) -> io::Result<&Path> {
        match &self.start {
            Start::Again(_) => program().map(Path::new),
            Start::Program(program) => Ok(&program.path),
        }
    }

    fn welcome(
        &self,
        socket: &StdUnixStream,
        (number, slot): (usize, Option<u32>),
        passed: &[BorrowedFd<'_>],
    ) -> io::Result<usize> {
        let mut frame = Vec::new();
        let message = ToWorker::Welcome {
            number: number as u32,
            max_payload: self.settings.limits.payload as u64,
            niceness: self.settings.niceness.into(),
            level: self.level(),
            limits: self.settings.worker,
            sandbox: self.settings.sandbox.clone(),
            panics: self.settings.output.panics(),
            pool: InPool {
                name: self.gate.pool().to_owned(),
                slot,
                configured: self.config().is_some(),
                lists: matches!(self.start, Start::Program(_)),
            },
            python: self.settings.python.clone(),
            spin_ns: self.settings.spin().as_nanos() as u64,
        };
        wire::append(&mut frame, &message, &[]);
        let sent = passing::send(socket, &frame, passed, SendFlags::empty())?;
        Ok(sent + self.configure(socket)?)
    }

    /// What functions on start are given, and before it the values that it names; gives how
    /// many bytes that is.
    fn configure(&self, socket: &StdUnixStream) -> io::Result<usize> {
        let send = |message: &ToWorker, file: BorrowedFd<'_>| {
            let mut frame = Vec::new();
            wire::append(&mut frame, message, &[]);
            // Nobody reads yet: it must not wait.
            passing::send(socket, &frame, &[file], SendFlags::DONTWAIT)
        };
        let Some((of_type, value)) = self.config() else { return Ok(0) };
        let mut sent = 0;
        for entry in value.scattered() {
            if let Some(file) = &entry.file {
                sent += send(&ToWorker::Share { id: entry.id }, file.as_fd())?;
            }
        }
        let file = sealed::create(value)?;
        let message =
            ToWorker::Configure { of_type: of_type.to_owned(), bytes: value.len() as u64 };
        Ok(sent + send(&message, file.as_fd())?)
    }

    fn config(&self) -> Option<(&str, &Args)> {
        let config = self.settings.config.as_ref()?;
        Some((&config.of_type, config.value.as_ref().ok()?))
    }

    fn command(&self, file: &Path, number: usize) -> io::Result<Command> {
        let mut command = Command::new(file);
        let mut name = match &self.start {
            Start::Again(_) => std::env::args_os().next().unwrap_or_default(),
            Start::Program(program) => program.path.clone().into(),
        };
        name.push(format!(" (outboard worker {number})"));
        command
            .arg0(name)
            .env(VARIABLE, std::process::id().to_string())
            .env(VERSION_VARIABLE, env!("CARGO_PKG_VERSION"))
            // Programs that a task starts are no workers of the cluster.
            .env_remove("OUTBOARD_WORKER")
            .stdout(Stdio::piped())
            .process_group(0);
        let threads = self.settings.threads_of_a_library().map(|threads| threads.to_string());
        let unset = |name: &&str| std::env::var_os(name).is_none();
        if let Some(threads) = threads {
            command.envs(THREADS.into_iter().filter(unset).map(|name| (name, &threads)));
        }
        if let Start::Again(Restart::Test(name)) = self.start {
            let args = [name, "--exact", "--nocapture", "--test-threads=1"];
            let nowhere = File::options().write(true).open("/dev/null");
            command.args(args).stdout(nowhere.map_err(|error| refused("open /dev/null", error))?);
        }
        Ok(command)
    }
}

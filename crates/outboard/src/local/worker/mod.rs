//! What a worker process does: read a task, run it, write its result, one task
//! at a time on one thread.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::time::ClockId;

use super::process::close_inherited;
use super::process::end::{die_with_parent, leave_group, outlive_requests};
use super::process::signals::stop_ignoring;
use super::program::{digest, named_parent};
use super::shm::answers::{Due, LONGEST_BYTES, Speaker};
use super::shm::arena::{Arena, Half, IN_PLACE_BYTES, Ring};
use super::shm::page::Page;
use super::shm::{passing, sealed};
use super::wire::{
    self, FromWorker, FunctionRef, InPool, Inbox, Listed, MESSAGE_ROOM, Place, ToWorker, VERSION,
};
use crate::error::loss::OUR_WORDS;
use crate::os::process::PIPES_TELL_READERS;
use crate::os::{adopted, process as system, refused, usage};
use crate::task::closure::address;
use crate::task::execute::{Panics, execute, leave_panics_unsaid, record_panics};
use crate::task::function::Run;
use crate::task::outcome::{Failure, OTHER_BUILD, Usage};
use crate::task::receive;
use crate::task::registry::registry;
use crate::task::sandbox::Sandbox;
use crate::task::start::{self, Config};
use crate::task::system::now_ns;
use crate::trace;
use crate::value::args::Args;
use crate::value::codec::{self, Input};
use crate::value::feed::Line;
use crate::value::feed::socket::Socket;
use crate::value::message;
use crate::value::payload::Payload;
use crate::value::scatter;

/// Tasks that are executed in one call.
mod batch;
/// How the server is woken.
mod bell;
/// The task that runs, for whoever asks in this process.
mod current;
/// What a task sends before it ends.
mod items;
/// What tasks keep of their arguments.
mod kept;
/// Arguments that are lent to a task while it forks.
mod lending;
/// The limits that this worker sets itself.
mod limits;
/// What a task took.
mod meter;
/// What a worker becomes whose tasks are Python's.
mod python;
/// What a task says, on its way to the server.
mod relay;
/// The rules that it enters once its start is over.
#[cfg(all(feature = "sandbox", target_os = "linux"))]
mod sandbox;
/// How it waits for the next task.
mod spinning;
/// Where in stderr a task begins.
mod stderr;
/// What a task changes of this process.
mod traces;
/// The thread that notices the end of the server.
mod watch;

use batch::Member;
use bell::Bell;
use current::InWorker;
use limits::CpuLimit;
use meter::Meter;
use python::{Told, become_python};
use spinning::{Next, Spinning};
use stderr::Stderr;
use traces::{Found, Traces, Trust};

/// Up to this size a result goes along with the answer.
const SMALL_BYTES: usize = LONGEST_BYTES - 100;

/// Becomes a worker, and never returns: this process was started as one.
pub(crate) fn run_as_worker(setup: impl FnOnce(), in_test: bool) -> ! {
    current::become_worker();
    let ready = Worker::start(in_test).and_then(|worker| {
        setup();
        worker.current.exit_if_forked(Ok(()));
        record_panics();
        // Again: the system forgets it when `setup` gives up privileges.
        die_with(named_parent())?;
        Ok(worker)
    });
    match ready {
        Ok(worker) => worker.serve_on_its_stack(),
        Err(error) => leave("could not become a worker", &error),
    }
}

/// Ends this process for what became of its conversation: quietly if the server hung
/// up.
fn leave(what: &str, error: &io::Error) -> ! {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => depart(),
        _ => give_up(&format!("{what}: {error}")),
    }
}

/// Ends this process because its server hung up, and what tasks left in its group: the
/// server may be gone, and nobody else would.
fn depart() -> ! {
    leave_group();
    exit(0)
}

/// Says why in one line, which is the last, and ends this process.
fn give_up(why: &str) -> ! {
    say_last(why);
    leave_group();
    exit(1)
}

fn say_last(why: &str) {
    eprintln!("{OUR_WORDS}{}", why.replace('\n', " "));
}

/// Arms the end of this process with its parent, which may be gone already.
fn die_with(parent: Option<u32>) -> io::Result<()> {
    die_with_parent()?;
    if parent != Some(std::os::unix::process::parent_id()) {
        depart();
    }
    Ok(())
}

/// The answer that is owed to a task. It can only be given together with the arguments
/// ([`Worker::answer`]), so no path to an answer forgets to let go of them.
#[must_use]
struct Owed {
    /// Where the arguments lie.
    args: Place,
}

/// What a task is answered with.
struct Answer {
    message: FromWorker,
    payload: Payload,
    file: Option<OwnedFd>,
}

impl From<FromWorker> for Answer {
    fn from(message: FromWorker) -> Self {
        Self { message, payload: Payload::copy(&[]), file: None }
    }
}

/// Enters the sandbox, if there is to be one.
fn enter(sandbox: Option<&Sandbox>) -> io::Result<()> {
    let entered: io::Result<()> = match sandbox {
        None => Ok(()),
        #[cfg(all(feature = "sandbox", target_os = "linux"))]
        Some(sandbox) => sandbox::enter(sandbox),
        #[cfg(not(all(feature = "sandbox", target_os = "linux")))]
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
    };
    entered.map_err(|error| {
        io::Error::new(error.kind(), format!("the sandbox cannot be had: {error}"))
    })
}

struct Worker {
    socket: UnixStream,
    current: &'static InWorker,
    /// Beyond this, whoever keeps arguments that lie there.
    arena: Arc<Arena>,
    arena_fd: Arc<OwnedFd>,
    /// What of the arena is in use for results.
    results: Ring,
    speaker: Speaker,
    bell: Bell,
    /// Someone looked for the last answer, and may not have heard it.
    unheard: bool,
    spinning: Spinning,
    max_payload: usize,
    cpu: CpuLimit,
    sandbox: Option<Sandbox>,
    pool: InPool,
    /// Of the thread that tasks run on, if it is not the main one.
    stack_bytes: Option<u64>,
    inbox: Inbox,
    /// What the next task receives items through.
    feeds: Vec<(u64, Box<dyn Line>)>,
    /// The tasks of a batch that is not whole.
    batch: Vec<Member>,
    /// Descriptors that arrived, and whose messages have not been looked at.
    files: Vec<OwnedFd>,
    out: Vec<u8>,
    /// The task that has just run has written to the socket.
    spoke: bool,
    stderr: Stderr,
    /// This process as it was before its first task; from then on.
    traces: Option<Traces>,
    trust: Trust,
}

impl Worker {
    /// Sets this process apart from its parent, and greets it.
    fn start(in_test: bool) -> io::Result<Self> {
        stop_ignoring();
        adopted::mark();
        close_inherited();
        let socket = take_socket(in_test)?;
        die_with(named_parent())?;
        outlive_requests()?;
        watch::start(&socket, current::leaves_by_itself)?;
        let mut inbox = Inbox::default();
        let Welcome { message, memory: [page, arena], bell, stderr, received } =
            receive_welcome(&socket, &mut inbox)?;
        let ToWorker::Welcome {
            number,
            max_payload,
            niceness,
            level,
            limits,
            sandbox,
            panics,
            pool,
            python,
            spin_ns,
        } = message
        else {
            return Err(io::Error::other("the first message was not a welcome"));
        };
        if panics == Panics::Logged {
            leave_panics_unsaid();
        }
        stand_back(number, niceness);
        pool.slot.into_iter().for_each(current::set_slot);
        let cpu = limits::set(limits)?;
        if let Some(python) = python {
            let (socket, page) = (&socket, &page);
            // Before it is another program, which keeps these rules for all of its threads.
            enter(sandbox.as_ref())?;
            let slot = pool.slot;
            let told = Told { number, max_payload, level, slot, limits, socket, page };
            return Err(become_python(&python, &told));
        }
        let bell = Bell::new(bell, &socket)?;
        relay::connect(socket.try_clone()?, bell.clone(), level);
        let arena_fd = Arc::new(arena);
        items::connect(arena_fd.clone(), max_payload as usize);
        let mut worker = Self {
            socket,
            current: InWorker::install(Page::open(&page)?),
            arena: Arc::new(Arena::open(&arena_fd)?),
            arena_fd,
            results: Ring::default(),
            speaker: Speaker::default(),
            bell,
            unheard: false,
            spinning: Spinning::new(spin_ns),
            max_payload: max_payload as usize,
            cpu,
            sandbox,
            pool,
            stack_bytes: limits.stack_bytes,
            inbox,
            feeds: Vec::new(),
            batch: Vec::new(),
            files: Vec::new(),
            out: Vec::new(),
            spoke: false,
            stderr: stderr.map_or_else(Stderr::take, |end| Ok(Stderr::of(end)))?,
            traces: None,
            trust: Trust::default(),
        };
        worker.spinning.received(received, &worker.current.page);
        worker.greet()?;
        Ok(worker)
    }

    fn greet(&mut self) -> io::Result<()> {
        let mut list = Vec::new();
        if self.pool.lists {
            let functions = registry().into_iter().flat_map(|registry| registry.listed());
            let listed = functions.map(|(name, version)| Listed { name, version });
            message::append(&listed.collect::<Vec<_>>(), &mut list);
        }
        let hello = FromWorker::Hello { version: VERSION, digest: digest() };
        wire::append(&mut self.out, &hello, &list);
        self.flush()
    }

    fn say(&mut self, message: &FromWorker) -> io::Result<()> {
        wire::append(&mut self.out, message, &[]);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.out)?;
        self.out.clear();
        if self.out.capacity() > 1 << 20 {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Serves on this thread, or on one with the stack that was asked for.
    fn serve_on_its_stack(mut self) -> ! {
        let Some(bytes) = self.stack_bytes else { self.serve() };
        let thread = std::thread::Builder::new().name("outboard-task".into());
        let serving = thread.stack_size(bytes as usize).spawn(move || self.serve());
        // This thread stays: it is what the parent's end is told to.
        match serving.map(std::thread::JoinHandle::join) {
            Err(error) => {
                give_up(&format!("could not start a thread with a stack of {bytes} bytes: {error}"))
            }
            Ok(Err(_)) => exit(101),
            Ok(Ok(never)) => never,
        }
    }

    /// Executes tasks until the server ends the conversation.
    fn serve(&mut self) -> ! {
        let config = self.receive_config();
        let started =
            config.map_err(|error| format!("the value of `start_with` did not come: {error}"));
        let started = started.and_then(|config| start::run_all(&self.pool.name, config.as_ref()));
        self.current.exit_if_forked(started.as_ref().map(drop).map_err(drop));
        if let Err(why) = started {
            give_up(&why);
        }
        if let Err(error) = self.cpu.disarm() {
            give_up(&format!("could not set the limit of CPU time: {error}"));
        }
        if let Err(error) = enter(self.sandbox.as_ref()) {
            give_up(&error.to_string());
        }
        self.traces = Some(Traces::before());
        self.stderr.mark(&self.current.page);
        self.current.page.set_memory(usage::own_memory().unwrap_or_default());
        // What the start took is no task's.
        let _ = usage::take_peak_bytes();
        // Of whatever thread this is: a server looks whether it sleeps.
        let thread = system::thread();
        current::serves();
        let result = self.say(&FromWorker::Ready { thread }).and_then(|()| self.serve_all());
        match result {
            Ok(()) => depart(),
            Err(error) => leave("lost the connection to the server", &error),
        }
    }

    /// Nothing of this worker's own comes after it that it would not allow.
    /// Takes what the functions on start are given, and before it the values that it names.
    fn receive_config(&mut self) -> io::Result<Option<Config>> {
        if !self.pool.configured {
            return Ok(None);
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        let config = loop {
            let frame = inbox.next_frame(MESSAGE_ROOM).map_err(other)?;
            let Some(frame) = frame else {
                match passing::receive(&self.socket, inbox.room(), &mut self.files) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(bytes) => {
                        self.spinning.received(bytes, &self.current.page);
                        inbox.arrived(bytes);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                continue;
            };
            match wire::decode(frame).map_err(other)?.0 {
                ToWorker::Configure { of_type, bytes } => {
                    let value = sealed::open(&self.next_file()?, bytes)?;
                    let value = Args::new(value.into(), Vec::new());
                    break Config::received(of_type, value);
                }
                message => self.obey(message, &[])?,
            }
        };
        self.inbox = inbox;
        Ok(Some(config))
    }

    fn serve_all(&mut self) -> io::Result<()> {
        let limit = self.max_payload + MESSAGE_ROOM;
        // Taken out, so that a frame in it can be lent to what needs the rest.
        let mut inbox = std::mem::take(&mut self.inbox);
        loop {
            while let Some(frame) = inbox.next_frame(limit).map_err(other)? {
                let (message, args) = wire::decode(frame).map_err(other)?;
                self.obey(message, args)?;
            }
            self.wait()?;
            match passing::receive(&self.socket, inbox.room(), &mut self.files) {
                Ok(0) => return Ok(()),
                Ok(bytes) => {
                    self.spinning.received(bytes, &self.current.page);
                    inbox.arrived(bytes);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for the next task, as long as that is better than to sleep for it.
    fn wait(&mut self) -> io::Result<()> {
        loop {
            let (page, speaker) = (&self.current.page, &self.speaker);
            let unheard = self.unheard;
            match self.spinning.wait(page, || unheard && !speaker.is_heard(page)) {
                Next::Ring => self.ring_if_unheard()?,
                Next::Found | Next::Sleep => return Ok(()),
            }
        }
    }

    fn obey(&mut self, message: ToWorker, args: &[u8]) -> io::Result<()> {
        match message {
            ToWorker::Run(call, place) if call.rest > 0 || !self.batch.is_empty() => {
                self.gather(call, place, args)
            }
            ToWorker::Run(call, place) => self.run(&call, place, args),
            ToWorker::Share { id } => {
                let file = self.next_file()?;
                scatter::receive(id, sealed::open_whole(&file)?);
                Ok(())
            }
            ToWorker::Forget { id } => {
                scatter::forget(id);
                Ok(())
            }
            ToWorker::Serve { slot } => {
                current::set_slot(slot);
                Ok(())
            }
            ToWorker::Feed { id } => {
                let line = Socket::from(self.next_file()?);
                self.feeds.push((id, Box::new(line)));
                Ok(())
            }
            ToWorker::Welcome { .. } | ToWorker::Configure { .. } => Err(nonsense()),
        }
    }

    fn next_file(&mut self) -> io::Result<OwnedFd> {
        if self.files.is_empty() { Err(nonsense()) } else { Ok(self.files.remove(0)) }
    }

    /// Executes a task, unless it was taken back, and appends the answer.
    fn run(&mut self, call: &wire::Call, place: Place, args: &[u8]) -> io::Result<()> {
        let file = matches!(place, Place::File { .. }).then(|| self.next_file()).transpose()?;
        // A task may take long.
        self.ring_if_unheard()?;
        let seq = call.seq;
        let owed = Owed { args: place };
        let feeds = std::mem::take(&mut self.feeds);
        if !self.current.page.task(seq).start() {
            return self.answer(owed, Answer::from(FromWorker::Skipped { seq }));
        }
        let args = match (place, file) {
            (Place::Arena { offset, bytes }, _) if bytes >= IN_PLACE_BYTES => {
                let lent = self.arena.lend(offset, bytes).ok_or_else(nonsense)?;
                lending::lend(&self.arena, &self.arena_fd, offset, bytes);
                Input::Owned(Bytes::from_owner(lent).into())
            }
            (Place::Arena { offset, bytes }, _) => {
                Input::Lent(self.arena.arguments(offset, bytes).ok_or_else(nonsense)?)
            }
            (Place::File { bytes }, Some(file)) => Input::Owned(sealed::open(&file, bytes)?.into()),
            _ => Input::Lent(args),
        };
        self.cpu.arm()?;
        relay::open(seq);
        let ((outcome, usage), broken) =
            receive::scope(feeds, || attempt(self.current, self.max_payload, call, args));
        let outcome = broken.map_or(outcome, Err);
        // Its items are where the server finds them, and its answer comes after them.
        items::close();
        // What it said is in the socket; its answer comes after that.
        self.spoke = relay::close();
        self.cpu.disarm()?;
        self.take_back(place)?;
        let answer = match outcome {
            Ok(output) => self.lay_down(seq, usage, output),
            Err(failure) => FromWorker::Failed { seq, usage, failure }.into(),
        };
        self.answer(owed, answer)?;
        // What it wrote is its own, and what is written from now on the next one's.
        self.stderr.mark(&self.current.page);
        self.tidy(call.function, usage.run_ns)
    }

    /// Sets back what the task has changed of this process.
    fn tidy(&mut self, function: FunctionRef, run_ns: u64) -> io::Result<()> {
        let now_ns = now_ns(ClockId::Monotonic);
        let Some(traces) = &self.traces else { return Ok(()) };
        if !self.trust.looks(function, run_ns, now_ns) {
            return Ok(());
        }
        let found = traces.undo();
        self.trust.found(function, found, now_ns);
        if found == Found::Nothing {
            return Ok(());
        }
        let mut frame = Vec::new();
        wire::append(&mut frame, &FromWorker::Changed { lasting: found == Found::Lasting }, &[]);
        self.tell(&frame)
    }

    /// The answer with a result, which is put where there is room for it. Unless that is
    /// in the answer itself, nothing of it is left in this process.
    fn lay_down(&mut self, seq: u64, usage: Usage, output: Payload) -> Answer {
        let done = |place| FromWorker::Done { seq, usage, place };
        if output.len() <= SMALL_BYTES {
            let output = match output {
                // Maybe a piece of the arguments, which is cheaper to copy than to keep.
                Payload::Shared(bytes) => Payload::copy(&bytes),
                output => output,
            };
            return Answer { payload: output, ..done(Place::Frame).into() };
        }
        self.results.release(self.current.page.read_up_to());
        let bytes = output.len() as u64;
        if let Some(offset) = self.results.place(seq, output.len()) {
            self.arena.write_payload(Half::Results, offset, &output);
            codec::recycle(output);
            done(Place::Arena { offset: offset as u64, bytes }).into()
        } else if let Ok(file) = sealed::create(&output) {
            Answer { file: Some(file), ..done(Place::File { bytes }).into() }
        } else {
            Answer { payload: output, ..done(Place::Frame).into() }
        }
    }

    /// Lets go of the arguments, and writes the answer to where the server finds it even
    /// after this process's death, before the next task starts.
    ///
    /// In this order: with the answer the server has the room of the arguments back, and
    /// writes others there.
    fn answer(&mut self, owed: Owed, answer: Answer) -> io::Result<()> {
        self.let_go(owed);
        let Answer { message, payload, file } = answer;
        self.out.clear();
        wire::append(&mut self.out, &message, &payload);
        codec::recycle(payload);
        let beside = std::mem::take(&mut self.spoke) || file.is_some();
        if !beside && self.out.len() <= LONGEST_BYTES {
            let frame = std::mem::take(&mut self.out);
            let said = self.tell(&frame);
            self.out = frame;
            return said;
        }
        let mut beside = Vec::new();
        wire::append(&mut beside, &FromWorker::Beside, &[]);
        self.tell(&beside)?;
        if let Some(file) = file {
            let sent = passing::send(&self.socket, &self.out, &[file.as_fd()], SendFlags::empty())?;
            self.out.drain(..sent);
        }
        self.flush()
    }

    fn tell(&mut self, frame: &[u8]) -> io::Result<()> {
        let page = &self.current.page;
        match self.speaker.say(&self.arena, page, frame) {
            Some(Due::Now) => self.bell.ring(),
            Some(Due::Soon) => {
                self.unheard = true;
                Ok(())
            }
            Some(Due::No) => Ok(()),
            None => Err(io::Error::other("the server does not read answers")),
        }
    }

    /// Wakes the server, unless whoever looked for the last answer has it.
    fn ring_if_unheard(&mut self) -> io::Result<()> {
        let page = &self.current.page;
        let unheard = std::mem::take(&mut self.unheard) && !self.speaker.is_heard(page);
        if unheard && page.bell().wake() { self.bell.ring() } else { Ok(()) }
    }
}

fn nonsense() -> io::Error {
    io::Error::other("the server violated the worker protocol")
}

fn other(error: wire::WireError) -> io::Error {
    io::Error::other(error.to_string())
}

/// Executes one task that was started.
fn attempt(
    current: &InWorker,
    max_payload: usize,
    call: &wire::Call,
    args: Input<'_>,
) -> (Result<Payload, Failure>, Usage) {
    let (seq, deadline_ns) = (call.seq, call.deadline_ns);
    let page = &current.page;
    current.enter(seq..=seq, deadline_ns);
    let meter = Meter::start(current);
    let outcome = match find(call.function) {
        Some((name, function)) => {
            let span = trace::remote(call.context.as_deref(), name, call.attempt);
            span.in_scope(|| execute(function, args, max_payload))
        }
        None => Err(Failure::UnknownTask { advice: OTHER_BUILD }),
    };
    current.exit_if_forked(outcome.as_ref().map(drop).map_err(drop));
    // What the server reads of a task that is done is on the page before its word says so.
    let usage = meter.stop(page, seq);
    current.leave();
    if !page.task(seq).finish() {
        park_until_killed();
    }
    (outcome, usage)
}

/// The server claimed this process for a kill, which is on its way.
fn park_until_killed() -> ! {
    loop {
        std::thread::park();
    }
}

/// A function's name, where it has one, and how it is called.
fn find(function: FunctionRef) -> Option<(&'static str, Run)> {
    match function {
        FunctionRef::Index(index) => {
            registry().ok()?.get(index).map(|function| (function.name, function.run))
        }
        FunctionRef::Offset(offset) => Some(("closure", address::from_offset(offset)?)),
    }
}

/// Takes the socket from stdin, which becomes empty for the tasks.
fn take_socket(in_test: bool) -> io::Result<UnixStream> {
    let socket: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let nothing = std::fs::File::open("/dev/null");
    rustix::stdio::dup2_stdin(nothing.map_err(|error| refused("open /dev/null", error))?)?;
    if in_test {
        // The harness has written to stdout already, which was /dev/null then.
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    }
    Ok(UnixStream::from(socket))
}

/// What comes first.
struct Welcome {
    message: ToWorker,
    /// Page and arena.
    memory: [OwnedFd; 2],
    /// Where the system has bells.
    bell: Option<OwnedFd>,
    /// The server's end of stderr, where only that tells how much is in the pipe.
    stderr: Option<OwnedFd>,
    /// How many bytes of the socket it was.
    received: usize,
}

/// Reads the first message, and the descriptors beside it: those of the memory, and what else
/// the system takes.
fn receive_welcome(socket: &UnixStream, inbox: &mut Inbox) -> io::Result<Welcome> {
    let mut fds = Vec::new();
    let received = passing::receive(socket, inbox.room(), &mut fds)?;
    inbox.arrived(received);
    if received == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let frame = inbox.next_frame(received).map_err(other)?;
    let (message, _) = wire::decode(frame.unwrap_or_default()).map_err(other)?;
    let last = (fds.len() > 2).then(|| fds.pop()).flatten();
    let (bell, stderr) = if PIPES_TELL_READERS { (None, last) } else { (last, None) };
    let memory =
        fds.try_into().map_err(|_| io::Error::other("the server sent no shared memory"))?;
    Ok(Welcome { message, memory, bell, stderr, received })
}

/// Makes this process yield to the server, in time and in memory. What the
/// system refuses is done without.
fn stand_back(number: u32, niceness: i32) {
    if let Ok(name) = std::ffi::CString::new(format!("outboard-w{number}")) {
        system::set_name(&name);
    }
    let own = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, own.max(niceness));
    system::be_killed_first();
}

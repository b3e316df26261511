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

use dask_protocol::message::{Items, TakeItems};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketType, recvmsg, send,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::runtime::Runtime;

use super::{Head, PROTOCOL, asked as kinds, build, resource};
use crate::engine::dask::native::{Done, encode_failure};
use crate::engine::dask::outflow::{Opened, Outflows};
use crate::engine::dask::progress::executions::Executions;
use crate::engine::dask::stream;
use crate::engine::dask::wanted::of_pool;
use crate::engine::pools::DEFAULT;
use crate::engine::settings::Settings;
use crate::engine::url::Url;
use crate::error::{Cause, Error, WorkerLoss};
use crate::front::client::Client;
use crate::local::process::end::die_with_parent;
use crate::task::outcome::{Failure, OTHER_BUILD, Said};
use crate::task::registry::{Function, registry};
use crate::trace::Origin;
use crate::value::args::Args;

/// Set by the plugin: the version that it speaks, the address of its worker, and
/// options of `local`, with a space between.
const VARIABLE: &str = "OUTBOARD_PLUGIN_OF";

/// How long a timeout is kept back.
const BEHIND: Duration = Duration::from_millis(200);

/// What a request may have beside its arguments.
const ROOM: usize = 256 << 10;

/// What this process is asked for, if it was started beside a Python worker. What a
/// task starts inherits the variable, but not the socket.
pub(crate) fn asked() -> Option<String> {
    let asked = std::env::var(VARIABLE).ok()?;
    let socket_type = rustix::net::sockopt::socket_type(rustix::stdio::stdin());
    (socket_type == Ok(SocketType::STREAM)).then_some(asked)
}

/// Becomes the program beside a Python worker, after `setup`, and never returns.
pub(crate) fn serve(asked: &str, setup: impl FnOnce()) -> ! {
    match take_stdin().and_then(|control| serve_on(&control, asked, setup)) {
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
fn serve_on(control: &OwnedFd, asked: &str, setup: impl FnOnce()) -> io::Result<()> {
    set_apart()?;
    setup();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut asked = asked.splitn(3, ' ');
    let [version, worker, options] = [(); 3].map(|()| asked.next().unwrap_or_default());
    let started = match version.parse() {
        Ok(PROTOCOL) => runtime.block_on(start(options)).map_err(|error| error.to_string()),
        _ => Err(format!("the plugin speaks version {version} of its protocol, not {PROTOCOL}")),
    };
    let problem = started.as_ref().err().map_or("", String::as_str);
    let mut rest = &hello(problem, worker)?[..];
    while !rest.is_empty() {
        let sent = send(control, rest, SendFlags::NOSIGNAL)?;
        rest = &rest[sent..];
    }
    match started {
        Ok(client) => {
            let (worker, outflows) = (worker.into(), Arc::default());
            let beside = Beside { client, worker, outflows, executions: Executions::default() };
            accept(control, &runtime, &Arc::new(beside));
        }
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
    Client::start_local(settings(options).map_err(Error::unavailable)?).await
}

/// The settings of the programs' own engine.
fn settings(options: &str) -> Result<Settings, String> {
    // The plugin gives `workers` first, and the user may give it again: the last one counts.
    let given: Vec<&str> = options.split('&').collect();
    let name = |option: &&str| option.split('=').next().map(str::to_owned);
    let last = given
        .iter()
        .enumerate()
        .filter(|(at, option)| !given[at + 1..].iter().any(|later| name(later) == name(option)));
    let query: Vec<&str> = last.map(|(_, option)| *option).collect();
    let url = Url::parse(&format!("local://?{}", query.join("&")));
    let settings = url.and_then(|mut url| url.settings("local"));
    let mut settings = settings.map_err(|error| error.to_string())?;
    // Callers elsewhere show what tasks say.
    settings.said = crate::trace::INFO;
    settings.pools.iter_mut().for_each(|(_, pool)| pool.said = crate::trace::INFO);
    Ok(settings)
}

/// What the plugin is told at first, as parts with their lengths: the version, what
/// is wrong, which build this is, what to say when it is lost, and all that it
/// offers.
fn hello(problem: &str, worker: &str) -> io::Result<Vec<u8>> {
    let build = build()?;
    let functions = registry().map_err(io::Error::other)?.all();
    let lost = WorkerLoss {
        pid: std::process::id(),
        cause: Some(Cause::Cluster),
        ..WorkerLoss::default()
    };
    let mut parts = vec![
        PROTOCOL.to_string().into_bytes(),
        problem.as_bytes().to_vec(),
        build.as_bytes().to_vec(),
        encode_failure(&Failure::Lost(Box::new(lost)), worker, &[]),
    ];
    let offered = functions.iter().map(|it| resource(build, it).into_bytes());
    parts.extend(offered.chain([of_pool(DEFAULT).into_bytes()]));
    let mut hello = vec![0; 4];
    parts.iter().for_each(|part| push_field(part, &mut hello));
    let length = (hello.len() - 4) as u32;
    hello[..4].copy_from_slice(&length.to_le_bytes());
    Ok(hello)
}

/// Serves the connections that come, until no more can.
fn accept(control: &OwnedFd, runtime: &Runtime, beside: &Arc<Beside>) {
    while let Some(connection) = connection(control) {
        let (beside, entered) = (beside.clone(), runtime.enter());
        let stream =
            connection.set_nonblocking(true).and_then(|()| UnixStream::from_std(connection));
        drop(entered);
        match stream {
            Ok(stream) => {
                runtime.spawn(async move {
                    if let Err(error) = beside.talk(stream).await {
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

/// What all connections share.
struct Beside {
    client: Client,
    /// The address of the Dask worker.
    worker: String,
    /// Tasks that stream, and what they have sent.
    outflows: Arc<Outflows>,
    executions: Executions,
}

impl Beside {
    /// Executes what comes over a connection, one task at a time.
    async fn talk(&self, stream: UnixStream) -> io::Result<()> {
        let (incoming, mut outgoing) = stream.into_split();
        let mut incoming = BufReader::new(incoming);
        let limit = self.client.payload_limit().saturating_add(ROOM);
        while !incoming.fill_buf().await?.is_empty() {
            let length = incoming.read_u64_le().await?;
            if length > limit as u64 {
                tokio::io::copy(&mut (&mut incoming).take(length), &mut tokio::io::sink()).await?;
                let line = format!(
                    "the program beside the worker takes {limit} bytes at most, not {length}: \
                     give it `plugin.max_payload` in the URL"
                );
                let refused = Failure::Unavailable(line.clone());
                outgoing.write_all(&self.failed(&refused, &line, &[])).await?;
                continue;
            }
            let mut request = Vec::new();
            (&mut incoming).take(length).read_to_end(&mut request).await?;
            let answer = tokio::select! {
                answer = self.answer(&request, &mut outgoing) => answer?,
                // Nothing is sent while a task is under way: it was hung up.
                _ = incoming.fill_buf() => return Ok(()),
            };
            outgoing.write_all(&answer).await?;
        }
        Ok(())
    }

    /// What is answered to a request; of a stream it is said before that it has begun.
    async fn answer(&self, request: &[u8], outgoing: &mut OwnedWriteHalf) -> io::Result<Vec<u8>> {
        let (kind, rest) = request.split_first().unwrap_or((&kinds::TASK, request));
        let answered = match *kind {
            kinds::ITEMS => match asked_items(rest) {
                Some(asked) => self.items(asked).await,
                None => Vec::new(),
            },
            kinds::PROGRESS => self.progress(rest),
            _ => return self.execute(rest, outgoing).await,
        };
        Ok(answer(RESULT, &[&answered]))
    }

    /// Whether they have ended, and the items; nothing if the stream is not known.
    async fn items(&self, asked: TakeItems) -> Vec<u8> {
        let Items::Here { items, ended } = self.outflows.answer(asked).await else {
            return Vec::new();
        };
        let mut answered = vec![u8::from(ended)];
        answered.extend(items.into_bytes_within(&mut { usize::MAX }).unwrap_or_default());
        answered
    }

    /// Of each task that has said something its key, two numbers and a text.
    fn progress(&self, asked: &[u8]) -> Vec<u8> {
        let keys =
            fields(asked).into_iter().map(|key| String::from_utf8_lossy(key).into_owned().into());
        let mut answered = Vec::new();
        for (key, said) in self.executions.progress(keys.collect()) {
            let (done, total) = (said.done.to_le_bytes(), said.total.to_le_bytes());
            let key = key.to_string();
            for part in [key.as_bytes(), &done, &total, said.text.as_bytes()] {
                push_field(part, &mut answered);
            }
        }
        answered
    }

    /// Says that a stream has begun.
    async fn begin(
        &self,
        head: &Head<'_>,
        function: &Function,
        outgoing: &mut OwnedWriteHalf,
    ) -> io::Result<Option<Opened>> {
        let Some(topic) = head.topic.as_ref().filter(|_| function.streams) else {
            return Ok(None);
        };
        let opened = self.outflows.begin();
        let mut notice = Vec::new();
        push_field(topic.as_bytes(), &mut notice);
        for (name, text) in stream::said(head.key, &opened.name) {
            push_field(name.as_bytes(), &mut notice);
            push_field(text.as_bytes(), &mut notice);
        }
        outgoing.write_all(&answer(NOTICE, &[&notice])).await?;
        Ok(Some(opened))
    }

    /// Gives the answer's bytes.
    async fn execute(&self, request: &[u8], outgoing: &mut OwnedWriteHalf) -> io::Result<Vec<u8>> {
        let Some((head, args)) = read(request) else {
            let line = "the request cannot be read: its client is of another build";
            return Ok(self.failed(&Failure::Unavailable(line.into()), line, &[]));
        };
        let found = registry().ok().and_then(|all| all.named(head.name, false).next());
        let Some(function) = found else {
            let unknown = Failure::UnknownTask { advice: OTHER_BUILD };
            return Ok(self.failed(&unknown, "no such function", &[]));
        };
        let opened = self.begin(&head, function, outgoing).await?;
        let named = head.pool.map(|pool| self.client.pool(pool));
        let mut client = named.as_ref().unwrap_or(&self.client).priority(head.priority);
        client = head.timeout.map_or(client.clone(), |timeout| client.timeout(timeout));
        client = head.grace.map_or(client.clone(), |grace| client.grace(grace));
        if function.pure && opened.is_none() {
            // What is shared has one key on the cluster already.
            client = client.key(head.key);
        }
        let origin = Origin::elsewhere(function.name, &head.key, head.context, head.level);
        let args = Args::from(args.to_vec()).streaming(opened.as_ref().map(Opened::channel));
        let task = client.submit_encoded(function, args, origin.clone());
        let progress = task.progress();
        let running = self.executions.begin(&head.key.into(), Box::new(move || progress.now()));
        let ended = task.encoded().await;
        drop(running);
        if let Some(opened) = &opened {
            opened.arrived().await;
        }
        Ok(match ended {
            Ok(reply) => {
                let done = Done::of(&reply.ran.into(), origin.take_said());
                answer(RESULT, &[&done.encode(&reply.payload)])
            }
            Err(error) => {
                if error.is_timed_out() {
                    // Its client says so itself, unless it cannot.
                    tokio::time::sleep(BEHIND).await;
                }
                self.failed(&Failure::of(&error), &error.to_string(), &origin.take_said())
            }
        })
    }

    /// A line for those who read Python only, then all that is known.
    fn failed(&self, failure: &Failure, line: &str, said: &[Said]) -> Vec<u8> {
        let length = (line.len() as u32).to_le_bytes();
        answer(FAILED, &[&length, line.as_bytes(), &encode_failure(failure, &self.worker, said)])
    }
}

/// What an answer is: a result, a failure, or something before the answer.
const RESULT: u8 = 0;
const FAILED: u8 = 1;
const NOTICE: u8 = 2;

/// Reads a question for items.
fn asked_items(asked: &[u8]) -> Option<TakeItems> {
    let (received, rest) = asked.split_first_chunk()?;
    let (taken, rest) = rest.split_first_chunk()?;
    let (wait_ms, stream) = rest.split_first_chunk()?;
    let [received, taken] = [received, taken].map(|number| u64::from_le_bytes(*number));
    let wait_ms = u64::try_from(i64::from_le_bytes(*wait_ms)).ok();
    let stream = String::from_utf8(stream.to_vec()).ok()?;
    Some(TakeItems { stream, received, taken, wait_ms })
}

/// Parts with their lengths before them, as far as they are whole.
fn fields(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk()
        && let Some((field, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)
    {
        fields.push(field);
        bytes = rest;
    }
    fields
}

fn push_field(field: &[u8], to: &mut Vec<u8>) {
    to.extend((field.len() as u32).to_le_bytes());
    to.extend(field);
}

/// What a task is, and its arguments.
fn read(request: &[u8]) -> Option<(Head<'_>, &[u8])> {
    postcard::take_from_bytes(request).ok()
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
    use crate::engine::dask::graph::Terms;
    use crate::engine::dask::plugin::request;

    #[test]
    fn a_request_is_what_a_client_of_this_build_makes_of_a_task() {
        let terms = Terms { timeout: Some(Duration::from_millis(1500)), ..Terms::default() };
        let request = request("fib", "fib-1", Some("gpu"), -3, &terms, b"\x07");
        let (kind, request) = request.split_first().unwrap();
        let (head, args) = read(request).unwrap();
        assert_eq!(*kind, kinds::TASK);
        assert_eq!((head.name, head.key, head.priority), ("fib", "fib-1", -3));
        assert_eq!(head.pool, Some("gpu"));
        assert_eq!((head.timeout, head.grace), (Some(Duration::from_millis(1500)), None));
        assert_eq!(args, b"\x07");
        assert_eq!(read(&request[..8]), None);
    }

    #[test]
    fn options_are_read_as_the_plugin_has_them() {
        let settings = settings("workers=8&workers=2&memory_limit=256%20MiB").unwrap();
        assert_eq!((settings.workers, settings.worker.memory_bytes), (2.into(), Some(256 << 20)));
        let pools = super::settings("workers=8&pool.gpu.workers=2&spares=0").unwrap().pools;
        let [(gpu, pool)] = &pools[..] else { panic!("{pools:?}") };
        assert_eq!((&**gpu, pool.workers, pool.spares), ("gpu", 2.into(), 0));
        assert!(super::settings("speed=1").unwrap_err().contains("named `speed`"));
        assert!(super::settings("spares=x").unwrap_err().contains("whole number, not `x`"));
    }

    #[test]
    fn the_hello_has_parts_with_their_lengths() {
        let hello = hello("no", "tcp://a:1").unwrap();
        assert_eq!(hello[..4], ((hello.len() - 4) as u32).to_le_bytes());
        assert_eq!(hello[4..15], *b"\x01\0\0\x003\x02\0\0\0no");
    }

    #[test]
    fn a_question_for_items_is_three_numbers_and_a_name() {
        let numbers = [7, 8, u64::MAX].into_iter().flat_map(u64::to_le_bytes);
        let asked: Vec<u8> = numbers.chain(*b"s-1").collect();
        let stream = "s-1".to_owned();
        let question = TakeItems { stream, received: 7, taken: 8, wait_ms: None };
        assert_eq!(asked_items(&asked), Some(question));
        assert_eq!(asked_items(&asked[..20]), None);
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            read(&bytes);
            asked_items(&bytes);
            prop_assert!(fields(&bytes).iter().map(|field| 4 + field.len()).sum::<usize>() <= 64);
        }
    }
}

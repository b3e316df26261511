//! The `local` engine: worker processes of this very binary on this machine.
//!
//! `supervisor` starts and reaps processes on a thread of its own, `link` is
//! the server's end of one worker, `output` passes its stdout and stderr on.
//! What the worker itself does is in `crate::worker`.

mod chunk;
mod link;
mod output;
pub(crate) mod process;
mod supervisor;
mod wear;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::Interest;
use tokio::net::unix::OwnedReadHalf;

use crate::answers::{LONGEST_BYTES, Listener, Nonsense};
use crate::arena::HALF_BYTES;
use crate::builder::Settings;
use crate::closure::address;
use crate::engine::gate::Reports;
use crate::engine::{Engine, Flush, Gate, Stopped, Work};
use crate::error::{Cause, Error};
use crate::execute::inside_task;
use crate::init::restart;
use crate::ledger::TaskId;
use crate::passing;
use crate::placement::SlotId;
use crate::scatter::Workers;
use crate::sealed;
use crate::snapshot::WorkerSnapshot;
use crate::task::{Function, unknown};
use crate::wire::{self, FromWorker, FunctionRef, Inbox, MESSAGE_ROOM, Payload, Place, VERSION};
use crate::worker::{became_worker, digest, is_worker};

use chunk::HUGE_BYTES;
use link::{Link, Sent};
use supervisor::Control;

/// Starts the engine: its supervisor, and through that its workers.
pub(crate) fn start(settings: Settings) -> Result<Arc<Gate>, Error> {
    refuse_in_a_worker()?;
    let restart = restart().map_err(Error::unavailable)?;
    crate::task::registry().map_err(Error::unavailable)?;
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
        Error::unavailable("worker processes need a tokio runtime: start the client inside one")
    })?;
    // A runtime without I/O panics here, at its user, and not on our thread.
    tokio::net::UnixStream::pair().map_err(|error| Error::unavailable(error.to_string()))?;
    let control = Control::new(settings.workers + settings.spares)
        .map_err(|error| Error::unavailable(error.to_string()))?;
    let links = Links::default();
    let engine = Local { links: links.clone(), control: control.clone() };
    let strength = (settings.workers, settings.spares);
    let gate = Gate::new(settings.limits, strength, Box::new(engine));
    gate.start_clock();
    supervisor::start(gate.clone(), links, control, runtime, settings, restart)
        .map_err(|error| Error::unavailable(format!("no supervisor can be started: {error}")))?;
    Ok(gate)
}

/// Sees to it that no process that was started as a worker starts workers
/// without end. A task may, for those are its own.
fn refuse_in_a_worker() -> Result<(), Error> {
    if became_worker() {
        return match inside_task() {
            true => Ok(()),
            false => Err(Error::unavailable(
                "this is a worker process: only the thread of a task can start workers in it",
            )),
        };
    }
    if is_worker() {
        eprintln!(
            "outboard: this process was started as a worker, but its `main` came to \
             `Client::local()` without `outboard::init()`: call it first in `main`"
        );
        std::process::exit(1);
    }
    Ok(())
}

/// The engine, as the gate calls it.
#[derive(Debug)]
struct Local {
    links: Links,
    control: Arc<Control>,
}

/// The workers that are ready; the gate's mutex is always taken before this one.
#[derive(Clone, Debug, Default)]
struct Links(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    by_slot: Vec<Option<Arc<Link>>>,
    /// Without a slot, the one that is to have the next one first.
    standby: VecDeque<Arc<Link>>,
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, slot: SlotId) -> Option<Arc<Link>> {
        self.lock().by_slot.get(slot.index())?.clone()
    }

    /// Takes the link of a slot, which has none from now on.
    fn take(&self, slot: SlotId) -> Option<Arc<Link>> {
        self.lock().by_slot.get_mut(slot.index())?.take()
    }

    /// Has a worker replaced: one with a slot when another is ready for it, one
    /// without at once.
    fn replace(&self, link: &Arc<Link>, reports: &mut Reports<'_>) {
        match link.slot() {
            Some(slot) => reports.worn(slot),
            None => {
                self.leave(link);
                link.dismiss();
            }
        }
    }

    /// Without a slot it can no longer stand by.
    fn leave(&self, link: &Arc<Link>) {
        self.lock().standby.retain(|one| !Arc::ptr_eq(one, link));
    }
}

impl Workers for Links {
    fn forget(&self, id: u64) {
        self.lock().all().for_each(|link| link.forget(id));
    }
}

impl Table {
    fn all(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.by_slot.iter().flatten().chain(&self.standby)
    }

    fn attach(&mut self, slot: SlotId, link: Arc<Link>) {
        if self.by_slot.len() <= slot.index() {
            self.by_slot.resize_with(slot.index() + 1, || None);
        }
        link.set_slot(Some(slot));
        self.by_slot[slot.index()] = Some(link);
    }
}

impl Engine for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn check(&self, function: &'static Function) -> Result<(), Error> {
        match reference(function) {
            Some(_) => Ok(()),
            None => {
                Err(unknown(function.name, "it lies in a shared library: mark it with #[task]"))
            }
        }
    }

    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>> {
        let link = self.links.get(slot)?;
        link.start(&work, reference(work.function)?);
        self.control.beat();
        Some(link)
    }

    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped {
        self.links.get(slot).map_or(Stopped::Continues, |link| link.stop(task))
    }

    fn kill(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.links.get(slot).is_some_and(|link| link.kill_for(task))
    }

    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.links.get(slot).is_some_and(|link| link.revoke(task))
    }

    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId> {
        self.links.get(slot).map(|link| link.withdraw()).unwrap_or_default()
    }

    fn started(&self, slot: SlotId, task: TaskId) -> bool {
        self.links.get(slot).is_some_and(|link| link.started(task))
    }

    fn forget(&mut self, slot: SlotId) {
        self.links.take(slot);
    }

    fn standby(&self) -> usize {
        self.links.lock().standby.len()
    }

    fn promote(&mut self, slot: SlotId) {
        let mut links = self.links.lock();
        if let Some(link) = links.standby.pop_front() {
            links.attach(slot, link);
        }
    }

    fn demote(&mut self, slot: SlotId) {
        if let Some(link) = self.links.take(slot) {
            link.set_slot(None);
            self.links.lock().standby.push_front(link);
        }
    }

    fn dismiss(&mut self, slot: Option<SlotId>) {
        let link = match slot {
            Some(slot) => self.links.get(slot),
            None => self.links.lock().standby.pop_back(),
        };
        if let Some(link) = link {
            link.dismiss();
        }
    }

    fn keep(&mut self, workers: usize) {
        self.control.keep(workers);
    }

    fn shutdown(&mut self) {
        for link in self.links.lock().all() {
            link.withdraw();
            link.dismiss();
            if link.is_busy() {
                link.kill();
            }
        }
        self.control.shutdown();
    }

    fn holders(&self) -> Option<Arc<dyn Workers>> {
        Some(Arc::new(self.links.clone()))
    }

    fn workers(&self) -> Vec<WorkerSnapshot> {
        let row = |link: &Arc<Link>| WorkerSnapshot {
            number: link.number,
            pid: link.pid,
            done: link.done.load(Relaxed),
            busy: link.is_busy(),
            standby: link.slot().is_none(),
            memory_bytes: link.memory_bytes(),
        };
        let mut rows: Vec<_> = self.links.lock().all().map(row).collect();
        rows.sort_unstable_by_key(|row| row.number);
        rows
    }
}

/// How workers find a function; a function without a name by its address.
fn reference(function: &Function) -> Option<FunctionRef> {
    match function.index {
        Some(index) => Some(FunctionRef::Index(index)),
        None => address::to_offset(function.run).map(FunctionRef::Offset),
    }
}

/// Reads what one worker writes until it ends; lives on the client's runtime.
struct Reader {
    gate: Arc<Gate>,
    links: Links,
    control: Arc<Control>,
    link: Arc<Link>,
    listener: Listener,
    /// Answers that were copied from shared memory.
    answers: Inbox,
    /// What came through the socket, with descriptors beside it.
    inbox: Inbox,
    files: Vec<OwnedFd>,
    /// The answer that came through the socket, and has no place in the order yet.
    beside: Option<(FromWorker, Payload)>,
    /// The next answer comes through the socket.
    awaits_beside: bool,
    finished: bool,
}

impl Reader {
    fn new(gate: Arc<Gate>, links: Links, control: Arc<Control>, link: Arc<Link>) -> Self {
        Self {
            gate,
            links,
            control,
            link,
            listener: Listener::default(),
            answers: Inbox::default(),
            inbox: Inbox::default(),
            files: Vec::new(),
            beside: None,
            awaits_beside: false,
            finished: false,
        }
    }

    /// Serves the worker to its end, and reports that.
    async fn serve(mut self, stream: OwnedReadHalf) {
        match self.converse(&stream).await {
            Ok(()) => self.link.hung_up(),
            Err(Nonsense) => self.link.blame(Cause::Protocol),
        }
        let lost = self.link.lost().await.clone();
        // What it answered before its end counts.
        let _ = self.take().await;
        tracing::debug!(worker = lost.worker, pid = lost.pid, cause = ?lost.cause, "worker ended");
        self.gate.report(|reports| {
            self.links.leave(&self.link);
            if let Some(slot) = self.link.slot() {
                let suspect = self.link.suspect();
                reports.lost(slot, self.link.unanswered(), suspect, &lost);
            }
        });
        self.finished = true;
    }

    /// Takes what the worker writes until its stream ends.
    async fn converse(&mut self, stream: &OwnedReadHalf) -> Result<(), Nonsense> {
        loop {
            let quiet = self.awaits_beside || self.listener.sleep(&self.link.page);
            if quiet {
                // The error of a broken connection says no more than its end does.
                let read = read(stream, &mut self.inbox, &mut self.files).await;
                self.listener.wake(&self.link.page);
                if matches!(read, Ok(0) | Err(_)) {
                    return Ok(());
                }
            }
            self.take().await?;
            // A worker that always has more must not keep others from the thread.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Takes all answers that have arrived, under one lock of the gate.
    async fn take(&mut self) -> Result<(), Nonsense> {
        // Decoded and copied before the lock, which others wait for.
        let mut messages = Vec::new();
        self.take_socket(&mut messages)?;
        self.listener.hear(&self.link.arena, &self.link.page, &mut self.answers)?;
        let mut room = HALF_BYTES as u64;
        loop {
            if self.awaits_beside {
                let Some((message, payload)) = self.beside.take() else { break };
                self.awaits_beside = false;
                messages.push(self.complete(message, payload, &mut room).await?);
            }
            let frame = self.answers.next_frame(LONGEST_BYTES).map_err(|_| Nonsense)?;
            let Some(frame) = frame else { break };
            let (message, payload) = wire::decode(frame).map_err(|_| Nonsense)?;
            if message == FromWorker::Beside {
                self.awaits_beside = true;
                continue;
            }
            let payload = payload.to_vec().into();
            messages.push(self.complete(message, payload, &mut room).await?);
        }
        // A worker of ours says first that something comes, and a descriptor comes
        // with the frame that needs it.
        if self.beside.is_some() || !self.files.is_empty() {
            return Err(Nonsense);
        }
        if messages.is_empty() {
            return Ok(());
        }
        self.gate.report(|reports| {
            let mut messages = messages.into_iter();
            messages.try_for_each(|(message, payload)| self.receive(reports, message, payload))
        })
    }

    /// Takes what came through the socket: bells, what is said before the first
    /// task, and at most one answer.
    fn take_socket(&mut self, messages: &mut Vec<(FromWorker, Payload)>) -> Result<(), Nonsense> {
        let limit = self.gate.limits().payload + MESSAGE_ROOM;
        while let Some(frame) = self.inbox.next_frame(limit).map_err(|_| Nonsense)? {
            if frame.is_empty() {
                self.listener.bell()?;
                continue;
            }
            let (message, payload) = wire::decode(frame).map_err(|_| Nonsense)?;
            match message {
                FromWorker::Hello { .. } | FromWorker::Ready => {
                    messages.push((message, Payload::Owned(Vec::new())));
                }
                _ if self.beside.is_some() => return Err(Nonsense),
                _ => self.beside = Some((message, payload.to_vec().into())),
            }
        }
        Ok(())
    }

    /// An answer with its result, wherever that is.
    async fn complete(
        &mut self,
        message: FromWorker,
        payload: Payload,
        room: &mut u64,
    ) -> Result<(FromWorker, Payload), Nonsense> {
        match message {
            FromWorker::Done { seq, place, .. } if place != Place::Frame => {
                let payload = self.fetch(seq, place, room).await.ok_or(Nonsense)?;
                Ok((message, payload))
            }
            _ => Ok((message, payload)),
        }
    }

    /// Takes a result from where the worker says that it is. What lies in the
    /// arena at one time is no larger than that, so no more is copied at once.
    async fn fetch(&mut self, seq: u64, place: Place, room: &mut u64) -> Option<Payload> {
        let limit = self.gate.limits().payload as u64;
        match place {
            Place::Arena { offset, bytes } if bytes <= limit => {
                *room = room.checked_sub(bytes)?;
                let link = self.link.clone();
                let copy = move || link.read_result(seq, offset, bytes);
                match bytes as usize >= HUGE_BYTES {
                    true => tokio::task::spawn_blocking(copy).await.ok()?,
                    false => copy(),
                }
            }
            Place::File { bytes } if bytes <= limit => {
                sealed::open(&self.files.pop()?, bytes).ok().map(Payload::from)
            }
            _ => None,
        }
    }

    fn receive(
        &self,
        reports: &mut Reports<'_>,
        message: FromWorker,
        payload: Payload,
    ) -> Result<(), Nonsense> {
        let (seq, outcome, usage) = match message {
            FromWorker::Hello { version, digest } => return self.greeted(version, digest),
            FromWorker::Ready => return self.ready(reports),
            FromWorker::Beside => return Err(Nonsense),
            FromWorker::Skipped { seq } => {
                let (slot, sent) = self.answered(seq, true)?;
                reports.skipped(slot, sent.task);
                return Ok(());
            }
            FromWorker::Done { seq, usage, .. } => (seq, Ok(payload), usage),
            FromWorker::Failed { seq, usage, failure } => (seq, Err(failure), usage),
        };
        let (slot, sent) = self.answered(seq, false)?;
        if self.link.count_done() {
            self.control.succeeded();
        }
        let attempt = (sent.task, sent.attempt);
        reports.finished(slot, attempt, outcome, (usage, self.link.number));
        if self.link.wore_out(usage.memory_bytes.unwrap_or(0)) {
            self.links.replace(&self.link, reports);
        }
        Ok(())
    }

    fn answered(&self, seq: u64, skipped: bool) -> Result<(SlotId, Sent), Nonsense> {
        let slot = self.link.slot().ok_or(Nonsense)?;
        Ok((slot, self.link.answered(seq, skipped).ok_or(Nonsense)?))
    }

    /// The first message, once.
    fn greeted(&self, version: u32, theirs: u64) -> Result<(), Nonsense> {
        let again = self.link.greeted.swap(true, AcqRel);
        if again || version != VERSION || theirs != digest() { Err(Nonsense) } else { Ok(()) }
    }

    /// The second message, once.
    fn ready(&self, reports: &mut Reports<'_>) -> Result<(), Nonsense> {
        if !self.link.greeted.load(Acquire) || !self.link.set_ready() {
            return Err(Nonsense);
        }
        self.links.lock().standby.push_back(self.link.clone());
        reports.ready(self.link.started.elapsed());
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.finished {
            self.gate.end(&Error::closed("its runtime ended"));
        }
    }
}

/// Waits for bytes, and puts them into the inbox; gives how many.
async fn read(
    stream: &OwnedReadHalf,
    inbox: &mut Inbox,
    files: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let stream: &tokio::net::UnixStream = stream.as_ref();
    loop {
        stream.readable().await?;
        let mut read = None;
        let result = stream.try_io(Interest::READABLE, || {
            let room = inbox.room();
            let bytes = passing::receive(stream, room, files)?;
            read = Some(bytes);
            // Less than there was room for: nothing is left, so wait next time
            // without trying first. Descriptors end a read earlier.
            match bytes > 0 && bytes < room.len() && files.is_empty() {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        match (read, result) {
            (Some(bytes), _) => {
                inbox.arrived(bytes);
                return Ok(bytes);
            }
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            (None, Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            (None, result) => result?,
        }
    }
}

//! What the server hears of one worker: answers in shared memory, and what comes
//! through the socket beside them.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures_util::future::{Either, select};
use rustix::io::Errno;

use super::ears::{Arrived, Ear, Ears};
use super::life::Reason;
use super::{Link, Sent};
use crate::error::{Cause, Error};
use crate::ids::{SlotId, TaskId};
use crate::local::process::Watched;
use crate::local::server::chunk::HUGE_BYTES;
use crate::local::shm::answers::Nonsense;
use crate::local::shm::arena::{HALF_BYTES, Half};
use crate::local::shm::page::Word;
use crate::local::shm::{passing, sealed};
use crate::local::wire::{self, FromWorker, Inbox, MESSAGE_ROOM, Place};
use crate::observe::event::RecycleReason;
use crate::offload;
use crate::os::bell;
use crate::task::outcome::{Failure, Usage};
use crate::value::payload::Payload;

/// What comes from a worker that is Python.
mod python;

/// Reads what one worker writes until it ends; lives on the client's runtime.
pub(crate) struct Reader {
    ears: Arc<Ears>,
    /// Where the system has bells.
    bell: Option<Watched<OwnedFd>>,
    /// How often it was rung since that was taken into account.
    rung: u64,
    /// What came through the socket, with descriptors beside it.
    inbox: Inbox,
    files: Files,
    /// The answer that came through the socket, and has no place in the order yet.
    beside: Option<(FromWorker, Payload)>,
    /// Tasks may say things, which may come in pieces.
    hears: bool,
    finished: bool,
}

/// Descriptors that came and were not asked for yet.
#[derive(Default)]
struct Files {
    here: Vec<OwnedFd>,
    /// One was lost, because this process has as many open as it may have.
    lost: bool,
}

impl Reader {
    pub(crate) fn new(ears: Arc<Ears>, bell: Option<Watched<OwnedFd>>, hears: bool) -> Self {
        Self {
            ears,
            bell,
            rung: 0,
            inbox: Inbox::default(),
            files: Files::default(),
            beside: None,
            hears,
            finished: false,
        }
    }

    /// Serves the worker to its end, and reports that.
    pub(crate) async fn serve(mut self, stream: Watched<UnixStream>) {
        let conversed = self.converse(&stream).await;
        let ears = self.ears.clone();
        let link = &ears.link;
        match conversed {
            Ok(()) => link.hung_up(),
            Err(Nonsense) => link.end(Reason::Blame(Cause::Protocol)),
        }
        let lost = link.lost().await.clone();
        if conversed.is_ok() {
            // What it answered before its end counts.
            let _ = self.take().await;
        }
        tracing::debug!(worker = lost.worker, pid = lost.pid, cause = ?lost.cause, "worker ended");
        ears.gate.report(|reports| {
            ears.links.leave(link);
            let slot = link.slot();
            let running = slot.map(|_| link.unanswered()).unwrap_or_default();
            let task = running.first().map(|(task, _)| *task);
            reports.gone(&lost, task, link.was_unwanted());
            if let Some(slot) = slot {
                let suspect = link.suspect();
                reports.lost(slot, running, suspect, &lost);
            }
        });
        self.finished = true;
    }

    /// Takes what the worker writes until its stream ends.
    async fn converse(&mut self, stream: &Watched<UnixStream>) -> Result<(), Nonsense> {
        let ears = self.ears.clone();
        let page = &ears.link.page;
        loop {
            let quiet = {
                let mut ear = ears.listen().await;
                ear.awaits_beside || ear.listener.sleep(page)
            };
            if quiet {
                let read = {
                    let read = pin!(read(stream, &mut self.inbox, &mut self.files));
                    let rung = pin!(rung(self.bell.as_ref(), &mut self.rung));
                    let poked = pin!(ears.link.heard.poked.notified());
                    match select(read, select(rung, poked)).await {
                        Either::Left((read, _)) => Some(read),
                        Either::Right((Either::Left((Err(error), _)), _)) => Some(Err(error)),
                        Either::Right(_) => None,
                    }
                };
                ears.listen().await.listener.wake(page);
                // The error of a broken connection says no more than its end does.
                if matches!(read, Some(Ok(0) | Err(_))) {
                    return Ok(());
                }
            }
            match self.take().await? {
                // One at a time: the caller's next task is what matters.
                0 | 1 => tokio::task::coop::consume_budget().await,
                // Tasks stream: others have the thread, and more answers gather.
                _ => step_back().await,
            }
        }
    }

    /// Takes all answers that have arrived, under one lock of the gate; gives how
    /// many.
    async fn take(&mut self) -> Result<usize, Nonsense> {
        let ears = self.ears.clone();
        let mut ear = ears.listen().await;
        // Decoded and copied before the lock, which others wait for.
        let mut messages = Vec::new();
        ear.listener.bell(std::mem::take(&mut self.rung))?;
        self.take_socket(&mut ear, &mut messages)?;
        ear.hear(&ears.link)?;
        // After the answers: a task's items were written before its answer was.
        let limit = ears.gate.limits().payload;
        let Ear { hearing, listener, .. } = &mut *ear;
        let items = hearing.hear(&ears.link, &mut listener.items, limit)?;
        let mut room = HALF_BYTES as u64;
        loop {
            if ear.awaits_beside {
                let Some((message, payload)) = self.beside.take() else { break };
                ear.awaits_beside = ears.link.is_python();
                messages.push(self.complete(message, payload, &mut room).await?);
                self.take_socket(&mut ear, &mut messages)?;
                if ear.awaits_beside {
                    continue;
                }
            }
            match ear.next()? {
                Some((message, payload)) => {
                    messages.push(self.complete(message, payload, &mut room).await?);
                }
                None if ear.awaits_beside => {}
                None => break,
            }
        }
        // A worker of ours says first that something comes, a descriptor comes with
        // the frame that needs it, and all else that was not asked for is too short to
        // come in pieces.
        let lists = ears.elsewhere.is_some() && !ears.link.came_to_hello();
        let unexpected =
            !ear.awaits_beside && !self.hears && !lists && self.inbox.has_begun_a_frame();
        if self.beside.is_some() || !self.files.here.is_empty() || unexpected {
            return Err(Nonsense);
        }
        let taken = messages.len();
        let delivered = ear.hearing.take_delivered();
        if taken > 0 || !delivered.is_empty() {
            ears.tell(messages, |reports| {
                delivered.into_iter().for_each(|attempt| reports.delivered(attempt));
            })?;
        }
        ear.heard(&ears.link);
        Ok(taken + items)
    }

    /// Takes what came through the socket: bells, what is said before the first task and by
    /// tasks, and one answer. What follows that waits until it has its place.
    fn take_socket(&mut self, ear: &mut Ear, messages: &mut Vec<Arrived>) -> Result<(), Nonsense> {
        let limit = self.ears.gate.limits().payload + MESSAGE_ROOM;
        while self.beside.is_none() {
            let frame = self.inbox.next_frame(limit).map_err(|_| Nonsense)?;
            let Some(frame) = frame else { break };
            if self.ears.link.is_python() {
                let heard = wire::python::decode(frame).map_err(|_| Nonsense)?;
                python::take(
                    &self.ears.link,
                    &mut ear.hearing,
                    heard,
                    (messages, &mut self.beside),
                )?;
                continue;
            }
            if frame.is_empty() {
                ear.listener.bell(1)?;
                continue;
            }
            let (message, payload) = wire::decode(frame).map_err(|_| Nonsense)?;
            match message {
                FromWorker::Hello { .. } => messages.push((message, Ok(Payload::copy(payload)))),
                FromWorker::Ready { .. } | FromWorker::Said { .. } => {
                    messages.push((message, Ok(Payload::copy(&[]))));
                }
                _ => self.beside = Some((message, Payload::copy(payload))),
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
    ) -> Result<Arrived, Nonsense> {
        match message {
            FromWorker::Done { seq, place, .. } if place != Place::Frame => {
                let output = self.fetch(seq, place, room).await?;
                Ok((message, output))
            }
            _ => Ok((message, Ok(payload))),
        }
    }

    /// Takes a result from where the worker says that it is. What lies in the
    /// arena at one time is no larger than that, so no more is copied at once.
    async fn fetch(
        &mut self,
        seq: u64,
        place: Place,
        room: &mut u64,
    ) -> Result<Result<Payload, Failure>, Nonsense> {
        let limit = self.ears.gate.limits().payload as u64;
        match place {
            Place::Arena { offset, bytes } if bytes <= limit => {
                *room = room.checked_sub(bytes).ok_or(Nonsense)?;
                let link = self.ears.link.clone();
                let copy = move || link.read_result(seq, offset, bytes);
                let copied = match bytes as usize >= HUGE_BYTES {
                    true => offload::run(copy).await.ok().flatten(),
                    false => copy(),
                };
                copied.map(Ok).ok_or(Nonsense)
            }
            Place::File { bytes } if bytes <= limit => self.files.open(bytes),
            _ => Err(Nonsense),
        }
    }
}

impl Files {
    /// What the next one holds, which must have so many bytes. What this process lacks to
    /// have it is no fault of the worker's.
    fn open(&mut self, bytes: u64) -> Result<Result<Payload, Failure>, Nonsense> {
        let Some(file) = self.here.pop() else {
            let lost = std::mem::take(&mut self.lost);
            return if lost { Ok(Err(no_descriptor(bytes))) } else { Err(Nonsense) };
        };
        if sealed::size(&file).ok() != usize::try_from(bytes).ok() {
            return Err(Nonsense);
        }
        Ok(sealed::open(&file, bytes).map(Payload::from).map_err(|error| {
            Failure::Unavailable(format!("could not map the result of {bytes} bytes: {error}"))
        }))
    }
}

fn no_descriptor(bytes: u64) -> Failure {
    Failure::Unavailable(format!(
        "this process had no free descriptor for a result of {bytes} bytes: raise its limit \
         of open files (`ulimit -n`, `LimitNOFILE=`)"
    ))
}

/// An answer to a task, with what it says of its worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) slot: SlotId,
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    /// It is the first that the worker has executed.
    pub(super) first: bool,
    /// Resident memory before it, where that is known.
    pub(super) memory_before_bytes: Option<u64>,
    /// Why the worker is to be replaced now.
    pub(super) worn: Option<RecycleReason>,
}

impl Link {
    /// The worker has answered that it did not execute a task; `None` if it cannot have.
    pub(super) fn skipped(&self, seq: u64) -> Option<(SlotId, TaskId)> {
        let mut locked = self.locked();
        let slot = locked.slot?;
        let sent = locked.outgoing.answered(&self.page, seq, true)?;
        Some((slot, sent.task))
    }

    /// The worker has answered a task that it executed, and perhaps measured how much
    /// resident memory it had then; `None` if it cannot have.
    pub(super) fn answered(&self, seq: u64, usage: &Usage) -> Option<Answered> {
        let memory_bytes = usage.memory_bytes;
        let mut locked = self.locked();
        let slot = locked.slot?;
        let Sent { task, attempt, .. } = locked.outgoing.answered(&self.page, seq, false)?;
        let ended_ns = self.page.running_since().saturating_add(usage.run_ns);
        self.waits.answered(ended_ns.saturating_sub(self.page.requested_at()));
        let history = &mut locked.history;
        history.done += 1;
        let memory_before_bytes = match memory_bytes {
            Some(now) => history.measured_bytes.replace(now),
            None => None,
        };
        let own_bytes = memory_bytes.map_or(0, |_| self.page.memory().own_bytes);
        let (first, worn) = (history.done == 1, self.wore_out(history, own_bytes));
        Some(Answered { slot, task, attempt, first, memory_before_bytes, worn })
    }

    /// What was sent with that number and has started. Its answer, or one before,
    /// may be there already and not be looked at yet.
    pub(super) fn sent(&self, seq: u64) -> Option<Sent> {
        let locked = self.locked();
        let mut sent = locked.outgoing.sent.iter();
        let sent = sent.find(|sent| sent.seq == seq && !sent.revoked).copied()?;
        (self.page.task(seq).read() != Some(Word::Sent)).then_some(sent)
    }

    /// Copies a result out of the arena; `None` if it cannot lie there.
    fn read_result(&self, seq: u64, offset: u64, bytes: u64) -> Option<Payload> {
        let result = self.arena.read(Half::Results, offset, bytes)?;
        self.page.set_read(seq);
        let outgoing = &mut self.locked().outgoing;
        outgoing.results_used = outgoing.results_used.max((offset + bytes) as usize);
        Some(result.into())
    }

    /// It said hello; whether that was due.
    pub(super) fn greet(&self) -> bool {
        self.stage.send_if_modified(|stage| stage.greet(Instant::now()))
    }

    /// It said that it executes tasks, on that thread; whether that was due.
    pub(super) fn set_ready(&self, thread: u32) -> bool {
        let memory = self.page.memory();
        let mut locked = self.locked();
        locked.history.own_bytes_at_start = memory.own_bytes;
        locked.history.measured_bytes = Some(memory.resident_bytes).filter(|bytes| *bytes > 0);
        drop(locked);
        self.stage.send_if_modified(|stage| stage.serve(thread))
    }

    /// What the worker would have started next, if it died unasked with nothing
    /// started, or for what it wrote.
    fn suspect(&self) -> Option<TaskId> {
        let locked = self.locked();
        let own = matches!(locked.life.blame(), Some(Cause::Protocol | Cause::HungUp));
        let asked = locked.life.is_unwanted() && !own;
        if asked || locked.outgoing.unanswered(&self.page).next().is_some() {
            return None;
        }
        locked.outgoing.sent.front().filter(|sent| !sent.revoked).map(|sent| sent.task)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ears.link.set_reported();
        if !self.finished {
            self.ears.gate.end(&Error::closed("its runtime ended"));
        }
    }
}

/// Goes to the end of the runtime's queue, where any of its threads finds it. tokio's own
/// `yield_now` stays with this thread, which the next task may block for long.
async fn step_back() {
    let mut behind = false;
    poll_fn(|context| match std::mem::replace(&mut behind, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Waits until the bell is rung, and counts how often; for ever where there is none.
async fn rung(bell: Option<&Watched<OwnedFd>>, times: &mut u64) -> io::Result<()> {
    let Some(bell) = bell else { return std::future::pending().await };
    loop {
        let mut ready = bell.readable().await?;
        let rung = bell::rung(ready.get_inner())?;
        // What is read is 0 again: who rings from now on is noticed.
        ready.clear_ready();
        if rung > 0 {
            *times += rung;
            return Ok(());
        }
    }
}

/// Waits for bytes, and puts them into the inbox; gives how many.
async fn read(
    stream: &Watched<UnixStream>,
    inbox: &mut Inbox,
    files: &mut Files,
) -> io::Result<usize> {
    loop {
        let mut ready = stream.readable().await?;
        let room = inbox.room();
        match passing::receive_all(stream.get_ref(), room, &mut files.here) {
            Ok((bytes, lost)) => {
                files.lost |= lost;
                // Less than there was room for: nothing is left, so wait next time
                // without trying first. Descriptors end a read earlier.
                if bytes > 0 && bytes < room.len() && files.here.is_empty() && !lost {
                    ready.clear_ready();
                }
                inbox.arrived(bytes);
                return Ok(bytes);
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

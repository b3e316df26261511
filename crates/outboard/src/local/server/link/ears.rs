//! What hears a worker's answers: its reader, which sleeps until the bell rings, or a caller
//! that looks for its answer, and takes that itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard};

use super::Link;
use super::items::Hearing;
use super::life::Reason;
use crate::engine::Gate;
use crate::engine::gate::Reports;
use crate::engine::spin::{Answers, Spun};
use crate::error::{Cause, Oversized, Step};
use crate::local::program::digest;
use crate::local::server::Links;
use crate::local::server::program::Program;
use crate::local::server::supervisor::Control;
use crate::local::shm::answers::{LONGEST_BYTES, Listener, Nonsense};
use crate::local::wire::{self, FromWorker, Inbox, Place, VERSION};
use crate::task::outcome::Failure;
use crate::value::payload::Payload;

/// A message with its payload, or with why this process does not have that.
pub(super) type Arrived = (FromWorker, Result<Payload, Failure>);

/// Who hears one worker, and whom they tell.
#[derive(Debug)]
pub(crate) struct Ears {
    pub(super) gate: Arc<Gate>,
    pub(super) links: Links,
    control: Arc<Control>,
    pub(super) link: Arc<Link>,
    /// The worker's program, if that is not this one.
    pub(super) elsewhere: Option<Arc<Program>>,
    ear: Mutex<Ear>,
}

/// What was heard, in order: whoever has it takes what comes next.
#[derive(Debug, Default)]
pub(super) struct Ear {
    pub(super) listener: Listener,
    /// Answers that were copied from shared memory.
    answers: Inbox,
    /// What was heard of an item that is not whole.
    pub(super) hearing: Hearing,
    /// The next answer comes through the socket.
    pub(super) awaits_beside: bool,
    /// What a caller came upon and only the reader can take, which comes next.
    left: Option<(FromWorker, Payload)>,
    /// A caller heard what no worker of ours says.
    nonsense: bool,
}

impl Ear {
    /// Copies what the worker has said.
    pub(super) fn hear(&mut self, link: &Link) -> Result<(), Nonsense> {
        if self.nonsense {
            return Err(Nonsense);
        }
        self.listener.hear(&link.arena, &link.page, &mut self.answers)
    }

    /// The next answer that was copied; `None` too if it comes through the socket.
    pub(super) fn next(&mut self) -> Result<Option<(FromWorker, Payload)>, Nonsense> {
        if self.awaits_beside {
            return Ok(None);
        }
        if let Some(left) = self.left.take() {
            return Ok(Some(left));
        }
        let frame = self.answers.next_frame(LONGEST_BYTES).map_err(|_| Nonsense)?;
        let Some(frame) = frame else { return Ok(None) };
        let (message, payload) = wire::decode(frame).map_err(|_| Nonsense)?;
        if message == FromWorker::Beside {
            self.awaits_beside = true;
            return Ok(None);
        }
        Ok(Some((message, Payload::copy(payload))))
    }

    /// All has been heard so far: a worker is not mute while a large result is copied.
    pub(super) fn heard(&self, link: &Link) {
        let heard = &link.heard;
        heard.bytes.store(self.listener.heard_bytes(), Relaxed);
        heard.looks.store(heard.looks.load(Relaxed) + 1, Relaxed);
    }
}

impl Ears {
    pub(crate) fn new(
        gate: Arc<Gate>,
        links: Links,
        control: Arc<Control>,
        link: Arc<Link>,
        elsewhere: Option<Arc<Program>>,
    ) -> Arc<Self> {
        // Python writes nothing into shared memory.
        let ear = Mutex::new(Ear { awaits_beside: link.is_python(), ..Ear::default() });
        let ears = Arc::new(Self { gate, links, control, link, elsewhere, ear });
        // Whoever has an answer to wait for finds them there.
        let _ = ears.link.ears.set(Arc::downgrade(&ears));
        ears
    }

    /// Whether this is the process that the worker talks to, and not one forked from it.
    fn is_here(&self) -> bool {
        self.gate.refuse_if_forked().is_ok()
    }

    /// Waits while a caller takes answers.
    pub(super) async fn listen(&self) -> MutexGuard<'_, Ear> {
        self.ear.lock().await
    }

    /// Takes small answers, as far as they are there.
    fn take_small(&self, ear: &mut Ear) -> Result<bool, Nonsense> {
        ear.hear(&self.link)?;
        let mut answers = Vec::new();
        while let Some((message, payload)) = ear.next()? {
            if !is_small(&message) {
                ear.left = Some((message, payload));
                self.link.heard.poked.notify_one();
                break;
            }
            answers.push((message, Ok(payload)));
        }
        let any = !answers.is_empty();
        if any {
            self.tell(answers, |_| {})?;
        }
        ear.heard(&self.link);
        Ok(any)
    }

    /// Tells the gate, under one lock.
    pub(super) fn tell(
        &self,
        messages: Vec<Arrived>,
        before: impl FnOnce(&mut Reports<'_>),
    ) -> Result<(), Nonsense> {
        self.gate.report(|reports| {
            before(reports);
            let mut messages = messages.into_iter();
            messages.try_for_each(|(message, output)| self.receive(reports, message, output))
        })
    }

    fn receive(
        &self,
        reports: &mut Reports<'_>,
        message: FromWorker,
        output: Result<Payload, Failure>,
    ) -> Result<(), Nonsense> {
        let (seq, outcome, mut usage) = match message {
            FromWorker::Hello { version, digest } => {
                let list = output.map_err(|_| Nonsense)?;
                return self.greeted(version, digest, &list);
            }
            FromWorker::Ready { thread } => return self.ready(thread, reports),
            FromWorker::Beside => return Err(Nonsense),
            FromWorker::Changed { lasting } => {
                if let Some(why) = self.link.was_changed(lasting) {
                    self.links.replace(&self.link, why, reports);
                }
                return Ok(());
            }
            FromWorker::Skipped { seq } => {
                let (slot, task) = self.link.skipped(seq).ok_or(Nonsense)?;
                reports.skipped(slot, task);
                return Ok(());
            }
            FromWorker::Said { seq, said } => {
                let sent = self.link.sent(seq).ok_or(Nonsense)?;
                reports.said((sent.task, sent.attempt), self.link.number, said);
                return Ok(());
            }
            FromWorker::Done { seq, usage, .. } => (seq, output, usage),
            FromWorker::Failed { seq, usage, failure }
                if is_of_an_execution(&failure, self.link.is_python()) =>
            {
                (seq, Err(failure), usage)
            }
            FromWorker::Failed { .. } => return Err(Nonsense),
        };
        let answered = self.link.answered(seq, &usage).ok_or(Nonsense)?;
        if answered.first {
            self.control.succeeded();
        }
        usage.memory_before_bytes = answered.memory_before_bytes;
        let attempt = (answered.task, answered.attempt);
        reports.finished(answered.slot, attempt, outcome, (usage, self.link.number));
        if let Some(why) = answered.worn {
            self.links.replace(&self.link, why, reports);
        }
        Ok(())
    }

    /// The first message, once.
    fn greeted(&self, version: u32, theirs: u64, list: &[u8]) -> Result<(), Nonsense> {
        if let (Some(program), VERSION) = (&self.elsewhere, version) {
            let functions = program.has(list).map_err(|_| Nonsense)?;
            let due = self.link.set_functions(functions) && self.link.greet();
            return if due { Ok(()) } else { Err(Nonsense) };
        }
        let due = self.link.greet();
        let ours = version == VERSION && theirs == digest();
        if due && !ours {
            self.link.end(Reason::Blame(Cause::OtherBuild));
        }
        if due && ours { Ok(()) } else { Err(Nonsense) }
    }

    /// The second message, once.
    fn ready(&self, thread: u32, reports: &mut Reports<'_>) -> Result<(), Nonsense> {
        if !self.link.set_ready(thread) {
            return Err(Nonsense);
        }
        self.links.lock().standby.push_back(self.link.clone());
        let took = self.link.started.elapsed();
        reports.up(self.link.number, self.link.pid, took);
        reports.ready(took);
        Ok(())
    }
}

impl Answers for Ears {
    fn watch(&self) -> bool {
        self.is_here() && self.link.page.bell().watch()
    }

    fn hear(&self) -> bool {
        let nothing = self.link.page.bell().said() == self.link.heard.bytes.load(Relaxed);
        if nothing || !self.is_here() {
            return false;
        }
        // Its reader is at it.
        let Ok(mut ear) = self.ear.try_lock() else { return false };
        self.take_small(&mut ear).unwrap_or_else(|Nonsense| {
            // It is the reader that ends a worker for it.
            ear.nonsense = true;
            self.link.heard.poked.notify_one();
            false
        })
    }

    fn unwatch(&self, spun: Duration, how: Spun) {
        if !self.is_here() {
            return;
        }
        self.link.waits.spun(spun, how);
        // What was said while the worker did not ring.
        if self.link.page.bell().unwatch() {
            self.hear();
        }
    }
}

/// Whether a caller can take an answer, with its result.
fn is_small(message: &FromWorker) -> bool {
    match message {
        FromWorker::Done { place, .. } => *place == Place::Frame,
        FromWorker::Failed { .. } | FromWorker::Skipped { .. } | FromWorker::Changed { .. } => true,
        _ => false,
    }
}

/// Whether executing a task may fail like that in the worker. All else is for this process
/// to say: a task that took its worker over could claim to be quarantined, or cancelled.
fn is_of_an_execution(failure: &Failure, python: bool) -> bool {
    match failure {
        Failure::Raised(_) => python,
        Failure::Panicked(_) | Failure::UnknownTask { .. } | Failure::InputFailed(_) => true,
        Failure::Codec { step, .. } => matches!(step, Step::DecodeArguments | Step::EncodeResult),
        Failure::TooLarge { what, .. } => matches!(what, Oversized::Result | Oversized::Input),
        Failure::Lost(_)
        | Failure::Quarantined { .. }
        | Failure::TimedOut { .. }
        | Failure::Cancelled
        | Failure::Unavailable(_) => false,
    }
}

//! The `local` engine: worker processes of this very binary on this machine.
//!
//! `supervisor` starts and reaps processes on a thread of its own, `link` is
//! the server's end of one worker, `output` passes its stdout and stderr on.
//! What the worker itself does is in `crate::worker`.

mod link;
mod output;
pub(crate) mod process;
mod supervisor;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::OwnedReadHalf;

use crate::builder::Settings;
use crate::closure::address;
use crate::engine::gate::Reports;
use crate::engine::{Engine, Flush, Gate, Stopped, Work};
use crate::error::{Cause, Error, Repr};
use crate::init::restart;
use crate::ledger::TaskId;
use crate::placement::SlotId;
use crate::snapshot::WorkerSnapshot;
use crate::task::{Function, unknown};
use crate::wire::{self, FromWorker, FunctionRef, Inbox, MESSAGE_ROOM, VERSION};
use crate::worker::{digest, is_worker};

use link::{Link, Sent};
use supervisor::Control;

/// Starts the engine: its supervisor, and through that its workers.
pub(crate) fn start(settings: Settings) -> Result<Arc<Gate>, Error> {
    let restart = restart().map_err(|problem| {
        if is_worker() {
            // Going on would start workers of workers without end.
            eprintln!("outboard: this process was started as a worker, but {problem}");
            std::process::exit(1);
        }
        Error::unavailable(problem)
    })?;
    crate::task::registry().map_err(Error::unavailable)?;
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
        Error::unavailable("worker processes need a tokio runtime: start the client inside one")
    })?;
    let control = Control::new().map_err(|error| Error::unavailable(error.to_string()))?;
    let links = Links::default();
    let engine = Local { links: links.clone(), control: control.clone() };
    let gate = Gate::new(settings.limits, settings.workers, |_| Box::new(engine));
    supervisor::start(&gate, links, control, runtime, settings, restart)
        .map_err(|error| Error::unavailable(format!("no supervisor can be started: {error}")))?;
    Ok(gate)
}

/// The engine, as the gate calls it.
#[derive(Debug)]
struct Local {
    links: Links,
    control: Arc<Control>,
}

/// The workers that are up, by slot; the gate's mutex is always taken before
/// this one.
#[derive(Clone, Debug, Default)]
struct Links(Arc<Mutex<Vec<Option<Arc<Link>>>>>);

impl Links {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Arc<Link>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, slot: SlotId) -> Option<Arc<Link>> {
        self.lock().get(slot.index())?.clone()
    }

    fn attach(&self, slot: SlotId, link: Arc<Link>) {
        let mut links = self.lock();
        if links.len() <= slot.index() {
            links.resize_with(slot.index() + 1, || None);
        }
        links[slot.index()] = Some(link);
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
        if let Some(link) = self.links.lock().get_mut(slot.index()) {
            *link = None;
        }
    }

    fn shutdown(&mut self) {
        self.control.shutdown();
    }

    fn workers(&self) -> Vec<WorkerSnapshot> {
        let row = |link: &Arc<Link>| WorkerSnapshot {
            number: link.number,
            pid: link.pid,
            done: link.done.load(std::sync::atomic::Ordering::Relaxed),
            busy: link.is_busy(),
            memory_bytes: link.memory_bytes(),
        };
        let mut rows: Vec<_> = self.links.lock().iter().flatten().map(row).collect();
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
    finished: bool,
}

impl Reader {
    /// Serves the worker to its end, and reports that.
    async fn serve(mut self, mut stream: OwnedReadHalf) {
        let mut inbox = Inbox::default();
        loop {
            // The error of a broken connection says no more than its end does.
            match stream.read_buf(inbox.room()).await {
                Ok(0) | Err(_) => break self.link.kill(),
                Ok(_) => {
                    if self.take(&mut inbox).is_err() {
                        break self.link.blame(Cause::Protocol);
                    }
                }
            }
        }
        let lost = self.link.lost().await.clone();
        tracing::debug!(worker = lost.worker, pid = lost.pid, cause = ?lost.cause, "worker ended");
        let error = Error::new(Repr::WorkerLost(lost));
        self.gate.report(|reports| {
            if let Some(slot) = self.link.slot.get() {
                reports.lost(*slot, self.link.unanswered(), &error);
            }
        });
        self.finished = true;
    }

    /// Takes all frames that have arrived, under one lock of the gate.
    fn take(&self, inbox: &mut Inbox) -> Result<(), Nonsense> {
        let limit = self.gate.limits().payload + MESSAGE_ROOM;
        self.gate.report(|reports| {
            while let Some(frame) = inbox.next_frame(limit).map_err(|_| Nonsense)? {
                let (message, payload) = wire::decode(frame).map_err(|_| Nonsense)?;
                self.receive(reports, message, payload)?;
            }
            Ok(())
        })
    }

    fn receive(
        &self,
        reports: &mut Reports<'_>,
        message: FromWorker,
        payload: &[u8],
    ) -> Result<(), Nonsense> {
        let (seq, outcome, usage) = match message {
            FromWorker::Hello { version: VERSION, digest: theirs } if theirs == digest() => {
                return Ok(());
            }
            FromWorker::Hello { .. } => return Err(Nonsense),
            FromWorker::Ready => return self.ready(reports),
            FromWorker::Skipped { seq } => {
                let (slot, sent) = self.answered(seq)?;
                reports.skipped(slot, sent.task);
                return Ok(());
            }
            FromWorker::Done { seq, usage } => (seq, Ok(payload.to_vec()), usage),
            FromWorker::Failed { seq, usage, failure } => (seq, Err(failure), usage),
        };
        let (slot, sent) = self.answered(seq)?;
        self.link.count_done();
        let attempt = (sent.task, sent.attempt);
        reports.finished(slot, attempt, outcome, (usage, self.link.number));
        Ok(())
    }

    fn answered(&self, seq: u64) -> Result<(SlotId, Sent), Nonsense> {
        let slot = *self.link.slot.get().ok_or(Nonsense)?;
        Ok((slot, self.link.answered(seq).ok_or(Nonsense)?))
    }

    fn ready(&self, reports: &mut Reports<'_>) -> Result<(), Nonsense> {
        if self.link.slot.get().is_some() {
            return Err(Nonsense);
        }
        let slot = reports.slot_up();
        self.links.attach(slot, self.link.clone());
        let _ = self.link.slot.set(slot);
        self.control.succeeded();
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

/// What no worker of ours writes.
struct Nonsense;

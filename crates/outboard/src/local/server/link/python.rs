//! What the server does for a worker that is Python, which cannot swap words of the page.
//! The server swaps them itself, as the worker's messages come.
//!
//! A task counts as started when it is given to the worker, which has no other at that time, or
//! those of the same batch.

use std::sync::atomic::Ordering::{AcqRel, Release, SeqCst};
use std::sync::atomic::{AtomicBool, fence};

use rustix::time::ClockId;

use super::{Link, Outgoing};
use crate::engine::{Flush, Work};
use crate::local::server::chunk::Chunk;
use crate::local::shm::answers::Nonsense;
use crate::local::shm::page::Word;
use crate::local::wire::python::{Call, credit};
use crate::os::usage;
use crate::task::outcome::Usage;
use crate::task::progress::Noted;
use crate::task::system::now_ns;

/// From this run time on, the memory of the worker is measured after a task.
const MEASURED_NS: u64 = 1_000_000;

/// What there is beside what any worker has.
#[derive(Debug, Default)]
pub(super) struct OfPython {
    /// Its task's stream waits for credit.
    waits: AtomicBool,
}

impl Link {
    /// Whether it is Python.
    pub(super) fn is_python(&self) -> bool {
        self.python.is_some()
    }

    /// Appends a task, which has started thereby.
    pub(super) fn start_python(
        &self,
        outgoing: &mut Outgoing,
        seq: u64,
        work: &Work<'_>,
        slot: Option<u32>,
    ) {
        let (name, number) = (work.function.name, work.function.number as u32);
        let (streams, rest) = (work.function.streams, work.rest);
        let call = Call { seq, name, number, streams, rest, slot };
        self.page.set_running_since(now_ns(ClockId::Monotonic), self.page.cpu_before_ns());
        self.page.task(seq).start();
        let payload = &work.args.payload;
        outgoing.outbox.append_frame(seq, payload, |out, bytes| call.append_head(out, bytes));
    }

    /// Its task has ended, and the call that it was in took so much; whether its answer counts.
    ///
    /// # Errors
    ///
    /// If it has no such task.
    pub(super) fn finish_python(&self, seq: u64, usage: &Usage) -> Result<Finish, Nonsense> {
        if usage.run_ns >= MEASURED_NS && self.is_told_first(seq) {
            self.measure(usage.cpu_ns.unwrap_or(0));
        }
        match self.page.task(seq) {
            task if task.finish() => Ok(Finish::Counts),
            // The kill is on its way.
            task if task.read() == Some(Word::Killing) => Ok(Finish::TooLate),
            _ => Err(Nonsense),
        }
    }

    /// Whether no other task of its call is answered before.
    fn is_told_first(&self, seq: u64) -> bool {
        let locked = self.locked();
        let sent = locked.outgoing.sent.iter().find(|sent| sent.seq == seq);
        sent.is_some_and(|sent| sent.batch == seq)
    }

    /// It has used so much more CPU time, and has some memory.
    pub(super) fn measure(&self, cpu_ns: u64) {
        let before_ns = self.page.cpu_before_ns();
        self.page.set_running_since(self.page.running_since(), before_ns.saturating_add(cpu_ns));
        if let Some(memory) = usage::memory(self.pid) {
            self.page.set_memory(memory);
        }
    }

    /// Its resident memory after a task of that run time, if that was measured.
    pub(super) fn measured_bytes(&self, run_ns: u64) -> Option<u64> {
        (run_ns >= MEASURED_NS).then(|| self.memory_bytes()).flatten()
    }

    /// How far its task has come.
    pub(super) fn note_progress(&self, seq: u64, noted: &Noted) {
        self.page.set_progress(seq, noted);
    }

    /// Its task's stream waits, and knows of so much that was taken.
    ///
    /// In this order: who takes something after the store sees it.
    pub(super) fn stream_waits(&self, seq: u64, taken: u64) {
        let Some(python) = &self.python else { return };
        python.waits.store(true, Release);
        fence(SeqCst);
        if self.page.credit(seq) > taken {
            self.give_credit(seq);
        }
    }

    /// The reader of a stream took something: tells a worker that waits for that.
    ///
    /// It is called under the channel's mutex, which comes after the link's.
    pub(super) fn give_credit(&self, seq: u64) {
        let Some(python) = &self.python else { return };
        fence(SeqCst);
        if !python.waits.swap(false, AcqRel) {
            return;
        }
        let Some(link) = self.weak.upgrade() else { return };
        self.runtime.spawn(async move {
            let frame = credit(seq, link.page.credit(seq));
            link.locked().outgoing.outbox.push(seq, Chunk::Frames(frame));
            link.flush();
        });
    }
}

/// What becomes of an answer.
pub(super) enum Finish {
    Counts,
    /// The server has claimed the process for a kill.
    TooLate,
}

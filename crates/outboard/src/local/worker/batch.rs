//! Tasks that are executed in one call: they are gathered, started, and answered in order.

use std::io;
use std::os::fd::OwnedFd;

use super::current::InWorker;
use super::meter::Meter;
use super::{Answer, Owed, Worker, find, nonsense, park_until_killed, relay};
use crate::local::shm::arena::Arena;
use crate::local::shm::sealed;
use crate::local::wire::{Call, FromWorker, FunctionRef, Place};
use crate::task::batch::RunAll;
use crate::task::execute::{execute, execute_all};
use crate::task::outcome::{Failure, OTHER_BUILD, Usage};
use crate::task::registry::registry;
use crate::trace;
use crate::value::codec::Input;
use crate::value::payload::Payload;

/// A task that waits for the rest of its batch.
pub(super) struct Member {
    call: Call,
    place: Place,
    file: Option<OwnedFd>,
    /// The arguments, if they came in the frame.
    args: Vec<u8>,
}

impl Member {
    /// Its arguments, which the function gets copies of.
    fn input<'a>(&'a self, arena: &'a Arena) -> io::Result<Input<'a>> {
        match (self.place, &self.file) {
            (Place::Arena { offset, bytes }, _) => {
                Ok(Input::Lent(arena.arguments(offset, bytes).ok_or_else(nonsense)?))
            }
            (Place::File { bytes }, Some(file)) => {
                Ok(Input::Owned(sealed::open(file, bytes)?.into()))
            }
            _ => Ok(Input::Lent(&self.args)),
        }
    }
}

impl Worker {
    /// Takes a task of a batch; the last one starts it.
    pub(super) fn gather(&mut self, call: Call, place: Place, args: &[u8]) -> io::Result<()> {
        let file = matches!(place, Place::File { .. }).then(|| self.next_file()).transpose()?;
        let whole = call.rest == 0;
        self.batch.push(Member { call, place, file, args: args.to_vec() });
        match whole {
            true => {
                let batch = std::mem::take(&mut self.batch);
                self.run_batch(&batch)
            }
            false => Ok(()),
        }
    }

    /// Executes a batch without those that were taken back, and answers each in its turn.
    fn run_batch(&mut self, batch: &[Member]) -> io::Result<()> {
        let page = &self.current.page;
        let start = |member: &&Member| page.task(member.call.seq).start();
        // In this order: whoever is not started now is not in the call.
        let running: Vec<&Member> = batch.iter().filter(start).collect();
        let (outcomes, usage) = match running[..] {
            [] => (Vec::new(), Usage::default()),
            [first, ..] => self.call(&first.call, &running)?,
        };
        let mut running = running.iter().zip(outcomes).peekable();
        for member in batch {
            let seq = member.call.seq;
            let outcome = running.next_if(|(one, _)| one.call.seq == seq);
            let answer = match outcome {
                None => FromWorker::Skipped { seq }.into(),
                Some((_, Ok(output))) => self.lay_down(seq, usage, output),
                Some((_, Err(failure))) => Answer::from(FromWorker::Failed { seq, usage, failure }),
            };
            self.answer(Owed { args: member.place }, answer)?;
        }
        self.stderr.mark(&self.current.page);
        match batch {
            [] => Ok(()),
            [first, ..] => self.tidy(first.call.function, usage.run_ns),
        }
    }

    /// Calls the function for tasks that were started.
    fn call(
        &mut self,
        first: &Call,
        running: &[&Member],
    ) -> io::Result<(Vec<Result<Payload, Failure>>, Usage)> {
        self.cpu.arm()?;
        relay::open(first.seq);
        let called = {
            // Gone before the answers: then nobody holds what the server writes again.
            let arena = self.arena.clone();
            let inputs = running.iter().map(|member| member.input(&arena));
            attempt(self.current, self.max_payload, running, inputs.collect::<Result<_, _>>()?)
        };
        self.spoke = relay::close();
        self.cpu.disarm()?;
        Ok(called)
    }
}

/// Executes tasks that were started, in the place of the first of them.
fn attempt(
    current: &InWorker,
    max_payload: usize,
    running: &[&Member],
    inputs: Vec<Input<'_>>,
) -> (Vec<Result<Payload, Failure>>, Usage) {
    let calls = || running.iter().map(|member| &member.call);
    let page = &current.page;
    let (Some(first), Some(last)) = (calls().next(), calls().next_back()) else {
        return (Vec::new(), Usage::default());
    };
    // The latest, and 0 is none.
    let deadline_ns = calls().map(|call| call.deadline_ns.wrapping_sub(1)).max();
    current.enter(first.seq..=last.seq, deadline_ns.map_or(0, |ns| ns.wrapping_add(1)));
    let meter = Meter::start(current);
    let outcomes = match find(first.function) {
        Some((name, run)) => {
            let span = trace::remote(first.context.as_deref(), name, first.attempt);
            span.in_scope(|| match together(first.function) {
                Some(run_all) => execute_all(run_all, inputs, max_payload),
                // This program is another one, where the function takes no batches.
                None => inputs.into_iter().map(|args| execute(run, args, max_payload)).collect(),
            })
        }
        None => vec![Err(Failure::UnknownTask { advice: OTHER_BUILD }); running.len()],
    };
    let failed = outcomes.iter().any(Result::is_err);
    current.exit_if_forked(if failed { Err(()) } else { Ok(()) });
    // What the server reads of tasks that are done is on the page before their words say so.
    let usage = Usage { batch: running.len() as u32, ..meter.stop(page, first.seq) };
    current.leave();
    for call in calls() {
        if !page.task(call.seq).finish() {
            park_until_killed();
        }
    }
    (outcomes, usage)
}

/// How a function is called for several tasks, if it can be.
fn together(function: FunctionRef) -> Option<RunAll> {
    match function {
        FunctionRef::Index(index) => registry().ok()?.get(index)?.run_all,
        FunctionRef::Offset(_) => None,
    }
}

//! The `local` engine: worker processes of this very binary on this machine.
//!
//! `supervisor` starts and reaps processes on a thread of its own, `link` is
//! the server's end of one worker, from its first message to its end, `output` passes
//! its stdout and stderr on.

mod cgroup;
mod chunk;
mod descriptors;
mod interpreter;
mod link;
mod outbox;
mod output;
mod program;
mod shortage;
mod supervisor;
mod wear;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::engine::gate::Reports;
use crate::engine::pools::{self, Member, Pools};
use crate::engine::restart::{Restart, restart};
use crate::engine::settings::Settings;
use crate::engine::spin::Spin;
use crate::engine::{Engine, Flush, Gate, Pool, Reserve, Stopped, Work};
use crate::error::Error;
use crate::ids::{SlotId, TaskId};
#[cfg(all(feature = "sandbox", target_os = "linux"))]
use crate::local::program::kernel;
use crate::local::program::{digest, is_worker};
use crate::local::shm::sealed;
use crate::local::wire::FunctionRef;
use crate::observe::event::RecycleReason;
use crate::observe::snapshot::{Host, WorkerSnapshot, WorkerState};
use crate::os::usage;
use crate::task::closure::address;
use crate::task::current::in_worker;
use crate::task::execute::inside_task;
use crate::task::progress::Progress;
use crate::task::registry::{Function, refuse_python, unknown};
use crate::task::sandbox::Sandbox;
use crate::task::start::Config;
use crate::value::scatter::home::{Placed, Workers};

use link::Link;
use program::Program;
use supervisor::Control;

/// How many scattered values functions on start are given: a socket takes so many descriptors
/// before anyone reads.
const MOST_SCATTERED: usize = 64;

/// Starts the engine: for each pool its supervisor, and through that its workers.
pub(super) fn start(mut settings: Settings) -> Result<Pools, Error> {
    refuse_in_a_worker()?;
    pools::add_python(&mut settings).map_err(Error::unavailable)?;
    crate::task::registry::registry().map_err(Error::unavailable)?;
    let all = || iter::once(&settings).chain(settings.pools.iter().map(|(_, pool)| pool));
    let workers = all().map(|pool| pool.workers.most()).fold(0, usize::saturating_add);
    let spares = all().map(|pool| pool.spares()).fold(0, usize::saturating_add);
    descriptors::fit(workers, spares)?;
    Pools::start(settings, start_pool)
}

fn start_pool(settings: Settings, member: Member) -> Result<Arc<Gate>, Error> {
    let start = start_of(&settings)?;
    settings.python.as_ref().map_or(Ok(()), |python| interpreter::check(python, &settings))?;
    settings.sandbox.as_ref().map_or(Ok(()), allow)?;
    refuse_unknown_memory(&settings)?;
    settings.config.as_ref().map_or(Ok(()), |config| fits(config))?;
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
        Error::unavailable("worker processes need a tokio runtime: start the client inside one")
    })?;
    // A runtime without I/O panics here, at its user, and not on our thread.
    tokio::net::UnixStream::pair().map_err(|error| Error::unavailable(error.to_string()))?;
    let (strength, spares, exclusive) =
        (settings.strength(), settings.spares(), settings.exclusive);
    let workers = strength.kept();
    let control = Control::new(workers, strength.absent());
    let links = Links::default();
    let engine = Local {
        links: links.clone(),
        control: control.clone(),
        spares,
        exclusive,
        elsewhere: start.elsewhere(),
        python: settings.python.is_some(),
        spinners: if settings.spin().is_zero() { 0 } else { Host::cores() / 2 },
    };
    let gate = Gate::new(settings.limits, strength, Box::new(engine), &member);
    gate.start_clock();
    let numbers = member.numbers(workers);
    supervisor::start(gate.clone(), links, control, runtime, (settings, start, numbers)).map_err(
        |error| Error::unavailable(format!("could not start the supervisor thread: {error}")),
    )?;
    Ok(gate)
}

/// How the workers of a pool are started.
#[derive(Clone, Debug)]
enum Start {
    /// As this very program: a deploy may have replaced the file at its path.
    Again(Restart),
    /// As another one.
    Program(Arc<Program>),
}

fn start_of(settings: &Settings) -> Result<Start, Error> {
    if let Some(path) = &settings.program {
        return Program::find(path).map(|program| Start::Program(Arc::new(program)));
    }
    let restart = restart().map_err(Error::unavailable)?;
    refuse_a_loader()?;
    // The file of this program may be another one later.
    digest();
    Ok(Start::Again(restart))
}

impl Start {
    /// The program whose workers have functions of their own.
    fn elsewhere(&self) -> Option<Arc<Program>> {
        match self {
            Self::Again(_) => None,
            Self::Program(program) => Some(program.clone()),
        }
    }
}

/// Sees to it that no process that was started as a worker starts workers
/// without end. A task may, for those are its own.
fn refuse_in_a_worker() -> Result<(), Error> {
    if in_worker() {
        return match inside_task() {
            true => Ok(()),
            false => Err(Error::unavailable(
                "this is a worker process: only a task, on its own thread, can start workers in it",
            )),
        };
    }
    if is_worker() {
        eprintln!(
            "outboard: this process was started as a worker, but its `main` reached \
             `Client::local()` without `outboard::init()`: call that first in `main`"
        );
        std::process::exit(1);
    }
    Ok(())
}

/// Refuses a program that the dynamic loader was told to execute: the file that workers are
/// started from is the loader then.
fn refuse_a_loader() -> Result<(), Error> {
    let file = std::env::current_exe().unwrap_or_default();
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !["ld-linux", "ld-musl", "ld.so", "ld64.so"].iter().any(|loader| name.starts_with(loader)) {
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "this program was started through the dynamic loader {}, from which no worker can be \
         started: execute the program itself",
        file.display()
    )))
}

/// Refuses a value for functions on start that cannot be sent.
fn fits(config: &Config) -> Result<(), Error> {
    match &config.value {
        Err(error) => Err(Error::unavailable(format!(
            "the value of `start_with` ({}) cannot be encoded: {error}",
            config.of_type
        ))),
        Ok(value) if value.scattered().len() > MOST_SCATTERED => Err(Error::unavailable(format!(
            "the value of `start_with` names {} scattered values, and at most {MOST_SCATTERED} fit",
            value.scattered().len()
        ))),
        Ok(value) if value.scattered().iter().any(|value| value.file.is_none()) => {
            Err(Error::unavailable(
                "the value of `start_with` names a scattered value that is not on this machine: \
                 scatter it by a client of `local`",
            ))
        }
        Ok(_) => Ok(()),
    }
}

/// Refuses limits that this system cannot keep, for it neither limits nor tells memory.
fn refuse_unknown_memory(settings: &Settings) -> Result<(), Error> {
    if cfg!(target_vendor = "apple") && settings.worker.memory_bytes.is_some() {
        return Err(Error::unavailable(
            "`memory_limit` cannot be kept: this system does not limit the memory of a process. \
             Leave it out; `recycle_above` replaces workers that have grown",
        ));
    }
    if settings.recycling.memory_bytes.is_some() && usage::own_memory().is_none() {
        return Err(Error::unavailable(
            "`recycle_above` cannot be kept: this system does not tell how much memory a process \
             has. Leave it out; `recycle_after_tasks` replaces workers in time",
        ));
    }
    Ok(())
}

/// Refuses a sandbox that workers cannot have here.
#[cfg(all(feature = "sandbox", target_os = "linux"))]
fn allow(sandbox: &Sandbox) -> Result<(), Error> {
    let lacks = kernel::lacks().join(", and ");
    if lacks.is_empty() {
        return Ok(());
    }
    if sandbox.best_effort {
        tracing::warn!(lacks, "the workers' sandbox is incomplete");
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "the sandbox cannot be had: this kernel or container lacks {lacks}; `best_effort` does \
         without"
    )))
}

#[cfg(not(all(feature = "sandbox", target_os = "linux")))]
fn allow(_: &Sandbox) -> Result<(), Error> {
    Err(Error::unavailable(
        "a sandbox needs Linux, and the feature `sandbox` of outboard: enable it",
    ))
}

/// The engine, as the gate calls it.
#[derive(Debug)]
struct Local {
    links: Links,
    control: Arc<Control>,
    spares: usize,
    /// A worker has its slot from its start.
    exclusive: bool,
    /// The workers' program, if that is not this one.
    elsewhere: Option<Arc<Program>>,
    /// The workers are Python.
    python: bool,
    /// How many tasks may be owed for a caller to spin; 0 if none spins at all. A caller takes
    /// a core, and the worker that it waits for another.
    spinners: usize,
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
    fn replace(&self, link: &Arc<Link>, why: RecycleReason, reports: &mut Reports<'_>) {
        reports.wears(link.number, why);
        match link.slot() {
            Some(slot) => reports.worn(slot),
            None => {
                self.leave(link);
                link.dismiss();
            }
        }
    }

    /// Its slot gets no more tasks, if it still has one: the worker is dead, or will be.
    fn close(&self, link: &Arc<Link>, reports: &mut Reports<'_>) {
        // Slots are taken from links under the gate's mutex, which the reports hold.
        let slot = link.slot();
        let own = |slot: &SlotId| self.get(*slot).is_some_and(|one| Arc::ptr_eq(&one, link));
        if let Some(slot) = slot.filter(own) {
            reports.closing(slot);
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

    fn map(&self) -> bool {
        true
    }

    fn place(&self, bytes: Bytes) -> io::Result<Placed> {
        let file = sealed::create(&bytes.clone().into())?;
        let bytes = sealed::open(&file, bytes.len() as u64)?;
        Ok(Placed { bytes, file: Some(Arc::new(file)) })
    }
}

impl Table {
    fn all(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.by_slot.iter().flatten().chain(&self.standby)
    }

    fn attach(&mut self, slot: SlotId, in_pool: usize, link: Arc<Link>) {
        if self.by_slot.len() <= slot.index() {
            self.by_slot.resize_with(slot.index() + 1, || None);
        }
        link.serve(slot, in_pool as u32);
        self.by_slot[slot.index()] = Some(link);
    }
}

impl Engine for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn check(&self, function: &'static Function) -> Result<(), Error> {
        match self.python {
            true => return interpreter::knows(function),
            false => refuse_python(function)?,
        }
        if let Some(program) = &self.elsewhere {
            return program.check(function);
        }
        match reference(function) {
            Some(_) => Ok(()),
            None => {
                Err(unknown(function.name, "it lies in a shared library: mark it with #[task]"))
            }
        }
    }

    fn takes_feeds(&self) -> bool {
        true
    }

    fn takes_batches(&self) -> bool {
        true
    }

    fn start(&mut self, slot: SlotId, work: Work<'_>) -> Option<Arc<dyn Flush>> {
        let link = self.links.get(slot)?;
        let function = match link.functions() {
            Some(theirs) => Some(theirs.reference(work.function)),
            None if self.python => None,
            None => Some(reference(work.function)?),
        };
        link.start(&work, function);
        self.control.beat();
        Some(link)
    }

    fn stop(&mut self, slot: SlotId, task: TaskId) -> Stopped {
        self.links.get(slot).map_or(Stopped::Continues, |link| link.stop(task))
    }

    fn withdraw(&mut self, slot: SlotId) -> Vec<TaskId> {
        self.links.get(slot).map(|link| link.withdraw()).unwrap_or_default()
    }

    fn started(&self, slot: SlotId, task: TaskId) -> bool {
        self.links.get(slot).is_some_and(|link| link.started(task))
    }

    fn progress(&self, slot: SlotId, task: TaskId) -> Option<Progress> {
        self.links.get(slot)?.progress(task)
    }

    fn spins(&self, owed: usize) -> bool {
        owed <= self.spinners
    }

    fn spin(&self, slot: SlotId) -> Option<Spin> {
        self.links.get(slot)?.spin()
    }

    fn forget(&mut self, slot: SlotId) {
        self.links.take(slot);
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

    fn holders(&self) -> Result<Option<Arc<dyn Workers>>, Error> {
        Ok(Some(Arc::new(self.links.clone())))
    }

    fn workers(&self) -> Vec<(Option<SlotId>, WorkerSnapshot)> {
        let links = self.links.lock();
        let mut rows: Vec<_> = links.all().filter(|it| !it.is_reaped()).map(|it| row(it)).collect();
        rows.sort_unstable_by_key(|(_, row)| row.number);
        rows
    }

    fn worker(&self, slot: SlotId) -> usize {
        self.links.get(slot).map_or(0, |link| link.number)
    }

    fn pool(&mut self) -> Option<&mut dyn Pool> {
        Some(self)
    }

    fn reserve(&mut self) -> Option<&mut dyn Reserve> {
        Some(self)
    }
}

impl Pool for Local {
    fn fit(&self, workers: usize) -> Result<(), Error> {
        descriptors::fit_alone(workers, self.spares)
    }

    fn keep(&mut self, workers: usize, absent: &BTreeSet<usize>) {
        self.control.keep(workers, absent);
        if self.exclusive {
            // Their slots are there no more.
            let gone = |slot| slot >= workers || absent.contains(&slot);
            let beyond = |link: &Arc<Link>| link.in_pool().is_some_and(gone);
            let mut links = self.links.lock();
            links.standby.iter().filter(|link| beyond(link)).for_each(|link| link.dismiss());
            links.standby.retain(|link| !beyond(link));
        }
    }

    fn dismiss(&mut self, slot: SlotId) {
        if let Some(link) = self.links.get(slot) {
            link.dismiss();
        }
    }

    fn revoke(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.links.get(slot).is_some_and(|link| link.revoke(task))
    }

    fn kill(&mut self, slot: SlotId, task: TaskId) -> bool {
        self.links.get(slot).is_some_and(|link| link.kill_for(task))
    }

    fn replaceable(&self, worker: usize) -> Option<SlotId> {
        let links = self.links.lock();
        links.by_slot.iter().flatten().find(|link| link.number == worker)?.slot()
    }
}

impl Reserve for Local {
    fn standby(&self) -> usize {
        self.links.lock().standby.len()
    }

    fn number(&self) -> Option<usize> {
        let links = self.links.lock();
        links.standby.front().filter(|_| self.exclusive).and_then(|link| link.in_pool())
    }

    fn promote(&mut self, slot: SlotId, number: usize) {
        let mut links = self.links.lock();
        if let Some(link) = links.standby.pop_front() {
            links.attach(slot, number, link);
        }
    }

    fn demote(&mut self, slot: SlotId) {
        if let Some(link) = self.links.take(slot) {
            link.stand_by();
            self.links.lock().standby.push_front(link);
        }
    }

    fn release(&mut self) {
        let last = self.links.lock().standby.pop_back();
        if let Some(link) = last {
            link.dismiss();
        }
    }
}

fn row(link: &Link) -> (Option<SlotId>, WorkerSnapshot) {
    let slot = link.slot();
    let (done, memory_bytes) = (link.done(), link.memory_bytes());
    let mut row = WorkerSnapshot::new(link.number, link.pid, done, link.is_busy());
    row.memory_bytes = memory_bytes;
    (row.spins, row.caller_spins) = link.spins();
    row.slot = slot.and_then(|_| link.in_pool());
    if slot.is_none() {
        (row.standby, row.state) = (true, WorkerState::Standby);
    }
    (slot, row)
}

/// How workers find a function; a function without a name by its address.
fn reference(function: &Function) -> Option<FunctionRef> {
    match function.index {
        Some(index) => Some(FunctionRef::Index(index)),
        None => address::to_offset(function.run).map(FunctionRef::Offset),
    }
}

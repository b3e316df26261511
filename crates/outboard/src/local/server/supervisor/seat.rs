//! One worker's number, and the processes that have it one after the other.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, join, select};
use tokio::time::{sleep, sleep_until};

use super::{BEAT, GRACE, Supervisor, pause_after};
use crate::error::{Cause, WorkerLoss};
use crate::local::process::reaping::reap_adopted;
use crate::local::server::link::{Link, Process};

/// A worker that ends unasked, idle and younger than this failed at its start.
const START: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Has a process serve under this number, and another one after its end, until the
    /// engine ends.
    pub(super) async fn seat(&self, number: usize, at: usize) {
        let slot = self.settings.exclusive.then_some(at);
        let (mut pause, mut vain) = (Duration::ZERO, 0);
        while self.may_start(at, pause).await {
            let next = match self.spawn(number, slot) {
                Ok(process) => self.serve(process).await,
                Err(error) => {
                    Next::After(self.failed(&format!("could not start a worker: {error}")))
                }
            };
            (pause, vain) = match next {
                Next::After(pause) => (pause, 0),
                Next::AfterVain => (pause_after(vain), vain.saturating_add(1)),
            };
        }
    }

    /// Looks after a process to its end, and gives when the next one may start.
    async fn serve(&self, process: Process) -> Next {
        self.vigils.borrow_mut().push(process.vigil().clone());
        let mut served = Served { supervisor: self, process: Some(process) };
        if let Some(process) = &mut served.process {
            let link = process.link().clone();
            process.lives(self.attend(&link)).await;
        }
        let Some(process) = served.process.take() else { return Next::After(Duration::ZERO) };
        let link = process.link().clone();
        let (failed, vain) = (link.failed_at_start(START), link.started_in_vain(START));
        let (came_to_init, came_up) = (link.came_to_init(), link.is_ready());
        if !failed && link.started.elapsed() >= START {
            self.control.succeeded();
        }
        let lost = self.bury(process);
        self.see_it_reported(&link).await;
        tracing::debug!(worker = lost.worker, pid = lost.pid, "worker was reaped");
        match (failed && !self.control.is_ending(), came_up) {
            (false, _) if vain => Next::AfterVain,
            (false, _) => Next::After(Duration::ZERO),
            (true, true) => Next::After(self.pause().0),
            (true, false) => Next::After(self.failed(&why_not_up(&lost, came_to_init))),
        }
    }

    /// Waits until the reader of a worker that was reaped has reported its end, as it does
    /// at once where the client's runtime runs. So a crash counts before another worker has
    /// the slot. Where that runtime is blocked, the slot closes without it.
    async fn see_it_reported(&self, link: &Arc<Link>) {
        let (beat, ending) = (pin!(sleep(BEAT)), pin!(self.control.ending()));
        let hurry = select(beat, ending);
        if let Either::Right(_) = select(pin!(link.reported()), pin!(hurry)).await {
            self.gate.report(|reports| self.links.close(link, reports));
        }
    }

    /// Does what is due of a worker while it lives.
    async fn attend(&self, link: &Arc<Link>) {
        join(self.age(link), self.end_with_engine(link)).await;
    }

    /// Kills a worker that is not ready in time; later has it replaced when it is too old.
    async fn age(&self, link: &Arc<Link>) {
        link.comes_up(self.settings.start_timeout, self.settings.warm_up_timeout).await;
        let Some(at) = link.old_at() else { return };
        sleep_until(at.into()).await;
        if let Some(why) = link.grew_old(Instant::now()) {
            self.gate.report(|reports| self.links.replace(link, why, reports));
        }
    }

    /// When the engine ends: an idle worker exits by itself, another one is killed, and
    /// so is what is left after a grace.
    async fn end_with_engine(&self, link: &Link) {
        self.control.ending().await;
        link.dismiss();
        if link.is_busy() || !link.is_ready() {
            link.kill();
        }
        sleep(GRACE).await;
        link.kill();
    }

    /// Reaps a process that has ended, with its group.
    fn bury(&self, process: Process) -> WorkerLoss {
        self.vigils.borrow_mut().retain(|vigil| !Rc::ptr_eq(vigil, process.vigil()));
        let system = || {
            let count = self.groups.borrow().kills();
            self.kills.borrow_mut().claim(Instant::now(), count)
        };
        let (lost, group) = process.bury(system);
        self.groups.borrow_mut().remove(group);
        self.left.notify_waiters();
        // What was killed with it, and is in no group of ours, ends soon.
        if reap_adopted() {
            self.control.beat();
        }
        lost
    }
}

/// When the next process may start.
enum Next {
    After(Duration),
    /// After a pause that grows: the last one was sent away before it had anything to do.
    AfterVain,
}

/// Why a worker did not come up.
fn why_not_up(lost: &WorkerLoss, came_to_init: bool) -> String {
    match lost.cause {
        Some(Cause::Exited(_) | Cause::Signal(_)) if !came_to_init => {
            format!("{lost}; it never reached `outboard::init()`: call that first in `main`")
        }
        _ => lost.to_string(),
    }
}

/// A process that is looked after. Whoever stops looking, be it for a panic of ours, kills
/// it, for nobody may wait for what will not come.
struct Served<'a> {
    supervisor: &'a Supervisor,
    process: Option<Process>,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
            self.supervisor.bury(process);
        }
    }
}

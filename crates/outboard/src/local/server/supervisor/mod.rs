//! The one thread that starts workers, notices their end and reaps them.
//!
//! It lives as long as the engine: a worker's parent-death signal fires when
//! the *thread* that started it ends. It has a runtime of its own. On it, each worker's
//! number is one async function (`seat`), which wakes for the process's end (its pidfd),
//! for output, for an order, or for a timer. While workers are busy, one more looks four
//! times a second for one that a signal has stopped. An idle engine wakes nothing.

mod launch;
mod seat;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{join, pending, select};
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::cgroup::Groups;
use super::link::{Rest, Vigil};
use super::output::Printer;
use super::shortage::Kills;
use super::{Links, Start};
use crate::engine::Gate;
use crate::engine::pools::Numbers;
use crate::engine::settings::Settings;
use crate::error::Error;
use crate::local::process::reaping::reap_adopted;
use crate::os::refused;

/// How often busy workers are looked at.
const BEAT: Duration = Duration::from_millis(250);

/// How long an idle worker may take to exit by itself when the engine ends, and
/// its last lines to be written.
const GRACE: Duration = Duration::from_millis(500);

/// How long the engine waits, when it ends, for workers that were killed. One in an
/// uninterruptible system call may take for ever.
const END: Duration = Duration::from_secs(5);

/// After how many failed starts in a row nothing more is expected of the next.
const BROKEN_AFTER: u32 = 3;

/// The pause after the first failed start; it doubles up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Workers that compute so often before their first task do so by themselves: what they
/// do between tasks then says nothing.
const RESTLESS_AFTER: u32 = 4;

/// What others tell the supervisor.
#[derive(Debug)]
pub(super) struct Control {
    orders: watch::Sender<Orders>,
    /// Workers are looked after.
    beating: AtomicBool,
    busy: Notify,
    failures: AtomicU32,
}

/// What is wanted of it.
#[derive(Clone, Debug)]
struct Orders {
    /// How many workers there are to be.
    wanted: usize,
    /// The slots that are to have none, where a worker has its slot from its start.
    absent: BTreeSet<usize>,
    /// End all workers, and then yourself.
    ending: bool,
}

impl Control {
    pub(super) fn new(wanted: usize, absent: &BTreeSet<usize>) -> Arc<Self> {
        let absent = absent.clone();
        Arc::new(Self {
            orders: watch::Sender::new(Orders { wanted, absent, ending: false }),
            beating: AtomicBool::new(false),
            busy: Notify::new(),
            failures: AtomicU32::new(0),
        })
    }

    /// Workers are busy: look after them. Costs one load while that goes on.
    pub(super) fn beat(&self) {
        if !self.beating.load(Relaxed) && !self.beating.swap(true, AcqRel) {
            self.busy.notify_one();
        }
    }

    /// There are to be so many workers from now on.
    pub(super) fn keep(&self, workers: usize, absent: &BTreeSet<usize>) {
        self.orders.send_if_modified(|orders| {
            let more = orders.wanted < workers || !orders.absent.is_subset(absent);
            orders.wanted = workers;
            if orders.absent != *absent {
                orders.absent.clone_from(absent);
            }
            more
        });
    }

    /// End all workers, and then yourself.
    pub(super) fn shutdown(&self) {
        self.orders.send_modify(|orders| orders.ending = true);
    }

    /// A worker does its work.
    pub(super) fn succeeded(&self) {
        self.failures.store(0, Relaxed);
    }

    fn is_ending(&self) -> bool {
        self.orders.borrow().ending
    }

    /// Completes when all is to end.
    async fn ending(&self) {
        let _ = self.orders.subscribe().wait_for(|orders| orders.ending).await;
    }
}

/// Starts the supervisor's thread.
pub(super) fn start(
    gate: Arc<Gate>,
    links: Links,
    control: Arc<Control>,
    runtime: Handle,
    (settings, start, numbers): (Settings, Start, Numbers),
) -> io::Result<()> {
    let (printer, printed) = Printer::start(settings.output.clone())?;
    let groups = Groups::find(settings.worker.memory_bytes);
    let mut kills = Kills::default();
    kills.look(Instant::now(), groups.kills());
    // Made when there is a thread for it: this one may not drop a runtime.
    let (give, given) = channel::<Runtime>();
    let run = move || {
        let Ok(own) = given.recv() else { return };
        let supervisor = Supervisor {
            gate,
            links,
            control,
            runtime,
            printer: Some(printer),
            printed,
            groups: RefCell::new(groups),
            kills: RefCell::new(kills),
            settings,
            start,
            numbers: RefCell::new(numbers),
            vigils: RefCell::default(),
            restless: Cell::new(0),
            left: Notify::new(),
        };
        own.block_on(supervisor.run());
    };
    let thread = std::thread::Builder::new().name("outboard-supervisor".into()).spawn(run);
    thread.map_err(|error| refused("start a thread", error))?;
    let own = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let _ = give.send(own);
    Ok(())
}

/// Keeps the gate until all is over: detached tasks go on when nobody else has
/// it any more.
struct Supervisor {
    gate: Arc<Gate>,
    links: Links,
    control: Arc<Control>,
    /// The client's, on which readers live.
    runtime: Handle,
    printer: Option<Printer>,
    /// Disconnected when all lines are written.
    printed: Receiver<()>,
    groups: RefCell<Groups>,
    kills: RefCell<Kills>,
    settings: Settings,
    start: Start,
    /// Those of the next workers.
    numbers: RefCell<Numbers>,
    /// All processes that were started and not reaped.
    vigils: RefCell<Vec<Rc<Vigil>>>,
    /// How often a worker was seen to compute before its first task.
    restless: Cell<u32>,
    /// One of them was reaped.
    left: Notify,
}

impl Supervisor {
    async fn run(&self) {
        let mut orders = self.control.orders.subscribe();
        let (mut seats, mut made) = (FuturesUnordered::new(), 0);
        let mut aside = pin!(join(self.beat(), self.end_in_time()));
        loop {
            let Orders { wanted, ending, .. } = *orders.borrow_and_update();
            if ending && seats.is_empty() {
                return;
            }
            let missing = wanted.saturating_sub(made);
            let numbers: Vec<_> = self.numbers.borrow_mut().by_ref().take(missing).collect();
            seats.extend(numbers.into_iter().zip(made..).map(|(number, at)| self.seat(number, at)));
            made = made.max(wanted);
            // A seat ends with the engine, and not before.
            let end = poll_fn(|context| match pin!(&mut seats).poll_next(context) {
                Poll::Ready(Some(())) => Poll::Ready(()),
                _ => Poll::Pending,
            });
            select(pin!(orders.changed()), pin!(select(end, aside.as_mut()))).await;
        }
    }

    /// Waits for that long, and until a worker is missing; `false` if all is to end.
    ///
    /// Where a slot has one worker at a time, the seat that is so many behind the first has
    /// that slot. It starts a worker while there is such a slot.
    async fn may_start(&self, at: usize, pause: Duration) -> bool {
        if pause > Duration::ZERO {
            select(pin!(sleep(pause)), pin!(self.control.ending())).await;
        }
        let mut orders = self.control.orders.subscribe();
        loop {
            // Before it is looked whether there is one.
            let left = self.left.notified();
            let (ending, missing) = {
                let Orders { wanted, absent, ending } = &*orders.borrow_and_update();
                let missing = match self.settings.exclusive {
                    true => at < *wanted && !absent.contains(&at),
                    false => self.vigils.borrow().len() < *wanted,
                };
                (*ending, missing)
            };
            if ending || missing {
                return !ending;
            }
            select(pin!(orders.changed()), pin!(left)).await;
        }
    }

    /// The pause before the next start, after one that led to nothing; and how many in a
    /// row there were.
    fn pause(&self) -> (Duration, u32) {
        let before = self.control.failures.fetch_add(1, Relaxed);
        (pause_after(before), before.saturating_add(1))
    }

    /// Reports the end of the engine, once that was asked for, although workers are left
    /// that were killed. They are waited for all the same: whoever ended may not.
    async fn end_in_time(&self) {
        self.control.ending().await;
        sleep(END).await;
        for vigil in &*self.vigils.borrow() {
            vigil.say_it_is_left();
        }
        self.gate.report(|reports| reports.ended());
        pending().await
    }

    /// A worker did not come up; gives the pause before the next start.
    fn failed(&self, reason: &str) -> Duration {
        let (pause, failures) = self.pause();
        if failures >= BROKEN_AFTER {
            // Once: they go on to be started, and nothing is new until one comes up.
            if failures == BROKEN_AFTER {
                tracing::error!(failures, reason, "workers failed at their start");
            }
            let error = Error::unavailable(format!(
                "{failures} workers in a row failed at their start; the last: {reason}"
            ));
            self.gate.report(|reports| reports.broken(error));
        }
        pause
    }

    /// Looks after busy workers, four times a second, while there are any.
    async fn beat(&self) {
        loop {
            self.control.busy.notified().await;
            loop {
                sleep(BEAT).await;
                reap_adopted();
                let (now, vigils) = (Instant::now(), self.vigils.borrow().clone());
                self.kills.borrow_mut().look(now, self.groups.borrow().kills());
                let busy = vigils.iter().filter(|vigil| vigil.is_busy());
                // Another worker has the slot of one that was killed and does not end.
                let late: Vec<_> = busy.filter(|vigil| vigil.look(now)).collect();
                if !late.is_empty() {
                    self.gate.report(|reports| {
                        late.iter().for_each(|it| self.links.close(it.link(), reports));
                    });
                }
                let rests = vigils.iter().filter(|vigil| self.look_at_rest(vigil, now));
                let unknown = rests.count();
                // In this order: who submits after the store wakes us again.
                self.control.beating.store(false, SeqCst);
                // All are asked, and those that were busy until now once more.
                let used = vigils.iter().filter(|vigil| vigil.give_back(now)).count();
                if used + unknown == 0 && !vigils.iter().any(|vigil| vigil.is_busy()) {
                    break;
                }
                self.control.beating.store(true, SeqCst);
            }
        }
    }
}

impl Supervisor {
    /// Has an idle worker replaced that computes all the same: a task has left a thread.
    /// Whether it is to be looked at again.
    fn look_at_rest(&self, vigil: &Vigil, now: Instant) -> bool {
        let link = vigil.link();
        match vigil.rest(now) {
            Rest::Unknown => return true,
            Rest::Quiet => return false,
            Rest::Computing => {}
        }
        if link.done() == 0 {
            self.restless.set(self.restless.get().saturating_add(1));
        }
        if self.restless.get() >= RESTLESS_AFTER {
            // No task did that, so another worker would do the same.
            return false;
        }
        if link.done() > 0
            && let Some(why) = link.computes()
        {
            tracing::warn!(
                worker = link.number,
                pid = link.pid,
                "an idle worker that used the CPU is replaced: a task left a thread behind"
            );
            self.gate.report(|reports| self.links.replace(link, why, reports));
        }
        true
    }
}

/// The pause after so many starts in a row, and one more, that led to nothing.
fn pause_after(starts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << starts.min(16)).min(LONGEST_PAUSE)
}

/// Also where a panic of ours ends: nobody may wait for what will not come.
impl Drop for Supervisor {
    fn drop(&mut self) {
        // A program that ends now would take the last lines along.
        self.printer = None;
        let _ = self.printed.recv_timeout(GRACE);
        self.gate.report(|reports| reports.ended());
    }
}

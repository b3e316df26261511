//! Wakes the gate at the earliest deadline, on a thread of its own. A runtime that is
//! blocked must not delay the end of a task that ran out of time.
//!
//! The gate of a `scripted` client goes by tokio's clock, which a test may pause. It is woken by
//! a task of its runtime.

use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::engine::Gate;
use crate::error::Error;

/// An alarm for one gate. Its thread starts with the first deadline, and ends
/// with the gate.
#[derive(Debug)]
pub(super) struct Clock {
    gate: Weak<Gate>,
    /// The runtime whose clock it is, if that is not the system's.
    runtime: Option<Handle>,
    alarm: OnceLock<Arc<Alarm>>,
}

#[derive(Debug, Default)]
struct Alarm {
    state: Mutex<Due>,
    changed: Condvar,
    /// The same, for a task.
    woken: Notify,
}

#[derive(Debug, Default)]
struct Due {
    at: Option<Instant>,
    ended: bool,
}

impl Clock {
    pub(super) fn new(gate: Weak<Gate>, runtime: Option<Handle>) -> Self {
        Self { gate, runtime, alarm: OnceLock::new() }
    }

    pub(super) fn now(&self) -> Instant {
        match &self.runtime {
            None => Instant::now(),
            Some(runtime) => now_of(runtime),
        }
    }

    /// Whether it is a runtime's clock, and not the system's.
    pub(super) fn is_a_runtimes(&self) -> bool {
        self.runtime.is_some()
    }

    /// Makes sure that it can be armed.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the system can start no thread for it.
    pub(super) fn ready(&self) -> Result<(), Error> {
        if self.alarm.get().is_some() {
            return Ok(());
        }
        let alarm = match &self.runtime {
            Some(runtime) => spawn(self.gate.clone(), runtime),
            None => start(self.gate.clone()).map_err(|error| {
                Error::unavailable(format!("could not start the thread for timeouts: {error}"))
            })?,
        };
        if let Err(second) = self.alarm.set(alarm) {
            second.end();
        }
        Ok(())
    }

    /// Makes sure that the gate is woken then, or earlier.
    pub(super) fn arm(&self, at: Instant) {
        if let Some(alarm) = self.alarm.get() {
            alarm.arm(at);
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.get() {
            alarm.end();
        }
    }
}

impl Alarm {
    fn lock(&self) -> std::sync::MutexGuard<'_, Due> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ended = true;
        self.wake();
    }

    fn wake(&self) {
        self.changed.notify_one();
        self.woken.notify_one();
    }

    fn arm(&self, at: Instant) {
        let mut state = self.lock();
        if state.at.is_none_or(|armed| at < armed) {
            state.at = Some(at);
            self.wake();
        }
    }

    /// Sleeps until the armed time has come; `false` once the gate is gone.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state = match state.at {
                _ if state.ended => return false,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(at) if at <= now => {
                    state.at = None;
                    return true;
                }
                Some(at) => {
                    let waited = self.changed.wait_timeout(state, at - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Alarm {
    /// As [`wait`](Self::wait), by the clock of this runtime.
    async fn waited(&self) -> bool {
        loop {
            let due = {
                let mut state = self.lock();
                if state.ended {
                    return false;
                }
                let now = tokio::time::Instant::now().into_std();
                if state.at.is_some_and(|at| at <= now) {
                    state.at = None;
                    return true;
                }
                state.at
            };
            match due {
                None => self.woken.notified().await,
                // Whichever comes first, the state says.
                Some(at) => drop(timeout_at(at.into(), self.woken.notified()).await),
            }
        }
    }
}

/// The time of a runtime's clock, on any thread.
fn now_of(runtime: &Handle) -> Instant {
    let _inside = runtime.enter();
    tokio::time::Instant::now().into_std()
}

fn spawn(gate: Weak<Gate>, runtime: &Handle) -> Arc<Alarm> {
    let alarm = Arc::<Alarm>::default();
    let woken = alarm.clone();
    runtime.spawn(async move {
        while woken.waited().await {
            let Some(gate) = gate.upgrade() else { return };
            if let Some(next) = gate.expire() {
                woken.arm(next);
            }
        }
    });
    alarm
}

fn start(gate: Weak<Gate>) -> io::Result<Arc<Alarm>> {
    let alarm = Arc::new(Alarm::default());
    let run = {
        let alarm = alarm.clone();
        move || {
            while alarm.wait() {
                let Some(gate) = gate.upgrade() else { return };
                if let Some(next) = gate.expire() {
                    alarm.arm(next);
                }
            }
        }
    };
    std::thread::Builder::new().name("outboard-clock".into()).spawn(run)?;
    Ok(alarm)
}

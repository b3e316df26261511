//! Wakes the gate at the earliest deadline, on a thread of its own. A runtime that is
//! blocked must not delay the end of a task that ran out of time.

use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use crate::engine::Gate;
use crate::error::Error;

/// An alarm for one gate. Its thread starts with the first deadline, and ends
/// with the gate.
#[derive(Debug)]
pub(super) struct Clock {
    gate: Weak<Gate>,
    alarm: OnceLock<Arc<Alarm>>,
}

#[derive(Debug, Default)]
struct Alarm {
    state: Mutex<Due>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Due {
    at: Option<Instant>,
    ended: bool,
}

impl Clock {
    pub(super) fn new(gate: Weak<Gate>) -> Self {
        Self { gate, alarm: OnceLock::new() }
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
        let alarm = start(self.gate.clone()).map_err(|error| {
            Error::unavailable(format!("could not start the thread for timeouts: {error}"))
        })?;
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
        self.changed.notify_one();
    }

    fn arm(&self, at: Instant) {
        let mut state = self.lock();
        if state.at.is_none_or(|armed| at < armed) {
            state.at = Some(at);
            self.changed.notify_one();
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

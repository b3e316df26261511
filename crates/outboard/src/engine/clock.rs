//! Wakes the gate at the earliest deadline, on a thread of its own: a runtime
//! that is blocked must not delay the end of a task that ran out of time.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use super::Gate;

/// An alarm for one gate. Its thread starts with the first deadline, and ends
/// with the gate.
#[derive(Debug)]
pub(super) struct Clock {
    gate: Weak<Gate>,
    alarm: OnceLock<Arc<Alarm>>,
}

#[derive(Debug, Default)]
struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    at: Option<Instant>,
    ended: bool,
}

impl Clock {
    pub(super) fn new(gate: Weak<Gate>) -> Self {
        Self { gate, alarm: OnceLock::new() }
    }

    /// Makes sure that the gate is woken then, or earlier.
    pub(super) fn arm(&self, at: Instant) {
        self.alarm.get_or_init(|| start(self.gate.clone())).arm(at);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Some(alarm) = self.alarm.get() {
            alarm.lock().ended = true;
            alarm.changed.notify_one();
        }
    }
}

impl Alarm {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

fn start(gate: Weak<Gate>) -> Arc<Alarm> {
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
    let spawned = std::thread::Builder::new().name("outboard-clock".into()).spawn(run);
    spawned.expect("the system can start one more thread");
    alarm
}

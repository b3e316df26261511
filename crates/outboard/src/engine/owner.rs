//! Keeps an engine running as long as a client or a future needs it.

use std::sync::{Arc, OnceLock};

use super::Gate;
use crate::error::Error;
use crate::value::scatter::home::Home;

/// Keeps an engine running as long as someone may want something of it.
#[derive(Debug)]
pub(crate) struct Owner {
    gate: Arc<Gate>,
    /// What was scattered, from the first time on.
    home: OnceLock<Arc<Home>>,
}

impl Owner {
    pub(crate) fn new(gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { gate, home: OnceLock::new() })
    }

    /// The engine behind a gate, when its first slot is up; it ends if none will be.
    pub(crate) async fn when_up(gate: Arc<Gate>) -> Result<Arc<Self>, Error> {
        let owner = Self::new(gate);
        if let Err(error) = owner.gate.up().await {
            owner.gate.end(&Error::closed("it was shut down"));
            owner.gate.ended().await;
            return Err(error);
        }
        Ok(owner)
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

impl Owner {
    /// Where scattered values are kept, once there are any.
    pub(crate) fn home(&self) -> Option<&Arc<Home>> {
        self.home.get()
    }

    /// Where scattered values are kept, from now on.
    ///
    /// # Errors
    ///
    /// `Closed` or `Unavailable` where no task could have one.
    pub(crate) fn open_home(&self) -> Result<&Arc<Home>, Error> {
        let workers = self.gate.workers()?;
        let most_bytes = self.gate.limits().payload;
        Ok(self.home.get_or_init(|| Home::new(workers, most_bytes)))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.gate.release();
    }
}

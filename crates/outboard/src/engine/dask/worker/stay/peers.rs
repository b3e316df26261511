//! Gets values from the workers that have them.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dask_protocol::Serialized;
use dask_protocol::key::Key;
use dask_protocol::message::{Data, GetData};
use tokio::sync::Semaphore;

use crate::engine::dask::connection::{Connection, Dialer};

/// How many values are on their way at once.
const AT_ONCE: usize = 16;

/// How often those that have a value are asked, and after what pause at first.
const TURNS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(50);

/// How long an answer may take, and how long it may stop on its way.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections to one worker are kept.
const KEPT: usize = 2;

/// See the module's documentation.
pub(super) struct Peers {
    dialer: Dialer,
    own: String,
    free: Mutex<HashMap<String, Vec<Connection>>>,
    room: Semaphore,
}

impl Peers {
    pub(super) fn new(dialer: Dialer, own: String) -> Self {
        Self { dialer, own, free: Mutex::default(), room: Semaphore::new(AT_ONCE) }
    }

    /// Gets a value from one of those that have it.
    ///
    /// # Errors
    ///
    /// What the last one said that was asked.
    pub(super) async fn get(&self, key: &Key, places: &[String]) -> io::Result<Serialized> {
        let _room = self.room.acquire().await;
        let mut last = io::ErrorKind::NotFound.into();
        for turn in 0..TURNS {
            if turn > 0 {
                tokio::time::sleep(PAUSE * (1 << turn)).await;
            }
            for place in places.iter().filter(|place| **place != self.own) {
                match self.get_from(key, place).await {
                    Ok(Some(value)) => return Ok(value),
                    Ok(None) => {}
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    async fn get_from(&self, key: &Key, place: &str) -> io::Result<Option<Serialized>> {
        let kept = self.free().get_mut(place).and_then(Vec::pop);
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.dialer.dial_place(place).await?,
        };
        let question = GetData { keys: vec![key.clone()], who: Some(self.own.clone()) };
        let data = connection.get_data(PATIENCE, question).await?;
        let Data::Here(data) = data else { return Ok(None) };
        let found = data.into_iter().find(|(found, _)| found == key).map(|(_, value)| value);
        let mut free = self.free();
        let kept = free.entry(place.to_owned()).or_default();
        if kept.len() < KEPT {
            kept.push(connection);
        }
        Ok(found)
    }

    /// A worker is gone.
    pub(super) fn forget(&self, place: &str) {
        self.free().remove(place);
    }

    fn free(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Connection>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

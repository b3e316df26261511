//! Ways to single workers: straight, or through the scheduler where one cannot be reached.

use std::io;
use std::time::{Duration, Instant};

use dask_protocol::message::{Proxy, Question};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::Keeper;
use super::fetch::{Dialing, dial, dialer};
use super::reach::{HURRY, Way};
use crate::engine::dask::connection::Connection;

/// How long a worker or scheduler may be silent that is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many questions a scheduler passes on at once for this client: it holds a connection
/// for each.
const AROUND_AT_ONCE: usize = 16;

/// What all ways have in common.
pub(super) struct Lines<'a> {
    keeper: &'a Keeper,
    around: Semaphore,
    /// Connections to workers that take long.
    late: mpsc::UnboundedSender<Dialing<'a>>,
    later: Mutex<mpsc::UnboundedReceiver<Dialing<'a>>>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(keeper: &'a Keeper) -> Self {
        let (late, later) = mpsc::unbounded_channel();
        let around = Semaphore::new(AROUND_AT_ONCE);
        Self { keeper, around, late, later: Mutex::new(later) }
    }

    /// Notes for whoever asks next what became of connections that take long. It never ends.
    pub(super) async fn finish(&self) {
        let mut later = self.later.lock().await;
        let mut dialing = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(one) = later.recv() => dialing.push(one),
                Some((place, dialed)) = dialing.next() => {
                    drop(self.keeper.noted(&place, dialed));
                }
            }
        }
    }
}

/// The way to one worker.
pub(super) struct Line<'l, 'a> {
    lines: &'l Lines<'a>,
    place: String,
    straight: Option<Connection>,
    around: Option<Connection>,
}

impl<'l, 'a> Line<'l, 'a> {
    pub(super) fn to(lines: &'l Lines<'a>, place: &str) -> Self {
        Self { lines, place: place.to_owned(), straight: None, around: None }
    }

    /// Asks the worker something, which may depend on whether the scheduler passes it on.
    ///
    /// # Errors
    ///
    /// The connection's, or the scheduler's.
    ///
    /// # Cancel safety
    ///
    /// The next question goes over another connection.
    pub(super) async fn ask<Q: Question + Send>(
        &mut self,
        question: impl FnOnce(bool) -> Q,
    ) -> io::Result<Q::Answer> {
        if self.straight.is_none() {
            self.straight = self.dial().await;
        }
        if let Some(mut connection) = self.straight.take() {
            let answer = connection.ask_while_it_beats(PATIENCE, question(false)).await?;
            self.straight = Some(connection);
            return Ok(answer);
        }
        let _one_of_few = self.lines.around.acquire().await;
        let keeper = self.lines.keeper;
        let mut connection = match self.around.take() {
            Some(connection) => connection,
            None => dialer(keeper).dial(&keeper.address).await?,
        };
        let proxy = Proxy { worker: self.place.clone(), question: question(true) };
        let answer = connection.ask_while_it_beats(PATIENCE, proxy).await?;
        self.around = Some(connection);
        Ok(answer)
    }

    /// A connection to the worker, if it can be reached; `None` as well while that takes long.
    async fn dial(&mut self) -> Option<Connection> {
        let (keeper, place) = (self.lines.keeper, &self.place);
        let way = keeper.reach().way(Instant::now(), place);
        let mut dialing = dial(keeper, place.clone());
        let (_, dialed) = match way {
            Way::Around => return None,
            Way::Direct => dialing.await,
            Way::Try | Way::TryMeanwhile => {
                match tokio::time::timeout(HURRY, &mut dialing).await {
                    Ok(dialed) => dialed,
                    Err(_) => {
                        // It is received for as long as somebody asks.
                        drop(self.lines.late.send(dialing));
                        return None;
                    }
                }
            }
        };
        keeper.noted(place, dialed).ok()
    }
}

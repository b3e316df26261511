//! The live page of `lab serve`: the experiments with their code and their
//! figures, and a moving picture of how the three servers answer.
//!
//! It runs in the process of `after`, on a thread of its own, and works only
//! while somebody looks. All visitors see the same [`Board`].

mod api;
mod board;
mod bounds;
mod desk;
mod freed;
mod guard;
mod job;
mod lines;
mod listing;
mod load;
mod page;
mod problem;
mod text;
mod usage;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Notify, OnceCell, broadcast, watch};
use tokio::task::AbortHandle;

use crate::site::{Places, Pulse};
use crate::tour::Calibration;

use board::Board;
use lines::Past;

/// How many frames of the picture a visitor may be late.
const LATE_FRAMES: usize = 64;

/// The live page, while it is served.
///
/// Dropping it ends what it runs, and the streams of its visitors.
#[derive(Debug)]
pub(crate) struct Live {
    shared: Arc<Shared>,
    /// Gone only while it is dropped.
    runtime: Option<Runtime>,
}

/// What the parts of the page have in common.
#[derive(Debug)]
struct Shared {
    places: Places,
    /// Those of `before` and of `threads`.
    pulses: [Pulse; 2],
    runtime: Handle,
    /// When the clock of frames and marks began.
    start: Instant,
    past: Past,
    calibration: OnceCell<Calibration>,
    board: Mutex<Board>,
    /// The board as JSON, for all visitors; `None` when it ends.
    shown: watch::Sender<Option<Arc<str>>>,
    frames: broadcast::Sender<Arc<str>>,
    /// Somebody came to look.
    visited: Notify,
    /// There is something in the queue, or a load has ended.
    moved: Notify,
    /// What ends each load that is under way.
    under_way: Mutex<BTreeMap<u64, AbortHandle>>,
}

impl Live {
    /// Starts what moves the page: the lines, and the desk that runs experiments.
    pub(crate) fn start(places: Places, pulses: [Pulse; 2]) -> std::io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("live").enable_all().build()?;
        let shared = Arc::new(Shared {
            board: Mutex::new(Board::new(&places.client)),
            places,
            pulses,
            runtime: runtime.handle().clone(),
            start: Instant::now(),
            past: Past::default(),
            calibration: OnceCell::new(),
            shown: watch::Sender::new(None),
            frames: broadcast::Sender::new(LATE_FRAMES),
            visited: Notify::new(),
            moved: Notify::new(),
            under_way: Mutex::default(),
        });
        shared.change(|_| {});
        runtime.spawn(lines::draw(Arc::clone(&shared)));
        runtime.spawn(desk::serve(Arc::clone(&shared)));
        Ok(Self { shared, runtime: Some(runtime) })
    }

    /// What of it computes.
    pub(crate) fn computing(&self) -> Router {
        job::router(Arc::clone(&self.shared))
    }

    /// The page, its files, and what it asks for.
    pub(crate) fn router(&self) -> Router {
        page::router(&self.shared.places).merge(api::router(Arc::clone(&self.shared)))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared.shown.send_replace(None);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn under_way(&self) -> MutexGuard<'_, BTreeMap<u64, AbortHandle>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment on the clock of frames and marks, in milliseconds.
    fn at(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.start).as_millis() as u64
    }

    /// Changes the board, and shows it to all visitors.
    fn change<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut board);
        let text = serde_json::to_string(&*board).expect("a board is plain data");
        // Under the lock, so that no older board comes after it.
        self.shown.send_replace(Some(text.into()));
        result
    }

    /// What equal work is here; found by the first who asks.
    async fn calibration(&self) -> &Calibration {
        let find = || async {
            let found = self.runtime.spawn_blocking(|| Calibration::find(1.0)).await;
            let calibration = found.expect("calibrating does not panic");
            let known = bounds::Known::new(&calibration);
            self.change(|board| board.calibration = Some(known));
            calibration
        };
        self.calibration.get_or_init(find).await
    }
}

//! The one reading of a client's events that all who look share, there only
//! while somebody looks.
//!
//! A task of the runtime reads what happened a few times a second, folds it, and
//! hands it on as finished bytes. Whoever comes gets what was kept of the last
//! minute first; whoever is too slow loses some, and nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use outboard::Client;
use outboard::admin::Snapshot;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::fold::Fold;
use super::view::{Crash, Panic, View};

/// How often events are read and told.
const TURN: Duration = Duration::from_millis(200);

/// Every so many turns there is a view, and reports of what crashed.
const VIEW: u64 = 2;
const REPORTS: u64 = 4;

/// The most ends of tasks that are looked at in a turn; of more, some stand for all.
const ENDS: usize = 400;

/// How many messages wait for a viewer that is slow.
const WAITING: usize = 32;

/// How much of the task stream is kept for whoever comes: a minute of turns, and so
/// many bytes.
const KEPT: usize = 300;
const KEPT_BYTES: usize = 2 << 20;

/// How many reports of crashes, and of panics, are kept.
const KEPT_REPORTS: usize = 16;

/// Makes a reading when the first comes to look.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings(Arc<Mutex<Weak<Reading>>>);

/// A reading; it ends with the last who holds it.
#[derive(Debug)]
pub(super) struct Reading {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    out: broadcast::Sender<Bytes>,
    kept: Mutex<Kept>,
}

/// What a newcomer has to know.
#[derive(Debug, Default)]
struct Kept {
    names: Vec<&'static str>,
    view: Bytes,
    crashes: VecDeque<Bytes>,
    panics: VecDeque<Bytes>,
    turns: VecDeque<Bytes>,
    turn_bytes: usize,
}

impl Readings {
    /// The reading that there is, or a new one.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime that has its timer enabled.
    pub(super) fn get(&self, client: &Client, controls: bool) -> Arc<Reading> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current.upgrade().unwrap_or_else(|| {
            let reading = Arc::new(Reading::start(client.clone(), controls));
            *current = Arc::downgrade(&reading);
            reading
        })
    }
}

impl Reading {
    fn start(client: Client, controls: bool) -> Self {
        let shared = Arc::new(Shared {
            out: broadcast::Sender::new(WAITING),
            kept: Mutex::new(Kept::default()),
        });
        let reader = Reader::new(client, controls, shared.clone());
        Self { shared, task: tokio::spawn(reader.run()) }
    }

    /// What was so far, for a newcomer, and where the rest will come from.
    pub(super) fn join(&self) -> (Vec<Bytes>, broadcast::Receiver<Bytes>) {
        let kept = self.shared.kept();
        // Under the lock, so that nothing falls between.
        let rest = self.shared.out.subscribe();
        let messages = kept.now(true).chain(kept.turns.iter().cloned());
        (messages.collect(), rest)
    }

    /// What there is, for one who was too slow.
    pub(super) fn catch_up(&self, missed: u64) -> Vec<Bytes> {
        let missed = message("missed", &json!({ "messages": missed }));
        let kept = self.shared.kept();
        kept.now(false).chain([missed]).collect()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody who looks, and keeps it for whoever comes.
    fn tell(&self, message: Bytes, keep: impl FnOnce(&mut Kept, Bytes)) {
        let mut kept = self.kept();
        keep(&mut kept, message.clone());
        // An error says that nobody looks at this moment.
        let _ = self.out.send(message);
    }
}

impl Kept {
    fn now(&self, new: bool) -> impl Iterator<Item = Bytes> {
        let hello = message("hello", &json!({ "new": new, "names": self.names }));
        let view = Some(&self.view).filter(|view| !view.is_empty());
        let reports = self.crashes.iter().chain(&self.panics);
        [hello].into_iter().chain(view.into_iter().chain(reports).cloned())
    }

    fn turn(&mut self, message: Bytes) {
        self.turn_bytes += message.len();
        self.turns.push_back(message);
        while self.turns.len() > KEPT || self.turn_bytes > KEPT_BYTES {
            let oldest = self.turns.pop_front();
            self.turn_bytes -= oldest.map_or(0, |oldest| oldest.len());
        }
    }
}

/// Keeps one more report, and not too many.
fn keep_report(reports: &mut VecDeque<Bytes>, message: Bytes) {
    reports.push_back(message);
    if reports.len() > KEPT_REPORTS {
        reports.pop_front();
    }
}

/// What the task of a reading does.
struct Reader {
    client: Client,
    controls: bool,
    shared: Arc<Shared>,
    fold: Fold,
    /// When the last crash and the last panic were that are told.
    crash_at: Option<Duration>,
    panic_at: Option<Duration>,
}

impl Reader {
    fn new(client: Client, controls: bool, shared: Arc<Shared>) -> Self {
        Self { client, controls, shared, fold: Fold::default(), crash_at: None, panic_at: None }
    }

    async fn run(mut self) {
        let mut watch = self.client.admin().watch();
        let mut ticks = tokio::time::interval(TURN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for turn in 0_u64.. {
            ticks.tick().await;
            let batch = watch.take();
            let (each, ends) = batch.ends(ENDS);
            self.fold.misses(batch.dropped(), each);
            ends.for_each(|event| self.fold.add(event));
            self.tell_turn();
            if turn.is_multiple_of(VIEW) {
                let now = self.client.admin().snapshot();
                self.fold.sees(&now);
                self.tell_view(&now);
                if turn.is_multiple_of(REPORTS) {
                    self.tell_reports(&now);
                }
            }
        }
    }

    fn tell_turn(&mut self) {
        if let Some(turn) = self.fold.turn() {
            let names = self.fold.names().to_vec();
            self.shared.tell(message("turn", &turn), |kept, message| {
                kept.names = names;
                kept.turn(message);
            });
        }
    }

    fn tell_view(&self, now: &Snapshot) {
        let mut view = View::brief(now);
        view.controls = self.controls;
        view.crashes.clear();
        self.shared.tell(message("view", &view), |kept, message| kept.view = message);
    }

    /// Tells the reports that are new.
    fn tell_reports(&mut self, now: &Snapshot) {
        for report in now.crashes.iter().filter(|report| self.crash_at < Some(report.at)) {
            let crash = message("crash", &Crash::from(report));
            self.shared.tell(crash, |kept, message| keep_report(&mut kept.crashes, message));
        }
        for report in now.panics.iter().filter(|report| self.panic_at < Some(report.at)) {
            let panic = message("panic", &Panic::from(report));
            self.shared.tell(panic, |kept, message| keep_report(&mut kept.panics, message));
        }
        self.crash_at = now.crashes.last().map(|report| report.at).max(self.crash_at);
        self.panic_at = now.panics.last().map(|report| report.at).max(self.panic_at);
    }
}

/// One server-sent event. JSON has no line breaks, so it is one line of data.
pub(super) fn message(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("views have no maps with odd keys");
    format!("event: {name}\ndata: {data}\n\n").into()
}

//! What the terminal shows, and what its user chose to see of it.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use outboard_axum::view::{View, Worker};

/// Speeds are measured over so long, at least.
const SPAN_MS: f64 = 1_000.0;

/// Everything that is drawn.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) url: String,
    pub(super) view: View,
    /// Why there is nothing newer, and since when.
    pub(super) lost: Option<Lost>,
    /// Whether the reports are shown, instead of the overview.
    pub(super) reports: bool,
    /// How far down.
    pub(super) scroll: u16,
    /// Tasks done in a second.
    pub(super) rate: Option<f64>,
    before: (f64, u64),
    /// What part of a core each worker used, by its number.
    used: HashMap<usize, Used>,
}

/// A page that does not answer.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) why: String,
    since: Instant,
    at: SystemTime,
}

#[derive(Debug)]
struct Used {
    pid: u32,
    at_ms: f64,
    cpu_ms: f64,
    part: Option<f64>,
}

impl Shown {
    pub(super) fn new(url: String, view: View) -> Self {
        let before = (view.uptime_ms, view.tasks.done);
        let mut shown = Self {
            url,
            view: View::default(),
            lost: None,
            reports: false,
            scroll: 0,
            rate: None,
            before,
            used: HashMap::new(),
        };
        shown.update(view);
        shown
    }

    /// The page has answered.
    pub(super) fn update(&mut self, view: View) {
        let (at_ms, done) = self.before;
        let passed_ms = view.uptime_ms - at_ms;
        if passed_ms < 0.0 || view.tasks.done < done {
            // Another server has taken its place.
            (self.before, self.rate) = ((view.uptime_ms, view.tasks.done), None);
        } else if passed_ms >= SPAN_MS {
            self.rate = Some((view.tasks.done - done) as f64 * 1_000.0 / passed_ms);
            self.before = (view.uptime_ms, view.tasks.done);
        }
        for worker in &view.workers {
            self.uses(worker, view.uptime_ms);
        }
        (self.view, self.lost) = (view, None);
    }

    fn uses(&mut self, worker: &Worker, at_ms: f64) {
        let Some(cpu_ms) = worker.cpu_ms else { return };
        let new = |part| Used { pid: worker.pid, at_ms, cpu_ms, part };
        let used = self.used.entry(worker.number).or_insert_with(|| new(None));
        if used.pid != worker.pid || at_ms < used.at_ms {
            *used = new(None);
        } else if at_ms - used.at_ms >= SPAN_MS {
            *used = new(Some((cpu_ms - used.cpu_ms) / (at_ms - used.at_ms)));
        }
    }

    /// The page has not answered.
    pub(super) fn lose(&mut self, why: String) {
        let (since, at) = (Instant::now(), SystemTime::now());
        let lost = self.lost.get_or_insert_with(|| Lost { why: String::new(), since, at });
        lost.why = why;
    }

    /// What part of a core a worker used of late.
    pub(super) fn used(&self, worker: usize) -> Option<f64> {
        self.used.get(&worker)?.part
    }
}

impl Lost {
    /// For how long.
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Since when, as a clock in Greenwich shows it.
    pub(super) fn clock(&self) -> String {
        let seconds = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
        format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
    }
}

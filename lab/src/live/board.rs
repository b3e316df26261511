//! What all visitors see: the queue, what runs, the figures so far, and the
//! loads that were sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use outboard::Client;
use serde::{Deserialize, Serialize};

use super::bounds::Known;
use super::words::Came;
use crate::site::Host;
use crate::tour::{Choice, Outcome};

/// How many runs of an experiment are kept to compare with.
const RUNS_KEPT: usize = 5;

/// How many loads that have ended are shown.
const LOADS_SHOWN: usize = 12;

/// See the module's documentation; as JSON it is the page's whole state.
#[derive(Debug, Serialize)]
pub(super) struct Board {
    /// The client of `after`, as it shows itself.
    client: String,
    pub(super) calibration: Option<Known>,
    /// Experiments that wait, the next one first.
    pub(super) queue: VecDeque<Ticket>,
    pub(super) running: Option<Running>,
    /// What has run, the oldest first.
    runs: Vec<Run>,
    /// Loads, the oldest first.
    pub(super) loads: Vec<Shown>,
    /// How many tickets and how many loads there were.
    #[serde(skip)]
    numbered: (u64, u64),
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Slow,
    Many,
    Flood,
    Crash,
    Hoard,
    /// A page that is written as it is computed.
    Stream,
    /// One whose computation crashes in the middle.
    BrokenStream,
}

/// Whom it is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum To {
    All,
    Before,
    Threads,
    After,
}

/// An experiment that somebody asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) experiment: Choice,
    pub(super) n: u64,
    pub(super) requests: usize,
}

/// The experiment that runs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Running {
    #[serde(flatten)]
    pub(super) ticket: Ticket,
    /// What happens now, in words.
    pub(super) now: String,
}

/// An experiment that has run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    #[serde(flatten)]
    pub(super) ticket: Ticket,
    pub(super) outcomes: Vec<Outcome>,
    /// Why there are not all of them, if so.
    pub(super) failure: Option<String>,
}

/// A load as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    pub(super) id: u64,
    pub(super) what: Kind,
    pub(super) to: To,
    /// What came of it, by server; `None` while it is under way.
    pub(super) came: Vec<(Host, Option<Came>)>,
    /// What has come of a stream, by server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) text: BTreeMap<Host, String>,
    /// Whether nobody waits for it any more.
    pub(super) over: bool,
    /// When it was sent, on the clock of the frames.
    pub(super) at: u64,
    #[serde(skip)]
    pub(super) since: Instant,
}

impl To {
    pub(super) fn hosts(self) -> Vec<Host> {
        match self {
            Self::All => Host::ALL.to_vec(),
            Self::Before => vec![Host::Before],
            Self::Threads => vec![Host::Threads],
            Self::After => vec![Host::After],
        }
    }
}

impl Board {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.to_string(),
            calibration: None,
            queue: VecDeque::new(),
            running: None,
            runs: Vec::new(),
            loads: Vec::new(),
            numbered: (0, 0),
        }
    }

    /// A number that no other ticket has.
    pub(super) fn number_ticket(&mut self) -> u64 {
        self.numbered.0 += 1;
        self.numbered.0
    }

    /// A number that no other load has: visitors see it.
    pub(super) fn number_load(&mut self) -> u64 {
        self.numbered.1 += 1;
        self.numbered.1
    }

    /// Files a run, and forgets the oldest of its experiment.
    pub(super) fn file(&mut self, run: Run) {
        let experiment = run.ticket.experiment;
        self.runs.push(run);
        let of_it = |run: &Run| run.ticket.experiment == experiment;
        if self.runs.iter().filter(|run| of_it(run)).count() > RUNS_KEPT
            && let Some(oldest) = self.runs.iter().position(of_it)
        {
            self.runs.remove(oldest);
        }
    }

    /// Whether a load is under way.
    pub(super) fn is_loaded(&self) -> bool {
        self.loads.iter().any(|load| !load.over)
    }

    /// Shows a new load, and forgets the oldest that has ended.
    pub(super) fn show(&mut self, load: Shown) {
        self.loads.push(load);
        if self.loads.len() > LOADS_SHOWN
            && let Some(oldest) = self.loads.iter().position(|load| load.over)
        {
            self.loads.remove(oldest);
        }
    }

    /// Forgets the loads that have ended.
    pub(super) fn clear(&mut self) {
        self.loads.retain(|load| !load.over);
    }

    /// The load with that number.
    pub(super) fn load(&mut self, id: u64) -> Option<&mut Shown> {
        self.loads.iter_mut().find(|load| load.id == id)
    }
}

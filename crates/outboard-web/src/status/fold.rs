//! Folds events into the bars and marks of the task stream, so many at most in
//! each turn, however many tasks there are.
//!
//! Pure. Short runs on one worker that follow one another closely become one bar
//! with a count: at the width of a page nobody could tell them apart. Where there
//! are many, such a bar may be of several functions.

use std::collections::HashMap;
use std::time::Duration;

use outboard::TaskId;
use outboard::admin::{Event, EventKind, ExitReason, RunUsage, Snapshot};
use outboard::error::WorkerLoss;
use serde::Serialize;

use super::view::of::ms;

/// The most bars of one turn, and the most marks.
const BARS: usize = 400;
const MARKS: usize = 100;

/// From this many on, runs of several functions share bars.
const CROWDED: usize = 100;

/// Runs that are shorter than this may share a bar.
const SHORT_MS: f64 = 10.0;

/// How far apart they may be, and what they have at most.
const GAP_MS: f64 = 5.0;
const LONGEST_MS: f64 = 100.0;

/// The most functions that have a name; the others are one.
const NAMES: usize = 256;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Fold {
    names: Vec<&'static str>,
    numbers: HashMap<&'static str, usize>,
    /// What each worker turned to last, as far as that is known.
    open: HashMap<usize, Open>,
    turn: Turn,
    /// How many runs with a result each of those that are told stands for.
    each: usize,
    /// Where the bar is that a worker's next short run may join.
    last: HashMap<usize, usize>,
}

/// What was folded since the last turn.
#[derive(Debug, Default, Serialize)]
pub(super) struct Turn {
    /// The names of functions that are new, in the order of their numbers.
    pub(super) names: Vec<&'static str>,
    pub(super) bars: Vec<Bar>,
    pub(super) marks: Vec<Mark>,
    /// How many events were not told.
    pub(super) untold: u64,
    /// How many runs have no bar, and how many marks are missing.
    pub(super) left_out: u64,
}

/// One run of a task on a worker, or several that were short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bar {
    pub(super) worker: usize,
    pub(super) from_ms: f64,
    pub(super) to_ms: f64,
    /// The number of its name; `None` for several, or where it is not known.
    pub(super) function: Option<usize>,
    pub(super) end: End,
    pub(super) count: u32,
    /// How much of the bar they ran.
    pub(super) busy_ms: f64,
    /// The task, of a single one.
    pub(super) task: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// It gave a result.
    Done,
    /// It failed by an error of its own.
    Failed,
    /// It ran to its end, but nobody wanted it any more.
    Unwanted,
    /// Its worker was killed, because nobody wanted it.
    Killed,
    /// Its worker crashed.
    Lost,
}

/// Something that happened to a worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Mark {
    pub(super) worker: usize,
    pub(super) at_ms: f64,
    /// `up`, `killed`, `lost`, `recycled`, `dismissed` or `worn`.
    pub(super) what: &'static str,
}

/// From its start to its end.
type Span = (Duration, Duration);

#[derive(Debug)]
struct Open {
    task: TaskId,
    function: &'static str,
    from: Duration,
}

impl Fold {
    /// The names of functions so far; a bar has their numbers.
    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// What runs at a moment, for what was not told of it.
    pub(super) fn sees(&mut self, now: &Snapshot) {
        for worker in &now.per_worker {
            if let Some(task) = &worker.task {
                let open = Open { task: task.task, function: task.function, from: task.since };
                self.open.insert(worker.number, open);
            }
        }
    }

    /// So many events are missing before the next ones, in which each run with a result
    /// stands for `each`.
    pub(super) fn misses(&mut self, events: u64, each: usize) {
        self.turn.untold += events;
        self.each = each;
        if events > 0 || each > 1 {
            self.open.clear();
        }
    }

    /// One more event.
    pub(super) fn add(&mut self, event: Event) {
        let at = event.at;
        match event.kind {
            EventKind::Started { task, function, worker, .. } => {
                self.open.insert(worker, Open { task, function, from: at });
            }
            EventKind::Ended { task, function, run: Some(run), error, .. } => {
                let end = if error.is_some() { End::Failed } else { End::Done };
                self.ran(run.worker, span(at, run), task, Some(function), end);
            }
            EventKind::Retried { task, run: Some(run), .. } => {
                self.ran(run.worker, span(at, run), task, None, End::Failed);
            }
            EventKind::Freed { task, run, .. } => {
                self.ran(run.worker, span(at, run), task, None, End::Unwanted);
            }
            EventKind::WorkerKilled { worker, task, .. } => self.killed(at, worker, task),
            EventKind::WorkerLost { worker, report, .. } => self.lost(at, worker, &report),
            EventKind::WorkerLeft { worker, why: ExitReason::Recycled, .. } => {
                self.mark(at, worker, "recycled");
            }
            EventKind::WorkerLeft { worker, why: ExitReason::Dismissed, .. } => {
                self.mark(at, worker, "dismissed");
            }
            EventKind::WorkerUp { worker, .. } => self.mark(at, worker, "up"),
            EventKind::WorkerWorn { worker, .. } => self.mark(at, worker, "worn"),
            _ => {}
        }
    }

    /// What was folded since the last turn, if anything was.
    pub(super) fn turn(&mut self) -> Option<Turn> {
        self.last.clear();
        let turn = std::mem::take(&mut self.turn);
        let nothing = turn.bars.is_empty() && turn.marks.is_empty() && turn.untold == 0;
        (!nothing || turn.left_out > 0).then_some(turn)
    }

    fn ran(
        &mut self,
        worker: usize,
        span: Span,
        task: TaskId,
        function: Option<&'static str>,
        end: End,
    ) {
        let open = self.open.get(&worker).filter(|open| open.task == task);
        let function = function.or(open.map(|open| open.function));
        if open.is_some() {
            self.open.remove(&worker);
        }
        let function = self.number(function);
        self.bar(worker, span, function, end, Some(task));
    }

    fn killed(&mut self, at: Duration, worker: usize, task: TaskId) {
        if let Some(open) = self.open.remove(&worker).filter(|open| open.task == task) {
            let function = self.number(Some(open.function));
            self.bar(worker, (open.from, at), function, End::Killed, Some(task));
        }
        self.mark(at, worker, "killed");
    }

    fn lost(&mut self, at: Duration, worker: usize, report: &WorkerLoss) {
        let open = self.open.remove(&worker).filter(|open| open.function == report.task);
        let from = report.run_time.map(|run_time| at.saturating_sub(run_time));
        let from = open.as_ref().map(|open| open.from).or(from);
        if let Some(from) = from.filter(|_| !report.task.is_empty()) {
            let function = self.number(Some(report.task));
            self.bar(worker, (from, at), function, End::Lost, open.map(|open| open.task));
        }
        self.mark(at, worker, "lost");
    }

    fn bar(
        &mut self,
        worker: usize,
        (from, to): Span,
        function: Option<usize>,
        end: End,
        task: Option<TaskId>,
    ) {
        let (from_ms, to_ms) = (ms(from), ms(to));
        let run_ms = to_ms - from_ms;
        let each = if end == End::Done { self.each.max(1) } else { 1 };
        let (count, busy_ms) = (each as u32, run_ms * each as f64);
        self.turn.untold += each as u64 - 1;
        let bars = &mut self.turn.bars;
        let mixed = bars.len() >= CROWDED;
        let short = end == End::Done && run_ms < SHORT_MS;
        let last = self.last.get(&worker).filter(|_| short).and_then(|at| bars.get_mut(*at));
        if let Some(last) = last
            && (last.function == function || mixed)
            && from_ms - last.to_ms < GAP_MS
            && to_ms - last.from_ms < LONGEST_MS
        {
            last.function = last.function.filter(|other| Some(*other) == function);
            (last.to_ms, last.task) = (to_ms.max(last.to_ms), None);
            (last.count, last.busy_ms) = (last.count + count, last.busy_ms + busy_ms);
            return;
        }
        if bars.len() >= BARS {
            self.turn.left_out += 1;
            return;
        }
        match short {
            true => self.last.insert(worker, bars.len()),
            false => self.last.remove(&worker),
        };
        let task = task.filter(|_| each == 1).map(|task| task.to_string());
        bars.push(Bar { worker, from_ms, to_ms, function, end, count, busy_ms, task });
    }

    fn mark(&mut self, at: Duration, worker: usize, what: &'static str) {
        if self.turn.marks.len() >= MARKS {
            self.turn.left_out += 1;
            return;
        }
        self.turn.marks.push(Mark { worker, at_ms: ms(at), what });
    }

    /// The number of a name; the first of a new one is told with the turn.
    fn number(&mut self, name: Option<&'static str>) -> Option<usize> {
        let name = name?;
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        if self.names.len() >= NAMES {
            return None;
        }
        self.numbers.insert(name, self.names.len());
        self.names.push(name);
        self.turn.names.push(name);
        Some(self.names.len() - 1)
    }
}

/// When an attempt began and ended, that ended at a time.
fn span(at: Duration, run: RunUsage) -> Span {
    (at.saturating_sub(run.run_time), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn task(number: u32) -> TaskId {
        format!("{number:x}.0").parse().expect("that is how tasks are named")
    }

    /// Runs one after the other of 100 µs on one worker, of so many functions.
    fn flood(runs: u32, functions: &[&'static str]) -> Turn {
        let mut fold = Fold::default();
        for run in 0..runs {
            let (at, function) =
                (us(u64::from(run) * 110), functions[run as usize % functions.len()]);
            fold.ran(1, (at, at + us(100)), task(run + 1), Some(function), End::Done);
        }
        fold.turn().expect("there were runs")
    }

    #[test]
    fn short_runs_of_one_function_share_a_bar_that_says_how_many() {
        let turn = flood(1_800, &["f"]);
        assert_eq!((turn.bars.len(), turn.left_out, turn.names), (2, 0, vec!["f"]));
        assert_eq!(turn.bars.iter().map(|bar| bar.count).sum::<u32>(), 1_800);
        let first = &turn.bars[0];
        assert!(first.to_ms - first.from_ms <= LONGEST_MS, "{first:?}");
        assert!((first.busy_ms - f64::from(first.count) * 0.1).abs() < 1e-6, "{first:?}");
        assert_eq!(first.task, None);
    }

    #[test]
    fn a_crowd_of_functions_shares_bars_and_no_time_is_missing() {
        let turn = flood(1_800, &["f", "g"]);
        assert!(turn.bars.len() <= CROWDED + 2, "{}", turn.bars.len());
        assert_eq!(turn.bars.iter().map(|bar| bar.count).sum::<u32>(), 1_800);
        assert!(turn.bars.iter().any(|bar| bar.function.is_none()));
    }

    #[test]
    fn what_is_long_or_failed_has_a_bar_of_its_own() {
        let mut fold = Fold::default();
        fold.ran(1, (us(0), us(100)), task(1), Some("f"), End::Done);
        fold.ran(1, (us(110), us(200)), task(2), Some("f"), End::Failed);
        fold.ran(1, (us(210), us(300)), task(3), Some("f"), End::Done);
        fold.ran(1, (us(310), us(30_000)), task(4), Some("f"), End::Done);
        let turn = fold.turn().expect("there were runs");
        assert_eq!(turn.bars.len(), 4);
        assert_eq!(turn.bars[1].task.as_deref(), Some("2.0"));
    }

    #[test]
    fn what_is_beyond_the_bounds_is_counted() {
        let mut fold = Fold::default();
        for run in 0..1_000 {
            fold.ran(run, (us(0), us(50)), task(1), Some("f"), End::Failed);
            fold.mark(us(0), run, "up");
        }
        let turn = fold.turn().expect("there were runs");
        assert_eq!((turn.bars.len(), turn.marks.len()), (BARS, MARKS));
        assert_eq!(turn.left_out as usize, 2_000 - BARS - MARKS);
        assert!(fold.turn().is_none(), "nothing is told twice");
    }

    #[test]
    fn a_run_that_stands_for_others_counts_for_them() {
        let mut fold = Fold::default();
        fold.misses(0, 10);
        fold.ran(1, (us(0), us(100)), task(1), Some("f"), End::Done);
        fold.ran(1, (us(1_000), us(1_100)), task(2), Some("f"), End::Done);
        fold.ran(1, (us(1_200), us(1_300)), task(3), Some("f"), End::Failed);
        let turn = fold.turn().expect("there were runs");
        assert_eq!(turn.bars.iter().map(|bar| bar.count).collect::<Vec<_>>(), [20, 1]);
        assert!((turn.bars[0].busy_ms - 2.0).abs() < 1e-9, "{:?}", turn.bars[0]);
        assert_eq!(turn.untold, 18);
    }

    #[test]
    fn a_kill_ends_the_bar_of_the_task_that_it_was_for() {
        let mut fold = Fold::default();
        let open = Open { task: task(7), function: "f", from: us(1_000) };
        fold.open.insert(1, open);
        fold.killed(us(9_000), 1, task(7));
        let turn = fold.turn().expect("there was one");
        let bar = &turn.bars[0];
        assert_eq!((bar.from_ms, bar.to_ms, bar.end), (1.0, 9.0, End::Killed));
        assert_eq!(turn.marks, [Mark { worker: 1, at_ms: 9.0, what: "killed" }]);
    }

    #[test]
    fn after_a_gap_nothing_old_is_believed_to_run() {
        let mut fold = Fold::default();
        fold.open.insert(1, Open { task: task(7), function: "f", from: us(0) });
        fold.misses(3, 1);
        fold.killed(us(9_000), 1, task(7));
        let turn = fold.turn().expect("there was one");
        assert_eq!((turn.bars.len(), turn.marks.len(), turn.untold), (0, 1, 3));
    }
}

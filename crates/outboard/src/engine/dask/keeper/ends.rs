//! How tasks at a scheduler ended, as the gate is told.

use std::time::Instant;

use super::Keeper;
use super::fetch::Outcome;
use crate::engine::dask::native::Done;
use crate::engine::gate::Reports;
use crate::error::Oversized;
use crate::ids::TaskId;
use crate::task::outcome::{Failure, RunError, Said, Usage};
use crate::value::payload::Payload;

/// The most events of one task that are shown: a worker of ours sends fewer.
const EVENTS: usize = 1_000;

/// What a task gave, taken apart.
#[derive(Debug)]
pub(super) struct Opened {
    result: Result<Payload, Failure>,
    /// What it used, if that is known.
    usage: Option<Usage>,
    said: Vec<Said>,
}

impl Keeper {
    /// Reports how tasks ended.
    pub(super) fn conclude(&self, ended: Vec<(String, Outcome)>) {
        if ended.is_empty() {
            return;
        }
        // What is large is copied before the lock, which others wait for.
        let ended: Vec<_> =
            ended.into_iter().filter_map(|(key, outcome)| self.opened(key, outcome)).collect();
        self.gate.report(|reports| {
            let now = Instant::now();
            for (key, outcome) in ended {
                self.conclude_one(reports, now, &key, outcome);
            }
            self.resize(reports);
        });
        self.shared.wakes[self.at].0.notify_one();
    }

    /// An end with its result taken apart, if the task is wanted.
    fn opened(&self, key: String, outcome: Outcome) -> Option<(String, Outcome)> {
        let python = self.shared.table().by_key(self.at, &key)?.python;
        let outcome = match outcome {
            Outcome::Value(bytes, worker) => {
                Outcome::Opened(open(bytes, python, self.gate.limits().payload), worker)
            }
            other => other,
        };
        Some((key, outcome))
    }

    fn conclude_one(&self, reports: &mut Reports<'_>, now: Instant, key: &str, outcome: Outcome) {
        let Some(entry) = self.shared.table().by_key(self.at, key) else { return };
        let attempt = (entry.task, entry.attempt);
        let held = now.saturating_duration_since(entry.since).as_nanos();
        let unknown = Usage { run_ns: held.try_into().unwrap_or(u64::MAX), ..Usage::default() };
        match outcome {
            Outcome::Said(said, worker, then) => {
                show(reports, attempt, worker, said);
                return self.conclude_one(reports, now, key, *then);
            }
            Outcome::Opened(Opened { result, usage, said }, worker) => {
                show(reports, attempt, worker, said);
                let usage = usage.unwrap_or(unknown);
                reports.finished(entry.slot, attempt, result, (usage, worker));
            }
            Outcome::Value(..) => unreachable!("it was opened"),
            Outcome::Failed(failure, worker) => {
                reports.finished(entry.slot, attempt, Err(failure), (unknown, worker));
            }
            Outcome::Error(error) => {
                reports.concluded(entry.slot, attempt, Err(error), (unknown, 0));
            }
            Outcome::Lost(lost) => {
                self.shared.table().ended(now, self.at, key);
                return reports.lost(entry.slot, vec![attempt], None, &lost);
            }
        }
        self.shared.table().ended(now, self.at, key);
    }
}

/// What a task said appears before its end.
fn show(reports: &mut Reports<'_>, attempt: (TaskId, u32), worker: usize, said: Vec<Said>) {
    said.into_iter().take(EVENTS).for_each(|said| reports.said(attempt, worker, said));
}

/// Takes the encoded result from a task's, and what came with it.
fn open(bytes: Vec<u8>, python: bool, limit: usize) -> Opened {
    let (bytes, usage, said) = match (python, Done::decode(&bytes)) {
        (true, _) => (bytes, None, Vec::new()),
        (false, Some((done, result))) => {
            let memory_before_bytes = done.memory_before_bytes;
            let usage = Usage { memory_before_bytes, ..done.usage };
            (result.to_vec(), Some(usage), done.said)
        }
        (false, None) => {
            let (type_name, source) =
                ("what the worker sent".into(), "no worker of ours wrote it".into());
            let failure = Failure::Codec(RunError::Encode { type_name, source });
            return Opened { result: Err(failure), usage: None, said: Vec::new() };
        }
    };
    let (length, limit) = (bytes.len() as u64, limit as u64);
    let result = match length > limit {
        true => Err(Failure::TooLarge { what: Oversized::Result, bytes: length, limit }),
        false => Ok(bytes.into()),
    };
    Opened { result, usage, said }
}

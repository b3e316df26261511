//! How tasks at a scheduler ended, and how the gate is told.

use std::time::Instant;

use super::Keeper;
use crate::engine::dask::native::Done;
use crate::engine::gate::Reports;
use crate::error::{Cause, Oversized, Step, WorkerLoss};
use crate::ids::TaskId;
use crate::task::outcome::{Failure, Said, Usage};
use crate::value::payload::Payload;

/// The most events of one task that are shown: a worker of ours sends fewer.
const EVENTS: usize = 1_000;

/// How a task ended, as the cluster says.
#[derive(Debug)]
pub(super) struct Ended {
    result: Result<Payload, Failure>,
    /// What it used, if that is known.
    usage: Option<Usage>,
    said: Vec<Said>,
    /// The number of the worker; 0 if that is not known.
    worker: usize,
}

impl Ended {
    /// Without a result, and with no more known.
    pub(super) fn failed(failure: Failure) -> Self {
        Self { result: Err(failure), usage: None, said: Vec::new(), worker: 0 }
    }

    pub(super) fn lost(cause: Cause) -> Self {
        let lost = WorkerLoss { cause: Some(cause), ..WorkerLoss::default() };
        Self::failed(Failure::Lost(Box::new(lost)))
    }

    /// Without a result, at a worker of ours.
    pub(super) fn failed_at(worker: usize, mut failure: Failure, said: Vec<Said>) -> Self {
        if let Failure::Lost(lost) | Failure::Quarantined { lost, .. } = &mut failure {
            // The number that it has here, and not on its machine.
            lost.worker = worker;
        }
        Self { said, worker, ..Self::failed(failure) }
    }

    /// With the bytes that a worker gave: for a task of ours, what it used and said
    /// comes before its result.
    pub(super) fn gave(bytes: Vec<u8>, python: bool, limit: usize, worker: usize) -> Self {
        let (bytes, usage, said) = match (python, Done::decode(&bytes)) {
            (true, _) => (bytes, None, Vec::new()),
            (false, Some((done, result))) => {
                let memory_before_bytes = done.memory_before_bytes;
                let usage = Usage { memory_before_bytes, ..done.usage };
                (result.to_vec(), Some(usage), done.said)
            }
            (false, None) => {
                return Self { worker, ..Self::unreadable("what the worker sent", FOREIGN) };
            }
        };
        let (length, limit) = (bytes.len() as u64, limit as u64);
        let result = match length > limit {
            true => Err(Failure::TooLarge { what: Oversized::Result, bytes: length, limit }),
            false => Ok(bytes.into()),
        };
        Self { result, usage, said, worker }
    }

    /// Its result cannot be read.
    pub(super) fn unreadable(what: &str, why: &str) -> Self {
        let (subject, source) = (what.into(), why.into());
        Self::failed(Failure::Codec { step: Step::DecodeResult, subject, source })
    }
}

/// Why bytes are no result.
const FOREIGN: &str = "no worker of ours wrote it";

impl Keeper {
    /// Reports how tasks ended.
    pub(super) fn conclude(&self, ended: Vec<(String, Ended)>) {
        if ended.is_empty() {
            return;
        }
        self.count(&ended);
        self.gate.report(|reports| {
            let now = Instant::now();
            for (key, ended) in ended {
                self.conclude_one(reports, now, &key, ended);
            }
            self.resize(reports);
        });
        self.shared.wakes[self.at].0.notify_one();
    }

    /// Counts what workers did for this client.
    fn count(&self, ended: &[(String, Ended)]) {
        let cluster = self.shared.cluster(self.at);
        let mut done = self.shared.done();
        for (_, ended) in ended {
            let place = ended.worker.checked_sub(1).and_then(|at| cluster.workers().get(at));
            if let Some(worker) = place {
                *done.entry(worker.address.clone()).or_default() += 1;
            }
        }
    }

    fn conclude_one(&self, reports: &mut Reports<'_>, now: Instant, key: &str, ended: Ended) {
        let Some(entry) = self.shared.table().by_key(self.at, key) else { return };
        let attempt = (entry.task, entry.attempt);
        let held = now.saturating_duration_since(entry.since).as_nanos();
        let unknown = Usage { run_ns: held.try_into().unwrap_or(u64::MAX), ..Usage::default() };
        let Ended { result, usage, said, worker } = ended;
        show(reports, attempt, worker, said);
        match result {
            Err(Failure::Lost(lost)) => {
                self.shared.table().ended(now, self.at, key);
                if lost.pid > 0 {
                    // A process whose end its worker tells: as with those of this machine.
                    reports.gone(&lost, Some(entry.task), false);
                }
                reports.lost(entry.slot, vec![attempt], None, &lost);
            }
            result => {
                reports.finished(entry.slot, attempt, result, (usage.unwrap_or(unknown), worker));
                self.shared.table().ended(now, self.at, key);
            }
        }
    }
}

/// What a task said appears before its end.
fn show(reports: &mut Reports<'_>, attempt: (TaskId, u32), worker: usize, said: Vec<Said>) {
    said.into_iter().take(EVENTS).for_each(|said| reports.said(attempt, worker, said));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_a_result_within_its_limit_or_say_why_not() {
        let done = Done { usage: Usage::default(), memory_before_bytes: Some(6), said: Vec::new() };
        let gave = |bytes: &[u8], python| Ended::gave(bytes.to_vec(), python, 3, 2);
        let ours = gave(&done.encode(b"abc"), false);
        assert_eq!(ours.result.unwrap()[..], *b"abc");
        assert_eq!(ours.usage.unwrap().memory_before_bytes, Some(6));
        let python = gave(b"abc", true);
        assert_eq!((&python.result.unwrap()[..], python.usage), (&b"abc"[..], None));
        let foreign = gave(b"abc", false);
        let step = Step::DecodeResult;
        assert!(matches!(foreign.result, Err(Failure::Codec { step: at, .. }) if at == step));
        let large = Failure::TooLarge { what: Oversized::Result, bytes: 4, limit: 3 };
        assert_eq!(gave(b"abcd", true).result.unwrap_err(), large);
        assert_eq!(gave(&done.encode(b"abcd"), false).result.unwrap_err(), large);
        assert_eq!((ours.worker, python.worker, foreign.worker), (2, 2, 2));
    }

    #[test]
    fn a_worker_has_the_number_that_this_client_gave_it() {
        let there = || Box::new(WorkerLoss { worker: 7, pid: 9, ..WorkerLoss::default() });
        let here = Box::new(WorkerLoss { worker: 2, pid: 9, ..WorkerLoss::default() });
        let left = std::time::Duration::from_secs(1);
        let refused = |lost| Failure::Quarantined { crashes: 3, left, lost };
        let at_two = |failure| Ended::failed_at(2, failure, Vec::new()).result.unwrap_err();
        assert_eq!(at_two(Failure::Lost(there())), Failure::Lost(here.clone()));
        assert_eq!(at_two(refused(there())), refused(here));
    }
}
